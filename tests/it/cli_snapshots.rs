//! `snapshots:` through the real binary, on the bundled vCenter: taken before what disturbs,
//! kept up to a number, and nobody else's ever removed.

use crate::scratch::{Scratch, repository, runtime};
use mock_servers::{
    pve::Release,
    vcenter::{
        self, Control,
        access::{Grant, canonical},
    },
};

const PROJECT: &str = r#"version: 1
project: shop
hypervisors:
  vc:
    type: vcenter
    endpoint: https://127.0.0.1:8443
    auth: { username: novahost@vsphere.local, password: env:NOVAHOST_VC_PASSWORD }
    defaults: { cluster: DC0_C0, datastore: fast, folder: novahost }
networks:
  lan: { cidr: 10.20.0.0/24, at: { vc: { portgroup: VM Network } } }
images:
  debian-13:
    os: linux
    init: cloud-init
    firmware: uefi
    at: { vc: { template: tpl-debian-13, clone: full } }
vms:
  web:
    hypervisor: vc
    image: debian-13
    resources: { cpu: 2, memory: 4GiB, disk: 20GiB }
    disks: { data: { size: 10GiB, on_remove: delete } }
    nics: { eth0: { network: lan, ip: 10.20.0.61 } }
    notes: First
    power: running
    snapshots: { before_change: true, keep: 2 }
"#;

fn project(name: &str) -> Scratch {
    let it = Scratch::with(name, PROJECT).unrecorded();
    it.applied();
    it
}

fn world_file(it: &Scratch) -> std::path::PathBuf {
    it.path(".novahost/sandbox/vc.json")
}

/// The operator of the vCenter does something, between two commands.
fn operator(it: &Scratch, does: impl FnOnce(&Control, &str)) {
    runtime().block_on(async {
        let world = std::fs::read(world_file(it)).unwrap();
        let mut options = vcenter::Options::new(1);
        options.persist = Some(world_file(it));
        let world = vcenter::World::from_json(&world).unwrap();
        let server = vcenter::serve(world, options).await.unwrap();
        let control = server.control();
        let id = control.find_vm("web").unwrap();
        does(&control, &id);
        server.stop().await;
    });
}

/// Names and descriptions of the machine's snapshots, the oldest first.
fn snapshots(it: &Scratch) -> Vec<(String, String)> {
    let world = std::fs::read(world_file(it)).unwrap();
    let world = vcenter::World::from_json(&world).unwrap();
    let (_, vm) = world.vms().find(|(id, _)| world.entities[*id].name == "web").unwrap();
    vm.snapshots.iter().map(|it| (it.name.clone(), it.description.clone())).collect()
}

fn names(it: &Scratch) -> Vec<String> {
    snapshots(it).into_iter().map(|(name, _)| name).collect()
}

/// Less memory, which always takes a restart.
fn change_memory(it: &Scratch, from: u32, to: u32) {
    it.edit(&format!("memory: {from}GiB"), &format!("memory: {to}GiB"));
    it.sandbox("apply --yes --allow restart").code(0);
}

#[test]
fn a_change_that_disturbs_has_a_snapshot_first_and_a_mild_one_has_none() {
    let it = project("snapshots-before");
    assert_eq!(snapshots(&it), [], "a birth has none");
    it.edit("notes: First", "notes: Second");
    it.applied();
    assert_eq!(snapshots(&it), [], "notes disturb nobody");
    it.edit("memory: 4GiB", "memory: 3GiB");
    let plan = it.sandbox("plan --steps").code(0).says("snapshot").says("novahost-").fits();
    // The guest goes down first, so that its disks are whole.
    let at = |word: &str| plan.out.find(word).unwrap_or_else(|| panic!("no `{word}`\n{plan}"));
    assert!(at("shut down") < at("take snapshot") && at("take snapshot") < at("configure"));
    // What waits for consent takes no snapshot either.
    it.sandbox("apply --yes").code(0).says("1 waiting");
    assert_eq!(snapshots(&it), []);
    it.sandbox("apply --yes --allow restart").code(0).says("1 done");
    it.settled();
    let taken = snapshots(&it);
    assert_eq!(taken.len(), 1);
    assert!(taken[0].0.starts_with("novahost-") && taken[0].0.len() == 21, "{taken:?}");
    for word in ["project=shop", "key=vm/web", "plan="] {
        assert!(taken[0].1.contains(word), "{taken:?}");
    }
    it.sandbox("describe vm/web").code(0).says("before a change of ours");
    it.sandbox("drift").code(0);
}

