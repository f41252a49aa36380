//! Fifty assorted machines, made, changed and taken away on both products with one YAML.
//!
//! Every field that the product can have is used at least twice, which is counted and not
//! believed, those that it alone has too; a second apply sends nothing that changes anything.

use super::{
    Case, On,
    lab::{Lab, Simulator, desired, products},
};
use novahost::{
    provider::{proxmox::Proxmox, vcenter::Vcenter},
    report,
};
use std::{collections::BTreeMap, fmt::Write as _};

const MACHINES: usize = 50;
/// As much as fifty machines need at a time.
const POLICY: &str =
    "policy: { budgets: { deletes: 100, replaces: 100, restarts: 100, changes: 500 } }\n";

/// What is called otherwise on the other product: all that is native in the YAML.
struct Native {
    team: &'static str,
    shared: &'static str,
    iso: &'static str,
    mac: &'static str,
}

impl On {
    fn native(self) -> Native {
        match self {
            Self::Proxmox => {
                Native { team: "{}", shared: "{}", iso: "local:iso/opnsense.iso", mac: "BC:24:11" }
            }
            Self::Vcenter => Native {
                team: "{}",
                shared: "{ folder: Tenants/others }",
                iso: "[local] iso/opnsense.iso",
                mac: "00:50:56",
            },
        }
    }
}

impl On {
    /// What only one of them has yet.
    fn snapshots(self) -> &'static str {
        match self {
            Self::Proxmox => "",
            Self::Vcenter => "\n    snapshots: { before_change: true, keep: 2 }",
        }
    }

    /// The same, of pools: who is granted something, and what.
    fn rights(self, edition: usize) -> (&'static str, String) {
        match self {
            Self::Proxmox => ("", String::new()),
            Self::Vcenter => (
                "users:\n  boss: { at: { pve: { principal: 'VSPHERE.LOCAL\\administrator' } } }\n",
                format!(", acl: [{{ user: boss, role: {} }}]", ["viewer", "operator"][edition]),
            ),
        }
    }

    /// The same, of machines that are off.
    fn of_its_own(self, edition: usize) -> String {
        match self {
            Self::Proxmox => format!(
                "\n    tags: [batch, edition-{edition}]\n    autostart: {}",
                ["true", "{ order: 2, wait: 30s }"][edition]
            ),
            Self::Vcenter => format!(
                "\n    labels: {{ tier: back, tenant: edition-{edition} }}\n    placement: {{ spread: \
                 batch }}\n    vcenter: {{ hardware_version: {}, extra_config: {{ disk.EnableUUID: \
                 \"{}\" }} }}",
                20 + edition,
                ["TRUE", "FALSE"][edition]
            ),
        }
    }

    /// The same, of a machine with an installer.
    fn of_an_installer(self, firmware: &str) -> &'static str {
        match (self, firmware) {
            (Self::Proxmox, "uefi") => "\n    tpm: true",
            (Self::Proxmox | Self::Vcenter, _) => "",
        }
    }

    /// The same, of a card.
    fn of_a_card(self, edition: usize) -> &'static str {
        match self {
            Self::Proxmox => [", vlan: 20", ", vlan: 30"][edition],
            Self::Vcenter => "",
        }
    }
}

/// The configuration; the second edition changes many fields of each machine.
fn yaml(on: On, edition: usize) -> String {
    let Native { team, shared, .. } = on.native();
    let (users, acl) = on.rights(edition);
    let more = match on {
        On::Proxmox => String::new(),
        On::Vcenter => format!("  more: {{ at: {{ pve: {{ folder: Tenants/more }} }}{acl} }}\n"),
    };
    let mut text = format!(
        "{POLICY}{users}pools:
  team: {{ comment: Edition {edition}, at: {{ pve: {team} }} }}
  others: {{ comment: Of others, at: {{ pve: {shared} }}{acl} }}
{more}vms:
"
    );
    for number in 0..MACHINES {
        let body = match number % 5 {
            0 => server(on, number, edition),
            1 => cards(on, number, edition),
            2 => installer(on, number, edition),
            3 => linked(number, edition),
            _ if on == On::Vcenter && number < 20 => set_up(number, edition),
            _ => sized(on, number, edition),
        };
        let _ = writeln!(text, "  m{number}:\n    hypervisor: pve\n{body}");
    }
    text
}

