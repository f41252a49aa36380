//! How a call can fail, and what its failure proves.
//!
//! Pure. Whatever is not proved not to have happened is unknown.

use super::{
    codec::EncodeError,
    fault::{Fault, FaultKind},
};
use crate::model::{ErrorKind, ProviderError, Retry};
use std::{error::Error as StdError, time::Duration};

/// The cause of an error.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a call brought no usable answer. No variant holds an argument or a header.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It never left: no connection, or no session to send it in.
    #[error("could not reach {endpoint}")]
    NotSent {
        /// The server.
        endpoint: String,
        /// Whether it was patience that ran out.
        timed_out: bool,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The certificate is not one that is trusted: nothing was sent.
    #[error("{endpoint} is not trusted: {why}")]
    Certificate {
        /// The server.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The call cannot be written: nothing was sent.
    #[error("the call cannot be written")]
    Encode(#[from] EncodeError),
    /// The credentials were refused.
    #[error("the credentials were refused: {0}")]
    Auth(String),
    /// Not the product that is spoken to here, or another installation of it.
    #[error("{0}")]
    Identity(String),
    /// The server said no.
    #[error("the server refused")]
    Fault(#[source] Box<Fault>),
    /// Something in front of the service answered in its place; the work may go on.
    #[error("the server's proxy answered {status}: {text}")]
    Gateway {
        /// Its status.
        status: u16,
        /// Its words.
        text: String,
    },
    /// Sent, and no whole answer came back.
    #[error("the connection broke before the answer was complete")]
    Lost {
        /// Whether it was patience that ran out.
        timed_out: bool,
        /// Why.
        #[source]
        source: Cause,
    },
    /// An answer that is not what was asked for.
    #[error("the answer cannot be understood")]
    Decode(#[source] Cause),
}

const SOON: Retry = Retry::After(Duration::from_secs(1));

fn refused(kind: &FaultKind) -> (ErrorKind, Retry) {
    use FaultKind as F;
    if matches!(kind, F::NotAuthenticated | F::InvalidLogin) {
        (ErrorKind::Auth, Retry::No)
    } else if matches!(kind, F::NoPermission) {
        (ErrorKind::Permission, Retry::No)
    } else if matches!(kind, F::ConcurrentAccess) {
        (ErrorKind::Refused, Retry::Now)
    } else if matches!(
        kind,
        F::TaskInProgress
            | F::FileLocked
            | F::HostNotConnected
            | F::HostCommunication
            | F::Timedout
    ) {
        (ErrorKind::Refused, SOON)
    } else {
        (ErrorKind::Refused, Retry::No)
    }
}

/// What a failed call proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It never left.
    NotSent,
    /// It was refused, so nothing happened.
    Refused,
    /// It may have happened.
    Unknown,
}

impl CallError {
    /// What this failure proves of a call that changes something.
    pub fn proof(&self) -> Proof {
        match self {
            CallError::NotSent { .. }
            | CallError::Certificate { .. }
            | CallError::Encode(_)
            | CallError::Identity(_) => Proof::NotSent,
            CallError::Auth(_) => Proof::Refused,
            CallError::Fault(fault) if fault.proves_refusal() => Proof::Refused,
            CallError::Fault(_)
            | CallError::Gateway { .. }
            | CallError::Lost { .. }
            | CallError::Decode(_) => Proof::Unknown,
        }
    }

    /// The server's fault, when that is what it was.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            CallError::Fault(fault) => Some(fault),
            CallError::NotSent { .. }
            | CallError::Certificate { .. }
            | CallError::Encode(_)
            | CallError::Auth(_)
            | CallError::Identity(_)
            | CallError::Gateway { .. }
            | CallError::Lost { .. }
            | CallError::Decode(_) => None,
        }
    }

    /// Whether it is a fault of this kind.
    pub fn is_fault(&self, kind: &FaultKind) -> bool {
        self.fault().is_some_and(|fault| fault.is(kind))
    }

    /// Whether the same read may well succeed right away.
    pub fn read_again_helps(&self) -> bool {
        match self {
            CallError::Lost { timed_out, .. } | CallError::NotSent { timed_out, .. } => !timed_out,
            CallError::Gateway { .. } => true,
            CallError::Certificate { .. }
            | CallError::Encode(_)
            | CallError::Auth(_)
            | CallError::Identity(_)
            | CallError::Fault(_)
            | CallError::Decode(_) => false,
        }
    }

    /// This error as the contract of providers spells it.
    pub fn into_provider(self, operation: impl Into<String>) -> ProviderError {
        let (kind, retry) = match &self {
            CallError::NotSent { .. } | CallError::Gateway { .. } => (ErrorKind::Unreachable, SOON),
            CallError::Lost { .. } => (ErrorKind::Unreachable, Retry::Now),
            CallError::Certificate { .. } => (ErrorKind::Certificate, Retry::No),
            CallError::Encode(_) => (ErrorKind::Refused, Retry::No),
            CallError::Auth(_) => (ErrorKind::Auth, Retry::No),
            CallError::Identity(_) => (ErrorKind::Identity, Retry::No),
            CallError::Decode(_) => (ErrorKind::Decode, Retry::No),
            CallError::Fault(fault) => refused(&fault.kind),
        };
        ProviderError { operation: operation.into(), kind, retry, source: Box::new(self) }
    }

    /// A login that came to nothing: the call that it was for has not left, however far
    /// the login itself came.
    pub(in crate::provider::vcenter) fn before_the_call(self, endpoint: &str) -> Self {
        match self {
            CallError::Auth(_)
            | CallError::NotSent { .. }
            | CallError::Certificate { .. }
            | CallError::Encode(_)
            | CallError::Identity(_) => self,
            CallError::Lost { .. }
            | CallError::Gateway { .. }
            | CallError::Fault(_)
            | CallError::Decode(_) => CallError::NotSent {
                endpoint: format!("{endpoint}: the login failed"),
                timed_out: matches!(self, CallError::Lost { timed_out: true, .. }),
                source: Box::new(self),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::vcenter::vim::node::Node;

    fn fault(kind: &str) -> CallError {
        let fields = Node { data_type: Some(kind.into()), ..Node::new("fault") };
        CallError::Fault(Box::new(Fault::new("", fields)))
    }

    #[test]
    fn only_what_never_left_or_was_refused_in_its_own_type_is_proved() {
        let lost = || CallError::Lost { timed_out: false, source: "x".into() };
        let endpoint = || "https://vc:443".to_owned();
        let not_sent =
            CallError::NotSent { endpoint: endpoint(), timed_out: false, source: "x".into() };
        assert_eq!(not_sent.proof(), Proof::NotSent);
        assert_eq!(lost().proof(), Proof::Unknown);
        assert_eq!(lost().before_the_call("https://vc:443").proof(), Proof::NotSent);
        for kind in ["DuplicateName", "InvalidPowerState", "ConcurrentAccess", "NoPermission"] {
            assert_eq!(fault(kind).proof(), Proof::Refused, "{kind}");
        }
        for kind in ["SystemError", "RuntimeFault", "HostCommunication", "SomethingNew"] {
            assert_eq!(fault(kind).proof(), Proof::Unknown, "{kind}");
        }
        let gateway = CallError::Gateway { status: 503, text: String::new() };
        assert_eq!(gateway.proof(), Proof::Unknown);
    }

    #[test]
    fn an_error_says_whether_again_can_help() {
        let retry = |error: CallError| error.into_provider("read a machine").retry;
        assert_eq!(retry(fault("NoPermission")), Retry::No);
        assert_eq!(retry(fault("ConcurrentAccess")), Retry::Now);
        assert!(matches!(retry(fault("TaskInProgress")), Retry::After(_)));
        assert_eq!(retry(CallError::Auth(String::new())), Retry::No);
    }
}
