//! Rights on pools of a vCenter through the real binary: granted on what is ours alone, beside
//! whatever others granted, and taken away again with the line that asked for them.

use crate::scratch::{Scratch, runtime};
use mock_servers::{
    pve::Release,
    vcenter::{
        self,
        access::{ADMIN, Grant, READ_ONLY, User},
    },
};

const WORLD: &str = include_str!("../../fixtures/cases/common/vcenter-world.yaml");
const PASSWORD: &str = novahost::sandbox::PASSWORD;

const HEAD: &str = r"version: 1
project: acme
hypervisors:
  vc:
    type: vcenter
    endpoint: ENDPOINT
    tls: { ca_file: vc.pem }
    auth: { username: novahost@vsphere.local, password: env:NOVAHOST_VC_PASSWORD }
    defaults: { folder: novahost, datastore: fast }
users:
  alice: { at: { vc: { principal: 'VSPHERE.LOCAL\Alice' } } }
  bob: { at: { vc: { principal: 'vsphere.local\bob' } } }
  team: { at: { vc: { principal: 'VSPHERE.LOCAL\The Team', group: true } } }
  nobody: { at: { vc: { principal: 'VSPHERE.LOCAL\nobody' } } }
  stranger: { at: { vc: { principal: 'CORP\bob' } } }
";

struct Lab {
    runtime: tokio::runtime::Runtime,
    server: vcenter::Server,
    scratch: Scratch,
    head: String,
}

fn lab(name: &str) -> Lab {
    let runtime = runtime();
    let server = runtime.block_on(async {
        let mut options = vcenter::Options::new(7);
        options.timing = vcenter::Timing::instant();
        let mut world = vcenter::World::from_yaml(WORLD).unwrap();
        for name in ["alice", "bob"] {
            let user = User { password: "unused".to_owned(), groups: [].into() };
            world.access.users.insert(format!("VSPHERE.LOCAL\\{name}"), user);
        }
        world.access.groups.insert("VSPHERE.LOCAL\\The Team".to_owned());
        vcenter::serve(world, options).await.unwrap()
    });
    let scratch = Scratch::empty(name, Release::V9_2).unrecorded();
    let scratch = scratch.variable("NOVAHOST_VC_PASSWORD", PASSWORD);
    scratch.write("vc.pem", server.ca_pem());
    let head = HEAD.replace("ENDPOINT", &server.endpoint());
    Lab { runtime, server, scratch, head }
}

/// What somebody has on an object, by the name of the role.
type Has = Vec<(String, String)>;

fn has(all: &[(&str, &str)]) -> Has {
    all.iter().map(|(who, role)| ((*who).to_owned(), (*role).to_owned())).collect()
}

impl Lab {
    /// A pool with these grants.
    fn declare(&self, acl: &str) {
        self.declare_pools(&format!("  acme: {{ at: {{ vc: {{}} }}, acl: [{acl}] }}\n"));
    }

    fn declare_pools(&self, pools: &str) {
        self.scratch.write("novahost.yaml", &format!("{}pools:\n{pools}", self.head));
    }

    fn apply(&self) {
        self.scratch.run("apply --yes").code(0);
        self.is_quiet();
    }

    /// Nothing is left to do, and doing it sends nothing.
    fn is_quiet(&self) {
        let before = self.changes();
        self.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
        self.scratch.run("apply --yes").code(0).says("Nothing to do");
        assert_eq!(self.changes(), before);
    }

    fn places(&self) -> [String; 2] {
        let world = self.server.control().snapshot();
        ["Folder", "ResourcePool"].map(|kind| world.find(kind, "acme").unwrap().to_owned())
    }

    /// The grants on folder and resource pool, which have to be the same.
    fn granted(&self) -> Has {
        let [folder, share] = self.places().map(|id| self.granted_on(&id));
        assert_eq!(folder, share);
        folder
    }

    fn granted_on(&self, id: &str) -> Has {
        let world = self.server.control().snapshot();
        let names = |role: i32| match role {
            ADMIN => "Admin".to_owned(),
            READ_ONLY => "ReadOnly".to_owned(),
            own => world.access.roles[&own].name.clone(),
        };
        let mut all: Has = world.entities[id]
            .grants
            .iter()
            .inspect(|it| assert!(it.propagate || it.role < 0))
            .map(|it| (it.principal.clone(), names(it.role)))
            .collect();
        all.sort();
        all
    }

    /// Somebody else changes who has what there.
    fn edit(&self, change: impl Fn(&mut Vec<Grant>)) {
        for id in self.places() {
            self.server.control().edit(|world| {
                change(&mut world.entities.get_mut(&id).unwrap().grants);
            });
        }
    }

    fn role(&self, name: &str) -> i32 {
        self.server.control().snapshot().access.role_id(name).unwrap()
    }

