//! The order of native calls: one change, lowered into steps.
//!
//! Inputs are what is desired, what was observed and what was chosen; nothing is
//! chosen here but slots. Every step states an end, so that a runner can tell what
//! is done already. One write takes everything that is set on a machine, and is carried
//! out whole or not at all.

mod adopt;
mod build;
mod customize;
mod grants;
mod labels;
mod layout;
mod parts;
mod pools;
mod update;

use crate::{
    model::{
        Change, DeviceKind, DeviceName, DiskMove, Expect, Fact, FieldKind, FieldPath, Lowered,
        Marker, MarkerDraft, Name, ObservedMachine, ObservedSpread, PowerState, ResourceKey,
        Setting, SnapshotSeen, Stage, Step, StepOp, TakeSnapshot, Unsupported, Value, Wait,
    },
    provider::{
        lowering::{self, fault},
        vcenter::slots::handle_mac,
    },
};
use std::collections::BTreeSet;

/// Seconds that a guest has to shut down before that counts as failed.
const SHUTDOWN_S: u32 = 120;

pub(super) fn lower(change: &Change<'_>) -> Result<Lowered, Vec<Unsupported>> {
    let steps = match change {
        Change::Build(build) => return build::lower(build),
        Change::Update(update) => return update::lower(update),
        Change::Adopt(it) => return adopt::lower(it),
        Change::Rename(it) => vec![adopt::rename(it)?],
        Change::Forget(seen) => vec![adopt::forget(seen)?],
        Change::Start => vec![start(Expect::default())],
        Change::Stop(from) => vec![stop(*from, None)],
        Change::Restart(seen) => vec![stop(seen.power, None), start(power(PowerState::Stopped))],
        Change::TakeSnapshot(take) => vec![take_snapshot(take)],
        Change::RemoveSnapshots(all) => all.iter().map(|it| remove_snapshot(it)).collect(),
        Change::Delete(seen) => delete(seen)?,
        Change::CreatePool(it) => pools::create(it)?,
        Change::UpdatePool(it) => pools::update(it)?,
        Change::Grants(it) => grants::lower(it),
        Change::DeletePool(seen) => pools::delete(seen),
        Change::CreateSpread(it) => {
            let op = StepOp::CreateSpread { members: it.members.clone() };
            let absent = Expect { exists: Some(false), ..Expect::default() };
            vec![step(op, absent, kept_apart(&it.members))]
        }
        Change::UpdateSpread(it) => {
            let op = StepOp::SetSpread { members: it.members.clone() };
            let there = Expect { exists: Some(true), ..Expect::default() };
            vec![step(op, there, kept_apart(&it.members))]
        }
        Change::DeleteSpread(_) => {
            let there = Expect { exists: Some(true), ..Expect::default() };
            let gone = Expect { exists: Some(false), ..Expect::default() };
            vec![step(StepOp::DeleteSpread, there, gone)]
        }
    };
    Ok(Lowered { steps, ..Lowered::default() })
}

/// What holds of machines that are kept apart.
fn kept_apart(members: &BTreeSet<ResourceKey>) -> Expect {
    let fields = [
        (FieldPath::of(FieldKind::Members), Some(ObservedSpread::names(members))),
        (FieldPath::of(FieldKind::Enabled), Some(Value::Flag(true))),
    ];
    Expect { exists: Some(true), fields: fields.into(), ..Expect::default() }
}

