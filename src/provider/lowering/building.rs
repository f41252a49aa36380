//! What births have in common, whatever the product: what they are made from, what of a
//! half-made machine is missing, and what holds of one that was just made.

use super::{Seating, Write, fault};
use crate::model::{
    Birth, BirthSource, BootDevice, Build, Cdrom, CloneFrom, DeviceMap, DeviceName, Expect,
    FieldKind, FieldPath, Firmware, MachineSpec, MarkerDraft, Medium, Name, ObservedMachine,
    Setting, Stage, StepOp, StorageName, Unsupported, Value,
};

/// What the new machine starts from: itself half-made, or the template.
pub fn base<'a>(build: &Build<'a>) -> Option<&'a ObservedMachine> {
    build.seen.or(build.template)
}

/// The map that a former run left on the half-made machine.
pub fn old_map(build: &Build<'_>) -> DeviceMap {
    let marker = build.seen.and_then(|seen| seen.marker.found());
    marker.map(|marker| marker.map.clone()).unwrap_or_default()
}

pub fn name(build: &Build<'_>) -> String {
    build.spec.name.clone().unwrap_or_else(|| build.machine.key.name.to_string())
}

/// Whether a field of the half-made machine is not yet as declared. Nothing is
/// as declared on a fresh clone: its template may have changed since it was read.
pub fn lacks(build: &Build<'_>, kind: FieldKind) -> bool {
    let path = FieldPath::of(kind);
    let Some(wanted) = build.spec.get(&path) else { return false };
    build.seen.is_none_or(|seen| seen.settled().get(&path) != Some(wanted))
}

/// What holds of a machine that was just made.
fn born(build: &Build<'_>) -> Expect {
    let mut end = Expect { exists: Some(true), stage: Some(Stage::New), ..Expect::default() };
    end.fields.insert(FieldPath::of(FieldKind::Name), Some(Value::Text(name(build))));
    if let Some(pool) = &build.spec.pool {
        let value = Some(Value::Text(pool.to_string()));
        end.fields.insert(FieldPath::of(FieldKind::Pool), value);
    }
    end
}

/// Disks that a former run made and that are no longer declared, for people.
pub fn leftovers(spec: &MachineSpec, seats: &Seating) -> Vec<String> {
    let names = seats.disks.keys();
    let left = names.filter(|name| !name.is_boot() && !spec.disks.contains_key(*name));
    let words = |name: &DeviceName| {
        format!("disk `{name}` is no longer declared; the plan after this one removes it")
    };
    left.map(words).collect()
}

/// The marker's draft. A birth writes its map whole: whatever a former run left
/// half-written is brought to this.
pub fn draft(
    build: &Build<'_>,
    stage: Stage,
    seeded: bool,
    (old, map): (&DeviceMap, DeviceMap),
) -> MarkerDraft {
    let init = build.spec.init.as_ref().filter(|_| seeded);
    let mut draft = MarkerDraft {
        init: init.and_then(|init| init.digest.clone()),
        protect: Some(build.spec.protect.unwrap_or(false)),
        ..MarkerDraft::new(stage)
    };
    draft.turn(old, map.clone());
    draft.map = map;
    draft
}

pub fn is_linked(build: &Build<'_>) -> bool {
    let medium = build.machine.birth.as_ref().map(|source| &source.medium);
    matches!(medium, Some(Medium::Template { linked: true, .. }))
}

/// A call with what has to hold before it, and what holds after.
pub type Call = (StepOp, Expect, Expect);

/// A template is cloned.
pub fn clone(
    build: &Build<'_>,
    seats: &Seating,
    template: &ObservedMachine,
) -> Result<Call, Vec<Unsupported>> {
    let medium = build.machine.birth.as_ref().map(|source| &source.medium);
    if !matches!(medium, Some(Medium::Template { .. })) {
        let why = "there is no template to clone";
        return Err(vec![fault(FieldPath::of(FieldKind::Name), why, "set `image:`")]);
    }
    let linked = is_linked(build);
    let from = CloneFrom {
        template: template.id.clone(),
        template_node: template.node.clone(),
        template_name: template.spec.name.clone(),
        template_uuid: template.uuid,
        linked,
        snapshot: build.snapshot.filter(|_| linked).map(|it| it.id.clone()),
        name: name(build),
        node: build.allotted.node.clone(),
        storage: clone_storage(build, seats, template, linked)?,
        pool: build.spec.pool.clone(),
        marker: MarkerDraft { protect: Some(false), ..MarkerDraft::new(Stage::New) },
    };
    Ok((StepOp::Clone(Box::new(from)), absent(), born(build)))
}

