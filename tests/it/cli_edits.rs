//! What somebody new does to a project that is applied already.

use crate::scratch::{SMALL, Scratch, others};

fn applied(name: &str) -> Scratch {
    let it = Scratch::with(name, SMALL);
    it.applied();
    it
}

/// How often a machine was started.
fn boots(it: &Scratch, key: &str) -> usize {
    it.world().guests[&it.id_of(key)].boots.len()
}

#[test]
fn a_resize_waits_for_leave_to_restart_and_happens_once() {
    let it = applied("resize");
    let before = boots(&it, "vm/a");
    it.edit("cpu: 2, memory: 2GiB", "cpu: 4, memory: 3GiB");
    it.sandbox("plan").code(0).says("RESTART").says("cpu       2 → 4").fits();
    // `b` is off and takes it at once; nothing pending is left at the others.
    it.sandbox("apply --yes").code(0).says("1 done, 2 waiting");
    assert_eq!(it.config("vm/b", "cores").unwrap(), "4");
    assert_eq!(it.config("vm/a", "cores").unwrap(), "2");
    assert!(it.world().guests[&it.id_of("vm/a")].pending.is_empty());
    it.sandbox("apply --yes --allow restart=vm/a").code(0).says("1 done, 1 waiting");
    assert_eq!(boots(&it, "vm/a"), before + 1, "once");
    assert_eq!(it.config("vm/a", "memory").unwrap(), "3072");
    it.sandbox("apply --yes --allow restart").code(0).says("1 done");
    assert_eq!(boots(&it, "vm/a"), before + 1, "it was not restarted again");
    it.settled();
}

#[test]
fn a_disk_grows_while_the_machine_runs_and_never_shrinks() {
    let it = applied("grow");
    let before = boots(&it, "vm/a");
    it.edit("disk: 16GiB", "disk: 20GiB");
    it.sandbox("apply --yes").code(0).says("3 done");
    assert!(it.config("vm/a", "scsi0").unwrap().contains("size=20G"));
    assert_eq!(boots(&it, "vm/a"), before);
    it.settled();
    it.edit("disk: 20GiB", "disk: 18GiB");
    it.sandbox("plan").code(0).says("3 blocked").says("novahost.yaml:").says("shrink").fits();
    it.sandbox("apply --yes").code(5);
    assert!(it.config("vm/a", "scsi0").unwrap().contains("size=20G"));
}

#[test]
fn a_machine_is_added_and_removed_only_with_leave() {
    let it = applied("add-remove");
    it.edit("  c:\n", "  d: { profile: small }\n  c:\n");
    it.sandbox("plan").code(0).says("Plan: 1 to create. 5 unchanged.");
    it.applied();
    it.settled();
    let id = it.id_of("vm/d");
    it.edit("  d: { profile: small }\n", "");
    it.sandbox("plan").code(0).says("- delete vm/d DELETE").says("--allow delete=vm/d").fits();
    it.sandbox("apply --yes").code(0).says("1 waiting");
    assert!(it.world().guests.contains_key(&id));
    it.sandbox("apply --yes --allow delete=vm/b").code(0).says("1 waiting");
    it.sandbox("apply --yes --allow delete=vm/d").code(0).says("1 done");
    let world = it.world();
    assert!(!world.guests.contains_key(&id));
    assert!(world.volumes.values().all(|volume| volume.vmid != id));
    it.settled();
}

#[test]
fn a_delete_needs_a_second_witness_beside_the_marker() {
    let it = applied("witness");
    let (head, rest) = SMALL.split_once("  c:\n").unwrap();
    assert!(rest.contains("power: running"));
    it.write("novahost.yaml", head);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(it.path(&format!(".novahost/sandbox/journal.db{end}")));
    }
    it.sandbox("plan").code(0).says("--confirm vm/c");
    it.sandbox("apply --yes --allow delete").code(5).says("second-witness");
    it.id_of("vm/c");
    it.sandbox("apply --yes --allow delete --confirm vm/c").code(0).says("1 done");
    assert!(it.ids_of("vm/c").is_empty());
}

