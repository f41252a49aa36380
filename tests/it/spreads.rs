//! `placement.spread` through the real binary, over a bundled vCenter.

use crate::scratch::{Scratch, runtime};
use mock_servers::{
    pve::Release,
    vcenter::{self, world::Rule},
};

const WORLD: &str = include_str!("../../fixtures/worlds/vcenter.yaml");
const HEAD: &str = r#"version: 1
project: apart
hypervisors:
  vc-lyon:
    type: vcenter
    endpoint: ENDPOINT
    tls: { ca_file: vc.pem }
    auth: { username: novahost@vsphere.local, password: env:NOVAHOST_VC_PASSWORD }
    defaults: { datacenter: DC0, cluster: DC0_C0, datastore: fast, folder: novahost }
networks:
  lan: { at: { vc-lyon: { portgroup: VM Network } } }
images:
  base: { os: linux, init: none, at: { vc-lyon: { template: tpl-debian-13, clone: full } } }
"#;

struct Lab {
    runtime: tokio::runtime::Runtime,
    server: vcenter::Server,
    scratch: Scratch,
}

fn lab(name: &str, switches: vcenter::Switches) -> Lab {
    let runtime = runtime();
    let mut options = vcenter::Options::new(7);
    options.timing = vcenter::Timing::fast();
    options.switches = switches;
    let world = vcenter::World::from_yaml(WORLD).unwrap();
    let server = runtime.block_on(vcenter::serve(world, options)).unwrap();
    let scratch = Scratch::empty(name, Release::V9_2).unrecorded();
    let scratch = scratch.variable("NOVAHOST_VC_PASSWORD", novahost::sandbox::PASSWORD);
    scratch.write("vc.pem", server.ca_pem());
    Lab { runtime, server, scratch }
}

impl Lab {
    /// The entries `web-1` to `web-N`, kept apart, and one that is not.
    fn declare(&self, machines: usize, placement: &str) {
        let mut text = HEAD.replace("ENDPOINT", &self.server.endpoint());
        text.push_str("vms:\n");
        let entry = |name: &str, placement: &str| {
            format!(
                "  {name}: {{ hypervisor: vc-lyon, image: base, nics: {{ eth0: {{ network: lan }} }}, \
                 power: stopped{placement} }}\n"
            )
        };
        for n in 1..=machines {
            text.push_str(&entry(&format!("web-{n}"), placement));
        }
        text.push_str(&entry("other", ""));
        self.scratch.write("novahost.yaml", &text);
    }

    fn rules(&self) -> Vec<Rule> {
        self.server.control().inspect(|world| world.rules.values().flatten().cloned().collect())
    }

    fn edit(&self, change: impl FnOnce(&mut Rule)) {
        self.server.control().edit(|world| {
            change(world.rules.values_mut().flatten().next().unwrap());
        });
    }

    fn settled(&self) {
        self.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    }

    fn stop(self) {
        self.runtime.block_on(self.server.stop());
    }
}

const SPREAD: &str = ", placement: { spread: web }";

#[test]
fn machines_are_kept_apart_and_no_longer() {
    for switches in [vcenter::Switches::default(), vcenter::Switches::flipped()] {
        let lab = lab("spread-life", switches);
        lab.declare(3, SPREAD);
        let plan = lab.scratch.run("plan").code(0);
        plan.says("spread/web").says("web-1, web-2, web-3").says("Plan: 5 to create");
        lab.scratch.run("apply --yes").code(0).says("Apply: 5 done");
        let [rule] = &lab.rules()[..] else { panic!("{:?}", lab.rules()) };
        let told = (rule.name.as_str(), rule.vms.len(), rule.enabled, rule.mandatory);
        assert_eq!(told, ("nh-apart-web", 3, true, false));
        lab.settled();
        // Somebody takes one out, and switches it off.
        lab.edit(|rule| {
            rule.vms.pop();
            rule.enabled = false;
        });
        lab.scratch.run("drift").code(2).says("spread/web").says("enabled");
        lab.scratch.run("apply --yes").code(0).says("Apply: 1 done");
        let [rule] = &lab.rules()[..] else { panic!("{:?}", lab.rules()) };
        assert!(rule.vms.len() == 3 && rule.enabled);
        // A machine that goes leaves its rule by itself.
        lab.declare(2, SPREAD);
        lab.scratch.run("apply --yes --allow delete").code(0).says("Apply: 1 done");
        lab.settled();
        // It is known by its name when there is nothing to do about it, too.
        lab.scratch.run("plan --target spread/web").code(0).says("Nothing to do");
        let row = lab.scratch.run("get spreads").code(0).says("in force").fits();
        row.says("vm/web-1, vm/web-2");
        let told = lab.scratch.run("describe spread/web").code(0).fits();
        told.says_in_words("in force: vm/web-1, vm/web-2").says("nothing to do");
        let told = lab.scratch.run("describe web-1").code(0);
        told.says_in_words("spread/web on DC0_C0: in force, from vm/web-2");
        lab.scratch.run("describe spread/none").code(1).warns("get spreads");
        // One alone is apart from nobody.
        lab.declare(1, SPREAD);
        let plan = lab.scratch.run("plan --target spread/web").code(0);
        plan.says_in_words("fewer than two machines are left to keep apart");
        lab.declare(2, "");
        lab.scratch.run("apply --yes").code(0).says("1 waiting");
        assert_eq!(lab.rules().len(), 1, "nothing goes unasked");
        lab.scratch.run("apply --yes --allow delete").code(0).says("Apply: 1 done");
        assert!(lab.rules().is_empty());
        lab.settled();
        lab.stop();
    }
}

