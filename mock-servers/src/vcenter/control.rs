//! The operator beside the API: looks at the truth, changes it behind everyone's back, plants faults.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::access::{Grant, NO_ACCESS, VIEW};
use super::faults::FaultHook;
use super::server::{Shared, certificates};
use super::vm::{Setup, Vm};
use super::world::{Entity, Kind, World};
use super::{guest, snapshot, truth};
use crate::authority;
use crate::harness::{Actor, AnswerSink, ArrivalSink, EffectSink, Object};

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLog {
    /// Method of the API; empty where the request could not be read.
    pub method: String,
    /// Id of the object that it was called on.
    pub on: String,
    /// Status; 0 where the connection was cut instead.
    pub status: u16,
    /// Whether it is one that could change something.
    pub mutates: bool,
}

/// A handle on a running vCenter. All methods take effect before they return.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The truth, as of now.
    #[must_use]
    pub fn snapshot(&self) -> World {
        self.shared.core().world.clone()
    }

    /// Looks at the truth without copying it.
    pub fn inspect<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.shared.core().world)
    }

    /// Changes the world in any way.
    pub fn edit(&self, change: impl FnOnce(&mut World)) {
        let mut core = self.shared.core();
        change(&mut core.world);
        core.note(None, &Actor::Operator);
        self.shared.save(&core);
    }

    /// What was asked so far, in the order of the answers.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestLog> {
        self.shared.core().requests.clone()
    }

    /// How often each method was called.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in &self.shared.core().requests {
            *counts.entry(request.method.clone()).or_default() += 1;
        }
        counts
    }

    /// Forgets what was asked.
    pub fn clear_requests(&self) {
        self.shared.core().requests.clear();
    }

    /// Tells from now on of each change of a machine or a pool, and who made it.
    pub fn watch(&self, sink: EffectSink) {
        let mut core = self.shared.core();
        let now = truth::objects(&core.world);
        core.watch.begin(now, sink);
    }

    /// Tells from now on of each request before anything is done about it.
    pub fn witness(&self, sink: ArrivalSink) {
        self.shared.core().arrivals = Some(sink);
    }

    /// Tells from now on how each request was answered.
    pub fn answers(&self, sink: AnswerSink) {
        self.shared.core().answers = Some(sink);
    }

    /// Every machine and pool, in neutral words.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Object> {
        truth::objects(&self.shared.core().world)
    }

    /// Shows the certificate of another authority from now on, or its own again. Connections that
    /// are open end.
    pub fn certificate(&self, foreign: bool) {
        let own = self.shared.core().world.authority.clone();
        let authority = if foreign { certificates("somebody-else").ok() } else { own };
        let config = authority.and_then(|authority| authority::server_config(&authority).ok());
        if let Some(config) = config {
            *self.shared.tls.lock().unwrap_or_else(PoisonError::into_inner) = config;
            self.shared.hang_up.send_modify(|turn| *turn += 1);
        }
    }

    /// Decides from now on, for each request, whether something goes wrong.
    pub fn set_fault(&self, hook: FaultHook) {
        self.shared.core().fault = Some(hook);
    }

    /// From now on nothing goes wrong.
    pub fn clear_fault(&self) {
        self.shared.core().fault = None;
    }

    /// Whether no task is running.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.core().workers.is_empty()
    }

    /// The server's clock goes ahead by so much: sessions expire, tasks are forgotten.
    pub fn advance(&self, time: Duration) {
        let mut core = self.shared.core();
        core.ahead_ms += i64::try_from(time.as_millis()).unwrap_or(0);
        core.expire();
        super::tasks::forget(&mut core);
        core.note(None, &Actor::Operator);
    }

    /// All sessions end.
    pub fn end_sessions(&self) {
        let mut core = self.shared.core();
        core.end_sessions();
        core.note(None, &Actor::Operator);
    }

    /// The id of a machine by its id or its name.
    #[must_use]
    pub fn find_vm(&self, name: &str) -> Option<String> {
        self.inspect(|world| {
            let known = world.vm(name).map(|_| name);
            known.or_else(|| world.find("VirtualMachine", name)).map(str::to_owned)
        })
    }

    /// Changes a machine as another client would: its `changeVersion` is another one afterwards.
    pub fn change_vm(&self, id: &str, change: impl FnOnce(&mut Vm)) {
        let now = self.shared.core().now_ms();
        self.edit(|world| {
            let token = world.new_change(now);
            if let Some(vm) = world.vm_mut(id) {
                change(vm);
                vm.change = token;
                vm.modified_ms = now;
            }
        });
    }

    /// Switches a machine on or off, at once.
    pub fn power(&self, id: &str, on: bool) {
        let now = self.shared.core().now_ms();
        self.edit(|world| {
            let Some(vm) = world.vm_mut(id) else { return };
            match (on, vm.power.as_str()) {
                (true, "poweredOn") => {}
                (true, _) => guest::boot(vm, now),
                (false, _) => vm.power = "poweredOff".to_owned(),
            }
        });
    }

    /// Removes a machine with its disks, running or not.
    pub fn delete_vm(&self, id: &str) {
        self.edit(|world| {
            let Some(vm) = world.vm(id).cloned() else { return };
            for file in snapshot::files_of(world, id, &vm) {
                world.volumes.remove(&file);
            }
            world.entities.remove(id);
        });
    }

    /// Copies a machine into the same folder: notes and free keys come along, UUIDs do not.
    pub fn clone_vm(&self, id: &str, name: &str) -> Option<String> {
        let mut made = None;
        self.edit(|world| {
            let Some(entity) = world.entities.get(id).cloned() else { return };
            let Kind::Vm(mut vm) = entity.kind else { return };
            (vm.uuid, vm.instance_uuid) = (world.new_uuid(), world.new_uuid());
            "poweredOff".clone_into(&mut vm.power);
            vm.boots.clear();
            vm.setup = Setup::default();
            vm.snapshots.clear();
            vm.current_snapshot = None;
            let store =
                vm.path.split_once(']').map_or_else(String::new, |(store, _)| format!("{store}]"));
            vm.path = format!("{store} {name}/{name}.vmx");
            let macs: Vec<String> = vm.config.nics().map(|_| world.new_mac()).collect();
            for (nic, mac) in vm.config.nics_mut().zip(macs) {
                nic.mac = mac;
            }
            let mut files = Vec::new();
            for (number, disk) in vm.config.disks_mut().enumerate() {
                let Some(volume) = world.volumes.get(&disk.file).cloned() else { continue };
                disk.file = format!("{store} {name}/{name}_{number}.vmdk");
                files.push((disk.file.clone(), volume));
            }
            let new = Entity::new(name, entity.parent.as_deref(), Kind::Vm(vm));
            let new = world.add("vm", new);
            for (file, volume) in files {
                let volume = super::world::Volume { owner: new.clone(), parent: None, ..volume };
                world.volumes.insert(file, volume);
            }
            made = Some(new);
        });
        made
    }

    /// Takes a machine out of the inventory and puts it back: everything is as before, except its id.
    pub fn register_again(&self, id: &str) -> Option<String> {
        let mut made = None;
        self.edit(|world| {
            let Some(entity) = world.entities.remove(id) else { return };
            let new = world.add("vm", entity);
            for volume in world.volumes.values_mut().filter(|volume| volume.owner == id) {
                volume.owner.clone_from(&new);
            }
            made = Some(new);
        });
        made
    }

    /// Somebody's task works on a machine and lets no other at it, or is done.
    pub fn busy(&self, id: &str, busy: bool) {
        const TASK: &str = "task-of-somebody";
        let mut core = self.shared.core();
        let holders = core.holds.entry(id.to_owned()).or_default();
        holders.retain(|(task, _)| task != TASK);
        if busy {
            holders.push((TASK.to_owned(), true));
        }
    }

    /// Every host has as much work as it takes at a time, or nothing of that: what is asked of it
    /// besides waits for its turn.
    pub fn crowd_hosts(&self, crowded: bool) {
        let mut core = self.shared.core();
        let units = core.timing.host_units;
        let hosts: Vec<String> = core
            .world
            .entities
            .iter()
            .filter(|(_, entity)| matches!(entity.kind, Kind::Host(_)))
            .map(|(id, _)| id.clone())
            .collect();
        for host in hosts {
            let task = format!("task-of-somebody-on-{host}");
            if crowded {
                core.slots.insert(task, (host, units));
            } else {
                core.slots.remove(&task);
            }
        }
    }

    /// Takes a host down or brings it back. Its machines stay where they are.
    pub fn host_offline(&self, name: &str, offline: bool) {
        self.edit(|world| {
            let Some(id) = world.find("HostSystem", name).map(str::to_owned) else { return };
            if let Some(host) = world.host_mut(&id) {
                host.connection = if offline { "notResponding" } else { "connected" }.to_owned();
            }
        });
    }

    /// Puts a host into maintenance or takes it out.
    pub fn maintenance(&self, name: &str, on: bool) {
        self.edit(|world| {
            let Some(id) = world.find("HostSystem", name).map(str::to_owned) else { return };
            if let Some(host) = world.host_mut(&id) {
                host.maintenance = on;
            }
        });
    }

    /// Returns a machine to its first snapshot, or takes one when there is none.
    pub fn revert(&self, id: &str) {
        let now = self.shared.core().now_ms();
        self.edit(|world| {
            let first = world.vm(id).and_then(|vm| vm.snapshots.first()).map(|it| it.id.clone());
            match first {
                Some(first) => {
                    snapshot::revert(world, id, &first, now);
                }
                None => {
                    snapshot::take(world, id, "before", "", now);
                }
            }
        });
    }

    /// Hides something from everybody, or shows it again: a permission on it that gives nothing.
    pub fn hide(&self, id: &str, hidden: bool) {
        self.leave(id, NO_ACCESS, hidden);
    }

    /// Leaves everybody the sight of something, and takes the reading of it; or ends that.
    pub fn veil(&self, id: &str, veiled: bool) {
        self.leave(id, VIEW, veiled);
    }

    /// Sets a role on an object for everybody in person, or takes it away again.
    fn leave(&self, id: &str, role: i32, on: bool) {
        self.edit(|world| {
            let users: Vec<String> = world.access.users.keys().cloned().collect();
            let Some(entity) = world.entities.get_mut(id) else { return };
            entity.grants.retain(|grant| grant.role != role);
            if on {
                entity.grants.extend(users.into_iter().map(|principal| Grant {
                    principal,
                    group: false,
                    role,
                    propagate: true,
                }));
            }
        });
    }

    /// Keeps a description of a guest, `Windows` or `Linux`, given as the inside of a `CustomizationSpec` in
    /// XML (`xsi:type` names types). `{KEY}` stands for the key that this installation encrypts with.
    /// Whether it could be read.
    pub fn keep_spec(&self, name: &str, kind: &str, inside: &str) -> bool {
        let now = self.shared.core().now_ms();
        let mut kept = false;
        self.edit(|world| kept = world.keep_spec(name, kind, inside, now).is_ok());
        kept
    }

    /// A small machine of somebody else, with this name, in the first folder for machines.
    pub fn stranger(&self, name: &str) -> Option<String> {
        let like = self.inspect(|world| {
            let vm = world.vms().find(|(_, vm)| !vm.template && vm.forming.is_none());
            vm.map(|(id, _)| id.to_owned())
        })?;
        let made = self.clone_vm(&like, name)?;
        self.change_vm(&made, |vm| {
            vm.config.annotation = "Not to be touched.".to_owned();
            vm.config.extra.clear();
        });
        Some(made)
    }
}
