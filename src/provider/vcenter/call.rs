//! One step and a fresh read, as one native call.
//!
//! Pure. Fields are pushed in the interface's own order: the server reads them with a
//! forward cursor.

use super::{
    customize::spec::description,
    device_change::{DeviceChanges, key_of},
    devices::{datastore_in, in_slot, is_linked, nic_model},
    extra,
    places::{NodePlace, Places, PoolPlace},
    pool_call::pool_call,
    spreads::{self, Edit, RawSpread, rule_name},
    translate::machine_ref,
    vim::{MoRef, Node, Val},
};
use crate::{
    model::{
        Birth, BirthSource, BootDevice, Cdrom, CloneFrom, DeviceMap, DiskMove, Firmware,
        FreshObject, GuestOs, Marker, MarkerDraft, MarkerState, Name, NicModel, NicSetting,
        NodeName, PowerState, Seed, Setting, Slot, SnapshotMark, StepOp, TakeSnapshot,
    },
    ownership,
    planted::Bug,
    provider::{Call, guest_init},
};
use secrecy::ExposeSecret as _;
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

    fn datastore(&self, name: &str) -> Result<MoRef, String> {
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
fn marker(
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
fn marker_keys(marker: &Marker) -> [(&'static str, String); 2] {
    let text = ownership::render(marker);
    let (line, map) = text.split_once('\n').unwrap_or((&text, ""));
    [(extra::ID, line.to_owned()), (extra::MAP, map.to_owned())]
}

fn hidden_option(key: &str, value: &str) -> Val {
    let value = Val::any_secret(value.to_owned().into());
    Val::obj("OptionValue").with("key", key).with("value", value)
}

fn option(key: &str, value: &str) -> Val {
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
fn hardware(version: u32) -> String {
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

/// One configuration while it is put together.
struct Editor<'a> {
    call: &'a Call<'a>,
    around: &'a Surroundings<'a>,
    devices: Vec<Node>,
    map: DeviceMap,
    running: bool,
    node: Option<&'a NodePlace>,
    /// Name and kind of guest, of a machine that is made.
    birth: Option<(String, &'static str)>,
    name: Option<String>,
    notes: Option<String>,
    cpu: Option<(u32, u32)>,
    memory_mib: Option<u64>,
    hardware: Option<u32>,
    firmware: Option<Firmware>,
    boot: Option<Vec<(BootDevice, Slot)>>,
    changes: DeviceChanges,
    /// Keys that stand for devices which this call adds.
    new_keys: BTreeMap<Slot, i64>,
    extra: BTreeMap<String, String>,
    first_datastore: Option<String>,
}

impl<'a> Editor<'a> {
    fn of(call: &'a Call<'a>, around: &'a Surroundings<'a>) -> Result<Self, String> {
        let (mut devices, mut map, mut running, mut node) =
            (Vec::new(), DeviceMap::default(), false, None);
        match &call.fresh.object {
            FreshObject::Machine(seen) => {
                let raw: RawMachine = serde_json::from_value(call.fresh.raw.clone())
                    .map_err(|error| format!("the fresh read is not a machine's: {error}"))?;
                devices = raw.devices;
                running = seen.power != PowerState::Stopped;
                map = seen.marker.found().map(|it| it.map.clone()).unwrap_or_default();
                node = seen.node.as_ref().and_then(|name| around.places.nodes.get(name));
            }
            FreshObject::Absent if call.op.is_birth() => {}
            FreshObject::Absent | FreshObject::Pool(_) | FreshObject::Spread(_) => {
                return Err(format!("there is no machine {}", call.target.at));
            }
            FreshObject::Unreadable(why) => return Err(format!("{}: {why}", call.target.at)),
        }
        Ok(Self {
            call,
            around,
            devices,
            map,
            running,
            node,
            birth: None,
            name: None,
            notes: None,
            cpu: None,
            memory_mib: None,
            hardware: None,
            firmware: None,
            boot: None,
            changes: DeviceChanges::default(),
            new_keys: BTreeMap::new(),
            extra: BTreeMap::new(),
            first_datastore: None,
        })
    }

    fn configure(mut self, settings: &[Setting]) -> Result<Val, String> {
        for setting in settings {
            self.set(setting)?;
        }
        self.spec()
    }

    /// Where each disk of the machine goes or stays. All are named, also those that are not
    /// ours: where the machine's own files move, the server moves every disk along that it
    /// is told nothing of.
    fn relocation(&self, moves: &[DiskMove]) -> Result<Val, String> {
        let (mut home, mut locators) = (None, Vec::new());
        for it in moves {
            let device = self.device(&it.slot)?;
            if !device.is_a("VirtualDisk") {
                return Err(format!("there is no disk in {}", it.slot));
            }
            if is_linked(&device) {
                return Err(format!(
                    "the disk in {} holds only the differences to another",
                    it.slot
                ));
            }
            let to = self.around.datastore(it.to.as_str())?;
            locators.push((key_of(&device)?, to.clone()));
            if it.disk.is_boot() {
                home = Some(to);
            }
        }
        for device in self.devices.iter().filter(|it| home.is_some() && it.is_a("VirtualDisk")) {
            let key = key_of(device)?;
            if locators.iter().any(|(moved, _)| *moved == key) {
                continue;
            }
            let file = device.word_at("backing.fileName").unwrap_or_default();
            let is = datastore_in(file).ok_or_else(|| format!("`{file}` is on no datastore"))?;
            locators.push((key, self.around.datastore(is.as_str())?));
        }
        let locator = |(key, datastore): (i64, MoRef)| {
            Val::obj("VirtualMachineRelocateSpecDiskLocator")
                .with("diskId", key)
                .with("datastore", datastore)
        };
        Ok(Val::obj("VirtualMachineRelocateSpec")
            .with_some("datastore", home)
            .with("disk", Val::arr(locators.into_iter().map(locator))))
    }

    fn device(&self, slot: &Slot) -> Result<Node, String> {
        let missing = || format!("there is no device in {slot}");
        in_slot(&self.devices, &self.map, slot).cloned().ok_or_else(missing)
    }

    fn set(&mut self, setting: &Setting) -> Result<(), String> {
        match setting {
            Setting::Name(name) => self.name = Some(name.clone()),
            Setting::Cpu { total, sockets } => self.cpu = Some((*total, *sockets)),
            Setting::Memory(size) => self.memory_mib = Some(size.0 / (1024 * 1024)),
            Setting::Firmware { firmware, .. } => self.firmware = Some(*firmware),
            Setting::Tpm { present: false, .. } => {}
            Setting::Tpm { present: true, .. } => {
                return Err("a TPM cannot be added here".to_owned());
            }
            Setting::HardwareVersion(_) if self.birth.is_none() => {
                return Err("hardware that exists is upgraded by a call of its own".to_owned());
            }
            Setting::HardwareVersion(version) => self.hardware = Some(*version),
            Setting::Extra { key, value } => {
                self.extra.insert(key.to_string(), value.clone());
            }
            Setting::Boot { order, slots } => {
                self.boot = Some(order.iter().copied().zip(slots.iter().cloned()).collect());
            }
            Setting::Cdrom { cdrom, slot } => self.cdrom(cdrom, slot)?,
            Setting::Autostart(_) => return Err("start order is not set here".to_owned()),
            // Deletion protection is in the marker alone.
            Setting::Protect(_) => {}
            Setting::Tags(_) => return Err("tags are not set here".to_owned()),
            Setting::Notes(notes) => self.notes = Some(notes.clone()),
            Setting::AttachDisk { slot, size, storage, .. } => {
                let datastore = self.around.datastore(storage.as_str())?;
                let place = (storage.as_str(), Some(&datastore));
                let key = self.changes.add_disk(&self.devices, slot.as_str(), *size, place)?;
                self.new_keys.insert(slot.clone(), key);
                self.first_datastore.get_or_insert_with(|| storage.to_string());
            }
            Setting::DetachDisk { slot, delete, .. } => {
                let device = self.device(slot)?;
                let volume = device.word_at("backing.fileName").map(str::to_owned);
                if delete.is_some() && *delete != volume {
                    return Err(format!("another disk is in {slot} by now"));
                }
                self.changes.remove(&device, delete.is_some());
            }
            Setting::DiskSize { slot, to, .. } => {
                let device = self.device(slot)?;
                self.changes.grow(&device, *to);
            }
            Setting::SetNic(nic) => self.nic(nic)?,
            Setting::RemoveNic { slot, .. } => {
                let device = self.device(slot)?;
                self.changes.remove(&device, false);
            }
            Setting::Seed(seed) => self.seed(seed)?,
            // It is born with it.
            Setting::MachineUuid => {}
            Setting::Marker(draft) => self.mark(draft)?,
            Setting::Unmark => {
                self.keys([(extra::ID, String::new()), (extra::MAP, String::new())]);
            }
        }
        Ok(())
    }

    fn mark(&mut self, draft: &MarkerDraft) -> Result<(), String> {
        let (old, taken) = match &self.call.fresh.object {
            FreshObject::Machine(seen) => {
                if matches!(seen.marker, MarkerState::Garbled(_)) {
                    return Err("the marker cannot be read".to_owned());
                }
                let slots = seen.devices.iter().map(|it| it.slot.clone()).collect();
                // Nothing is kept of a marker of another creation.
                let old = seen.marker.found().filter(|it| it.intent == self.call.identity.intent);
                (old, slots)
            }
            FreshObject::Pool(_)
            | FreshObject::Spread(_)
            | FreshObject::Absent
            | FreshObject::Unreadable(_) => (None, BTreeSet::new()),
        };
        let marker = marker(self.call, draft, old, &taken);
        self.keys(marker_keys(&marker));
        Ok(())
    }

    fn keys<const N: usize>(&mut self, keys: [(&str, String); N]) {
        self.extra.extend(keys.map(|(key, value)| (key.to_owned(), value)));
    }

    fn cdrom(&mut self, cdrom: &Cdrom, slot: &Slot) -> Result<(), String> {
        let drive = in_slot(&self.devices, &self.map, slot).cloned();
        let iso = match cdrom {
            Cdrom::None => None,
            Cdrom::Iso(path) => Some(path.as_str()),
        };
        let key =
            self.changes.cdrom(&self.devices, drive.as_ref(), slot.as_str(), iso, self.running)?;
        self.new_keys.insert(slot.clone(), key);
        Ok(())
    }

    fn nic(&mut self, nic: &NicSetting) -> Result<(), String> {
        let network = match &nic.network {
            Some(binding) => Some(self.around.places.network(&binding.native, self.node)?),
            None => None,
        };
        if nic.vlan.is_some_and(|tag| tag != 0) {
            return Err("a card has no VLAN of its own here".to_owned());
        }
        let Some(device) = in_slot(&self.devices, &self.map, &nic.slot).cloned() else {
            let network = network.ok_or("a new card needs a network")?;
            let backing = super::device_change::backing(network);
            let model = nic.model.unwrap_or(NicModel::Vmxnet3);
            let key = self.changes.add_nic(model, backing, nic.mac, self.running)?;
            self.new_keys.insert(nic.slot.clone(), key);
            return Ok(());
        };
        let is = nic_model(&device).flatten();
        let other_model = nic.model.filter(|wanted| is != Some(*wanted));
        let Some(model) = other_model else {
            self.changes.edit_nic(&device, network, nic.mac);
            // From this call on it may be known by its address.
            let mac = nic.mac.or_else(|| super::devices::mac_of(&device));
            if let (Some(mac), Some(key)) = (mac, device.i64_at("key")) {
                self.new_keys.insert(super::slots::handle(mac), key);
            }
            return Ok(());
        };
        // A card cannot change its kind: another one takes its place and its address.
        let backing = match network {
            Some(network) => super::device_change::backing(network),
            None => {
                let old = device.child("backing").ok_or("a card was read without its network")?;
                super::device_change::echo(old)
            }
        };
        let mac = nic.mac.or_else(|| super::devices::mac_of(&device));
        self.changes.remove(&device, false);
        let key = self.changes.add_nic(model, backing, mac, self.running)?;
        self.new_keys.insert(nic.slot.clone(), key);
        Ok(())
    }

    fn seed(&mut self, seed: &Seed) -> Result<(), String> {
        let name = match (&self.birth, &self.call.fresh.object) {
            (Some((name, _)), _) => name.clone(),
            (None, FreshObject::Machine(seen)) => {
                self.name.clone().or_else(|| seen.spec.name.clone()).unwrap_or_default()
            }
            (None, _) => String::new(),
        };
        let hash = match (self.call.password(), &seed.init.user) {
            (Some(password), user) => {
                let uuid = self.call.identity.uuid.unwrap_or_default();
                let user = user.as_deref().unwrap_or_default();
                let hash = guest_init::sha512_crypt(uuid, user, password.expose_secret());
                Some(hash.map_err(|error| format!("the password cannot be hashed: {error}"))?)
            }
            (None, _) => None,
        };
        let documents = guest_init::documents(seed, &name, hash.as_deref());
        self.keys([
            (extra::METADATA, extra::encode(&documents.metadata)?),
            (extra::METADATA_ENCODING, extra::PACKED.to_owned()),
            (extra::USERDATA, extra::encode(&documents.userdata)?),
            (extra::USERDATA_ENCODING, extra::PACKED.to_owned()),
        ]);
        Ok(())
    }

    /// The key of a device in a slot. One that this call adds has none that a boot order
    /// could name: the server gives it one when it makes it.
    fn key_in(&self, slot: &Slot) -> Result<i64, String> {
        match self.new_keys.get(slot) {
            Some(key) if *key > 0 => return Ok(*key),
            Some(_) => return Err(format!("the boot order names {slot}, which has no key yet")),
            None => {}
        }
        let missing = || format!("the boot order names {slot}, which has no device");
        self.device(slot).ok().and_then(|device| device.i64_at("key")).ok_or_else(missing)
    }

    fn boot_options(&self) -> Result<Option<Val>, String> {
        let secure = self.firmware.map(|firmware| firmware == Firmware::SecureBoot);
        if secure.is_none() && self.boot.is_none() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for (device, slot) in self.boot.iter().flatten() {
            entries.push(match device {
                BootDevice::Disk => Val::obj("VirtualMachineBootOptionsBootableDiskDevice")
                    .with("deviceKey", self.key_in(slot)?),
                BootDevice::Network => Val::obj("VirtualMachineBootOptionsBootableEthernetDevice")
                    .with("deviceKey", self.key_in(slot)?),
                BootDevice::Cdrom => Val::obj("VirtualMachineBootOptionsBootableCdromDevice"),
            });
        }
        let options = Val::obj("VirtualMachineBootOptions")
            .with_some("efiSecureBootEnabled", secure)
            .with("bootOrder", Val::Arr(entries));
        Ok(Some(options))
    }

    fn spec(self) -> Result<Val, String> {
        let version = self.call.fresh.version.clone();
        let version = version.filter(|_| self.call.step.guarded && self.birth.is_none());
        if self.call.step.guarded && self.birth.is_none() && version.is_none() {
            return Err("the server tells no version of it, so that nobody would notice what \
                        somebody else changes meanwhile"
                .to_owned());
        }
        let version = version.filter(|_| !Bug::DigestNotSent.is_planted());
        let boot = self.boot_options()?;
        let firmware = self.firmware.map(|firmware| match firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi | Firmware::SecureBoot => "efi",
        });
        let (name, guest, uuid, files) = match &self.birth {
            Some((name, guest)) => {
                let datastore = self.first_datastore.as_ref().ok_or("no datastore was chosen")?;
                let files =
                    Val::obj("VirtualMachineFileInfo").with("vmPathName", format!("[{datastore}]"));
                let uuid = self.call.identity.uuid.map(|uuid| uuid.to_string());
                (Some(name.clone()), Some(*guest), uuid, Some(files))
            }
            None => (self.name.clone(), None, None, None),
        };
        let cores = self.cpu.map(|(total, sockets)| total / sockets.max(1));
        let extra = self.extra.iter().map(|(key, value)| match key.as_str() {
            // Packed is not hidden: what a server repeats of it must not be shown.
            extra::METADATA | extra::USERDATA => hidden_option(key, value),
            _ => option(key, value),
        });
        Ok(Val::obj("VirtualMachineConfigSpec")
            .with_some("changeVersion", version)
            .with_some("name", name)
            .with_some("version", self.hardware.map(hardware))
            .with_some("instanceUuid", uuid)
            .with_some("guestId", guest)
            .with_some("annotation", self.notes.clone())
            .with_some("files", files)
            .with_some("numCPUs", self.cpu.map(|(total, _)| i64::from(total)))
            .with_some("numCoresPerSocket", cores.map(i64::from))
            .with_some("memoryMB", self.memory_mib.and_then(|mib| i64::try_from(mib).ok()))
            .with("deviceChange", Val::Arr(self.changes.into_specs()))
            .with("extraConfig", Val::arr(extra))
            .with_some("bootOptions", boot)
            .with_some("firmware", firmware))
    }
}
