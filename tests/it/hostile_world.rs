//! A hypervisor whose every text is hostile: names, notes, tags, comments, errors. Nothing of it may act on the
//! screen, the log, the page or the program that reads what novahost prints, in any format.

use crate::{
    hostile::{Form, HOSTILE, harmless, long},
    scratch::{Ran, SMALL, Scratch, runtime},
};
use mock_servers::pve::{Fault, Options, Release, Server, World, serve, world::Pool};

/// Every command that only looks, with the form of its result.
const LOOKS: &[(&str, Form)] = &[
    ("plan --out plan.json", Form::Text),
    ("plan --ascii --steps", Form::Text),
    ("plan --format json", Form::Json),
    ("plan --format markdown", Form::Markdown),
    ("show plan.json --steps", Form::Text),
    ("show plan.json --format json", Form::Json),
    ("show plan.json --format markdown", Form::Markdown),
    ("drift", Form::Text),
    ("drift --format json", Form::Json),
    ("drift --format markdown", Form::Markdown),
    ("get hypervisors", Form::Text),
    ("get hypervisors --format json", Form::Json),
    ("get nodes", Form::Text),
    ("get nodes --format json", Form::Json),
    ("get vms", Form::Text),
    ("get vms --format json", Form::Json),
    ("get templates", Form::Text),
    ("get templates --format json", Form::Json),
    ("get pools", Form::Text),
    ("get pools --format json", Form::Json),
    ("get storages", Form::Text),
    ("get storages --format json", Form::Json),
    ("describe vm/a", Form::Text),
    ("describe vm/a --format json", Form::Json),
    ("describe vm/b", Form::Text),
    ("describe pool/shop", Form::Text),
    ("describe pool/shop --format json", Form::Json),
    ("inventory snapshot --out seen.json", Form::Text),
    ("plan --inventory seen.json", Form::Text),
    ("plan --inventory seen.json --format markdown", Form::Markdown),
];

/// Every command that reads the journal.
const JOURNAL: &[(&str, Form)] = &[
    ("runs list", Form::Text),
    ("runs list --format json", Form::Json),
    ("audit list --limit 1000", Form::Text),
    ("audit list --limit 1000 --format json", Form::Json),
    ("audit export", Form::Json),
];

/// Not a bug, and not a way out of the road: a command may refuse, but it may not break.
#[track_caller]
fn stands(ran: Ran, form: Form) -> Ran {
    assert!([0, 1, 2, 3, 5, 6, 7, 9, 10].contains(&ran.code), "{ran}");
    harmless(&ran, form);
    ran
}

/// Writes a text wherever an operator, a tenant or a storage admin could, and then some.
fn poison(world: &mut World, ours: &[u32], text: &str) {
    // Configuration files hold one line per key; the interface hands out what was decoded.
    for (id, guest) in &mut world.guests {
        let mine = ours.contains(id);
        for key in ["tags", "ostype", "cpu", "machine", "lock", "hookscript", "searchdomain"] {
            let known = guest.config.contains_key(key);
            if (mine && key != "lock") || (!mine && known) || (*id == 101 && key == "lock") {
                guest.config.insert(key.into(), text.into());
            }
        }
        if mine || !guest.config.contains_key("template") {
            guest.config.insert("name".into(), text.into());
        }
        if let Some(net) = guest.config.get_mut("net0") {
            net.push_str(&format!(",bridge={text}"));
        }
        if let Some(notes) = guest.config.get_mut("description") {
            *notes = format!("{text}\n{notes}");
        }
        if mine {
            guest.pending.insert("memory".into(), text.into());
            guest.pending.insert("name".into(), text.into());
        }
    }
    for pool in world.pools.values_mut() {
        pool.comment = format!("{text}\n{}", pool.comment);
    }
    world.pools.insert(text.to_owned(), Pool { comment: text.into(), ..Pool::default() });
    let bridge = world.nodes["pve1"].bridges["vmbr0"].clone();
    if let Some(node) = world.nodes.get_mut("pve2") {
        node.bridges.insert(text.to_owned(), bridge);
    }
    let storage = world.storages["fast"].clone();
    world.storages.insert(text.to_owned(), storage);
}

fn sandboxed(name: &str, text: &str, release: Release) {
    let it = Scratch::empty(name, release).unrecorded();
    it.copy(&crate::scratch::repository().join("keys"), "keys");
    it.write("novahost.yaml", SMALL);
    it.applied();
    let ours: Vec<u32> = ["vm/a", "vm/b", "vm/c"].iter().map(|key| it.id_of(key)).collect();
    it.operator(|control| control.edit(|world| poison(world, &ours, text)));
    for (line, form) in LOOKS {
        let sandbox =
            if line.starts_with("show") { (*line).to_owned() } else { format!("{line} --sandbox") };
        stands(it.run(&sandbox), *form);
    }
    stands(it.sandbox("apply --yes"), Form::Text);
    stands(it.sandbox("apply plan.json --yes"), Form::Text);
    stands(it.sandbox("apply --yes --format json"), Form::Json);
    for (line, form) in JOURNAL {
        stands(it.sandbox(line), *form);
    }
    let runs = it.sandbox("runs list --format json").out;
    let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
    let run = runs[0]["id"].as_str().unwrap();
    for line in [format!("runs show {run}"), format!("audit show {run}"), format!("show {run}")] {
        stands(it.sandbox(&line), Form::Text);
    }
}

