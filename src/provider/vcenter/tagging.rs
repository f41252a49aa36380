//! Labels as this product has them: a category per key, and in it a tag per value.
//!
//! Nothing here speaks before a configuration declares a label. What a machine bears is
//! asked for in bulk; the interface tells ids there, and what an id means is asked one by
//! one and remembered for a while: of categories, since a name can be looked up no other
//! way, and of those tags alone that are in a declared category. Names that differ only in
//! case are one name, whether the server thinks so or not: two categories that people cannot
//! tell apart help nobody.

use super::{
    rest::{
        RestClient, RestError,
        wire::{Ask, CategoryInfo, TagInfo, WornTags},
    },
    tag_book::{Book, Spellings},
    vim::{MoRef, client::Door},
};
use crate::{
    clock::Clock,
    model::{
        DesiredState, HypervisorName, KnownLabel, Name, ObservedMachine, ProjectName, ResourceKey,
        StepOp,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Mutex, task::JoinSet};

/// How old names may be: a tag or category can be renamed meanwhile.
const NAMES_AGE_MAX: Duration = Duration::from_secs(30);
/// Machines in one question. The interface names no bound; an answer stays below 1 MB.
const MACHINES_MAX: usize = 500;
/// The kind of object that labels are put on.
const MACHINE: &str = "VirtualMachine";

/// Values by key.
type Values = BTreeMap<Name, BTreeSet<String>>;

/// The labels that a configuration declares for one vCenter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredLabels {
    /// Those of each entry, also under the key that it had before.
    pub machines: BTreeMap<ResourceKey, Values>,
    /// Every value of each key.
    pub values: Values,
}

impl DeclaredLabels {
    /// Those of the machines on one hypervisor.
    pub fn of(desired: &DesiredState, hypervisor: &HypervisorName) -> Self {
        let mut declared = Self::default();
        let here = desired.machines.values().filter(|it| it.hypervisor == *hypervisor);
        for machine in here.filter(|it| !it.spec.labels.is_empty()) {
            for key in [Some(&machine.key), machine.was.as_ref()].into_iter().flatten() {
                declared.machines.insert(key.clone(), machine.spec.labels.clone());
            }
            for (key, values) in &machine.spec.labels {
                declared.values.entry(key.clone()).or_default().extend(values.iter().cloned());
            }
        }
        declared
    }
}

/// What was seen of labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What each machine bears under declared keys, by its managed object id.
    pub worn: BTreeMap<String, Values>,
    /// What the server knows of the declared keys.
    pub known: BTreeMap<Name, KnownLabel>,
    declared: Arc<DeclaredLabels>,
}

impl Seen {
    /// Adds it to what was seen of a machine otherwise.
    pub fn tell(&self, machine: &mut ObservedMachine, entry: Option<&ResourceKey>) {
        machine.spec.labels = self.worn.get(machine.id.as_str()).cloned().unwrap_or_default();
        machine.known_labels = self.known_by(entry);
    }

    /// What the server knows of the labels of an entry: where values differ from machine to
    /// machine, each has its own and not those of thousands. Of all, where there is no entry:
    /// any machine may be born of a template.
    fn known_by(&self, entry: Option<&ResourceKey>) -> BTreeMap<Name, KnownLabel> {
        match entry.and_then(|key| self.declared.machines.get(key)) {
            None => self.known.clone(),
            Some(own) => own.iter().filter_map(|it| self.known_of(it.0, it.1)).collect(),
        }
    }

    fn known_of(&self, key: &Name, values: &BTreeSet<String>) -> Option<(Name, KnownLabel)> {
        let known = self.known.get(key)?;
        let values = values.iter().filter(|it| known.values.contains(*it)).cloned().collect();
        let label = KnownLabel { one: known.one, unfit: known.unfit.clone(), values };
        Some((key.clone(), label))
    }
}

/// The labels of one vCenter.
#[derive(Debug)]
pub(super) struct Tagging {
    rest: Arc<RestClient>,
    declared: Arc<DeclaredLabels>,
    spellings: BTreeMap<Name, Spellings>,
    clock: Clock,
    book: Mutex<Book>,
}

impl Tagging {
    pub fn new(door: Door, declared: DeclaredLabels) -> Self {
        let clock = door.clock.clone();
        let rest = Arc::new(RestClient::new(door));
        let spell =
            |(key, values): (&Name, &BTreeSet<String>)| (key.clone(), Spellings::of(values));
        let spellings = declared.values.iter().map(spell).collect();
        Self { rest, declared: Arc::new(declared), spellings, clock, book: Mutex::default() }
    }

    /// Whether any label is declared here at all.
    pub fn is_used(&self) -> bool {
        !self.declared.machines.is_empty()
    }

    /// Whether an entry declares labels.
    pub fn is_about(&self, key: &ResourceKey) -> bool {
        self.declared.machines.contains_key(key)
    }