#[test]
fn a_budget_refuses_the_whole_run_and_protect_a_single_delete() {
    let it = applied("budget");
    it.edit("    notes: First\n", "    notes: First\n    protect: true\n");
    it.applied();
    let yaml = it.read("novahost.yaml");
    let (head, _) = yaml.split_once("  c:\n").unwrap();
    it.write("novahost.yaml", &format!("{head}\npolicy: {{ budgets: {{ deletes: 0 }} }}\n"));
    let refused = it.sandbox("apply --yes --allow delete").code(5);
    assert!(refused.err.contains("policy.budgets.deletes"), "{refused}");
    it.id_of("vm/c");
    // A protected machine stays, whatever is allowed.
    let start = yaml.find("  a:\n").unwrap();
    let end = yaml.find("  b:\n").unwrap();
    let without = format!("{}{}", &yaml[..start], &yaml[end..]).replace("    after: [a]\n", "");
    it.write("novahost.yaml", &without);
    it.sandbox("plan").code(0).says("protect").fits();
    it.sandbox("apply --yes --allow delete");
    it.id_of("vm/a");
}

#[test]
fn another_key_is_another_machine() {
    let it = applied("rename");
    it.edit("  b:\n", "  bee:\n");
    it.sandbox("plan").code(0).says("- delete vm/b").says("+ create vm/bee").fits();
    it.sandbox("apply --yes --allow delete").code(0).says("2 done");
    assert!(it.ids_of("vm/b").is_empty());
    it.id_of("vm/bee");
    it.settled();
}

#[test]
fn another_name_is_the_same_machine() {
    let it = applied("name");
    let id = it.id_of("vm/b");
    it.edit("  b:\n    profile", "  b:\n    name: bee\n    profile");
    it.sandbox("plan").code(0).says("name").fits();
    it.sandbox("apply --yes --allow reinit").code(0);
    assert_eq!(it.id_of("vm/b"), id);
    assert_eq!(it.config("vm/b", "name").unwrap(), "bee");
    it.settled();
}

#[test]
fn a_disk_is_added_detached_and_deleted_as_its_entry_says() {
    let it = applied("disks");
    let id = it.id_of("vm/b");
    let volumes = |it: &Scratch| it.world().volumes.values().filter(|it| it.vmid == id).count();
    let before = volumes(&it);
    it.edit("    nics:\n      eth0: { network: lan, ip: 10.20.0.82 }", "      more: { size: 5GiB, bus: scsi, slot: 3 }\n    nics:\n      eth0: { network: lan, ip: 10.20.0.82 }");
    it.applied();
    assert!(it.config("vm/b", "scsi3").unwrap().contains("size=5G"));
    it.settled();
    assert_eq!(volumes(&it), before + 1);
    // Detached: its volume stays, at the machine.
    it.edit("      data: { size: 20GiB, bus: scsi, slot: 1, on_remove: detach }\n", "");
    it.sandbox("plan").code(0).says("disk.data").fits();
    it.applied();
    assert_eq!(volumes(&it), before + 1);
    assert_eq!(it.config("vm/b", "scsi1"), None);
    it.settled();
    // Deleted: only with leave to lose data.
    it.edit("      scratch: { size: 10GiB, bus: scsi, slot: 2, on_remove: delete }\n", "");
    it.sandbox("plan").code(0).says("--allow data-loss=vm/b").fits();
    it.sandbox("apply --yes").code(0).says("1 waiting");
    assert_eq!(volumes(&it), before + 1);
    it.sandbox("apply --yes --allow data-loss=vm/b").code(0).says("1 done");
    assert_eq!(volumes(&it), before);
    it.settled();
}

