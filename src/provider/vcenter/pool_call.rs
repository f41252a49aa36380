//! One step on a pool, as one native call.
//!
//! Pure, like `call`, whose part for pools it is.

use super::{
    call::{Answers, NativeCall, Surroundings},
    grants::{privileges, role_name},
    places::path_names,
    pools::{Attributes, COMMENT, MARK, RawPool, bearer, reference},
    vim::{MoRef, Val},
};
use crate::{
    model::{
        DeviceMap, FreshObject, Grantee, Marker, NativeId, NodeName, ObservedPool, PartKind,
        PoolPart, Stage, StepOp,
    },
    ownership,
    provider::Call,
};

/// The native call of a step on a pool.
pub(super) fn pool_call(call: &Call<'_>, around: &Surroundings<'_>) -> Result<NativeCall, String> {
    let pool = match &call.fresh.object {
        FreshObject::Pool(pool) => pool,
        FreshObject::Absent | FreshObject::Machine(_) | FreshObject::Spread(_) => {
            return Err(format!("there is no pool {}", call.target.at));
        }
        FreshObject::Unreadable(why) => return Err(format!("{}: {why}", call.target.at)),
    };
    let raw: RawPool = serde_json::from_value(call.fresh.raw.clone())
        .map_err(|error| format!("the fresh read is not a pool's: {error}"))?;
    let attributes = &raw.attributes;
    match call.op {
        StepOp::MakePart { part } => make(part, attributes, around),
        StepOp::MarkPart { part } => {
            let id = id_of(pool, part)?;
            let value = ownership::render(&marker(call, id));
            set_field(attributes, MARK, &reference(part.kind, id), &value)
        }
        StepOp::SetComment { comment } => {
            let bearer = bearer(pool, &call.identity.project, &call.identity.key);
            let (part, id) = bearer.ok_or("no part of the pool bears our mark")?;
            set_field(attributes, COMMENT, &reference(part.kind, id), comment)
        }
        StepOp::MakeRole { role } => {
            let all = privileges(*role).iter().map(|it| Val::from(*it));
            let name = role_name(&call.identity.project, *role);
            let args = vec![("name", name.into()), ("privIds", all.collect::<Vec<Val>>().into())];
            Ok(of_rights("AddAuthorizationRole", args, &raw))
        }
        StepOp::Grant { part, grantee, role } => {
            let entity = reference(part.kind, id_of(pool, part)?);
            let missing = || format!("the role for `{role}` is not there");
            let role = raw.roles.get(role).ok_or_else(missing)?;
            // One principal alone: those of others on the object stay as they are.
            let permission = Val::obj("Permission")
                .with("principal", spelled(grantee, &raw))
                .with("group", grantee.is_group())
                .with("roleId", *role)
                .with("propagate", true);
            let args = vec![("entity", entity.into()), ("permission", permission)];
            Ok(of_rights("SetEntityPermissions", args, &raw))
        }
        StepOp::Revoke { part, grantee } => {
            let args = vec![
                ("entity", reference(part.kind, id_of(pool, part)?).into()),
                ("user", spelled(grantee, &raw).into()),
                ("isGroup", grantee.is_group().into()),
            ];
            Ok(of_rights("RemoveEntityPermission", args, &raw))
        }
        StepOp::RemovePart { part } => Ok(NativeCall {
            method: removal(part.kind),
            this: reference(part.kind, id_of(pool, part)?),
            args: Vec::new(),
            answers: Answers::Task,
        }),
        other => Err(format!("`{}` is no call on a pool", other.name())),
    }
}

/// The call that takes an empty part away. What comes into it in the instant before the call goes
/// with it: machines in a resource pool move up, but those in a folder would be destroyed with
/// their disks. So a folder goes by the call that takes them out of the inventory only.
fn removal(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Group | PartKind::GroupAbove => "UnregisterAndDestroy_Task",
        PartKind::Share | PartKind::ShareAbove | PartKind::Mark => "Destroy_Task",
    }
}

