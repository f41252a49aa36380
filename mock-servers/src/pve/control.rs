//! The operator beside the API: looks at the truth, changes it behind everyone's back, plants faults.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::access::Identity;
use super::faults::FaultHook;
use super::guest::{power, snapshot};
use super::server::Shared;
use super::world::{Guest, World, is_net_key, named_volume, volume_key};
use super::{tasks, tls, truth};
use crate::harness::{Actor, AnswerSink, ArrivalSink, EffectSink, Object};

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLog {
    /// HTTP method.
    pub method: String,
    /// Path template; empty for an unknown path.
    pub template: String,
    /// The path itself, without `/api2/json`.
    pub path: String,
    /// Status; 0 where the connection was cut instead.
    pub status: u16,
    /// Whether the reply went out compressed.
    pub compressed: bool,
}

/// A handle on a running cluster. All methods take effect before they return.
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

    /// Forgets what was asked.
    pub fn clear_requests(&self) {
        self.shared.core().requests.clear();
    }

    /// Tells from now on of each change of a guest or a pool, and who made it.
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

    /// Every guest and pool, in neutral words.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Object> {
        truth::objects(&self.shared.core().world)
    }

    /// Shows the certificate of another authority from now on, or the cluster's own again.
    /// Connections that are open end.
    pub fn certificate(&self, foreign: bool) {
        let own = self.shared.core().world.authority.clone();
        let authority = if foreign {
            tls::make("somebody-else", &[], crate::clock::unix_now()).ok()
        } else {
            own
        };
        let config = authority.and_then(|authority| tls::server_config(&authority).ok());
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

    fn guest(&self, vmid: u32, change: impl FnOnce(&mut Guest)) {
        self.edit(|world| {
            if let Some(guest) = world.guests.get_mut(&vmid) {
                change(guest);
            }
        });
    }

    /// Sets or removes an option by editing the configuration file.
    pub fn edit_config(&self, vmid: u32, key: &str, value: Option<&str>) {
        self.guest(vmid, |guest| match value {
            Some(value) => {
                guest.config.insert(key.to_owned(), value.to_owned());
            }
            None => {
                guest.config.remove(key);
            }
        });
    }

    /// Renames a guest.
    pub fn rename(&self, vmid: u32, name: &str) {
        self.guest(vmid, |guest| {
            let key = if guest.kind == super::world::GuestKind::Lxc { "hostname" } else { "name" };
            guest.config.insert(key.to_owned(), name.to_owned());
        });
    }

    /// Removes a guest with its volumes, whatever its state.
    pub fn delete_guest(&self, vmid: u32) {
        self.edit(|world| {
            world.guests.remove(&vmid);
            world.volumes.retain(|_, volume| volume.vmid != vmid);
            for pool in world.pools.values_mut() {
                pool.guests.remove(&vmid);
            }
        });
    }

    /// Moves a guest and its local volumes to another node.
    pub fn migrate_guest(&self, vmid: u32, node: &str) {
        self.edit(|world| {
            let Some(guest) = world.guests.get_mut(&vmid) else {
                return;
            };
            let from = std::mem::replace(&mut guest.node, node.to_owned());
            let prefix = format!("{from}|");
            let moved: Vec<String> = world
                .volumes
                .iter()
                .filter(|(key, volume)| volume.vmid == vmid && key.starts_with(&prefix))
                .map(|(key, _)| key.clone())
                .collect();
            for key in moved {
                if let Some(volume) = world.volumes.remove(&key) {
                    world.volumes.insert(format!("{node}|{}", &key[prefix.len()..]), volume);
                }
            }
        });
    }

    /// Puts a configuration lock on a guest.
    pub fn lock(&self, vmid: u32, lock: &str) {
        self.edit_config(vmid, "lock", Some(lock));
    }

    /// Takes the configuration lock away.
    pub fn unlock(&self, vmid: u32) {
        self.edit_config(vmid, "lock", None);
    }

    /// Switches a guest on or off, at once.
    pub fn power(&self, vmid: u32, on: bool) {
        let mut core = self.shared.core();
        let Some(guest) = core.world.guests.get_mut(&vmid) else {
            return;
        };
        let node = guest.node.clone();
        if guest.kind == super::world::GuestKind::Lxc {
            guest.running = on;
            guest.started_ms = crate::clock::unix_millis();
        } else {
            // A guest that cannot be started stays off, as with the operator's own command.
            let _ = if on {
                power::start_now(&mut core, &node, vmid)
            } else {
                power::stop_now(&mut core, &node, vmid)
            };
        }
        core.note(None, &Actor::Operator);
        self.shared.save(&core);
    }

    /// Takes a node down or brings it back.
    pub fn node_offline(&self, node: &str, offline: bool) {
        self.edit(|world| {
            if let Some(node) = world.nodes.get_mut(node) {
                node.online = !offline;
                node.lost_ms = if offline { crate::clock::unix_millis() } else { 0 };
            }
        });
    }

    /// A node loses its power: its workers die without a word and its guests are off.
    pub fn node_crash(&self, node: &str) {
        let mut core = self.shared.core();
        tasks::vanish_on(&mut core, node);
        for guest in core.world.guests.values_mut().filter(|guest| guest.node == node) {
            guest.running = false;
        }
        core.note(None, &Actor::Operator);
        drop(core);
        self.node_offline(node, true);
    }

    /// Gives or takes the right to write.
    pub fn quorum(&self, quorate: bool) {
        self.edit(|world| world.datacenter.quorate = quorate);
    }

    /// Brings a storage of a node up or down.
    pub fn storage_active(&self, node: &str, storage: &str, active: bool) {
        self.edit(|world| {
            if let Some(storage) = world.storages.get_mut(storage) {
                if active {
                    storage.inactive_on.remove(node);
                } else {
                    storage.inactive_on.insert(node.to_owned());
                }
            }
        });
    }

    /// Copies a guest with everything but its identity: notes and tags come along, as with the operator's clone.
    pub fn clone_guest(&self, vmid: u32, newid: u32, name: &str) {
        self.copy(vmid, newid, |world, guest| {
            guest.config.insert("name".to_owned(), name.to_owned());
            let uuid = world.new_uuid();
            guest.config.insert("smbios1".to_owned(), format!("uuid={uuid}"));
            let generation = world.new_uuid();
            guest.config.insert("vmgenid".to_owned(), generation);
            let nets: Vec<String> =
                guest.config.keys().filter(|key| is_net_key(key)).cloned().collect();
            for key in nets {
                let mac = world.new_mac();
                let Some(value) = guest.config.get_mut(&key) else {
                    continue;
                };
                if let Ok(mut net) = super::propstring::normalize_net(value) {
                    net.mac = Some(mac);
                    *value = net.print();
                }
            }
        });
    }

    /// Restores a backup of a guest under another id: UUID and MACs are the same as before.
    pub fn restore(&self, vmid: u32, newid: u32) {
        self.copy(vmid, newid, |world, guest| {
            let generation = world.new_uuid();
            guest.config.insert("vmgenid".to_owned(), generation);
        });
    }

    /// Takes a snapshot of a guest, without its memory.
    pub fn take_snapshot(&self, vmid: u32, name: &str) {
        self.guest(vmid, |guest| snapshot::take(guest, name, "", false));
    }

    /// Returns a guest to a snapshot. Its notes stay as they are.
    pub fn roll_back(&self, vmid: u32, name: &str) {
        self.guest(vmid, |guest| snapshot::return_to(guest, name));
    }

    fn copy(&self, vmid: u32, newid: u32, change: impl FnOnce(&mut World, &mut Guest)) {
        self.edit(|world| {
            let Some(source) = world.guests.get(&vmid).cloned() else {
                return;
            };
            let mut guest = Guest { statistics: None, boots: Vec::new(), running: false, ..source };
            guest.snapshots.clear();
            guest.pending.clear();
            guest.pending_delete.clear();
            guest.config.remove("template");
            let named: Vec<(String, String)> =
                guest.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            for (number, (key, value)) in named.into_iter().enumerate() {
                let Some((storage, volname, size)) = named_volume(guest.kind, &key, &value) else {
                    continue;
                };
                let kind = if volname.ends_with("-cloudinit") {
                    "cloudinit".to_owned()
                } else {
                    format!("disk-{number}")
                };
                let new = format!("vm-{newid}-{kind}");
                guest.config.insert(key, value.replacen(&volname, &new, 1));
                let shared =
                    world.storages.get(&storage).is_some_and(|definition| definition.shared);
                let volume = super::world::Volume {
                    size,
                    vmid: newid,
                    content: "images".to_owned(),
                    format: "raw".to_owned(),
                    parent: None,
                    ctime: crate::clock::unix_now(),
                    stuck: false,
                };
                world
                    .volumes
                    .insert(volume_key(shared, &guest.node, &format!("{storage}:{new}")), volume);
            }
            change(world, &mut guest);
            world.guests.insert(newid, guest);
        });
    }

    /// All online nodes broadcast their statistics now, and dead ones are given up.
    pub fn tick_statistics(&self) {
        self.edit(|world| world.refresh_statistics(crate::clock::unix_millis(), 0));
    }

    /// Whether no task is running.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.core().workers.is_empty()
    }

    /// Whether an identity, written `user@realm` or `user@realm!token`, has a privilege on a path.
    #[must_use]
    pub fn has_privilege(&self, who: &str, path: &str, privilege: &str) -> bool {
        let who = match who.split_once('!') {
            Some((user, token)) => Identity::token(user, token),
            None => Identity::user(who),
        };
        self.shared.core().has(&who, path, privilege)
    }
}
