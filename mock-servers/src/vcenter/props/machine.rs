//! Properties of machines and their snapshots.

use std::collections::BTreeSet;

use super::{allocation, reference};
use crate::vcenter::guest;
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, arr, flag, int, long, obj, refs, text, time, word};
use crate::vcenter::vm::{Config, Device, DeviceKind, Disk, Nic, Snapshot, Vm};
use crate::vcenter::world::Kind;
use crate::vcenter::xml::Elem;

/// Memory that running a machine takes beside its own, in bytes.
const OVERHEAD: u64 = 64 << 20;

/// Keys that every machine has without anybody having set them.
const OWN_KEYS: [(&str, &str); 8] = [
    ("hpet0.present", "TRUE"),
    ("migrate.hostLogState", "none"),
    ("pciBridge0.present", "TRUE"),
    ("pciBridge4.functions", "8"),
    ("sched.cpu.latencySensitivity", "normal"),
    ("svga.present", "TRUE"),
    ("tools.guest.desktop.autolock", "FALSE"),
    ("viv.moid", "novahost-mock"),
];

/// A property of a machine.
pub(super) fn of_vm(core: &Core, id: &str, name: &str, vm: &Vm, property: &str) -> Option<Val> {
    let readable = vm.forming.is_none() && vm.connection == "connected";
    match property {
        "config" => readable.then(|| config(core, name, vm, &vm.config)),
        "runtime" => Some(runtime(core, vm)),
        "guest" => Some(guest_info(core, vm)),
        "summary" => Some(summary(core, id, name, vm, readable)),
        "resourcePool" => vm.pool.as_ref().map(|pool| reference(core, pool)),
        "datastore" => {
            let ids: BTreeSet<&str> = datastores(core, vm);
            Some(refs(ids.into_iter().map(|id| reference(core, id)).collect()))
        }
        "network" => {
            let ids: BTreeSet<&str> = vm.config.nics().map(|nic| nic.network.as_str()).collect();
            Some(refs(ids.into_iter().map(|id| reference(core, id)).collect()))
        }
        "snapshot" => (!vm.snapshots.is_empty()).then(|| tree(id, vm)),
        "rootSnapshot" => Some(refs(
            vm.snapshots
                .iter()
                .filter(|it| it.parent.is_none())
                .map(|it| snapshot_ref(&it.id))
                .collect(),
        )),
        "guestHeartbeatStatus" => Some(word("ManagedEntityStatus", "gray")),
        _ => None,
    }
}

/// A property of a snapshot.
pub(super) fn of_snapshot(core: &Core, id: &str, property: &str) -> Option<Val> {
    let (owner, vm) = core.world.vms().find(|(_, vm)| vm.snapshots.iter().any(|it| it.id == id))?;
    let snapshot = vm.snapshots.iter().find(|it| it.id == id)?;
    let name = &core.world.entities.get(owner)?.name;
    match property {
        "vm" => Some(reference(core, owner)),
        "config" => Some(config(core, name, vm, &snapshot.config)),
        "childSnapshot" => Some(refs(
            vm.snapshots
                .iter()
                .filter(|it| it.parent.as_deref() == Some(id))
                .map(|it| snapshot_ref(&it.id))
                .collect(),
        )),
        _ => None,
    }
}

fn snapshot_ref(id: &str) -> Val {
    Val::Ref("VirtualMachineSnapshot".into(), id.to_owned())
}

/// Datastores that hold something of a machine.
fn datastores<'a>(core: &'a Core, vm: &Vm) -> BTreeSet<&'a str> {
    let named = vm.config.disks().map(|disk| disk.file.as_str()).chain([vm.path.as_str()]);
    named.filter_map(|path| datastore_of(core, path)).collect()
}

/// The datastore that a path such as `[fast] a/b.vmdk` lies on.
fn datastore_of<'a>(core: &'a Core, path: &str) -> Option<&'a str> {
    let (name, _) = path.strip_prefix('[')?.split_once(']')?;
    core.world.datastore_named(name)
}