    fn changes(&self) -> usize {
        let made = |it: &&String| {
            ["CreateFolder", "CreateResource", "SetField", "AddCustom", "Destroy_Task"]
                .iter()
                .chain(&["SetEntity", "RemoveEntity", "AddAuth", "UpdateAuth", "RemoveAuth"])
                .any(|word| it.starts_with(word))
        };
        let counts = self.server.control().counts();
        counts.iter().filter(|(method, _)| made(method)).map(|(_, times)| times).sum()
    }

    fn sent(&self, method: &str) -> usize {
        self.server.control().counts().get(method).copied().unwrap_or(0)
    }

    fn stop(self) {
        let Self { runtime, server, .. } = self;
        runtime.block_on(server.stop());
    }
}

fn grant(principal: &str, role: i32) -> Grant {
    Grant { principal: principal.to_owned(), group: false, role, propagate: true }
}

const ALICE: &str = r"VSPHERE.LOCAL\alice";
const BOB: &str = r"VSPHERE.LOCAL\bob";
const TEAM: &str = r"VSPHERE.LOCAL\The Team";

#[test]
fn what_is_granted_follows_the_file_and_leaves_others_alone() {
    let lab = lab("grants-life");
    lab.declare("{ user: alice, role: viewer }, { user: team, role: operator }");
    let ran = lab.scratch.run("plan --steps").code(0);
    ran.clone().says(r"group VSPHERE.LOCAL\the team: operator").says("role viewer");
    ran.says(r"make VSPHERE.LOCAL\alice viewer of folder acme");
    lab.apply();
    let both = has(&[(TEAM, "nh-acme-operator"), (ALICE, "nh-acme-viewer")]);
    assert_eq!(lab.granted(), both);
    let world = lab.server.control().snapshot();
    let viewer = &world.access.roles[&lab.role("nh-acme-viewer")].privileges;
    assert!(viewer.iter().all(|it| it.starts_with("System.")), "{viewer:?}");
    assert!(world.access.role_id("nh-acme-admin").is_none(), "only what is used is made");

    // Others grant something on the same place; that is theirs.
    lab.edit(|grants| grants.push(grant(r"VSPHERE.LOCAL\administrator", ADMIN)));
    lab.is_quiet();
    lab.declare("{ user: alice, role: admin }, { user: bob, role: viewer }");
    let ran = lab.scratch.run("plan").code(0);
    ran.clone().says(r"group VSPHERE.LOCAL\the team: operator").says(r"VSPHERE.LOCAL\alice: admin");
    lab.apply();
    let admin = (r"VSPHERE.LOCAL\administrator", "Admin");
    assert_eq!(lab.granted(), has(&[admin, (ALICE, "nh-acme-admin"), (BOB, "nh-acme-viewer")]));

    // What somebody takes away comes back; what somebody adds with a role of ours goes.
    let operator = lab.role("nh-acme-operator");
    lab.edit(|grants| {
        grants.retain(|it| it.principal != ALICE);
        grants.iter_mut().filter(|it| it.principal == BOB).for_each(|it| it.propagate = false);
        grants.push(Grant { group: true, ..grant(TEAM, operator) });
    });
    lab.scratch.run("drift").code(2).says("acl");
    lab.apply();
    assert_eq!(lab.granted(), has(&[admin, (ALICE, "nh-acme-admin"), (BOB, "nh-acme-viewer")]));

    // Without any line nothing of ours is left, and what others granted is.
    lab.declare_pools("  acme: { at: { vc: {} } }\n");
    lab.scratch.run("plan").code(0).says("1 to update");
    lab.apply();
    assert_eq!(lab.granted(), has(&[admin]));
    lab.stop();
}

#[test]
fn nothing_is_granted_on_what_is_not_ours() {
    let lab = lab("grants-foreign");
    let teams = "  team: { at: { vc: { folder: teams, resource_pool: team } }, acl: [ACL] }\n";
    lab.declare_pools(&teams.replace("ACL", "{ user: alice, role: viewer }"));
    let ran = lab.scratch.run("plan").code(0);
    ran.clone().says("grant-foreign").says_in_words("`teams` is there without our mark");
    ran.says("novahost.yaml:");
    lab.scratch.run("apply --yes").code(5);
    assert_eq!(lab.changes(), 0);
    // Nobody has two roles on one object, and the one of others is not replaced.
    lab.declare("");
    lab.apply();
    lab.edit(|grants| grants.push(grant(ALICE, READ_ONLY)));
    lab.declare("{ user: alice, role: operator }, { user: bob, role: viewer }");
    lab.scratch.run("plan").code(0).says_in_words("somebody gave them the role `ReadOnly`");
    lab.scratch.run("apply --yes").code(7);
    assert_eq!(lab.granted(), has(&[(ALICE, "ReadOnly"), (BOB, "nh-acme-viewer")]));
    lab.stop();
}

