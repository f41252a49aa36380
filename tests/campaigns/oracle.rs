//! Judges what happened by the simulator's own truth.
//!
//! It imports nothing of the product: it reads marks, journals and calls by itself, from
//! the documents, so that a wrong belief of the product is not repeated here. A
//! `tidy` test holds that.

use mock_servers::harness::{Actor, Arrival, Effect, Object};
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What may be done to whom, as far as the campaign knows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The project of the runners.
    pub project: String,
    /// Keys whose machine may be deleted or replaced in this phase.
    pub may_delete: BTreeSet<String>,
    /// Keys whose guest is given data for its first boot.
    pub seeded: BTreeSet<String>,
    /// Whether anybody consented to more than what disturbs no guest.
    pub consent: bool,
    /// Values that must appear nowhere.
    pub secrets: Vec<String>,
}

/// Sees everything, and remembers what should not have happened.
#[derive(Clone)]
pub struct Oracle(Arc<Mutex<State>>);

struct Book {
    /// Whose it is, as that account is called.
    who: String,
    journal: Connection,
    /// Rows that a request has been matched with: one send each.
    used: BTreeSet<i64>,
}

#[derive(Default)]
struct State {
    rules: Rules,
    books: Vec<Book>,
    now: BTreeMap<String, Object>,
    /// Objects that a client made, and nobody else has replaced since.
    born: BTreeSet<String>,
    /// Objects that the operator made or replaced.
    others: BTreeSet<String>,
    /// The request before which the operator last changed an object.
    disturbed_at: BTreeMap<String, u64>,
    /// The last read of an object by somebody, and how the object was then.
    read: BTreeMap<(String, String), (u64, Option<Object>)>,
    last_arrival: u64,
    /// Requests that would change something, by sender and object: the last one.
    sent_at: BTreeMap<(String, String), u64>,
    /// What was known of the object when each of them was sent.
    as_sent: BTreeMap<u64, (u64, Option<Object>)>,
    /// What each of them asked for.
    calls: BTreeMap<u64, &'static str>,
    /// Which journal and row each such request was sent on.
    rows: BTreeMap<u64, (usize, i64)>,
    /// Which request an object was born of.
    born_of: BTreeMap<String, u64>,
    /// Which object a client last started for a key.
    started: BTreeMap<String, BTreeSet<String>>,
    /// What the operator did to keys of ours.
    disturbed_keys: BTreeSet<String>,
    violations: Vec<String>,
    sends: u64,
    effects: u64,
    starts: u64,
}

/// One mark, read by the rules of the document that describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub project: String,
    pub key: String,
    pub uuid: String,
    pub id: String,
    pub stage: String,
}

/// The mark in some notes: the last line that begins like one, or holds the free key of
/// that name; in the comment of a pool, which is one line, the end of it.
pub fn mark(notes: &str) -> Option<Mark> {
    let begin = |line: &str| {
        let line = line.strip_prefix("novahost.id=").unwrap_or(line);
        let at = if notes.contains('\n') {
            line.find("novahost/1 ").filter(|at| *at == 0)
        } else {
            line.find("novahost/1 ")
        };
        at.map(|at| line[at..].to_owned())
    };
    let line = notes.lines().rev().find_map(begin)?;
    let words: BTreeMap<&str, &str> =
        line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let word = |name: &str| words.get(name).map(|it| (*it).to_owned());
    Some(Mark {
        project: word("project")?,
        key: word("key")?,
        uuid: word("uuid").unwrap_or_default(),
        id: word("id").unwrap_or_default(),
        stage: word("stage").unwrap_or_default(),
    })
}

/// The native id without its kind.
pub fn native(id: &str) -> &str {
    id.split_once('/').map_or(id, |(_, rest)| rest)
}

/// What the journal has in the place of an object's id: for a part of a pool anything, since
/// its steps are under the pool's name.
pub fn named(id: &str) -> &str {
    if id.starts_with("part/") { "" } else { native(id) }
}

