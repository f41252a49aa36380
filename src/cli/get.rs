//! `get` and `describe`: looking, never touching.

use super::{
    args::{Describe, Format, Get, GetKind, Global},
    error::CliError,
    output::Output,
    plan as plan_command,
    session::{self, Session},
};
use crate::{
    apply::ExitClass,
    model::{
        Bytes, Coverage, HypervisorInventory, HypervisorName, Inventory, Kind, MarkerState,
        ResourceKey, inert, inert_within,
    },
    ownership::Ownership,
};
use std::collections::BTreeMap;

/// Characters of one cell of a table. Names have at most 63 on every product; an error
/// that is longer is told in full by `plan`.
const CELL_CHARACTERS_MAX: usize = 120;
/// Characters of one value of a description: a screen full.
const VALUE_CHARACTERS_MAX: usize = 2_000;

/// A table for people that is a list of records for programs.
pub(super) struct Table {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn print(&self, format: Format, output: &Output) {
        match format {
            Format::Json => {
                let record = |row: &Vec<String>| -> BTreeMap<String, String> {
                    let names = self.columns.iter().map(|it| it.to_lowercase());
                    names.zip(row.iter().cloned()).collect()
                };
                let records: Vec<_> = self.rows.iter().map(record).collect();
                output.print_json(&records);
            }
            Format::Text | Format::Markdown => output.print(self.text()),
        }
    }

    fn text(&self) -> String {
        // One long name would push every other column off the screen; JSON has all of it.
        let cut = |cell: &String| inert_within(cell, CELL_CHARACTERS_MAX).into_owned();
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(cut).collect()).collect();
        if rows.is_empty() {
            return "Nothing there.".to_owned();
        }
        let mut widths: Vec<usize> = self.columns.iter().map(|it| it.chars().count()).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        let head: Vec<String> = self.columns.iter().map(|it| (*it).to_owned()).collect();
        let mut lines = vec![line(&head)];
        lines.extend(rows.iter().map(|row| line(row)));
        lines.join("\n")
    }
}

/// `get KIND [NAME]`.
pub async fn get(global: &Global, args: &Get, output: &Output) -> Result<ExitClass, CliError> {
    let session = Session::open(global, args.file.as_deref(), output).await?;
    session
        .look(async |session| {
            let history = session.history().await?;
            let inventory = session.observe(&history).await?;
            let products = plan_command::borrow(&session.desired);
            let known = session.known(&inventory, &history, &products);
            let made = plan_command::reconciled(known, &[], &session.clock)?;
            let mut table = match args.kind {
                GetKind::Hypervisors => hypervisors(&inventory, &made.ownership),
                GetKind::Nodes => nodes(&inventory),
                GetKind::Vms => machines(&inventory, &made.ownership, session, false),
                GetKind::Templates => machines(&inventory, &made.ownership, session, true),
                GetKind::Pools => pools(&inventory, session),
                GetKind::Storages => storages(&inventory),
            };
            if let Some(name) = &args.name {
                table.rows.retain(|row| row.iter().take(3).any(|cell| cell == name));
                if table.rows.is_empty() {
                    return Err(CliError::new(
                        ExitClass::Error,
                        format!("nothing there is called `{name}`"),
                    ));
                }
            }
            table.print(args.format.unwrap_or(session.output.format), &session.output);
            Ok(session::coverage_class(&inventory).unwrap_or(ExitClass::Ok))
        })
        .await
}

fn each(inventory: &Inventory) -> impl Iterator<Item = (&HypervisorName, &HypervisorInventory)> {
    inventory.hypervisors.iter()
}

fn hypervisors(inventory: &Inventory, ownership: &Ownership) -> Table {
    let row = |(name, seen): (&HypervisorName, &HypervisorInventory)| {
        let owned = ownership.owned.values().filter(|it| it.hypervisor == *name).count();
        let read = match &seen.coverage {
            Coverage::Complete => "complete".to_owned(),
            Coverage::Scoped { why, .. } => format!("scoped: {why}"),
            Coverage::Incomplete { gaps } => format!("partial: {}", gaps.join("; ")),
            Coverage::Failed { error, .. } => format!("failed: {error}"),
        };
        vec![
            name.to_string(),
            seen.version.clone(),
            seen.listed.len().to_string(),
            owned.to_string(),
            inert(&read).into_owned(),
        ]
    };
    Table {
        columns: vec!["NAME", "VERSION", "GUESTS", "OURS", "READ"],
        rows: each(inventory).map(row).collect(),
    }
}

