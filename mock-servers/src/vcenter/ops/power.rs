//! Power: at once, or by way of the guest.

use std::sync::Arc;

use super::place::{admit, usable};
use super::reconfigure::readable;
use crate::harness::Actor;
use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::guest;
use crate::vcenter::server::{Core, Shared};

/// Switches a machine on.
pub(crate) fn on(core: &mut Core, id: &str, host: Option<&str>) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    if vm.template {
        return Err(Fault::state("A template cannot be powered on."));
    }
    let drs_moves = readable(core, &vm);
    if vm.question.is_some() || vm.connection != "connected" || vm.forming.is_some() {
        return drs_moves;
    }
    if vm.power == "poweredOn" {
        return Err(Fault::power(Some("poweredOn"), "poweredOn"));
    }
    static_addresses(&vm)?;
    let chosen = match host {
        Some(host) => {
            let found = core.world.host(host).ok_or_else(|| Fault::gone("HostSystem", host))?;
            usable(host, found)?;
            host.to_owned()
        }
        None => admit(core, id)?,
    };
    if let Some(home) = core.world.home_of(&vm).filter(|_| vm.power == "poweredOff") {
        super::place::need_space(core, home, vm.swap())?;
    }
    let now = core.now_ms();
    if let Some(vm) = core.world.vm_mut(id) {
        vm.host = chosen;
        guest::boot(vm, now);
    }
    Ok(())
}

/// Addresses that somebody chose must not be of the range that the product generates from.
fn static_addresses(vm: &crate::vcenter::vm::Vm) -> Outcome<()> {
    let reserved = |mac: &str| {
        mac.strip_prefix("00:50:56:")
            .and_then(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok())
            .is_some_and(|fourth| fourth > 0x3f)
    };
    match vm.config.nics().find(|nic| nic.address_type == "manual" && reserved(&nic.mac)) {
        None => Ok(()),
        Some(nic) => {
            let reason =
                format!("The MAC address '{}' is not an allowed static Ethernet address.", nic.mac);
            let fields = vec![("reason", crate::vcenter::val::text(reason.clone()))];
            Err(Fault::new("GenericVmConfigFault", reason, fields))
        }
    }
}

/// Switches a machine off, as pulling the plug does.
pub(crate) fn off(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if vm.power == "poweredOff" {
        return Err(Fault::power(Some("poweredOff"), "poweredOff"));
    }
    if let Some(vm) = core.world.vm_mut(id) {
        vm.power = "poweredOff".to_owned();
    }
    Ok(())
}

/// Suspends or resets a running machine.
pub(crate) fn disturb(core: &mut Core, id: &str, suspend: bool) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if vm.power != "poweredOn" {
        return Err(Fault::power(Some(if suspend { "suspended" } else { "poweredOn" }), &vm.power));
    }
    let now = core.now_ms();
    if let Some(vm) = core.world.vm_mut(id) {
        if suspend {
            vm.power = "suspended".to_owned();
        } else {
            guest::boot(vm, now);
        }
    }
    Ok(())
}

/// Asks the guest to go down, or to start again; that takes its time.
pub(crate) fn ask_guest(
    shared: &Arc<Shared>,
    core: &Core,
    id: &str,
    (user, request): (&str, u64),
    again: bool,
) -> Outcome<()> {
    let Some(vm) = core.world.vm(id) else { return Err(Fault::gone("VirtualMachine", id)) };
    readable(core, vm)?;
    if vm.power != "poweredOn" {
        return Err(Fault::power(Some("poweredOn"), &vm.power));
    }
    if !vm.behaviour.tools || !guest::is_up(core, vm) {
        let message = "Cannot complete operation because VMware Tools is not running in this virtual machine.";
        return Err(Fault::new("ToolsUnavailable", message, vec![]));
    }
    if !vm.behaviour.answers_shutdown {
        return Ok(());
    }
    let (shared, id, user, started) =
        (Arc::clone(shared), id.to_owned(), user.to_owned(), vm.started_ms);
    let wait = core.timing.shutdown;
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let mut core = shared.core();
        let now = core.now_ms();
        let Some(vm) = core.world.vm_mut(&id) else { return };
        // Somebody may have been quicker.
        if vm.power != "poweredOn" || vm.started_ms != started {
            return;
        }
        if again {
            guest::boot(vm, now);
        } else {
            vm.power = "poweredOff".to_owned();
        }
        let (ty, text) = if again {
            ("VmGuestRebootEvent", "Guest OS reboot")
        } else {
            ("VmPoweredOffEvent", "powered off by its guest")
        };
        core.world.happened(ty, &user, &id, now, text);
        core.note(Some(request), &Actor::Client(user));
        shared.save(&core);
    });
    Ok(())
}
