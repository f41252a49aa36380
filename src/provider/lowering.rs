//! Pieces of lowering that are no product's own: a write while it is put together, and
//! what holds after its parts.

pub(super) mod building;
pub(super) mod changing;
mod seating;

pub(super) use seating::{Seat, Seating};

use crate::model::{
    Expect, FieldKind, FieldPath, MachineSpec, Name, NicSetting, Setting, StepOp, Unsupported,
    Value,
};

/// One write while it is put together: what it sets, and what holds afterwards.
#[derive(Default)]
pub(super) struct Write {
    pub(super) settings: Vec<Setting>,
    pub(super) end: Expect,
}

impl Write {
    /// Adds a field's value to the end, as the spec prints it; also when it is unset.
    pub(super) fn holds(&mut self, spec: &MachineSpec, path: FieldPath) {
        let value = spec.get(&path);
        self.end.fields.insert(path, value);
    }

    pub(super) fn set(&mut self, spec: &MachineSpec, kind: FieldKind, setting: Setting) {
        self.holds(spec, FieldPath::of(kind));
        self.settings.push(setting);
    }
}

pub(super) fn fault(field: FieldPath, why: impl Into<String>, help: &str) -> Unsupported {
    Unsupported { field, why: why.into(), help: help.to_owned() }
}

/// Processors over sockets; where the spec says nothing of one, as near to the (processors,
/// sockets) that are there as goes.
pub(super) fn processors(
    spec: &MachineSpec,
    (cpu, sockets): (Option<u32>, Option<u32>),
    write: &mut Write,
) -> Result<(), Unsupported> {
    let total = spec.cpu.or(cpu).unwrap_or(1);
    let divides = |sockets: &u32| *sockets > 0 && total.is_multiple_of(*sockets);
    let sockets = spec.sockets.or(sockets.filter(divides)).unwrap_or(1);
    if !divides(&sockets) {
        let why = format!("{total} processors cannot be spread over {sockets} sockets");
        let at = FieldPath::of(FieldKind::Sockets);
        return Err(fault(at, why, "set `cpu:` to a multiple of `sockets:`"));
    }
    let setting = Setting::Cpu { total, sockets };
    if !write.settings.contains(&setting) {
        write.settings.push(setting);
    }
    for (kind, count) in [(FieldKind::Cpu, total), (FieldKind::Sockets, sockets)] {
        write.end.fields.insert(FieldPath::of(kind), Some(Value::Count(count.into())));
    }
    Ok(())
}

/// A machine that goes into a pool, or out of one.
pub(super) fn set_pool(pool: Option<Name>) -> (StepOp, Expect, Expect) {
    let value = pool.as_ref().map(|pool| Value::Text(pool.to_string()));
    let fields = [(FieldPath::of(FieldKind::Pool), value)].into();
    let begin = Expect { exists: Some(true), ..Expect::default() };
    (StepOp::SetPool { pool }, begin, Expect { fields, ..Expect::default() })
}

/// What holds of a card once this is set.
pub(super) fn nic_fields(nic: &NicSetting) -> Vec<(FieldPath, Option<Value>)> {
    let at = |kind| FieldPath::on(kind, &nic.nic);
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let mut fields = Vec::new();
    if let Some(network) = &nic.network {
        fields.push((at(FieldKind::NicNetwork), text(&network.native)));
    }
    if let Some(tag) = nic.vlan {
        let value = (tag != 0).then_some(Value::Count(tag.into()));
        fields.push((at(FieldKind::NicVlan), value));
    }
    if let Some(model) = nic.model {
        fields.push((at(FieldKind::NicModel), text(model.as_str())));
    }
    if let Some(mac) = nic.mac {
        fields.push((at(FieldKind::NicMac), text(&mac.to_string())));
    }
    fields
}

/// What holds once a machine is seeded.
pub(super) fn seed_end(spec: &MachineSpec, end: &mut Expect) {
    if let Some(init) = &spec.init {
        init.visit(&mut |path, value| {
            end.fields.insert(path, Some(value));
        });
    }
    for (name, nic) in &spec.nics {
        let address = [FieldKind::NicIp, FieldKind::NicGateway].map(|it| FieldPath::on(it, name));
        if nic.ip.is_some() {
            end.fields.extend(address.map(|path| {
                let value = spec.get(&path);
                (path, value)
            }));
        }
    }
}
