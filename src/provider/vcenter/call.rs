//! One step and a fresh read, as one native call.
//!
//! Pure. Fields are pushed in the interface's own order: the server reads them with a
//! forward cursor.

use super::{
    customize::spec::description,
    editor::Editor,
    extra,
    places::{NodePlace, Places, PoolPlace},
    pool_call::pool_call,
    spreads::{self, Edit, RawSpread, rule_name},
    translate::machine_ref,
    vim::{MoRef, Node, Val},
};
use crate::{
    model::{
        Birth, BirthSource, CloneFrom, DeviceMap, FreshObject, GuestOs, Marker, MarkerDraft, Name,
        NodeName, Slot, SnapshotMark, StepOp, TakeSnapshot,
    },
    ownership,
    provider::Call,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A machine as it was read: the form of `Fresh::raw`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMachine {
    /// Its devices, whole and in the server's order.
    pub devices: Vec<Node>,
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// With a task.
    Task,
    /// With the object that was made.
    Object,
    /// With nothing: it is done, or what it asks for is under way.
    Nothing,
}

/// One call, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NativeCall {
    pub method: &'static str,
    pub this: MoRef,
    pub args: Vec<(&'static str, Val)>,
    pub answers: Answers,
}

/// What a call needs to know of the vCenter.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub places: &'a Places,
    pub pools: &'a BTreeMap<Name, PoolPlace>,
    pub datacenter: Option<&'a str>,
    /// The folder of machines in no pool.
    pub folder: &'a str,
    /// The description of a guest that the step names and the product keeps, as it was read
    /// right before.
    pub kept: Option<&'a Node>,
}

impl Surroundings<'_> {
    fn pool(&self, pool: Option<&Name>) -> Result<PoolPlace, String> {
        match pool {
            None => Ok(PoolPlace::default()),
            Some(name) => {
                let unknown = || format!("pool `{name}` is not bound to this vCenter");
                self.pools.get(name).cloned().ok_or_else(unknown)
            }
        }
    }

    /// The folder of machines in a pool, or in none.
    pub fn folder_of(&self, pool: Option<&Name>) -> Result<MoRef, String> {
        let place = self.pool(pool)?;
        let datacenter = self.places.datacenter(self.datacenter)?;
        self.places.folder(&datacenter, place.folder.as_deref().unwrap_or(self.folder))
    }

    fn resource_pool_of(&self, pool: Option<&Name>, node: &NodePlace) -> Result<MoRef, String> {
        let place = self.pool(pool)?;
        self.places.resource_pool(node, place.resource_pool.as_deref())
    }

    /// A cluster or host by its name.
    pub fn node(&self, node: Option<&NodeName>) -> Result<&NodePlace, String> {
        let name = node.ok_or("no cluster or host was chosen")?;
        let unknown = || format!("there is no cluster or host `{name}`");
        self.places.nodes.get(name).ok_or_else(unknown)
    }

    pub fn datastore(&self, name: &str) -> Result<MoRef, String> {
        let unknown = || format!("there is no datastore `{name}`");
        self.places.datastore(name).cloned().ok_or_else(unknown)
    }
}

