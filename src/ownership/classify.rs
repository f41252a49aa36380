//! Which objects are ours, by key, and what stands in the way of creating one.
//!
//! The rules are the table of ownership classes in ARCHITECTURE.md. A marker is
//! title; the journal may withhold or label, never add.

use super::text::MarkerKey;
use crate::model::{
    Code, History, HypervisorInventory, HypervisorName, Inventory, Kind, Marker, MarkerState,
    NativeId, ObservedMachine, OpenBirth, ProjectName, Remembered, ResourceKey, Stage, Words,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whether one object's marker makes it ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Ours and complete: uuid and id are both the object's own.
    Ready,
    /// Ours and half-made: every half that is known at birth is the object's own.
    New,
    /// Ours and on its way out; binds like ready.
    Deleting,
    /// Not ours, or not provably; in words.
    NotOurs(String),
}

/// Judges one object against one key.
///
/// `ready` and `deleting` need both halves of the identity. `new` needs every half that its
/// marker states, and one at least: where we choose the id, a clone is born with `uuid=none`
/// and gets ours in the same write in which its marker begins to state it; where the
/// hypervisor assigns the id, it is born with `id=pending` and our uuid.
pub fn binding(
    project: &ProjectName,
    key: &ResourceKey,
    machine: &ObservedMachine,
    marker_key: Option<&MarkerKey>,
) -> Binding {
    let not_ours = |why: &str| Binding::NotOurs(why.to_owned());
    let marker = match &machine.marker {
        MarkerState::Found(marker) => marker,
        MarkerState::None => return not_ours("it has no marker"),
        MarkerState::Garbled(_) => return not_ours("its marker cannot be read"),
    };
    if marker.project != *project {
        return Binding::NotOurs(format!("it belongs to project `{}`", marker.project));
    }
    if marker.key != *key {
        return Binding::NotOurs(format!("its marker says `{}`", marker.key));
    }
    if marker_key.is_some_and(|secret| !secret.verifies(marker)) {
        return not_ours("the signature of its marker is wrong");
    }
    let id_binds = marker.id.as_ref().map(|marked| *marked == machine.id);
    let uuid_binds = match (marker.uuid, machine.uuid) {
        (Some(marked), Some(own)) => Some(marked == own),
        (None, _) => None,
        (Some(_), None) => Some(false),
    };
    match marker.stage {
        Stage::New => match (id_binds, uuid_binds) {
            (Some(false), _) => not_ours("its marker names another id"),
            (_, Some(false)) => not_ours("its marker names another machine uuid"),
            (None, None) => not_ours("its marker names neither id nor machine uuid"),
            (Some(true), _) | (None, Some(true)) => Binding::New,
        },
        Stage::Ready | Stage::Deleting => match (id_binds, uuid_binds) {
            (Some(true), Some(true)) if marker.stage == Stage::Ready => Binding::Ready,
            (Some(true), Some(true)) => Binding::Deleting,
            (Some(true), Some(false)) => not_ours("its marker names another machine uuid"),
            (Some(true), None) => not_ours("its marker names no machine uuid"),
            (Some(false), Some(true)) => not_ours("its marker names another id"),
            (None, Some(true)) => not_ours("its marker names no id"),
            (Some(false) | None, _) => {
                not_ours("its marker names another id and another machine uuid")
            }
        },
    }
}

/// One object that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Where.
    pub hypervisor: HypervisorName,
    /// Its native id.
    pub id: NativeId,
    /// How far its life has come.
    pub stage: Stage,
}

/// Why a key cannot be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Where the object in the way is.
    pub hypervisor: HypervisorName,
    /// The object in the way.
    pub id: Option<NativeId>,
    /// Which row of the table.
    pub code: Code,
    /// In words.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// All that was learnt about ownership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Keys with exactly one object that binds.
    pub owned: BTreeMap<ResourceKey, Owned>,
    /// Keys with something in the way.
    pub obstacles: BTreeMap<ResourceKey, Vec<Obstacle>>,
    /// Hypervisors with an object that could be anyone's: they block every key that
    /// was not found elsewhere.
    pub fog: BTreeMap<HypervisorName, Vec<Obstacle>>,
    /// What the journal remembers as ours and a complete inventory does not show.
    pub vanished: BTreeSet<ResourceKey>,
    /// Objects that name a key of ours which is held elsewhere: in nobody's way, and worth
    /// knowing.
    pub copies: Vec<Obstacle>,
    /// How each hypervisor's product calls things, for what is said of them.
    pub words: BTreeMap<HypervisorName, Words>,
}