    pub async fn close(&self) {
        self.rest.close().await;
    }

    /// What these machines bear, and what the server knows of the labels that are declared:
    /// of one entry, or of all. The lock is held over it, so that many who ask at once look
    /// each id up once.
    pub async fn look(
        &self,
        machines: &[MoRef],
        entry: Option<&ResourceKey>,
    ) -> Result<Seen, RestError> {
        let mut book = self.book.lock().await;
        let now = self.clock.monotonic();
        if now.saturating_sub(book.since) >= NAMES_AGE_MAX {
            *book = Book::since(now);
        }
        let mut worn: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for some in machines.chunks(MACHINES_MAX) {
            let ids = some.iter().map(|it| it.value.clone()).collect();
            let told: Option<Vec<WornTags>> = self.rest.read(&Ask::Worn(ids)).await?;
            for it in told.into_iter().flatten() {
                worn.insert(it.object_id.id, it.tag_ids.unwrap_or_default());
            }
        }
        let own = entry.and_then(|key| self.declared.machines.get(key));
        let needed = own.unwrap_or(&self.declared.values);
        self.learn_categories(&mut book, needed).await?;
        self.learn_worn(&mut book, worn.values().flatten()).await?;
        self.learn_values(&mut book, needed).await?;
        let (worn, known) = (self.spelt(&book, worn), self.known(&book));
        Ok(Seen { worn, known, declared: Arc::clone(&self.declared) })
    }

    /// Looks for the categories of keys. What is known already is not asked again; what is
    /// not there is, by whoever needs it: somebody may have made it meanwhile.
    async fn learn_categories(&self, book: &mut Book, needed: &Values) -> Result<(), RestError> {
        if needed.keys().all(|key| book.category(key).is_some()) {
            return Ok(());
        }
        let all: Option<BTreeSet<String>> = self.rest.read(&Ask::Categories).await?;
        let new = all.into_iter().flatten().filter(|id| !book.knows_category(id)).collect();
        for (id, info) in each::<CategoryInfo>(&self.rest, new, Ask::Category).await? {
            book.add_category(id, info);
        }
        Ok(())
    }

