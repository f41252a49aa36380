//! How a request can fail, and what its failure proves.
//!
//! Pure. There is no 404 and no 409 here: refusals are told apart by their words,
//! and whatever is not proved not to have happened is unknown.

use crate::model::{ErrorKind, ProviderError, Refusal, RefusalKind, Retry};
use std::{error::Error as StdError, time::Duration};

/// Why a request brought no usable answer. No variant holds a parameter or a header.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No endpoint could be connected to: nothing was sent.
    #[error("could not connect to {endpoint}")]
    NotSent { endpoint: String, timed_out: bool, source: Cause },
    /// The certificate is not one that is trusted: nothing was sent.
    #[error("{endpoint} is not trusted: {why}")]
    Certificate { endpoint: String, why: String },
    /// The credentials were refused.
    #[error("the credentials were refused: {0}")]
    Auth(String),
    /// The server said no.
    #[error("the server answered {status}: {text}")]
    Refused { status: u16, text: String },
    /// A proxy on the way gave up; the work may go on.
    #[error("the server's proxy answered {status}: {text}")]
    Gateway { status: u16, text: String },
    /// Sent, and no whole answer came back.
    #[error("the connection broke before the answer was complete")]
    Lost { timed_out: bool, source: Cause },
    /// An answer that is not what was asked for.
    #[error("the answer cannot be understood")]
    Decode(#[source] Cause),
}

pub(super) type Cause = Box<dyn StdError + Send + Sync>;

impl CallError {
    /// Whether this refusal carries one of these texts.
    pub fn says(&self, text: &str) -> bool {
        matches!(self, CallError::Refused { text: said, .. } if said.contains(text))
    }

    /// Whether a guest is not on the node that was asked; it may be on another.
    pub fn is_missing_guest(&self) -> bool {
        self.says("Configuration file") && self.says("does not exist")
    }

    /// Whether a privilege was missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, CallError::Refused { status: 403, .. })
    }

    /// Whether the same read may well succeed right away.
    pub fn read_again_helps(&self) -> bool {
        match self {
            CallError::Lost { timed_out, .. } | CallError::NotSent { timed_out, .. } => !timed_out,
            CallError::Gateway { .. } => true,
            CallError::Certificate { .. }
            | CallError::Auth(_)
            | CallError::Refused { .. }
            | CallError::Decode(_) => false,
        }
    }

    /// This error as the contract spells it.
    pub fn into_provider(self, operation: impl Into<String>) -> ProviderError {
        const SOON: Retry = Retry::After(Duration::from_secs(1));
        let (kind, retry) = match &self {
            CallError::NotSent { .. } | CallError::Gateway { .. } => (ErrorKind::Unreachable, SOON),
            CallError::Lost { .. } => (ErrorKind::Unreachable, Retry::Now),
            CallError::Certificate { .. } => (ErrorKind::Certificate, Retry::No),
            CallError::Auth(_) => (ErrorKind::Auth, Retry::No),
            CallError::Decode(_) => (ErrorKind::Decode, Retry::No),
            CallError::Refused { status, text } => match refusal_kind(*status, text) {
                RefusalKind::Busy => (ErrorKind::Refused, SOON),
                RefusalKind::Conflict => (ErrorKind::Refused, Retry::Now),
                RefusalKind::Permission => (ErrorKind::Permission, Retry::No),
                RefusalKind::Auth => (ErrorKind::Auth, Retry::No),
                RefusalKind::Exists
                | RefusalKind::Missing
                | RefusalKind::GuestDeaf
                | RefusalKind::Invalid => (ErrorKind::Refused, Retry::No),
            },
        };
        ProviderError { operation: operation.into(), kind, retry, source: Box::new(self) }
    }
}

/// What a failed mutation proves.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It was refused, so nothing happened.
    Refused(Refusal),
    /// It never left.
    NotSent(CallError),
    /// It may have happened.
    Unknown(CallError),
}

/// Judges a failed mutation. Whatever is not proved not to have happened is unknown.
pub(super) fn judge_mutation(error: CallError) -> Verdict {
    match error {
        CallError::NotSent { .. } | CallError::Certificate { .. } => Verdict::NotSent(error),
        CallError::Auth(text) => Verdict::Refused(Refusal { kind: RefusalKind::Auth, text }),
        // A proxy in front of the cluster speaks 502-504 after it has passed the
        // request on, a 500 without words is not the product's own, and a worker that
        // did not report its name in time may be at work all the same.
        CallError::Refused { status: 502..=504, .. } => Verdict::Unknown(error),
        CallError::Refused { status: 500, ref text }
            if text.is_empty() || text.contains("got no worker upid") =>
        {
            Verdict::Unknown(error)
        }
        CallError::Refused { status, text } => {
            Verdict::Refused(Refusal { kind: refusal_kind(status, &text), text })
        }
        CallError::Gateway { .. } | CallError::Lost { .. } | CallError::Decode(_) => {
            Verdict::Unknown(error)
        }
    }
}

