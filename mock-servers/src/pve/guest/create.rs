//! `POST /nodes/{node}/qemu`.

use serde::{Deserialize, Serialize};

use super::options::{check, check_bridges, need_on_guest};
use super::{drive, power};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::text;
use crate::pve::volumes;
use crate::pve::work::{Done, Settings, Stage, Work};
use crate::pve::world::{Guest, GuestKind, is_cdrom, is_disk_key, is_net_key};

/// Parameters of the call that are no options of the guest.
const NOT_OPTIONS: [&str; 12] = [
    "node",
    "vmid",
    "archive",
    "start",
    "storage",
    "force",
    "unique",
    "pool",
    "bwlimit",
    "live-restore",
    "import-working-storage",
    "ha-managed",
];

/// A guest to build from parameters. Its locked configuration exists already.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Create {
    pub(crate) vmid: u32,
    pub(crate) settings: Settings,
    pub(crate) pool: Option<String>,
    pub(crate) start: bool,
}

/// The options among the parameters of a call.
pub(crate) fn settings(call: &Call, without: &[&str]) -> Settings {
    call.params
        .iter()
        .filter(|(key, _)| !without.contains(key))
        .map(|(key, _)| (key.to_owned(), call.params.joined(key).unwrap_or_default()))
        .collect()
}

/// A pool that is named must be there; the text is that of a refusal.
pub(crate) fn check_pool(core: &Core, pool: Option<&str>) -> ApiResult<()> {
    match pool {
        Some(pool) if !core.world.pools.contains_key(pool) => {
            Err(ApiError::forbidden(&format!("pool '{pool}' does not exist")))
        }
        _ => Ok(()),
    }
}

/// `POST /nodes/{node}/qemu`.
pub(crate) fn post(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    let vmid = u32::try_from(call.number("vmid").unwrap_or(0)).unwrap_or(0);
    let pool = call.get("pool").map(str::to_owned);
    check_pool(core, pool.as_deref())?;
    need_on_guest(core, &call.who, vmid, pool.as_deref(), &["VM.Allocate"])?;
    if call.get("archive").is_some() {
        return Err(ApiError::new(501, "restore from an archive is not simulated"));
    }
    let settings = settings(call, &NOT_OPTIONS);
    check(
        core,
        &call.who,
        vmid,
        pool.as_deref(),
        settings.iter().map(|(key, value)| (key.as_str(), value.as_str())),
    )?;
    if call.flag("start") {
        need_on_guest(core, &call.who, vmid, pool.as_deref(), &["VM.PowerMgmt"])?;
    }
    if let Some(keys) = settings.get("sshkeys") {
        text::decode_sshkeys(keys).map_err(ApiError::died)?;
    }
    drive::check_storages(core, &call.who, &node, vmid, &settings)?;
    check_bridges(core, &call.who, &settings)?;
    if let Some(other) = core.world.guests.get(&vmid) {
        let word = if other.kind == GuestKind::Qemu { "VM" } else { "CT" };
        let text = format!(
            "unable to create VM {vmid} - {word} {vmid} already exists on node '{}'",
            other.node
        );
        return Err(ApiError::died(text));
    }
    let mut guest = Guest::new(&node, GuestKind::Qemu);
    guest.config.insert("lock".to_owned(), "create".to_owned());
    core.world.guests.insert(vmid, guest);
    let start = call.flag("start");
    Ok(Outcome::Task(node, Work::Create(Create { vmid, settings, pool, start })))
}

