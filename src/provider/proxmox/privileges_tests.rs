//! Needs, what is held, and the commands between the two.

use super::*;
use crate::{
    config,
    model::{
        Device, FailureKind, HypervisorInventory, MachineSpec, Marker, MarkerState, ObservedPool,
        ResourceKey, Stage,
    },
    provider::proxmox::wire::Flag,
};

const HEAD: &str = "version: 1
project: acme
hypervisors:
  pve: { type: proxmox, endpoint: \"https://127.0.0.1:8006\", auth: { token_id: n@pve!t, token_secret: env:T }, defaults: { storage: fast } }
networks:
  lan: { at: { pve: { bridge: vmbr0 } } }
  back: { vlan: 30, at: { pve: { bridge: vmbr1 } } }
images:
  clone: { os: linux, init: cloud-init, at: { pve: { template: { id: 9000 } } } }
  iso: { os: linux, init: none, at: { pve: { iso: \"local:iso/x.iso\" } } }
";

fn desired(rest: &str) -> DesiredState {
    let files = [("novahost.yaml".to_owned(), format!("{HEAD}{rest}"))].into();
    let loaded = config::load_str(&files, "novahost.yaml");
    loaded.desired.unwrap_or_else(|| panic!("{:?}", loaded.report.iter().collect::<Vec<_>>()))
}

fn nothing() -> HypervisorInventory {
    HypervisorInventory::failed("", FailureKind::Unreachable)
}

fn machine(id: &str, key: Option<&str>, template: bool) -> ObservedMachine {
    let marker = key.map(|key| Marker {
        project: "acme".into(),
        key: ResourceKey::vm(key),
        uuid: None,
        id: Some(id.into()),
        stage: Stage::Ready,
        intent: uuid::Uuid::from_u128(1),
        init: None,
        protect: false,
        mac: None,
        map: crate::model::DeviceMap::default(),
    });
    ObservedMachine {
        id: id.into(),
        node: None,
        uuid: None,
        template,
        snapshots: Vec::new(),
        hot: [].into(),
        power: PowerState::Running,
        lock: None,
        marker: marker.map_or(MarkerState::None, |it| MarkerState::Found(Box::new(it))),
        bulk_mark: false,
        spec: MachineSpec::default(),
        next: None,
        devices: Vec::new(),
        known_labels: [].into(),
        setup_waits: false,
        addresses: Vec::new(),
    }
}

fn names(needs: &BTreeSet<Need>) -> BTreeSet<&'static str> {
    needs.iter().map(|need| need.privilege).collect()
}

fn needs_of(rest: &str, seen: &HypervisorInventory) -> BTreeSet<Need> {
    needs(&desired(rest), &"pve".into(), seen)
}

fn has(needs: &BTreeSet<Need>, privilege: &str, at: &[&str]) -> bool {
    needs.iter().any(|need| need.privilege == privilege && need.at == at)
}

#[test]
fn the_role_is_sorted_and_says_what_each_is_for() {
    let sorted = ROLE.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(sorted && ROLE.iter().all(|(_, why)| !why.is_empty()));
    let known = DANGERS.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(known, "dangers are sorted, each once");
}

#[test]
fn a_project_without_machines_needs_only_to_see() {
    let needs = needs_of("", &nothing());
    assert_eq!(names(&needs), ["Sys.Audit", "VM.Audit"].into());
    assert!(has(&needs, "VM.Audit", &["/vms/*"]));
    assert!(has(&needs, "Sys.Audit", &["/"]) && has(&needs, "Sys.Audit", &["/access"]));
}

#[test]
fn each_declared_thing_brings_its_own_needs_and_no_others() {
    let plain = "vms:\n  a: { hypervisor: pve, image: clone, resources: { cpu: 1 }, power: stopped";
    let base = names(&needs_of(&format!("{plain} }}\n"), &nothing()));
    for absent in ["Pool.Allocate", "Sys.Modify", "SDN.Use", "VM.PowerMgmt", "VM.Config.Memory"] {
        assert!(!base.contains(absent), "{absent}");
    }
    let with = |more: &str, rest: &str| {
        let all = names(&needs_of(&format!("{plain}, {more} }}\n{rest}"), &nothing()));
        all.difference(&base).copied().collect::<Vec<_>>()
    };
    assert_eq!(with("autostart: true", ""), Vec::<&str>::new());
    assert_eq!(with("autostart: { order: 1 }", ""), ["Sys.Modify"]);
    assert_eq!(
        with("pool: p", "pools:\n  p: { at: { pve: {} } }\n"),
        ["Pool.Allocate", "Pool.Audit"]
    );
    assert_eq!(with("cdrom: \"local:iso/x.iso\"", ""), ["VM.Config.CDROM"]);
    // An image that reads first-boot configuration gets it with its first card.
    assert_eq!(
        with("nics: { e: { network: lan, ip: none } }", ""),
        ["SDN.Use", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Config.Network"]
    );
}

#[test]
fn needs_say_where() {
    let rest = "pools:\n  p: { at: { pve: {} } }\nvms:
  a: { hypervisor: pve, image: clone, pool: p, nics: { e: { network: back, ip: none } } }
  b: { hypervisor: pve, image: iso, resources: { cpu: 1, memory: 1GiB, disk: 4GiB }, proxmox: { vmid: 20500 } }\n";
    let mut seen = nothing();
    seen.machines.insert("9000".into(), machine("9000", None, true));
    let needs = needs_of(rest, &seen);
    // Before its birth a machine's rights come from its pool as well.
    assert!(has(&needs, "VM.Allocate", &["/vms/*", "/pool/p"]), "{needs:#?}");
    assert!(has(&needs, "VM.Allocate", &["/vms/20500"]));
    assert!(has(&needs, "VM.Clone", &["/vms/9000"]));
    assert!(has(&needs, "SDN.Use", &["/sdn/zones/localnetwork/vmbr1/30"]));
    assert!(has(&needs, "Datastore.AllocateSpace", &["/storage/fast"]));
    assert!(has(&needs, "Datastore.Audit", &["/storage/local"]));
    // Once it is there, they come from itself.
    seen.machines.insert("20001".into(), machine("20001", Some("a"), false));
    let needs = needs_of(rest, &seen);
    assert!(has(&needs, "VM.Allocate", &["/vms/20001"]));
    assert!(!has(&needs, "VM.Allocate", &["/vms/*", "/pool/p"]));
}

#[test]
fn what_the_yaml_no_longer_has_must_still_be_deleted() {
    let mut seen = nothing();
    seen.machines.insert("20001".into(), machine("20001", Some("old"), false));
    seen.machines.insert("101".into(), machine("101", None, false));
    let pool = ObservedPool {
        marker: machine("left", Some("left"), false).marker,
        ..ObservedPool::default()
    };
    seen.pools.insert("left".into(), pool);
    seen.pools.insert("other".into(), ObservedPool::default());
    let needs = needs_of("", &seen);
    for privilege in ["VM.Allocate", "VM.Config.Options", "VM.PowerMgmt"] {
        assert!(has(&needs, privilege, &["/vms/20001"]), "{privilege}");
    }
    assert!(has(&needs, "Pool.Allocate", &["/pool/left"]));
    assert!(!needs.iter().any(|it| it.at.contains(&"/pool/other".to_owned())));
    assert!(!needs.iter().any(|it| it.at.contains(&"/vms/101".to_owned())));
}

#[test]
fn a_first_boot_drive_that_the_template_brings_is_not_made() {
    let rest = "vms:\n  a: { hypervisor: pve, image: clone, init: { user: me } }\n";
    let mut seen = nothing();
    let mut template = machine("9000", None, true);
    seen.machines.insert("9000".into(), template.clone());
    assert!(names(&needs_of(rest, &seen)).contains("VM.Config.Cloudinit"));
    template.devices.push(Device {
        slot: "ide2".into(),
        kind: DeviceKind::Seed,
        volume: None,
        storage: None,
        size: None,
        linked: false,
        mac: None,
        network: None,
        vlan: None,
    });
    seen.machines.insert("9000".into(), template);
    let all = names(&needs_of(rest, &seen));
    assert!(!all.contains("VM.Config.Cloudinit") && !all.contains("VM.Config.CDROM"));
    assert!(all.contains("VM.Config.Network"));
}

struct World {
    identity: &'static str,
    separated: Option<bool>,
    permissions: Permissions,
    acl: Vec<AclRow>,
    groups: BTreeSet<String>,
    roles: BTreeMap<String, bool>,
}

impl World {
    fn new(identity: &'static str) -> Self {
        let roles = [("Ours", false), ("PVEAuditor", true), ("NovahostProvisioner", false)];
        Self {
            identity,
            separated: Some(true),
            permissions: Permissions::new(),
            acl: Vec::new(),
            groups: ["ops".to_owned()].into(),
            roles: roles.map(|(name, special)| (name.to_owned(), special)).into(),
        }
    }

    fn holds(mut self, path: &str, privileges: &[(&str, bool)]) -> Self {
        let at = privileges.iter().map(|(name, spreads)| ((*name).to_owned(), Flag(*spreads)));
        self.permissions.insert(path.into(), at.collect());
        self
    }

    fn row(mut self, path: &str, kind: &str, ugid: &str, roleid: &str) -> Self {
        let text = |text: &str| text.to_owned();
        let row =
            AclRow { path: text(path), kind: text(kind), ugid: text(ugid), roleid: text(roleid) };
        self.acl.push(row);
        self
    }

    fn account(&self) -> Account<'_> {
        Account {
            identity: self.identity,
            separated: self.separated,
            permissions: &self.permissions,
            acl: &self.acl,
            groups: Some(&self.groups),
            roles: &self.roles,
        }
    }

    fn may(&self, privilege: &'static str, at: &[&str]) -> bool {
        let at = at.iter().map(|at| (*at).to_owned()).collect();
        self.account().may(&Need { privilege, at })
    }

    fn grants(&self, privilege: &'static str, at: &str) -> Vec<String> {
        let need = Need { privilege, at: vec![at.to_owned()] };
        grants(&[&need], &self.account())
    }
}

#[test]
fn what_holds_at_a_path_is_inherited_or_replaced() {
    let it = World::new("n@pve!t")
        .holds("/", &[("VM.Audit", true), ("Sys.Audit", false)])
        .holds("/vms/100", &[("VM.Clone", false)])
        .row("/vms/200", "token", "n@pve!t", "NoAccess");
    assert!(it.may("VM.Audit", &["/vms/*"]) && it.may("VM.Audit", &["/vms/7"]));
    assert!(it.may("Sys.Audit", &["/"]) && !it.may("Sys.Audit", &["/access"]));
    // A row replaces what is inherited, also with nothing.
    assert!(it.may("VM.Clone", &["/vms/100"]) && !it.may("VM.Audit", &["/vms/100"]));
    assert!(!it.may("VM.Audit", &["/vms/200"]));
    // Any one of the places will do.
    assert!(it.may("VM.Clone", &["/vms/*", "/vms/100"]));
    // What does not spread says nothing of what is below.
    let it = World::new("n@pve").holds("/vms", &[("VM.Audit", false)]);
    assert!(it.may("VM.Audit", &["/vms"]) && !it.may("VM.Audit", &["/vms/*"]));
}

#[test]
fn a_bridge_of_another_zone_is_found() {
    let it = World::new("n@pve").holds("/sdn/zones/office/vnet1", &[("SDN.Use", true)]);
    assert!(it.may("SDN.Use", &["/sdn/zones/localnetwork/vnet1"]));
    assert!(!it.may("SDN.Use", &["/sdn/zones/localnetwork/vnet2"]));
}

#[test]
fn a_role_that_can_be_changed_is_widened() {
    let it = World::new("n@pve!t")
        .row("/", "user", "n@pve", "Ours")
        .row("/", "token", "n@pve!t", "Ours");
    let wanted = ["pveum role modify Ours --append 1 --privs \"VM.Clone\""];
    assert_eq!(it.grants("VM.Clone", "/vms/*"), wanted);
}

#[test]
fn a_built_in_role_gets_another_one_beside_it_for_user_and_token() {
    let mut it = World::new("n@pve!t").row("/", "user", "n@pve", "PVEAuditor").row(
        "/",
        "token",
        "n@pve!t",
        "PVEAuditor",
    );
    let rows = |it: &World| it.grants("VM.Clone", "/vms/*");
    assert_eq!(
        rows(&it),
        [
            "pveum role add NovahostMore --privs \"VM.Clone\"",
            "pveum acl modify / --users n@pve --roles NovahostMore",
            "pveum acl modify / --tokens 'n@pve!t' --roles NovahostMore",
        ]
    );
    // A token without rights of its own has its user's.
    it.separated = Some(false);
    assert_eq!(rows(&it).len(), 2);
    // With no role of that name yet, it is the one of the README.
    it.roles.remove("NovahostProvisioner");
    assert_eq!(rows(&it)[0], "pveum role add NovahostProvisioner --privs \"VM.Clone\"");
}

#[test]
fn rights_are_added_where_the_rows_are_and_to_the_group_that_has_them() {
    let it = World::new("n@pve")
        .row("/", "group", "ops", "PVEAuditor")
        .row("/vms", "group", "others", "PVEAuditor")
        .row("/storage/fast", "user", "n@pve", "PVEAuditor");
    // A row of the user's own would take away what the group gives.
    let line = |privilege, at: &str| it.grants(privilege, at)[1].clone();
    assert_eq!(
        line("VM.Clone", "/vms/9000"),
        "pveum acl modify / --groups ops --roles NovahostMore"
    );
    assert_eq!(
        line("Datastore.Audit", "/storage/fast"),
        "pveum acl modify /storage/fast --users n@pve --roles NovahostMore"
    );
}

#[test]
fn names_from_the_server_stay_words_of_the_shell() {
    let mut it = World::new("n@pve").row("/", "user", "n@pve", "x; rm -rf '/'");
    it.roles.insert("x; rm -rf '/'".into(), false);
    let line = &it.grants("VM.Clone", "/vms/*")[0];
    assert_eq!(line, r#"pveum role modify 'x; rm -rf '\''/'\''' --append 1 --privs "VM.Clone""#);
}

#[test]
fn what_is_too_much_is_told_dangers_first_and_root_is_not_bound() {
    let it = World::new("n@pve")
        .holds("/", &[("VM.Audit", true), ("VM.Backup", true), ("Permissions.Modify", true)])
        .row("/", "user", "n@pve", "Ours");
    let needs = [Need { privilege: "VM.Audit", at: vec!["/vms/*".into()] }].into();
    let all = excess(&needs, &it.account());
    let all: Vec<_> = all.iter().map(|it| (it.privilege.as_str(), it.danger.is_some())).collect();
    assert_eq!(all, [("Permissions.Modify", true), ("VM.Backup", false)]);
    let command = trim(&needs, &it.account()).unwrap();
    assert_eq!(command, "pveum role modify Ours --privs \"VM.Audit\"");
    let built_in = World::new("n@pve").row("/", "user", "n@pve", "PVEAuditor");
    assert_eq!(trim(&needs, &built_in.account()), None);
    let root = |identity, separated| {
        let world = World { separated, ..World::new(identity) };
        world.account().is_root()
    };
    assert!(root("root@pam", None) && root("root@pam!x", Some(false)));
    assert!(!root("root@pam!x", Some(true)) && !root("n@pve", None));
}

#[test]
fn many_places_of_one_privilege_are_one_line() {
    let at = |id: u32| Need { privilege: "VM.Clone", at: vec![format!("/vms/{id}")] };
    let all: Vec<Need> = (1..=5).map(at).collect();
    let lines = told(&all.iter().collect::<Vec<_>>());
    assert_eq!(lines, ["VM.Clone on `/vms/1`, `/vms/2`, `/vms/3`, 2 more: to clone templates"]);
}
