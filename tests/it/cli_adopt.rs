//! Machines that exist: taken over, renamed, given up, with the real binary.

use crate::scratch::{RELEASES, Scratch, others, repository};
use mock_servers::pve::{Release, World};

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");

fn first_world() -> World {
    let mut world = World::from_yaml(FIRST_WORLD).unwrap();
    world.settle();
    world
}

/// A world in which our own words on some guests do not count: what is left must be as
/// it was before anybody did anything.
fn without_marks(mut world: World, ids: &[u32]) -> World {
    for id in ids {
        let guest = world.guests.get_mut(id).unwrap();
        if let Some(notes) = guest.config.get("description").cloned() {
            let kept: Vec<&str> = notes.lines().filter(|it| !it.starts_with("novahost")).collect();
            match kept.is_empty() {
                true => drop(guest.config.remove("description")),
                false => drop(guest.config.insert("description".into(), kept.join("\n"))),
            }
        }
        if let Some(tags) = guest.config.get("tags").cloned() {
            let kept: Vec<&str> = tags.split(';').filter(|it| !it.starts_with("nh-")).collect();
            match kept.is_empty() {
                true => drop(guest.config.remove("tags")),
                false => drop(guest.config.insert("tags".into(), kept.join(";"))),
            }
        }
    }
    world
}

#[track_caller]
fn untouched_but_for_marks(it: &Scratch, ids: &[u32]) {
    let (before, after) = (first_world(), without_marks(it.world(), ids));
    assert_eq!(others(&after), others(&before));
    for id in ids {
        let uptime = |world: &World| world.guests[id].running;
        assert_eq!(uptime(&after), uptime(&before), "{id}");
    }
}

#[test]
fn the_example_is_adopted_without_a_touch_and_then_nothing_is_left() {
    for release in RELEASES {
        let it = Scratch::empty("example-adopt", release);
        it.copy(&repository().join("examples/adopt.yaml"), "novahost.yaml");
        it.sandbox("plan")
            .code(0)
            .says("vm/db-1")
            .says("scsi0, 64 GiB on local-lvm")
            .says("Plan: 1 to create, 1 to adopt. 0 unchanged.")
            .fits();
        it.applied().says("Apply: 2 done.");
        it.settled();
        untouched_but_for_marks(&it, &[101]);
        assert_eq!(it.id_of("vm/db-1"), 101);
        // The journal remembers that it was adopted: that is the second witness of a delete.
        it.edit("  db-1:\n", "  db-2:\n");
        it.sandbox("plan")
            .code(0)
            .says("--allow delete=vm/db-1")
            .says_in_words("write `was: db-1` instead");
    }
}

#[test]
fn a_plan_that_was_saved_is_stale_when_somebody_else_was_faster() {
    let it = Scratch::empty("adopt-stale", Release::V9_2).unrecorded();
    it.copy(&repository().join("examples/adopt.yaml"), "novahost.yaml");
    it.sandbox("plan --out plan.json --target vm/db-1").code(0);
    it.operator(|control| {
        control.edit_config(101, "scsi0", Some("local-lvm:vm-101-disk-9,size=64G"));
    });
    it.sandbox("apply plan.json --yes").code(6);
    assert!(it.ids_of("vm/db-1").is_empty());
}

#[test]
fn an_entry_that_was_called_otherwise_keeps_its_machine() {
    for release in RELEASES {
        let it = Scratch::project("was", release);
        it.applied();
        let id = it.id_of("vm/db-1");
        let text = it.read("novahost.yaml");
        let renamed = text
            .replacen("\n  db-1:\n", "\n  sql-1:\n    was: db-1\n    name: db-1\n", 1)
            .replace("after: [db-1]", "after: [sql-1]");
        assert_ne!(text, renamed);
        it.write("novahost.yaml", &renamed);
        it.sandbox("plan").code(0).says("1 to rename").says("vm/db-1").fits();
        it.applied().says("Apply: 1 done.");
        assert_eq!(it.id_of("vm/sql-1"), id);
        assert!(it.ids_of("vm/db-1").is_empty());
        it.settled();
        // Back again, by a line of the other entry.
        it.write("novahost.yaml", &text.replacen("\n  db-1:\n", "\n  db-1:\n    was: sql-1\n", 1));
        it.applied();
        assert_eq!(it.id_of("vm/db-1"), id);
        it.write("novahost.yaml", &text);
        it.settled();
    }
}

/// A project whose entry `db-1` of the example is gone again, the machine adopted.
fn adopted_and_dropped(name: &str) -> Scratch {
    let it = Scratch::empty(name, Release::V9_2);
    it.copy(&repository().join("examples/adopt.yaml"), "novahost.yaml");
    it.sandbox("apply --yes --target vm/db-1").code(0);
    let text = it.read("novahost.yaml");
    let (head, rest) = text.split_once("  db-1:\n").unwrap();
    let (_, tail) = rest.split_once("\n\n").unwrap();
    it.write("novahost.yaml", &format!("{head}{tail}"));
    it
}

