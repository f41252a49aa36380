//! Machines that go: deleted, or to be made anew.

use super::{Trouble, changeable, first_unsupported};
use crate::{
    model::{
        Action, Blocked, Change, Code, Coverage, DataLoss, DesiredMachine, Device, DeviceName,
        Disruption, FieldChange, FieldKind, FieldPath, HypervisorName, LostVolume, Marker,
        ObservedMachine, Reason, ResourceKey, Verb,
    },
    ownership::Owned,
    plan::{Builder, base::machine_base, machine_action_id},
};
use std::collections::BTreeSet;

impl Builder<'_> {
    /// Delete what is there, then make it anew: two actions, so that each is shown
    /// with its own steps, and the second cannot begin before the first has ended.
    pub(super) fn plan_replace(
        &mut self,
        machine: &DesiredMachine,
        seen: &ObservedMachine,
        marker: &Marker,
        fields: Vec<FieldChange>,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let fail = |trouble| (Some(Verb::Replace), trouble);
        let create = self.birth_action(machine, None, Verb::Create).map_err(fail)?;
        let mut removal = self
            .removal_action(&machine.key, &machine.hypervisor, seen, marker, Verb::Replace)
            .map_err(fail)?;
        removal.fields = fields;
        removal.place = Some(machine.place.clone());
        self.add(removal, self.why_it_differs(machine));
        self.add(create, Reason::Dependency);
        Ok(())
    }

    /// The entry names another hypervisor now: it ends here and begins there.
    pub(super) fn plan_move_away(
        &mut self,
        machine: &DesiredMachine,
        owned: &Owned,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let fail = |trouble| (Some(Verb::Replace), trouble);
        let create = self.birth_action(machine, None, Verb::Create).map_err(fail)?;
        let inventory = self.input.inventory;
        let found = inventory.hypervisors.get(&owned.hypervisor);
        let seen = found.and_then(|it| it.machines.get(&owned.id));
        let (Some(seen), Some(marker)) = (seen, seen.and_then(|it| it.marker.found())) else {
            return Ok(());
        };
        let removal = self
            .removal_action(&machine.key, &owned.hypervisor, seen, marker, Verb::Replace)
            .map_err(fail)?;
        self.add(removal, self.why_it_differs(machine));
        self.add(create, Reason::Dependency);
        Ok(())
    }

    pub(super) fn plan_removed(&mut self, key: &ResourceKey, owned: &Owned) {
        let inventory = self.input.inventory;
        let seen =
            inventory.hypervisors.get(&owned.hypervisor).and_then(|it| it.machines.get(&owned.id));
        let (Some(seen), Some(marker)) = (seen, seen.and_then(|it| it.marker.found())) else {
            return;
        };
        match self.removal_action(key, &owned.hypervisor, seen, marker, Verb::Delete) {
            Ok(action) => self.add(action, Reason::Removed),
            Err(trouble) => self.block(Blocked {
                key: key.clone(),
                hypervisor: owned.hypervisor.clone(),
                verb: Some(Verb::Delete),
                code: trouble.code,
                message: trouble.message,
                help: trouble.help,
                place: None,
            }),
        }
    }

    /// Which machines have disks that go on from those of this one, in words; a removal of
    /// what they go on from would destroy them.
    pub(in crate::plan) fn hangs_on(
        &self,
        hypervisor: &HypervisorName,
        seen: &ObservedMachine,
    ) -> Option<String> {
        let found = self.input.inventory.hypervisors.get(hypervisor)?;
        let names = found.hung_on.get(&seen.id).filter(|names| !names.is_empty())?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Some(format!("disks of linked clones go on from its own: {}", names.join(", ")))
    }

    fn removal_action(
        &mut self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        seen: &ObservedMachine,
        marker: &Marker,
        verb: Verb,
    ) -> Result<Action, Trouble> {
        changeable(hypervisor, seen)?;
        let found = self.input.inventory.hypervisors.get(hypervisor);
        let trouble = |code, message: String, help: &str| Trouble {
            code,
            message,
            help: help.to_owned(),
            place: None,
        };
        match found.map(|it| &it.coverage) {
            Some(Coverage::Complete) => {}
            Some(Coverage::Scoped { why, help }) => {
                return Err(trouble(
                    Code::ScopedInventory,
                    format!(
                        "this account does not see all of {hypervisor} ({why}), so nothing is deleted there"
                    ),
                    help,
                ));
            }
            Some(Coverage::Incomplete { gaps }) => {
                return Err(trouble(
                    Code::IncompleteInventory,
                    format!(
                        "{hypervisor} was read in part ({}), so nothing is deleted there",
                        gaps.join("; ")
                    ),
                    "plan again when all of it answers",
                ));
            }
            Some(Coverage::Failed { .. }) | None => {
                return Err(trouble(
                    Code::FailedHypervisor,
                    format!("{hypervisor} was not read"),
                    "plan again when it answers",
                ));
            }
        }
        let Some(&product) = self.input.products.get(hypervisor) else {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{hypervisor} is not configured"),
                "put the hypervisor's entry back",
            ));
        };
        if let Some(why) = self.hangs_on(hypervisor, seen) {
            return Err(trouble(
                Code::LinkedClones,
                format!("{} on {hypervisor} cannot go: {why}", seen.id),
                "remove those first, or make them whole copies of their own",
            ));
        }
        let lowered =
            product.lower(&Change::Delete(seen)).map_err(|all| first_unsupported(&all, None))?;
        let mut fields: BTreeSet<FieldPath> =
            [FieldKind::Power, FieldKind::Protect, FieldKind::Name].map(FieldPath::of).into();
        fields.extend(marker.map.disks.keys().map(|name| FieldPath::on(FieldKind::Disk, name)));
        fields.extend(lowered.reads);
        let class = if verb == Verb::Replace { Disruption::Replace } else { Disruption::Delete };
        Ok(Action {
            id: machine_action_id(key, verb, ""),
            key: key.clone(),
            hypervisor: hypervisor.clone(),
            native_id: Some(seen.id.clone()),
            node: seen.node.clone(),
            verb,
            fields: Vec::new(),
            classes: [class].into(),
            data_loss: DataLoss {
                volumes: lost_volumes(seen, marker),
                on_a_machine_that_stays: false,
            },
            reversible: false,
            place: None,
            steps: lowered.steps,
            base: Some(machine_base(seen, fields)),
            claims: Vec::new(),
            choices: Vec::new(),
            protected: marker.protect || seen.spec.protect == Some(true),
        })
    }
}

/// Every volume that goes with a machine, detached and unmanaged ones too.
fn lost_volumes(seen: &ObservedMachine, marker: &Marker) -> Vec<LostVolume> {
    let label = |slot: &str| {
        let named = marker.map.disks.iter().find(|(_, entry)| entry.slot.as_str() == slot);
        named.map_or_else(|| slot.to_owned(), |(name, _)| name.to_string())
    };
    let goes = |it: &&Device| it.kind.is_lost_with_machine();
    let mut devices: Vec<_> = seen.devices.iter().filter(goes).collect();
    // The boot disk first, then by slot, in whatever order the devices were reported.
    devices.sort_by_key(|it| (label(it.slot.as_str()) != DeviceName::BOOT, &it.slot));
    devices
        .into_iter()
        .filter_map(|device| {
            Some(LostVolume {
                volume: device.volume.clone()?,
                label: label(device.slot.as_str()),
                size: device.size,
            })
        })
        .collect()
}