    /// Learns those of these tags that are in declared categories. Which ones are, the list
    /// of each category says, in one question for all; the others are not asked about.
    async fn learn_worn(
        &self,
        book: &mut Book,
        worn: impl Iterator<Item = &String>,
    ) -> Result<(), RestError> {
        let unknown: BTreeSet<String> = worn.filter(|id| !book.has_met(id)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let declared = self.declared.values.keys().filter_map(|key| book.category(key));
        let categories: BTreeSet<String> = declared.map(|(id, _)| id.to_owned()).collect();
        let mut ours = BTreeSet::new();
        for category in categories {
            let ids = self.tags_of(&category).await?;
            ours.extend(ids.into_iter().filter(|id| unknown.contains(id)));
        }
        book.add_foreign(unknown.difference(&ours).cloned());
        self.learn_tags(book, ours).await
    }

    /// Looks for the tags of values. Which of a category's tags has a name, the interface
    /// does not say: where one is missing, all of that category are asked about, once.
    async fn learn_values(&self, book: &mut Book, needed: &Values) -> Result<(), RestError> {
        let mut lacking = BTreeSet::new();
        for (key, values) in needed {
            if let Some((id, _)) = book.category(key)
                && values.iter().any(|value| book.tag(id, value).is_none())
            {
                lacking.insert(id.to_owned());
            }
        }
        for category in lacking {
            let ids = self.tags_of(&category).await?;
            self.learn_tags(book, ids).await?;
        }
        Ok(())
    }

    async fn tags_of(&self, category: &str) -> Result<BTreeSet<String>, RestError> {
        let ids: Option<_> = self.rest.read(&Ask::TagsOf(category.to_owned())).await?;
        Ok(ids.unwrap_or_default())
    }

    async fn learn_tags(&self, book: &mut Book, ids: BTreeSet<String>) -> Result<(), RestError> {
        let new = ids.into_iter().filter(|id| book.tag_of(id).is_none()).collect();
        for (id, info) in each::<TagInfo>(&self.rest, new, Ask::Tag).await? {
            book.add_tag(id, info);
        }
        Ok(())
    }

    /// Tags as labels, in the spelling of the configuration. Those of other categories are
    /// nobody's business here.
    fn spelt(&self, book: &Book, worn: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Values> {
        let declared = self.spellings.iter();
        let keys: BTreeMap<&str, (&Name, &Spellings)> = declared
            .rev() // Of two keys with one category, the first.
            .filter_map(|(key, all)| Some((book.category(key)?.0, (key, all))))
            .collect();
        let labels = |tags: Vec<String>| {
            let mut labels = Values::new();
            for tag in tags.iter().filter_map(|id| book.tag_of(id)) {
                let Some((key, all)) = keys.get(tag.category_id.as_str()) else { continue };
                let value = all.spell(&tag.name).to_owned();
                labels.entry((*key).clone()).or_default().insert(value);
            }
            labels
        };
        worn.into_iter().map(|(machine, tags)| (machine, labels(tags))).collect()
    }

    fn known(&self, book: &Book) -> BTreeMap<Name, KnownLabel> {
        let one = |(key, values): (&Name, &BTreeSet<String>)| {
            let (id, info) = book.category(key)?;
            let kinds = info.associable_types.as_deref().unwrap_or_default();
            let fits = kinds.is_empty() || kinds.iter().any(|it| it == MACHINE);
            let known = values.iter().filter(|value| book.tag(id, value).is_some());
            let label = KnownLabel {
                one: info.cardinality != "MULTIPLE",
                unfit: (!fits)
                    .then(|| format!("the category `{}` is not for virtual machines", info.name)),
                values: known.cloned().collect(),
            };
            Some((key.clone(), label))
        };
        self.declared.values.iter().filter_map(one).collect()
    }

    /// The order of one step on a machine.
    ///
    /// # Errors
    /// In words, when what it names is not there.
    pub async fn order(
        &self,
        op: &StepOp,
        machine: &str,
        project: Option<&ProjectName>,
    ) -> Result<Ask, String> {
        let book = self.book.lock().await;
        let by = project.map(|it| format!(" for project {it}")).unwrap_or_default();
        let category = |label: &Name| {
            let missing = || format!("there is no category `{label}`");
            book.category(label).map(|(id, _)| id.to_owned()).ok_or_else(missing)
        };
        let tag = |label: &Name, value: &str| {
            let missing = || format!("there is no tag `{value}` in the category `{label}`");
            book.tag(&category(label)?, value).map(str::to_owned).ok_or_else(missing)
        };
        match op {
            StepOp::DefineLabel { label } => Ok(Ask::MakeCategory {
                name: label.to_string(),
                description: format!("A label of machines, made by novahost{by}"),
            }),
            StepOp::DefineLabelValue { label, value } => Ok(Ask::MakeTag {
                category: category(label)?,
                name: value.clone(),
                description: format!("Made by novahost{by}"),
            }),
            StepOp::SetLabel { label, value } => {
                Ok(Ask::Attach { tag: tag(label, value)?, machine: machine.to_owned() })
            }
            StepOp::ClearLabel { label, value } => {
                Ok(Ask::Detach { tag: tag(label, value)?, machine: machine.to_owned() })
            }
            _ => Err("this is no matter of labels".to_owned()),
        }
    }

    /// Sends an order. What it says of names by then is not believed any longer.
    pub async fn send(&self, order: &Ask) -> Result<(), RestError> {
        let answer = self.rest.change(order).await;
        if answer.is_err() {
            *self.book.lock().await = Book::default();
        }
        answer
    }
}

/// Asks for each id; what is gone by then is left out.
async fn each<T>(
    rest: &Arc<RestClient>,
    ids: Vec<String>,
    ask: fn(String) -> Ask,
) -> Result<BTreeMap<String, T>, RestError>
where
    T: serde::de::DeserializeOwned + Send + 'static,
{
    let mut running = JoinSet::new();
    for id in ids {
        let rest = Arc::clone(rest);
        running.spawn(async move { (id.clone(), rest.read::<T>(&ask(id)).await) });
    }
    let mut found = BTreeMap::new();
    while let Some(ended) = running.join_next().await {
        // A name that was not looked up must not look like one that is not there.
        let (id, answer) = ended.map_err(|_| RestError::Broken)?;
        match answer {
            Ok(info) => drop(found.insert(id, info)),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_of_the_values_of_its_own_entry() {
        let set = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
        let own = |value: &str| Values::from([("owner".into(), set(&[value]))]);
        let (one, two) = (ResourceKey::vm("one"), ResourceKey::vm("two"));
        let declared = DeclaredLabels {
            machines: [(one.clone(), own("ann")), (two.clone(), own("bob"))].into(),
            values: [("owner".into(), set(&["ann", "bob"]))].into(),
        };
        let label = KnownLabel { one: true, unfit: None, values: set(&["ann"]) };
        let seen = Seen {
            known: [("owner".into(), label)].into(),
            declared: Arc::new(declared),
            ..Seen::default()
        };
        let told = |entry: Option<&ResourceKey>| seen.known_by(entry)["owner"].values.clone();
        assert_eq!(told(Some(&one)), set(&["ann"]));
        assert_eq!(told(Some(&two)), set(&[]), "its own is to be made, whatever else is there");
        assert_eq!(told(None), set(&["ann"]), "a template is told of all");
    }
}