fn config(core: &Core, name: &str, vm: &Vm, config: &Config) -> Val {
    let hardware = obj(
        "VirtualHardware",
        vec![
            ("numCPU", int(config.cpus)),
            ("numCoresPerSocket", int(config.cores_per_socket)),
            ("memoryMB", int(config.memory_mb)),
            (
                "device",
                arr(
                    "VirtualDevice",
                    config.devices.iter().map(|it| device(core, config, it)).collect(),
                ),
            ),
        ],
    );
    let own = OWN_KEYS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let extra =
        config.extra.clone().into_iter().chain(own).map(|(key, value)| {
            obj("OptionValue", vec![("key", text(key)), ("value", text(value))])
        });
    let folder = vm.path.rsplit_once('/').map_or(vm.path.as_str(), |(folder, _)| folder);
    let directory = || text(format!("{folder}/"));
    let files = obj(
        "VirtualMachineFileInfo",
        vec![
            ("vmPathName", text(vm.path.clone())),
            ("snapshotDirectory", directory()),
            ("suspendDirectory", directory()),
            ("logDirectory", directory()),
        ],
    );
    let mut fields = vec![
        ("changeVersion", text(vm.change.clone())),
        ("modified", time(vm.modified_ms)),
        ("createDate", time(vm.created_ms)),
        ("name", text(name)),
        ("guestFullName", text(guest_name(&config.guest_id))),
        ("alternateGuestName", text("")),
        ("version", text(config.version.clone())),
        ("uuid", text(vm.uuid.clone())),
        ("instanceUuid", text(vm.instance_uuid.clone())),
        ("template", flag(vm.template)),
        ("guestId", text(config.guest_id.clone())),
        ("annotation", text(config.annotation.clone())),
        ("files", files),
        ("hardware", hardware),
        ("cpuAllocation", allocation(&config.cpu)),
        ("memoryAllocation", allocation(&config.memory)),
        ("memoryHotAddEnabled", flag(config.memory_hot_add)),
        ("cpuHotAddEnabled", flag(config.cpu_hot_add)),
        ("cpuHotRemoveEnabled", flag(config.cpu_hot_remove)),
        ("extraConfig", arr("OptionValue", extra.collect())),
        ("firmware", text(config.firmware.clone())),
    ];
    for name in
        ["tools", "flags", "bootOptions", "managedBy", "changeTrackingEnabled", "nestedHVEnabled"]
    {
        if name == "tools" && guest::setup_waits(core, vm) {
            fields.push((name, tools(config.other.get(name))));
            continue;
        }
        fields.extend(config.other.get(name).map(|elem| (name, Val::Raw(elem.clone()))));
    }
    if !config.other.contains_key("flags") {
        fields
            .push(("flags", obj("VirtualMachineFlagInfo", vec![("diskUuidEnabled", flag(false))])));
    }
    obj("VirtualMachineConfigInfo", fields)
}

/// What the tools of a machine are told to do, with the file of the description that waits.
fn tools(sent: Option<&Elem>) -> Val {
    const FLAGS: [&str; 6] = [
        "afterPowerOn",
        "afterResume",
        "beforeGuestStandby",
        "beforeGuestShutdown",
        "beforeGuestReboot",
        "syncTimeWithHost",
    ];
    let told = |name: &'static str| Some((name, flag(sent?.flag(name)?)));
    let mut fields: Vec<(&'static str, Val)> = FLAGS.into_iter().filter_map(told).collect();
    fields.push(("pendingCustomization", text("/vmfs/volumes/local/imgcust.pkg")));
    obj("ToolsConfigInfo", fields)
}

fn guest_name(id: &str) -> &'static str {
    match id {
        "debian12_64Guest" | "debian11_64Guest" | "debian10_64Guest" => "Debian GNU/Linux (64-bit)",
        "ubuntu64Guest" => "Ubuntu Linux (64-bit)",
        id if id.starts_with("windows") => "Microsoft Windows (64-bit)",
        _ => "Other (64-bit)",
    }
}

