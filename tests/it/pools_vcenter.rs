//! Pools of a vCenter through the real binary: made with their folders and resource pools,
//! known again by their mark, and removed only when they are ours and nothing is in them.

use crate::scratch::{Scratch, runtime};
use mock_servers::{
    pve::Release,
    vcenter::{
        self,
        world::{Entity, Kind},
    },
};

const WORLD: &str = include_str!("../../fixtures/cases/common/vcenter-world.yaml");
const PASSWORD: &str = novahost::sandbox::PASSWORD;

const HEAD: &str = "version: 1
project: acme
hypervisors:
  vc:
    type: vcenter
    endpoint: ENDPOINT
    tls: { ca_file: vc.pem }
    auth: { username: novahost@vsphere.local, password: env:NOVAHOST_VC_PASSWORD }
    defaults: { folder: novahost, datastore: fast }
images:
  base: { os: linux, init: none, at: { vc: { template: tpl-debian-13 } } }
";

const POOL: &str = "pools:
  acme: { comment: Of the tenant, at: { vc: { folder: Tenants/acme } } }
  plain: { at: { vc: {} } }
";

const MACHINE: &str = "vms:
  web: { hypervisor: vc, image: base, pool: plain, resources: { cpu: 1, memory: 1GiB }, power: stopped }
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
        vcenter::serve(vcenter::World::from_yaml(WORLD).unwrap(), options).await.unwrap()
    });
    let scratch = Scratch::empty(name, Release::V9_2).unrecorded();
    let scratch = scratch.variable("NOVAHOST_VC_PASSWORD", PASSWORD);
    scratch.write("vc.pem", server.ca_pem());
    let head = HEAD.replace("ENDPOINT", &server.endpoint());
    Lab { runtime, server, scratch, head }
}

impl Lab {
    fn declare(&self, rest: &str) {
        self.scratch.write("novahost.yaml", &format!("{}{rest}", self.head));
    }

    fn find(&self, kind: &str, name: &str) -> Option<String> {
        self.server.control().snapshot().find(kind, name).map(str::to_owned)
    }

    fn changes(&self) -> usize {
        self.server.control().requests().iter().filter(|it| it.mutates).count()
    }

    fn stop(self) {
        let Self { runtime, server, .. } = self;
        runtime.block_on(server.stop());
    }
}

#[test]
fn pools_are_made_once_and_go_when_they_are_empty() {
    let lab = lab("pools-life");
    lab.declare(&format!("{POOL}{MACHINE}"));
    let ran = lab.scratch.run("plan").code(0);
    ran.clone().says("makes     attribute novahost.id, folder Tenants, folder Tenants/acme");
    ran.says("folder plain").says("resource pool");
    lab.scratch.run("apply --yes").code(0).says("Apply: 3 done");
    let acme = lab.find("Folder", "acme").unwrap();
    let plain = lab.find("ResourcePool", "plain").unwrap();
    let machine = lab.server.control().find_vm("web").unwrap();
    let world = lab.server.control().snapshot();
    assert_eq!(world.vm(&machine).unwrap().pool.as_ref(), Some(&plain));
    assert_eq!(world.entities[&machine].parent, lab.find("Folder", "plain"));
    let before = lab.changes();
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do. 3 unchanged.");
    lab.scratch.run("apply --yes").code(0).says("Nothing to do");
    assert_eq!(lab.changes(), before, "a second apply sends nothing");
    lab.scratch.run("get pools").code(0).says("Of the tenant");

    // What somebody put into it keeps it, whatever is allowed.
    lab.server.control().edit(|world| {
        let holds = ["Folder", "VirtualMachine", "VirtualApp"].map(str::to_owned);
        world.add("group", Entity::new("inner", Some(&acme), Kind::Folder(holds.into())));
    });
    lab.declare("");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9 --confirm vm/web").code(7);
    assert!(lab.find("Folder", "acme").is_some() && lab.find("Folder", "inner").is_some());
    assert!(lab.find("Folder", "plain").is_none() && lab.find("ResourcePool", "plain").is_none());
    assert!(lab.server.control().find_vm("web").is_none());
    let inner = lab.find("Folder", "inner").unwrap();
    lab.server.control().edit(|world| drop(world.entities.remove(&inner)));
    // A delete waits for its consent.
    lab.scratch.run("apply --yes").code(0).says("1 waiting");
    assert!(lab.find("Folder", "acme").is_some());
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert!(lab.find("Folder", "acme").is_none(), "it is gone");
    assert!(lab.find("Folder", "Tenants").is_some(), "what others may use stays");
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    lab.stop();
}