/// Whether an object is the runners' own: the mark names this very object.
pub fn is_ours(project: &str, id: &str, object: &Object) -> Option<Mark> {
    let found = mark(&object.notes).filter(|it| it.project == project)?;
    let half_made = found.stage == "new";
    let binds = match id.split_once('/') {
        Some(("pool", name)) => found.key == format!("pool/{name}"),
        Some(("part", id)) => found.key.starts_with("pool/") && found.id == id,
        _ => {
            let own = object.uuid.as_deref().unwrap_or("");
            let same_uuid = found.uuid.eq_ignore_ascii_case(own);
            // Where ids are not chosen, a machine is born with its UUID instead.
            let unnamed = half_made && found.id == "pending" && same_uuid;
            unnamed || found.id == native(id) && (half_made || same_uuid)
        }
    };
    binds.then_some(found)
}

/// Whether a call is about no object: it makes a label known, or a role, or the attribute that
/// marks bear, or something in a place that is everybody's.
pub fn is_about_a_place(call: &str) -> bool {
    let known = matches!(call, "make-label" | "make-label-value" | "make-role" | "define-mark");
    known || matches!(call, "create-folder" | "create-pool" | "change-rules")
}

/// What a journal calls a request of this kind.
pub fn ops(call: &str) -> &'static [&'static str] {
    match call {
        "create" => &["create"],
        "clone" => &["clone"],
        "configure" => &["configure"],
        "relocate" => &["set-pool", "move-disks"],
        "move" => &["set-pool"],
        "upgrade" => &["upgrade-hardware"],
        "customize" => &["customize"],
        "make-role" => &["make-role"],
        "grant" => &["grant"],
        "revoke" => &["revoke"],
        "snapshot" => &["take-snapshot"],
        "remove-snapshot" => &["remove-snapshot"],
        "resize" => &["grow-disk"],
        "start" => &["start"],
        "shutdown" => &["shutdown"],
        "stop" => &["stop"],
        "delete" => &["delete"],
        "create-pool" => &["create-pool", "make-part"],
        "change-pool" => &["set-pool", "set-comment"],
        "delete-pool" => &["delete-pool", "remove-part"],
        "define-mark" | "create-folder" => &["make-part"],
        "mark-part" => &["mark-part", "set-comment"],
        "delete-folder" => &["remove-part"],
        "change-rules" => &["create-spread", "set-spread", "delete-spread"],
        "make-label" => &["define-label"],
        "make-label-value" => &["define-label-value"],
        "label" => &["set-label"],
        "unlabel" => &["clear-label"],
        _ => &[],
    }
}