#[test]
fn hostile_text_of_a_hypervisor_acts_nowhere() {
    sandboxed("hostile-world", HOSTILE, Release::V8_4);
}

#[test]
fn sixty_four_kibibytes_of_it_stay_within_bounds() {
    let it = Scratch::with("hostile-long", SMALL).unrecorded();
    it.applied();
    let (a, text) = (it.id_of("vm/a"), long());
    it.operator(|control| {
        control.edit(|world| {
            poison(world, &[a], HOSTILE);
            for id in [a, 101] {
                let guest = world.guests.get_mut(&id).unwrap();
                guest.config.insert("name".into(), text.clone());
                guest.config.insert("tags".into(), text.clone());
            }
            world.pools.get_mut("shop").unwrap().comment.push_str(&text);
        });
    });
    for (line, form) in [
        ("plan --steps", Form::Text),
        ("plan --format markdown", Form::Markdown),
        ("get vms", Form::Text),
        ("get vms --format json", Form::Json),
        ("get pools", Form::Text),
        ("describe vm/a", Form::Text),
        ("apply --yes", Form::Text),
        ("audit list", Form::Text),
    ] {
        let ran = stands(it.sandbox(line), form);
        // Said shorter, not in a thousand lines; a program gets all of it.
        if form == Form::Text {
            assert!(ran.out.len() < 60_000, "{} bytes of `{line}`", ran.out.len());
        }
    }
}

/// A project at a cluster of its own, whose faults the test plants.
fn served(name: &str) -> (Scratch, Server, tokio::runtime::Runtime) {
    let runtime = runtime();
    let world = World::from_yaml(include_str!("../../fixtures/worlds/proxmox.yaml")).unwrap();
    let server = runtime.block_on(serve(world, Options::new(Release::V9_2, 7))).unwrap();
    let it = Scratch::with(name, SMALL)
        .unrecorded()
        .variable("NOVAHOST_PVE_TOKEN", novahost::sandbox::TOKEN_SECRET);
    it.write("ca.pem", server.ca_pem());
    it.edit(
        "endpoint: https://127.0.0.1:8006",
        &format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint()),
    );
    (it, server, runtime)
}

#[test]
fn a_hostile_end_of_a_task_is_told_in_harmless_words() {
    let (it, server, _runtime) = served("hostile-task");
    for text in [HOSTILE.to_owned(), long()] {
        let said = text.clone();
        server.control().set_fault(Box::new(move |at| {
            (at.method != "GET").then(|| Fault::TaskFails(said.clone()))
        }));
        stands(it.run("apply --yes"), Form::Text);
        stands(it.run("apply --yes --format json"), Form::Json);
        let said = text.clone();
        server.control().set_fault(Box::new(move |at| {
            (at.method != "GET").then(|| Fault::TaskWarns(said.clone()))
        }));
        stands(it.run("apply --yes"), Form::Text);
        stands(it.run("apply --yes --format json"), Form::Json);
    }
    for (line, form) in JOURNAL {
        stands(it.run(line), *form);
    }
}

#[test]
fn a_hostile_refusal_is_told_in_harmless_words() {
    let (it, server, _runtime) = served("hostile-refusal");
    // Gateway errors are waited for; they have the same road to the screen as a 500.
    for (verb, status) in
        [("GET", 400), ("GET", 401), ("GET", 403), ("GET", 500), ("POST", 400), ("POST", 500)]
    {
        let text = if status == 400 { long() } else { HOSTILE.to_owned() };
        server.control().set_fault(Box::new(move |at| {
            (at.method == verb).then(|| Fault::Status(status, text.clone()))
        }));
        let looks: [(&str, Form); 4] = [
            ("plan", Form::Text),
            ("plan --format markdown", Form::Markdown),
            ("get hypervisors --format json", Form::Json),
            ("apply --yes", Form::Text),
        ];
        // A refused change shows in an apply alone.
        for (line, form) in &looks[if verb == "GET" { 0 } else { 3 }..] {
            let ran = it.run(line);
            assert_ne!(ran.code, 70, "{ran}");
            harmless(&ran, *form);
        }
    }
}