#[test]
fn who_is_unknown_or_would_lock_us_out_is_told_with_the_line() {
    let lab = lab("grants-people");
    lab.declare("\n    { user: nobody, role: viewer },\n    { user: stranger, role: viewer },\n    { user: bob, role: viewer }");
    let ran = lab.scratch.run("plan").code(0);
    let line = |name: &str| {
        let text = lab.scratch.read("novahost.yaml");
        let at = text.lines().position(|line| line.contains(&format!("{{ user: {name},")));
        format!("novahost.yaml:{}", at.unwrap() + 1)
    };
    ran.clone().says_in_words(r"`VSPHERE.LOCAL\nobody` is not known there").says(&line("nobody"));
    ran.says_in_words(r"`CORP\bob` is not known there").says(&line("stranger"));
    lab.scratch.run("apply --yes").code(7);
    assert_eq!(lab.granted(), has(&[(BOB, "nh-acme-viewer")]));
    // A group that our account is in: what it is granted would take the place of all we have.
    lab.server.control().edit(|world| {
        let us = world.access.users.get_mut(r"VSPHERE.LOCAL\novahost").unwrap();
        us.groups.insert(TEAM.to_owned());
    });
    lab.declare("{ user: team, role: admin }, { user: bob, role: viewer }");
    lab.scratch.run("plan").code(0).says_in_words("our own account is in");
    let before = lab.changes();
    lab.scratch.run("apply --yes").code(5);
    assert_eq!(lab.changes(), before);
    lab.stop();
}

/// Who is refused something on a pool stops nobody's machine from being born into it.
#[test]
fn machines_of_a_pool_do_not_wait_for_those_who_are_refused() {
    let lab = lab("grants-machines");
    let machine = "images:\n  debian: { os: linux, init: cloud-init, at: { vc: { template: tpl-debian-13 } } }\nvms:\n  web: { hypervisor: vc, image: debian, resources: { cpu: 1, memory: 1GiB }, pool: acme }\n";
    lab.declare("");
    lab.apply();
    lab.declare("{ user: nobody, role: viewer }");
    let text = lab.scratch.read("novahost.yaml");
    lab.scratch.write("novahost.yaml", &format!("{text}{machine}"));
    lab.scratch.run("plan").code(0).says("create vm/web").says("grantee-unknown");
    lab.scratch.run("apply --yes").code(7).says("1 done");
    assert!(lab.server.control().find_vm("web").is_some());
    lab.stop();
}

#[test]
fn a_role_that_somebody_changed_is_neither_granted_nor_written() {
    let lab = lab("grants-roles");
    lab.declare("{ user: alice, role: viewer }");
    lab.apply();
    let viewer = lab.role("nh-acme-viewer");
    lab.server.control().edit(|world| {
        let role = world.access.roles.get_mut(&viewer).unwrap();
        role.privileges.insert("VirtualMachine.Inventory.Delete".to_owned());
    });
    lab.declare("{ user: bob, role: viewer }, { user: team, role: operator }");
    let ran = lab.scratch.run("plan").code(0).says("role-changed");
    ran.says("allows VirtualMachine.Inventory.Delete by now");
    lab.scratch.run("apply --yes").code(7);
    // Who is to have nothing any more has nothing any more, whatever the role allows.
    assert_eq!(lab.granted(), has(&[(TEAM, "nh-acme-operator")]));
    assert_eq!(lab.sent("UpdateAuthorizationRole"), 0);
    let world = lab.server.control().snapshot();
    assert_eq!(world.access.roles[&viewer].privileges.len(), 4, "it is as it was left");
    // When nobody has it any more, a person removes it, and it is made anew.
    lab.server.control().edit(|world| drop(world.access.roles.remove(&viewer)));
    lab.apply();
    assert_eq!(lab.granted(), has(&[(TEAM, "nh-acme-operator"), (BOB, "nh-acme-viewer")]));
    lab.stop();
}