#[test]
fn a_card_is_added_removed_and_moved_to_another_vlan() {
    let it = applied("cards");
    it.edit(
        "      eth1: { network: back, ip: none }",
        "      eth1: { network: back, ip: none, vlan: 40 }\n      eth2: { network: lan, ip: none }",
    );
    it.sandbox("plan").code(0).says("vlan").fits();
    // A guest that learns of another card configures itself anew.
    it.sandbox("apply --yes").code(0).says("1 waiting");
    assert!(it.config("vm/b", "net1").unwrap().contains("tag=40"));
    it.sandbox("apply --yes --allow reinit=vm/b").code(0).says("1 done");
    assert!(it.config("vm/b", "net2").unwrap().contains("bridge=vmbr0"));
    it.settled();
    it.edit("      eth1: { network: back, ip: none, vlan: 40 }\n", "");
    it.sandbox("apply --yes --allow reinit=vm/b").code(0).says("1 done");
    assert_eq!(it.config("vm/b", "net1"), None);
    it.settled();
}

#[test]
fn words_about_a_machine_change_while_it_runs() {
    let it = applied("words");
    let before = boots(&it, "vm/a");
    it.edit("tags: [web]", "tags: [web, blue]");
    it.edit("notes: First", "notes: \"First\\nand best\"");
    it.edit("    power: running\n  b:", "    autostart: { order: 2 }\n    power: running\n  b:");
    it.sandbox("plan").code(0).says_not("RESTART").fits();
    it.applied();
    assert_eq!(boots(&it, "vm/a"), before);
    assert!(it.config("vm/a", "tags").unwrap().contains("blue"));
    assert!(it.config("vm/a", "description").unwrap().starts_with("First\nand best"));
    assert_eq!(it.config("vm/a", "onboot").unwrap(), "1");
    it.settled();
}

#[test]
fn another_firmware_is_another_machine_and_says_so() {
    let it = applied("firmware");
    let id = it.id_of("vm/b");
    it.edit("  b:\n    profile: small\n", "  b:\n    profile: small\n    firmware: bios\n");
    let plan = it.sandbox("plan").code(0).fits();
    assert!(plan.out.contains("REPLACE"), "{plan}");
    it.sandbox("apply --yes").code(0);
    assert_eq!(it.id_of("vm/b"), id);
    it.sandbox("apply --yes --allow replace").code(0);
    it.id_of("vm/b");
    it.settled();
}

#[test]
fn a_machine_moves_to_another_pool_while_it_runs() {
    let it = applied("pools");
    let id = it.id_of("vm/a");
    it.edit("    pool: shop\n", "    pool: other\n");
    it.applied();
    let world = it.world();
    assert!(world.pools["other"].guests.contains(&id) && !world.pools["shop"].guests.contains(&id));
    it.settled();
}

#[test]
fn a_guest_is_told_anew_only_with_leave() {
    let it = applied("reinit");
    it.edit("user: deploy", "user: ops");
    it.sandbox("plan").code(0).says("REINIT").says("--allow reinit").fits();
    it.sandbox("apply --yes").code(0).says("1 waiting");
    assert_eq!(it.config("vm/a", "ciuser").unwrap(), "deploy");
    it.sandbox("apply --yes --allow reinit --allow restart").code(0).says("1 done");
    assert_eq!(it.config("vm/a", "ciuser").unwrap(), "ops");
    it.settled();
}

#[test]
fn another_edition_of_a_password_is_written_only_with_leave() {
    let yaml = SMALL.replace(
        "    init: { user: deploy,",
        "    init: { password: { from: secret:first, version: 1 }, user: deploy,",
    );
    let it = Scratch::with("password", &yaml);
    it.applied();
    it.settled();
    it.edit("version: 1 }, user", "version: 2 }, user");
    it.sandbox("plan").code(0).says("REINIT").fits();
    it.sandbox("apply --yes").code(0).says("1 waiting");
    it.sandbox("apply --yes --allow reinit").code(0).says("1 done");
    it.settled();
}

#[test]
fn power_follows_the_yaml() {
    let it = applied("power");
    let running = |key: &str| it.world().guests[&it.id_of(key)].running;
    assert!(running("vm/a") && !running("vm/b"));
    it.edit("    power: stopped", "    power: running");
    it.applied();
    assert!(running("vm/b"));
    it.settled();
    it.edit(
        "    tags: [web]\n    notes: First\n    power: running",
        "    tags: [web]\n    notes: First\n    power: stopped",
    );
    it.sandbox("plan").code(0).says("stop").fits();
    it.sandbox("apply --yes --allow restart").code(0).says("1 done");
    assert!(!running("vm/a"));
    it.settled();
}

