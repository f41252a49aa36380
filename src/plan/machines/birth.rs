//! Machines that are made, or built to their end.

use super::{Trouble, unsupported};
use crate::planted::Bug;
use crate::{
    alloc::Request,
    model::{
        Action, BirthSource, Build, Change, Code, Coverage, DataLoss, DesiredMachine, DeviceName,
        Disruption, Expect, FieldChange, FieldKind, FieldPath, GuestIdentity, HypervisorInventory,
        KeptSetup, MachineSpec, Medium, ObservedMachine, Power, Reason, StepOp, Verb, Words,
    },
    ownership::Owned,
    plan::{Builder, base::machine_base, machine_action_id, snapshot::linked_snapshot},
};
use std::collections::BTreeSet;

impl Builder<'_> {
    /// A machine to be made, or a half-made one to be built to its end.
    pub(super) fn plan_birth(
        &mut self,
        machine: &DesiredMachine,
        seen: Option<&ObservedMachine>,
        reason: Reason,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let verb = if seen.is_some() { Verb::Continue } else { Verb::Create };
        let action = self.birth_action(machine, seen, verb).map_err(|it| (Some(verb), it))?;
        self.add(action, reason);
        Ok(())
    }

    pub(super) fn birth_action(
        &mut self,
        machine: &DesiredMachine,
        seen: Option<&ObservedMachine>,
        verb: Verb,
    ) -> Result<Action, Trouble> {
        let trouble = |code, message: String, help: &str| Trouble {
            code,
            message,
            help: help.to_owned(),
            place: None,
        };
        let Some(&product) = self.input.products.get(&machine.hypervisor) else {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{} was not read", machine.hypervisor),
                "plan again when it answers",
            ));
        };
        let Some(found) = self.input.inventory.hypervisors.get(&machine.hypervisor) else {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{} was not read", machine.hypervisor),
                "plan again when it answers",
            ));
        };
        if seen.is_none() {
            let own = self.ownership.owned.get(&machine.key);
            may_create(machine, found, own, product.capabilities().words)?;
        }
        let spec = product.normalize(machine).map_err(|all| unsupported(machine, &all))?;
        let Some(birth) = &machine.birth else {
            return Err(trouble(
                Code::ImageMissing,
                format!("{} has no image to be made from", machine.key),
                "write `image:` on the machine or its profile",
            ));
        };
        let template = find_template(birth, found)?;
        setup_fits(machine, &spec, birth, found)?;
        let needs = product.capabilities().linked_needs_snapshot && seen.is_none();
        let snapshot = match template.filter(|_| needs) {
            Some(template) => linked_snapshot(birth, template)?,
            None => None,
        };
        let new_disks: BTreeSet<DeviceName> = spec
            .disks
            .keys()
            .cloned()
            .chain(template.is_some().then(|| DeviceName::from(DeviceName::BOOT)))
            .filter(|name| seen.is_none_or(|it| !it.settled().disks.contains_key(name)))
            .collect();
        let new_nics: BTreeSet<DeviceName> = spec
            .nics
            .keys()
            .filter(|name| seen.is_none_or(|it| !it.settled().nics.contains_key(*name)))
            .cloned()
            .collect();
        if let Medium::Iso { volume } = &birth.medium
            && !found.isos.contains(volume)
            && !found.coverage.is_failed()
        {
            return Err(trouble(
                Code::ImageMissing,
                format!("there is no ISO image `{volume}` on {}", machine.hypervisor),
                "upload it, or correct the volume in `images`; if it is there, `novahost doctor` tells whether the account may see it",
            ));
        }
        let request = Request {
            machine,
            spec: &spec,
            template,
            seen,
            new_disks: &new_disks,
            new_nics: &new_nics,
        };
        let allotment = self.allocator.allot(&request, product)?;
        let allotted = &allotment.allotted;
        let build = Build { machine, spec: &spec, template, snapshot, allotted, seen };
        let mut lowered =
            product.lower(&Change::Build(build)).map_err(|all| unsupported(machine, &all))?;
        // Where the product chooses ids, there is none yet.
        let id = allotment.allotted.id.as_ref().map_or("pending", |id| id.as_str());
        if let [.., ready, start] = lowered.steps.as_mut_slice()
            && start.op == StepOp::Start
            && Bug::StartedUnready.strikes(id)
        {
            std::mem::swap(ready, start);
            ready.begin = Expect::default();
        }
        for note in &lowered.notes {
            self.note(&machine.key, note.clone());
        }
        let fields = birth_fields(machine, &spec, seen);
        let mut read: BTreeSet<FieldPath> = fields.iter().map(|it| it.field.clone()).collect();
        read.extend(lowered.reads);
        Ok(Action {
            id: machine_action_id(&machine.key, verb, ""),
            key: machine.key.clone(),
            hypervisor: machine.hypervisor.clone(),
            native_id: allotment.allotted.id.clone(),
            node: allotment.allotted.node.clone(),
            verb,
            fields,
            classes: BTreeSet::new(),
            data_loss: DataLoss::default(),
            reversible: true,
            place: Some(machine.place.clone()),
            steps: lowered.steps,
            base: seen.map(|seen| machine_base(seen, read)),
            claims: allotment.claims,
            choices: allotment.choices,
            protected: false,
        })
    }
}