#[test]
fn what_was_there_is_used_and_never_removed() {
    let lab = lab("pools-foreign");
    lab.declare(
        "pools:\n  team: { comment: Ours?, at: { vc: { folder: teams, resource_pool: team } } }\n",
    );
    let ran = lab.scratch.run("plan --detailed-exitcode").code(0);
    ran.clone().says("`teams` exists on vc without our mark: used for membership only");
    let before = lab.changes();
    lab.scratch.run("apply --yes").code(0);
    lab.declare("");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert_eq!(lab.changes(), before);
    assert!(lab.find("Folder", "teams").is_some() && lab.find("ResourcePool", "team").is_some());
    // A mark that somebody copied to it does not make it ours either.
    lab.declare(POOL);
    lab.scratch.run("apply --yes").code(0).says("2 done");
    let (from, to) = (lab.find("Folder", "acme").unwrap(), lab.find("Folder", "teams").unwrap());
    lab.server.control().edit(|world| {
        let custom = world.entities[&from].custom.clone();
        world.entities.get_mut(&to).unwrap().custom = custom;
    });
    lab.declare("");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert!(lab.find("Folder", "acme").is_none() && lab.find("Folder", "teams").is_some());
    lab.stop();
}

#[test]
fn a_pool_that_could_not_be_marked_is_not_made() {
    let lab = lab("pools-rights");
    lab.server.control().edit(|world| {
        let all = ["Folder.Create", "Resource.CreatePool", "Global.SetCustomField"];
        let id = world.access.add_role("most", all.map(str::to_owned).into());
        let root = world.root().to_owned();
        let grants = &mut world.entities.get_mut(&root).unwrap().grants;
        let ours = grants.iter_mut().find(|it| it.principal.ends_with("novahost")).unwrap();
        ours.role = id;
    });
    lab.declare(POOL);
    let ran = lab.scratch.run("plan").code(0);
    ran.says("Global.ManageCustomFields on the root folder").says("[pool-missing]");
    lab.scratch.run("apply --yes").code(5);
    assert_eq!(lab.changes(), 0);
    assert!(lab.find("Folder", "acme").is_none());
    lab.stop();
}

const RENAMED: &str = "pools:
  fresh: { at: { vc: { folder: Tenants/acme } } }
vms:
  web: { hypervisor: vc, image: base, pool: fresh, resources: { cpu: 1, memory: 1GiB }, power: stopped }
";

/// The place of a pool that is called otherwise is not removed while machines are born into it.
#[test]
fn a_pool_that_is_renamed_keeps_its_place() {
    let lab = lab("pools-renamed");
    lab.declare(ONE);
    lab.scratch.run("apply --yes").code(0);
    let acme = lab.find("Folder", "acme").unwrap();
    lab.declare(RENAMED);
    let plan = lab.scratch.run("plan").code(0).says("1 to create").says_not("delete").fits();
    let plan = plan.says_in_words("pool/acme: `Tenants/acme` on vc bears its mark");
    plan.says_in_words("bears the mark of pool/acme: used for membership only");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert_eq!(lab.find("Folder", "acme"), Some(acme.clone()));
    let web = lab.server.control().find_vm("web").unwrap();
    assert_eq!(lab.server.control().snapshot().entities[&web].parent, Some(acme.clone()));
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    // So does one below which another is to be.
    lab.declare("pools:\n  below: { at: { vc: { folder: Tenants/acme/below } } }\n");
    lab.scratch.run("plan --target pool/below").code(0).says_not("to delete");
    // So does one that machines in no pool are to be in.
    lab.scratch
        .write("novahost.yaml", &lab.head.replace("folder: novahost", "folder: Tenants/acme"));
    let plan = lab.scratch.run("plan --target pool/acme").code(0).says_not("to delete");
    plan.says_in_words("what is in no pool is there now");
    // Nobody names it any more: it is ours still, by its mark, and goes with consent.
    lab.declare("");
    lab.scratch.run("plan --target pool/acme").code(0).says("pool/acme");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert_eq!(lab.find("Folder", "acme"), None);
    lab.stop();
}

#[test]
fn a_machine_whose_entry_names_no_pool_stays_and_keeps_the_pool() {
    let lab = lab("pools-stay");
    lab.declare(&format!("{POOL}{MACHINE}"));
    lab.scratch.run("apply --yes").code(0);
    lab.declare(&MACHINE.replace(" pool: plain,", ""));
    let plan = lab.scratch.run("plan").code(0).says("[pool-not-empty]").fits();
    plan.says_in_words("pool `plain` on vc still holds vm/web").says_in_words("names no pool");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(7);
    assert!(lab.find("Folder", "plain").is_some());
    let told = lab.scratch.run("describe pool/plain").code(0).fits();
    let told = told.says_in_words("1 guest, mark of pool/plain").says("folder plain");
    told.says("blocked [pool-not-empty]").says("help:");
    lab.stop();
}

#[test]
fn a_place_that_the_yaml_changed_is_no_drift() {
    let lab = lab("pools-moved");
    lab.declare(&format!("{POOL}{MACHINE}"));
    lab.scratch.run("apply --yes").code(0);
    let moved =
        POOL.replace("plain: { at: { vc: {} } }", "plain: { at: { vc: { folder: other } } }");
    lab.declare(&format!("{moved}{MACHINE}"));
    let told = lab.scratch.run("drift").code(2).says("vm/web");
    told.says("[config-changed] vm/web").says_not("[drift]");
    lab.stop();
}