impl Ownership {
    /// What holds the marker of a machine there, as a person finds it.
    fn marker_home(&self, hypervisor: &HypervisorName) -> &'static str {
        self.words.get(hypervisor).map_or("settings", |it| it.marker_home)
    }

    /// What stands in the way of a key on the hypervisor that it would be created on.
    pub fn obstacle(&self, key: &ResourceKey, hypervisor: &HypervisorName) -> Option<&Obstacle> {
        self.obstacles.get(key).and_then(|all| all.first()).or_else(|| {
            let found = self.owned.contains_key(key);
            self.fog.get(hypervisor).filter(|_| !found).and_then(|all| all.first())
        })
    }
}

/// Looks at every object that names a key of this project, all together.
pub fn classify(
    project: &ProjectName,
    inventory: &Inventory,
    history: &History,
    wanted_names: &BTreeMap<(HypervisorName, String), ResourceKey>,
    marker_key: Option<&MarkerKey>,
    words: BTreeMap<HypervisorName, Words>,
) -> Ownership {
    let mut result = Ownership { words, ..Ownership::default() };
    let mut binders: BTreeMap<&ResourceKey, Vec<Owned>> = BTreeMap::new();
    for (hypervisor, seen) in &inventory.hypervisors {
        for machine in seen.machines.values() {
            match &machine.marker {
                MarkerState::Found(marker) if marker.project == *project => {
                    let it = Marked { hypervisor, seen, machine, marker };
                    sort_marked(&mut result, &mut binders, &it, history, marker_key);
                }
                MarkerState::Garbled(text) => {
                    note_garbled(&mut result, project, hypervisor, seen, machine, text);
                }
                MarkerState::Found(_) | MarkerState::None => {}
            }
        }
        note_unreadable(&mut result, history, hypervisor, seen, wanted_names);
    }
    for (key, mut all) in binders {
        if all.len() == 1 {
            result.owned.extend(all.pop().map(|owned| (key.clone(), owned)));
        } else {
            note_duplicate(&mut result, inventory, key, &all);
        }
    }
    compare_with_history(&mut result, project, inventory, history);
    // An impostor of a key that we hold elsewhere is somebody's copy: worth knowing,
    // no reason to stop.
    for (key, obstacles) in &mut result.obstacles {
        if result.owned.contains_key(key) {
            let is_copy =
                |it: &mut Obstacle| matches!(it.code, Code::Impostor | Code::GarbledMarker);
            result.copies.extend(obstacles.extract_if(.., is_copy));
        }
    }
    result.obstacles.retain(|_, obstacles| !obstacles.is_empty());
    result
}

/// A machine that names a key of this project.
struct Marked<'a> {
    hypervisor: &'a HypervisorName,
    seen: &'a HypervisorInventory,
    machine: &'a ObservedMachine,
    marker: &'a Marker,
}

