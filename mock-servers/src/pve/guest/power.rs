//! `POST …/status/*`.

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use super::update::apply_pending;
use super::{agent, check_lock, drive, root_only, vm, vm_mut};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::tasks;
use crate::pve::volumes;
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::{
    Boot, Guest, hex, indexed, is_cdrom, is_cloudinit, is_disk_key, is_net_key, size_in,
};

/// What is asked of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Switch on.
    Start,
    /// Pull the plug.
    Stop,
    /// Ask it to go down.
    Shutdown,
    /// Ask it to go down, then switch on.
    Reboot,
    /// Press the reset button.
    Reset,
}

impl Op {
    /// Type of its task.
    pub(crate) fn task_kind(self) -> &'static str {
        match self {
            Self::Start => "qmstart",
            Self::Stop => "qmstop",
            Self::Shutdown => "qmshutdown",
            Self::Reboot => "qmreboot",
            Self::Reset => "qmreset",
        }
    }
}

/// A change of the power state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Power {
    pub(crate) vmid: u32,
    pub(crate) op: Op,
    timeout: u32,
    force_stop: bool,
    skiplock: bool,
}

/// Seconds a shutdown waits unless told otherwise.
const SHUTDOWN_SECONDS: u32 = 60;

fn work(core: &Core, call: &Call, op: Op) -> ApiResult<Outcome> {
    root_only(call, &["skiplock", "keepActive"])?;
    let node = call.id("node").to_owned();
    let guest = vm(core, &node, call.vmid())?;
    let down = guest.get("startup").and_then(|text| {
        text.split(',')
            .find_map(|part| part.strip_prefix("down="))
            .and_then(|text| text.parse().ok())
    });
    let timeout = call.number("timeout").and_then(|seconds| u32::try_from(seconds).ok());
    let work = Power {
        vmid: call.vmid(),
        op,
        timeout: timeout.or(down).unwrap_or(SHUTDOWN_SECONDS),
        force_stop: call.flag("forceStop"),
        skiplock: call.flag("skiplock"),
    };
    Ok(Outcome::Task(node, Work::Power(work)))
}

/// `POST …/status/start`.
pub(crate) fn start(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    work(core, call, Op::Start)
}

/// `POST …/status/stop`.
pub(crate) fn stop(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let outcome = work(core, call, Op::Stop)?;
    if call.flag("overrule-shutdown") {
        let id = call.vmid().to_string();
        let open: Vec<String> = core
            .world
            .tasks
            .iter()
            .filter(|(_, task)| task.exit.is_none() && task.kind == "qmshutdown" && task.id == id)
            .map(|(upid, _)| upid.clone())
            .collect();
        for upid in open {
            tasks::interrupt(core, &upid);
        }
    }
    Ok(outcome)
}

/// `POST …/status/shutdown`.
pub(crate) fn shutdown(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    if vm(core, call.id("node"), call.vmid())?.paused && !call.flag("forceStop") {
        return Err(ApiError::died("VM is paused - cannot shutdown"));
    }
    work(core, call, Op::Shutdown)
}

/// `POST …/status/reboot`.
pub(crate) fn reboot(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let vmid = call.vmid();
    let guest = vm(core, call.id("node"), vmid)?;
    if guest.paused {
        return Err(ApiError::died("VM is paused - cannot shutdown"));
    }
    if !guest.running {
        return Err(ApiError::died(format!("VM {vmid} not running")));
    }
    work(core, call, Op::Reboot)
}

/// `POST …/status/reset`.
pub(crate) fn reset(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let vmid = call.vmid();
    if !vm(core, call.id("node"), vmid)?.running {
        return Err(ApiError::died(format!("VM {vmid} not running")));
    }
    work(core, call, Op::Reset)
}

