//! Snapshots that an entry asks for: one before a change that disturbs, and of those that
//! novahost took no more than are to be kept.

use super::{
    Builder,
    base::machine_base,
    machine_action_id,
    machines::{Trouble, changeable, unsupported},
};
use crate::{
    model::{
        Action, Change, Choice, Code, DataLoss, DesiredMachine, Disruption, FieldChange, FieldKind,
        FieldPath, LostVolume, Lowered, ObservedMachine, Product, Reason, ResourceKey, Step,
        StepOp, TakeSnapshot, Value, Verb,
    },
    ownership::{own_snapshots, snapshot_name},
};
use std::collections::BTreeSet;

/// What comes before the calls of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing: it is not asked for, or the change is a mild one.
    Nothing,
    /// A snapshot, by these calls.
    Taken(Vec<Step>, Choice),
    /// No snapshot, though it was asked for, and why.
    NotTaken(String),
}

/// A change of one machine, as far as a snapshot of it is concerned.
pub(super) struct Changed<'a> {
    pub(super) machine: &'a DesiredMachine,
    pub(super) seen: &'a ObservedMachine,
    pub(super) product: &'a dyn Product,
    pub(super) fields: &'a [FieldChange],
    /// The digest of the action's base.
    pub(super) base: &'a str,
    /// Whether the change, or one that comes after it, grows a disk of the machine.
    pub(super) grows: bool,
    /// Whether this plan deletes a volume of the machine.
    pub(super) loses: bool,
    /// How many are taken before other changes of this plan.
    pub(super) planned: u32,
}

/// Why no snapshot of a machine can be taken beside `planned` others: the product holds no
/// longer chain.
pub(super) fn chain_is_full(
    (machine, seen, product): (&ResourceKey, &ObservedMachine, &dyn Product),
    planned: u32,
) -> Option<Trouble> {
    let capabilities = product.capabilities();
    let (most, levels) = (capabilities.snapshots.levels?, seen.snapshot_levels());
    (levels.saturating_add(planned) >= most).then(|| Trouble {
        code: Code::SnapshotsExist,
        message: format!(
            "{machine} has {levels} snapshots one on top of the other, and {} holds no more than \
             {most}{}",
            capabilities.product,
            match planned {
                0 => String::new(),
                _ => format!("; this plan takes {planned} more of it already"),
            }
        ),
        help: "remove old snapshots on the hypervisor first; those that novahost took before \
               changes go with a smaller `snapshots: { keep }`"
            .to_owned(),
        place: None,
    })
}

/// Whether a snapshot is taken before a change, and how.
pub(super) fn before_change(it: &Changed<'_>) -> Result<Before, Trouble> {
    let asked = it.machine.snapshots.is_some_and(|policy| policy.before_change);
    if !asked || !it.fields.iter().any(|change| disturbs(it, change)) {
        return Ok(Before::Nothing);
    }
    let rules = it.product.capabilities().snapshots;
    // What would follow is refused while a snapshot exists, so that taking one first would
    // make the change impossible.
    if !rules.disks_grow && it.grows {
        return Ok(not_taken(it.fields, "a disk that grows or moves may have none"));
    }
    if !rules.volumes_go && it.loses {
        let why = "it would need the volume that is to be deleted";
        return Ok(not_taken(it.fields, why));
    }
    if let Some(trouble) = chain_is_full((&it.machine.key, it.seen, it.product), it.planned) {
        let field = FieldPath::of(FieldKind::Snapshots);
        return Err(Trouble { place: Some(it.machine.place_of(&field).clone()), ..trouble });
    }
    let name = snapshot_name(&it.machine.key, it.base, &it.seen.snapshots);
    let take = TakeSnapshot { name: name.clone(), before_change: true };
    let lowered = it.product.lower(&Change::TakeSnapshot(&take));
    let Lowered { steps, .. } = lowered.map_err(|all| unsupported(it.machine, &all))?;
    let choice = Choice {
        what: "snapshot".to_owned(),
        value: name,
        why: "taken first, as `snapshots.before_change` asks".to_owned(),
    };
    Ok(Before::Taken(steps, choice))
}

