//! Every choice that a new machine or device needs: host, id, storages, hardware
//! addresses. Pure, and explained.
//!
//! Choices are made one machine at a time in key order, and each counts what the
//! ones before it took, so that the result depends on the set of machines and not
//! on the order in which files listed them. Apply makes no choice: when one is lost
//! to somebody else, the action fails and the next plan chooses again.

mod network;
mod node;

use crate::model::{
    Allotted, Bytes, Capabilities, Choice, Claim, Code, DesiredMachine, DeviceKind, DeviceName,
    HypervisorConfig, HypervisorInventory, HypervisorName, Inventory, IpSetting, MacAddress,
    MachineSpec, NativeId, NodeName, ObservedMachine, Policy, Product, StorageName,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Why a machine cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// Stable code.
    pub code: Code,
    /// In words.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// All choices for one machine, with their reasons and the claims that they rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allotment {
    /// What was chosen.
    pub allotted: Allotted,
    /// For people.
    pub choices: Vec<Choice>,
    /// To be proved again right before the first call.
    pub claims: Vec<Claim>,
}

/// A machine that needs choices.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub machine: &'a DesiredMachine,
    /// Its spec as the product spells it.
    pub spec: &'a MachineSpec,
    /// The template that it is cloned from.
    pub template: Option<&'a ObservedMachine>,
    /// Of a half-made or existing machine: itself. Its host and id are then given.
    pub seen: Option<&'a ObservedMachine>,
    /// The disks that need a place, or another one; all others have one.
    pub new_disks: &'a BTreeSet<DeviceName>,
    /// The cards that need an address; all others have one.
    pub new_nics: &'a BTreeSet<DeviceName>,
}

/// Makes choices, and remembers what they took.
#[derive(Debug)]
pub struct Allocator<'a> {
    policy: &'a Policy,
    inventory: &'a Inventory,
    hypervisors: &'a BTreeMap<HypervisorName, HypervisorConfig>,
    /// Those that were asked for: what is taken on one is counted before its first
    /// choice, and not at all where nothing is chosen.
    sites: BTreeMap<HypervisorName, Site<'a>>,
}

/// One hypervisor with what is taken on it.
#[derive(Debug)]
struct Site<'a> {
    config: &'a HypervisorConfig,
    seen: &'a HypervisorInventory,
    ids: BTreeSet<NativeId>,
    macs: BTreeSet<MacAddress>,
    nodes: BTreeMap<NodeName, Load>,
    /// Free bytes by storage and, for those that are not shared, by host.
    room: BTreeMap<(StorageName, Option<NodeName>), u64>,
}

/// What a host already carries.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    memory: u64,
    cpu: u64,
}

impl<'a> Allocator<'a> {
    /// Nothing is chosen yet.
    pub fn new(
        inventory: &'a Inventory,
        hypervisors: &'a BTreeMap<HypervisorName, HypervisorConfig>,
        policy: &'a Policy,
    ) -> Self {
        Self { policy, inventory, hypervisors, sites: BTreeMap::new() }
    }

    /// What is taken on a hypervisor, when it was read.
    fn site(&mut self, name: &HypervisorName) -> Option<&mut Site<'a>> {
        if !self.sites.contains_key(name) {
            let config = self.hypervisors.get(name)?;
            let seen = self.inventory.hypervisors.get(name)?;
            self.sites.insert(name.clone(), Site::new(config, seen, self.policy));
        }
        self.sites.get_mut(name)
    }

    /// Keeps what a machine asks for by itself out of what is chosen for others.
    pub fn reserve(
        &mut self,
        hypervisor: &HypervisorName,
        id: Option<&NativeId>,
        macs: impl Iterator<Item = MacAddress>,
    ) {
        let macs: Vec<MacAddress> = macs.collect();
        if id.is_none() && macs.is_empty() {
            return;
        }
        if let Some(site) = self.site(hypervisor) {
            site.ids.extend(id.cloned());
            site.macs.extend(macs);
        }
    }

    /// Chooses for one machine.
    ///
    /// # Errors
    /// When nothing feasible is left, with every host's reason.
    pub fn allot(
        &mut self,
        request: &Request<'_>,
        product: &dyn Product,
    ) -> Result<Allotment, NoPlace> {
        let capabilities = product.capabilities();
        let name = &request.machine.hypervisor;
        let policy = self.policy;
        let Some(site) = self.site(name) else {
            return Err(NoPlace {
                code: Code::FailedHypervisor,
                message: format!("{name} was not read"),
                help: "plan again when it answers".to_owned(),
            });
        };
        let mut result = Allotment::default();
        let demand = Demand::of(request);
        let node = match request.seen {
            Some(seen) => seen.node.clone(),
            None => Some(site.choose_node(request, &demand, policy, &mut result)?),
        };
        if let Some(node) = &node {
            site.choose_storages(request, node, policy, &mut result)?;
        }
        match request.seen {
            Some(seen) => result.allotted.id = Some(seen.id.clone()),
            None if capabilities.chooses_ids => {
                site.choose_id(request, capabilities, &mut result)?;
            }
            None => {}
        }
        site.choose_macs(request, capabilities, &mut result);
        if request.seen.is_none() {
            let name = request.spec.name.as_deref().unwrap_or(request.machine.key.name.as_str());
            result.claims.push(Claim::Name(product.name_key(name)));
            for nic in request.spec.nics.values() {
                if let Some(IpSetting::Static { address, .. }) = nic.ip {
                    result.claims.push(Claim::Address(address));
                }
            }
        }
        result.allotted.node = node;
        result.claims.sort();
        Ok(result)
    }
}