impl Oracle {
    /// One for this world.
    pub fn new(rules: Rules, now: BTreeMap<String, Object>) -> Self {
        Self(Arc::new(Mutex::new(State { rules, now, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the journal of an account, beside whoever writes it.
    pub fn reads_journal(&self, who: &str, path: &Path) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let journal = Connection::open_with_flags(path, flags).unwrap();
        self.state().books.push(Book { who: who.to_owned(), journal, used: BTreeSet::new() });
    }

    /// Lets go of all journals.
    pub fn closes_journals(&self) {
        self.state().books.clear();
    }

    /// What is allowed from now on.
    pub fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.state().rules);
    }

    /// A request came in.
    pub fn arrived(&self, arrival: &Arrival) {
        self.state().arrived(arrival);
    }

    /// A request was answered. One that was refused for its credentials was never looked at,
    /// and the same call may come again with better ones.
    pub fn answered(&self, n: u64, status: u16) {
        if status == 401 {
            self.state().unsend(n);
        }
    }

    /// Something changed.
    pub fn happened(&self, effect: Effect) {
        self.state().happened(effect);
    }

    /// Notes that something is wrong.
    pub fn blame(&self, text: impl Into<String>) {
        self.state().violations.push(text.into());
    }

    /// Looks for secrets in what was said.
    pub fn overhears(&self, place: &str, said: &[u8]) {
        let secrets = self.state().rules.secrets.clone();
        for secret in secrets {
            if said.windows(secret.len()).any(|it| it == secret.as_bytes()) {
                self.blame(format!("a secret is in {place}"));
            }
        }
    }

    /// All that should not have happened.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Keys of ours that somebody else has meddled with.
    pub fn disturbed(&self) -> BTreeSet<String> {
        self.state().disturbed_keys.clone()
    }

    /// Machines that are bound to the mark that they bear, with their keys.
    pub fn machines(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let ours = state.now.iter().filter(|(id, _)| id.starts_with("vm/"));
        ours.filter_map(|(id, it)| Some((id.clone(), is_ours(&state.rules.project, id, it)?.key)))
            .collect()
    }

    /// Keys with a machine that bears their mark and is bound to it.
    pub fn keys(&self) -> BTreeSet<String> {
        let state = self.state();
        let ours = state.now.iter().filter_map(|(id, it)| is_ours(&state.rules.project, id, it));
        ours.map(|mark| mark.key).collect()
    }

    /// Requests to change something, changes, and starts.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.sends, state.effects, state.starts)
    }

    /// After recovery: nothing that a client made is without a mark that binds, and no
    /// key has two machines that do.
    pub fn at_rest(&self) {
        let mut state = self.state();
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (id, object) in &state.now {
            let ours = is_ours(&state.rules.project, id, object);
            // What others did to its mark is theirs.
            let meddled = state.others.contains(id) || state.disturbed_at.contains_key(id);
            // What a part lies in is made on the way to it, and stays nobody's.
            let is_part = id.starts_with("part/");
            if state.born.contains(id) && ours.is_none() && !meddled && !is_part {
                let notes = &object.notes;
                wrong.push(format!("{id} was made here and bears no mark that binds: {notes:?}"));
            }
            if let Some(mark) = ours.filter(|_| !state.others.contains(id) && !is_part) {
                keys.entry(mark.key).or_default().push(id.clone());
            }
        }
        for (id, n) in state.born_of.iter().filter(|(id, _)| state.born.contains(*id)) {
            // What failed and was taken back is not there.
            let is_there = state.now.get(id).is_some_and(|it| it.name != "(volumes only)");
            let Some((book, row)) = state.rows.get(n).filter(|_| is_there) else { continue };
            let sql = "SELECT coalesce(outcome, 'open') FROM steps WHERE id = ?1";
            let outcome: Result<String, _> =
                state.books[*book].journal.query_row(sql, [row], |row| row.get(0));
            if outcome.as_ref().is_ok_and(|it| it == "refused" || it == "not-sent") {
                wrong.push(format!("{id} was made by a call that the journal calls {outcome:?}"));
            }
        }
        let twice = keys.iter().filter(|(_, ids)| ids.len() > 1);
        wrong.extend(twice.map(|(key, ids)| format!("{key} is {ids:?}")));
        state.violations.extend(wrong);
    }
}

impl State {
    fn blame(&mut self, text: String) {
        self.violations.push(text);
    }

    fn arrived(&mut self, arrival: &Arrival) {
        self.last_arrival = arrival.n;
        let Some(id) = arrival.object.clone() else {
            if arrival.mutates && is_about_a_place(arrival.call) {
                // What is made so is nobody's yet; something is to bear a mark or it next.
                self.sends += 1;
                self.match_row(arrival, "");
            } else if arrival.mutates {
                let (call, text) = (arrival.call, &arrival.text);
                self.blame(format!("`{call}` is about nothing: {text}"));
            }
            return;
        };
        if arrival.call == "read-config" {
            let object = self.now.get(&id).cloned();
            self.read.insert((arrival.by.clone(), id), (arrival.n, object));
            return;
        }
        if arrival.mutates {
            self.sends += 1;
            self.match_row(arrival, &id);
            self.looked_first(arrival, &id);
            let whose = (arrival.by.clone(), id.clone());
            let seen = self.read.get(&whose).cloned().unwrap_or_default();
            self.as_sent.insert(arrival.n, seen);
            self.sent_at.insert((arrival.by.clone(), id.clone()), arrival.n);
            self.calls.insert(arrival.n, arrival.call);
            let never_ran = self.now.get(&id).is_some_and(|it| it.starts == 0);
            let disturbs = matches!(arrival.call, "shutdown" | "stop" | "delete");
            if disturbs && !self.rules.consent && !(never_ran && self.born.contains(&id)) {
                self.blame(format!("`{}` of {id}, and nobody consented", arrival.call));
            }
        }
    }

