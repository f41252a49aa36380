//! What ends a command early: an exit class, one sentence with its causes, hints.

use crate::apply::ExitClass;
use std::fmt;

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub struct CliError {
    /// Picks the exit code.
    pub class: ExitClass,
    /// What happened, with its causes joined once; empty when all was printed already.
    pub message: String,
    /// What to do, a line each.
    pub hints: Vec<String>,
}

impl CliError {
    /// An error of a class.
    pub fn new(class: ExitClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hints: Vec::new() }
    }

    /// The end of a command that has said everything already.
    pub fn silent(class: ExitClass) -> Self {
        Self::new(class, "")
    }

    /// An error with its causes, joined.
    pub fn of(class: ExitClass, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(class, chain(error))
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<CliError>() {
            Ok(known) => known,
            Err(error) => Self::of(ExitClass::Error, error.as_ref()),
        }
    }
}

impl From<crate::store::StoreError> for CliError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::of(ExitClass::Error, &error)
    }
}

/// An error with its causes in one line. A cause that only repeats what was said is
/// left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    crate::model::inert(&text).into_owned()
}