/// What a new machine needs of a host.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    memory: u64,
    cpu: u64,
}

impl Demand {
    fn of(request: &Request<'_>) -> Self {
        let from_template = |pick: fn(&MachineSpec) -> u64| {
            request.template.map_or(0, |template| pick(template.settled()))
        };
        Self {
            memory: request.spec.memory.map_or_else(
                || from_template(|it| it.memory.map_or(0, |memory| memory.0)),
                |it| it.0,
            ),
            cpu: request
                .spec
                .cpu
                .map_or_else(|| from_template(|it| it.cpu.unwrap_or(1).into()), u64::from),
        }
    }
}

impl<'a> Site<'a> {
    fn new(config: &'a HypervisorConfig, seen: &'a HypervisorInventory, policy: &Policy) -> Self {
        let mut nodes: BTreeMap<NodeName, Load> = BTreeMap::new();
        for guest in seen.listed.values() {
            if let Some(node) = guest.node.as_ref().filter(|_| guest.takes_room()) {
                let load = nodes.entry(node.clone()).or_default();
                load.memory += guest.memory.map_or(0, |memory| memory.0);
                load.cpu += guest.cpu.map_or(0, u64::from);
            }
        }
        let macs = seen
            .machines
            .values()
            .flat_map(|machine| machine.devices.iter().filter_map(|device| device.mac))
            .collect();
        let room = seen
            .storages
            .iter()
            .map(|storage| {
                let node = (!storage.shared).then(|| storage.node.clone());
                let reserve = policy.disk_reserve(storage.total);
                let free = storage.total.0.saturating_sub(storage.used.0).saturating_sub(reserve);
                ((storage.name.clone(), node), free)
            })
            .collect();
        let ids = seen.listed.keys().chain(seen.unreadable.keys()).cloned().collect();
        Self { config, seen, ids, macs, nodes, room }
    }

    /// A pinned id, or the first free one from a hash of the key on: two planners
    /// that know nothing of each other choose the same id for one key, so they
    /// collide in the hypervisor instead of making two machines.
    fn choose_id(
        &mut self,
        request: &Request<'_>,
        capabilities: &Capabilities,
        result: &mut Allotment,
    ) -> Result<(), NoPlace> {
        let key = &request.machine.key;
        let (id, why) = if let Some(wanted) = &request.machine.wanted_id {
            (wanted.clone(), "asked for".to_owned())
        } else {
            let (first, last) = self.config.id_range().unwrap_or((20_000, 99_999));
            let count = u64::from(last - first) + 1;
            let start = hash(&[key.to_string().as_bytes()]) % count;
            let free = (0..count)
                .map(|probe| u64::from(first) + (start + probe) % count)
                .map(|id| NativeId::from(id.to_string()))
                .find(|id| !self.ids.contains(id));
            let Some(id) = free else {
                return Err(NoPlace {
                    code: Code::NoFreeId,
                    message: format!("every id from {first} to {last} is taken"),
                    help: format!("widen `{}` of the hypervisor", capabilities.words.id_range),
                });
            };
            (id, format!("first free of {first}-{last} from the key's hash on"))
        };
        self.ids.insert(id.clone());
        result.claims.push(Claim::Id(id.clone()));
        result.choices.push(Choice { what: "id".to_owned(), value: id.to_string(), why });
        result.allotted.id = Some(id);
        Ok(())
    }

