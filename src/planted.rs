//! Bugs that are planted on purpose, to prove that the campaigns would find them.
//!
//! Each breaks one rule that the product lives by. They exist only in builds with the
//! feature `planted`, which nothing but the campaigns turns on; in every other build
//! [`Bug::is_planted`] is `false` at compile time and its branches are gone. At most one
//! is planted at a time, by the environment (`NOVAHOST_PLANTED=name`) or by [`plant`].

#[cfg(feature = "planted")]
pub mod death;

/// One rule, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Nothing is broken.
    None,
}

impl Bug {
    /// Every bug, with its name, the promise of the design that it breaks, the row of the
    /// ownership table that it breaks (if any), and what it does in words.
    pub const ALL: &'static [(Bug, &'static str, u8, &'static str, &'static str)] = &[];

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

/// Plants a bug in this process, or with [`Bug::None`] takes it out again.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) {
    switch::set(bug as u8);
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
