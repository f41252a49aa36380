//! `adopt`: lists what could be taken over, and writes entries for it. Changes nothing:
//! the entries are planned and reviewed like all others.

use super::{
    args::{Adopt, Global},
    error::CliError,
    get::Table,
    output::Output,
    plan as plan_command,
    session::{self, Session},
};
use crate::{
    apply::ExitClass,
    model::{
        Code, GuestKind, HypervisorInventory, HypervisorName, Inventory, Listed, MarkerState, Name,
        NativeId, ObservedMachine, ResourceKey, inert,
    },
    ownership::{Ownership, adoptable},
    report,
};
use globset::{Glob, GlobMatcher};
use std::collections::{BTreeMap, BTreeSet};

/// One `HYPERVISOR` or `HYPERVISOR/ID`.
struct Wanted {
    all: BTreeSet<HypervisorName>,
    ids: BTreeSet<(HypervisorName, NativeId)>,
}

/// What one guest is to an adoption.
enum Standing<'a> {
    /// Nobody's.
    Free(&'a ObservedMachine),
    /// It is this entry's after a restore, and the entry does not know its id.
    Moved(&'a ResourceKey),
    /// It cannot be adopted, or not like this.
    No(String),
}

/// One guest that was asked for.
struct Guest<'a> {
    hypervisor: &'a HypervisorName,
    id: &'a NativeId,
    listed: &'a Listed,
    standing: Standing<'a>,
}

/// `adopt HYPERVISOR[/ID]...`.
pub async fn run(global: &Global, args: Adopt, output: &Output) -> Result<ExitClass, CliError> {
    let session = Session::open(global, args.file.as_deref(), output).await?;
    session.look(async |session| run_in(session, &args).await).await
}

async fn run_in(session: &Session, args: &Adopt) -> Result<ExitClass, CliError> {
    let wanted = wanted(session, args)?;
    let glob = args.name.as_deref().map(Glob::new).transpose();
    let glob = glob.map_err(|error| CliError::of(ExitClass::Error, &error))?;
    let glob = glob.map(|it| it.compile_matcher());
    let history = session.history().await?;
    let inventory = session.observe_closely(&history, &wanted.all).await?;
    let products = plan_command::borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let made = plan_command::reconciled(known, &[], &session.clock)?;
    let guests = guests(session, &inventory, &made.ownership, &wanted);
    let chosen: Vec<Guest<'_>> =
        guests.into_iter().filter(|it| fits(it, args, glob.as_ref(), &wanted)).collect();
    let class = session::coverage_class(&inventory).unwrap_or(ExitClass::Ok);
    let filtered = args.name.is_some() || args.pool.is_some() || args.tag.is_some();
    if wanted.ids.is_empty() && !filtered && !args.all {
        list(session, args, &chosen);
        return Ok(class);
    }
    let text = written(session, args, &chosen);
    if text.is_empty() {
        return Err(CliError::new(ExitClass::Error, "there is nothing to adopt among these")
            .hint("`novahost adopt HYPERVISOR` lists what could be adopted"));
    }
    match &args.out {
        Some(path) => {
            new_file(path, &text)?;
            session.output.remark(format!(
                "written: {}; include it, and look at `novahost plan`",
                path.display()
            ));
        }
        None => session.output.print(text.trim_end()),
    }
    Ok(class)
}

fn wanted(session: &Session, args: &Adopt) -> Result<Wanted, CliError> {
    let mut wanted = Wanted { all: BTreeSet::new(), ids: BTreeSet::new() };
    for text in &args.machines {
        let (name, id) = match text.split_once('/') {
            Some((name, id)) => (name, Some(id)),
            None => (text.as_str(), None),
        };
        let name = HypervisorName::from(name);
        if !session.desired.hypervisors.contains_key(&name) {
            let names: Vec<&str> =
                session.desired.hypervisors.keys().map(HypervisorName::as_str).collect();
            let text = format!("there is no hypervisor `{}` in the YAML", inert(name.as_str()));
            return Err(CliError::new(ExitClass::Config, text)
                .hint(format!("known are: {}", names.join(", "))));
        }
        wanted.ids.extend(id.map(|id| (name.clone(), NativeId::from(id))));
        wanted.all.insert(name);
    }
    Ok(wanted)
}

fn guests<'a>(
    session: &Session,
    inventory: &'a Inventory,
    ownership: &'a Ownership,
    wanted: &Wanted,
) -> Vec<Guest<'a>> {
    let mut all = Vec::new();
    for (hypervisor, seen) in &inventory.hypervisors {
        if !wanted.all.contains(hypervisor) {
            continue;
        }
        for (id, listed) in &seen.listed {
            let standing = standing(session, hypervisor, id, seen, listed, ownership);
            all.push(Guest { hypervisor, id, listed, standing });
        }
    }
    all
}

