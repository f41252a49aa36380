use crate::config::{Loaded, load_str};
use crate::model::{DesiredMachine, DesiredState, FieldKind, FieldPath, IpSetting, ResourceKey};
use std::collections::BTreeMap;

const HEAD: &str = "
version: 1
project: t
hypervisors:
  pve: { type: proxmox, endpoint: 'https://pve:8006', auth: { token_id: a@pve!b, token_secret: env:P } }
networks:
  web: { cidr: 10.20.0.0/24, gateway: 10.20.0.1, dns: [10.20.0.2], search: [example.net], vlan: 20, at: { pve: { bridge: vmbr0 } } }
  db: { cidr: 10.30.0.0/24, gateway: 10.30.0.1, at: { pve: { bridge: vmbr1 } } }
images:
  debian: { os: linux, init: cloud-init, firmware: uefi, at: { pve: { template: { id: 9000 } } } }
  iso: { os: bsd, at: { pve: { iso: 'local:iso/a.iso' } } }
plans: { small: { cpu: 2, memory: 2GiB, disk: 16GiB } }
";

fn load(rest: &str) -> Loaded {
    let files = BTreeMap::from([("n.yaml".to_owned(), format!("{HEAD}{rest}"))]);
    load_str(&files, "n.yaml")
}

fn desired(rest: &str) -> DesiredState {
    let loaded = load(rest);
    let problems: Vec<_> = loaded.report.iter().map(|one| &one.message).collect();
    loaded.desired.unwrap_or_else(|| panic!("{problems:?}"))
}

fn machine(fields: &str) -> DesiredMachine {
    let state = desired(&format!("vms: {{ a: {{ hypervisor: pve, {fields} }} }}\n"));
    state.machines[&ResourceKey::vm("a")].clone()
}

fn codes(rest: &str) -> Vec<&'static str> {
    load(rest).report.iter().map(|one| one.code).collect()
}

#[test]
fn a_card_takes_prefix_vlan_and_gateway_from_its_network_and_init_takes_resolvers() {
    let one = machine("image: debian, nics: { eth0: { network: web, ip: 10.20.0.7 } }");
    let nic = &one.spec.nics["eth0"];
    assert_eq!(nic.ip.map(|ip| ip.to_string()).as_deref(), Some("10.20.0.7/24"));
    assert_eq!(
        (nic.vlan, nic.gateway.map(|ip| ip.to_string())),
        (Some(20), Some("10.20.0.1".into()))
    );
    let init = one.spec.init.expect("an address is told to the guest");
    assert_eq!(init.domain.as_deref(), Some("example.net"));
    assert_eq!(init.dns.map(|dns| dns.len()), Some(1));
    let eth0 = "eth0".into();
    let gateway = FieldPath::on(FieldKind::NicGateway, &eth0);
    assert_eq!(
        one.places.iter().find(|(path, _)| *path == gateway).map(|(_, at)| at.line),
        Some(7)
    );
}

#[test]
fn a_card_by_dhcp_has_no_gateway_of_ours() {
    let one = machine("image: debian, nics: { eth0: { network: web, ip: dhcp } }");
    assert_eq!(one.spec.nics["eth0"].gateway, None);
    assert_eq!(one.spec.nics["eth0"].ip, Some(IpSetting::Dhcp));
}

#[test]
fn the_digest_changes_with_addresses_keys_and_versions_and_with_nothing_else() {
    let digest = |fields: &str| {
        let one = machine(&format!("image: debian, {fields}"));
        one.spec.init.and_then(|init| init.digest).expect("a digest")
    };
    let first = digest(
        "nics: { eth0: { network: web, ip: 10.20.0.7 } }, init: { user: a, password: secret:p }",
    );
    assert_eq!(first.len(), 32);
    let same = "init: { password: { from: secret:p, version: 1 }, user: a }, tags: [x], nics: { eth0: { ip: 10.20.0.7, network: web, model: virtio } }";
    assert_eq!(digest(same), first);
    for other in [
        "nics: { eth0: { network: web, ip: 10.20.0.8 } }, init: { user: a, password: secret:p }",
        "nics: { eth0: { network: web, ip: 10.20.0.7 } }, init: { user: b, password: secret:p }",
        "nics: { eth0: { network: web, ip: 10.20.0.7 } }, init: { user: a, password: { from: secret:p, version: 2 } }",
        "nics: { eth0: { network: web, ip: 10.20.0.7, gateway: none } }, init: { user: a, password: secret:p }",
        "nics: { eth1: { network: web, ip: 10.20.0.7 } }, init: { user: a, password: secret:p }",
    ] {
        assert_ne!(digest(other), first, "{other}");
    }
}

#[test]
fn a_machine_always_has_a_boot_disk_and_its_own_size_is_nearer_than_the_plans() {
    assert!(machine("image: debian").spec.disks.contains_key("boot"));
    let size = |fields: &str| machine(fields).spec.disks["boot"].size.map(|size| size.to_string());
    assert_eq!(size("image: debian").as_deref(), None);
    assert_eq!(size("image: debian, plan: small").as_deref(), Some("16 GiB"));
    assert_eq!(
        size("image: debian, plan: small, disks: { boot: { size: 20GiB } }").as_deref(),
        Some("20 GiB")
    );
    assert_eq!(
        size("image: debian, plan: small, disks: { boot: { storage: fast } }").as_deref(),
        Some("16 GiB")
    );
}