fn sort_marked<'a>(
    result: &mut Ownership,
    binders: &mut BTreeMap<&'a ResourceKey, Vec<Owned>>,
    &Marked { hypervisor, seen, machine, marker }: &Marked<'a>,
    history: &History,
    marker_key: Option<&MarkerKey>,
) {
    let key = &marker.key;
    let why = match binding(&marker.project, key, machine, marker_key) {
        Binding::Ready | Binding::New | Binding::Deleting => {
            let owned = Owned {
                hypervisor: hypervisor.clone(),
                id: machine.id.clone(),
                stage: marker.stage,
            };
            binders.entry(key).or_default().push(owned);
            return;
        }
        Binding::NotOurs(why) => why,
    };
    let uuid_binds = marker.uuid.is_some() && marker.uuid == machine.uuid;
    let old_gone = marker.id.as_ref().is_some_and(|id| !seen.listed.contains_key(id));
    let signed = marker_key.is_none_or(|secret| secret.verifies(marker));
    let who = called(hypervisor, seen, &machine.id);
    // Where nothing of it can be known before its birth, the journal alone can tell ours
    // from a copy that was made while it was being born.
    let unknown_yet = marker.stage == Stage::New && marker.id.is_none() && marker.uuid.is_none();
    let (code, message) = if unknown_yet && history.has_open(key, hypervisor, marker.intent) {
        (Code::BeingBorn, format!("{who} is being born as {key}"))
    } else if unknown_yet {
        (Code::StrayBirth, format!("{who} was begun as {key}, and nobody remembers having done so"))
    } else if uuid_binds && old_gone && signed {
        let was = marker.id.as_ref().map_or("?", |id| id.as_str());
        let moved = format!(
            "{who} is {key}, which was {was}: it was restored, registered again or failed over"
        );
        (Code::Moved, moved)
    } else {
        let copy = format!("{who} names {key}, but {why}: it looks like a copy");
        (Code::Impostor, copy)
    };
    let home = result.marker_home(hypervisor);
    result.obstacles.entry(key.clone()).or_default().push(Obstacle {
        hypervisor: hypervisor.clone(),
        id: Some(machine.id.clone()),
        code,
        message,
        help: format!(
            "look at it; if it is {key}, write `adopt: {hypervisor}/{}` on its entry; if not, remove the `novahost/1` lines from its {home}",
            machine.id
        ),
    });
}

/// An object as a person finds it: `20900 (`copy`) on paris`.
fn called(hypervisor: &HypervisorName, seen: &HypervisorInventory, id: &NativeId) -> String {
    let read = seen.machines.get(id).and_then(|it| it.settled().name.as_deref());
    let listed = || seen.listed.get(id).and_then(|it| it.name.as_deref());
    match read.or_else(listed) {
        Some(name) => format!("{id} (`{name}`) on {hypervisor}"),
        None => format!("{id} on {hypervisor}"),
    }
}

fn note_garbled(
    result: &mut Ownership,
    project: &ProjectName,
    hypervisor: &HypervisorName,
    seen: &HypervisorInventory,
    machine: &ObservedMachine,
    text: &str,
) {
    let mut words = text.split_whitespace();
    let ours = machine.bulk_mark || words.clone().any(|word| word == format!("project={project}"));
    let key = words.find_map(|word| word.strip_prefix("key=")?.parse::<ResourceKey>().ok());
    if !ours {
        return;
    }
    let obstacle = Obstacle {
        hypervisor: hypervisor.clone(),
        id: Some(machine.id.clone()),
        code: Code::GarbledMarker,
        message: format!("the marker on {} cannot be read", called(hypervisor, seen, &machine.id)),
        help: "put its lines back as they were (`novahost audit show` has them), or remove them"
            .to_owned(),
    };
    match key {
        Some(key) => result.obstacles.entry(key).or_default().push(obstacle),
        None => result.fog.entry(hypervisor.clone()).or_default().push(obstacle),
    }
}