impl Power {
    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        let guest = vm(core, node, self.vmid)?;
        if self.op == Op::Start {
            check_start(core, node, self.vmid, self.skiplock)?;
            return Ok(Stage::default());
        }
        if !self.skiplock {
            check_lock(guest)?;
        }
        if !guest.running || matches!(self.op, Op::Stop | Op::Reset) {
            return Ok(Stage::default());
        }
        let willing = guest.behaviour.answers_shutdown;
        let timeout = core.timing.second * self.timeout;
        if willing && core.timing.shutdown <= timeout {
            return Ok(Stage { wait: Some(core.timing.shutdown), ..Stage::default() });
        }
        let fails = (!self.force_stop).then(|| "VM quit/powerdown failed - got timeout".to_owned());
        Ok(Stage { wait: Some(timeout), fails, ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        match self.op {
            Op::Start => start_now(core, node, self.vmid)?,
            Op::Stop | Op::Shutdown => stop_now(core, node, self.vmid)?,
            Op::Reboot => {
                stop_now(core, node, self.vmid)?;
                start_now(core, node, self.vmid)?;
            }
            Op::Reset => {
                vm_mut(core, node, self.vmid)?.started_ms = crate::clock::unix_millis();
            }
        }
        Ok(Done::default())
    }
}

fn check_start(core: &Core, node: &str, vmid: u32, skiplock: bool) -> ApiResult<()> {
    let guest = vm(core, node, vmid)?;
    if guest.is_template() {
        return Err(ApiError::died("you can't start a vm if it's a template"));
    }
    if !skiplock {
        check_lock(guest)?;
    }
    if guest.running {
        return Err(ApiError::died(format!("VM {vmid} already running")));
    }
    for (key, value) in super::view::with_pending(guest) {
        if is_net_key(&key) {
            let net = drive::parse_net(&key, &value)?;
            let host = core.world.nodes.get(node);
            if let Some(bridge) = net.opts.get("bridge")
                && host.is_some_and(|host| !host.bridges.contains_key(bridge))
            {
                return Err(ApiError::died(format!("bridge '{bridge}' does not exist")));
            }
        } else if is_disk_key(&key) && !value.starts_with("none") && !value.starts_with("cdrom") {
            let volid = value.split(',').next().unwrap_or("");
            volumes::usable(&core.world, node, volid.split(':').next().unwrap_or(""))?;
            if volumes::size_of(&core.world, node, volid).is_none() {
                return Err(ApiError::died(format!("no such volume '{volid}'")));
            }
        }
    }
    Ok(())
}

/// Starts a guest: pending changes take effect and the guest sees its seed.
pub(crate) fn start_now(core: &mut Core, node: &str, vmid: u32) -> ApiResult<()> {
    check_start(core, node, vmid, true)?;
    apply_pending(core, node, vmid)?;
    let guest = vm_mut(core, node, vmid)?;
    let boot = seen_at_boot(guest);
    guest.started_ms = boot.when_ms;
    guest.boots.push(boot);
    guest.running = true;
    guest.paused = false;
    Ok(())
}

/// Stops a guest: pending changes take effect.
pub(crate) fn stop_now(core: &mut Core, node: &str, vmid: u32) -> ApiResult<()> {
    let guest = vm_mut(core, node, vmid)?;
    guest.running = false;
    guest.paused = false;
    apply_pending(core, node, vmid)
}

/// What the software inside finds at this start.
fn seen_at_boot(guest: &Guest) -> Boot {
    let has_drive = guest.config.values().any(|value| is_cloudinit(value));
    let seeds: Vec<(&String, &String)> = guest
        .config
        .iter()
        .filter(|(key, _)| {
            indexed(key, "ipconfig")
                || matches!(
                    key.as_str(),
                    "ciuser"
                        | "cipassword"
                        | "sshkeys"
                        | "cicustom"
                        | "nameserver"
                        | "searchdomain"
                )
        })
        .collect();
    // The instance id follows user and network data, so that changing them makes it a new instance.
    let mut data = Sha1::new();
    for (key, value) in &seeds {
        data.update(format!("{key}={value}\n").as_bytes());
    }
    data.update(guest.get("name").unwrap_or("").as_bytes());
    let disk = guest
        .boot_disk()
        .and_then(|key| guest.get(&key).filter(|value| !is_cdrom(value)).and_then(size_in));
    Boot {
        when_ms: crate::clock::unix_millis(),
        notes: guest.get("description").map(str::to_owned),
        instance_id: has_drive.then(|| hex(&data.finalize())),
        had_seed: has_drive && !seeds.is_empty(),
        addresses: seeds
            .iter()
            .filter(|(key, _)| indexed(key, "ipconfig"))
            .map(|(_, value)| (*value).clone())
            .collect(),
        macs: agent::macs(guest),
        boot_disk: disk.unwrap_or(0),
        name: guest.get("name").map(str::to_owned),
    }
}