    /// Nothing is sent about a machine that was not read since the last thing was sent.
    fn looked_first(&mut self, arrival: &Arrival, id: &str) {
        let (call, n) = (arrival.call, arrival.n);
        if matches!(call, "clone" | "create") || !id.starts_with("vm/") {
            return;
        }
        let whose = (arrival.by.clone(), id.to_owned());
        let read = self.read.get(&whose).map(|(at, _)| *at);
        let sent = self.sent_at.get(&whose).copied();
        if read.is_none() || sent.is_some_and(|sent| read < Some(sent)) {
            self.blame(format!("request {n} `{call}` about {id} came without a look at it"));
        }
    }

    fn unsend(&mut self, n: u64) {
        if let Some((book, row)) = self.rows.remove(&n) {
            self.books[book].used.remove(&row);
        }
        self.sent_at.retain(|_, at| *at != n);
    }

    /// The row that this request was sent on: written before, and used only once.
    fn match_row(&mut self, arrival: &Arrival, id: &str) {
        let wanted = ops(arrival.call);
        let own = |book: &(usize, &mut Book)| book.1.who == arrival.by;
        for (at, book) in self.books.iter_mut().enumerate().filter(own) {
            // A birth whose id the product chooses is written down under its name.
            let sql = "SELECT id, op FROM steps WHERE outcome IS NULL
                 AND (?1 IN ('', native_id) OR birth AND native_id = ''
                 AND json_extract(intent, '$.target.birth.name') = ?1) ORDER BY id";
            let mut found = None;
            // A journal that is not made yet has no rows.
            if let Ok(mut statement) = book.journal.prepare_cached(sql) {
                let rows = statement.query_map([named(id)], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                });
                for (row, op) in rows.into_iter().flatten().flatten() {
                    if wanted.contains(&op.as_str()) && !book.used.contains(&row) {
                        found = Some(row);
                    }
                }
            }
            if let Some(row) = found {
                book.used.insert(row);
                self.rows.insert(arrival.n, (at, row));
                return;
            }
        }
        let (call, n) = (arrival.call, arrival.n);
        self.blame(format!("request {n} `{call}` about {id} has no row of its own in the journal"));
    }

    fn happened(&mut self, effect: Effect) {
        match &effect.by {
            Actor::Operator => self.operator(&effect),
            Actor::Client(_) => self.client(&effect),
        }
        match effect.after {
            Some(object) => self.now.insert(effect.id, object),
            None => self.now.remove(&effect.id),
        };
    }

    fn operator(&mut self, effect: &Effect) {
        let id = &effect.id;
        self.disturbed_at.insert(id.clone(), effect.request.unwrap_or(self.last_arrival));
        let sides = [effect.before.as_ref(), effect.after.as_ref()];
        for object in sides.into_iter().flatten() {
            if let Some(mark) = mark(&object.notes) {
                self.disturbed_keys.insert(mark.key);
            }
        }
        if let (Some(before), Some(after)) = (&effect.before, &effect.after) {
            // Another machine under the same id.
            if before.uuid != after.uuid {
                self.born.remove(id);
                self.others.insert(id.clone());
            }
        } else if effect.after.is_some() {
            self.born.remove(id);
            self.others.insert(id.clone());
        } else {
            self.born.remove(id);
        }
    }

    fn client(&mut self, effect: &Effect) {
        self.effects += 1;
        let id = effect.id.clone();
        // Volumes that a birth left behind when it failed are no machine.
        let was_there = effect.before.as_ref().filter(|it| it.name != "(volumes only)");
        let Some(before) = was_there else {
            self.born.insert(id.clone());
            self.born_of.extend(effect.request.map(|n| (id.clone(), n)));
            self.others.remove(&id);
            if effect.after.as_ref().is_some_and(|it| it.running) {
                self.blame(format!("{id} was born running"));
            }
            return;
        };
        let unlocked = |it: &Object| Object { lock: None, ..it.clone() };
        if effect.after.as_ref().is_some_and(|after| unlocked(before) == unlocked(after)) {
            // The product's own lock, on what is copied from for instance.
            return;
        }
        let before = before.clone();
        self.title(&id, &before, effect);
        match &effect.after {
            Some(after) if after.starts > before.starts => {
                self.start(&id, &before, after, effect);
            }
            Some(_) => {}
            None => self.end(&id, &before, effect),
        }
    }