fn note_unreadable(
    result: &mut Ownership,
    history: &History,
    hypervisor: &HypervisorName,
    seen: &HypervisorInventory,
    wanted_names: &BTreeMap<(HypervisorName, String), ResourceKey>,
) {
    for (id, why) in &seen.unreadable {
        let listed = seen.listed.get(id);
        let remembered = |all: &BTreeSet<Remembered>| {
            all.iter()
                .find(|it| it.hypervisor == *hypervisor && it.id == *id)
                .map(|it| it.key.clone())
        };
        let obstacle = |code, message: String| Obstacle {
            hypervisor: hypervisor.clone(),
            id: Some(id.clone()),
            code,
            message,
            help: "wait until it can be read, then plan again".to_owned(),
        };
        let by_name = || {
            let name = listed?.name_key()?.to_owned();
            wanted_names.get(&(hypervisor.clone(), name)).cloned()
        };
        let open = history
            .open
            .iter()
            .find(|it| it.hypervisor == *hypervisor && it.id.as_ref() == Some(id));
        if let Some(OpenBirth { key, .. }) = open {
            let key = key.clone();
            let text = format!("{} is being born as {key}", called(hypervisor, seen, id));
            result.obstacles.entry(key).or_default().push(obstacle(Code::BeingBorn, text));
        } else if let Some(key) = remembered(&history.owned).or_else(by_name) {
            let who = called(hypervisor, seen, id);
            let text = format!("{who} could be {key} and cannot be read: {why}");
            result.obstacles.entry(key).or_default().push(obstacle(Code::UnreadableObject, text));
        } else {
            // Without a pointer it could be any key that was not found elsewhere.
            let text = format!("{} cannot be read: {why}", called(hypervisor, seen, id));
            result
                .fog
                .entry(hypervisor.clone())
                .or_default()
                .push(obstacle(Code::UnreadableObject, text));
        }
    }
}

fn note_duplicate(result: &mut Ownership, inventory: &Inventory, key: &ResourceKey, all: &[Owned]) {
    let each = all.iter().filter_map(|it| {
        let seen = inventory.hypervisors.get(&it.hypervisor)?;
        Some(called(&it.hypervisor, seen, &it.id))
    });
    let list: Vec<String> = each.collect();
    for owned in all {
        let home = result.marker_home(&owned.hypervisor);
        result.obstacles.entry(key.clone()).or_default().push(Obstacle {
            hypervisor: owned.hypervisor.clone(),
            id: Some(owned.id.clone()),
            code: Code::Duplicate,
            message: format!("{} machines are {key}: {}", all.len(), list.join(", ")),
            help: format!("write `adopt: HYPERVISOR/ID` on {key} to say which one it is, and remove the `novahost/1` lines from the {home} of the others"),
        });
    }
}

fn compare_with_history(
    result: &mut Ownership,
    project: &ProjectName,
    inventory: &Inventory,
    history: &History,
) {
    for record in &history.owned {
        let Some(seen) = inventory.hypervisors.get(&record.hypervisor) else { continue };
        note_other_key(result, project, seen, history, record);
        if result.owned.get(&record.key).is_some_and(|owned| owned.id == record.id) {
            continue;
        }
        // Pools are listed apart, and bound by their names.
        if record.key.kind == Kind::Pool && seen.pools.contains_key(&record.key.name) {
            continue;
        }
        if let Some(machine) = seen.machines.get(&record.id) {
            // Somebody else's marker there means that the id was used again.
            if machine.marker == MarkerState::None && !result.owned.contains_key(&record.key) {
                result.obstacles.entry(record.key.clone()).or_default().push(Obstacle {
                    hypervisor: record.hypervisor.clone(),
                    id: Some(record.id.clone()),
                    code: Code::LostMarker,
                    message: format!(
                        "the journal says that {} is {}, but its marker is gone",
                        called(&record.hypervisor, seen, &record.id),
                        record.key
                    ),
                    help: format!(
                        "if it is {}, write `adopt: {}/{}` on its entry; if another machine was given its id, `novahost forget {}`",
                        record.key, record.hypervisor, record.id, record.key
                    ),
                });
            }
        } else if seen.coverage.is_complete()
            && !seen.listed.contains_key(&record.id)
            && !result.owned.contains_key(&record.key)
        {
            result.vanished.insert(record.key.clone());
        }
    }
}