fn id_of<'a>(pool: &'a ObservedPool, part: &PoolPart) -> Result<&'a NativeId, String> {
    let id = pool.parts.get(part).and_then(|it| it.id.as_ref());
    id.ok_or_else(|| format!("`{part}` is not there"))
}

fn make(
    part: &PoolPart,
    attributes: &Attributes,
    around: &Surroundings<'_>,
) -> Result<NativeCall, String> {
    let places = around.places;
    let made = |method, this, args| NativeCall { method, this, args, answers: Answers::Object };
    let (above, name) = match part.name.rsplit_once('/') {
        Some((above, name)) => (above, name),
        None => ("", part.name.as_str()),
    };
    match part.kind {
        PartKind::Mark => Ok(NativeCall {
            method: "AddCustomFieldDef",
            this: MoRef::new("CustomFieldsManager", attributes.manager.as_str()),
            // For no kind of object alone: folders and resource pools bear it.
            args: vec![("name", part.name.as_str().into())],
            answers: Answers::Nothing,
        }),
        PartKind::GroupAbove | PartKind::Group => {
            let datacenter = places.datacenter(around.datacenter)?;
            let parent = places.folder(&datacenter, above)?;
            Ok(made("CreateFolder", parent, vec![("name", name.into())]))
        }
        PartKind::ShareAbove | PartKind::Share => {
            let mut names = path_names(above).into_iter();
            let node = names.next().map(NodeName::new).ok_or("no cluster was chosen")?;
            let node = around.node(Some(&node))?;
            let mut parent = node.root_pool.clone().ok_or("it has no root resource pool")?;
            for name in names {
                let missing = || format!("there is no resource pool `{above}`");
                parent = places.child(&parent, "ResourcePool", &name).ok_or_else(missing)?;
            }
            let args = vec![("name", name.into()), ("spec", share_spec())];
            Ok(made("CreateResourcePool", parent, args))
        }
    }
}

/// Everything that a new resource pool has to be told: nothing set aside, nothing withheld,
/// and the same weight as its neighbours. The server takes no specification with a gap.
fn share_spec() -> Val {
    let allocation = || {
        Val::obj("ResourceAllocationInfo")
            .with("reservation", 0_i64)
            .with("expandableReservation", true)
            .with("limit", -1_i64)
            .with("shares", Val::obj("SharesInfo").with("shares", 4000_i64).with("level", "normal"))
    };
    Val::obj("ResourceConfigSpec")
        .with("cpuAllocation", allocation())
        .with("memoryAllocation", allocation())
}

fn of_rights(method: &'static str, args: Vec<(&'static str, Val)>, raw: &RawPool) -> NativeCall {
    let this = MoRef::new("AuthorizationManager", raw.authorization.as_str());
    NativeCall { method, this, args, answers: Answers::Nothing }
}

/// Somebody as the server spells them, where it did.
fn spelled<'a>(grantee: &'a Grantee, raw: &'a RawPool) -> &'a str {
    raw.spelled.get(grantee).map_or(grantee.principal(), String::as_str)
}

fn set_field(
    attributes: &Attributes,
    name: &str,
    entity: &MoRef,
    value: &str,
) -> Result<NativeCall, String> {
    let key = attributes.keys.get(name);
    let key = *key.ok_or_else(|| format!("the custom attribute `{name}` is not defined"))?;
    Ok(NativeCall {
        method: "SetField",
        this: MoRef::new("CustomFieldsManager", attributes.manager.as_str()),
        args: vec![("entity", entity.clone().into()), ("key", key.into()), ("value", value.into())],
        answers: Answers::Nothing,
    })
}

/// The marker names the object that it is written on: one that was copied elsewhere marks
/// nothing.
fn marker(call: &Call<'_>, id: &NativeId) -> Marker {
    let unsigned = Marker {
        project: call.identity.project.clone(),
        key: call.identity.key.clone(),
        uuid: None,
        id: Some(id.clone()),
        stage: Stage::Ready,
        intent: call.identity.intent,
        init: None,
        protect: false,
        mac: None,
        map: DeviceMap::default(),
    };
    let mac = call.marker_key.map(|key| key.sign(&unsigned));
    Marker { mac, ..unsigned }
}
