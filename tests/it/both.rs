//! One project over two hypervisors of different products, through the real binary: edges
//! across them, and one that is down while the other is not.

use crate::scratch::{Scratch, repository, runtime};
use mock_servers::{
    pve::{self, Options, Release, Timing},
    vcenter,
};
use std::net::TcpListener;

const CLUSTER: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
const VCENTER: &str = include_str!("../../fixtures/worlds/vcenter.yaml");
const TOKEN: &str = novahost::sandbox::TOKEN_SECRET;
const PASSWORD: &str = novahost::sandbox::PASSWORD;

/// A cluster and a vCenter outside of the binary, and the example over both.
struct Lab {
    runtime: tokio::runtime::Runtime,
    cluster: pve::Server,
    vcenter: vcenter::Server,
    scratch: Scratch,
}

fn lab(name: &str) -> Lab {
    let runtime = runtime();
    let (cluster, vcenter) = runtime.block_on(async {
        let mut options = Options::new(Release::V9_2, 7);
        options.timing = Timing::fast();
        let world = pve::World::from_yaml(CLUSTER).unwrap();
        let cluster = pve::serve(world, options).await.unwrap();
        let mut options = vcenter::Options::new(7);
        options.timing = vcenter::Timing::fast();
        let world = vcenter::World::from_yaml(VCENTER).unwrap();
        (cluster, vcenter::serve(world, options).await.unwrap())
    });
    let scratch = Scratch::empty(name, Release::V9_2).unrecorded();
    let scratch = scratch.variable("NOVAHOST_PVE_TOKEN", TOKEN);
    let scratch = scratch.variable("NOVAHOST_VC_PASSWORD", PASSWORD);
    scratch.copy(&repository().join("examples/keys"), "keys");
    scratch.copy(&repository().join("examples/both.yaml"), "novahost.yaml");
    scratch.write("pve.pem", cluster.ca_pem());
    scratch.write("vc.pem", vcenter.ca_pem());
    let lab = Lab { runtime, cluster, vcenter, scratch };
    lab.reach("https://127.0.0.1:8006", &lab.cluster.endpoint(), "pve.pem");
    lab.reach("https://127.0.0.1:8443", &lab.vcenter.endpoint(), "vc.pem");
    lab
}

impl Lab {
    fn reach(&self, old: &str, new: &str, ca: &str) {
        self.scratch.edit(
            &format!("endpoint: {old}\n"),
            &format!("endpoint: {new}\n    tls: {{ ca_file: {ca} }}\n"),
        );
    }

    fn on_cluster(&self, name: &str) -> bool {
        let world = self.cluster.control().snapshot();
        world.guests.values().any(|it| it.config.get("name").is_some_and(|it| it == name))
    }

    fn on_vcenter(&self, name: &str) -> bool {
        self.vcenter.control().find_vm(name).is_some()
    }

    fn stop(self) {
        let Self { runtime, cluster, vcenter, .. } = self;
        runtime.block_on(async {
            cluster.stop().await;
            vcenter.stop().await;
        });
    }
}

/// A port of this machine that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

#[test]
fn machines_wait_for_those_of_another_product() {
    let lab = lab("both-edges");
    let ran = lab.scratch.run("plan").code(0).fits();
    ran.says("Wave 3 of 3").says("Plan: 4 to create");
    let ran = lab.scratch.run("apply --yes").code(0);
    ran.clone().says("Apply: 4 done");
    // The chain goes there, here and there again.
    let done: Vec<&str> = ran.err.lines().filter(|it| it.contains(" done (")).collect();
    let at = |key: &str| done.iter().position(|it| it.starts_with(key)).unwrap();
    assert!(at("vm/db-1:") < at("vm/web-1:") && at("vm/web-1:") < at("vm/proxy-1:"), "{ran}");
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    lab.stop();
}

#[test]
fn one_that_is_down_leaves_the_other_alone() {
    let lab = lab("both-down");
    let (alive, dead) = (lab.vcenter.endpoint(), nobody());
    lab.scratch.edit(&alive, &dead);
    let ran = lab.scratch.run("plan").code(9).says("its machines are unknown, not gone");
    let ran = ran.says("vc-lyon    not read        failed").says("[failed-hypervisor]");
    // What waits for a machine over there waits; what does not is planned.
    let ran = ran.says("create vm/web-1 on pve-paris [dependency]").says("create vm/cache-1");
    ran.says("Plan: 1 to create. 0 unchanged. 3 blocked.");
    let ran = lab.scratch.run("apply --yes").code(7);
    ran.says("Apply: 1 done, 3 blocked by the plan.");
    assert!(lab.on_cluster("cache-1") && !lab.on_cluster("web-1"));
    assert!(!lab.on_vcenter("db-1") && !lab.on_vcenter("proxy-1"));
    assert!(lab.vcenter.control().requests().is_empty(), "it was spoken to");
    // The other way round: the chain goes on up to what is down.
    lab.scratch.edit(&dead, &alive);
    let (answers, dead) = (lab.cluster.endpoint(), nobody());
    lab.scratch.edit(&answers, &dead);
    lab.scratch.run("plan").code(9).says("pve-paris  not read");
    lab.scratch.run("apply --yes").code(7).says("Apply: 1 done");
    assert!(lab.on_vcenter("db-1") && !lab.on_vcenter("proxy-1") && !lab.on_cluster("web-1"));
    // Once both answer, the rest follows, and what was made is not made again.
    lab.scratch.edit(&dead, &answers);
    lab.scratch.run("apply --yes").code(0).says("Apply: 2 done");
    lab.scratch.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    lab.stop();
}