/// Between the role and what is granted with it, somebody changes what it is granted on: each
/// call looks right before it.
#[test]
fn what_changed_since_the_plan_is_not_granted_over() {
    let others = |world: &mut vcenter::World, id: &str| {
        world.entities.get_mut(id).unwrap().grants.push(grant(ALICE, READ_ONLY));
    };
    let unmarked = |world: &mut vcenter::World, id: &str| {
        world.entities.get_mut(id).unwrap().custom.clear();
    };
    type Change = fn(&mut vcenter::World, &str);
    let changes: [(Change, &str); 2] = [(others, "somebody gave"), (unmarked, "is not ours")];
    for (number, (change, why)) in changes.into_iter().enumerate() {
        let lab = lab(&format!("grants-race-{number}"));
        lab.declare("");
        lab.apply();
        let [folder, _] = lab.places();
        let control = lab.server.control();
        let at = folder.clone();
        lab.server.control().set_fault(Box::new(move |point| {
            if point.method == "AddAuthorizationRole" {
                let (control, at) = (control.clone(), at.clone());
                // The simulator is at work on this call: it is changed as soon as it is done.
                std::thread::spawn(move || control.edit(|world| change(world, &at)));
            }
            None
        }));
        lab.declare("{ user: alice, role: viewer }");
        lab.scratch.run("apply --yes").code(7).says(why);
        assert_eq!(lab.sent("AddAuthorizationRole"), 1);
        assert_eq!(lab.sent("SetEntityPermissions"), 0, "{why}");
        lab.stop();
    }
}

#[test]
fn what_the_account_lacks_is_told_beforehand() {
    let lab = lab("grants-rights");
    lab.declare("");
    lab.apply();
    // It may read everything, and nothing else.
    lab.server.control().edit(|world| {
        let root = world.root().to_owned();
        let grants = &mut world.entities.get_mut(&root).unwrap().grants;
        grants.iter_mut().filter(|it| !it.group).for_each(|it| it.role = READ_ONLY);
    });
    lab.declare("{ user: alice, role: viewer }");
    let ran = lab.scratch.run("plan").code(0).says("grant-refused");
    ran.clone().says("Authorization.ModifyPermissions on acme");
    ran.says("Authorization.ModifyRoles on the root folder");
    let before = lab.changes();
    lab.scratch.run("apply --yes").code(5);
    assert_eq!(lab.changes(), before);
    let ran = lab.scratch.run("doctor");
    ran.says("Authorization.ModifyPermissions").says("Authorization.ModifyRoles");
    lab.declare("");
    lab.scratch.run("doctor").says_not("Authorization.ModifyRoles");
    lab.stop();
}

/// The pool stays for what is in it, and for the entry that has its place by now.
#[test]
fn what_an_entry_granted_goes_with_it_where_the_pool_has_to_stay() {
    let lab = lab("grants-kept");
    lab.declare("{ user: alice, role: admin }, { user: team, role: viewer }");
    lab.apply();
    let [folder, share] = lab.places();
    lab.edit(|grants| grants.push(grant(BOB, READ_ONLY)));
    lab.declare_pools("  other: { at: { vc: { folder: acme, resource_pool: acme } } }\n");
    let ran = lab.scratch.run("plan").code(0);
    ran.says_in_words("nothing of it is removed").says(r"VSPHERE.LOCAL\alice: admin");
    lab.apply();
    for id in [folder, share] {
        assert_eq!(lab.granted_on(&id), has(&[(BOB, "ReadOnly")]));
    }
    lab.stop();
}

#[test]
fn two_pools_share_the_roles_of_the_project() {
    let lab = lab("grants-two");
    lab.declare_pools(
        "  acme: { at: { vc: {} }, acl: [{ user: alice, role: admin }] }\n  beta: { at: { vc: {} }, \
         acl: [{ user: alice, role: admin }, { user: bob, role: viewer }] }\n",
    );
    lab.apply();
    assert_eq!(lab.granted(), has(&[(ALICE, "nh-acme-admin")]));
    let names = lab.server.control().snapshot();
    let made: Vec<_> = names.access.roles.values().map(|it| it.name.as_str()).collect();
    assert_eq!(made.iter().filter(|it| it.starts_with("nh-acme-")).count(), 2, "{made:?}");
    // The pool goes with what was granted on it; the roles stay, for they allow nothing.
    lab.scratch.write("novahost.yaml", &lab.head);
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert!(lab.server.control().snapshot().find("Folder", "acme").is_none());
    assert!(lab.role("nh-acme-admin") > 0);
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    lab.stop();
}

#[test]
fn a_file_that_grants_what_cannot_be_is_refused_with_its_lines() {
    let lab = lab("grants-config");
    lab.declare(
        "{ user: alise, role: viewer }, { user: bob, role: viewer }, { user: bob, role: admin }",
    );
    let ran = lab.scratch.run("validate").code(3);
    ran.clone().warns("there is no user `alise`").warns("alice");
    ran.warns(r"`VSPHERE.LOCAL\bob` is granted `viewer` on this pool already");
    lab.declare("{ user: bob, role: owner }");
    lab.scratch.run("validate").code(3).warns("viewer");
    let users = "users:\n  alice: { at: { vc: { principal: 'alice@vsphere.local' } } }\n";
    let head = lab.head.split("users:").next().unwrap();
    lab.scratch.write("novahost.yaml", &format!("{head}{users}"));
    lab.scratch.run("validate").code(3).warns(r"DOMAIN\NAME");
    lab.stop();
}
