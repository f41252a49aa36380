//! The program is killed in the middle of a run, at several moments. What it began is
//! seen, built to its end, and never made twice; and nobody waits for its lease.

use crate::scratch::{SMALL, Scratch, others, wait_until};
use mock_servers::pve::World;

const KEYS: [&str; 3] = ["vm/a", "vm/b", "vm/c"];

/// The world as it is on disk, while the program writes it.
fn peek(it: &Scratch) -> Option<World> {
    World::from_json(&std::fs::read(it.world_file()).ok()?).ok()
}

fn described(world: &World, words: &str) -> bool {
    world.guests.iter().any(|(id, guest)| {
        *id != 20500 && guest.config.get("description").is_some_and(|it| it.contains(words))
    })
}

/// Guests of this project's range that carry no marker, apart from what was there.
fn nameless(world: &World) -> Vec<u32> {
    let known = [101, 102, 200, 9000, 9001, 9002, 20500];
    world
        .guests
        .iter()
        .filter(|(id, _)| !known.contains(id))
        .filter(|(_, guest)| {
            !guest.config.get("description").is_some_and(|it| it.contains("novahost/1"))
        })
        .map(|(id, _)| *id)
        .collect()
}

/// Applies, kills when the moment is there, and goes on.
fn killed_when(name: &str, moment: impl Fn(&World) -> bool) {
    let it = Scratch::with(name, SMALL);
    it.sandbox("plan").code(0);
    let before = others(&it.world());
    let mut child = it.spawn("apply --yes");
    wait_until(name, || peek(&it).is_some_and(|world| moment(&world)));
    child.kill().unwrap();
    child.wait().unwrap();
    let list = it.sandbox("runs list").code(0).says("NOT FINISHED").fits();
    let run = list.out.split_whitespace().next().unwrap().to_owned();
    it.sandbox(&format!("runs show {run}")).code(0).says("NOT FINISHED");
    // A call that was on its way when the program died cannot be told for a while.
    let resumed = it.sandbox(&format!("runs resume {run}"));
    assert!([0, 10].contains(&resumed.code), "{resumed}");
    it.sandbox("audit verify").code(0).says("unbroken");
    it.sandbox("plan").code(0);
    it.applied();
    it.settled();
    for key in KEYS {
        it.id_of(key);
    }
    assert_eq!(nameless(&it.world()), Vec::<u32>::new());
    assert_eq!(others(&it.world()), before);
    it.sandbox("audit verify").code(0).says("unbroken");
}

#[test]
fn killed_while_a_template_is_being_cloned() {
    killed_when("kill-clone", |world| !nameless(world).is_empty());
}

#[test]
fn killed_when_a_machine_has_its_marker_but_is_not_ready() {
    killed_when("kill-new", |world| described(world, "stage=new"));
}

#[test]
fn killed_between_ready_and_the_first_start() {
    killed_when("kill-ready", |world| {
        described(world, "key=vm/a") && described(world, "stage=ready")
    });
}

#[test]
fn killed_when_one_machine_runs_and_another_waits() {
    killed_when("kill-one", |world| {
        world.guests.iter().any(|(id, it)| it.running && ![101, 200, 20500].contains(id))
    });
}

#[test]
fn killed_during_a_delete() {
    let it = Scratch::with("kill-delete", SMALL);
    it.applied();
    let (b, c) = (it.id_of("vm/b"), it.id_of("vm/c"));
    let yaml = it.read("novahost.yaml");
    it.write("novahost.yaml", yaml.split_once("  b:\n").unwrap().0);
    let mut child = it.spawn("apply --yes --allow delete");
    wait_until("a delete has begun", || {
        peek(&it).is_some_and(|world| {
            described(&world, "stage=deleting")
                || !world.guests.contains_key(&b)
                || !world.guests.contains_key(&c)
        })
    });
    child.kill().unwrap();
    child.wait().unwrap();
    it.sandbox("runs list").code(0).says("NOT FINISHED");
    // The other one's first call may have been on its way.
    let resumed = it.sandbox("runs resume");
    assert!([0, 10].contains(&resumed.code), "{resumed}");
    it.sandbox("apply --yes --allow delete").code(0);
    it.settled();
    let world = it.world();
    assert!(!world.guests.contains_key(&b) && !world.guests.contains_key(&c));
    assert!(world.volumes.values().all(|it| it.vmid != b && it.vmid != c));
    it.id_of("vm/a");
}

#[test]
fn killed_during_a_restart() {
    let it = Scratch::with("kill-restart", SMALL);
    it.applied();
    it.edit("cpu: 2, memory", "cpu: 4, memory");
    let a = it.id_of("vm/a");
    let mut child = it.spawn("apply --yes --allow restart");
    wait_until("a machine is down", || {
        peek(&it).is_some_and(|world| world.guests.get(&a).is_some_and(|it| !it.running))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    it.sandbox("runs resume").code(0);
    it.sandbox("apply --yes --allow restart").code(0);
    it.settled();
    assert!(it.world().guests[&a].running, "it is not left down");
}
