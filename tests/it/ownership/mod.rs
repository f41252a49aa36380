//! Ownership by scenario: a fleet is applied, somebody disturbs the world, and the product
//! is tempted with every consent there is, with and without its journal.
//!
//! Judged is the simulator's own truth: what is not ours is the same to the last byte, no
//! key has a second machine, nothing was started. And what a person reads: the code, the
//! machine by name and id, what to do, and that doing it helps.

pub mod births;
pub mod copies;
pub mod files;
pub mod markers;
pub mod places;
pub mod projects;

use crate::scratch::{Ran, Scratch, runtime};
use mock_servers::pve::{Control, Options, Release, Server, World, serve, world::Guest};
use std::{cell::Cell, collections::BTreeMap, path::PathBuf};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Two machines of project `shop`: `web` runs, `db` is off and has a disk of its own.
pub const FLEET: &str = include_str!("fleet.yaml");
/// An apply to which a person has allowed everything, but for vouching for a machine.
pub const FULL: &str = "apply --yes --allow delete --allow replace --allow restart \
                        --allow reinit --allow data-loss --expect-shrink 9";
/// The world that the sandbox begins with.
const FIRST_WORLD: &str = include_str!("../../../fixtures/worlds/proxmox.yaml");

thread_local! {
    /// The bug that scenarios of this thread are run with, once their fleet is made.
    pub static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// What is asked of `web`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What it was made as. Tempts to create.
    Same,
    /// Other fields. Tempts to update and restart.
    Changed,
    /// A field that takes a new machine. Tempts to replace.
    Remade,
    /// No entry. Tempts to delete.
    Gone,
}

/// All of them.
pub const WISHES: [Wish; 4] = [Wish::Same, Wish::Changed, Wish::Remade, Wish::Gone];

/// The fleet, in a sandbox or on a cluster outside of the binary.
pub struct Fleet {
    pub it: Scratch,
    yaml: String,
    outside: Option<Outside>,
}

/// A cluster that the binary reaches like any other, with trust settings.
pub struct Outside {
    // Held so that it goes on serving.
    _runtime: Runtime,
    pub server: Server,
    trust: TempDir,
}

/// A simulated cluster and its runtime.
pub fn cluster(world: &str) -> (Runtime, Server) {
    let runtime = runtime();
    let world = World::from_yaml(world).unwrap();
    let server = runtime.block_on(serve(world, Options::new(Release::V9_2, 7))).unwrap();
    (runtime, server)
}

impl Fleet {
    /// Made, and nothing left to do.
    pub fn start(name: &str) -> Self {
        Self::of(name, FLEET)
    }

    /// A fleet of other YAML.
    pub fn of(name: &str, yaml: &str) -> Self {
        Self::made(name, yaml, |_| {})
    }

    /// A fleet of more files than one.
    pub fn made(name: &str, yaml: &str, files: impl FnOnce(&Scratch)) -> Self {
        let it = Scratch::with(&format!("ownership-{name}"), yaml);
        files(&it);
        it.applied();
        Self { it, yaml: yaml.to_owned(), outside: None }.planted()
    }

