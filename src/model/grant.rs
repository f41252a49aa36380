//! What people may do with the machines of a pool, beside the pool itself.

use super::{Hindrance, Place, PoolPart};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// How much a grant allows. Each product has its own list of rights for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantRole {
    /// To look.
    Viewer,
    /// To look, and to start, stop and see the screen of machines.
    Operator,
    /// To do that, and to take snapshots of machines and describe them.
    Admin,
}

impl GrantRole {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word in the YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            GrantRole::Viewer => "viewer",
            GrantRole::Operator => "operator",
            GrantRole::Admin => "admin",
        }
    }
}

impl fmt::Display for GrantRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whom something is granted to: somebody in a directory that the product asks, or several
/// there. In text `DOMAIN\name` or `group DOMAIN\name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grantee {
    /// The domain in capitals, a backslash, and the name in small letters: directories tell
    /// neither apart by case, and give back what they like.
    principal: String,
    /// Whether these are several.
    group: bool,
}

impl Grantee {
    /// Somebody, by any spelling: `DOMAIN\name`, `name@domain`, or a name without a domain.
    pub fn new(written: &str, group: bool) -> Self {
        let swapped = written.split_once('@').map(|(name, domain)| (domain, name));
        let principal = match written.split_once('\\').or(swapped) {
            Some((domain, name)) => {
                format!("{}\\{}", domain.to_uppercase(), name.to_lowercase())
            }
            None => written.to_lowercase(),
        };
        Self { principal, group }
    }

    /// `DOMAIN\name`.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The domain, where there is one.
    pub fn domain(&self) -> Option<&str> {
        self.principal.split_once('\\').map(|(domain, _)| domain)
    }

    /// The name without the domain.
    pub fn name(&self) -> &str {
        self.principal.split_once('\\').map_or(&self.principal, |(_, name)| name)
    }

    /// Whether these are several.
    pub fn is_group(&self) -> bool {
        self.group
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.group { "group " } else { "" }, self.principal)
    }
}

impl FromStr for Grantee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, group) = match text.strip_prefix("group ") {
            Some(name) => (name, true),
            None => (text, false),
        };
        match name.is_empty() {
            true => Err(format!("`{text}` names nobody")),
            false => Ok(Self::new(name, group)),
        }
    }
}

impl TryFrom<String> for Grantee {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Grantee> for String {
    fn from(grantee: Grantee) -> Self {
        grantee.to_string()
    }
}

/// A grant that the YAML asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// What the entry of `users` is called, for people.
    pub user: String,
    /// Which role.
    pub role: GrantRole,
    /// Where it is written.
    pub place: Place,
}

/// A grant as it was found on a part of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSeen {
    /// To whom.
    pub grantee: Grantee,
    /// Which of our roles; `None` = one of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<GrantRole>,
    /// What the product calls the role.
    pub native: String,
    /// Whether it holds for everything below, too.
    pub whole: bool,
}

/// How a grant is to be after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantEnd {
    /// On which part of the pool.
    pub part: PoolPart,
    /// To whom.
    pub grantee: Grantee,
    /// Which role, with all that is below; `None` = none of ours at all.
    pub role: Option<GrantRole>,
}

impl GrantEnd {
    /// Whether it holds, by what is granted on its part.
    pub fn holds(&self, grants: &BTreeSet<GrantSeen>) -> bool {
        let mut found = grants.iter().filter(|it| it.grantee == self.grantee);
        match self.role {
            Some(role) => found.any(|it| it.role == Some(role) && it.whole),
            None => found.all(|it| it.role.is_none()),
        }
    }
}

/// A role of ours as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoleSeen {
    /// It allows exactly what it should.
    Whole,
    /// Something of that name is there that allows something else.
    Changed {
        /// What the product calls it.
        native: String,
        /// What it allows beyond that.
        more: BTreeSet<String>,
        /// What it does not allow.
        fewer: BTreeSet<String>,
    },
}