    fn choose_storages(
        &mut self,
        request: &Request<'_>,
        node: &NodeName,
        policy: &Policy,
        result: &mut Allotment,
    ) -> Result<(), NoPlace> {
        for name in request.new_disks {
            let Some((storage, why)) = self.storage_for(request, name) else {
                return Err(NoPlace {
                    code: Code::StorageMissing,
                    message: format!("disk `{name}` has no storage"),
                    help: "write `storage:` on the disk, or `defaults: { storage: … }` on the hypervisor".to_owned(),
                });
            };
            let need = disk_need(request, name);
            self.take_room(&storage, node, need, policy).map_err(|why| NoPlace {
                code: Code::StorageMissing,
                message: format!("disk `{name}` does not go on `{storage}`: {why}"),
                help: "choose another storage or host".to_owned(),
            })?;
            result.choices.push(Choice {
                what: format!("storage disk.{name}"),
                value: storage.to_string(),
                why: why.to_owned(),
            });
            result.allotted.storages.insert(name.clone(), storage);
        }
        Ok(())
    }

    fn storage_for(
        &self,
        request: &Request<'_>,
        disk: &DeviceName,
    ) -> Option<(StorageName, &'static str)> {
        let declared = request.spec.disks.get(disk).and_then(|it| it.storage.clone());
        if let Some(storage) = declared {
            return Some((storage, "asked for"));
        }
        // The boot disk of a clone stays where the template lies unless told otherwise:
        // a linked clone cannot go anywhere else, and a full one is quickest there.
        if disk.is_boot()
            && let Some(template) = request.template
            && let Some(disk) = template.devices.iter().find(|it| it.kind == DeviceKind::Disk)
            && let Some(storage) = &disk.storage
        {
            return Some((storage.clone(), "as the template"));
        }
        self.config.default_storage().map(|it| (it.clone(), "the hypervisor's default"))
    }

    fn take_room(
        &mut self,
        storage: &StorageName,
        node: &NodeName,
        need: Bytes,
        policy: &Policy,
    ) -> Result<(), String> {
        self.storage_fits(storage, node, need, policy)?;
        let shared = (storage.clone(), None);
        let key = if self.room.contains_key(&shared) {
            shared
        } else {
            (storage.clone(), Some(node.clone()))
        };
        if let Some(free) = self.room.get_mut(&key) {
            *free = free.saturating_sub(need.0);
        }
        Ok(())
    }

    /// Whether a host can put so many bytes on a storage.
    fn storage_fits(
        &self,
        storage: &StorageName,
        node: &NodeName,
        need: Bytes,
        policy: &Policy,
    ) -> Result<(), String> {
        let rows = self.seen.storages.iter().filter(|row| row.name == *storage);
        let Some(row) = rows.clone().find(|row| row.node == *node) else {
            let known = rows.clone().next().is_some();
            return Err(if known {
                format!("{node} does not see that storage")
            } else {
                "there is no such storage".to_owned()
            });
        };
        if !row.holds_disks {
            return Err("it does not take machine disks".to_owned());
        }
        if !row.active {
            return Err(format!("it is not available on {node}"));
        }
        let key = (storage.clone(), (!row.shared).then(|| node.clone()));
        let free = self.room.get(&key).copied().unwrap_or(0);
        if free < need.0 {
            return Err(format!(
                "{need} do not fit: {} are free above the {} % headroom",
                Bytes(free / Bytes::MIB * Bytes::MIB),
                policy.disk_headroom_percent
            ));
        }
        Ok(())
    }
}

/// What a disk will take: its size, that of the template's disk, or that of the one that moves.
fn disk_need(request: &Request<'_>, disk: &DeviceName) -> Bytes {
    let declared = request.spec.disks.get(disk).and_then(|it| it.size);
    let from_template = || {
        let template = request.template.filter(|_| disk.is_boot())?;
        template
            .devices
            .iter()
            .find_map(|device| device.size.filter(|_| device.kind == DeviceKind::Disk))
    };
    let moves = || request.seen?.settled().disks.get(disk)?.size;
    declared.or_else(from_template).or_else(moves).unwrap_or_default()
}

/// The first eight bytes of a SHA-256 over parts with their lengths.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let bytes = digest.finalize();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
