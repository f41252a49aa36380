//! What an API method can end in, other than data.

use std::collections::BTreeMap;

use hyper::StatusCode;

/// A refusal, with the status and texts that the real daemon would send.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) errors: BTreeMap<String, String>,
    /// Authentication failures have no body at all.
    pub(crate) bare: bool,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: BTreeMap::new(), bare: false }
    }

    /// The general failure: existing, missing, locked and everything else.
    pub(crate) fn died(message: impl Into<String>) -> Self {
        Self::new(500, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self { bare: true, ..Self::new(401, message) }
    }

    pub(crate) fn forbidden(what: &str) -> Self {
        Self::new(403, format!("Permission check failed ({what})"))
    }

    pub(crate) fn parameters(errors: BTreeMap<String, String>) -> Self {
        Self { errors, ..Self::new(400, "Parameter verification failed.") }
    }

    pub(crate) fn parameter(key: &str, text: impl Into<String>) -> Self {
        Self::parameters(BTreeMap::from([(key.to_owned(), text.into())]))
    }

    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// How the failure reads as a task's exit status: one line, with the parameters of a refusal.
    pub(crate) fn as_exit_status(&self) -> String {
        if self.errors.is_empty() {
            return self.message.lines().collect::<Vec<_>>().join(" ");
        }
        let parts: Vec<String> =
            self.errors.iter().map(|(key, text)| format!("{key}: {}", text.trim_end())).collect();
        format!("Parameter verification failed. {}", parts.join(" "))
    }
}

impl From<String> for ApiError {
    fn from(message: String) -> Self {
        Self::died(message)
    }
}