/// Several pools need the attribute, and any of them, or somebody else, makes it first.
#[test]
fn an_attribute_that_is_there_by_now_is_what_was_wanted() {
    let lab = lab("pools-at-once");
    lab.declare(ONE);
    let mut before = true;
    lab.server.control().set_fault(Box::new(move |point| {
        let first = point.method == "AddCustomFieldDef" && std::mem::take(&mut before);
        first.then(|| vcenter::Fault::Deed(vcenter::Deed::DefineField("novahost.id".to_owned())))
    }));
    lab.scratch.run("apply --yes").code(0).says("Apply: 1 done").says_not("refused");
    let made = lab.server.control().counts().get("AddCustomFieldDef").copied();
    assert_eq!(made, Some(1), "it was asked for, and refused");
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    lab.stop();
}

const ONE: &str = "pools:\n  acme: { at: { vc: { folder: Tenants/acme } } }\n";

/// Who made what is there after a lost reply, nobody knows.
#[test]
fn after_a_lost_reply_nothing_is_marked() {
    let lab = lab("pools-lost");
    lab.declare(ONE);
    let mut made = 0;
    lab.server.control().set_fault(Box::new(move |point| {
        made += u32::from(point.method == "CreateFolder");
        // The first one is the folder above, which is marked by nobody.
        (point.method == "CreateFolder" && made == 2).then_some(vcenter::Fault::DropAfter)
    }));
    let ran = lab.scratch.run("apply --yes").code(7);
    ran.says("no reply says that this run made it");
    lab.server.control().clear_fault();
    let acme = lab.find("Folder", "acme").expect("it was made");
    assert!(lab.server.control().snapshot().entities[&acme].custom.is_empty());
    let ran = lab.scratch.run("plan --detailed-exitcode").code(0);
    ran.says("without our mark");
    lab.declare("");
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert_eq!(lab.find("Folder", "acme"), Some(acme), "and removed by nobody");
    lab.stop();
}

const SHARED: &str = "pools:
  app: { at: { vc: { folder: Shared, resource_pool: /app } } }
  db: { at: { vc: { folder: Shared, resource_pool: /db } } }
  inner: { at: { vc: { folder: Shared/inner } } }
vms:
  web: { hypervisor: vc, image: base, pool: db, resources: { cpu: 1, memory: 1GiB }, power: stopped }
";

/// One object bears one mark: the folder is the first pool's, and on the way of the others.
#[test]
fn a_folder_that_pools_share_is_made_once_by_the_one_whose_it_is() {
    let lab = lab("pools-shared");
    lab.declare(SHARED);
    lab.scratch.run("apply --yes").code(0).says("Apply: 4 done");
    let shared = lab.find("Folder", "Shared").unwrap();
    let bears = |id: &str| {
        let world = lab.server.control().snapshot();
        world.entities[id].custom.values().cloned().collect::<Vec<_>>().join("\n")
    };
    assert!(bears(&shared).contains("key=pool/app "), "{}", bears(&shared));
    for (kind, name, key) in
        [("ResourcePool", "app", "app"), ("ResourcePool", "db", "db"), ("Folder", "inner", "inner")]
    {
        let mark = bears(&lab.find(kind, name).unwrap());
        assert!(mark.contains(&format!("key=pool/{key} ")), "{name}: {mark}");
    }
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do. 4 unchanged.");
    // The pool whose folder it is goes; others have it still.
    lab.declare(
        &SHARED.replace("  app: { at: { vc: { folder: Shared, resource_pool: /app } } }\n", ""),
    );
    lab.scratch.run("apply --yes --allow delete --expect-shrink 9").code(0);
    assert_eq!(lab.find("Folder", "Shared"), Some(shared));
    lab.stop();
}

/// Each has on its way what is the other's own: they do not wait for each other.
#[test]
fn pools_that_go_through_each_other_are_both_made() {
    let lab = lab("pools-crossed");
    lab.declare(
        "pools:
  app: { at: { vc: { folder: New, resource_pool: /Some/app } } }
  db: { at: { vc: { folder: New/db, resource_pool: /Some } } }
",
    );
    lab.scratch.run("plan --detailed-exitcode").code(2).says_not("wait for each other");
    // Whoever comes second finds its own there by then, as a way of the first; the next plan goes
    // on from that.
    lab.scratch.run("apply --yes").code(7);
    lab.scratch.run("apply --yes").code(0);
    for (kind, name) in
        [("Folder", "New"), ("Folder", "db"), ("ResourcePool", "Some"), ("ResourcePool", "app")]
    {
        assert!(lab.find(kind, name).is_some(), "{kind} {name}");
    }
    lab.scratch.run("plan --detailed-exitcode").code(0).says("2 unchanged");
    lab.stop();
}