/// A device, as it is told and as it is sent back.
fn device(core: &Core, config: &Config, device: &Device) -> Val {
    let label = |summary: String| {
        obj("Description", vec![("label", text(device.label.clone())), ("summary", text(summary))])
    };
    let mut fields = vec![("key", int(device.key))];
    fields.extend(device.controller.map(|it| ("controllerKey", int(it))));
    fields.extend(device.unit.map(|it| ("unitNumber", int(it))));
    match &device.kind {
        DeviceKind::Controller { ty, bus, shared } => {
            let hung: Vec<Val> = config
                .devices
                .iter()
                .filter(|it| it.controller == Some(device.key))
                .map(|it| int(it.key))
                .collect();
            fields.extend([
                ("deviceInfo", label(ty.clone())),
                ("busNumber", int(*bus)),
                ("device", arr("int", hung)),
            ]);
            if let Some(shared) = shared {
                if ty == "VirtualNVMEController" {
                    fields.push(("sharedBus", text(shared.clone())));
                } else {
                    fields.extend([
                        ("hotAddRemove", flag(true)),
                        ("sharedBus", word("VirtualSCSISharing", shared)),
                        ("scsiCtlrUnitNumber", int(7)),
                    ]);
                }
            }
        }
        DeviceKind::Disk(disk) => disk_fields(core, disk, &mut fields, &label),
        DeviceKind::Nic(nic) => nic_fields(core, nic, &mut fields, &label),
        DeviceKind::Cdrom { iso, connected } => {
            let backing = match iso {
                Some(file) => {
                    let mut backing = vec![("fileName", text(file.clone()))];
                    backing.extend(
                        datastore_of(core, file).map(|it| ("datastore", reference(core, it))),
                    );
                    obj("VirtualCdromIsoBackingInfo", backing)
                }
                None => obj(
                    "VirtualCdromRemotePassthroughBackingInfo",
                    vec![("deviceName", text("")), ("exclusive", flag(false))],
                ),
            };
            fields.extend([
                ("deviceInfo", label("CD/DVD".to_owned())),
                ("backing", backing),
                ("connectable", connectable(*connected)),
            ]);
        }
        DeviceKind::Other(elem) => {
            let mut elem = elem.clone();
            for kid in &mut elem.kids {
                if kid.name == "key" {
                    kid.text = device.key.to_string();
                }
            }
            return Val::Raw(elem);
        }
    }
    match obj("VirtualDevice", vec![]) {
        Val::Obj(..) => {
            let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
            Val::Obj(device.kind.type_name().to_owned().into(), fields)
        }
        other => other,
    }
}