    /// On a cluster outside of the binary, whose faults can be planted, under these trust
    /// settings.
    pub fn outside(name: &str, trust: &str) -> Self {
        let (runtime, server) = cluster(FIRST_WORLD);
        let endpoint = format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint());
        let yaml = FLEET.replacen("endpoint: https://127.0.0.1:8006", &endpoint, 1);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trust.toml");
        let it = Scratch::with(&format!("ownership-{name}"), &yaml)
            .unrecorded()
            .variable("NOVAHOST_PVE_TOKEN", novahost::sandbox::TOKEN_SECRET)
            .variable("MARKER_KEY", "0123456789abcdef0123456789abcdef")
            .variable("NOVAHOST_TRUST", file.to_str().unwrap());
        it.write("ca.pem", server.ca_pem());
        let fleet =
            Self { it, yaml, outside: Some(Outside { _runtime: runtime, server, trust: folder }) };
        fleet.trust(trust);
        fleet.run("apply --yes").code(0);
        fleet.planted()
    }

    /// From here on with the bug that a runner of planted bugs asks for.
    fn planted(mut self) -> Self {
        let bug = PLANTED.with(Cell::get);
        self.it.variables.extend(bug.map(|it| ("NOVAHOST_PLANTED".to_owned(), it.to_owned())));
        self
    }

    /// Writes the trust settings.
    pub fn trust(&self, text: &str) {
        let file = self.outside.as_ref().unwrap().trust.path().join("trust.toml");
        std::fs::write(&file, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).unwrap();
    }

    /// The cluster, when it is outside of the binary.
    pub fn server(&self) -> &Server {
        &self.outside.as_ref().unwrap().server
    }

    /// Runs the binary.
    pub fn run(&self, line: &str) -> Ran {
        match self.outside {
            None => self.it.sandbox(line),
            Some(_) => self.it.run(line),
        }
    }

    /// The world as it is.
    pub fn world(&self) -> World {
        match &self.outside {
            None => self.it.world(),
            Some(outside) => outside.server.control().snapshot(),
        }
    }

    /// Writes down what is wished of `web`.
    pub fn wish(&self, wish: Wish) {
        let (head, rest) = self.yaml.split_once("  web:\n").unwrap();
        let (web, tail) = rest.split_once("    # web ends here\n").unwrap();
        let web = format!("  web:\n{web}");
        let web = match wish {
            Wish::Same => web,
            Wish::Changed => format!(
                "{}    resources: {{ cpu: 2 }}\n    tags: [changed]\n",
                web.replace("notes: Front end", "notes: Changed")
            ),
            Wish::Remade => format!("{web}    firmware: uefi\n"),
            Wish::Gone => String::new(),
        };
        self.it.write("novahost.yaml", &format!("{head}{web}{tail}"));
    }

    /// The journal is lost.
    pub fn lose_journal(&self) {
        let folder: PathBuf = match self.outside {
            None => self.it.path(".novahost/sandbox"),
            Some(_) => self.it.path("home/.local/state/novahost"),
        };
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("journal.db") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// The operator does something.
    pub fn operator(&self, does: impl FnOnce(&Control)) {
        match &self.outside {
            None => self.it.operator(does),
            Some(outside) => does(&outside.server.control()),
        }
    }

    /// The operator does something to one guest.
    pub fn edit(&self, id: u32, does: impl FnOnce(&mut Guest)) {
        self.operator(|control| control.edit(|world| does(world.guests.get_mut(&id).unwrap())));
    }

    /// The operator edits the notes of a guest. Each text must be there.
    #[track_caller]
    pub fn notes(&self, id: u32, from: &str, to: &str) {
        self.edit(id, |guest| {
            let notes = guest.config.get_mut("description").unwrap();
            assert!(notes.contains(from), "`{from}` is not in {notes}");
            *notes = notes.replace(from, to);
        });
    }

    /// A guest as it is.
    pub fn guest(&self, id: u32) -> Guest {
        self.world().guests[&id].clone()
    }

    /// The id of the only guest that says it is this machine of `shop`.
    #[track_caller]
    pub fn only(&self, key: &str) -> u32 {
        let words = [format!("key={key}"), "project=shop".to_owned()];
        let is = |guest: &Guest| {
            let marker = marker_of(guest);
            words.iter().all(|word| marker.split_whitespace().any(|it| it == word))
        };
        let world = self.world();
        let found: Vec<u32> =
            world.guests.iter().filter(|(_, it)| is(it)).map(|(id, _)| *id).collect();
        assert_eq!(found.len(), 1, "{key} is {found:?}");
        found[0]
    }

    /// The id of `web`, which must be one machine.
    #[track_caller]
    pub fn web(&self) -> u32 {
        self.only("vm/web")
    }

    /// The id of `db`.
    #[track_caller]
    pub fn db(&self) -> u32 {
        self.only("vm/db")
    }

    /// Everything that is on the cluster.
    pub fn truth(&self) -> Truth {
        Truth::of(&self.world())
    }

    /// Wishes each of these of `web`, with every consent. Nothing at all may happen to the
    /// cluster; `reads` judges what a person is shown.
    #[track_caller]
    pub fn tempt(&self, wishes: &[Wish], reads: impl Fn(Wish, Ran)) {
        let before = self.truth();
        for wish in wishes {
            self.wish(*wish);
            let ran = self.run(FULL);
            before.is_still(&self.truth(), &[], &format!("{wish:?}\n{ran}"));
            reads(*wish, ran);
        }
        self.wish(Wish::Same);
    }

    /// As `tempt`: all wishes with the journal, then those that would create or delete
    /// without it. `reads` is told whether there is a journal.
    #[track_caller]
    pub fn tempt_twice(&self, reads: impl Fn(Wish, bool, Ran)) {
        self.tempt(&WISHES, |wish, ran| reads(wish, true, ran));
        self.lose_journal();
        self.tempt(&[Wish::Same, Wish::Gone], |wish, ran| reads(wish, false, ran));
    }

    /// Demands that `plan` finds nothing to do, and nothing in the way.
    #[track_caller]
    pub fn settled(&self) {
        self.wish(Wish::Same);
        self.run("plan --detailed-exitcode").code(0).says("Nothing to do");
    }
}