fn standing<'a>(
    session: &Session,
    hypervisor: &HypervisorName,
    id: &NativeId,
    seen: &'a HypervisorInventory,
    listed: &Listed,
    ownership: &'a Ownership,
) -> Standing<'a> {
    if listed.guest == GuestKind::Container {
        return Standing::No("is a container".to_owned());
    }
    let here = |at: &HypervisorName, other: &NativeId| at == hypervisor && other == id;
    if let Some((key, _)) = ownership.owned.iter().find(|(_, it)| here(&it.hypervisor, &it.id)) {
        return Standing::No(format!("is {key}"));
    }
    let Some(machine) = seen.machines.get(id) else {
        let why = seen.unreadable.get(id).map_or("it was not read", String::as_str);
        return Standing::No(format!("cannot be read: {why}"));
    };
    for (key, obstacles) in &ownership.obstacles {
        let found =
            obstacles.iter().find(|it| it.hypervisor == *hypervisor && it.id.as_ref() == Some(id));
        match found.map(|it| it.code) {
            Some(Code::Moved) => return Standing::Moved(key),
            Some(code) => return Standing::No(format!("stands in the way of {key} [{code}]")),
            None => {}
        }
    }
    let (project, key) = (&session.desired.project, ResourceKey::vm(Name::from("-")));
    match adoptable(project, &key, machine, session.marker_key.as_ref()) {
        Ok(()) if machine.marker == MarkerState::None => Standing::Free(machine),
        Ok(()) => Standing::No("bears a marker of this project".to_owned()),
        Err(it) => Standing::No(it.why),
    }
}

fn fits(guest: &Guest<'_>, args: &Adopt, glob: Option<&GlobMatcher>, wanted: &Wanted) -> bool {
    let asked = wanted.ids.contains(&(guest.hypervisor.clone(), guest.id.clone()));
    let narrowed = wanted.ids.iter().any(|(name, _)| name == guest.hypervisor);
    if asked {
        return true;
    }
    let kind = match guest.standing {
        Standing::Free(_) => !args.moved,
        Standing::Moved(_) => args.moved,
        Standing::No(_) => false,
    };
    let name = guest.listed.name.as_deref().unwrap_or_default();
    let pool = guest.listed.pool.as_ref().map(Name::as_str);
    kind && !narrowed
        && glob.is_none_or(|it| it.is_match(name))
        && args.pool.as_deref().is_none_or(|it| pool == Some(it))
        && args.tag.as_ref().is_none_or(|it| guest.listed.tags.contains(it))
}

fn list(session: &Session, args: &Adopt, guests: &[Guest<'_>]) {
    let row = |guest: &Guest<'_>| {
        let text = |it: Option<&str>| inert(it.unwrap_or_default()).into_owned();
        let tags: Vec<&str> = guest.listed.tags.iter().map(String::as_str).collect();
        vec![
            text(guest.listed.name.as_deref()),
            format!("{}/{}", guest.hypervisor, guest.id),
            guest.listed.power.as_str().to_owned(),
            text(guest.listed.pool.as_ref().map(Name::as_str)),
            text(Some(&tags.join(","))),
        ]
    };
    let table = Table {
        columns: vec!["NAME", "ADOPT", "POWER", "POOL", "TAGS"],
        rows: guests.iter().map(row).collect(),
    };
    table.print(args.format.unwrap_or(session.output.format), &session.output);
    if !guests.is_empty() {
        let flag = if args.moved { "--all --moved" } else { "--all" };
        session.output.remark(format!(
            "hint: name machines, or add --name, --pool, --tag or {flag}, to have their entries written"
        ));
    }
}

/// Entries for what is nobody's, and lines for entries whose machine moved.
fn written(session: &Session, args: &Adopt, guests: &[Guest<'_>]) -> String {
    let mut machines = Vec::new();
    let mut moved: BTreeMap<&ResourceKey, Vec<&Guest<'_>>> = BTreeMap::new();
    for guest in guests {
        match &guest.standing {
            Standing::Free(machine) => machines.push((guest.hypervisor, *machine)),
            Standing::Moved(key) => moved.entry(key).or_default().push(guest),
            Standing::No(why) => session.output.remark(format!(
                "note: left out: {}/{} {}",
                guest.hypervisor,
                inert(guest.id.as_str()),
                inert(why)
            )),
        }
    }
    let entries = report::adopting_entries(&session.desired, &machines);
    for line in &entries.left_out {
        session.output.remark(format!("note: left out: {line}"));
    }
    let mut text = entries.text;
    let mut lines = String::new();
    for (key, all) in moved {
        match (all.as_slice(), session.desired.machines.get(key)) {
            ([guest], Some(entry)) => {
                lines.push_str(&format!("  # to be added to the entry at {}\n", entry.place));
                lines.push_str(&report::adopting_line(
                    &key.name,
                    guest.hypervisor,
                    guest.id.as_str(),
                ));
            }
            ([_], None) => session.output.remark(format!("note: left out: {key} has no entry")),
            _ => session.output.remark(format!("note: left out: {key} moved to more than one id")),
        }
    }
    if !lines.is_empty() {
        if args.out.is_some() {
            session.output.remark("note: these lines belong into entries that exist; a second entry of one name is an error");
        }
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str("vms:\n");
        text.push_str(&lines);
    }
    text
}

/// Writes a file that is not there yet: somebody's YAML is never overwritten.
fn new_file(path: &std::path::Path, text: &str) -> Result<(), CliError> {
    use std::io::Write as _;
    let failed = |error: std::io::Error| {
        CliError::new(ExitClass::Error, format!("could not write `{}`: {error}", path.display()))
    };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