#[test]
fn a_forgotten_machine_is_as_it_was_and_nobodys() {
    let it = adopted_and_dropped("forget");
    it.sandbox("plan --target vm/db-1").code(0).says("--allow delete=vm/db-1");
    // Without a yes it is shown, and nothing happens.
    it.sandbox("forget vm/db-1").code(5).says("1 to forget").warns("nobody said yes").fits();
    assert_eq!(it.id_of("vm/db-1"), 101);
    it.sandbox("forget vm/db-1 --yes --reason sold --ticket OPS-7").code(0).says("Apply: 1 done.");
    assert!(it.ids_of("vm/db-1").is_empty());
    let (before, after) = (first_world(), it.world());
    assert_eq!(others(&after), others(&before));
    it.sandbox("plan").code(0).says_not("vm/db-1");
    it.run("audit verify --sandbox").code(0);
    it.sandbox("audit list --key vm/db-1").code(0).says("disowned");
    // Neither the hypervisor nor the journal knows it any more.
    it.sandbox("forget vm/db-1 --yes").code(3).warns("names nothing");
}

#[test]
fn what_has_an_entry_is_not_forgotten() {
    let it = Scratch::empty("forget-entry", Release::V9_2);
    it.copy(&repository().join("examples/adopt.yaml"), "novahost.yaml");
    it.sandbox("apply --yes --target vm/db-1").code(0);
    let world = it.world();
    it.sandbox("forget vm/db-1 --yes").code(5).warns("still has an entry, at novahost.yaml:25");
    assert_eq!(others(&it.world()), others(&world));
    it.sandbox("forget pool/acme --yes").code(1).warns("is a pool");
}

#[test]
fn a_lost_and_a_vanished_machine_are_forgotten_in_the_journal() {
    let it = adopted_and_dropped("forget-lost");
    it.operator(|control| {
        control.edit_config(101, "description", Some("Do not touch, ask Marie."));
    });
    it.sandbox("plan").code(0).says("lost-marker");
    let before = others(&it.world());
    it.sandbox("forget vm/db-1 --yes")
        .code(0)
        .says_in_words("only the journal's memory of it goes");
    assert_eq!(others(&it.world()), before);
    it.sandbox("plan").code(0).says_not("lost-marker");

    let it = adopted_and_dropped("forget-vanished");
    it.operator(|control| control.delete_guest(101));
    it.sandbox("forget vm/db-1 --yes").code(0);
    it.sandbox("forget vm/db-1 --yes").code(3);
}

#[test]
fn what_was_forgotten_is_adopted_by_another_project() {
    let it = adopted_and_dropped("forget-hand-over");
    let text = it.read("novahost.yaml");
    let theirs = text.replace("project: adopt", "project: buyers").replace(
        "\nvms:\n",
        "\nvms:\n  db-9: { hypervisor: pve-paris, adopt: pve-paris/101, name: legacy-db }\n",
    );
    it.write("theirs.yaml", &theirs);
    it.sandbox("plan theirs.yaml --target vm/db-9")
        .code(0)
        .says("not-adoptable")
        .says_in_words("belongs to project `adopt`, as vm/db-1")
        .says("novahost forget vm/db-1");
    it.sandbox("forget vm/db-1 --yes").code(0);
    it.sandbox("apply theirs.yaml --yes --target vm/db-9").code(0);
    assert_eq!(it.id_of("vm/db-9"), 101);
}

/// A project that declares nothing but where to look.
const BARE: &str = "version: 1
project: bare
include: [{ glob: adopted.yaml, optional: true }]
hypervisors:
  pve-paris:
    type: proxmox
    endpoint: https://127.0.0.1:8006
    auth: { token_id: novahost@pve!sandbox, token_secret: env:UNUSED }
networks:
  lan: { at: { pve-paris: { bridge: vmbr0 } } }
";

/// Guests of all shapes that somebody may have made by hand.
fn motley(it: &Scratch) {
    it.operator(|control| {
        let two_cards = [
            ("name", Some("Router.Example")),
            ("scsi1", Some("fast:vm-102-disk-1,size=10G")),
            ("virtio0", Some("local-zfs:vm-102-disk-2,size=4M")),
            ("unused0", Some("fast:vm-102-disk-3")),
            ("ide2", Some("none,media=cdrom")),
            ("net1", Some("virtio=BC:24:11:00:02:01,bridge=vmbr1,tag=20")),
            ("net2", Some("virtio=BC:24:11:00:02:02,bridge=vmbr0,tag=20")),
            ("boot", Some("order=net0;sata0")),
            ("protection", Some("1")),
            ("description", Some("- [ ] on\n\"quoted\": {yes}\n# ::error::no")),
            ("tags", Some("prod;web")),
        ];
        two_cards.iter().for_each(|(key, value)| control.edit_config(102, key, *value));
        control.clone_guest(101, 103, "legacy-db-2");
        control.clone_guest(101, 104, "LEGACY-DB");
        control.clone_guest(101, 105, "legacy-db");
        // Running with other values than those that are written: neither would stay.
        control.edit(|world| {
            let guest = world.guests.get_mut(&101).unwrap();
            guest.pending.insert("cores".to_owned(), "2".to_owned());
        });
    });
    // The simulator takes up what it was given when it is next served.
    it.sandbox("get hypervisors").code(0);
}

