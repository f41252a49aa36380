//! Names and addresses: who takes one, who holds it, and what makes it free.

use super::{Builder, Holder, machine_action_id, name_key};
use crate::model::{
    Action, ActionId, Blocked, Code, DesiredMachine, DeviceName, FieldKind, FieldPath, IpSetting,
    Place, Verb,
};
use std::{collections::BTreeSet, net::IpAddr};

/// What an action will hold that one machine of a hypervisor can hold only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    Name(String),
    Address(DeviceName, IpAddr),
}

impl Builder<'_> {
    /// What an action takes: of a birth all, of an update what it changes.
    pub(super) fn takings(&self, machine: &DesiredMachine, action: &Action) -> Vec<Taking> {
        let born = matches!(action.verb, Verb::Create | Verb::Replace);
        let changes = |kind: FieldKind, device: Option<&DeviceName>| {
            action.verb == Verb::Update
                && action.fields.iter().any(|it| {
                    it.field.kind == kind
                        && it.field.device.as_ref() == device
                        && it.after.is_some()
                        && !it.pending
                })
        };
        let name = machine.spec.name.clone().filter(|_| born || changes(FieldKind::Name, None));
        let addresses = machine.spec.nics.iter().filter_map(|(nic, spec)| {
            let Some(IpSetting::Static { address, .. }) = spec.ip else { return None };
            let takes =
                born || changes(FieldKind::NicIp, Some(nic)) || changes(FieldKind::Nic, Some(nic));
            takes.then(|| Taking::Address(nic.clone(), address))
        });
        name.map(Taking::Name).into_iter().chain(addresses).collect()
    }

    /// Who has it now, the machine itself left out.
    pub(super) fn holders<'b>(
        &'b self,
        machine: &'b DesiredMachine,
        taking: &Taking,
    ) -> impl Iterator<Item = &'b Holder> {
        let at = &machine.hypervisor;
        let all: Option<&BTreeSet<Holder>> = match taking {
            Taking::Name(name) => self.names.get(&(at.clone(), name_key(self.input, at, name))),
            Taking::Address(_, address) => self.addresses.get(&(at.clone(), *address)),
        };
        all.into_iter().flatten().filter(|it| it.key.as_ref() != Some(&machine.key))
    }

    /// The action of this plan after which a holder has it no longer.
    pub(super) fn freed_by(
        &self,
        machine: &DesiredMachine,
        holder: &Holder,
        taking: &Taking,
    ) -> Option<ActionId> {
        let key = holder.key.as_ref()?;
        let removal = [Verb::Delete, Verb::Replace]
            .map(|verb| machine_action_id(key, verb, ""))
            .into_iter()
            .find(|id| {
                let action = self.actions.get(id);
                action.is_some_and(|it| {
                    it.hypervisor == machine.hypervisor && it.native_id.as_ref() == Some(&holder.id)
                })
            });
        removal.or_else(|| {
            let found = self.input.inventory.hypervisors.get(&machine.hypervisor)?;
            let seen = found.machines.get(&holder.id)?;
            let had = |nic: Option<&DeviceName>, address: &IpAddr| {
                let ip = nic.and_then(|nic| seen.settled().nics.get(nic)).and_then(|it| it.ip);
                matches!(ip, Some(IpSetting::Static { address: it, .. }) if it == *address)
            };
            let gives_up = |field: &FieldPath| match taking {
                Taking::Name(_) => field.kind == FieldKind::Name,
                Taking::Address(_, address) => {
                    matches!(field.kind, FieldKind::NicIp | FieldKind::Nic)
                        && had(field.device.as_ref(), address)
                }
            };
            let mut updates = self.actions.values().filter(|it| {
                it.key == *key && it.verb == Verb::Update && it.hypervisor == machine.hypervisor
            });
            updates
                .find(|it| it.fields.iter().any(|it| !it.pending && gives_up(&it.field)))
                .map(|it| it.id.clone())
        })
    }

    /// Blocks what would take a name or an address that its holder keeps.
    pub(super) fn block_what_is_taken(&mut self) {
        let mut hit = Vec::new();
        for action in self.actions.values() {
            let Some(machine) = self.input.desired.machines.get(&action.key) else { continue };
            if machine.hypervisor != action.hypervisor {
                continue;
            }
            let taken = self.takings(machine, action).into_iter().find_map(|taking| {
                let keeps = |it: &&Holder| self.freed_by(machine, it, &taking).is_none();
                let holder = self.holders(machine, &taking).find(keeps)?.clone();
                Some((taking, holder))
            });
            if let Some((taking, holder)) = taken {
                hit.push((action.id.clone(), is_taken(machine, action.verb, &taking, &holder)));
            }
        }
        for (id, blocked) in hit {
            self.actions.remove(&id);
            self.reasons.remove(&id);
            self.block(blocked);
        }
    }
}

fn is_taken(machine: &DesiredMachine, verb: Verb, taking: &Taking, holder: &Holder) -> Blocked {
    let at = &machine.hypervisor;
    let place = |path: FieldPath| -> Place { machine.place_of(&path).clone() };
    let (code, message, help, place) = match taking {
        Taking::Name(name) => (
            Code::NameTaken,
            match &holder.theirs {
                Some((project, key)) => format!(
                    "`{name}` is the name of {} on {at}, which is {key} of project `{project}`",
                    holder.id
                ),
                None => format!(
                    "`{name}` is the name of {} on {at}, which is not {}",
                    holder.id, machine.key
                ),
            },
            "give one of the two another name (`name:`)",
            place(FieldPath::of(FieldKind::Name)),
        ),
        Taking::Address(nic, address) => (
            Code::AddressTaken,
            format!("{address} is the address of {} on {at}", who(holder)),
            "choose another address",
            place(FieldPath::on(FieldKind::NicIp, nic)),
        ),
    };
    Blocked {
        key: machine.key.clone(),
        hypervisor: machine.hypervisor.clone(),
        verb: Some(verb),
        code,
        message,
        help: help.to_owned(),
        place: Some(place),
    }
}

fn who(holder: &Holder) -> String {
    match (&holder.key, &holder.theirs) {
        (Some(key), _) => key.to_string(),
        (None, Some((project, key))) => format!("{} ({key} of project `{project}`)", holder.id),
        (None, None) => holder.id.to_string(),
    }
}