fn nodes(inventory: &Inventory) -> Table {
    let mut rows = Vec::new();
    for (hypervisor, seen) in each(inventory) {
        for (name, node) in &seen.nodes {
            let on_it =
                || seen.listed.values().filter(|it| it.node.as_ref() == Some(name) && !it.template);
            let running = || on_it().filter(|it| it.power == crate::model::PowerState::Running);
            let memory: u64 = running().filter_map(|it| it.memory).map(|it| it.0).sum();
            let cpu: u32 = running().filter_map(|it| it.cpu).sum();
            rows.push(vec![
                name.to_string(),
                hypervisor.to_string(),
                if node.online { "online" } else { "offline" }.to_owned(),
                on_it().count().to_string(),
                format!("{cpu}/{}", node.cpus),
                format!("{}/{}", rounded(memory), rounded(node.memory.0)),
            ]);
        }
    }
    Table { columns: vec!["NAME", "HYPERVISOR", "STATE", "GUESTS", "CPU", "MEMORY"], rows }
}

/// Bytes to a tenth of a GiB: capacity is read at a glance.
fn rounded(bytes: u64) -> String {
    let tenths = bytes * 10 / Bytes::GIB;
    if tenths.is_multiple_of(10) {
        format!("{} GiB", tenths / 10)
    } else {
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    }
}

fn machines(
    inventory: &Inventory,
    ownership: &Ownership,
    session: &Session,
    templates: bool,
) -> Table {
    let mut rows = Vec::new();
    let owner: BTreeMap<(&HypervisorName, &str), &ResourceKey> =
        ownership.owned.iter().map(|(key, it)| ((&it.hypervisor, it.id.as_str()), key)).collect();
    for (hypervisor, seen) in each(inventory) {
        for (id, listed) in &seen.listed {
            if listed.template != templates {
                continue;
            }
            let read = seen.machines.get(id);
            let name = read.and_then(|it| it.spec.name.clone()).or_else(|| listed.name.clone());
            let whose = match owner.get(&(hypervisor, id.as_str())) {
                Some(key) => key.to_string(),
                None => match read.map(|it| &it.marker) {
                    Some(MarkerState::Found(marker))
                        if marker.project == session.desired.project =>
                    {
                        format!("not ours (names {})", marker.key)
                    }
                    Some(MarkerState::Found(marker)) => format!("project {}", marker.project),
                    Some(MarkerState::Garbled(_)) => "garbled marker".to_owned(),
                    Some(MarkerState::None) => "unmanaged".to_owned(),
                    None => "not looked at".to_owned(),
                },
            };
            let power = read.map_or(listed.power, |it| it.power);
            rows.push(vec![
                inert(&name.unwrap_or_default()).into_owned(),
                id.to_string(),
                hypervisor.to_string(),
                listed.node.as_ref().map(ToString::to_string).unwrap_or_default(),
                power.as_str().to_owned(),
                whose,
            ]);
        }
    }
    Table { columns: vec!["NAME", "ID", "HYPERVISOR", "NODE", "POWER", "WHOSE"], rows }
}

fn pools(inventory: &Inventory, session: &Session) -> Table {
    let mut rows = Vec::new();
    for (hypervisor, seen) in each(inventory) {
        for (name, pool) in &seen.pools {
            let whose = match pool.marker.found() {
                Some(marker) if marker.project == session.desired.project => marker.key.to_string(),
                Some(marker) => format!("project {}", marker.project),
                None => "unmanaged".to_owned(),
            };
            rows.push(vec![
                inert(name.as_str()).into_owned(),
                hypervisor.to_string(),
                pool.members.len().to_string(),
                whose,
                inert(&pool.comment).into_owned(),
            ]);
        }
    }
    Table { columns: vec!["NAME", "HYPERVISOR", "GUESTS", "WHOSE", "COMMENT"], rows }
}

