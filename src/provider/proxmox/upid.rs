//! The text that names a task:
//! `UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user>:`, numbers in hex.

/// A task's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upid {
    /// The node that runs it: the only one that can be asked about it.
    pub node: String,
    /// Seconds since 1970 by that node's clock.
    pub started_s: i64,
    /// What it does: `qmclone`.
    pub kind: String,
    /// What it is about; for a clone the source.
    pub id: String,
    /// Who began it: `user@realm`, or `user@realm!token`.
    pub user: String,
}

impl Upid {
    /// Reads the text; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("UPID:")?.split(':');
        let node = parts.next().filter(|node| !node.is_empty())?;
        let hex = |part: Option<&str>| i64::from_str_radix(part?, 16).ok();
        hex(parts.next())?;
        hex(parts.next())?;
        let started_s = hex(parts.next())?;
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let id = parts.next()?;
        let user = parts.next().filter(|user| user.contains('@'))?;
        // The trailing colon is part of it: without one the text was cut short.
        if parts.next() != Some("") || parts.next().is_some() {
            return None;
        }
        Some(Self {
            node: node.to_owned(),
            started_s,
            kind: kind.to_owned(),
            id: id.to_owned(),
            user: user.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_a_token_is_taken_apart() {
        let text = "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam!tok:";
        let upid = Upid::parse(text).unwrap();
        assert_eq!((upid.node.as_str(), upid.started_s), ("pve1", 0x6554_F2A0));
        assert_eq!((upid.kind.as_str(), upid.id.as_str()), ("qmcreate", "100"));
        assert_eq!(upid.user, "root@pam!tok");
        let long = "UPID:pve1:0000C350:10012D687:6554F2A0:qmstart:100:nova@pve:";
        assert!(Upid::parse(long).is_some());
    }

    #[test]
    fn damaged_names_are_refused() {
        let damaged = [
            "",
            "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam",
            "UPID:pve1:xyz:0012D687:6554F2A0:qmcreate:100:root@pam:",
            "UPID::0000C350:0012D687:6554F2A0:qmcreate:100:root@pam:",
            "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam:x:",
            "OK",
        ];
        for text in damaged {
            assert_eq!(Upid::parse(text), None, "{text}");
        }
    }
}