#[test]
fn a_target_brings_what_it_needs_and_names_it() {
    let it = Scratch::with("target", SMALL);
    it.sandbox("plan --target vm/c")
        .code(0)
        .says("only vm/c; needed with it: pool/shop@pve-paris:create, vm/a:create")
        .says_in_words("2 left out")
        .says("--target vm/c")
        .says_not("create vm/b")
        .fits();
    it.sandbox("apply --yes --target vm/c").code(0).says("3 done");
    assert!(it.ids_of("vm/b").is_empty());
    it.sandbox("plan --target vm/nope").code(3).warns("vm/nope");
}

#[test]
fn a_saved_plan_is_shown_applied_and_used_up() {
    let it = Scratch::with("saved", SMALL);
    it.sandbox("plan --out plan.json").code(0).says("novahost apply --sandbox plan.json");
    it.run("show plan.json").code(0).says("5 to create").fits();
    it.run("show plan.json --format json").code(0).says("\"plan_id\"");
    it.sandbox("apply plan.json --yes").code(0).says("5 done");
    it.sandbox("apply plan.json --yes").code(0).says("Nothing to do");
    it.settled();
}

#[test]
fn a_saved_plan_with_a_target_stays_with_it() {
    let it = Scratch::with("saved-target", SMALL);
    it.sandbox("plan --target vm/b --out plan.json").code(0);
    it.sandbox("apply plan.json --yes").code(0).says("1 done");
    it.id_of("vm/b");
    assert!(it.ids_of("vm/a").is_empty());
}

#[test]
fn a_plan_is_approved_by_its_id() {
    let it = Scratch::with("approve", SMALL);
    let plan = it.sandbox("plan").code(0);
    let id = plan.out.split_whitespace().nth(1).unwrap();
    assert_eq!(id.len(), 12, "{plan}");
    it.sandbox(&format!("apply --yes --approve {id}")).code(0).says("5 done");
}

#[test]
fn a_snapshot_is_planned_against_without_a_connection() {
    let it = applied("snapshot");
    it.sandbox("inventory snapshot --out seen.json").code(0);
    // The world is gone, and no simulator is asked for: the file is enough.
    std::fs::remove_dir_all(it.path(".novahost")).unwrap();
    it.run("plan --inventory seen.json --detailed-exitcode").code(0).says("Nothing to do");
    it.edit("notes: First", "notes: Second");
    it.run("plan --inventory seen.json --detailed-exitcode").code(2).says("1 to update").fits();
    assert!(!it.path(".novahost").exists());
}

#[test]
fn drift_is_seen_and_put_right() {
    let it = applied("drift");
    let id = it.id_of("vm/b");
    it.operator(|control| {
        control.edit_config(id, "cores", Some("7"));
        control.rename(id, "somebody-was-here");
    });
    it.sandbox("drift").code(2).says("declared 2, observed 7").says("somebody-was-here").fits();
    it.sandbox("apply --yes --allow reinit").code(0);
    it.settled();
    // A machine that somebody deleted by hand is made again.
    it.operator(|control| control.delete_guest(id));
    it.sandbox("plan").code(0).says("create vm/b");
    it.applied();
    it.settled();
}