/// The creation rule. `own` is what bears the key now and goes first in a replace.
fn may_create(
    machine: &DesiredMachine,
    found: &HypervisorInventory,
    own: Option<&Owned>,
    words: Words,
) -> Result<(), Trouble> {
    let trouble = |code, message: String, help: &str| {
        Err(Trouble { code, message, help: help.to_owned(), place: None })
    };
    let hypervisor = &machine.hypervisor;
    match &found.coverage {
        Coverage::Complete => {}
        Coverage::Scoped { why, help } => match &machine.wanted_id {
            Some(id) if found.free_ids.contains(id) => {}
            Some(id) => {
                return trouble(
                    Code::IdTaken,
                    format!("{hypervisor} does not call {id} free"),
                    "pin another id",
                );
            }
            None => {
                let pin = words.id_setting.map(|it| format!(", or pin its id with `{it}`"));
                return trouble(
                    Code::ScopedInventory,
                    format!(
                        "this account does not see all of {hypervisor} ({why}), so absence is not proved"
                    ),
                    &format!("{help}{}", pin.unwrap_or_default()),
                );
            }
        },
        Coverage::Incomplete { gaps } => {
            return trouble(
                Code::IncompleteInventory,
                format!(
                    "{hypervisor} was read in part ({}), so absence is not proved",
                    gaps.join("; ")
                ),
                "plan again when all of it answers",
            );
        }
        // Why it was not stands in the header once, and not in what the plan's id covers.
        Coverage::Failed { .. } => {
            return trouble(
                Code::FailedHypervisor,
                format!("{hypervisor} was not read"),
                "plan again when it answers",
            );
        }
    }
    if let Some(id) = &machine.wanted_id
        && own.is_none_or(|own| own.id != *id)
        && (found.listed.contains_key(id) || found.unreadable.contains_key(id))
    {
        let bearer =
            found.listed.get(id).and_then(|it| it.name.as_deref()).unwrap_or("another guest");
        return trouble(
            Code::IdTaken,
            format!("id {id} on {hypervisor} is taken by `{bearer}`"),
            "pin another id, or none",
        );
    }
    Ok(())
}

