//! `get`: what is there, one line each. It looks and never touches.

use super::{
    args::{Format, Get, GetKind, Global},
    error::CliError,
    output::Output,
    plan as plan_command,
    session::{self, Session},
};
use crate::{
    apply::ExitClass,
    model::{
        Bytes, Coverage, HypervisorInventory, HypervisorName, Inventory, MarkerState,
        ObservedSpread, ResourceKey, inert, inert_within,
    },
    ownership::Ownership,
};
use std::collections::BTreeMap;

/// Characters of one cell of a table. Names have at most 63 on every product; an error
/// that is longer is told in full by `plan`.
const CELL_CHARACTERS_MAX: usize = 120;

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
                GetKind::Spreads => spreads(&inventory),
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

fn spreads(inventory: &Inventory) -> Table {
    let mut rows = Vec::new();
    for (hypervisor, seen) in each(inventory) {
        for spread in seen.spreads.values() {
            let members: Vec<String> = spread.members.iter().map(ToString::to_string).collect();
            rows.push(vec![
                inert(spread.key.name.as_str()).into_owned(),
                hypervisor.to_string(),
                spread.node.to_string(),
                state_of(spread).to_owned(),
                members.join(", "),
            ]);
        }
    }
    Table { columns: vec!["NAME", "HYPERVISOR", "NODE", "STATE", "MACHINES"], rows }
}

/// How a rule stands, in a word or two.
pub(super) fn state_of(spread: &ObservedSpread) -> &'static str {
    match (&spread.foreign, spread.enabled) {
        (Some(_), _) => "not ours",
        (None, true) => "in force",
        (None, false) => "switched off",
    }
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