#[test]
fn written_entries_are_adopted_and_then_nothing_is_left() {
    for release in RELEASES {
        let it = Scratch::empty("adopt-entries", release);
        it.write("novahost.yaml", BARE);
        it.sandbox("validate").code(0);
        it.sandbox("plan").code(0);
        motley(&it);
        let before = it.world();
        it.sandbox("adopt pve-paris")
            .code(0)
            .says("pve-paris/102")
            .says_not("9000")
            .says_not("20500")
            .warns("--all");
        it.sandbox("adopt pve-paris --all --out novahost.yaml").code(1).warns("could not write");
        assert_eq!(it.read("novahost.yaml"), BARE, "nobody's file is overwritten");
        let ran = it.sandbox("adopt pve-paris --all --out adopted.yaml").code(0);
        // Two have one name: the second cannot be told from the first by an entry.
        ran.warns("pve-paris/105: another entry there has the name `legacy-db`");
        let text = it.read("adopted.yaml");
        for wanted in ["adopt: pve-paris/102", "name: Router.Example", "network: lan", "vlan: 20"] {
            assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
        }
        // What 101 runs with is not what is written: an entry could keep neither value.
        let legacy = text.split("adopt: pve-paris/101\n").nth(1).unwrap();
        let first = legacy.lines().find(|it| it.contains("resources")).unwrap();
        assert_eq!(first.trim(), "resources: { memory: 8GiB }");
        assert_eq!(others(&it.world()), others(&before), "looking changes nothing");

        it.sandbox("plan").code(0).says("Plan: 4 to adopt. 0 unchanged.").fits();
        it.applied().says("Apply: 4 done.");
        it.settled();
        assert_eq!(it.id_of("vm/router.example"), 102);
        let marked = [101, 102, 103, 104];
        assert_eq!(
            others(&without_marks(it.world(), &marked)),
            others(&without_marks(before, &marked))
        );
        it.sandbox("adopt pve-paris --name team-* --all").code(1).warns("nothing to adopt");
        it.sandbox("adopt pve-paris/20500").code(1).warns("belongs to project `other-team`");
        it.sandbox("adopt pve-paris/200").code(1).warns("is a container");
        it.sandbox("adopt pve-paris/9000").code(1).warns("is a template");
        it.sandbox("adopt pve-paris/101").code(1).warns("is vm/legacy-db");
        it.sandbox("adopt elsewhere").code(3).warns("known are: pve-paris");
    }
}

#[test]
fn candidates_are_chosen_by_name_pool_and_tag() {
    let it = Scratch::with("adopt-filter", BARE);
    it.sandbox("plan").code(0);
    motley(&it);
    it.sandbox("adopt pve-paris --tag prod").code(0).says("pve-paris/102").says_not("/101");
    it.sandbox("adopt pve-paris --name legacy-*").code(0).says("/103").says_not("/102");
    it.sandbox("adopt pve-paris --pool nowhere").code(1);
    it.sandbox("adopt pve-paris/103 pve-paris/104").code(0).says("/104").says_not("/101");
}

#[test]
fn what_moved_gets_a_line_for_its_entry() {
    let it = Scratch::project("adopt-moved", Release::V9_2);
    it.applied();
    let id = it.id_of("vm/db-1");
    it.operator(|control| {
        control.restore(id, 20_999);
        control.delete_guest(id);
    });
    it.sandbox("plan").code(0).says("[moved]").says_in_words("adopt: pve-paris/20999");
    it.sandbox("adopt pve-paris --all --moved")
        .code(0)
        .says("# to be added to the entry at novahost.yaml:80")
        .says("  db-1:\n    adopt: pve-paris/20999");
    it.edit("  db-1:\n", "  db-1:\n    adopt: pve-paris/20999\n");
    it.sandbox("plan --target vm/db-1").code(0).says("1 to adopt");
    it.sandbox("apply --yes").code(0);
    assert_eq!(it.id_of("vm/db-1"), 20_999);
    // Restored, it is off; started again, all is as declared.
    it.sandbox("apply --yes").code(0);
    it.settled();
}