#[test]
fn what_is_there_is_listed_and_described() {
    let it = applied("get");
    it.sandbox("get hypervisors").code(0).says("pve-paris").says("complete").fits();
    it.sandbox("get nodes").code(0).says("pve1").says("online").fits();
    let vms = it.sandbox("get vms").code(0).says("vm/a").says("project other-team").fits();
    assert!(vms.out.lines().any(|it| it.contains("legacy-db") && !it.contains("vm/")), "{vms}");
    it.sandbox("get templates").code(0).says("tpl-debian-13").fits();
    it.sandbox("get pools").code(0).says("shared-infra").says("shop").fits();
    it.sandbox("get storages").code(0).says("local-lvm").fits();
    it.sandbox("get vms a").code(0).says("vm/a").says_not("vm/b");
    let json = it.sandbox("get vms --format json").code(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert!(json.is_array() || json.is_object());
    it.sandbox("describe vm/a").code(0).says("nothing to do").says("novahost.yaml:").fits();
    it.sandbox("describe pool/shop").code(0).fits();
    it.sandbox("describe vm/nope").code(1).warns("vm/nope");
}

#[test]
fn every_way_to_break_the_yaml_is_answered_with_a_place_and_help() {
    for (from, to, words) in [
        ("cpu: 2, memory", "cpus: 2, memory", "cpu"),
        ("profile: small\n    pool", "profile: smal\n    pool", "small"),
        ("10.20.0.82", "10.20.0.81", "10.20.0.81"),
        ("memory: 2GiB", "memory: 2 gigs", "GiB"),
        ("    power: stopped", "     power: stopped", "novahost.yaml:"),
        ("after: [a]", "after: [x]", "x"),
    ] {
        let it = Scratch::with("broken", SMALL);
        it.edit(from, to);
        let ran = it.run("validate").code(3).fits();
        assert!(ran.err.contains("novahost.yaml:"), "no place: {ran}");
        assert!(ran.err.contains(words), "no help with `{words}`: {ran}");
    }
}

#[test]
fn nobody_elses_guests_are_touched_by_a_day_of_edits() {
    let it = Scratch::with("others", SMALL);
    it.sandbox("plan").code(0);
    let before = others(&it.world());
    it.applied();
    it.edit("cpu: 2, memory", "cpu: 3, memory");
    it.edit("  b:\n", "  bee:\n");
    it.sandbox("apply --yes --allow delete --allow restart").code(0);
    it.write("novahost.yaml", &it.read("novahost.yaml").replace("    pool: shop\n", ""));
    it.applied();
    it.settled();
    assert_eq!(others(&it.world()), before);
}

/// What becomes of an edit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is carried out, and then nothing is left to do.
    Done,
    /// It is blocked, with its place, and changes nothing.
    Blocked,
    /// It changes nothing: a wish for birth, an order, or a field that is not declared
    /// any more and therefore not compared.
    Nothing,
}

/// One edit of the project: what is replaced by what, and what becomes of it.
struct Edit {
    what: &'static str,
    from: &'static str,
    to: &'static str,
    fate: Fate,
}

const fn edit(what: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { what, from, to, fate: Fate::Done }
}

const fn impossible(what: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { what, from, to, fate: Fate::Blocked }
}

const fn nothing(what: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { what, from, to, fate: Fate::Nothing }
}

const A: &str = "    notes: First\n";
const B: &str = "    power: stopped\n";
const A_NIC: &str = "eth0: { network: lan, ip: 10.20.0.81 }";
const B_NIC: &str = "eth0: { network: lan, ip: 10.20.0.82 }";