impl Create {
    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        super::vm(core, node, self.vmid)?;
        Ok(Stage { storages: drive::storages_of(&self.settings), ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        super::vm(core, node, self.vmid)?;
        let mut made = Vec::new();
        let built = match self.build(core, node, &mut made) {
            Ok(built) => built,
            Err(error) => {
                for volid in made {
                    // What cannot be freed now stays behind, as it would on a real node.
                    let _ = volumes::free(&mut core.world, node, &volid);
                }
                let text =
                    format!("unable to create VM {} - {}", self.vmid, error.as_exit_status());
                return Err(ApiError::died(text));
            }
        };
        core.world.guests.insert(self.vmid, built);
        if let Some(pool) = self.pool.as_ref().and_then(|name| core.world.pools.get_mut(name)) {
            pool.guests.insert(self.vmid);
        }
        let mut done = Done::default();
        if self.start
            && let Err(error) = power::start_now(core, node, self.vmid)
        {
            done.warnings.push(error.as_exit_status());
        }
        Ok(done)
    }

    fn build(&self, core: &mut Core, node: &str, made: &mut Vec<String>) -> ApiResult<Guest> {
        let mut guest = Guest::new(node, GuestKind::Qemu);
        for (key, value) in &self.settings {
            let kept = if is_disk_key(key) {
                drive::realize(core, node, self.vmid, key, value, &guest, made)?
            } else if is_net_key(key) {
                drive::realize_net(core, key, value)?
            } else {
                match key.as_str() {
                    "description" => text::strip_description(value),
                    "tags" if core.switches.create_normalises_tags || core.is_nine() => {
                        text::normalize_tags(value)
                            .map_err(|error| ApiError::parameter("tags", error))?
                    }
                    _ => value.clone(),
                }
            };
            guest.config.insert(key.clone(), kept);
        }
        check_balloon(&guest)?;
        if !guest.config.contains_key("smbios1") {
            let uuid = core.world.new_uuid();
            guest.config.insert("smbios1".to_owned(), format!("uuid={uuid}"));
        }
        if guest.get("vmgenid").is_none_or(|value| value == "1") {
            let uuid = core.world.new_uuid();
            guest.config.insert("vmgenid".to_owned(), uuid);
        }
        guest.config.insert("meta".to_owned(), meta(core));
        if !guest.config.contains_key("boot") {
            let order = default_boot(&guest);
            if !order.is_empty() {
                guest.config.insert("boot".to_owned(), format!("order={}", order.join(";")));
            }
        } else {
            super::update::check_boot(&guest)?;
        }
        Ok(guest)
    }

    pub(crate) fn abandon(&self, core: &mut Core, node: &str) {
        let locked =
            super::vm(core, node, self.vmid).is_ok_and(|guest| guest.get("lock") == Some("create"));
        if locked {
            core.world.guests.remove(&self.vmid);
        }
    }
}

/// The balloon cannot be larger than the memory it lives in.
pub(crate) fn check_balloon(guest: &Guest) -> ApiResult<()> {
    let memory = crate::pve::world::memory_mib(guest);
    let balloon: u64 = guest.get("balloon").and_then(|text| text.parse().ok()).unwrap_or(0);
    if balloon > memory {
        return Err(ApiError::died(
            "balloon value too large (must be smaller than assigned memory)",
        ));
    }
    Ok(())
}

/// What the server notes about a guest's birth.
pub(crate) fn meta(core: &Core) -> String {
    let qemu = if core.is_nine() { "10.1.2" } else { "9.2.0" };
    format!("creation-qemu={qemu},ctime={}", crate::clock::unix_now())
}

/// First disk, first CD drive, first interface.
fn default_boot(guest: &Guest) -> Vec<String> {
    let bootable =
        |key: &str| is_disk_key(key) && !key.starts_with("efidisk") && !key.starts_with("tpmstate");
    let mut order = Vec::new();
    // The search goes over the buses in the order of their age.
    let mut keys: Vec<&String> = guest.config.keys().filter(|key| bootable(key)).collect();
    keys.sort_by_key(|key| {
        let rank = ["ide", "scsi", "virtio", "sata"].iter().position(|bus| key.starts_with(bus));
        let number: u32 = key.trim_start_matches(char::is_alphabetic).parse().unwrap_or(0);
        (rank, number)
    });
    order.extend(
        keys.iter()
            .find(|key| guest.get(key).is_some_and(|value| !is_cdrom(value)))
            .map(|key| (*key).clone()),
    );
    order.extend(
        keys.iter().find(|key| guest.get(key).is_some_and(is_cdrom)).map(|key| (*key).clone()),
    );
    order.extend(guest.config.keys().find(|key| is_net_key(key)).cloned());
    order
}
