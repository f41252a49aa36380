//! Task identifiers.

use std::fmt;
use std::str::FromStr;

use super::text::valid_node_name;

/// A task identifier, `UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user>:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Upid {
    /// Node the task runs on.
    pub node: String,
    /// Process id of the worker.
    pub pid: u32,
    /// Start of the worker in clock ticks since the node booted.
    pub pstart: u64,
    /// Start of the task in Unix seconds.
    pub starttime: u64,
    /// Task type, such as `qmcreate`.
    pub kind: String,
    /// What the task works on; often a guest id, may be empty.
    pub id: String,
    /// Who started it: `user@realm`, or `user@realm!token`.
    pub user: String,
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, starttime, kind, id, user } = self;
        write!(f, "UPID:{node}:{pid:08X}:{pstart:08X}:{starttime:08X}:{kind}:{id}:{user}:")
    }
}

/// The text is not a task identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse worker upid")]
pub struct BadUpid;

impl FromStr for Upid {
    type Err = BadUpid;

    fn from_str(text: &str) -> Result<Self, BadUpid> {
        let fields: Vec<&str> = text.split(':').collect();
        let ["UPID", node, pid, pstart, starttime, kind, id, user, ""] = fields[..] else {
            return Err(BadUpid);
        };
        let solid = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace);
        let good = valid_node_name(node)
            && solid(kind)
            && !id.contains(char::is_whitespace)
            && solid(user);
        if !good {
            return Err(BadUpid);
        }
        let pid = u32::try_from(hex(pid, 8..=8)?).map_err(|_| BadUpid)?;
        Ok(Self {
            node: node.to_owned(),
            pid,
            // The tick counter outgrows eight digits after some 497 days of uptime.
            pstart: hex(pstart, 8..=9)?,
            starttime: hex(starttime, 8..=8)?,
            kind: kind.to_owned(),
            id: id.to_owned(),
            user: user.to_owned(),
        })
    }
}

fn hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Result<u64, BadUpid> {
    let good = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !good {
        return Err(BadUpid);
    }
    u64::from_str_radix(text, 16).map_err(|_| BadUpid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_task_reads_and_prints() {
        let text = "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam!tok:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!(
            upid,
            Upid {
                node: "pve1".into(),
                pid: 50000,
                pstart: 1_234_567,
                starttime: 1_700_065_952,
                kind: "qmcreate".into(),
                id: "100".into(),
                user: "root@pam!tok".into(),
            }
        );
        assert_eq!(upid.to_string(), text);
    }

    #[test]
    fn ids_may_be_empty_and_pstart_long() {
        let text = "UPID:n-1:0000C350:10012D687:6554F2A0:imgcopy::root@pam:";
        assert_eq!(text.parse::<Upid>().unwrap().to_string(), text);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam",
            "UPID:pve1:C350:0012D687:6554F2A0:qmcreate:100:root@pam:",
            "UPID:pve_1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam:",
            "UPID:pve1:0000C35G:0012D687:6554F2A0:qmcreate:100:root@pam:",
            "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:1:0:root@pam:",
            "UPID:pve1:0000C350:0012D687:6554F2A0::100:root@pam:",
        ] {
            assert_eq!(text.parse::<Upid>(), Err(BadUpid), "{text}");
        }
        assert_eq!(BadUpid.to_string(), "unable to parse worker upid");
    }
}
