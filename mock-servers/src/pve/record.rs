//! Appends each exchange to a file, as one JSON line, without secrets.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::form::{Params, to_json};

/// Parameters whose values are never written.
const SECRET: [&str; 4] = ["password", "cipassword", "new-password", "confirmation-password"];

/// What is written instead; long enough to pass for a password.
const MASK: &str = "**********";

pub(crate) struct Recorder {
    file: Mutex<File>,
}

impl Recorder {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn write(
        &self,
        method: &str,
        path: &str,
        query: &Params,
        form: &Params,
        status: u16,
        response: &Value,
    ) {
        let line = json!({
            "method": method,
            "path": path,
            "query": masked(to_json(query)),
            "form": masked(to_json(form)),
            "status": status,
            "response": without_ticket(response.clone()),
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A recording that cannot be written must not change what the client sees.
        // One write per line, since several clusters may share the file.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

fn masked(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        for key in SECRET {
            if let Some(secret) = object.get_mut(key) {
                *secret = json!(MASK);
            }
        }
    }
    value
}

fn without_ticket(mut response: Value) -> Value {
    for key in ["ticket", "CSRFPreventionToken"] {
        if let Some(secret) = response.pointer_mut(&format!("/data/{key}")) {
            *secret = json!(MASK);
        }
    }
    response
}