/// What is known of somebody to whom something is to be granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GranteeSeen {
    /// The product knows them.
    Known,
    /// The product does not know them.
    Missing,
    /// Our own account is one of them: what is granted to them on an object takes the place
    /// of what the account has there from above.
    HoldsUs,
    /// It could not be asked, and why.
    Unasked(String),
}

/// What granting something on a pool depends on, beside its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSeen {
    /// Roles of ours that are there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<GrantRole, RoleSeen>,
    /// Those to whom the configuration grants something.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grantees: BTreeMap<Grantee, GranteeSeen>,
    /// Why nothing can be granted or taken away, where that can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<Hindrance>,
}

impl AccessSeen {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Grants on several objects in words, one line each: what a difference is shown by. What does
/// not hold on all of them says so.
pub fn grant_lines(parts: &[&BTreeSet<GrantSeen>]) -> BTreeSet<String> {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for seen in parts.iter().flat_map(|it| it.iter()) {
        let role = match seen.role {
            Some(role) => role.as_str(),
            None => &seen.native,
        };
        let whose = if seen.role.is_none() { " (a role of others)" } else { "" };
        let whole = if seen.whole { "" } else { " (on it alone)" };
        *lines.entry(format!("{}: {role}{whose}{whole}", seen.grantee)).or_default() += 1;
    }
    let everywhere = |(line, times): (String, usize)| match times == parts.len() {
        true => line,
        false => format!("{line} (on a part)"),
    };
    lines.into_iter().map(everywhere).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PartKind;

    #[test]
    fn every_spelling_of_somebody_is_one() {
        let ops = Grantee::new("VSPHERE.LOCAL\\ops", false);
        assert_eq!(Grantee::new("Ops@vsphere.local", false), ops);
        assert_eq!(ops.principal(), "VSPHERE.LOCAL\\ops");
        for grantee in [ops.clone(), Grantee::new("CORP\\Domain Users", true)] {
            assert_eq!(grantee.to_string().parse(), Ok(grantee));
        }
        assert_ne!(Grantee::new("VSPHERE.LOCAL\\ops", true), ops);
        assert!("group ".parse::<Grantee>().is_err());
    }

    fn seen(name: &str, role: Option<GrantRole>, whole: bool) -> GrantSeen {
        let native = role.map_or("Theirs".to_owned(), |role| format!("nh-acme-{role}"));
        GrantSeen { grantee: Grantee::new(name, false), role, native, whole }
    }

    #[test]
    fn an_end_asks_for_the_whole_of_it_and_for_nothing_of_others() {
        let end = |role| GrantEnd {
            part: PoolPart::new(PartKind::Group, "a"),
            grantee: Grantee::new("D\\a", false),
            role,
        };
        let viewer = Some(GrantRole::Viewer);
        assert!(end(viewer).holds(&[seen("D\\a", viewer, true)].into()));
        assert!(!end(viewer).holds(&[seen("D\\a", viewer, false)].into()));
        assert!(!end(viewer).holds(&[seen("D\\b", viewer, true)].into()));
        assert!(!end(None).holds(&[seen("D\\a", viewer, false)].into()));
        assert!(end(None).holds(&[seen("D\\a", None, true), seen("D\\b", viewer, true)].into()));
    }

    #[test]
    fn what_does_not_hold_everywhere_says_so() {
        let admin = Some(GrantRole::Admin);
        let one: BTreeSet<GrantSeen> =
            [seen("D\\a", admin, true), seen("D\\b", admin, true)].into();
        let two: BTreeSet<GrantSeen> =
            [seen("D\\a", admin, true), seen("D\\c", None, false)].into();
        let lines: Vec<String> = grant_lines(&[&one, &two]).into_iter().collect();
        assert_eq!(
            lines,
            [
                "D\\a: admin",
                "D\\b: admin (on a part)",
                "D\\c: Theirs (a role of others) (on it alone) (on a part)"
            ]
        );
    }
}