fn storages(inventory: &Inventory) -> Table {
    let mut rows = Vec::new();
    for (hypervisor, seen) in each(inventory) {
        let mut shared = std::collections::BTreeSet::new();
        for storage in &seen.storages {
            // A shared storage is one, however many hosts list it.
            if storage.shared && !shared.insert(storage.name.clone()) {
                continue;
            }
            rows.push(vec![
                storage.name.to_string(),
                hypervisor.to_string(),
                if storage.shared { "shared".to_owned() } else { storage.node.to_string() },
                if storage.active { "active" } else { "inactive" }.to_owned(),
                if storage.holds_disks { "disks" } else { "files" }.to_owned(),
                format!("{}/{}", rounded(storage.used.0), rounded(storage.total.0)),
            ]);
        }
    }
    Table { columns: vec!["NAME", "HYPERVISOR", "NODE", "STATE", "HOLDS", "USED"], rows }
}

/// `describe ADDR`: declared and observed, field by field.
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

async fn describe_in(session: &Session, args: &Describe) -> Result<ExitClass, CliError> {
    let history = session.history().await?;
    let inventory = session.observe(&history).await?;
    let products = plan_command::borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let made = plan_command::reconciled(known, &[], &session.clock)?;
    let desired_machine = session.desired.machines.get(&args.address);
    let desired_pool = session.desired.pools.get(&args.address);
    let owned = made.ownership.owned.get(&args.address);
    let seen = owned.and_then(|it| inventory.hypervisors.get(&it.hypervisor)?.machines.get(&it.id));
    let pools: Vec<(&HypervisorName, &crate::model::ObservedPool)> = inventory
        .hypervisors
        .iter()
        .filter(|_| args.address.kind == Kind::Pool)
        .filter_map(|(name, it)| Some((name, it.pools.get(&args.address.name)?)))
        .collect();
    if desired_machine.is_none() && desired_pool.is_none() && seen.is_none() && pools.is_empty() {
        return Err(CliError::new(
            ExitClass::Error,
            format!("{} is neither in the YAML nor owned on a hypervisor", args.address),
        )
        .hint("`novahost get vms` lists what is there"));
    }
    let mut facts = BTreeMap::new();
    let mut fact = |name: &str, value: String| facts.insert(name.to_owned(), value);
    if let Some(owned) = owned {
        fact("hypervisor", owned.hypervisor.to_string());
        fact("id", owned.id.to_string());
        fact("stage", owned.stage.as_str().to_owned());
    }
    if let Some(seen) = seen {
        fact("power", seen.power.as_str().to_owned());
        fact("node", seen.node.as_ref().map(ToString::to_string).unwrap_or_default());
        fact("uuid", seen.uuid.map(|it| it.to_string()).unwrap_or_default());
        for (name, text) in snapshots(&session.desired.project, seen) {
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
    for (name, pool) in &pools {
        fact(&format!("on {name}"), format!("{} guests", pool.members.len()));
    }
    let mut fields: BTreeMap<String, DescribedField> = BTreeMap::new();
    if let Some(machine) = desired_machine {
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
    let plan = made
        .plan
        .body
        .actions
        .iter()
        .filter(|it| it.key == args.address)
        .map(|it| format!("{} ({})", it.id, it.disruption()))
        .chain(
            made.plan
                .body
                .blocked
                .iter()
                .filter(|it| it.key == args.address)
                .map(|it| format!("blocked [{}]: {}", it.code, it.message)),
        )
        .collect();
    let place = desired_machine.map(|it| &it.place).or(desired_pool.map(|it| &it.place));
    let description = Description {
        address: args.address.to_string(),
        place: place.map(ToString::to_string),
        facts,
        fields: fields.into_values().collect(),
        plan,
    };
    match args.format.unwrap_or(session.output.format) {
        Format::Json => session.output.print_json(&description),
        Format::Text | Format::Markdown => {
            session.output.print(description_text(&description, session.output.width));
        }
    }
    Ok(session::coverage_class(&inventory).unwrap_or(ExitClass::Ok))
}

/// Its snapshots by name, with their age and what is known of them.
fn snapshots(
    project: &crate::model::ProjectName,
    seen: &crate::model::ObservedMachine,
) -> Vec<(String, String)> {
    let one = |it: &crate::model::SnapshotSeen| {
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
    let lead = name_width + 4;
    let room = width.saturating_sub(lead).max(20);
    let value = inert_within(value, VALUE_CHARACTERS_MAX);
    let mut line = format!("  {name:<name_width$}  ");
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
        text.push_str("  nothing to do\n");
    }
    for line in &it.plan {
        text.push_str(&format!("  {line}\n"));
    }
    text
}
