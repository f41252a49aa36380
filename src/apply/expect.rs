//! Whether what was just read is what a step expects. Pure.

use crate::model::{
    Bytes, DeviceMap, Disruption, Expect, FieldChange, FieldKind, FieldPath, Fresh, FreshObject,
    GrantRole, Identity, MarkerDraft, ObservedMachine, ObservedPool, Owner, PartState, PoolPart,
    RoleSeen, Setting, Step, StepOp, Value,
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Storages round sizes up, LVM to its extents: a disk that is less than this larger
/// than asked for has the size that was asked for.
const DISK_ROUNDING_BYTES: u64 = 4 * Bytes::MIB;

/// What of a step does not hold: its end, and what its call says by itself. A call
/// that was carried out in part must not pass for a whole one because the part that
/// its end names was done.
pub(super) fn undone(
    step: &Step,
    op: &StepOp,
    object: &FreshObject,
    identity: Option<&Identity>,
) -> Vec<String> {
    let mut lines = unmet(&step.end, object);
    let (StepOp::Configure(settings), FreshObject::Machine(machine)) = (op, object) else {
        return lines;
    };
    for setting in settings {
        match setting {
            Setting::MachineUuid => {
                let wanted = identity.and_then(|it| it.uuid);
                if wanted.is_some() && machine.uuid != wanted {
                    lines.push("its uuid is not the one that was chosen".to_owned());
                }
            }
            Setting::Marker(draft) if !is_written(draft, machine) => {
                lines.push("its marker is not as it was to be written".to_owned());
            }
            _ => {}
        }
    }
    lines
}

fn is_written(draft: &MarkerDraft, machine: &ObservedMachine) -> bool {
    let Some(marker) = machine.marker.found() else { return false };
    // Whether an entry is confirmed is for the next read to see.
    let settled = |map: &DeviceMap| {
        let mut map = map.clone();
        for entry in map.disks.values_mut().chain(map.nics.values_mut()) {
            entry.confirmed = true;
        }
        map
    };
    marker.stage == draft.stage
        && draft.protect.is_none_or(|protect| marker.protect == protect)
        && (draft.init.is_none() || marker.init == draft.init)
        && settled(&draft.map_over(&marker.map)) == settled(&marker.map)
}

/// One field of a machine, power included: what runs now (`in_force`), or what will
/// run after the next stop and start.
pub(super) fn machine_value(
    machine: &ObservedMachine,
    path: &FieldPath,
    in_force: bool,
) -> Option<Value> {
    match path.kind {
        FieldKind::Power => Some(Value::from(machine.power.as_str())),
        FieldKind::LabelValues => machine.label_values(path),
        FieldKind::Marker => machine.marker.found().map(|it| Value::from(it.stage.as_str())),
        _ if in_force => machine.spec.get(path),
        _ => machine.settled().get(path),
    }
}

/// One field of a pool.
pub(super) fn pool_value(pool: &ObservedPool, path: &FieldPath) -> Option<Value> {
    match path.kind {
        FieldKind::Comment => Some(Value::from(pool.comment.as_str())),
        FieldKind::Acl => Some(Value::set(&pool.grant_lines())),
        _ => None,
    }
}

/// What of an expectation does not hold, one line each; empty when all of it does.
pub(super) fn unmet(expect: &Expect, object: &FreshObject) -> Vec<String> {
    let mut lines = Vec::new();
    let exists = match object {
        FreshObject::Machine(_) | FreshObject::Spread(_) => true,
        FreshObject::Pool(pool) => pool.exists(),
        FreshObject::Absent => false,
        FreshObject::Unreadable(why) => {
            if !expect.is_empty() {
                lines.push(format!("it cannot be read: {why}"));
            }
            return lines;
        }
    };
    if let Some(wanted) = expect.exists
        && wanted != exists
    {
        lines.push(if exists { "it still exists" } else { "it does not exist" }.to_owned());
        return lines;
    }
    match object {
        FreshObject::Machine(machine) => unmet_machine(expect, machine, &mut lines),
        FreshObject::Pool(pool) => {
            for (path, wanted) in &expect.fields {
                compare(path, wanted.as_ref(), pool_value(pool, path).as_ref(), &mut lines);
            }
            unmet_parts(expect, |part| pool.part(part), &mut lines);
            unmet_grants(expect, pool, &mut lines);
            if let Some(stage) = expect.stage {
                let found = pool.marker.found().map(|marker| marker.stage);
                if found != Some(stage) {
                    lines.push(format!("its marker does not say `{}`", stage.as_str()));
                }
            }
        }
        FreshObject::Spread(spread) => {
            for (path, wanted) in &expect.fields {
                compare(path, wanted.as_ref(), spread.value(path).as_ref(), &mut lines);
            }
        }
        FreshObject::Absent | FreshObject::Unreadable(_) => {
            unmet_parts(expect, |_| PartState::Absent, &mut lines);
            let parts = BTreeMap::new();
            let bare = Expect { exists: None, in_force: false, parts, ..expect.clone() };
            if !bare.is_empty() {
                lines.push("it does not exist".to_owned());
            }
        }
    }
    lines
}

fn unmet_parts(expect: &Expect, stands: impl Fn(&PoolPart) -> PartState, lines: &mut Vec<String>) {
    for (part, wanted) in &expect.parts {
        let found = stands(part);
        if !found.meets(*wanted) {
            let word = |state| match state {
                PartState::Absent => "absent",
                PartState::There => "there without a mark of its own",
                PartState::Marked => "there and marked",
            };
            lines.push(format!("`{part}` is {}, not {}", word(found), word(*wanted)));
        }
    }
}

fn unmet_grants(expect: &Expect, pool: &ObservedPool, lines: &mut Vec<String>) {
    for role in &expect.roles {
        match pool.access.roles.get(role) {
            Some(RoleSeen::Whole) => {}
            Some(RoleSeen::Changed { native, .. }) => {
                lines.push(format!("the role `{native}` allows something else"));
            }
            None => lines.push(format!("the role for `{role}` is not there")),
        }
    }
    let none = BTreeSet::new();
    for end in &expect.grants {
        let found = pool.parts.get(&end.part).map_or(&none, |it| &it.grants);
        if !end.holds(found) {
            let wanted = end.role.map_or("no role of ours", GrantRole::as_str);
            lines.push(format!("`{}` does not have {wanted} on `{}`", end.grantee, end.part));
        }
    }
}

fn unmet_machine(expect: &Expect, machine: &ObservedMachine, lines: &mut Vec<String>) {
    if let Some(power) = expect.power
        && machine.power != power
    {
        lines.push(format!("it is {}, not {}", machine.power.as_str(), power.as_str()));
    }
    if let Some(stage) = expect.stage {
        let found = machine.marker.found().map(|marker| marker.stage);
        if found != Some(stage) {
            lines.push(format!(
                "its marker says `{}`, not `{}`",
                found.map_or("nothing", |it| it.as_str()),
                stage.as_str()
            ));
        }
    }
    match &expect.owner {
        Some(owner) if owner.has(machine) => {}
        Some(Owner::Entry(key)) => lines.push(format!("its marker does not make it {key}")),
        Some(Owner::Nobody) => lines.push("its marker is still there".to_owned()),
        None => {}
    }
    for name in &expect.snapshots {
        if !machine.snapshots.iter().any(|it| it.name == *name) {
            lines.push(format!("there is no snapshot `{name}`"));
        }
    }
    for left in machine.snapshots.iter().filter(|it| expect.no_snapshots.contains(&it.id)) {
        lines.push(format!("snapshot `{}` is still there", left.name));
    }
    if let Some(wanted) = expect.setup_waits
        && machine.setup_waits != wanted
    {
        lines.push(match wanted {
            true => "nothing waits to set its guest up at the next start".to_owned(),
            false => "something else waits to set its guest up at the next start".to_owned(),
        });
    }
    for (path, wanted) in &expect.fields {
        let found = machine_value(machine, path, expect.in_force);
        compare(path, wanted.as_ref(), found.as_ref(), lines);
    }
    for (slot, wanted) in &expect.slots {
        if machine.device(slot.as_str()).is_some() != *wanted {
            lines.push(format!("slot {slot} is {}", if *wanted { "empty" } else { "in use" }));
        }
    }
}

fn compare(
    path: &FieldPath,
    wanted: Option<&Value>,
    found: Option<&Value>,
    lines: &mut Vec<String>,
) {
    if !same(path.kind, wanted, found) {
        let show = |value: Option<&Value>| value.map_or("unset".to_owned(), |it| format!("`{it}`"));
        lines.push(format!("{path} is {}, not {}", show(found), show(wanted)));
    }
}

/// Whether a field has its wanted value. A password can never be read back and is held by
/// the digest of the first-boot document instead.
fn same(kind: FieldKind, wanted: Option<&Value>, found: Option<&Value>) -> bool {
    if matches!(
        kind,
        FieldKind::InitPassword | FieldKind::InitWindows | FieldKind::InitCustomization
    ) {
        return true;
    }
    // A whole device is there or not; its parts are fields of their own, and the value
    // of a change only says what a reader wants to know of it.
    if matches!(kind, FieldKind::Disk | FieldKind::Nic) {
        return wanted.is_some() == found.is_some();
    }
    match (wanted, found) {
        (Some(Value::Size(wanted)), Some(Value::Size(found))) if kind == FieldKind::DiskSize => {
            found.0 >= wanted.0 && found.0 - wanted.0 < DISK_ROUNDING_BYTES
        }
        (wanted, found) => kind.is_reached(wanted, found),
    }
}

/// What of the whole action did not take, once its last step is done: every field
/// change, and what the steps leave behind.
pub(super) fn not_taken(
    fields: &[FieldChange],
    steps: &[Step],
    unreadable: &[FieldKind],
    object: &FreshObject,
) -> Vec<String> {
    let mut settled = left_behind(steps, false);
    let mut in_force = left_behind(steps, true);
    // The owner, which a step that changes it states as its end, says more than the stage.
    let owned = settled.owner.is_some();
    let told = |it: &&FieldChange| !(owned && it.field.kind == FieldKind::Marker);
    // What is granted is said by the ends of the steps, on each part and of each of those who
    // are granted something: what others grant meanwhile is no failure of ours.
    let told = |it: &&FieldChange| told(it) && it.field.kind != FieldKind::Acl;
    for change in fields.iter().filter(told) {
        let at = if change.disruption == Disruption::Restart || change.pending {
            &mut in_force
        } else {
            &mut settled
        };
        at.fields.insert(change.field.clone(), change.after.clone());
    }
    let mut lines = Vec::new();
    for mut expect in [settled, in_force] {
        expect.fields.retain(|path, _| !unreadable.contains(&path.kind));
        lines.append(&mut unmet(&expect, object));
    }
    lines.sort();
    lines.dedup();
    lines
}

/// The ends of all steps of one kind, a later one overruling an earlier one.
fn left_behind(steps: &[Step], in_force: bool) -> Expect {
    let mut all = Expect { in_force, ..Expect::default() };
    // What an earlier machine left behind says nothing about its successor.
    let births = steps.iter().rposition(|step| step.op.is_birth()).unwrap_or(0);
    let mut fields: BTreeMap<FieldPath, (Option<Value>, bool)> = BTreeMap::new();
    for step in steps.iter().skip(births) {
        all.exists = step.end.exists.or(all.exists);
        all.power = step.end.power.or(all.power);
        all.stage = step.end.stage.or(all.stage);
        if step.end.owner.is_some() {
            all.owner.clone_from(&step.end.owner);
        }
        all.snapshots.extend(step.end.snapshots.iter().cloned());
        all.no_snapshots.extend(step.end.no_snapshots.iter().cloned());
        all.parts.extend(step.end.parts.iter().map(|(part, state)| (part.clone(), *state)));
        for end in &step.end.grants {
            all.grants.retain(|it| it.part != end.part || it.grantee != end.grantee);
            all.grants.push(end.clone());
        }
        all.roles.extend(&step.end.roles);
        all.slots.extend(step.end.slots.iter().map(|(slot, held)| (slot.clone(), *held)));
        for (path, value) in &step.end.fields {
            fields.insert(path.clone(), (value.clone(), step.end.in_force));
        }
    }
    if all.exists == Some(false) {
        return Expect { exists: Some(false), ..Expect::default() };
    }
    all.fields = fields
        .into_iter()
        .filter(|(_, (_, forced))| *forced == in_force)
        .map(|(path, (value, _))| (path, value))
        .collect();
    all
}

/// A digest of what was read, for the journal: enough to tell later whether two
/// looks saw the same, without keeping what was seen.
pub(super) fn object_digest(fresh: &Fresh) -> Option<String> {
    let text = match &fresh.object {
        FreshObject::Machine(machine) => serde_json::to_vec(machine).ok()?,
        FreshObject::Pool(pool) => serde_json::to_vec(pool).ok()?,
        FreshObject::Spread(spread) => serde_json::to_vec(spread).ok()?,
        FreshObject::Absent | FreshObject::Unreadable(_) => return None,
    };
    Some(Sha256::digest(&text).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
