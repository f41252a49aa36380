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
        let made = |it: &&String| {
            ["Create", "SetField", "AddCustom", "Destroy_Task", "Clone", "Reconfig", "Relocate"]
                .iter()
                .any(|word| it.starts_with(word) && !it.starts_with("CreateContainerView"))
        };
        let counts = self.server.control().counts();
        counts.iter().filter(|(method, _)| made(method)).map(|(_, times)| times).sum()
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
