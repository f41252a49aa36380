//! What a plan adds to hosts and storages, and takes from them.

use super::use_of;
use crate::model::{
    Action, Bytes, CloneFrom, DeviceKind, DeviceName, FieldChange, FieldKind, HypervisorInventory,
    HypervisorName, Listed, NativeId, NodeName, ObservedMachine, Plan, Setting, Slot, StepOp,
    StorageName, Value, Verb,
};
use std::collections::BTreeMap;

/// What a machine takes of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

impl Use {
    pub fn add(&mut self, more: Use) {
        self.cpu = self.cpu.saturating_add(more.cpu);
        self.memory = self.memory.saturating_add(more.memory);
    }
}

/// What comes to a host, less what goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Balance {
    fn add(&mut self, it: Use, sign: i64) {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.cpu = self.cpu.saturating_add(sign * signed(it.cpu));
        self.memory = self.memory.saturating_add(sign * signed(it.memory));
    }
}

/// All of it, for one hypervisor.
#[derive(Debug, Default)]
pub(super) struct Effects {
    nodes: BTreeMap<NodeName, Balance>,
    storages: BTreeMap<(StorageName, Option<NodeName>), u64>,
    shared: std::collections::BTreeSet<StorageName>,
    /// Sizes of disks that go.
    pub freed: u64,
}

/// A machine that exists, while the plan's actions on it are counted one after another.
struct Now {
    node: Option<NodeName>,
    runs: bool,
    is: Use,
}

impl Effects {
    pub fn of(plan: &Plan, hypervisor: &HypervisorName, seen: &HypervisorInventory) -> Self {
        let mut effects = Self {
            shared: seen.storages.iter().filter(|it| it.shared).map(|it| it.name.clone()).collect(),
            ..Self::default()
        };
        let mut changed: BTreeMap<NativeId, Now> = BTreeMap::new();
        for action in plan.body.actions.iter().filter(|it| it.hypervisor == *hypervisor) {
            let id = action.native_id.as_ref();
            let machine = id.and_then(|id| seen.machines.get(id));
            match action.verb {
                Verb::Create | Verb::Continue => effects.birth(action, machine, seen),
                Verb::Update | Verb::Start | Verb::Stop | Verb::Restart => {
                    effects.disks(action, machine);
                    let Some(id) = id else { continue };
                    let now = changed.entry(id.clone()).or_insert_with(|| now(id, seen));
                    now.is = changed_use(now.is, &action.fields);
                    now.runs = runs_after(action).unwrap_or(now.runs);
                }
                Verb::Replace | Verb::Delete => {
                    let sizes = action.data_loss.volumes.iter().filter_map(|it| it.size);
                    effects.freed += sizes.map(|size| size.0).sum::<u64>();
                    let guest = id.and_then(|id| seen.listed.get(id)).filter(|it| it.takes_room());
                    if let Some(guest) = guest {
                        effects.at(guest.node.as_ref(), use_of(guest), -1);
                    }
                }
                Verb::Adopt | Verb::Rename | Verb::Forget | Verb::Snapshot => {}
            }
        }
        for (id, now) in changed {
            let guest = seen.listed.get(&id);
            if let Some(guest) = guest.filter(|it| it.takes_room()) {
                effects.at(guest.node.as_ref(), use_of(guest), -1);
            }
            if now.runs {
                effects.at(now.node.as_ref(), now.is, 1);
            }
        }
        effects
    }

    pub fn on_node(&self, node: &NodeName) -> Balance {
        self.nodes.get(node).copied().unwrap_or_default()
    }

    pub fn on_storage(&self, storage: &StorageName, node: Option<&NodeName>) -> u64 {
        self.storages.get(&(storage.clone(), node.cloned())).copied().unwrap_or(0)
    }

    fn at(&mut self, node: Option<&NodeName>, it: Use, sign: i64) {
        if let Some(node) = node {
            self.nodes.entry(node.clone()).or_default().add(it, sign);
        }
    }

    fn put(&mut self, storage: Option<&StorageName>, node: Option<&NodeName>, bytes: u64) {
        let Some(storage) = storage else { return };
        let node = node.filter(|_| !self.shared.contains(storage)).cloned();
        let planned = self.storages.entry((storage.clone(), node)).or_default();
        *planned = planned.saturating_add(bytes);
    }

