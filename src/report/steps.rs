//! Steps in words, one line each.

use super::layout::Canvas;
use crate::model::{
    CloneFrom, DiskMove, GuestIdentity, PartKind, PoolPart, Setting, Step, StepOp, Wait,
};

/// What one step does.
pub(super) fn step_line(canvas: &Canvas, step: &Step) -> String {
    let mut text = op(canvas, &step.op);
    match step.wait {
        Wait::Call | Wait::Task => {}
        Wait::PowerOff { within_s } => text.push_str(&format!(", up to {within_s} s")),
    }
    if let Some(otherwise) = &step.otherwise {
        text.push_str(&format!(", then {}", op(canvas, otherwise)));
    }
    if !step.guarded {
        text.push_str(" (not guarded by the product)");
    }
    text
}

fn op(canvas: &Canvas, op: &StepOp) -> String {
    let data = |text: &str| canvas.data(text).into_owned();
    match op {
        StepOp::Clone(from) => clone(canvas, from),
        StepOp::Create(birth) => {
            format!("create {}, powered off: {}", data(&birth.name), settings(&birth.settings))
        }
        StepOp::Configure(all) => format!("configure {}", settings(all)),
        StepOp::GrowDisk { disk, slot, to } => {
            format!("grow disk {} ({}) to {to}", data(disk.as_str()), data(slot.as_str()))
        }
        StepOp::MoveDisks(moves) => {
            let one = |it: &DiskMove| {
                let (disk, slot) = (data(it.disk.as_str()), data(it.slot.as_str()));
                format!("move disk {disk} ({slot}) to {}", data(it.to.as_str()))
            };
            moves.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        StepOp::UpgradeHardware { to } => format!("upgrade the virtual hardware to version {to}"),
        StepOp::Customize(seed) => match seed.init.customization.as_ref().map(|it| &it.identity) {
            Some(GuestIdentity::Kept(name)) => {
                format!("set the guest up at its first start, by {}", data(name))
            }
            Some(GuestIdentity::Windows(_)) | None => {
                "set the guest up at its first start, by its sysprep".to_owned()
            }
        },
        StepOp::SetPool { pool: Some(pool) } => format!("put into pool {}", data(pool.as_str())),
        StepOp::SetPool { pool: None } => "take out of its pool".to_owned(),
        StepOp::DefineLabel { label } => format!("make label {} known", data(label.as_str())),
        StepOp::DefineLabelValue { label, value } => {
            format!("make value {} of label {} known", data(value), data(label.as_str()))
        }
        StepOp::SetLabel { label, value } => {
            format!("label {}: {}", data(label.as_str()), data(value))
        }
        StepOp::ClearLabel { label, value } => {
            format!("take value {} of label {} off", data(value), data(label.as_str()))
        }
        StepOp::Start => "start".to_owned(),
        StepOp::Shutdown => "ask the guest to shut down".to_owned(),
        StepOp::Stop => "hard stop".to_owned(),
        StepOp::TakeSnapshot(take) => format!("take snapshot {}", data(&take.name)),
        StepOp::RemoveSnapshot { name, .. } => format!("remove snapshot {}", data(name)),
        StepOp::Delete => "delete with its volumes".to_owned(),
        StepOp::CreatePool { .. } => "create the pool".to_owned(),
        StepOp::SetComment { .. } => "write the comment".to_owned(),
        StepOp::DeletePool => "delete the pool".to_owned(),
        StepOp::MakePart { part } => format!("make {}", pool_part(canvas, part)),
        StepOp::MarkPart { part } => format!("mark {} as ours", pool_part(canvas, part)),
        StepOp::RemovePart { part } => format!("remove {}, empty", pool_part(canvas, part)),
        StepOp::MakeRole { role } => format!("make the role {role} of the project"),
        StepOp::Grant { part, grantee, role } => {
            format!("make {} {role} of {}", data(&grantee.to_string()), pool_part(canvas, part))
        }
        StepOp::Revoke { part, grantee } => {
            let who = data(&grantee.to_string());
            format!("take our role on {} from {who}", pool_part(canvas, part))
        }
        StepOp::CreateSpread { .. } => "keep its machines on different hosts".to_owned(),
        StepOp::SetSpread { .. } => "keep these machines on different hosts".to_owned(),
        StepOp::DeleteSpread => "keep its machines apart no longer".to_owned(),
    }
}

/// One object of a pool, in the words of its entry.
pub(super) fn pool_part(canvas: &Canvas, part: &PoolPart) -> String {
    canvas.data(&part_words(part)).into_owned()
}

/// One object of a pool, in the words of its entry: `folder Tenants/acme`. Not made harmless.
pub fn part_words(part: &PoolPart) -> String {
    let what = match part.kind {
        PartKind::Mark => "attribute",
        PartKind::GroupAbove | PartKind::Group => "folder",
        PartKind::ShareAbove | PartKind::Share => "resource pool",
    };
    format!("{what} {}", part.name)
}

fn clone(canvas: &Canvas, from: &CloneFrom) -> String {
    let how = if from.linked { "linked clone" } else { "full clone" };
    let name = from.template_name.as_deref().map(|name| format!(" {}", canvas.data(name)));
    let mut text = format!(
        "{how} of template {}{}, powered off",
        canvas.data(from.template.as_str()),
        name.unwrap_or_default(),
    );
    if let Some(snapshot) = &from.snapshot {
        text.push_str(&format!(", from snapshot {}", canvas.data(snapshot)));
    }
    if let Some(node) = &from.node {
        text.push_str(&format!(", to node {}", canvas.data(node.as_str())));
    }
    if let Some(storage) = &from.storage {
        text.push_str(&format!(", on {}", canvas.data(storage.as_str())));
    }
    text
}

fn settings(all: &[Setting]) -> String {
    all.iter().map(setting).collect::<Vec<_>>().join(", ")
}

/// Settings by name only: their values are in the fields above. Names of disks and
/// cards are checked words of the YAML.
fn setting(setting: &Setting) -> String {
    match setting {
        Setting::Name(_) => "name".to_owned(),
        Setting::Cpu { .. } => "cpu".to_owned(),
        Setting::Memory(_) => "memory".to_owned(),
        Setting::Firmware { .. } => "firmware".to_owned(),
        Setting::Tpm { .. } => "tpm".to_owned(),
        Setting::HardwareVersion(_) => "hardware version".to_owned(),
        Setting::Extra { key, .. } => format!("extra_config {key}"),
        Setting::Boot { .. } => "boot order".to_owned(),
        Setting::Cdrom { .. } => "cdrom".to_owned(),
        Setting::Autostart(_) => "autostart".to_owned(),
        Setting::Protect(_) => "protection".to_owned(),
        Setting::Tags(_) => "tags".to_owned(),
        Setting::Notes(_) => "notes".to_owned(),
        Setting::AttachDisk { disk, .. } => format!("attach disk {disk}"),
        Setting::DiskSize { disk, to, .. } => format!("grow disk {disk} to {to}"),
        Setting::DetachDisk { disk, delete: None, .. } => format!("detach disk {disk}"),
        Setting::DetachDisk { disk, delete: Some(_), .. } => format!("delete disk {disk}"),
        Setting::SetNic(nic) => format!("card {}", nic.nic),
        Setting::RemoveNic { nic: Some(nic), .. } => format!("remove card {nic}"),
        Setting::RemoveNic { nic: None, slot } => format!("remove card {slot}"),
        Setting::Seed(_) => "first-boot data".to_owned(),
        Setting::MachineUuid => "machine uuid".to_owned(),
        Setting::Marker(draft) => format!("marker ({})", draft.stage.as_str()),
        Setting::Unmark => "no marker".to_owned(),
    }
}