#[test]
fn an_installer_fills_the_drive_and_its_guest_is_told_nothing() {
    let one = machine("image: iso, plan: small, nics: { wan: { network: web, ip: 10.20.0.9 } }");
    assert_eq!(one.spec.cdrom, Some(crate::model::Cdrom::Iso("local:iso/a.iso".into())));
    assert_eq!((one.spec.init, one.spec.nics["wan"].ip), (None, None));
    let other =
        "  b: { hypervisor: pve, image: debian, nics: { e: { network: web, ip: 10.20.0.9 } } }\n";
    let both = format!(
        "vms:\n  a: {{ hypervisor: pve, image: iso, plan: small, nics: {{ w: {{ network: web, ip: 10.20.0.9 }} }} }}\n{other}"
    );
    assert_eq!(codes(&both), ["duplicate-address"]);
}

#[test]
fn places_are_sorted_and_name_profile_lines() {
    let state = desired(
        "profiles:\n  p:\n    hypervisor: pve\n    image: debian\n    tags: [x]\nvms:\n  a: { profile: p, notes: hi }\n",
    );
    let one = &state.machines[&ResourceKey::vm("a")];
    assert!(one.places.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(one.place_of(&FieldPath::of(FieldKind::Tags)).line, 17);
    assert_eq!(one.place_of(&FieldPath::of(FieldKind::Notes)).line, 19);
    assert_eq!(one.place_of(&FieldPath::of(FieldKind::Cpu)), &one.place);
}

#[test]
fn the_order_of_writing_decides_nothing() {
    let a = "  a: { hypervisor: pve, image: debian, after: [b] }\n";
    let b = "  b: { hypervisor: pve, image: debian, tags: [y, x] }\n";
    let strip = |mut state: DesiredState| {
        for machine in state.machines.values_mut() {
            machine.place.line = 0;
            machine.places.iter_mut().for_each(|(_, place)| place.line = 0);
        }
        state.machines
    };
    let one = strip(desired(&format!("vms:\n{a}{b}")));
    assert_eq!(one, strip(desired(&format!("vms:\n{b}{a}"))));
}

#[test]
fn a_chain_as_long_as_the_largest_fleet_is_no_cycle_and_does_not_end_the_stack() {
    let mut chain = String::from("vms:\n  m-0: { hypervisor: pve, image: debian }\n");
    for at in 1..3_000 {
        chain.push_str(&format!(
            "  m-{at}: {{ hypervisor: pve, image: debian, after: [m-{}] }}\n",
            at - 1
        ));
    }
    assert_eq!(codes(&chain), Vec::<&str>::new());
    let closed = chain.replace(
        "m-0: { hypervisor: pve, image: debian }",
        "m-0: { hypervisor: pve, image: debian, after: [m-2999] }",
    );
    assert_eq!(codes(&closed), ["cycle"]);
}

#[test]
fn patterns_that_wait_for_patterns_have_a_bound() {
    let many = "vms:\n  a-{1..2000}: { hypervisor: pve, image: debian, after: ['b-{1..2000}'] }\n  b-{1..2000}: { hypervisor: pve, image: debian }\n";
    assert_eq!(codes(many), ["too-large"]);
}

#[test]
fn a_name_that_is_reported_is_not_reported_again_by_those_who_use_it() {
    let broken = "pools: { p: { at: { pve: {} }, quota: {} } }\nvms: { a: { hypervisor: pve, image: debian, pool: p } }\n";
    assert_eq!(codes(broken), ["not-supported-yet"]);
}

const VC: &str = "
version: 1
project: t
hypervisors:
  pve: { type: proxmox, endpoint: 'https://pve:8006', auth: { token_id: a@pve!b, token_secret: env:P } }
  vc: { type: vcenter, endpoint: 'https://vc', auth: { username: a@b, password: env:P } }
";

fn with_vcenter(rest: &str) -> Loaded {
    let files = BTreeMap::from([("n.yaml".to_owned(), format!("{VC}{rest}"))]);
    load_str(&files, "n.yaml")
}

#[test]
fn a_grant_says_who_that_is_where_the_pool_is() {
    let users = r"users: { alice: { at: { vc: { principal: 'Corp\Alice' } } } }
";
    let pool = |at: &str, acl: &str| {
        format!("{users}pools: {{ web: {{ at: {{ {at} }}, acl: [{acl}] }} }}\n")
    };
    let alice = "{ user: alice, role: operator }";
    let loaded = with_vcenter(&pool("vc: {}", alice));
    let state = loaded.desired.expect("it is as it should be");
    let grants = &state.pools[&ResourceKey::pool("web")].acl["vc"];
    assert_eq!(grants[0].grantee.to_string(), r"CORP\alice");
    assert_eq!((grants[0].user.as_str(), grants[0].place.line), ("alice", 8));
    let codes =
        |text: &str| with_vcenter(text).report.iter().map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(codes(&pool("vc: {}, pve: {}", alice)), ["not-supported-yet"]);
    assert_eq!(codes(&pool("vc: {}", &format!("{alice}, {alice}"))), ["duplicate-grant"]);
    assert_eq!(codes(&pool("vc: {}", "{ user: bob, role: admin }")), ["unknown-user"]);
    let elsewhere = users.replace("vc:", "pve:");
    let elsewhere = pool("vc: {}", alice).replace(users, &elsewhere);
    assert!(codes(&elsewhere).contains(&"not-at-hypervisor"), "{:?}", codes(&elsewhere));
    for name in ["alice", "alice@corp", r"corp\\a b ", r"corp\\"] {
        let bad = format!("users: {{ alice: {{ at: {{ vc: {{ principal: '{name}' }} }} }} }}\n");
        assert_eq!(codes(&bad), ["invalid-value"], "{name}");
    }
}