/// Whether the description that the guest is set up by is there, and is one for such guests.
fn setup_fits(
    machine: &DesiredMachine,
    spec: &MachineSpec,
    birth: &BirthSource,
    found: &HypervisorInventory,
) -> Result<(), Trouble> {
    let setup = spec.init.as_ref().and_then(|init| init.customization.as_ref());
    let Some(GuestIdentity::Kept(name)) = setup.map(|it| &it.identity) else { return Ok(()) };
    let (message, help) = match found.kept_setups.get(name) {
        None => (
            format!("there is no customization spec `{name}` on {}", machine.hypervisor),
            "make it there, or correct the name",
        ),
        Some(KeptSetup { unfit: Some(why), .. }) => {
            (format!("the customization spec `{name}` cannot be used: {why}"), "mend it there")
        }
        Some(KeptSetup { os: Some(os), unfit: None }) if *os != birth.os => (
            format!(
                "the customization spec `{name}` is for {}, and `images.{}` is {}",
                os.as_str(),
                birth.image,
                birth.os.as_str()
            ),
            "name one for such guests",
        ),
        Some(KeptSetup { unfit: None, .. }) => return Ok(()),
    };
    let place = machine.place_of(&FieldPath::of(FieldKind::InitCustomization));
    Err(Trouble {
        code: Code::SetupMissing,
        message,
        help: help.to_owned(),
        place: Some(place.clone()),
    })
}

fn find_template<'a>(
    birth: &BirthSource,
    found: &'a HypervisorInventory,
) -> Result<Option<&'a ObservedMachine>, Trouble> {
    let Medium::Template { id, name, .. } = &birth.medium else { return Ok(None) };
    let trouble = |code, message: String| Trouble {
        code,
        message,
        help: format!("correct `images.{}`", birth.image),
        place: None,
    };
    let template = match (id, name) {
        (Some(id), _) => found.machines.get(id).ok_or_else(|| {
            let why = found.unreadable.get(id).map_or("it does not exist", String::as_str);
            trouble(Code::TemplateMissing, format!("template {id} cannot be used: {why}"))
        })?,
        (None, Some(name)) => {
            let mut all = found
                .machines
                .values()
                .filter(|it| it.template && it.spec.name.as_deref() == Some(name.as_str()));
            match (all.next(), all.next()) {
                (Some(one), None) => one,
                (Some(one), Some(other)) => {
                    return Err(trouble(
                        Code::TemplateMismatch,
                        format!("templates {} and {} are both called `{name}`", one.id, other.id),
                    ));
                }
                (None, _) => {
                    return Err(trouble(
                        Code::TemplateMissing,
                        format!("there is no template called `{name}`"),
                    ));
                }
            }
        }
        (None, None) => return Ok(None),
    };
    if !template.template {
        return Err(trouble(
            Code::TemplateMismatch,
            format!("{} is a machine, not a template", template.id),
        ));
    }
    match (name, &template.spec.name) {
        (Some(wanted), Some(has)) if wanted != has => Err(trouble(
            Code::TemplateMismatch,
            format!("template {} is called `{has}`, not `{wanted}`", template.id),
        )),
        _ => Ok(Some(template)),
    }
}

/// What a new machine will have, for people: every declared field, before nothing.
fn birth_fields(
    machine: &DesiredMachine,
    spec: &MachineSpec,
    seen: Option<&ObservedMachine>,
) -> Vec<FieldChange> {
    let mut fields = Vec::new();
    spec.visit(|field, after| {
        let before = seen.and_then(|it| it.settled().get(&field));
        if before.as_ref() != Some(&after) {
            let place = Some(machine.place_of(&field).clone());
            let after = Some(after);
            let disruption = Disruption::None;
            fields.push(FieldChange { field, before, after, disruption, place, pending: false });
        }
    });
    let starts = machine.power != Power::Stopped;
    fields.push(FieldChange {
        field: FieldPath::of(FieldKind::Power),
        before: None,
        after: Some(if starts { "running" } else { "stopped" }.into()),
        disruption: Disruption::None,
        place: Some(machine.place_of(&FieldPath::of(FieldKind::Power)).clone()),
        pending: false,
    });
    fields
}
