//! The base of an action: what the world must still look like when it runs.

use crate::model::{
    Base, DeviceMap, FieldKind, FieldPath, MarkerState, ObservedMachine, ObservedPool,
    ObservedSpread, PartSeen, PoolPart, digest_of,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The digest over native id, uuid, marker and the given fields of a machine.
///
/// Both what runs and what will run count: a value that somebody left pending is a
/// change of the world, too. A lock is not part of it: locks are waited for.
pub fn machine_base(seen: &ObservedMachine, fields: BTreeSet<FieldPath>) -> Base {
    let values: Vec<Value> = fields
        .iter()
        .map(|path| {
            let value = match path.kind {
                FieldKind::Power => json!(seen.power),
                FieldKind::Disk | FieldKind::Nic => json!(whole_device(seen, path)),
                _ => json!([seen.spec.get(path), seen.settled().get(path)]),
            };
            json!([path, value])
        })
        .collect();
    let document = json!({
        "id": seen.id,
        "uuid": seen.uuid,
        "marker": seen.marker,
        "fields": values,
    });
    Base { fields, sha256: digest_of(&document) }
}

/// The digest over name, marker, comment, parts and grants of a pool.
pub fn pool_base(seen: &ObservedPool) -> Base {
    let fields = [FieldPath::of(FieldKind::Comment)].into();
    // What is in a part changes while members come and go; that none is left is proved by
    // the call that removes it.
    let part = |(part, it): (&PoolPart, &PartSeen)| match it.grants.is_empty() {
        true => json!([part, it.id, it.marker]),
        // Roles are not part of it: another action of the same plan may make one.
        false => json!([part, it.id, it.marker, it.grants]),
    };
    // What several pools use may come by another action of the same plan.
    let own = seen.parts.iter().filter(|(part, _)| part.kind.is_own());
    let parts: Vec<Value> = own.map(part).collect();
    let mut document = json!({ "marker": seen.marker, "comment": seen.comment });
    if !parts.is_empty() {
        document["parts"] = Value::Array(parts);
    }
    Base { fields, sha256: digest_of(&document) }
}

/// The digest over place, name and the given fields of machines that are kept apart. A member
/// that is not named by a field may come or go: what is written says who is in.
pub fn spread_base(seen: &ObservedSpread, fields: BTreeSet<FieldPath>) -> Base {
    let values: Vec<Value> = fields.iter().map(|path| json!([path, seen.value(path)])).collect();
    let document = json!({
        "key": seen.key,
        "node": seen.node,
        "foreign": seen.foreign,
        "fields": values,
    });
    Base { fields, sha256: digest_of(&document) }
}

/// A disk or card as a whole: what sits in the slot that the map gives it.
fn whole_device(seen: &ObservedMachine, path: &FieldPath) -> Value {
    let none = DeviceMap::default();
    let map = match &seen.marker {
        MarkerState::Found(marker) => &marker.map,
        MarkerState::None | MarkerState::Garbled(_) => &none,
    };
    let entries = if path.kind == FieldKind::Disk { &map.disks } else { &map.nics };
    let Some(name) = &path.device else { return Value::Null };
    // What the map does not name may be a slot: that of a device which is to be adopted.
    let slot = entries.get(name).map_or(name.as_str(), |entry| entry.slot.as_str());
    json!(seen.device(slot))
}