/// The native call of one step.
///
/// # Errors
/// In words, when the fresh read or the places do not allow the step.
pub(super) fn native_call(
    call: &Call<'_>,
    around: &Surroundings<'_>,
) -> Result<NativeCall, String> {
    let task = |method, this, args| NativeCall { method, this, args, answers: Answers::Task };
    match call.op {
        StepOp::Clone(from) => clone(call, from, around),
        StepOp::Create(birth) => create(call, birth, around),
        StepOp::Configure(settings) => {
            let spec = Editor::of(call, around)?.configure(settings)?;
            Ok(task("ReconfigVM_Task", machine(call)?, vec![("spec", spec)]))
        }
        StepOp::MoveDisks(moves) => {
            let spec = Editor::of(call, around)?.relocation(moves)?;
            Ok(task("RelocateVM_Task", machine(call)?, vec![("spec", spec)]))
        }
        StepOp::UpgradeHardware { to } => {
            let args = vec![("version", hardware(*to).into())];
            Ok(task("UpgradeVM_Task", machine(call)?, args))
        }
        StepOp::Customize(seed) => {
            let raw: RawMachine = serde_json::from_value(call.fresh.raw.clone())
                .map_err(|error| format!("the fresh read is not a machine's: {error}"))?;
            let spec = description(call, seed, &raw.devices, around.kept)?;
            Ok(task("CustomizeVM_Task", machine(call)?, vec![("spec", spec)]))
        }
        StepOp::SetPool { pool } => {
            let this = machine(call)?;
            let node = match &call.fresh.object {
                FreshObject::Machine(seen) => around.node(seen.node.as_ref())?,
                FreshObject::Pool(_)
                | FreshObject::Spread(_)
                | FreshObject::Absent
                | FreshObject::Unreadable(_) => {
                    return Err("there is no machine to move".to_owned());
                }
            };
            let spec = Val::obj("VirtualMachineRelocateSpec")
                .with("folder", around.folder_of(pool.as_ref())?)
                .with("pool", around.resource_pool_of(pool.as_ref(), node)?);
            Ok(task("RelocateVM_Task", this, vec![("spec", spec)]))
        }
        StepOp::DefineLabel { .. }
        | StepOp::DefineLabelValue { .. }
        | StepOp::SetLabel { .. }
        | StepOp::ClearLabel { .. } => Err("labels go by another interface".to_owned()),
        StepOp::Start => Ok(task("PowerOnVM_Task", machine(call)?, Vec::new())),
        StepOp::Stop => Ok(task("PowerOffVM_Task", machine(call)?, Vec::new())),
        StepOp::TakeSnapshot(take) => {
            let note = snapshot_note(call, take)?;
            let args = vec![
                ("name", take.name.as_str().into()),
                ("description", note.into()),
                ("memory", false.into()),
                // What runs in the guest to quiet it may hang, or not be there.
                ("quiesce", false.into()),
            ];
            Ok(task("CreateSnapshot_Task", machine(call)?, args))
        }
        StepOp::RemoveSnapshot { id, .. } => {
            // Its children stay, and what it alone held is merged.
            let args = vec![("removeChildren", false.into()), ("consolidate", true.into())];
            let this = MoRef::new("VirtualMachineSnapshot", id.as_str());
            Ok(task("RemoveSnapshot_Task", this, args))
        }
        StepOp::Delete => Ok(task("Destroy_Task", machine(call)?, Vec::new())),
        StepOp::Shutdown => Ok(NativeCall {
            method: "ShutdownGuest",
            this: machine(call)?,
            args: Vec::new(),
            answers: Answers::Nothing,
        }),
        StepOp::GrowDisk { .. } => Err("a disk grows in a configuration here".to_owned()),
        StepOp::MakePart { .. }
        | StepOp::MarkPart { .. }
        | StepOp::RemovePart { .. }
        | StepOp::MakeRole { .. }
        | StepOp::Grant { .. }
        | StepOp::Revoke { .. }
        | StepOp::SetComment { .. } => pool_call(call, around),
        StepOp::CreateSpread { members } | StepOp::SetSpread { members } => {
            spread(call, Edit::Keep(members), around)
        }
        StepOp::DeleteSpread => spread(call, Edit::Drop, around),
        StepOp::CreatePool { .. } | StepOp::DeletePool => {
            Err("a pool is made and removed in its parts here".to_owned())
        }
    }
}

fn spread(
    call: &Call<'_>,
    edit: Edit<'_>,
    around: &Surroundings<'_>,
) -> Result<NativeCall, String> {
    let node = around.node(call.target.node.as_ref())?;
    let raw: RawSpread = serde_json::from_value(call.fresh.raw.clone())
        .map_err(|error| format!("what was read of the rule is none: {error}"))?;
    let name = rule_name(&call.identity.project, &call.target.key.name);
    let spec = spreads::spec(&name, &raw, edit)?;
    Ok(NativeCall {
        method: "ReconfigureComputeResource_Task",
        this: node.compute.clone(),
        args: vec![("spec", spec), ("modify", true.into())],
        answers: Answers::Task,
    })
}

fn machine(call: &Call<'_>) -> Result<MoRef, String> {
    let unknown = || format!("{} has no id yet", call.target.at);
    call.target.id().map(machine_ref).ok_or_else(unknown)
}

/// What is written beside a snapshot.
fn snapshot_note(call: &Call<'_>, take: &TakeSnapshot) -> Result<String, String> {
    let (project, key) = (&call.identity.project, &call.identity.key);
    if !take.before_change {
        return Ok(format!("Taken with `novahost vm snapshot` of {key}, project {project}"));
    }
    let uuid = match &call.fresh.object {
        FreshObject::Machine(seen) => seen.uuid,
        FreshObject::Pool(_)
        | FreshObject::Spread(_)
        | FreshObject::Absent
        | FreshObject::Unreadable(_) => None,
    };
    let uuid = uuid.ok_or("a snapshot cannot name a machine without a UUID")?;
    let (project, key, plan) = (project.clone(), key.clone(), call.plan_id.to_owned());
    Ok(ownership::snapshot_note(&SnapshotMark { project, key, uuid, plan }))
}

