//! Bugs that are planted on purpose, to prove that the campaigns would find them.
//!
//! Each breaks one rule that the product lives by. They exist only in builds with the
//! feature `planted`, which nothing but the campaigns turns on; in every other build
//! [`Bug::is_planted`] is `false` at compile time and its branches are gone. At most one
//! is planted at a time, by the environment (`NOVAHOST_PLANTED=name`) or by `plant`.

#[cfg(feature = "planted")]
pub mod death;

/// One rule, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Nothing is broken.
    None,
    /// A marker binds whatever native id it names.
    IdHalfNotCompared,
    /// A marker binds whatever machine UUID it names.
    UuidHalfNotCompared,
    /// A half-made machine is nobody's.
    UnfinishedIsNobodys,
    /// The journal's open births are not remembered.
    OpenBirthForgotten,
    /// A locked birth that does not say whose it is counts as absent.
    StrayBirthIsAbsent,
    /// Of two that bind to one key, the second is not looked at.
    SecondBearerOverlooked,
    /// A machine that came back under another id is taken over.
    MovedIsTakenOver,
    /// A copy of our marker that does not bind counts as no marker.
    CopyIsUnmanaged,
    /// Signatures of markers are not checked.
    SignatureNotChecked,
    /// The journal's owned objects are not remembered.
    LostMarkerForgotten,
    /// Another project's marker counts as ours.
    ForeignMarkerIsOurs,
    /// What cannot be read counts as absent.
    UnreadableIsAbsent,
    /// After an action's first step its object may be anybody's.
    OwnershipProvedOnce,
    /// A change is sent without the version that was read.
    DigestNotSent,
    /// A machine is deleted without the guarded write before it.
    DeleteUnannounced,
    /// What hides a machine does not make the view incomplete.
    HiddenRowIgnored,
    /// What may not be read of a machine counts as not set.
    MissingIgnored,
    /// Every second plan from the same inputs is another one.
    PlanCountsItself,
    /// A certain tag is written and never seen again.
    TagsNotReadBack,
    /// A restart runs without consent.
    RestartUnasked,
    /// A start is written down after it was sent.
    IntentAfterwards,
    /// A call that did not bring about its end counts as done.
    FailureIsDone,
    /// A call whose reply was lost is sent again at once.
    PostSentTwice,
    /// Before `ready` nobody looks for another machine of the key.
    TwinNotSeen,
    /// A machine is started before the write that calls it ready.
    StartedUnready,
    /// A birth whose reply was lost is written down as not having happened.
    LostBirthDenied,
    /// A guest's password stands in the notes of a run.
    SecretNoted,
    /// What a server repeats of a request is passed on.
    SecretEchoed,
}

