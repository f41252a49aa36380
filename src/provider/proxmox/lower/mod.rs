//! The order of native calls: one change, lowered into steps.
//!
//! Inputs are what is desired, what was observed and what was chosen; nothing is
//! chosen here but slots. Every step states an end, so that a runner can tell what
//! is done already.

mod adopt;
mod build;
mod layout;
mod parts;
mod update;

use crate::model::{
    Change, DesiredPool, Expect, Fact, FieldKind, FieldPath, Lowered, Marker, MarkerDraft,
    ObservedMachine, PowerState, Setting, Stage, Step, StepOp, Unsupported, Value, Wait,
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
        // Nothing is ever seen as suspended here: what hibernates is off, under a lock.
        Change::Stop(_) => vec![shutdown(None)],
        Change::Restart(_) => vec![shutdown(None), start(Expect::default())],
        Change::TakeSnapshot(_) | Change::RemoveSnapshots(_) => return Err(vec![no_snapshots()]),
        Change::Delete(seen) => delete(seen)?,
        Change::CreatePool(it) => vec![create_pool(it.pool)],
        Change::UpdatePool(it) => vec![set_comment(it.pool)],
        Change::Grants(_) => {
            let why = "granting something on pools of Proxmox VE is not supported yet";
            let at = FieldPath::of(FieldKind::Acl);
            let help = "leave `acl:` out".to_owned();
            return Err(vec![Unsupported { field: at, why: why.to_owned(), help }]);
        }
        Change::DeletePool(_) => vec![delete_pool()],
        Change::CreateSpread(_) | Change::UpdateSpread(_) | Change::DeleteSpread(_) => {
            let why = "keeping machines apart on Proxmox VE is not supported yet";
            let at = FieldPath::of(FieldKind::Spread);
            let help = "leave `spread:` out".to_owned();
            return Err(vec![Unsupported { field: at, why: why.to_owned(), help }]);
        }
    };
    Ok(Lowered { steps, ..Lowered::default() })
}

fn step(op: StepOp, begin: Expect, end: Expect) -> Step {
    let learns = match &op {
        StepOp::Clone(_) => [Fact::MachineUuid, Fact::Mac, Fact::Volume].into(),
        StepOp::Create(_) => [Fact::Volume].into(),
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
    // The server compares its digest on these calls, and on no others.
    let guarded = matches!(op, StepOp::Configure(_) | StepOp::GrowDisk { .. });
    let wait = match op {
        StepOp::SetPool { .. }
        | StepOp::DefineLabel { .. }
        | StepOp::DefineLabelValue { .. }
        | StepOp::SetLabel { .. }
        | StepOp::ClearLabel { .. }
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
        | StepOp::DeleteSpread => Wait::Call,
        StepOp::Shutdown => Wait::PowerOff { within_s: SHUTDOWN_S },
        StepOp::Clone(_)
        | StepOp::Create(_)
        | StepOp::Configure(_)
        | StepOp::GrowDisk { .. }
        | StepOp::MoveDisks(_)
        | StepOp::UpgradeHardware { .. }
        | StepOp::Customize(_)
        | StepOp::Start
        | StepOp::Stop
        | StepOp::TakeSnapshot(_)
        | StepOp::RemoveSnapshot { .. }
        | StepOp::Delete => Wait::Task,
    };
    Step { op, begin, end, wait, otherwise: None, learns, guarded }
}

fn learns(settings: &[Setting]) -> BTreeSet<Fact> {
    let volume = settings.iter().any(|setting| {
        matches!(
            setting,
            Setting::AttachDisk { .. }
                | Setting::Firmware { storage: Some(_), .. }
                | Setting::Tpm { storage: Some(_), .. }
        ) || matches!(setting, Setting::Seed(seed) if seed.storage.is_some())
    });
    volume.then_some(Fact::Volume).into_iter().collect()
}

fn no_snapshots() -> Unsupported {
    Unsupported {
        field: FieldPath::of(FieldKind::Marker),
        why: "snapshots on Proxmox VE are not supported yet".into(),
        help: "take it with `qm snapshot`, or on the cluster's own page".into(),
    }
}

fn power(state: PowerState) -> Expect {
    Expect { power: Some(state), ..Expect::default() }
}

/// A start. `in_force` are fields that only the start puts into force.
fn start(in_force: Expect) -> Step {
    let end = Expect { power: Some(PowerState::Running), ..in_force };
    step(StepOp::Start, power(PowerState::Stopped), end)
}

fn shutdown(otherwise: Option<StepOp>) -> Step {
    let shutdown = step(StepOp::Shutdown, Expect::default(), power(PowerState::Stopped));
    Step { otherwise, ..shutdown }
}

/// The marker that a machine bears; a change to one without is a mistake above.
fn marker_of(seen: &ObservedMachine) -> Result<&Marker, Vec<Unsupported>> {
    seen.marker.found().ok_or_else(|| {
        vec![Unsupported {
            field: FieldPath::of(FieldKind::Marker),
            why: format!("machine {} bears no readable marker", seen.id),
            help: "look at its notes, and plan again".into(),
        }]
    })
}

/// A delete is guarded though the product guards none: the write before it is, and
/// says what will happen. It clears the protection too, which would refuse the rest.
fn delete(seen: &ObservedMachine) -> Result<Vec<Step>, Vec<Unsupported>> {
    marker_of(seen)?;
    let draft = MarkerDraft::new(Stage::Deleting);
    let settings = vec![Setting::Protect(false), Setting::Marker(draft)];
    let end = Expect {
        stage: Some(Stage::Deleting),
        fields: [(FieldPath::of(FieldKind::Protect), Some(Value::Flag(false)))].into(),
        ..Expect::default()
    };
    let begin = Expect { exists: Some(true), ..Expect::default() };
    let mut steps = vec![step(StepOp::Configure(settings), begin, end)];
    if seen.power != PowerState::Stopped {
        steps.push(shutdown(Some(StepOp::Stop)));
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

fn pool_end(pool: &DesiredPool) -> (String, Expect) {
    let comment = pool.comment.clone().unwrap_or_default().trim_end().to_owned();
    let value = Some(Value::Text(comment.clone()));
    let fields = [(FieldPath::of(FieldKind::Comment), value)].into();
    (comment, Expect { exists: Some(true), fields, ..Expect::default() })
}

fn create_pool(pool: &DesiredPool) -> Step {
    let (comment, end) = pool_end(pool);
    let begin = Expect { exists: Some(false), ..Expect::default() };
    step(StepOp::CreatePool { comment }, begin, end)
}

fn set_comment(pool: &DesiredPool) -> Step {
    let (comment, end) = pool_end(pool);
    let begin = Expect { exists: Some(true), ..Expect::default() };
    step(StepOp::SetComment { comment }, begin, end)
}

fn delete_pool() -> Step {
    let begin = Expect { exists: Some(true), ..Expect::default() };
    step(StepOp::DeletePool, begin, Expect { exists: Some(false), ..Expect::default() })
}