/// The marker of a draft. `taken` are slots that hold a device: their entries are
/// confirmed, whatever the draft says.
pub(super) fn marker(
    call: &Call<'_>,
    draft: &MarkerDraft,
    old: Option<&Marker>,
    taken: &BTreeSet<Slot>,
) -> Marker {
    let none = DeviceMap::default();
    let mut map = draft.map_over(old.map_or(&none, |old| &old.map));
    for entry in map.disks.values_mut().chain(map.nics.values_mut()) {
        entry.confirmed |= taken.contains(&entry.slot);
    }
    let unsigned = Marker {
        project: call.identity.project.clone(),
        key: call.identity.key.clone(),
        uuid: call.identity.uuid,
        id: call.target.id().cloned(),
        stage: draft.stage,
        intent: call.identity.intent,
        init: draft.init.clone().or_else(|| old.and_then(|old| old.init.clone())),
        protect: draft.protect.unwrap_or_else(|| old.is_some_and(|old| old.protect)),
        mac: None,
        map,
    };
    let mac = call.marker_key.map(|key| key.sign(&unsigned));
    Marker { mac, ..unsigned }
}

/// The two keys of a marker. A map without entries is an empty value, which removes the
/// key: a template may have brought somebody else's.
pub(super) fn marker_keys(marker: &Marker) -> [(&'static str, String); 2] {
    let text = ownership::render(marker);
    let (line, map) = text.split_once('\n').unwrap_or((&text, ""));
    [(extra::ID, line.to_owned()), (extra::MAP, map.to_owned())]
}

pub(super) fn option(key: &str, value: &str) -> Val {
    Val::obj("OptionValue").with("key", key).with("value", Val::any_text(value))
}

/// Born with our marker and our UUID: there is no instant at which it is nobody's.
fn clone(
    call: &Call<'_>,
    from: &CloneFrom,
    around: &Surroundings<'_>,
) -> Result<NativeCall, String> {
    let node = around.node(from.node.as_ref().or(from.template_node.as_ref()))?;
    let folder = around.folder_of(from.pool.as_ref())?;
    let datastore = from.storage.as_ref().filter(|_| !from.linked);
    let datastore = datastore.map(|name| around.datastore(name.as_str())).transpose()?;
    let moves = match from.linked {
        true => "createNewChildDiskBacking",
        false => "moveAllDiskBackingsAndDisallowSharing",
    };
    if from.linked && from.snapshot.is_none() {
        return Err("a linked clone needs a snapshot of its template".to_owned());
    }
    let location = Val::obj("VirtualMachineRelocateSpec")
        .with_some("datastore", datastore)
        .with("diskMoveType", moves)
        .with("pool", around.resource_pool_of(from.pool.as_ref(), node)?)
        .with_some("host", node.host.clone());
    let marker = marker(call, &from.marker, None, &BTreeSet::new());
    let keys = marker_keys(&marker).map(|(key, value)| option(key, &value));
    let config = Val::obj("VirtualMachineConfigSpec")
        .with_some("instanceUuid", call.identity.uuid.map(|uuid| uuid.to_string()))
        .with("extraConfig", Val::arr(keys));
    let snapshot = from.snapshot.as_ref().filter(|_| from.linked);
    let snapshot = snapshot.map(|id| MoRef::new("VirtualMachineSnapshot", id.as_str()));
    let spec = Val::obj("VirtualMachineCloneSpec")
        .with("location", location)
        .with("template", false)
        .with("config", config)
        .with("powerOn", false)
        .with_some("snapshot", snapshot);
    Ok(NativeCall {
        method: "CloneVM_Task",
        this: machine_ref(&from.template),
        args: vec![("folder", folder.into()), ("name", from.name.as_str().into()), ("spec", spec)],
        answers: Answers::Task,
    })
}

fn create(call: &Call<'_>, birth: &Birth, around: &Surroundings<'_>) -> Result<NativeCall, String> {
    let node = around.node(birth.node.as_ref())?;
    let folder = around.folder_of(birth.pool.as_ref())?;
    let pool = around.resource_pool_of(birth.pool.as_ref(), node)?;
    let mut editor = Editor::of(call, around)?;
    editor.birth = Some((birth.name.clone(), guest_id(&birth.source)));
    editor.node = Some(node);
    let spec = editor.configure(&birth.settings)?;
    let mut args = vec![("config", spec), ("pool", pool.into())];
    args.extend(node.host.clone().map(|host| ("host", host.into())));
    Ok(NativeCall { method: "CreateVM_Task", this: folder, args, answers: Answers::Task })
}

/// A version of the virtual hardware as the product spells it; the old ones have a zero.
pub(super) fn hardware(version: u32) -> String {
    format!("vmx-{version:02}")
}

/// What the product is told of the guest; it decides defaults of hardware, nothing more.
fn guest_id(source: &BirthSource) -> &'static str {
    match source.os {
        GuestOs::Linux => "otherLinux64Guest",
        GuestOs::Windows => "windows9Server64Guest",
        GuestOs::Bsd => "freebsd64Guest",
        GuestOs::Other => "otherGuest64",
    }
}