/// A full clone puts all disks on one storage, a linked one leaves them beside
/// the template's: anything else that is declared cannot be had.
fn clone_storage(
    build: &Build<'_>,
    seats: &Seating,
    template: &ObservedMachine,
    linked: bool,
) -> Result<Option<StorageName>, Vec<Unsupported>> {
    let wanted = |name: &DeviceName| {
        let declared = || build.spec.disks.get(name)?.storage.clone();
        build.allotted.storages.get(name).cloned().or_else(declared)
    };
    let target = wanted(&DeviceName::from(DeviceName::BOOT)).filter(|_| !linked);
    let mut faults = Vec::new();
    for (name, seat) in seats.disks.iter().filter(|(_, seat)| seat.exists) {
        let own = template.device(seat.slot.as_str()).and_then(|it| it.storage.clone());
        let will_be = target.clone().or(own);
        let Some(wanted) = wanted(name).filter(|it| Some(it) != will_be.as_ref()) else {
            continue;
        };
        let at = FieldPath::on(FieldKind::DiskStorage, name);
        let will_be = will_be.map_or_else(|| "nowhere".into(), |it| it.to_string());
        let why = format!("the clone puts this disk on `{will_be}`, not on `{wanted}`");
        let help = "use `clone: full` and one storage for all disks of the template";
        faults.push(fault(at, why, help));
    }
    if faults.is_empty() { Ok(target) } else { Err(faults) }
}

fn absent() -> Expect {
    Expect { exists: Some(false), ..Expect::default() }
}

/// A machine is made, from something that is no template, with all of its first write.
pub fn create(build: &Build<'_>, first: Write) -> Result<Call, Unsupported> {
    let fail = |why, help| Err(fault(FieldPath::of(FieldKind::Name), why, help));
    let source = match &build.machine.birth {
        None => return fail("there is nothing to make it from", "set `image:`"),
        Some(BirthSource { medium: Medium::Template { .. }, .. }) => {
            return fail("its template was not observed", "check `image:`");
        }
        Some(source) => source.clone(),
    };
    let (node, pool) = (build.allotted.node.clone(), build.spec.pool.clone());
    let birth = Birth { name: name(build), node, pool, source, settings: first.settings };
    let mut end = born(build);
    end.fields.extend(first.end.fields);
    end.slots.extend(first.end.slots);
    Ok((StepOp::Create(Box::new(birth)), absent(), end))
}

/// The firmware that is to be set, where it is not as wanted. What a template boots with is
/// its own business unless the machine says.
pub fn firmware(build: &Build<'_>) -> Option<Firmware> {
    let image = || build.machine.birth.as_ref()?.firmware.filter(|_| base(build).is_none());
    let wanted = build.spec.firmware.or_else(image)?;
    let now = base(build).and_then(|base| base.settled().firmware);
    (now != Some(wanted)).then_some(wanted)
}

/// What the CD drive is to be given; what holds of it afterwards is added to the end.
pub fn cdrom(build: &Build<'_>, seats: &Seating, write: &mut Write) -> Option<Cdrom> {
    let image = || build.machine.birth.as_ref()?.medium.cdrom().filter(|_| base(build).is_none());
    let wanted = build.spec.cdrom.clone().or_else(image);
    let boots = build.spec.boot.as_ref().is_some_and(|it| it.contains(&BootDevice::Cdrom));
    let exists = seats.cd.as_ref().is_some_and(|seat| seat.exists);
    let needs_drive = boots && !exists;
    let cdrom = wanted.or(needs_drive.then_some(Cdrom::None))?;
    let value = MachineSpec { cdrom: Some(cdrom.clone()), ..MachineSpec::default() };
    let path = FieldPath::of(FieldKind::Cdrom);
    write.holds(&value, path.clone());
    let held = build.seen.and_then(|seen| seen.settled().get(&path)) == value.get(&path);
    // No drive and an empty drive are the same to the plan.
    let idle = cdrom == Cdrom::None && !exists;
    (needs_drive || !(held || idle)).then_some(cdrom)
}

/// The pool that a half-made machine goes into; a birth puts the machine into its own.
pub fn pool(build: &Build<'_>) -> Option<Name> {
    build.seen?;
    build.spec.pool.clone().filter(|_| lacks(build, FieldKind::Pool))
}

/// Takes off the cards of the template that nobody declares.
pub fn remove_spare(seats: &Seating, write: &mut Write, notes: &mut Vec<String>) {
    for slot in &seats.spare_nics {
        write.end.slots.insert(slot.clone(), false);
        write.settings.push(Setting::RemoveNic { nic: None, slot: slot.clone() });
        notes.push(format!("{slot} of the template is not declared and is removed"));
    }
}
