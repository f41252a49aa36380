//! What may go wrong with a simulated vCenter.

use mock_servers::vcenter::{Deed, Fault};
use std::time::Duration;

/// What the network, and what stands before the server, may do to any request.
pub fn network() -> Vec<(&'static str, Fault)> {
    let long = Duration::from_millis(2300);
    let text = |words: &str| words.to_owned();
    vec![
        ("http-500", Fault::Status(500, text("internal error"))),
        ("http-503", Fault::Status(503, text("no healthy upstream"))),
        ("http-502-before", Fault::Status(502, text("bad gateway"))),
        ("http-504-after", Fault::StatusAfter(504, text("upstream request timeout"))),
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
    let refused = |ty: &str| Fault::Refused(text(ty), text("refused by chance"));
    vec![
        ("in-progress", refused("TaskInProgress")),
        ("host-lost", refused("HostNotConnected")),
        ("system-error", refused("SystemError")),
        ("echo", Fault::Echo(400)),
        ("task-fails", Fault::TaskFails(text("the datastore is not accessible"))),
        ("task-fails-after", Fault::TaskFailsAfter(text("the host was lost"))),
        ("task-vanishes", Fault::TaskVanishes),
        ("task-slow", Fault::TaskSlow(Duration::from_millis(150))),
    ]
}

/// What other people may do right before a request that changes something.
pub fn people() -> Vec<(&'static str, Fault)> {
    let deeds = [
        ("edits", Deed::Edit("log.keepOld".into(), Some("7".into()))),
        ("edits-memory", Deed::Edit("memoryMB".into(), Some("3072".into()))),
        ("remarks", Deed::Remark("Call Marie before touching this.".into())),
        ("renames", Deed::Rename("renamed".into())),
        ("migrates", Deed::Migrate("esx2.example.test".into())),
        ("deletes", Deed::Delete),
        ("occupies-name", Deed::Occupy),
        ("clones", Deed::Clone("copy".into())),
        ("restores", Deed::Restore("restored".into())),
        ("registers-again", Deed::Reregister),
        ("removes-mark", Deed::Unmark),
        ("steals-mark", Deed::Rewrite("project=campaign".into(), "project=thieves".into())),
        ("powers-off", Deed::Power(false)),
        ("powers-on", Deed::Power(true)),
        (
            "reverts",
            Deed::All(vec![
                Deed::Revert,
                Deed::Edit("log.keepOld".into(), Some("8".into())),
                Deed::Revert,
            ]),
        ),
        ("asks", Deed::Question(Some("The disk is full. Retry?".into()))),
        ("loses-files", Deed::Connection("inaccessible".into())),
        ("hides", Deed::Hide(true)),
        ("veils", Deed::Veil(true)),
        ("host-offline", Deed::HostOffline("esx2.example.test".into(), true)),
        ("maintenance", Deed::Maintenance("esx1.example.test".into(), true)),
        ("other-certificate", Deed::Certificate(true)),
    ];
    deeds.into_iter().map(|(name, deed)| (name, Fault::Deed(deed))).collect()
}
