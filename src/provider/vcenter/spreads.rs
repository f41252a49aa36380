//! Machines that are kept on different hosts: rules of DRS, by their names.
//!
//! Pure. A rule has no room for a marker, so that its name says which project and entry made
//! it, and its machines have to be that project's: two projects can be called such that one
//! name means both.

use super::{
    places::Places,
    translate::{id_of, machine_ref, marker_of},
    vim::{MoRef, Node, Val, collect::ObjectContent},
};
use crate::model::{
    Kind, MarkerState, Name, NativeId, NodeName, ObservedSpread, ProjectName, ResourceKey,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The kind of rule that keeps machines apart.
const APART: &str = "ClusterAntiAffinityRuleSpec";

/// What a rule is called. DESIGN: a prefix where there is no room for a marker.
pub(super) fn rule_name(project: &ProjectName, name: &Name) -> String {
    format!("nh-{project}-{name}")
}

/// The machines of a project by entry: those whose marker names it and this very object.
pub(super) fn ours<'a>(
    project: &ProjectName,
    machines: impl IntoIterator<Item = &'a ObjectContent>,
) -> BTreeMap<ResourceKey, MoRef> {
    let mut found = BTreeMap::new();
    for object in machines {
        let MarkerState::Found(marker) = marker_of(object) else { continue };
        let uuid = object.props.get("config.instanceUuid").and_then(Node::as_word);
        let uuid = uuid.and_then(|text| text.parse().ok());
        let binds = marker.uuid.is_some()
            && marker.uuid == uuid
            && marker.id.as_ref().is_none_or(|id| *id == id_of(object));
        if marker.project == *project && marker.key.kind == Kind::Vm && binds {
            found.insert(marker.key.clone(), machine_ref(&id_of(object)));
        }
    }
    found
}

/// Every rule with a name of the project. `gone` tells which machines do not exist any more:
/// a rule may go on naming those.
pub(super) fn observed(
    places: &Places,
    project: &ProjectName,
    ours: &BTreeMap<ResourceKey, MoRef>,
    gone: &BTreeSet<MoRef>,
) -> BTreeMap<NativeId, ObservedSpread> {
    let mut found = BTreeMap::new();
    for (node, place) in &places.nodes {
        for rule in &place.rules {
            if let Some(spread) = spread(rule, (project, node), ours, gone) {
                found.insert(ObservedSpread::id_of(&spread.key, node), spread);
            }
        }
    }
    found
}

fn spread(
    rule: &Node,
    (project, node): (&ProjectName, &NodeName),
    ours: &BTreeMap<ResourceKey, MoRef>,
    gone: &BTreeSet<MoRef>,
) -> Option<ObservedSpread> {
    let name = rule.text_at("name")?.strip_prefix(&format!("nh-{project}-"))?;
    let in_it = members(rule);
    let members: BTreeSet<ResourceKey> =
        ours.iter().filter(|(_, it)| in_it.contains(it)).map(|(key, _)| key.clone()).collect();
    let known: BTreeSet<&MoRef> = ours.values().collect();
    let others: Vec<String> = in_it
        .iter()
        .filter(|it| !known.contains(it) && !gone.contains(*it))
        .map(|it| it.value.clone())
        .collect();
    let is_apart = rule.data_type.as_deref() == Some(APART);
    let foreign = match (is_apart, others.as_slice()) {
        (false, _) => Some("it is of another kind".to_owned()),
        (true, []) => None,
        (true, _) => Some(format!("machines of others are in it: {}", others.join(", "))),
    };
    Some(ObservedSpread {
        key: ResourceKey::spread(name),
        node: node.clone(),
        enabled: rule.bool_at("enabled") == Some(true),
        members,
        foreign,
    })
}

/// The machines that a rule names.
pub(super) fn members(rule: &Node) -> Vec<MoRef> {
    rule.all("vm").filter_map(Node::as_moref).collect()
}

/// The machines that any rule of the project names.
pub(super) fn named(places: &Places, project: &ProjectName) -> BTreeSet<MoRef> {
    let prefix = format!("nh-{project}-");
    let rules = places.nodes.values().flat_map(|it| &it.rules);
    let ours = rules.filter(|it| it.text_at("name").is_some_and(|name| name.starts_with(&prefix)));
    ours.flat_map(members).collect()
}

/// A rule as it was read, with what a call needs: the form of `Fresh::raw`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpread {
    /// The rule, when there is one.
    pub rule: Option<Node>,
    /// Ids of the project's machines, by entry.
    pub machines: BTreeMap<String, String>,
}

/// What a cluster is told of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit<'a> {
    /// To keep these machines apart.
    Keep(&'a BTreeSet<ResourceKey>),
    /// To keep none apart.
    Drop,
}

/// The specification of one change. What the rule is besides stays as it is.
pub(super) fn spec(name: &str, raw: &RawSpread, edit: Edit<'_>) -> Result<Val, String> {
    let key = raw.rule.as_ref().and_then(|rule| rule.i64_at("key"));
    let key = key.map(|key| i32::try_from(key).map_err(|_| "the rule's key is none".to_owned()));
    let key = key.transpose()?;
    let change = match edit {
        Edit::Drop => {
            let key = key.ok_or_else(|| format!("there is no rule `{name}`"))?;
            Val::obj("ClusterRuleSpec")
                .with("operation", "remove")
                .with("removeKey", Val::any_int(key))
        }
        Edit::Keep(members) => {
            let id = |key: &ResourceKey| {
                let missing = || format!("{key} is not there");
                let id = raw.machines.get(&key.to_string()).ok_or_else(missing)?;
                Ok::<_, String>(MoRef::new("VirtualMachine", id.as_str()))
            };
            let vms = members.iter().map(id).collect::<Result<Vec<_>, _>>()?;
            let old = raw.rule.as_ref();
            let mandatory = old.and_then(|rule| rule.bool_at("mandatory")).unwrap_or(false);
            let uuid = old.and_then(|rule| rule.text_at("ruleUuid")).map(str::to_owned);
            let info = Val::obj(APART)
                .with_some("key", key.map(i64::from))
                .with("enabled", true)
                .with("name", name)
                .with("mandatory", mandatory)
                .with("userCreated", true)
                .with_some("ruleUuid", uuid)
                .with("vm", Val::arr(vms));
            let operation = if key.is_some() { "edit" } else { "add" };
            Val::obj("ClusterRuleSpec").with("operation", operation).with("info", info)
        }
    };
    Ok(Val::obj("ClusterConfigSpecEx").with("rulesSpec", Val::arr([change])))
}