/// The lines that novahost wrote into notes.
pub fn marker_of(guest: &Guest) -> String {
    let notes = guest.config.get("description").map_or("", String::as_str);
    let ours = notes.lines().filter(|it| it.starts_with("novahost"));
    ours.collect::<Vec<_>>().join("\n")
}

/// A guest without those lines.
pub fn without_marker(guest: &mut Guest) {
    let notes = guest.config.remove("description").unwrap_or_default();
    let others = notes.lines().filter(|it| !it.starts_with("novahost"));
    let others = others.collect::<Vec<_>>().join("\n");
    if !others.is_empty() {
        guest.config.insert("description".to_owned(), others);
    }
}

/// Somebody's machine, off, with a disk of its own, at an id.
pub fn stranger(control: &Control, id: u32, notes: Option<&str>) {
    control.restore(102, id);
    control.edit(|world| {
        let uuid = format!("uuid=0b7f3b1e-61d5-4f0e-9a3f-5c2f5a{id:06}");
        let guest = world.guests.get_mut(&id).unwrap();
        guest.config.insert("name".to_owned(), "payroll".to_owned());
        guest.config.insert("smbios1".to_owned(), uuid);
        if let Some(notes) = notes {
            guest.config.insert("description".to_owned(), notes.to_owned());
        }
    });
}

/// What a cluster holds, object by object, without what passes: tasks and statistics.
#[derive(Clone, PartialEq, Eq)]
pub struct Truth(BTreeMap<String, String>);

impl Truth {
    fn of(world: &World) -> Self {
        let mut all = BTreeMap::new();
        for (id, guest) in &world.guests {
            let guest = Guest { statistics: None, ..guest.clone() };
            all.insert(format!("guest {id}"), format!("{guest:#?}"));
        }
        for (key, volume) in &world.volumes {
            all.insert(format!("volume {key}"), format!("{volume:?}"));
        }
        for (name, pool) in &world.pools {
            all.insert(format!("pool {name}"), format!("{pool:?}"));
        }
        Self(all)
    }

    /// Demands that nothing came, went or changed, but for guests that are named.
    #[track_caller]
    pub fn is_still(&self, now: &Self, but: &[u32], why: &str) {
        let excepted = |name: &str| {
            but.iter().any(|id| {
                name == format!("guest {id}")
                    || name.starts_with("volume ") && name.contains(&format!("-{id}-"))
                    || name.starts_with("pool ")
            })
        };
        let names = self.0.keys().chain(now.0.keys());
        let moved: Vec<String> = names
            .filter(|name| !excepted(name) && self.0.get(*name) != now.0.get(*name))
            .map(|name| {
                let none = String::from("nothing");
                let (was, is) =
                    (self.0.get(name).unwrap_or(&none), now.0.get(name).unwrap_or(&none));
                let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
                let (was, is) = (lines(was), lines(is));
                let only = |a: &[String], b: &[String]| {
                    a.iter().filter(|it| !b.contains(it)).cloned().collect::<Vec<_>>().join("\n")
                };
                format!("{name}\n- {}\n+ {}", only(&was, &is), only(&is, &was))
            })
            .collect();
        assert!(moved.is_empty(), "touched, and not ours to touch:\n{}\n{why}", moved.join("\n"));
    }
}