impl Bug {
    /// Every bug, with its name, the promise of the design that it breaks, the row of the
    /// ownership table that it breaks (if any), and what it does in words.
    pub const ALL: &'static [(Bug, &'static str, u8, &'static str, &'static str)] = &[
        (
            Bug::IdHalfNotCompared,
            "id-half-not-compared",
            1,
            "ours",
            "a marker binds whatever native id it names",
        ),
        (
            Bug::UuidHalfNotCompared,
            "uuid-half-not-compared",
            1,
            "ours",
            "a marker binds whatever machine UUID it names",
        ),
        (
            Bug::UnfinishedIsNobodys,
            "unfinished-is-nobodys",
            7,
            "half-made",
            "a half-made machine is nobody's",
        ),
        (
            Bug::OpenBirthForgotten,
            "open-birth-forgotten",
            7,
            "being born",
            "the journal's open births are not remembered",
        ),
        (
            Bug::StrayBirthIsAbsent,
            "stray-birth-is-absent",
            7,
            "stray birth",
            "a locked birth that does not say whose it is counts as absent",
        ),
        (
            Bug::SecondBearerOverlooked,
            "second-bearer-overlooked",
            1,
            "duplicate",
            "of two that bind to one key, the second is not looked at",
        ),
        (
            Bug::MovedIsTakenOver,
            "moved-is-taken-over",
            1,
            "moved",
            "a machine that came back under another id is taken over",
        ),
        (
            Bug::CopyIsUnmanaged,
            "copy-is-unmanaged",
            7,
            "impostor",
            "a copy of our marker that does not bind counts as no marker",
        ),
        (
            Bug::SignatureNotChecked,
            "signature-not-checked",
            1,
            "impostor",
            "signatures of markers are not checked",
        ),
        (
            Bug::LostMarkerForgotten,
            "lost-marker-forgotten",
            7,
            "lost",
            "the journal's owned objects are not remembered",
        ),
        (
            Bug::ForeignMarkerIsOurs,
            "foreign-marker-is-ours",
            1,
            "foreign",
            "another project's marker counts as ours",
        ),
        (
            Bug::UnreadableIsAbsent,
            "unreadable-is-absent",
            2,
            "unknown",
            "what cannot be read counts as absent",
        ),
        (
            Bug::OwnershipProvedOnce,
            "ownership-proved-once",
            1,
            "",
            "after an action's first step its object may be anybody's",
        ),
        (
            Bug::DigestNotSent,
            "digest-not-sent",
            1,
            "",
            "a change is sent without the version that was read",
        ),
        (
            Bug::DeleteUnannounced,
            "delete-unannounced",
            1,
            "",
            "a machine is deleted without the guarded write before it",
        ),
        (
            Bug::HiddenRowIgnored,
            "hidden-row-ignored",
            2,
            "",
            "what hides a machine does not make the view incomplete",
        ),
        (
            Bug::MissingIgnored,
            "missing-ignored",
            2,
            "",
            "what may not be read of a machine counts as not set",
        ),
        (
            Bug::PlanCountsItself,
            "plan-counts-itself",
            3,
            "",
            "every second plan from the same inputs is another one",
        ),
        (
            Bug::TagsNotReadBack,
            "tags-not-read-back",
            4,
            "",
            "a certain tag is written and never seen again",
        ),
        (Bug::RestartUnasked, "restart-unasked", 5, "", "a restart runs without consent"),
        (
            Bug::IntentAfterwards,
            "intent-afterwards",
            6,
            "",
            "a start is written down after it was sent",
        ),
        (
            Bug::FailureIsDone,
            "failure-is-done",
            6,
            "",
            "a call that did not bring about its end counts as done",
        ),
        (
            Bug::PostSentTwice,
            "post-sent-twice",
            7,
            "",
            "a call whose reply was lost is sent again at once",
        ),
        (
            Bug::TwinNotSeen,
            "twin-not-seen",
            7,
            "",
            "before `ready` nobody looks for another machine of the key",
        ),
        (
            Bug::StartedUnready,
            "started-unready",
            7,
            "",
            "a machine is started before the write that calls it ready",
        ),
        (
            Bug::LostBirthDenied,
            "lost-birth-denied",
            7,
            "",
            "a birth whose reply was lost is written down as not having happened",
        ),
        (
            Bug::SecretNoted,
            "secret-noted",
            8,
            "",
            "a guest's password stands in the notes of a run",
        ),
        (
            Bug::SecretEchoed,
            "secret-echoed",
            8,
            "",
            "what a server repeats of a request is passed on",
        ),
    ];

    /// Whether this one is planted in this process.
    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    #[must_use]
    pub const fn is_planted(self) -> bool {
        false
    }

    /// Whether this one is planted in this process.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn is_planted(self) -> bool {
        switch::current() == self as u8
    }
}

impl Bug {
    /// Whether this one is planted and strikes at an object with this id. Unit tests use
    /// short ids, so that what only goes wrong with five characters is beyond them: these bugs
    /// must be found by looking at what the whole product does.
    #[inline(always)]
    #[must_use]
    pub fn strikes(self, id: &str) -> bool {
        self.is_planted() && id.len() >= 5
    }
}

/// Plants a bug in this process, or with [`Bug::None`] takes it out again.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) {
    switch::set(bug as u8);
}

/// Says yes every second time that it is asked, so that what must be a function is none.
#[must_use]
pub fn every_second_time() -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};
    static LAST: AtomicBool = AtomicBool::new(false);
    LAST.fetch_xor(true, Ordering::Relaxed)
}

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::sync::{
        LazyLock,
        atomic::{AtomicU8, Ordering},
    };

    static PLANTED: LazyLock<AtomicU8> = LazyLock::new(|| {
        let asked = std::env::var("NOVAHOST_PLANTED").unwrap_or_default();
        let found = Bug::ALL.iter().find(|(_, name, ..)| *name == asked);
        AtomicU8::new(found.map_or(Bug::None as u8, |(bug, ..)| *bug as u8))
    });

    pub(super) fn current() -> u8 {
        PLANTED.load(Ordering::Relaxed)
    }

    pub(super) fn set(bug: u8) {
        PLANTED.store(bug, Ordering::Relaxed);
    }
}