fn step(op: StepOp, begin: Expect, end: Expect) -> Step {
    let learns = match &op {
        StepOp::Clone(_) | StepOp::Create(_) => [Fact::NativeId].into(),
        StepOp::Configure(settings) => learns(settings),
        StepOp::GrowDisk { .. }
        | StepOp::MoveDisks(_)
        | StepOp::UpgradeHardware { .. }
        | StepOp::Customize(_)
        | StepOp::SetPool { .. }
        | StepOp::DefineLabel { .. }
        | StepOp::DefineLabelValue { .. }
        | StepOp::SetLabel { .. }
        | StepOp::ClearLabel { .. }
        | StepOp::Start
        | StepOp::Shutdown
        | StepOp::Stop
        | StepOp::TakeSnapshot(_)
        | StepOp::RemoveSnapshot { .. }
        | StepOp::Delete
        | StepOp::CreatePool { .. }
        | StepOp::SetComment { .. }
        | StepOp::DeletePool
        | StepOp::MakePart { .. }
        | StepOp::MarkPart { .. }
        | StepOp::RemovePart { .. }
        | StepOp::MakeRole { .. }
        | StepOp::Grant { .. }
        | StepOp::Revoke { .. }
        | StepOp::CreateSpread { .. }
        | StepOp::SetSpread { .. }
        | StepOp::DeleteSpread => BTreeSet::new(),
    };
    // The server compares its change version on this call, and on no other.
    let guarded = matches!(op, StepOp::Configure(_));
    let wait = match op {
        StepOp::Shutdown => Wait::PowerOff { within_s: SHUTDOWN_S },
        // The interface of tags has no tasks.
        StepOp::DefineLabel { .. }
        | StepOp::DefineLabelValue { .. }
        | StepOp::SetLabel { .. }
        | StepOp::ClearLabel { .. } => Wait::Call,
        StepOp::Clone(_)
        | StepOp::Create(_)
        | StepOp::Configure(_)
        | StepOp::GrowDisk { .. }
        | StepOp::MoveDisks(_)
        | StepOp::UpgradeHardware { .. }
        | StepOp::Customize(_)
        | StepOp::SetPool { .. }
        | StepOp::Start
        | StepOp::Stop
        | StepOp::TakeSnapshot(_)
        | StepOp::RemoveSnapshot { .. }
        | StepOp::Delete
        | StepOp::RemovePart { .. } => Wait::Task,
        StepOp::CreatePool { .. }
        | StepOp::SetComment { .. }
        | StepOp::DeletePool
        | StepOp::MakePart { .. }
        | StepOp::MarkPart { .. }
        | StepOp::MakeRole { .. }
        | StepOp::Grant { .. }
        | StepOp::Revoke { .. } => Wait::Call,
        StepOp::CreateSpread { .. } | StepOp::SetSpread { .. } | StepOp::DeleteSpread => Wait::Task,
    };
    Step { op, begin, end, wait, otherwise: None, learns, guarded }
}

/// A step that states no end.
#[cfg(test)]
pub(super) fn bare(op: StepOp) -> Step {
    step(op, Expect::default(), Expect::default())
}

fn learns(settings: &[Setting]) -> BTreeSet<Fact> {
    let any = |is: fn(&Setting) -> bool| settings.iter().any(is);
    let volume = any(|it| matches!(it, Setting::AttachDisk { .. }));
    // A card that is added, or put in for another one, gets a key.
    let key = any(|it| {
        matches!(it, Setting::SetNic(nic)
            if nic.model.is_some() || handle_mac(nic.slot.as_str()).is_some())
    });
    let facts = [(volume, Fact::Volume), (key, Fact::DeviceKey)];
    facts.into_iter().filter_map(|(is, fact)| is.then_some(fact)).collect()
}

fn power(state: PowerState) -> Expect {
    Expect { power: Some(state), ..Expect::default() }
}

/// A start; of a machine that is suspended, a resumption.
fn start(begin: Expect) -> Step {
    step(StepOp::Start, begin, power(PowerState::Running))
}

/// The end of a machine's running. What is suspended hears no shutdown.
fn stop(from: PowerState, otherwise: Option<StepOp>) -> Step {
    let end = power(PowerState::Stopped);
    match from {
        PowerState::Suspended => step(StepOp::Stop, Expect::default(), end),
        PowerState::Running | PowerState::Stopped | PowerState::Unknown => {
            Step { otherwise, ..step(StepOp::Shutdown, Expect::default(), end) }
        }
    }
}

/// The call is not guarded; it states a name that nothing on the machine has, so that one
/// whose reply was lost is found by it and not made twice.
fn take_snapshot(take: &TakeSnapshot) -> Step {
    let begin = Expect { exists: Some(true), ..Expect::default() };
    let end = Expect { snapshots: [take.name.clone()].into(), ..Expect::default() };
    step(StepOp::TakeSnapshot(take.clone()), begin, end)
}

fn remove_snapshot(snapshot: &SnapshotSeen) -> Step {
    let op = StepOp::RemoveSnapshot { id: snapshot.id.clone(), name: snapshot.name.clone() };
    let begin = Expect { exists: Some(true), ..Expect::default() };
    step(op, begin, Expect { no_snapshots: [snapshot.id.clone()].into(), ..Expect::default() })
}

fn set_pool(pool: Option<Name>) -> Step {
    let (op, begin, end) = lowering::set_pool(pool);
    step(op, begin, end)
}

