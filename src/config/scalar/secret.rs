//! References to secrets. The secret itself is never in a configuration, so nothing here can hold one.

use std::str::FromStr;

use super::SecretSource;

/// What [`SecretSource`] accepts.
pub const SECRET_PATTERN: &str = "^(?:env:[A-Za-z_][A-Za-z0-9_]{0,254}|secret:[A-Za-z0-9][A-Za-z0-9._-]{0,127}|file:[^\\u0000-\\u001F\\u007F]+)$";

/// Not a reference. Holds nothing of the text: it may be the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefError {
    /// No known prefix.
    #[error("a secret must not be written here")]
    Plain,
    /// The prefix is known, what follows is not a name.
    #[error("the name after `{0}` is not valid")]
    Name(&'static str),
}

impl FromStr for SecretSource {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if let Some(name) = text.strip_prefix("env:") {
            let starts =
                name.bytes().next().is_some_and(|byte| word(byte) && !byte.is_ascii_digit());
            let fine = starts && name.len() <= 255 && name.bytes().all(word);
            return if fine {
                Ok(Self::Env(name.to_owned()))
            } else {
                Err(SecretRefError::Name("env:"))
            };
        }
        if let Some(name) = text.strip_prefix("secret:") {
            let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
            let fine = starts
                && name.len() <= 128
                && name.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
            return if fine {
                Ok(Self::Secret(name.to_owned()))
            } else {
                Err(SecretRefError::Name("secret:"))
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            let fine = !path.is_empty() && path.bytes().all(|byte| byte >= 0x20 && byte != 0x7F);
            return if fine {
                Ok(Self::File(path.to_owned()))
            } else {
                Err(SecretRefError::Name("file:"))
            };
        }
        Err(SecretRefError::Plain)
    }
}