#[test]
fn a_rule_of_our_name_that_is_not_ours_is_left_and_said() {
    let lab = lab("spread-foreign", vcenter::Switches::default());
    lab.declare(2, SPREAD);
    lab.scratch.run("apply --yes").code(0);
    let legacy = lab.server.control().find_vm("legacy-db").unwrap();
    lab.edit(|rule| rule.vms.push(legacy));
    let before = lab.rules();
    let plan = lab.scratch.run("plan").code(0);
    plan.says("[impostor]").says_in_words("machines of others are in it");
    lab.scratch.run("apply --yes --allow delete").code(5);
    lab.declare(2, "");
    lab.scratch.run("plan").code(0).says_in_words("is left alone");
    lab.scratch.run("apply --yes --allow delete").code(0);
    assert_eq!(lab.rules(), before);
    lab.stop();
}

/// What is not there yet, and cannot be, is no reason to keep the others together.
#[test]
fn a_machine_that_is_blocked_holds_its_rule_up_and_removes_nothing() {
    let lab = lab("spread-blocked", vcenter::Switches::default());
    lab.declare(2, SPREAD);
    // Its name is taken, or no host is large enough: it cannot be born.
    let whole = lab.scratch.read("novahost.yaml");
    let huge = "  web-2: { resources: { cpu: 1, memory: 900GiB },";
    for (name, entry) in [("old-print", "  old-print: {"), ("web-2", huge)] {
        lab.scratch.write("novahost.yaml", &whole.replace("  web-2: {", entry));
        let plan = lab.scratch.run("plan").code(0);
        let plan = plan.says("create spread/web on vc-lyon [dependency]");
        plan.says_in_words(&format!(
            "vm/{name} is blocked, and it is one of those to be kept apart"
        ));
    }
    lab.scratch.write("novahost.yaml", &whole);
    lab.scratch.run("apply --yes").code(0);
    let before = lab.rules();
    // Somebody destroys one that cannot be made again.
    let web = lab.server.control().find_vm("web-2").unwrap();
    lab.server.control().edit(|world| drop(world.entities.remove(&web)));
    lab.scratch.edit("  web-2: {", huge);
    let plan = lab.scratch.run("plan").code(0).says("update spread/web on vc-lyon [dependency]");
    plan.says_not("delete spread");
    lab.scratch.run("apply --yes --allow delete --confirm vm/web-2").code(5);
    assert_eq!(lab.rules(), before);
    lab.stop();
}

/// The plan of a rule counts with the replacement: without it, it would be stale for ever.
#[test]
fn a_replacement_that_is_blocked_holds_the_rule_up() {
    let lab = lab("spread-replace", vcenter::Switches::default());
    lab.declare(2, SPREAD);
    lab.scratch.run("apply --yes").code(0);
    lab.declare(3, SPREAD);
    // `web-1` is to be made anew after a machine that cannot be made.
    lab.scratch.edit("  web-1: {", "  web-1: { firmware: bios, after: [vm/old-print],");
    lab.scratch.edit("  other:", "  old-print:");
    let plan = lab.scratch.run("plan").code(0).says("update spread/web on vc-lyon [dependency]");
    plan.says_in_words("vm/web-1 is blocked, and it is one of those");
    lab.stop();
}

/// A machine keeps its place in a rule under its new name.
#[test]
fn a_machine_that_is_renamed_stays_apart() {
    let lab = lab("spread-renamed", vcenter::Switches::default());
    lab.declare(2, SPREAD);
    lab.scratch.run("apply --yes").code(0);
    let before = lab.rules();
    lab.scratch.edit("  web-2: {", "  web-9: { was: vm/web-2,");
    lab.scratch
        .run("plan")
        .code(0)
        .says_not("delete")
        .says_in_words("spread/web: waits for the next");
    lab.scratch.run("apply --yes --allow delete").code(0);
    assert_eq!(lab.rules(), before);
    lab.stop();
}

#[test]
fn a_place_that_chooses_no_hosts_keeps_nobody_apart() {
    let lab = lab("spread-no-drs", vcenter::Switches::default());
    lab.server.control().edit(|world| {
        for entity in world.entities.values_mut() {
            if let vcenter::world::Kind::Cluster { drs, .. } = &mut entity.kind {
                *drs = false;
            }
        }
    });
    let host = lab.server.control().inspect(|world| {
        world.entities.values().find(|it| it.type_name() == "HostSystem").unwrap().name.clone()
    });
    lab.declare(2, &format!(", placement: {{ spread: web, node: {host} }}"));
    let plan = lab.scratch.run("plan").code(0);
    plan.says_in_words("does not keep machines on different hosts").says("DRS");
    lab.scratch.run("apply --yes").code(7);
    assert!(lab.rules().is_empty());
    lab.stop();
}

#[test]
fn keeping_apart_is_refused_on_a_cluster_with_its_place() {
    let it = Scratch::with("spread-refused", crate::scratch::SMALL).unrecorded();
    it.edit("    tags: [web]\n", "    tags: [web]\n    placement: { spread: web }\n");
    let text = it.read("novahost.yaml");
    let line = text.lines().position(|it| it.contains("spread:")).unwrap() + 1;
    let ran = it.run("validate").code(3);
    ran.warns("`placement.spread` cannot be had on pve-paris")
        .warns("not supported yet")
        .warns(&format!("novahost.yaml:{line}"));
}
