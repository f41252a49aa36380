//! The seam between calls and their wire format.
//!
//! Pure. Everything above speaks of methods, values and nodes; a second format would be
//! a second implementation of this trait and nothing else.

use super::{
    fault::Fault,
    node::Node,
    val::{MoRef, Val},
};
use std::fmt;

/// One call, ready to be written.
pub struct Request<'a> {
    /// The method, as the interface names it: `CloneVM_Task`.
    pub method: &'a str,
    /// On which object.
    pub this: &'a MoRef,
    /// Its arguments, in the interface's order.
    pub args: &'a [(&'a str, Val)],
    /// Goes into the server's logs, so that both sides' records can be matched.
    pub operation: Option<&'a str>,
}

/// A call that the format cannot carry. Says where, never what: the text may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text with a character that the format has no spelling for.
    #[error("the text of `{0}` holds a character that cannot be sent to this product")]
    Character(String),
    /// A name that would change the structure of the message.
    #[error("`{0}` is not a name")]
    Name(String),
}

/// Why an answer brought no result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The server said no, in its own words.
    #[error(transparent)]
    Fault(Box<Fault>),
    /// Not an answer of this format, or one that goes beyond the bounds.
    #[error("{0}")]
    Unreadable(String),
}

/// A wire format.
pub trait Codec: fmt::Debug + Send + Sync {
    /// The media type of what is sent.
    fn content_type(&self) -> &'static str;

    /// Writes one call.
    ///
    /// # Errors
    /// When a value cannot be spelt.
    fn encode(&self, request: &Request<'_>) -> Result<Vec<u8>, EncodeError>;

    /// Reads the answer to a call of this method: the element that holds what it
    /// returned.
    ///
    /// # Errors
    /// The server's fault, or that these bytes are no answer to this call.
    fn decode(&self, method: &str, status: u16, body: &[u8]) -> Result<Node, DecodeError>;
}