/// Tells refusals apart by their texts: there is no 404 and no 409 here.
pub(super) fn refusal_kind(status: u16, text: &str) -> RefusalKind {
    let says = |any: &[&str]| any.iter().any(|part| text.contains(part));
    if status == 401 {
        RefusalKind::Auth
    } else if says(&["checksum mismatch", "detected modified configuration"]) {
        RefusalKind::Conflict
    } else if says(&[
        "is locked (",
        "got timeout",
        "got lock request timeout",
        "got no worker upid",
        "no quorum",
    ]) {
        RefusalKind::Busy
    } else if says(&["already exists", "config file already exists", "File exists"]) {
        RefusalKind::Exists
    } else if (says(&["Configuration file"]) && says(&["does not exist"]))
        || says(&["no such pool"])
        || (says(&["pool '"]) && says(&["' does not exist"]))
    {
        // Only the object itself: a storage or a bridge that does not exist must not
        // read as "already gone".
        RefusalKind::Missing
    } else if status == 403 {
        RefusalKind::Permission
    } else {
        RefusalKind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, text: &str) -> CallError {
        CallError::Refused { status, text: text.into() }
    }

    fn kind(status: u16, text: &str) -> Option<RefusalKind> {
        match judge_mutation(refused(status, text)) {
            Verdict::Refused(refusal) => Some(refusal.kind),
            Verdict::NotSent(_) | Verdict::Unknown(_) => None,
        }
    }

    #[test]
    fn refusals_are_told_apart_by_their_words() {
        use RefusalKind as R;
        let table = [
            (500, "checksum mismatch (file change by other user?)", R::Conflict),
            (
                500,
                "detected modified configuration - file changed by other user? Try again.",
                R::Conflict,
            ),
            (500, "VM is locked (clone)", R::Busy),
            (500, "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout", R::Busy),
            (
                500,
                "create pool failed: cfs-lock 'file-user_cfg' error: got lock request timeout",
                R::Busy,
            ),
            (500, "cluster not ready - no quorum?", R::Busy),
            (500, "unable to create VM 100 - VM 100 already exists on node 'pve1'", R::Exists),
            (500, "unable to create VM 101: config file already exists", R::Exists),
            (
                500,
                "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
                R::Missing,
            ),
            (403, "Permission check failed (pool 'x' does not exist)", R::Missing),
            (403, "Permission check failed (/vms/100, VM.Audit)", R::Permission),
            (400, "Parameter verification failed. memory: type check failed", R::Invalid),
            (500, "storage 'x' does not exist", R::Invalid),
            (500, "VM 100 is running - destroy failed", R::Invalid),
            (501, "Method 'POST /x' not implemented", R::Invalid),
        ];
        for (status, text, wanted) in table {
            assert_eq!(kind(status, text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn only_what_never_left_or_was_refused_in_words_is_proved_not_to_have_happened() {
        let cause = || -> Cause { "x".into() };
        let unknown = [
            refused(500, ""),
            refused(500, "got no worker upid - start worker failed"),
            refused(502, "Bad Gateway"),
            refused(504, "Gateway Time-out"),
            CallError::Gateway { status: 596, text: "Connection timed out".into() },
            CallError::Lost { timed_out: true, source: cause() },
            CallError::Decode(cause()),
        ];
        for error in unknown {
            let text = error.to_string();
            assert!(matches!(judge_mutation(error), Verdict::Unknown(_)), "{text}");
        }
        let endpoint = || "https://pve1:8006".to_owned();
        let never_left = [
            CallError::NotSent { endpoint: endpoint(), timed_out: true, source: cause() },
            CallError::Certificate { endpoint: endpoint(), why: String::new() },
        ];
        for error in never_left {
            assert!(matches!(judge_mutation(error), Verdict::NotSent(_)));
        }
        let auth = judge_mutation(CallError::Auth("no ticket".into()));
        assert!(matches!(auth, Verdict::Refused(Refusal { kind: RefusalKind::Auth, .. })));
    }

    #[test]
    fn an_error_says_whether_again_can_help() {
        let retry = |error: CallError| error.into_provider("read vm 100").retry;
        assert_eq!(retry(refused(403, "Permission check failed")), Retry::No);
        assert!(matches!(retry(refused(500, "VM is locked (backup)")), Retry::After(_)));
        assert_eq!(retry(CallError::Auth(String::new())), Retry::No);
        let gateway = CallError::Gateway { status: 595, text: String::new() };
        assert!(matches!(retry(gateway), Retry::After(_)));
    }
}