    /// A machine that is made, or built to its end.
    fn birth(
        &mut self,
        action: &Action,
        half_made: Option<&ObservedMachine>,
        seen: &HypervisorInventory,
    ) {
        let from = action.steps.iter().find_map(|step| match &step.op {
            StepOp::Clone(from) => Some(from),
            _ => None,
        });
        let template = from.and_then(|from| seen.machines.get(&from.template));
        let base = half_made.or(template).map(ObservedMachine::settled);
        let is = Use {
            cpu: base.and_then(|it| it.cpu).map_or(0, u64::from),
            memory: base.and_then(|it| it.memory).map_or(0, |memory| memory.0),
        };
        if runs_after(action) == Some(true) {
            self.at(action.node.as_ref(), changed_use(is, &action.fields), 1);
        }
        if let (Some(from), Some(template)) = (from, template) {
            self.copy(from, template, action);
        }
        self.disks(action, half_made);
    }

    /// The disks that a clone brings. The one that the plan grows counts with what it grows
    /// to, the others as they are; those of a linked clone may come to take all of it.
    fn copy(&mut self, from: &CloneFrom, template: &ObservedMachine, action: &Action) {
        let disks = template.devices.iter().filter(|it| it.kind == DeviceKind::Disk);
        for (index, device) in disks.enumerate() {
            let grown = grown_boot(action).filter(|_| index == 0);
            let size = grown.or(device.size).unwrap_or_default();
            let storage = from.storage.as_ref().or(device.storage.as_ref());
            self.put(storage, action.node.as_ref(), size.0);
        }
    }

    /// Disks that are added, grown and removed by the single calls.
    fn disks(&mut self, action: &Action, machine: Option<&ObservedMachine>) {
        let node = action.node.as_ref();
        for step in &action.steps {
            let settings: &[Setting] = match &step.op {
                StepOp::Configure(settings) => settings,
                StepOp::Create(birth) => &birth.settings,
                StepOp::GrowDisk { slot, to, .. } => {
                    self.grow(machine, slot, *to, node);
                    continue;
                }
                StepOp::MoveDisks(moves) => {
                    for it in moves {
                        let device = machine.and_then(|seen| seen.device(it.slot.as_str()));
                        let size = device.and_then(|it| it.size).unwrap_or_default();
                        self.put(Some(&it.to), node, size.0);
                        self.freed += size.0;
                    }
                    continue;
                }
                _ => continue,
            };
            for setting in settings {
                match setting {
                    Setting::AttachDisk { size, storage, .. } => {
                        self.put(Some(storage), node, size.0);
                    }
                    Setting::DiskSize { slot, to, .. } => self.grow(machine, slot, *to, node),
                    Setting::DetachDisk { slot, delete: Some(_), .. } => {
                        let device = machine.and_then(|it| it.device(slot.as_str()));
                        let size = device.and_then(|it| it.size);
                        self.freed += size.map_or(0, |size| size.0);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A disk that is there and grows. One that a clone brings was counted with its copy.
    fn grow(
        &mut self,
        machine: Option<&ObservedMachine>,
        slot: &Slot,
        to: Bytes,
        node: Option<&NodeName>,
    ) {
        let Some(device) = machine.and_then(|it| it.device(slot.as_str())) else { return };
        let has = device.size.unwrap_or_default();
        self.put(device.storage.as_ref(), node, to.0.saturating_sub(has.0));
    }
}

fn now(id: &NativeId, seen: &HypervisorInventory) -> Now {
    let guest = seen.listed.get(id);
    Now {
        node: guest.and_then(|it| it.node.clone()),
        runs: guest.is_some_and(Listed::takes_room),
        is: guest.map(use_of).unwrap_or_default(),
    }
}

/// Whether it runs after the last call that says so.
fn runs_after(action: &Action) -> Option<bool> {
    action.steps.iter().rev().find_map(|step| match step.op {
        StepOp::Start => Some(true),
        StepOp::Shutdown | StepOp::Stop => Some(false),
        _ => None,
    })
}

fn changed_use(before: Use, fields: &[FieldChange]) -> Use {
    let mut after = before;
    for change in fields {
        match (change.field.kind, &change.after) {
            (FieldKind::Cpu, Some(Value::Count(count))) => {
                after.cpu = *count;
            }
            (FieldKind::Memory, Some(Value::Size(size))) => after.memory = size.0,
            _ => {}
        }
    }
    after
}

/// What the boot disk of a clone is grown to.
fn grown_boot(action: &Action) -> Option<Bytes> {
    let is_boot = |disk: &DeviceName| disk.is_boot();
    action.steps.iter().find_map(|step| match &step.op {
        StepOp::GrowDisk { disk, to, .. } if is_boot(disk) => Some(*to),
        StepOp::Configure(settings) => settings.iter().find_map(|setting| match setting {
            Setting::DiskSize { disk, to, .. } if is_boot(disk) => Some(*to),
            _ => None,
        }),
        _ => None,
    })
}
