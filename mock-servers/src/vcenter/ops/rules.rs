//! Rules of clusters: which machines run on different hosts, or on one.

use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, arr, flag, int, obj, text};
use crate::vcenter::world::{Kind, Rule};
use crate::vcenter::xml::Elem;

/// A rule as it is told.
pub(crate) fn told(core: &Core, rule: &Rule) -> Val {
    let there = |id: &&String| core.switches.rules_keep_gone || core.world.vm(id).is_some();
    let vms = rule.vms.iter().filter(there);
    let vms = vms.map(|id| Val::Ref("VirtualMachine".into(), id.clone())).collect();
    let ty = if rule.together { "ClusterAffinityRuleSpec" } else { "ClusterAntiAffinityRuleSpec" };
    obj(
        ty,
        vec![
            ("key", int(rule.key)),
            ("status", crate::vcenter::val::word("ManagedEntityStatus", "green")),
            ("enabled", flag(rule.enabled)),
            ("name", text(rule.name.clone())),
            ("mandatory", flag(rule.mandatory)),
            ("userCreated", flag(true)),
            ("inCompliance", flag(true)),
            ("ruleUuid", text(rule.uuid.clone())),
            ("vm", arr("ManagedObjectReference", vms)),
        ],
    )
}

/// Changes a cluster: all that a call asks for, or nothing of it.
pub(crate) fn reconfigure(core: &mut Core, cluster: &str, call: &Elem) -> Outcome<()> {
    let Some(Kind::Cluster { .. }) = core.world.entities.get(cluster).map(|it| &it.kind) else {
        return Err(Fault::gone("ClusterComputeResource", cluster));
    };
    let Some(spec) = call.get("spec") else { return Err(Fault::argument("spec")) };
    if spec.ty != "ClusterConfigSpecEx" || call.flag("modify") != Some(true) {
        return Err(Fault::unsupported("whole configurations in this simulator"));
    }
    super::birth::only(spec, &["rulesSpec"])?;
    let mut rules = core.world.rules.get(cluster).cloned().unwrap_or_default();
    for one in spec.all("rulesSpec") {
        change(core, &mut rules, one)?;
    }
    core.world.rules.insert(cluster.to_owned(), rules);
    Ok(())
}

fn change(core: &mut Core, rules: &mut Vec<Rule>, spec: &Elem) -> Outcome<()> {
    let at = |rules: &[Rule], key: Option<i64>| {
        let missing = || Fault::new("NotFound", "The rule was not found.", vec![]);
        let found = rules.iter().position(|it| Some(i64::from(it.key)) == key);
        found.ok_or_else(missing)
    };
    match spec.text_of("operation") {
        Some("remove") => {
            let index = at(rules, spec.number("removeKey"))?;
            rules.remove(index);
        }
        Some("add") => {
            let mut rule = read(core, spec)?;
            unique(rules, &rule, None)?;
            core.world.counters.rule += 1;
            rule.key = core.world.counters.rule;
            rule.uuid = core.world.new_uuid();
            rules.push(rule);
        }
        Some("edit") => {
            let key = spec.get("info").and_then(|it| it.number("key"));
            let index = at(rules, key)?;
            let mut rule = read(core, spec)?;
            unique(rules, &rule, Some(index))?;
            if rule.together != rules[index].together {
                return Err(Fault::argument("rulesSpec.info"));
            }
            (rule.key, rule.uuid) = (rules[index].key, rules[index].uuid.clone());
            rules[index] = rule;
        }
        _ => return Err(Fault::argument("rulesSpec.operation")),
    }
    Ok(())
}

fn read(core: &Core, spec: &Elem) -> Outcome<Rule> {
    let Some(info) = spec.get("info") else { return Err(Fault::argument("rulesSpec.info")) };
    let together = match &*info.ty {
        "ClusterAntiAffinityRuleSpec" => false,
        "ClusterAffinityRuleSpec" => true,
        _ => return Err(Fault::argument("rulesSpec.info")),
    };
    let vms: Vec<String> = info.all("vm").map(|it| it.text.trim().to_owned()).collect();
    if vms.len() < 2 {
        return Err(Fault::argument("rulesSpec.info.vm"));
    }
    if let Some(gone) = vms.iter().find(|id| core.world.vm(id).is_none()) {
        return Err(Fault::gone("VirtualMachine", gone));
    }
    Ok(Rule {
        key: 0,
        uuid: String::new(),
        name: info.text_of("name").unwrap_or("").to_owned(),
        together,
        enabled: info.flag("enabled") == Some(true),
        mandatory: info.flag("mandatory") == Some(true),
        vms,
    })
}

fn unique(rules: &[Rule], rule: &Rule, own: Option<usize>) -> Outcome<()> {
    if rule.name.is_empty() {
        return Err(Fault::argument("rulesSpec.info.name"));
    }
    let mut others = rules.iter().enumerate().filter(|(index, _)| Some(*index) != own);
    match others.any(|(_, it)| it.name == rule.name) {
        true => Err(Fault::argument("rulesSpec.info.name")),
        false => Ok(()),
    }
}