/// A guest that is told everything at its first boot.
fn server(on: On, number: usize, edition: usize) -> String {
    let ip = 100 + number + edition;
    let (data, user) = (4 + 4 * edition, ["deploy", "ops"][edition]);
    format!(
        "    image: debian
    name: server-{number}
    resources: {{ cpu: {cpu}, sockets: 2, memory: {memory}MiB, disk: 8GiB }}
    power: running
    notes: Server {number}, edition {edition}
    pool: {pool}
    disks: {{ data: {{ size: {data}GiB }} }}
    nics: {{ eth0: {{ network: web, ip: 10.20.0.{ip}, gateway: 10.20.0.1 }} }}
    init:
      hostname: server-{number}
      domain: example.net
      user: {user}
      ssh_keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJwb2pla3RlLWJpcmQtc29ueS1ub3ZhLWtleTE4 a@b\"]
      password: {{ from: env:GUEST, version: {version} }}
      dns: [10.20.0.{dns}]{snapshots}",
        snapshots = on.snapshots(),
        cpu = 2 + 2 * edition,
        memory = 512 + 256 * edition,
        pool = ["team", "others"][edition],
        version = 1 + edition,
        dns = 3 + edition,
    )
}

/// Two cards, one of them with an address and a model of its own.
fn cards(on: On, number: usize, edition: usize) -> String {
    let Native { mac, .. } = on.native();
    format!(
        "    image: debian
    plan: small
    power: {power}
    protect: {protect}
    nics:
      eth0: {{ network: {network}, ip: dhcp, mac: \"{mac}:00:00:{number:02X}\", model: {model} }}
      eth1: {{ network: back, ip: 10.30.0.{number}, gateway: 10.30.0.254 }}{snapshots}",
        snapshots = on.snapshots(),
        power = ["stopped", "running"][edition],
        protect = edition == 0,
        network = ["web", "back"][edition],
        number = number + 1,
        model = ["e1000", "vmxnet3"][edition],
    )
}

/// An empty machine with an installer.
fn installer(on: On, number: usize, edition: usize) -> String {
    let Native { iso, .. } = on.native();
    let firmware = if number % 10 == 2 { "uefi" } else { "bios" };
    let (boot, cdrom) = [("[disk, cdrom]", iso), ("[cdrom, disk]", "none")][edition];
    format!(
        "    image: installer
    firmware: {firmware}
    resources: {{ cpu: 1, memory: {memory}MiB, disk: {disk}GiB }}
    power: stopped
    boot: {boot}
    cdrom: \"{cdrom}\"
    disks: {{ boot: {{ storage: fast }}, second: {{ size: 1GiB, bus: sata, storage: fast }} }}
    nics: {{ lan: {{ network: back{card} }} }}{own}",
        card = on.of_a_card(edition),
        own = on.of_an_installer(firmware),
        memory = 512 + 512 * edition,
        disk = 2 + edition,
    )
}

/// A linked clone, with a disk that goes in the second edition and one that comes.
fn linked(number: usize, edition: usize) -> String {
    let disk =
        ["scratch: { size: 1GiB, on_remove: delete }", "kept: { size: 2GiB }"][edition.min(1)];
    format!(
        "    image: linked
    plan: small
    power: once
    notes: \"\"
    after: [m{before}]
    disks: {{ {disk} }}
    nics: {{ eth0: {{ network: web, ip: dhcp }} }}",
        before = number - 3,
    )
}

/// What is changed while it is off: everything is free then.
fn sized(on: On, number: usize, edition: usize) -> String {
    // The local storage has no room for more of them.
    let (image, disk, storage) =
        if number < 15 { ("local", 4, "local") } else { ("debian", 8, "fast") };
    format!(
        "    image: {image}
    resources: {{ cpu: {cpu}, memory: {memory}MiB, disk: {disk}GiB }}
    power: stopped
    name: {name}-{number}
    disks: {{ boot: {{ storage: {storage} }} }}{own}",
        own = on.of_its_own(edition),
        cpu = 1 + edition,
        memory = 256 + 256 * edition,
        disk = disk + edition,
        name = ["sized", "grown"][edition],
    )
}

/// A guest that the product sets up, by its own setup or by what the product keeps. It has
/// not been started yet when the second edition comes: what waits for that is not changed.
fn set_up(number: usize, edition: usize) -> String {
    let (image, setup) = match number {
        4 | 9 => (
            "windows",
            "password: env:GUEST, windows: { organization: Acme, run_once: [whoami] }, timezone: Europe/Paris",
        ),
        _ => ("debian", "customization_spec: old-linux"),
    };
    format!(
        "    image: {image}
    resources: {{ cpu: {cpu}, memory: {memory}MiB, disk: 8GiB }}
    power: stopped
    nics: {{ eth0: {{ network: web, ip: 10.20.0.{ip} }} }}
    init: {{ hostname: setup-{number}, {setup} }}",
        ip = 220 + number,
        cpu = 1 + edition,
        memory = 512 + 256 * edition,
    )
}

/// Fields that the product can have and that fewer than two machines use.
fn rare(on: On, text: &str) -> BTreeMap<String, usize> {
    let all = report::portability(&[&Proxmox, &Vcenter]);
    let column = match on {
        On::Proxmox => 0,
        On::Vcenter => 1,
    };
    let can_be_had = all.fields.into_iter().filter(|row| row.on[column].create);
    let state = desired(text, on);
    let own = products(&state);
    let own = own.iter().map(|(name, product)| (name.clone(), *product)).collect();
    let used = report::portability_of(&state, &own, &[&Proxmox, &Vcenter]);
    let count = |field: &str| {
        used.fields.iter().find(|row| row.field == field).and_then(|row| row.used).unwrap_or(0)
    };
    let counted = can_be_had.map(|row| (row.field.clone(), count(&row.field)));
    counted.filter(|(_, count)| *count < 2).collect()
}

/// What a guest is set up from: a template of a Windows, and a description that is kept.
fn prepare(server: &Simulator) {
    let Simulator::Vcenter(server) = server else { return };
    let control = server.control();
    let template = control.find_vm("tpl-debian-13").unwrap();
    let windows = control.clone_vm(&template, "tpl-windows-2022").unwrap();
    control.change_vm(&windows, |vm| {
        "windows2019srvNext_64Guest".clone_into(&mut vm.config.guest_id);
    });
    let inside = r#"<identity xsi:type="CustomizationLinuxPrep"><hostName xsi:type="CustomizationVirtualMachineName"/>
        <domain>acme.example</domain></identity><globalIPSettings/>"#;
    assert!(control.keep_spec("old-linux", "Linux", inside));
}

/// How many requests were sent that could change something.
fn mutating(lab: &Lab) -> usize {
    let one = |server: &Simulator| match server {
        Simulator::Proxmox(server) => {
            let requests = server.control().requests();
            requests.iter().filter(|it| it.method != "GET" && !it.path.contains("ticket")).count()
        }
        Simulator::Vcenter(server) => {
            let requests = server.control().requests();
            requests.iter().filter(|it| it.mutates).count()
        }
    };
    lab.servers.values().map(one).sum()
}

/// Applies, looks that nothing is left, applies again and counts.
async fn settle(lab: &Lab, text: &str, what: &str) {
    let before = mutating(lab);
    for round in 0..4 {
        let look = lab.look(text, &[]).await;
        let blocked = &look.made.plan.body.blocked;
        assert!(blocked.is_empty(), "{what}: {blocked:#?}");
        if look.made.plan.body.actions.is_empty() {
            let sent = mutating(lab);
            assert!(round > 0 && sent > before, "{what}: nothing was done");
            lab.apply(text).await.unwrap();
            assert_eq!(mutating(lab), sent, "{what}: the second apply changed something");
            return;
        }
        // Each consent is an action of its own; the first rewrites the marker.
        let done = lab.carry_out(look).await;
        assert!(done.is_ok(), "{what}: {done:?}");
    }
    panic!("{what}: it does not converge");
}

async fn fifty(on: On) {
    let [first, second] = [0, 1].map(|edition| yaml(on, edition));
    assert_eq!(rare(on, &first), BTreeMap::new(), "used less than twice");
    let case = Case { about: "fifty".into(), before: first.clone(), ..Case::default() };
    let lab = Lab::start(&case, on).await;
    lab.servers.values().for_each(prepare);
    settle(&lab, &first, "made").await;
    settle(&lab, &second, "changed").await;
    settle(&lab, POLICY, "taken away").await;
    for server in lab.servers.into_values() {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_machines_converge_on_a_cluster() {
    fifty(On::Proxmox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_fifty_machines_converge_on_a_vcenter() {
    fifty(On::Vcenter).await;
}