    /// Whether the clients had any right to change this object.
    fn title(&mut self, id: &str, before: &Object, effect: &Effect) {
        let project = self.rules.project.clone();
        if is_ours(&project, id, before).is_some() {
            return;
        }
        // A birth that has not got its mark yet, or is being taken back.
        if self.born.contains(id) && mark(&before.notes).is_none_or(|it| it.project == project) {
            return;
        }
        // Between a read and a call that the product does not guard, nobody can see.
        let (read_at, as_read) = self.as_read(effect);
        let moved_since = self.disturbed_at.get(id).is_some_and(|at| *at > read_at);
        let was_ours = as_read.is_some_and(|it| is_ours(&project, id, &it).is_some());
        let before_text = before.notes.clone();
        let guarded = self.is_guarded(effect);
        if moved_since && was_ours && !guarded {
            return;
        }
        self.blame(format!(
            "{id} ({}) was changed by request {:?} and is not ours: {before_text:?}",
            before.name, effect.request
        ));
    }

    /// When whoever made a change had last looked at its object before he sent it, and
    /// what was seen.
    fn as_read(&self, effect: &Effect) -> (u64, Option<Object>) {
        effect.request.and_then(|n| self.as_sent.get(&n).cloned()).unwrap_or_default()
    }

    /// Whether a change came by a call that the product itself refuses when the object has
    /// moved since it was read.
    fn is_guarded(&self, effect: &Effect) -> bool {
        let call = effect.request.and_then(|n| self.calls.get(&n));
        call.is_some_and(|call| matches!(*call, "configure" | "resize"))
    }

    fn start(&mut self, id: &str, before: &Object, after: &Object, effect: &Effect) {
        self.starts += 1;
        // No product guards a start: what counts is what was seen right before.
        let (_, as_read) = self.as_read(effect);
        let seen = as_read.and_then(|it| mark(&it.notes));
        let Some(mark) = mark(&before.notes).or(seen) else {
            return self.blame(format!("{id} was started without a mark"));
        };
        if mark.stage != "ready" {
            self.blame(format!("{id} was started at stage `{}`", mark.stage));
        }
        if self.rules.seeded.contains(&mark.key) && after.seeded != Some(true) {
            self.blame(format!("{id} was started before its first boot was prepared"));
        }
        let earlier = self.started.entry(mark.key.clone()).or_default();
        earlier.insert(id.to_owned());
        let earlier = earlier.clone();
        for other in earlier.iter().filter(|other| *other != id) {
            let runs = self.now.get(other).is_some_and(|it| it.running);
            if runs && !self.others.contains(other) {
                self.blame(format!("{} runs twice: {other} and {id}", mark.key));
            }
        }
    }

    fn end(&mut self, id: &str, before: &Object, effect: &Effect) {
        let Some(found) = mark(&before.notes) else { return };
        // Between the look and the delete, which no product guards, another runner may have
        // called the machine back: what counts is what was seen.
        let (_, as_read) = self.as_read(effect);
        let mark = as_read.and_then(|it| mark(&it.notes)).unwrap_or(found);
        let never_ran = before.starts == 0 && self.born.contains(id);
        if !never_ran && id.starts_with("vm/") && mark.stage != "deleting" {
            self.blame(format!("{id} ({}) was deleted at stage `{}`", mark.key, mark.stage));
        }
        if !never_ran && !self.rules.may_delete.contains(&mark.key) {
            self.blame(format!("{id} ({}) was deleted and nobody asked for it", mark.key));
        }
        self.born.remove(id);
    }
}