/// Newer virtual hardware, of a machine that is off.
fn upgrade(to: u32, stage: Option<Stage>) -> Step {
    let begin = Expect { stage, ..power(PowerState::Stopped) };
    let at = FieldPath::of(FieldKind::HardwareVersion);
    let fields = [(at, Some(Value::Count(to.into())))].into();
    step(StepOp::UpgradeHardware { to }, begin, Expect { fields, ..Expect::default() })
}

/// Volumes that go elsewhere, all in one call.
fn move_disks(moves: Vec<DiskMove>) -> Step {
    let mut end = Expect::default();
    for it in &moves {
        let at = FieldPath::on(FieldKind::DiskStorage, &it.disk);
        end.fields.insert(at, Some(Value::Text(it.to.to_string())));
        end.slots.insert(it.slot.clone(), true);
    }
    let begin = Expect { exists: Some(true), slots: end.slots.clone(), ..Expect::default() };
    step(StepOp::MoveDisks(moves), begin, end)
}

/// The marker that a machine bears; a change to one without is a mistake above.
fn marker_of(seen: &ObservedMachine) -> Result<&Marker, Vec<Unsupported>> {
    seen.marker.found().ok_or_else(|| {
        let why = format!("machine {} bears no readable marker", seen.id);
        let help = "look at its advanced settings that begin with `novahost.`, and plan again";
        vec![fault(FieldPath::of(FieldKind::Marker), why, help)]
    })
}

/// The product deletes whatever disk hangs on a machine, also one that somebody hung on from
/// another machine's folder. Which is whose, the path says: a machine's disks lie in folders
/// of one name, whatever datastores they are on.
fn foreign_disks(seen: &ObservedMachine, marker: &Marker) -> Vec<Unsupported> {
    let folder = |path: &str| {
        let rest = path.split_once(']').map_or(path, |(_, rest)| rest);
        rest.trim_start().rsplit_once('/').map(|(folder, _)| folder.to_owned())
    };
    let boot = marker.map.disks.get(DeviceName::BOOT).map(|entry| &entry.slot);
    let disks = || seen.devices.iter().filter(|it| it.kind == DeviceKind::Disk);
    let first = disks().find(|it| Some(&it.slot) == boot).or_else(|| disks().next());
    let Some(own) = first.and_then(|it| folder(it.volume.as_deref()?)) else { return Vec::new() };
    // A second folder of one name on a datastore gets a number.
    let is_own = |path: &str| {
        folder(path).is_some_and(|it| {
            let rest = it.strip_prefix(own.as_str());
            rest.is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix('_').is_some_and(|it| it.parse::<u32>().is_ok())
            })
        })
    };
    let foreign = disks().filter_map(|it| it.volume.as_deref().map(|path| (&it.slot, path)));
    foreign
        .filter(|(_, path)| !is_own(path))
        .map(|(slot, path)| {
            let why = format!("{path} in {slot} lies in another machine's folder");
            let help = "the product would delete it too: take it off first";
            fault(FieldPath::of(FieldKind::Disk), why, help)
        })
        .collect()
}

/// A delete is guarded though the product guards none: the write before it is, and
/// says what will happen.
fn delete(seen: &ObservedMachine) -> Result<Vec<Step>, Vec<Unsupported>> {
    let marker = marker_of(seen)?;
    let foreign = foreign_disks(seen, marker);
    if !foreign.is_empty() {
        return Err(foreign);
    }
    let draft = MarkerDraft { protect: Some(false), ..MarkerDraft::new(Stage::Deleting) };
    let settings = vec![Setting::Protect(false), Setting::Marker(draft)];
    let end = Expect {
        stage: Some(Stage::Deleting),
        fields: [(FieldPath::of(FieldKind::Protect), Some(Value::Flag(false)))].into(),
        ..Expect::default()
    };
    let begin = Expect { exists: Some(true), ..Expect::default() };
    let mut steps = vec![step(StepOp::Configure(settings), begin, end)];
    if seen.power != PowerState::Stopped {
        steps.push(stop(seen.power, Some(StepOp::Stop)));
    }
    let begin = Expect {
        power: Some(PowerState::Stopped),
        stage: Some(Stage::Deleting),
        ..Expect::default()
    };
    let gone = Expect { exists: Some(false), ..Expect::default() };
    steps.push(step(StepOp::Delete, begin, gone));
    Ok(steps)
}
