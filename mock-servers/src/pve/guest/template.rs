//! `POST …/template`.

use serde::{Deserialize, Serialize};

use super::{check_lock, drive, vm, vm_mut};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::volumes;
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::is_disk_key;

/// A guest to convert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    pub(crate) vmid: u32,
}

/// `POST …/template`.
pub(crate) fn post(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    let work = Template { vmid: call.vmid() };
    work.check(core, &node)?;
    Ok(Outcome::Task(node, Work::Template(work)))
}

impl Template {
    fn check(&self, core: &Core, node: &str) -> ApiResult<()> {
        let guest = vm(core, node, self.vmid)?;
        check_lock(guest)?;
        if !guest.snapshots.is_empty() {
            return Err(ApiError::died("unable to create template, because VM contains snapshots"));
        }
        if guest.is_template() {
            return Err(ApiError::died("you can't convert a template to a template"));
        }
        if guest.running {
            return Err(ApiError::died("you can't convert a VM to template if VM is running"));
        }
        Ok(())
    }

    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        self.check(core, node)?;
        Ok(Stage::default())
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        self.check(core, node)?;
        let config = vm(core, node, self.vmid)?.config.clone();
        for (key, value) in config.iter().filter(|(key, _)| is_disk_key(key)) {
            let Some(volid) = drive::kept_volume(value) else {
                continue;
            };
            let base = volumes::to_base(&mut core.world, node, volid)?;
            let renamed = value.replacen(volid, &base, 1);
            vm_mut(core, node, self.vmid)?.config.insert(key.clone(), renamed);
        }
        vm_mut(core, node, self.vmid)?.config.insert("template".to_owned(), "1".to_owned());
        Ok(Done::default())
    }
}