#[test]
fn of_our_own_the_oldest_go_with_consent_and_others_stay() {
    let it = project("snapshots-keep");
    it.sandbox("vm snapshot web --name my-own-copy --yes").code(0);
    for memory in [4, 3, 2] {
        change_memory(&it, memory, memory - 1);
    }
    let before = names(&it);
    assert_eq!((before.len(), before[0].as_str()), (4, "my-own-copy"));
    // Three of ours, two are to be kept: that is a loss of data, and waits.
    let plan = it.sandbox("plan").code(0).says("snapshot").fits();
    assert!(plan.out.contains(&before[1]) && !plan.out.contains("my-own-copy"), "{plan}");
    plan.says("loses 1 snapshot").says(&format!("snapshot {}", before[1])).says_not("volume");
    it.sandbox("drift").code(2).says("[surplus]").says(&before[1]).fits();
    it.sandbox("apply --yes").code(0).says("1 waiting");
    assert_eq!(names(&it), before);
    it.sandbox("apply --yes --allow data-loss").code(0).says("1 done");
    assert_eq!(names(&it), ["my-own-copy".to_owned(), before[2].clone(), before[3].clone()]);
    it.settled();
    // One that looks like ours and is not: another machine's description, or none.
    operator(&it, |control, id| {
        control.change_vm(id, |vm| {
            vm.snapshots[0].name = "novahost-0123456789ab".to_owned();
            vm.snapshots[1].description = vm.snapshots[1].description.replace("uuid=", "uuid=0");
        });
    });
    it.edit("keep: 2", "keep: 0");
    it.sandbox("apply --yes --allow data-loss").code(0).says("1 done");
    assert_eq!(names(&it), ["novahost-0123456789ab".to_owned(), before[2].clone()]);
    it.settled();
    // Without the section nobody asks, and nothing is taken or removed.
    it.edit("    snapshots: { before_change: true, keep: 0 }\n", "");
    it.sandbox("apply --yes --allow restart").code(0).says("Nothing to do");
}

#[test]
fn a_disk_does_not_grow_while_snapshots_exist_and_they_are_named() {
    let it = project("snapshots-grow");
    change_memory(&it, 4, 3);
    let taken = names(&it);
    it.edit("size: 10GiB", "size: 12GiB");
    let plan = it.sandbox("plan").code(0).says("[snapshots-exist]").says("1 blocked").fits();
    assert!(plan.out.contains(&taken[0]), "{plan}");
    it.sandbox("apply --yes").code(5);
    // The way out that the help names: no more of ours, and then it grows, without a new one.
    it.edit("keep: 2", "keep: 0");
    it.sandbox("apply --yes --allow data-loss").code(7).says("1 done");
    assert_eq!(snapshots(&it), []);
    it.applied();
    it.settled();
    assert_eq!(snapshots(&it), []);
}

#[test]
fn where_a_snapshot_would_stand_in_the_way_none_is_taken_and_that_is_said() {
    let it = project("snapshots-none");
    it.edit("    disks: { data: { size: 10GiB, on_remove: delete } }\n", "");
    it.edit("memory: 4GiB", "memory: 3GiB");
    it.sandbox("plan").code(0).says_in_words("no snapshot is taken before `memory` changes").fits();
    it.sandbox("apply --yes --allow restart --allow data-loss").code(0).says("2 done");
    it.settled();
    assert_eq!(snapshots(&it), []);
}

#[test]
fn a_snapshot_that_fails_leaves_the_machine_as_it_was_and_running() {
    let it = project("snapshots-refused");
    // On this machine the account may do all that the change takes, and no snapshot.
    let may = ["Interact.PowerOff", "Interact.PowerOn", "Config.Memory", "Config.AdvancedConfig"];
    operator(&it, |control, id| {
        control.edit(|world| {
            let may = may.iter().map(|it| format!("VirtualMachine.{it}")).collect();
            let role = world.access.add_role("no-snapshots", may);
            let principal = canonical("novahost@vsphere.local");
            let grant = Grant { principal, group: false, role, propagate: false };
            world.entities.get_mut(id).unwrap().grants.push(grant);
        });
    });
    it.edit("memory: 4GiB", "memory: 3GiB");
    let ran = it.sandbox("apply --yes --allow restart").code(7);
    ran.says("VirtualMachine.State.CreateSnapshot").says("started again");
    operator(&it, |control, id| {
        control.inspect(|world| {
            let vm = world.vm(id).unwrap();
            assert_eq!((vm.power.as_str(), vm.snapshots.len()), ("poweredOn", 0));
            assert_eq!(vm.config.memory_mb, 4096);
        });
    });
    // Without the wish for a snapshot the same change is done.
    it.edit("before_change: true", "before_change: false");
    it.sandbox("apply --yes --allow restart").code(0);
}