/// Marker and journal disagree about whose an object is: nothing is written for either
/// entry until a person decides.
fn note_other_key(
    result: &mut Ownership,
    project: &ProjectName,
    seen: &HypervisorInventory,
    history: &History,
    record: &Remembered,
) {
    let (hypervisor, id) = (&record.hypervisor, &record.id);
    let Some(marker) = seen.machines.get(id).and_then(|it| it.marker.found()) else { return };
    let other = &marker.key;
    // An id that was used again is remembered under both keys, and somebody else's marker
    // says the same.
    if marker.project != *project
        || *other == record.key
        || result.owned.contains_key(&record.key)
        || history.remembers(other, hypervisor, id)
    {
        return;
    }
    let bears = |owned: &Owned| owned.hypervisor == *hypervisor && owned.id == *id;
    let mut blocked = vec![(&record.key, Code::LostMarker)];
    if result.owned.get(other).is_some_and(bears) {
        result.owned.remove(other);
        blocked.push((other, Code::Impostor));
    }
    for (key, code) in blocked {
        result.obstacles.entry(key.clone()).or_default().push(Obstacle {
            hypervisor: hypervisor.clone(),
            id: Some(id.clone()),
            code,
            message: format!(
                "the journal says that {} is {}, but its marker says `{other}`",
                called(hypervisor, seen, id),
                record.key
            ),
            help: format!(
                "if it is {0}, write `key={0}` in its `novahost/1` line; if it is not, remove that line",
                record.key
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Coverage, DeviceMap, GuestKind, Listed, PowerState};
    use crate::ownership::{intent_id, machine_uuid};

    fn project() -> ProjectName {
        "acme".into()
    }

    fn machine(id: &str, key: &str, stage: Stage) -> ObservedMachine {
        let key = ResourceKey::vm(key);
        let intent = intent_id("plan", &key);
        let uuid = machine_uuid(&project(), &key, intent);
        let marker = Marker {
            project: project(),
            key,
            uuid: Some(uuid),
            id: Some(id.into()),
            stage,
            intent,
            init: None,
            protect: false,
            mac: None,
            map: DeviceMap::default(),
        };
        ObservedMachine {
            id: id.into(),
            node: Some("pve1".into()),
            uuid: Some(uuid),
            template: false,
            snapshots: Vec::new(),
            hot: [].into(),
            power: PowerState::Stopped,
            lock: None,
            marker: MarkerState::Found(Box::new(marker)),
            bulk_mark: true,
            spec: crate::model::MachineSpec::default(),
            next: None,
            devices: Vec::new(),
            known_labels: [].into(),
            setup_waits: false,
            addresses: Vec::new(),
        }
    }

    fn edit(mut machine: ObservedMachine, change: impl FnOnce(&mut Marker)) -> ObservedMachine {
        if let MarkerState::Found(marker) = &mut machine.marker {
            change(marker);
        }
        machine
    }

    fn listed() -> Listed {
        Listed {
            node: Some("pve1".into()),
            name: None,
            guest: GuestKind::Vm,
            template: false,
            pool: None,
            name_key: None,
            marked: None,
            tags: BTreeSet::new(),
            lock: None,
            memory: None,
            cpu: None,
            power: PowerState::Stopped,
        }
    }

    fn inventory(machines: Vec<ObservedMachine>) -> Inventory {
        let mut seen = HypervisorInventory::failed("", crate::model::FailureKind::Unreachable);
        seen.coverage = Coverage::Complete;
        for machine in machines {
            seen.listed.insert(machine.id.clone(), listed());
            seen.machines.insert(machine.id.clone(), machine);
        }
        Inventory { hypervisors: [("pve".into(), seen)].into() }
    }

    fn judge(inventory: &Inventory, history: &History) -> Ownership {
        classify(&project(), inventory, history, &BTreeMap::new(), None, BTreeMap::new())
    }

    fn codes(ownership: &Ownership, key: &str) -> Vec<Code> {
        let all = ownership.obstacles.get(&ResourceKey::vm(key));
        all.into_iter().flatten().map(|it| it.code).collect()
    }

    #[test]
    fn both_halves_must_be_the_objects_own() {
        let good = machine("100", "web", Stage::Ready);
        let key = ResourceKey::vm("web");
        assert_eq!(binding(&project(), &key, &good, None), Binding::Ready);
        let other_uuid = ObservedMachine { uuid: Some(uuid::Uuid::nil()), ..good.clone() };
        let other_id = ObservedMachine { id: "101".into(), ..good.clone() };
        let no_uuid = edit(good.clone(), |marker| marker.uuid = None);
        for wrong in [other_uuid, other_id, no_uuid] {
            assert!(matches!(binding(&project(), &key, &wrong, None), Binding::NotOurs(_)));
        }
        assert!(matches!(binding(&"other".into(), &key, &good, None), Binding::NotOurs(_)));
        let signed = MarkerKey::new(*b"key");
        assert!(matches!(binding(&project(), &key, &good, Some(&signed)), Binding::NotOurs(_)));
    }

    #[test]
    fn a_half_made_clone_binds_by_its_id_alone() {
        let born = edit(machine("100", "web", Stage::New), |marker| marker.uuid = None);
        let born = ObservedMachine { uuid: Some(uuid::Uuid::nil()), ..born };
        assert_eq!(binding(&project(), &ResourceKey::vm("web"), &born, None), Binding::New);
        let elsewhere = ObservedMachine { id: "101".into(), ..born };
        let verdict = binding(&project(), &ResourceKey::vm("web"), &elsewhere, None);
        assert!(matches!(verdict, Binding::NotOurs(_)));
    }

    #[test]
    fn a_half_made_machine_that_states_a_uuid_binds_by_it_too() {
        let born = machine("100", "web", Stage::New);
        assert_eq!(binding(&project(), &ResourceKey::vm("web"), &born, None), Binding::New);
        let copy = ObservedMachine { uuid: Some(uuid::Uuid::nil()), ..born };
        let verdict = binding(&project(), &ResourceKey::vm("web"), &copy, None);
        assert!(matches!(verdict, Binding::NotOurs(_)));
    }

    #[test]
    fn a_machine_that_is_born_without_a_known_id_binds_by_our_uuid() {
        let born = edit(machine("vm-66", "web", Stage::New), |marker| marker.id = None);
        assert_eq!(binding(&project(), &ResourceKey::vm("web"), &born, None), Binding::New);
        let not_ours = |it: &ObservedMachine| {
            matches!(binding(&project(), &ResourceKey::vm("web"), it, None), Binding::NotOurs(_))
        };
        let copy = ObservedMachine { uuid: Some(uuid::Uuid::nil()), ..born.clone() };
        assert!(not_ours(&copy));
        assert!(not_ours(&edit(born.clone(), |marker| marker.uuid = None)));
        // Half an identity is enough for what never ran, and for nothing else.
        for stage in [Stage::Ready, Stage::Deleting] {
            assert!(not_ours(&edit(born.clone(), |marker| marker.stage = stage)));
        }
    }

    #[test]
    fn a_birth_of_which_nothing_is_known_needs_the_journal_as_its_witness() {
        let born = edit(machine("vm-66", "web", Stage::New), |marker| {
            (marker.id, marker.uuid) = (None, None);
        });
        let intent = born.marker.found().unwrap().intent;
        let world = inventory(vec![born]);
        assert_eq!(codes(&judge(&world, &History::default()), "web"), [Code::StrayBirth]);
        let open =
            OpenBirth { key: ResourceKey::vm("web"), hypervisor: "pve".into(), intent, id: None };
        let history = History { open: [open].into(), ..History::default() };
        assert_eq!(codes(&judge(&world, &history), "web"), [Code::BeingBorn]);
    }

    #[test]
    fn two_that_bind_are_nobodys() {
        let twin = edit(machine("101", "web", Stage::Ready), |_| {});
        let result =
            judge(&inventory(vec![machine("100", "web", Stage::Ready), twin]), &History::default());
        assert!(result.owned.is_empty());
        assert_eq!(codes(&result, "web"), [Code::Duplicate, Code::Duplicate]);
    }

    #[test]
    fn a_copy_beside_the_original_is_no_obstacle() {
        let copy =
            edit(machine("101", "web", Stage::Ready), |marker| marker.id = Some("100".into()));
        let copy = ObservedMachine { uuid: Some(uuid::Uuid::nil()), ..copy };
        let both = inventory(vec![machine("100", "web", Stage::Ready), copy.clone()]);
        let result = judge(&both, &History::default());
        assert_eq!(result.owned[&ResourceKey::vm("web")].id.as_str(), "100");
        assert!(result.obstacles.is_empty());
        let alone = judge(&inventory(vec![copy]), &History::default());
        assert!(alone.owned.is_empty());
        assert_eq!(codes(&alone, "web"), [Code::Impostor]);
    }

    #[test]
    fn a_restored_machine_under_another_id_is_moved() {
        let restored =
            edit(machine("105", "web", Stage::Ready), |marker| marker.id = Some("100".into()));
        let result = judge(&inventory(vec![restored]), &History::default());
        assert_eq!(codes(&result, "web"), [Code::Moved]);
    }

    #[test]
    fn a_marker_that_went_missing_blocks_its_key() {
        let bare =
            ObservedMachine { marker: MarkerState::None, ..machine("100", "web", Stage::Ready) };
        let record =
            Remembered { key: ResourceKey::vm("web"), hypervisor: "pve".into(), id: "100".into() };
        let history = History { owned: [record].into(), ..History::default() };
        let result = judge(&inventory(vec![bare]), &history);
        assert_eq!(codes(&result, "web"), [Code::LostMarker]);
        let gone = judge(&inventory(Vec::new()), &history);
        assert_eq!(gone.vanished, [ResourceKey::vm("web")].into());
        assert!(gone.obstacles.is_empty());
    }

    #[test]
    fn where_marker_and_journal_name_two_keys_neither_is_acted_upon() {
        let world = inventory(vec![machine("100", "other", Stage::Ready)]);
        let remember = |key: &str| Remembered {
            key: ResourceKey::vm(key),
            hypervisor: "pve".into(),
            id: "100".into(),
        };
        let history = History { owned: [remember("web")].into(), ..History::default() };
        let result = judge(&world, &history);
        assert!(result.owned.is_empty());
        assert_eq!(codes(&result, "web"), [Code::LostMarker]);
        assert_eq!(codes(&result, "other"), [Code::Impostor]);
        // An id that was given to another machine of ours is remembered under both keys.
        let owned = [remember("web"), remember("other")].into();
        let again = judge(&world, &History { owned, ..History::default() });
        assert!(again.owned.contains_key(&ResourceKey::vm("other")));
        assert!(again.obstacles.is_empty());
    }

    #[test]
    fn a_pool_that_is_there_has_not_vanished() {
        let pool = crate::model::ObservedPool::default();
        let mut world = inventory(Vec::new());
        let seen = world.hypervisors.get_mut("pve").unwrap();
        seen.pools.insert("team".into(), pool);
        let remember = |key: &str| Remembered {
            key: ResourceKey::pool(key),
            hypervisor: "pve".into(),
            id: key.into(),
        };
        let owned = [remember("team"), remember("gone")].into();
        let result = judge(&world, &History { owned, ..History::default() });
        assert_eq!(result.vanished, [ResourceKey::pool("gone")].into());
    }

    #[test]
    fn what_cannot_be_read_blocks_the_key_it_points_to_or_all() {
        let mut world = inventory(vec![machine("100", "web", Stage::Ready)]);
        let seen = world.hypervisors.get_mut("pve").unwrap();
        seen.listed.insert("101".into(), listed());
        seen.unreadable.insert("101".into(), "locked (clone)".into());
        let result = judge(&world, &History::default());
        let here: HypervisorName = "pve".into();
        assert!(result.obstacle(&ResourceKey::vm("db"), &here).is_some());
        assert!(result.obstacle(&ResourceKey::vm("web"), &here).is_none());
        let record = OpenBirth {
            key: ResourceKey::vm("db"),
            hypervisor: "pve".into(),
            intent: uuid::Uuid::from_u128(1),
            id: Some("101".into()),
        };
        let history = History { open: [record].into(), ..History::default() };
        let pointed = judge(&world, &history);
        assert_eq!(codes(&pointed, "db"), [Code::BeingBorn]);
        assert!(pointed.obstacle(&ResourceKey::vm("other"), &here).is_none());
    }
}
