//! Machines as entries: profiles merged, names expanded, one value per member.

use super::table::Table;
use crate::config::decode::{Cx, Decode, Lazy, Templates, did_you_mean};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::expand::{Expansion, substitute};
use crate::config::profile;
use crate::config::raw::{Profile, Profiles, RawConfig, RawMachine};
use crate::config::scalar::Name;
use crate::config::yaml::Node;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Nodes of all machines together, profiles counted as often as they are used. Ten times what 10,000 machines of
/// ordinary size need; a small file could otherwise ask for a billion.
const NODES_MAX: usize = 10_000_000;

/// One machine as it is written, complete with its profile.
#[derive(Debug, Clone)]
pub struct MachineEntry {
    /// Its name.
    pub name: Name,
    /// Where the entry stands.
    pub key: Span,
    /// Its place among the members of the entry, from 0.
    pub index: usize,
    /// How many members the entry has.
    pub members: usize,
    /// What it says; `None` when that could not be read, which has been reported.
    pub raw: Option<RawMachine>,
    /// Whether something in it could not be read. What is missing then may only be unreadable.
    pub broken: bool,
    /// The profile that it builds on.
    pub profile: Option<UsedProfile>,
}

/// Which profile a machine uses.
#[derive(Debug, Clone)]
pub struct UsedProfile {
    /// Its name.
    pub name: Name,
    /// Everything that is written in it.
    pub body: Span,
}

impl MachineEntry {
    /// Reads or checks on behalf of the machine: problems name it, and those that stand
    /// in its profile say who uses it.
    pub fn on_behalf<R>(&self, cx: &mut Cx<'_>, work: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        let mut own = Cx::new(cx.sources());
        let subject: Arc<str> = format!("vm/{}", self.name).into();
        let result = own.for_subject(Arc::clone(&subject), work);
        let report = own.into_report();
        for span in report.masked() {
            cx.mask(*span);
        }
        for problem in report.iter() {
            let problem = moved_size(problem.clone(), cx);
            cx.push(self.with_profile(problem, &subject));
        }
        result
    }

    fn with_profile(&self, mut problem: Diagnostic, subject: &str) -> Diagnostic {
        let Some(profile) = &self.profile else { return problem };
        let at = problem.primary.span;
        let inside = at.file == profile.body.file
            && at.start >= profile.body.start
            && at.end <= profile.body.end;
        if !inside {
            return problem;
        }
        if problem.primary.text.is_empty() {
            problem = problem.label(format!("from profile `{}`", profile.name));
        }
        problem.related(self.key, format!("used by `{subject}` here"))
    }
}

/// Sizes stand one level deeper than many expect.
fn moved_size(mut problem: Diagnostic, cx: &Cx<'_>) -> Diagnostic {
    let word = cx.sources().slice(problem.primary.span);
    if problem.code == "unknown-field"
        && problem.help.iter().any(|help| help.starts_with("known fields: name, profile"))
        && did_you_mean(word, ["cpu", "sockets", "memory", "disk"]).is_some()
    {
        problem.help = vec!["sizes are under `resources`, or in a `plan`".to_owned()];
    }
    problem
}

/// All machines, in the order of writing, and what their names are.
pub fn read(raw: &RawConfig, cx: &mut Cx<'_>) -> (Vec<MachineEntry>, Expansion) {
    let (no_profiles, no_machines) = (Profiles::default(), Templates::default());
    let all_profiles = raw.profiles.0.as_ref().unwrap_or(&no_profiles);
    let profiles = profile_table(all_profiles);
    let mut names = Expansion::new();
    let mut used: BTreeSet<Name> = BTreeSet::new();
    let mut entries = Vec::new();
    let mut taken: BTreeSet<Name> = BTreeSet::new();
    let mut nodes = 0;
    for template in &raw.vms.0.as_ref().unwrap_or(&no_machines).0 {
        let key = template.name.span;
        let conflicts = names.add(&template.name);
        let full = conflicts.iter().any(|one| one.code == "too-many-members");
        conflicts.into_iter().for_each(|conflict| cx.push(conflict));
        if full {
            break;
        }
        let before = cx.report().errors();
        let (node, profile) = with_profile(&template.body.node, &profiles, &mut used, cx);
        let profile_broken = cx.report().errors() > before;
        let members = template.name.value.members.len();
        nodes += profile::size(&node).saturating_mul(members);
        if nodes > NODES_MAX {
            let message = format!("the machines up to here have more than {NODES_MAX} values");
            let help = "shorten profiles or patterns that are used very often";
            cx.push(Diagnostic::error("too-large", key, message).help(help));
            break;
        }
        for (index, member) in template.name.value.members.iter().enumerate() {
            if !taken.insert(member.name.clone()) {
                continue;
            }
            let profile = profile.clone();
            let name = member.name.clone();
            let mut entry =
                MachineEntry { name, key, index, members, raw: None, broken: false, profile };
            let of_member = member.n.as_ref().map(|n| substitute(&node, n));
            let node = of_member.as_ref().unwrap_or(&node);
            let before = cx.report().errors();
            entry.raw =
                entry.on_behalf(cx, |cx| cx.at_key(Some(key), |cx| RawMachine::decode(node, cx)));
            entry.broken = profile_broken || cx.report().errors() > before;
            entries.push(entry);
        }
    }
    check_unused(all_profiles, &used, cx);
    (entries, names)
}

fn profile_table(profiles: &Profiles) -> Table<Profile> {
    let all = profiles.0.iter().map(|(name, profile)| (name.clone(), profile.key, profile.clone()));
    Table::of("profile", "unknown-profile", all)
}

/// The entry on top of its profile, when it names one that exists.
fn with_profile(
    node: &Node,
    profiles: &Table<Profile>,
    used: &mut BTreeSet<Name>,
    cx: &mut Cx<'_>,
) -> (Node, Option<UsedProfile>) {
    // A profile that is not a text is left to the decoder, which says what it should be.
    let named = node.get("profile").and_then(|entry| Some((entry, entry.value.as_str()?)));
    let Some((entry, named)) = named else { return (node.clone(), None) };
    let Some((name, item)) = profiles.find(named, entry.value.span, cx) else {
        return (node.clone(), None);
    };
    used.insert(name.clone());
    let Some(profile) = &item.value else { return (node.clone(), None) };
    let body: &Node = &profile.body.node;
    if body.as_map().is_none() {
        // Read for its message: a profile that is no mapping.
        cx.at_key(Some(profile.key), |cx| cx.mapping(body, "a mapping").is_some());
        return (node.clone(), None);
    }
    let used_profile = UsedProfile { name: name.clone(), body: body.span };
    (profile::merge(body, node), Some(used_profile))
}

/// A profile that nobody uses is likely a slip; it is read all the same, so that its mistakes are not found later.
fn check_unused(profiles: &Profiles, used: &BTreeSet<Name>, cx: &mut Cx<'_>) {
    for (name, profile) in profiles.0.iter().filter(|(name, _)| !used.contains(*name)) {
        let message = format!("no machine uses the profile `{name}`");
        cx.push(Diagnostic::warning("unused-profile", profile.key, message));
        let body: &Lazy<RawMachine> = &profile.body;
        cx.at_key(Some(profile.key), |cx| body.read(cx));
    }
}
