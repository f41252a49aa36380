//! `describe`: one object, declared and observed, field by field. It looks and never touches.

use super::{
    args::{Describe, Format, Global},
    error::CliError,
    get::state_of,
    output::Output,
    plan as plan_command,
    session::{self, Session},
};
use crate::{
    apply::ExitClass,
    model::{
        DesiredMachine, FieldKind, FieldPath, HypervisorName, Inventory, Kind, ObservedMachine,
        ObservedPool, PartState, Place, Plan, ProjectName, ResourceKey, SnapshotSeen, inert,
        inert_within,
    },
    report,
};
use std::collections::BTreeMap;

/// Characters of one value of a description: a screen full.
const VALUE_CHARACTERS_MAX: usize = 2_000;

/// `describe ADDR`.
pub async fn describe(
    global: &Global,
    args: &Describe,
    output: &Output,
) -> Result<ExitClass, CliError> {
    let session = Session::open(global, args.file.as_deref(), output).await?;
    session.look(async |session| describe_in(session, args).await).await
}

#[derive(serde::Serialize)]
struct Description {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    facts: BTreeMap<String, String>,
    fields: Vec<DescribedField>,
    plan: Vec<String>,
}

#[derive(serde::Serialize)]
struct DescribedField {
    field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    desired: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

/// What is said of an object beside its fields, by name.
type Facts = BTreeMap<String, String>;

async fn describe_in(session: &Session, args: &Describe) -> Result<ExitClass, CliError> {
    let history = session.history().await?;
    let inventory = session.observe(&history).await?;
    let products = plan_command::borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let made = plan_command::reconciled(known, &[], &session.clock)?;
    let key = &args.address;
    let mut facts = Facts::new();
    let mut fields = Vec::new();
    let place = match key.kind {
        Kind::Vm => {
            let declared = session.desired.machines.get(key);
            let owned = made.ownership.owned.get(key);
            let at = owned.and_then(|it| inventory.hypervisors.get(&it.hypervisor));
            let seen = owned.and_then(|it| at?.machines.get(&it.id));
            if let Some(owned) = owned {
                facts.insert("hypervisor".to_owned(), owned.hypervisor.to_string());
                facts.insert("id".to_owned(), owned.id.to_string());
                facts.insert("stage".to_owned(), owned.stage.as_str().to_owned());
            }
            if let Some(seen) = seen {
                machine(&mut facts, &session.desired.project, seen);
            }
            fields = fields_of(declared, seen);
            facts.extend(spread_of(&inventory, key, declared));
            declared.map(|it| it.place.clone())
        }
        Kind::Pool => pool(&mut facts, session, &inventory, key),
        Kind::Spread => spread(&mut facts, session, &inventory, key),
    };
    if place.is_none() && facts.is_empty() {
        let list = format!("`novahost get {}s` lists what is there", key.kind);
        let text = format!("{key} is neither in the YAML nor on a hypervisor as ours");
        return Err(CliError::new(ExitClass::Error, text).hint(list));
    }
    let description = Description {
        address: key.to_string(),
        place: place.as_ref().map(ToString::to_string),
        facts,
        fields,
        plan: planned(&made.plan, key),
    };
    match args.format.unwrap_or(session.output.format) {
        Format::Json => session.output.print_json(&description),
        Format::Text | Format::Markdown => {
            session.output.print(description_text(&description, session.output.width));
        }
    }
    Ok(session::coverage_class(&inventory).unwrap_or(ExitClass::Ok))
}

/// What is to be done about it, and what stands in the way with what helps.
fn planned(plan: &Plan, key: &ResourceKey) -> Vec<String> {
    let actions = plan.body.actions.iter().filter(|it| it.key == *key);
    let mut lines: Vec<String> =
        actions.map(|it| format!("{} ({})", it.id, it.disruption())).collect();
    for it in plan.body.blocked.iter().filter(|it| it.key == *key) {
        lines.push(format!("blocked [{}]: {}", it.code, it.message));
        if !it.help.is_empty() {
            lines.push(format!("help: {}", it.help));
        }
    }
    let notes = plan.envelope.notes.iter().filter(|it| it.key.as_ref() == Some(key));
    lines.extend(notes.map(|it| format!("note: {}", it.text)));
    lines
}

fn machine(facts: &mut Facts, project: &ProjectName, seen: &ObservedMachine) {
    let mut fact = |name: &str, value: String| facts.insert(name.to_owned(), value);
    fact("power", seen.power.as_str().to_owned());
    fact("node", seen.node.as_ref().map(ToString::to_string).unwrap_or_default());
    fact("uuid", seen.uuid.map(|it| it.to_string()).unwrap_or_default());
    for (name, text) in snapshots(project, seen) {
        fact(&name, text);
    }
    for device in &seen.devices {
        let mut text = device.volume.clone().unwrap_or_default();
        if let Some(size) = device.size {
            text.push_str(&format!(" {size}"));
        }
        if let Some(mac) = device.mac {
            text.push_str(&mac.to_string());
        }
        fact(&format!("device {}", device.slot), inert(text.trim()).into_owned());
    }
}

fn fields_of(
    declared: Option<&DesiredMachine>,
    seen: Option<&ObservedMachine>,
) -> Vec<DescribedField> {
    let mut fields: BTreeMap<String, DescribedField> = BTreeMap::new();
    if let Some(machine) = declared {
        machine.spec.visit(|path, value| {
            let place = Some(machine.place_of(&path).to_string());
            let field = path.to_string();
            let entry = DescribedField {
                field: field.clone(),
                desired: Some(value.to_string()),
                observed: None,
                place,
            };
            fields.insert(field, entry);
        });
    }
    if let Some(seen) = seen {
        seen.settled().visit(|path, value| {
            let field = path.to_string();
            let entry = fields.entry(field.clone()).or_insert(DescribedField {
                field,
                desired: None,
                observed: None,
                place: None,
            });
            entry.observed = Some(inert(&value.to_string()).into_owned());
        });
    }
    fields.into_values().collect()
}

/// What a machine is kept apart from, as declared and as it is.
fn spread_of(inventory: &Inventory, key: &ResourceKey, declared: Option<&DesiredMachine>) -> Facts {
    let mut facts = Facts::new();
    if let Some(name) = declared.and_then(|it| it.spread.as_ref()) {
        facts.insert(
            "spread".to_owned(),
            format!("{} (declared)", ResourceKey::spread(name.clone())),
        );
    }
    let all = inventory.hypervisors.values().flat_map(|it| it.spreads.values());
    for it in all.filter(|it| it.members.contains(key)) {
        let others: Vec<String> =
            it.members.iter().filter(|other| *other != key).map(ToString::to_string).collect();
        let others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") };
        let text = format!("{} on {}: {}, from {others}", it.key, it.node, state_of(it));
        facts.insert("kept apart".to_owned(), inert(&text).into_owned());
    }
    facts
}

/// A pool on each hypervisor, with the objects that it is made of.
fn pool(
    facts: &mut Facts,
    session: &Session,
    inventory: &Inventory,
    key: &ResourceKey,
) -> Option<Place> {
    for (name, seen) in &inventory.hypervisors {
        let Some(found) = seen.pools.get(&key.name) else { continue };
        let guests = super::validate::count(found.members.len(), "guest");
        let whose = match found.marker.found() {
            Some(it) if it.project == session.desired.project => format!("mark of {}", it.key),
            Some(it) => format!("mark of project `{}`", it.project),
            None => "without our mark".to_owned(),
        };
        let mut text = match found.exists() {
            true => format!("{guests}, {whose}"),
            false => "not there".to_owned(),
        };
        if !found.comment.is_empty() {
            text.push_str(&format!(", \"{}\"", inert(&found.comment)));
        }
        facts.insert(format!("on {name}"), text);
        facts.extend(parts(name, found));
    }
    session.desired.pools.get(key).map(|it| it.place.clone())
}

fn parts(at: &HypervisorName, pool: &ObservedPool) -> Facts {
    let told = pool.parts.iter().map(|(part, seen)| {
        let state = match (seen.state(), seen.marker.found()) {
            (PartState::Absent, _) => "not there".to_owned(),
            (PartState::Marked, Some(it)) => format!("bears the mark of {}", it.key),
            (PartState::There | PartState::Marked, _) => "there, without a mark".to_owned(),
        };
        let stray = if seen.named { "" } else { ", named by no entry" };
        let id = seen.id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        let name = format!("on {at}, {}", report::part_words(part));
        (inert(&name).into_owned(), inert(&format!("{state}{stray}{id}")).into_owned())
    });
    told.collect()
}

/// Which machines are kept apart under a name: as declared, and in each place.
fn spread(
    facts: &mut Facts,
    session: &Session,
    inventory: &Inventory,
    key: &ResourceKey,
) -> Option<Place> {
    let asked = session.desired.machines.values();
    let asked: Vec<&DesiredMachine> =
        asked.filter(|it| it.spread.as_ref() == Some(&key.name)).collect();
    if !asked.is_empty() {
        let names: Vec<String> = asked.iter().map(|it| it.key.to_string()).collect();
        facts.insert("declared".to_owned(), names.join(", "));
    }
    for (name, seen) in &inventory.hypervisors {
        for it in seen.spreads.values().filter(|it| it.key == *key) {
            let members: Vec<String> = it.members.iter().map(ToString::to_string).collect();
            let why = it.foreign.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let text = format!("{}{why}: {}", state_of(it), members.join(", "));
            facts.insert(format!("on {name}, {}", it.node), inert(&text).into_owned());
        }
    }
    let path = FieldPath::of(FieldKind::Spread);
    asked.first().map(|it| it.place_of(&path).clone())
}

/// Its snapshots by name, with their age and what is known of them.
fn snapshots(project: &ProjectName, seen: &ObservedMachine) -> Vec<(String, String)> {
    let one = |it: &SnapshotSeen| {
        let taken = it.created_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let mut parts = vec![taken.map_or_else(|| "taken".to_owned(), |it| format!("taken {it}"))];
        if crate::ownership::owns_snapshot(project, seen.uuid, it) {
            parts.push("before a change of ours".to_owned());
        }
        // Names need not be unique, and facts are told by theirs.
        let name = format!("snapshot {} ({})", inert(&it.name), inert(&it.id));
        (name, parts.join(", "))
    };
    seen.snapshots.iter().map(one).collect()
}

/// `  name  value`, the value cut into as many lines as the width asks for.
fn described(text: &mut String, name: &str, name_width: usize, value: &str, width: usize) {
    flow(text, format!("  {name:<name_width$}  "), name_width + 4, value, width);
}

/// Words behind a beginning, with further lines set in by `lead`.
fn flow(text: &mut String, first: String, lead: usize, value: &str, width: usize) {
    let room = width.saturating_sub(lead).max(20);
    let value = inert_within(value, VALUE_CHARACTERS_MAX);
    let mut line = first;
    let mut used = 0;
    for word in value.split(' ').filter(|it| !it.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        for (index, part) in letters.chunks(room).enumerate() {
            let gap = usize::from(used > 0 && index == 0);
            if used + gap + part.len() > room {
                text.push_str(line.trim_end());
                text.push('\n');
                line = " ".repeat(lead);
                used = 0;
            } else if gap == 1 {
                line.push(' ');
                used += 1;
            }
            line.extend(part);
            used += part.len();
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn description_text(it: &Description, columns: usize) -> String {
    let mut text = it.address.clone();
    if let Some(place) = &it.place {
        text.push_str(&format!("  ({place})"));
    }
    text.push('\n');
    let width = it.facts.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    // What it is first, its devices after.
    let (devices, own): (Vec<_>, Vec<_>) = it
        .facts
        .iter()
        .partition(|(name, _)| name.starts_with("device ") || name.starts_with("snapshot "));
    for (name, value) in own.into_iter().chain(devices) {
        described(&mut text, name, width, value, columns);
    }
    if !it.fields.is_empty() {
        text.push_str("\nFields (declared ones are compared)\n");
    }
    let width = it.fields.iter().map(|field| field.field.chars().count()).max().unwrap_or(0);
    for field in &it.fields {
        let value = match (&field.desired, &field.observed) {
            (Some(want), Some(has)) if want == has => want.clone(),
            (Some(want), Some(has)) => format!("{has} (observed), {want} (declared)"),
            (Some(want), None) => format!("{want} (declared)"),
            (None, Some(has)) => format!("{has} (not declared)"),
            (None, None) => continue,
        };
        let value = value.replace("\\n", " / ").replace('\n', " / ");
        described(&mut text, &field.field, width, &value, columns);
    }
    text.push_str("\nPlan\n");
    if it.plan.is_empty() {
        text.push_str("    nothing to do\n");
    }
    for line in &it.plan {
        flow(&mut text, "    ".to_owned(), 4, line, columns);
    }
    text
}