/// Says before which change no snapshot is taken: a machine can have several.
fn not_taken(fields: &[FieldChange], why: &str) -> Before {
    let fields: Vec<String> = fields.iter().map(|it| format!("`{}`", it.field)).collect();
    Before::NotTaken(format!("no snapshot is taken before {} changes: {why}", fields.join(", ")))
}

/// Whether a change is above `online`, or would be if the machine ran: what is changed on it
/// is the same, whether it runs or not.
fn disturbs(it: &Changed<'_>, change: &FieldChange) -> bool {
    change.disruption > Disruption::Online
        || it.loses && change.field.kind == FieldKind::Disk && change.after.is_none()
        || change.field.kind != FieldKind::Power
            && it.product.cost(&change.into(), it.seen, true) > Some(Disruption::Online)
}

/// Whether a disk that is there is to be larger, or to lie elsewhere.
pub(super) fn grows(change: &FieldChange) -> bool {
    match (change.field.kind, &change.before, &change.after) {
        (FieldKind::DiskSize, Some(Value::Size(before)), Some(Value::Size(after))) => {
            after > before
        }
        (FieldKind::DiskStorage, Some(_), Some(_)) => true,
        (_, _, _) => false,
    }
}

/// Puts the calls of a snapshot in front of a change: after a shutdown that begins it, so
/// that the disks are kept as a guest leaves them that was asked to go down.
pub(super) fn insert(steps: &mut Vec<Step>, taken: Vec<Step>) {
    let goes_down = |step: &&Step| matches!(step.op, StepOp::Shutdown | StepOp::Stop);
    let at = steps.iter().take_while(goes_down).count();
    steps.splice(at..at, taken);
}

impl Builder<'_> {
    /// Plans the removal of snapshots that novahost took and that are more than are to be
    /// kept, the oldest first. Tells whether there is any.
    pub(super) fn plan_surplus(
        &mut self,
        machine: &DesiredMachine,
        seen: &ObservedMachine,
        product: &dyn Product,
    ) -> bool {
        let Some(policy) = machine.snapshots else { return false };
        let own = own_snapshots(&self.input.desired.project, seen);
        let keep = usize::try_from(policy.keep).unwrap_or(usize::MAX);
        let Some(surplus) = own.len().checked_sub(keep).filter(|it| *it > 0) else {
            return false;
        };
        let why_not = changeable(&machine.hypervisor, seen).err().map(|it| it.message);
        let why_not = why_not.or_else(|| self.hangs_on(&machine.hypervisor, seen));
        let doomed = &own[..surplus];
        let lowered = product.lower(&Change::RemoveSnapshots(doomed));
        let (Ok(Lowered { steps, .. }), None) = (lowered, &why_not) else {
            let why = why_not.unwrap_or_else(|| "the product removes none".to_owned());
            let text = format!("{surplus} of its snapshots are more than `keep`, and stay: {why}");
            self.note(&machine.key, text);
            return false;
        };
        let lost = doomed.iter().map(|it| LostVolume {
            volume: it.name.clone(),
            label: "snapshot".to_owned(),
            size: None,
        });
        let action = Action {
            id: machine_action_id(&machine.key, Verb::Update, "snapshots"),
            key: machine.key.clone(),
            hypervisor: machine.hypervisor.clone(),
            native_id: Some(seen.id.clone()),
            node: seen.node.clone(),
            verb: Verb::Update,
            fields: Vec::new(),
            classes: BTreeSet::new(),
            data_loss: DataLoss { volumes: lost.collect(), on_a_machine_that_stays: true },
            reversible: false,
            place: Some(machine.place_of(&FieldPath::of(FieldKind::Snapshots)).clone()),
            steps,
            base: Some(machine_base(seen, BTreeSet::new())),
            claims: Vec::new(),
            choices: Vec::new(),
            protected: false,
        };
        self.add(action, Reason::Surplus);
        true
    }
}