#[test]
fn a_machine_that_linked_clones_hang_on_is_neither_deleted_nor_merged() {
    let it = project("snapshots-linked");
    it.sandbox("vm snapshot web --name base --yes").code(0);
    change_memory(&it, 4, 3);
    operator(&it, |control, id| {
        let made = control.clone_vm(id, "child").unwrap();
        control.edit(|world| {
            let source = &world.vm(id).unwrap().snapshots[0];
            let base = source.config.disks().next().unwrap().file.clone();
            let file = world.vm(&made).unwrap().config.disks().next().unwrap().file.clone();
            world.volumes.get_mut(&file).unwrap().parent = Some(base);
        });
    });
    let before = snapshots(&it);
    it.edit("keep: 2", "keep: 0");
    let plan = it.sandbox("plan").code(0).says_in_words("more than `keep`, and stay").fits();
    plan.says("child");
    it.sandbox("apply --yes --allow data-loss").code(0);
    assert_eq!(snapshots(&it), before);
    let yaml = it.read("novahost.yaml");
    it.write("novahost.yaml", yaml.split("vms:").next().unwrap());
    it.sandbox("plan").code(0).says("[linked-clones]").says("child").fits();
    it.sandbox("apply --yes --allow delete").code(5);
    assert_eq!(snapshots(&it), before);
}

#[test]
fn a_product_without_them_refuses_the_field_with_its_place() {
    let it = Scratch::empty("snapshots-pve", Release::V9_2).unrecorded();
    it.copy(&repository().join("keys"), "keys");
    it.write("novahost.yaml", crate::scratch::SMALL);
    it.edit("    notes: First\n", "    notes: First\n    snapshots: { before_change: true }\n");
    let ran = it.run("validate").code(3);
    ran.warns("not supported yet").warns("novahost.yaml:42");
    let wrong = Scratch::with("snapshots-wrong", &PROJECT.replace("keep: 2", "keep: 33"));
    wrong.run("validate").code(3).warns("keep: 33");
}

/// The product holds 32 in a chain. That is told before anything is touched, not by a task that
/// fails once the guest is down.
#[test]
fn a_chain_that_is_full_blocks_what_would_take_one_more() {
    let it = project("snapshots-full");
    it.sandbox("vm snapshot web --name base --yes").code(0);
    operator(&it, |control, id| {
        control.change_vm(id, |vm| {
            for level in 2..=31 {
                let mut next = vm.snapshots[0].clone();
                next.id = format!("snapshot-9{level}");
                next.name = format!("by-hand-{level}");
                next.parent = vm.current_snapshot.take();
                vm.current_snapshot = Some(next.id.clone());
                vm.snapshots.push(next);
            }
        });
    });
    change_memory(&it, 4, 3);
    let before = names(&it);
    assert_eq!(before.len(), 32, "there was room for one");
    it.edit("memory: 3GiB", "memory: 2GiB");
    let plan = it.sandbox("plan").code(0).says("[snapshots-exist]").fits();
    plan.says_in_words("32 snapshots one on top of the other").says("holds no more than 32");
    it.sandbox("apply --yes --allow restart").code(5);
    it.sandbox("vm snapshot web --name more --yes").warns("holds no more than 32");
    assert_eq!(names(&it), before);
    // A mild change takes none, and nothing keeps it.
    it.edit("memory: 2GiB", "memory: 3GiB");
    it.edit("notes: First", "notes: Second");
    it.applied();
    // One that is gone makes room: where the machine goes on counts, not how many there are.
    operator(&it, |control, id| {
        control.change_vm(id, |vm| vm.current_snapshot = Some(vm.snapshots[3].id.clone()));
    });
    change_memory(&it, 3, 2);
    assert_eq!(names(&it).len(), 33);
}
