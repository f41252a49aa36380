//! Containers, as inventory.

use serde_json::{Map, Value, json};

use super::{find, view};
use crate::pve::error::ApiResult;
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::world::GuestKind;

/// Options that are read back as numbers.
const NUMBERS: [&str; 10] = [
    "console",
    "cores",
    "cpuunits",
    "debug",
    "memory",
    "onboot",
    "protection",
    "swap",
    "template",
    "tty",
];

/// `GET …/lxc/{vmid}/config`.
pub(crate) fn config(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let guest = find(&core.world, call.id("node"), call.vmid(), GuestKind::Lxc)?;
    let shown = if call.flag("current") { guest.config.clone() } else { view::with_pending(guest) };
    let mut data = Map::new();
    for (key, text) in &shown {
        let number = text
            .parse::<i64>()
            .ok()
            .filter(|_| NUMBERS.contains(&key.as_str()) || key == "unprivileged");
        let value = match number {
            Some(number) if !core.switches.integers_as_strings => json!(number),
            // Unlike a virtual machine's, a container's notes keep their last line end.
            _ if key == "description" => json!(format!("{}\n", text.trim_end_matches('\n'))),
            _ => json!(text),
        };
        data.insert(key.clone(), value);
    }
    data.insert("digest".to_owned(), json!(guest.digest()));
    Ok(Outcome::Data(Value::Object(data)))
}

/// `GET …/lxc/{vmid}/status/current`.
pub(crate) fn current(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let vmid = call.vmid();
    let guest = find(&core.world, call.id("node"), vmid, GuestKind::Lxc)?;
    let mut row = view::live_row(core, vmid, guest);
    row.insert("ha".into(), json!({"managed": 0}));
    row.insert("swap".into(), json!(0));
    row.insert("maxswap".into(), json!(512 * 1024 * 1024));
    Ok(Outcome::Data(Value::Object(row)))
}