type Fields = Vec<(&'static str, Val)>;

fn disk_fields(core: &Core, disk: &Disk, fields: &mut Fields, label: &dyn Fn(String) -> Val) {
    let shares =
        obj("SharesInfo", vec![("shares", int(1000)), ("level", word("SharesLevel", "normal"))]);
    fields.extend([
        ("deviceInfo", label(format!("{} KB", disk.bytes / 1024))),
        ("backing", backing(core, &disk.file, disk, 0)),
        ("capacityInKB", long(disk.bytes / 1024)),
        ("capacityInBytes", long(disk.bytes)),
        ("shares", shares),
    ]);
}

fn backing(core: &Core, file: &str, disk: &Disk, depth: usize) -> Val {
    let mut fields = vec![
        ("fileName", text(file)),
        ("diskMode", text(disk.mode.clone())),
        ("thinProvisioned", flag(disk.thin)),
        ("uuid", text(disk.uuid.clone())),
    ];
    fields.extend(datastore_of(core, file).map(|it| ("datastore", reference(core, it))));
    let parent = core.world.volumes.get(file).and_then(|volume| volume.parent.as_ref());
    // More than there are files would be a circle.
    if let Some(parent) = parent.filter(|_| depth < core.world.volumes.len()) {
        fields.push(("parent", backing(core, parent, disk, depth + 1)));
    }
    obj("VirtualDiskFlatVer2BackingInfo", fields)
}

fn nic_fields(core: &Core, nic: &Nic, fields: &mut Fields, label: &dyn Fn(String) -> Val) {
    let entity = core.world.entities.get(&nic.network);
    let backing = match entity.map(|it| &it.kind) {
        Some(Kind::Portgroup { key, switch, .. }) => {
            let uuid = match core.world.entities.get(switch).map(|it| &it.kind) {
                Some(Kind::Switch { uuid }) => uuid.clone(),
                _ => String::new(),
            };
            let port = obj(
                "DistributedVirtualSwitchPortConnection",
                vec![("switchUuid", text(uuid)), ("portgroupKey", text(key.clone()))],
            );
            obj("VirtualEthernetCardDistributedVirtualPortBackingInfo", vec![("port", port)])
        }
        _ => obj(
            "VirtualEthernetCardNetworkBackingInfo",
            vec![
                ("deviceName", text(entity.map_or("", |it| it.name.as_str()))),
                ("network", reference(core, &nic.network)),
            ],
        ),
    };
    fields.extend([
        ("deviceInfo", label(entity.map_or_else(String::new, |it| it.name.clone()))),
        ("backing", backing),
        ("connectable", connectable(nic.start_connected)),
        ("addressType", text(nic.address_type.clone())),
        ("macAddress", text(nic.mac.clone())),
        ("wakeOnLanEnabled", flag(true)),
    ]);
}

fn connectable(connected: bool) -> Val {
    obj(
        "VirtualDeviceConnectInfo",
        vec![
            ("startConnected", flag(connected)),
            ("allowGuestControl", flag(true)),
            ("connected", flag(connected)),
            ("status", text("untried")),
        ],
    )
}

fn runtime(core: &Core, vm: &Vm) -> Val {
    let host_lost = core.world.host(&vm.host).is_some_and(|host| host.connection != "connected");
    let connection =
        if host_lost && vm.connection == "connected" { "disconnected" } else { &vm.connection };
    let mut fields = vec![
        ("host", reference(core, &vm.host)),
        ("connectionState", word("VirtualMachineConnectionState", connection)),
        ("powerState", word("VirtualMachinePowerState", &vm.power)),
        ("faultToleranceState", word("VirtualMachineFaultToleranceState", "notConfigured")),
        ("toolsInstallerMounted", flag(false)),
        ("numMksConnections", int(0)),
        ("recordReplayState", word("VirtualMachineRecordReplayState", "inactive")),
        ("onlineStandby", flag(false)),
        ("consolidationNeeded", flag(false)),
    ];
    if vm.power == "poweredOn" {
        fields.push(("bootTime", time(vm.started_ms)));
        fields.push(("memoryOverhead", long(OVERHEAD)));
    }
    if let Some(question) = &vm.question {
        let yes = obj(
            "ElementDescription",
            vec![("key", text("0")), ("label", text("OK")), ("summary", text("OK"))],
        );
        let choice =
            obj("ChoiceOption", vec![("choiceInfo", arr("ElementDescription", vec![yes]))]);
        let asked = vec![("id", text("1")), ("text", text(question.clone())), ("choice", choice)];
        fields.push(("question", obj("VirtualMachineQuestionInfo", asked)));
    }
    obj("VirtualMachineRuntimeInfo", fields)
}

fn guest_info(core: &Core, vm: &Vm) -> Val {
    let up = guest::is_up(core, vm);
    let tools = vm.behaviour.tools && up;
    let status = match (vm.behaviour.tools, up) {
        (false, _) => "toolsNotInstalled",
        (true, false) => "toolsNotRunning",
        (true, true) => "toolsOk",
    };
    let mut fields = vec![
        ("toolsStatus", word("VirtualMachineToolsStatus", status)),
        (
            "toolsRunningStatus",
            text(if tools { "guestToolsRunning" } else { "guestToolsNotRunning" }),
        ),
        (
            "toolsVersionStatus2",
            text(if vm.behaviour.tools { "guestToolsUnmanaged" } else { "guestToolsNotInstalled" }),
        ),
        ("guestState", text(if tools { "running" } else { "notRunning" })),
    ];
    if tools {
        fields.push(("guestId", text(vm.config.guest_id.clone())));
        fields.extend(guest::host_name(vm).map(|name| ("hostName", text(name))));
        let nets = guest::addresses(vm);
        let first = nets.iter().find_map(|(_, addresses)| addresses.first());
        fields.extend(first.map(|(address, _)| ("ipAddress", text(address.clone()))));
        fields.push(("net", arr("GuestNicInfo", guest_nics(core, vm, &nets))));
    }
    obj("GuestInfo", fields)
}

fn guest_nics(core: &Core, vm: &Vm, nets: &[(String, Vec<(String, i64)>)]) -> Vec<Val> {
    let keyed = vm.config.devices.iter().filter_map(|device| match &device.kind {
        DeviceKind::Nic(nic) => Some((device.key, nic)),
        _ => None,
    });
    keyed
        .map(|(key, nic)| {
            let given = nets.iter().find(|(mac, _)| *mac == nic.mac).map(|(_, all)| all.as_slice());
            let given = given.unwrap_or_default();
            let plain = given.iter().map(|(address, _)| text(address.clone())).collect();
            let full = given.iter().map(|(address, prefix)| {
                obj(
                    "NetIpConfigInfoIpAddress",
                    vec![
                        ("ipAddress", text(address.clone())),
                        ("prefixLength", int(prefix)),
                        ("state", text("preferred")),
                    ],
                )
            });
            let network = core.world.entities.get(&nic.network).map_or("", |it| it.name.as_str());
            obj(
                "GuestNicInfo",
                vec![
                    ("network", text(network)),
                    ("ipAddress", arr("string", plain)),
                    ("macAddress", text(nic.mac.clone())),
                    ("connected", flag(true)),
                    ("deviceConfigId", int(key)),
                    (
                        "ipConfig",
                        obj(
                            "NetIpConfigInfo",
                            vec![("ipAddress", arr("NetIpConfigInfoIpAddress", full.collect()))],
                        ),
                    ),
                ],
            )
        })
        .collect()
}

fn summary(core: &Core, id: &str, name: &str, vm: &Vm, readable: bool) -> Val {
    let mut config = vec![
        ("name", text(name)),
        ("template", flag(vm.template)),
        ("vmPathName", text(vm.path.clone())),
    ];
    if readable {
        let count = |number: usize| int(number);
        config.extend([
            ("memorySizeMB", int(vm.config.memory_mb)),
            ("numCpu", int(vm.config.cpus)),
            ("numEthernetCards", count(vm.config.nics().count())),
            ("numVirtualDisks", count(vm.config.disks().count())),
            ("uuid", text(vm.uuid.clone())),
            ("instanceUuid", text(vm.instance_uuid.clone())),
            ("guestId", text(vm.config.guest_id.clone())),
            ("annotation", text(vm.config.annotation.clone())),
        ]);
    }
    let owned: Vec<_> =
        vm.config.disks().filter_map(|disk| core.world.volumes.get(&disk.file)).collect();
    let used: u64 = owned.iter().map(|volume| volume.used).sum();
    let claim: u64 = owned.iter().map(|volume| volume.bytes.saturating_sub(volume.used)).sum();
    let storage = vec![
        ("committed", long(used)),
        ("uncommitted", long(claim)),
        ("unshared", long(used)),
        ("timestamp", time(core.now_ms())),
    ];
    let beat = vec![("guestHeartbeatStatus", word("ManagedEntityStatus", "gray"))];
    obj(
        "VirtualMachineSummary",
        vec![
            ("vm", reference(core, id)),
            ("runtime", runtime(core, vm)),
            ("config", obj("VirtualMachineConfigSummary", config)),
            ("storage", obj("VirtualMachineStorageSummary", storage)),
            ("quickStats", obj("VirtualMachineQuickStats", beat)),
            ("overallStatus", word("ManagedEntityStatus", "green")),
        ],
    )
}

fn tree(id: &str, vm: &Vm) -> Val {
    let mut fields =
        vec![("rootSnapshotList", arr("VirtualMachineSnapshotTree", branches(id, vm, None, 0)))];
    fields.extend(vm.current_snapshot.as_ref().map(|it| ("currentSnapshot", snapshot_ref(it))));
    obj("VirtualMachineSnapshotInfo", fields)
}

fn branches(id: &str, vm: &Vm, parent: Option<&str>, depth: usize) -> Vec<Val> {
    let here = |it: &&Snapshot| it.parent.as_deref() == parent;
    let one = |it: &Snapshot| {
        let children = match depth < vm.snapshots.len() {
            true => branches(id, vm, Some(&it.id), depth + 1),
            // More than there are would be a circle.
            false => Vec::new(),
        };
        obj(
            "VirtualMachineSnapshotTree",
            vec![
                ("snapshot", snapshot_ref(&it.id)),
                ("vm", Val::Ref("VirtualMachine".into(), id.to_owned())),
                ("name", text(it.name.clone())),
                ("description", text(it.description.clone())),
                ("id", int(it.number)),
                ("createTime", time(it.created_ms)),
                ("state", word("VirtualMachinePowerState", &it.power)),
                ("quiesced", flag(false)),
                ("childSnapshotList", arr("VirtualMachineSnapshotTree", children)),
            ],
        )
    };
    vm.snapshots.iter().filter(here).map(one).collect()
}
