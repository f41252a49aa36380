//! What may go wrong with a simulated cluster of Proxmox VE.

use mock_servers::pve::{Deed, Fault};
use std::time::Duration;

/// What the network and the server may do to any request.
pub fn network() -> Vec<(&'static str, Fault)> {
    let long = Duration::from_millis(2300);
    let text = |words: &str| words.to_owned();
    vec![
        ("http-500", Fault::Status(500, text("internal error"))),
        ("http-503", Fault::Status(503, text("service unavailable"))),
        ("http-429", Fault::Status(429, text("too many requests"))),
        ("http-595", Fault::Status(595, text("no route to host"))),
        ("http-596-before", Fault::Status(596, text("Connection timed out"))),
        ("http-596-after", Fault::StatusAfter(596, text("Connection timed out"))),
        ("reset-before", Fault::DropBefore),
        ("reset-during", Fault::DropDuring),
        ("reset-after", Fault::DropAfter),
        ("timeout-before", Fault::HangBefore(long)),
        ("timeout-after", Fault::HangAfter(long)),
        ("cut-body", Fault::CutBody),
        ("malformed-body", Fault::Garbage(text("<html>proxy error</html>"))),
        ("slow", Fault::Delay(Duration::from_millis(60))),
        ("stale-list", Fault::Stale),
        ("session-ended", Fault::Deed(Deed::EndSessions)),
    ]
}

/// What may happen to a request that changes something.
pub fn tasks() -> Vec<(&'static str, Fault)> {
    let text = |words: &str| words.to_owned();
    vec![
        ("locked", Fault::Status(500, text("VM is locked (backup)"))),
        (
            "lock-timeout",
            Fault::Status(
                500,
                text("can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout"),
            ),
        ),
        ("no-worker", Fault::StatusAfter(500, text("got no worker upid - start worker failed"))),
        ("echo", Fault::Echo(400)),
        ("task-fails", Fault::TaskFails(text("storage 'fast' is not online"))),
        ("task-warns", Fault::TaskWarns(text("could not trim"))),
        ("task-slow", Fault::TaskSlow(Duration::from_millis(150))),
    ]
}

/// What other people may do right before a request that changes something.
pub fn people() -> Vec<(&'static str, Fault)> {
    let deeds = [
        ("edits", Deed::Edit("balloon".into(), Some("0".into()))),
        ("edits-memory", Deed::Edit("memory".into(), Some("3072".into()))),
        ("remarks", Deed::Remark("Call Marie before touching this.".into())),
        ("renames", Deed::Rename("renamed".into())),
        ("migrates", Deed::Migrate("pve2".into())),
        ("deletes", Deed::Delete),
        ("recycles-id", Deed::Recycle),
        ("occupies-id", Deed::Occupy),
        ("clones", Deed::Clone(20901)),
        ("restores", Deed::Restore(20902)),
        ("restores-elsewhere", Deed::Relocate(20903)),
        ("removes-mark", Deed::Unmark),
        ("steals-mark", Deed::Rewrite("project=campaign".into(), "project=thieves".into())),
        ("powers-off", Deed::Power(false)),
        ("powers-on", Deed::Power(true)),
        (
            "reverts",
            Deed::All(vec![
                Deed::Revert,
                Deed::Edit("onboot".into(), Some("1".into())),
                Deed::Revert,
            ]),
        ),
        ("hides", Deed::Hide(true)),
        ("node-offline", Deed::NodeOffline("pve2".into(), true)),
        ("node-crash", Deed::NodeCrash("pve1".into())),
        ("no-quorum", Deed::Quorum(false)),
        ("other-certificate", Deed::Certificate(true)),
    ];
    deeds.into_iter().map(|(name, deed)| (name, Fault::Deed(deed))).collect()
}