const EDITS: &[Edit] = &[
    edit("sockets", "cpu: 2, memory", "cpu: 2, sockets: 2, memory"),
    edit("less memory", "memory: 2GiB", "memory: 1GiB"),
    edit("protect", A, "    notes: First\n    protect: true\n"),
    edit("autostart in full", A, "    notes: First\n    autostart: { order: 3, wait: 1m }\n"),
    nothing("autostart off", A, "    notes: First\n    autostart: false\n"),
    edit(
        "notes with every sign",
        A,
        "    notes: \"100 % — naïve: é, #1 & <b>\\\\n\\ttab\\n\\nend \"\n",
    ),
    edit("no notes", A, "    notes: \"\"\n"),
    edit("no tags", "tags: [web]", "tags: []"),
    edit("many tags", "tags: [web]", "tags: [zebra, alpha, mid-1]"),
    nothing("no pool", "    pool: shop\n    nics", "    nics"),
    edit("another pool comment", "shop: { at:", "shop: { comment: \"Ünïcode: 100 %\", at:"),
    edit("boot order", B, "    power: stopped\n    boot: [network, disk]\n"),
    edit("a CD", B, "    power: stopped\n    cdrom: \"local:iso/opnsense.iso\"\n"),
    edit("a TPM", B, "    power: stopped\n    tpm: true\n"),
    impossible("secure boot", B, "    power: stopped\n    firmware: secure-boot\n"),
    edit("a card's model", A_NIC, "eth0: { network: lan, ip: 10.20.0.81, model: e1000 }"),
    edit("a card's address", A_NIC, "eth0: { network: lan, ip: 10.20.0.91 }"),
    edit("a card's gateway", A_NIC, "eth0: { network: lan, ip: 10.20.0.81, gateway: 10.20.0.1 }"),
    edit("from an address to dhcp", A_NIC, "eth0: { network: lan, ip: dhcp }"),
    edit("from an address to none", A_NIC, "eth0: { network: lan, ip: none }"),
    edit(
        "a card's MAC",
        A_NIC,
        "eth0: { network: lan, ip: 10.20.0.81, mac: \"BC:24:11:00:0A:01\" }",
    ),
    edit("another network", B_NIC, "eth0: { network: back, ip: 10.30.0.82 }"),
    edit(
        "a guest's host name server",
        "init: { user: deploy,",
        "init: { dns: [10.20.0.2], user: deploy,",
    ),
    edit("a guest's domain", "init: { user: deploy,", "init: { domain: lab.example, user: deploy,"),
    edit("no init any more", "    init: { user: deploy, ssh_keys: [file:keys/deploy.pub] }\n", ""),
    edit("on_remove", "slot: 1, on_remove: detach", "slot: 1, on_remove: delete"),
    edit("a disk's size", "data: { size: 20GiB", "data: { size: 21GiB"),
    impossible("an odd size", "data: { size: 20GiB", "data: { size: 20993MiB"),
    nothing("a disk's slot", "bus: scsi, slot: 1", "bus: scsi, slot: 5"),
    impossible(
        "a disk's bus",
        "data: { size: 20GiB, bus: scsi, slot: 1",
        "data: { size: 20GiB, bus: sata, slot: 1",
    ),
    impossible("a smaller disk", "data: { size: 20GiB", "data: { size: 19GiB"),
    nothing("another node", B, "    power: stopped\n    placement: { node: pve2 }\n"),
    nothing("another id", B, "    power: stopped\n    proxmox: { vmid: 20099 }\n"),
    edit("running", B, "    power: running\n"),
    edit("once", B, "    power: once\n"),
    nothing("after", B, "    power: stopped\n    after: [c]\n"),
];

#[test]
fn every_field_settles_after_an_edit_or_says_why_it_cannot() {
    let base = applied("every-field");
    let before = others(&base.world());
    let mut wrong = Vec::new();
    for Edit { what, from, to, fate } in EDITS {
        let it = Scratch::with("every-field", SMALL);
        it.copy(&base.path(".novahost"), ".novahost");
        it.edit(from, to);
        let plan = it.sandbox("plan").fits();
        let consent =
            "apply --yes --allow restart --allow reinit --allow replace --allow data-loss";
        let ran = it.sandbox(consent);
        let again = it.sandbox("plan --detailed-exitcode");
        let fine = match fate {
            Fate::Done => {
                let planned = !plan.out.contains("Nothing to do") || *what == "once";
                plan.code == 0 && planned && ran.code == 0 && again.code == 0
            }
            Fate::Blocked => {
                plan.out.contains("novahost.yaml:") && ran.code == 5 && again.code == 2
            }
            Fate::Nothing => ran.out.contains("Nothing to do") && again.code == 0,
        };
        if !fine {
            wrong.push(format!("=== {what}\n{ran}\n{again}"));
        }
        assert_eq!(others(&it.world()), before, "{what}");
    }
    assert!(wrong.is_empty(), "{} of {} edits:\n{}", wrong.len(), EDITS.len(), wrong.join("\n"));
}
