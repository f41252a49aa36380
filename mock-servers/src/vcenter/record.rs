//! Appends each exchange to a file, as one JSON line, without secrets.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

/// What is written instead of a secret.
const MASK: &str = "**********";

pub(crate) struct Recorder {
    file: Mutex<File>,
}

/// One exchange.
pub(crate) struct Exchange<'a> {
    pub(crate) verb: &'a str,
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    pub(crate) request: &'a str,
    pub(crate) status: u16,
    pub(crate) response: &'a str,
}

impl Recorder {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn write(&self, exchange: &Exchange<'_>) {
        let line = json!({
            "verb": exchange.verb,
            "path": exchange.path,
            "method": exchange.method,
            "request": masked(exchange.request),
            "status": exchange.status,
            "response": exchange.response,
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A recording that cannot be written must not change what the client sees.
        // One write per line, since several servers may share the file.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// The request without the password of a login.
pub(crate) fn masked(request: &str) -> String {
    let Some((before, rest)) = request.split_once("password>") else { return request.to_owned() };
    let Some((_, after)) = rest.split_once("</") else { return format!("{before}password>{MASK}") };
    format!("{before}password>{MASK}</{after}")
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn passwords_are_not_recorded() {
        let text = "<n:userName>u</n:userName><n:password>secret</n:password>";
        assert!(!masked(text).contains("secret"));
        assert!(masked(text).ends_with("</n:password>"));
    }
}