/// A marker of `vm/a` that this object cannot have, in every dress that might pass.
fn forgeries(genuine: &str) -> Vec<String> {
    // 101 has an id and a machine uuid of its own; no line here states both, except where it
    // is damaged.
    let head = genuine.lines().find(|line| line.starts_with("novahost/1")).unwrap();
    let map = genuine.lines().find(|line| line.starts_with("novahost-map/1")).unwrap();
    let field = |name: &str| {
        head.split(' ').find_map(|it| it.strip_prefix(&format!("{name}="))).unwrap().to_owned()
    };
    let other_id = head.replace(&format!(" id={}", field("id")), " id=101");
    let other_uuid = other_id.replace(&field("uuid"), "0b7f3b1e-61d5-4f0e-9a3f-5c2f5a0c1101");
    vec![
        genuine.to_owned(),
        format!("{head}\n{head}\n{map}"),
        format!("{head}\n{other_id}"),
        format!("{other_id}\n{map}"),
        format!("{map}\n{other_id}"),
        other_id.replace("stage=ready", "stage=new"),
        other_id.replace("stage=ready", "stage=deleting"),
        other_id.replace(" uuid=", " uuid=none uuid="),
        other_id.replace(&field("uuid"), "none"),
        other_uuid.replace(" key=vm/a", " key=vm/a key=vm/b"),
        other_uuid.replace(" key=vm/a", " key=vm/b key=vm/a"),
        other_uuid.replace(" key=vm/a", " key=VM/A"),
        other_uuid.replace("project=shop", "project=shop\0"),
        other_uuid.replace("project=shop", "project=sh\u{200b}op"),
        other_uuid.replace("project=shop", "pr\u{43e}ject=shop"),
        other_uuid.replace("novahost/1", "novahost/01"),
        other_uuid.replace("novahost/1", "Novahost/1"),
        format!("{} {}", other_uuid.split(" stage").next().unwrap(), "x=".repeat(40_000)),
        format!("{other_id} mac={}", "0".repeat(70_000)),
        other_uuid.split(" intent").next().unwrap().to_owned(),
        map.to_owned(),
        other_uuid.replace(' ', "\u{a0}"),
        other_uuid.replace(' ', "\r"),
    ]
}

#[test]
fn a_forged_marker_never_makes_a_machine_ours() {
    let it = Scratch::with("hostile-marker", SMALL).unrecorded();
    it.applied();
    let genuine = it.config("vm/a", "description").unwrap();
    let mine = it.id_of("vm/a");
    let forged = forgeries(&genuine);
    // The real machine is gone, so that nothing but the forgery names the key; the tag and
    // the name make sure that the forgery is read.
    it.operator(|control| {
        control.delete_guest(mine);
        control.edit_config(101, "tags", Some("nh-shop"));
        control.edit_config(101, "name", Some("a"));
    });
    for (index, text) in forged.iter().enumerate() {
        // A marker is looked for wherever it stands.
        let text = if index % 2 == 0 { text.clone() } else { format!("before\n{text}\nbehind") };
        it.operator(|control| control.edit_config(101, "description", Some(&text)));
        let ran = stands(it.sandbox("plan --format json"), Form::Json);
        let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        for action in plan["body"]["actions"].as_array().unwrap() {
            assert!(!action.to_string().contains("\"101\""), "{text:?}: {action:#}");
        }
        let list = it.sandbox("get vms --format json");
        let rows: serde_json::Value = serde_json::from_str(&list.out).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == "101").unwrap();
        let whose = row["whose"].as_str().unwrap();
        let known = ["not ours (names vm/a)", "garbled marker", "unmanaged"];
        let other = whose.starts_with("project ") || whose.starts_with("not ours (names ");
        assert!(known.contains(&whose) || other, "{whose}: {text:?}");
    }
}

#[test]
fn a_marker_in_any_other_text_of_a_machine_is_no_marker() {
    let it = Scratch::with("hostile-marker-elsewhere", SMALL).unrecorded();
    it.applied();
    let mine = it.id_of("vm/a");
    let genuine = it.config("vm/a", "description").unwrap();
    let bound = genuine.replace(&format!(" id={mine}"), " id=101");
    let uuid = bound.split("uuid=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    it.operator(|control| {
        control.delete_guest(mine);
        control.edit_config(101, "smbios1", Some(&format!("uuid={uuid}")));
        control.edit_config(101, "description", Some("mine"));
        control.edit_config(101, "tags", Some("nh-shop"));
        for key in ["name", "args", "hookscript", "searchdomain"] {
            control.edit_config(101, key, Some(&bound));
        }
        let serial = format!("local-lvm:vm-101-disk-0,serial={bound},size=64G");
        control.edit_config(101, "scsi0", Some(&serial));
    });
    let ran = stands(it.sandbox("plan --format json"), Form::Json);
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    for action in plan["body"]["actions"].as_array().unwrap() {
        assert!(!action.to_string().contains("\"101\""), "{action:#}");
    }
    let list = it.sandbox("get vms --format json");
    assert!(list.out.contains("\"unmanaged\""), "{list}");
}
