//! What an examination finds: one finding per check, with a way out. `doctor` shows
//! them; providers and the command line make them.

use super::HypervisorName;
use serde::Serialize;
use std::fmt;

/// A check, with a stable code that is never used for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The trust settings can be used.
    Trust,
    /// The key that signs markers can be had.
    Key,
    /// The journal opens and its chain is unbroken.
    Journal,
    /// Trust lets the name have its endpoints and its secret.
    Host,
    /// The secret of the login can be had.
    Secret,
    /// Endpoints answer.
    Reach,
    /// Their certificates are those that are trusted.
    Tls,
    /// The credentials are taken.
    Login,
    /// The installation is the one that trust means.
    Identity,
    /// Its version is one that is supported.
    Version,
    /// Its clock agrees with ours.
    Clock,
    /// It may write, and all of its hosts answer.
    Quorum,
    /// The account may do what this project needs.
    Privileges,
    /// The account may not do much more than that.
    Excess,
    /// How far absence would be believed.
    Inventory,
}

impl Check {
    /// Every check, in the order in which they are made.
    pub const ALL: [Check; 15] = {
        use Check::*;
        [
            Trust, Key, Journal, Host, Secret, Reach, Tls, Login, Identity, Version, Clock, Quorum,
            Privileges, Excess, Inventory,
        ]
    };

    /// Those that a provider makes, in their order.
    pub const PROVIDERS: [Check; 10] = {
        use Check::*;
        [Reach, Tls, Login, Identity, Version, Clock, Quorum, Privileges, Excess, Inventory]
    };

    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Check::Trust => "doctor.trust",
            Check::Key => "doctor.key",
            Check::Journal => "doctor.journal",
            Check::Host => "doctor.host",
            Check::Secret => "doctor.secret",
            Check::Reach => "doctor.reach",
            Check::Tls => "doctor.tls",
            Check::Login => "doctor.login",
            Check::Identity => "doctor.identity",
            Check::Version => "doctor.version",
            Check::Clock => "doctor.clock",
            Check::Quorum => "doctor.quorum",
            Check::Privileges => "doctor.privileges",
            Check::Excess => "doctor.excess",
            Check::Inventory => "doctor.inventory",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Check {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is well.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
    /// It was not made, because something before it failed.
    Skipped,
}

impl Health {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
            Health::Skipped => "skipped",
        }
    }
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fix {
    /// In words.
    Say(String),
    /// A command, to be run where the words before it say.
    Run(String),
    /// A line for a file that the words before it name.
    Write(String),
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How it ended.
    pub state: Health,
    /// One line for people.
    pub text: String,
    /// More of the same, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What to do, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<Fix>,
}

impl Finding {
    /// A finding without details.
    pub fn new(check: Check, state: Health, text: impl Into<String>) -> Self {
        Self { check, state, text: text.into(), details: Vec::new(), fix: Vec::new() }
    }

    /// All is well.
    pub fn ok(check: Check, text: impl Into<String>) -> Self {
        Self::new(check, Health::Ok, text)
    }

    /// Worth a look.
    pub fn warn(check: Check, text: impl Into<String>) -> Self {
        Self::new(check, Health::Warn, text)
    }

    /// Does not work.
    pub fn fail(check: Check, text: impl Into<String>) -> Self {
        Self::new(check, Health::Fail, text)
    }

    /// Was not made.
    pub fn skipped(check: Check, why: impl Into<String>) -> Self {
        Self::new(check, Health::Skipped, why)
    }

    /// Adds a line.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn say(mut self, words: impl Into<String>) -> Self {
        self.fix.push(Fix::Say(words.into()));
        self
    }

    /// Adds a command.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.fix.push(Fix::Run(command.into()));
        self
    }

    /// Adds a line for a file.
    #[must_use]
    pub fn write(mut self, line: impl Into<String>) -> Self {
        self.fix.push(Fix::Write(line.into()));
        self
    }
}

/// What a provider found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// One finding for each of [`Check::PROVIDERS`], in their order.
    pub findings: Vec<Finding>,
    /// What identifies the installation, when it was learnt.
    pub identity: Option<String>,
}

impl Examination {
    /// Adds `skipped` for everything that has no finding yet.
    #[must_use]
    pub fn skip_rest(mut self, why: &str) -> Self {
        let done = self.findings.len();
        let rest = Check::PROVIDERS.into_iter().skip(done);
        self.findings.extend(rest.map(|check| Finding::skipped(check, why)));
        self
    }
}

/// The findings about one hypervisor, or about this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingGroup {
    /// Which hypervisor; `None` = this machine.
    pub hypervisor: Option<HypervisorName>,
    /// What was found.
    pub findings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_single_words_and_stand_once() {
        let codes: BTreeSet<&str> = Check::ALL.iter().map(|it| it.code()).collect();
        assert_eq!(codes.len(), Check::ALL.len());
        for code in codes {
            let word = code.strip_prefix("doctor.").unwrap();
            assert!(word.bytes().all(|it| it.is_ascii_lowercase()), "{code}");
        }
        let mut sorted = Check::ALL;
        sorted.sort();
        assert_eq!(sorted, Check::ALL, "the order of the list is that of the enum");
    }

    #[test]
    fn what_was_not_checked_is_said_to_be_skipped() {
        let exam = Examination {
            findings: vec![Finding::fail(Check::Reach, "nobody answers")],
            identity: None,
        };
        let exam = exam.skip_rest("no endpoint answers");
        let checks: Vec<Check> = exam.findings.iter().map(|it| it.check).collect();
        assert_eq!(checks, Check::PROVIDERS);
        assert!(exam.findings[1..].iter().all(|it| it.state == Health::Skipped));
    }
}
