//! Configurations by chance: a few machines and pools, and what changes in them.

use crate::stage::Product;
use mock_servers::harness::Dice;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Names of machines.
const KEYS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

/// One machine of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    image: &'static str,
    plan: &'static str,
    firmware: Option<&'static str>,
    data_gib: Option<u64>,
    /// The largest that its data disk ever was: disks only grow.
    most_gib: u64,
    loses_data: bool,
    second_nic: bool,
    pool: Option<&'static str>,
    power: &'static str,
    tag: Option<u64>,
    notes: Option<u64>,
    user: Option<&'static str>,
    password: bool,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    product: Product,
    machines: BTreeMap<&'static str, Machine>,
    pools: BTreeMap<&'static str, u64>,
    /// How many names were used: a name that was given up is not used again, since its
    /// machine may still be there and be another one.
    used: usize,
}

fn chance(dice: &mut Dice, percent: u64) -> bool {
    dice.roll(100) < percent
}

fn machine(dice: &mut Dice) -> Machine {
    let image = *dice.pick(&["debian", "debian", "local", "linked", "installer"]).unwrap();
    let installer = image == "installer";
    let data_gib = chance(dice, 40).then(|| 1 + dice.roll(4));
    Machine {
        image,
        plan: dice.pick(&["small", "medium"]).unwrap(),
        firmware: installer.then_some("bios"),
        data_gib,
        most_gib: data_gib.unwrap_or(0),
        loses_data: chance(dice, 50),
        second_nic: chance(dice, 30),
        pool: chance(dice, 40).then_some("team"),
        power: dice.pick(&["running", "running", "stopped", "once"]).unwrap(),
        tag: chance(dice, 30).then(|| dice.roll(9)),
        notes: chance(dice, 30).then(|| dice.roll(9)),
        user: (!installer && chance(dice, 70)).then_some("deploy"),
        password: !installer && chance(dice, 30),
    }
}

fn change(dice: &mut Dice, it: &mut Machine) {
    match dice.roll(9) {
        0 => it.plan = "medium",
        1 => it.tag = Some(dice.roll(99)),
        2 => it.notes = Some(dice.roll(99)),
        3 => {
            it.most_gib += 1;
            it.data_gib = Some(it.most_gib);
        }
        4 => it.data_gib = None,
        5 => it.second_nic = !it.second_nic,
        6 => it.pool = if it.pool.is_some() { None } else { Some("team") },
        7 => it.power = if it.power == "running" { "stopped" } else { "running" },
        // The one change that is a replace.
        _ if it.image == "installer" => it.firmware = Some("uefi"),
        _ => it.tag = None,
    }
}

impl Fleet {
    /// A first one.
    pub fn first(product: Product, dice: &mut Dice) -> Self {
        let count = usize::try_from(2 + dice.roll(2)).unwrap();
        let machines = KEYS[..count].iter().map(|key| (*key, machine(dice))).collect();
        Self { product, machines, pools: [("team", dice.roll(9))].into(), used: count }
    }

    /// The next one.
    pub fn next(&self, dice: &mut Dice) -> Self {
        let mut it = self.clone();
        for _ in 0..=dice.roll(3) {
            let keys: Vec<&'static str> = it.machines.keys().copied().collect();
            match dice.roll(8) {
                0 if keys.len() > 1 => drop(it.machines.remove(dice.pick(&keys).unwrap())),
                1 => {
                    let new = KEYS.get(it.used);
                    it.machines.extend(new.map(|key| (*key, machine(dice))));
                    it.used += 1;
                }
                2 => *it.pools.entry("team").or_default() = dice.roll(99),
                _ => {
                    if let Some(found) = dice.pick(&keys).and_then(|key| it.machines.get_mut(key)) {
                        change(dice, found);
                    }
                }
            }
        }
        it
    }

    /// Keys whose machine goes, or is made anew, on the way to another one.
    pub fn loses(&self, next: &Self) -> BTreeSet<String> {
        let gone = self.machines.iter().filter(|(key, old)| {
            next.machines.get(*key).is_none_or(|new| new.firmware != old.firmware)
        });
        let pools = self.pools.keys().filter(|name| !next.pools.contains_key(*name));
        gone.map(|(key, _)| format!("vm/{key}"))
            .chain(pools.map(|name| format!("pool/{name}")))
            .collect()
    }

    /// As YAML.
    pub fn yaml(&self) -> String {
        let mut text = String::from("pools:\n");
        for (name, comment) in &self.pools {
            let _ = match self.product {
                Product::Pve => {
                    writeln!(text, "  {name}: {{ comment: c{comment}, at: {{ pve: {{}} }} }}")
                }
                // Places that others made: nothing of them is changed.
                Product::Vcenter => {
                    let place = format!("{{ folder: {name}, resource_pool: {name} }}");
                    writeln!(text, "  {name}: {{ at: {{ vc: {place} }} }}")
                }
            };
        }
        text.push_str("vms:\n");
        let hypervisor = self.product.hypervisor();
        let has_tags = self.product == Product::Pve;
        for (key, it) in &self.machines {
            let host = 100 + KEYS.iter().position(|known| known == key).unwrap();
            let _ =
                writeln!(text, "  {key}:\n    hypervisor: {hypervisor}\n    image: {}", it.image);
            // The disk of a linked clone stays as large as its template's there.
            let stays = self.product == Product::Vcenter && it.image == "linked";
            let plan = if stays { "small" } else { it.plan };
            let _ = writeln!(text, "    plan: {plan}\n    power: {}", it.power);
            let mut line = |name: &str, value: Option<String>| {
                if let Some(value) = value {
                    let _ = writeln!(text, "    {name}: {value}");
                }
            };
            line("firmware", it.firmware.map(str::to_owned));
            line("pool", it.pool.map(str::to_owned));
            line("tags", it.tag.filter(|_| has_tags).map(|tag| format!("[t{tag}]")));
            line("notes", it.notes.map(|notes| format!("Remark {notes}")));
            let on_remove = if it.loses_data { "delete" } else { "detach" };
            line(
                "disks",
                it.data_gib.map(|size| {
                    format!("{{ data: {{ size: {size}GiB, on_remove: {on_remove} }} }}")
                }),
            );
            let first = if it.image == "installer" {
                "eth0: { network: web }".to_owned()
            } else {
                format!("eth0: {{ network: web, ip: 10.20.0.{host} }}")
            };
            let second = if it.second_nic { ", eth1: { network: back }" } else { "" };
            line("nics", Some(format!("{{ {first}{second} }}")));
            let password = if it.password { ", password: env:GUEST" } else { "" };
            line("init", it.user.map(|user| format!("{{ user: {user}{password} }}")));
        }
        text
    }
}
