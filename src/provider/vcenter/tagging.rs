//! Labels as this product has them: a category per key, and in it a tag per value.
//!
//! Nothing here speaks before a configuration declares a label. What a machine bears is
//! asked for in bulk; the interface tells ids there, and what an id means is asked one by
//! one and remembered for a while. Names that differ only in case are one name, whether the
//! server thinks so or not: two categories that people cannot tell apart help nobody.

use super::{
    rest::{
        RestClient, RestError,
        wire::{Ask, CategoryInfo, TagInfo, WornTags},
    },
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

/// The labels that a configuration declares for one vCenter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredLabels {
    /// Entries that declare some, and the keys that those had before.
    pub machines: BTreeSet<ResourceKey>,
    /// Every value of each key.
    pub values: BTreeMap<Name, BTreeSet<String>>,
}

impl DeclaredLabels {
    /// Those of the machines on one hypervisor.
    pub fn of(desired: &DesiredState, hypervisor: &HypervisorName) -> Self {
        let mut declared = Self::default();
        let here = desired.machines.values().filter(|it| it.hypervisor == *hypervisor);
        for machine in here.filter(|it| !it.spec.labels.is_empty()) {
            declared.machines.insert(machine.key.clone());
            declared.machines.extend(machine.was.clone());
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
    pub worn: BTreeMap<String, BTreeMap<Name, BTreeSet<String>>>,
    /// What the server knows of the declared keys.
    pub known: BTreeMap<Name, KnownLabel>,
}

impl Seen {
    /// Adds it to what was seen of a machine otherwise.
    pub fn tell(&self, machine: &mut ObservedMachine) {
        machine.spec.labels = self.worn.get(machine.id.as_str()).cloned().unwrap_or_default();
        machine.known_labels.clone_from(&self.known);
    }
}

/// The labels of one vCenter.
#[derive(Debug)]
pub(super) struct Tagging {
    rest: Arc<RestClient>,
    declared: DeclaredLabels,
    clock: Clock,
    book: Mutex<Book>,
}

/// What ids mean.
#[derive(Debug, Default)]
struct Book {
    since: Duration,
    categories: BTreeMap<String, CategoryInfo>,
    tags: BTreeMap<String, TagInfo>,
}

impl Tagging {
    pub fn new(door: Door, declared: DeclaredLabels) -> Self {
        let clock = door.clock.clone();
        let rest = Arc::new(RestClient::new(door));
        Self { rest, declared, clock, book: Mutex::default() }
    }

    /// Whether any label is declared here at all.
    pub fn is_used(&self) -> bool {
        !self.declared.machines.is_empty()
    }

    /// Whether an entry declares labels.
    pub fn is_about(&self, key: &ResourceKey) -> bool {
        self.declared.machines.contains(key)
    }

    pub async fn close(&self) {
        self.rest.close().await;
    }

    /// What these machines bear, and what the server knows of the declared labels. The lock
    /// is held over it, so that many who ask at once look each id up once.
    pub async fn look(&self, machines: &[MoRef]) -> Result<Seen, RestError> {
        let mut book = self.book.lock().await;
        let now = self.clock.monotonic();
        if now.saturating_sub(book.since) >= NAMES_AGE_MAX {
            *book = Book { since: now, ..Book::default() };
        }
        let mut worn: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for some in machines.chunks(MACHINES_MAX) {
            let ids = some.iter().map(|it| it.value.clone()).collect();
            let told: Option<Vec<WornTags>> = self.rest.read(&Ask::Worn(ids)).await?;
            for it in told.into_iter().flatten() {
                worn.insert(it.object_id.id, it.tag_ids.unwrap_or_default());
            }
        }
        self.learn_tags(&mut book, worn.values().flatten().cloned().collect()).await?;
        let categories = book.tags.values().map(|it| it.category_id.clone()).collect();
        self.learn_categories(&mut book, categories).await?;
        if !self.knows_all(&book) {
            self.look_up_declared(&mut book).await?;
        }
        let spelt = worn.into_iter().map(|(id, tags)| (id, self.spelt(&book, &tags)));
        Ok(Seen { worn: spelt.collect(), known: self.known(&book) })
    }

    async fn learn_tags(&self, book: &mut Book, ids: BTreeSet<String>) -> Result<(), RestError> {
        let new = ids.into_iter().filter(|id| !book.tags.contains_key(id)).collect();
        let learnt = each(&self.rest, new, Ask::Tag).await?;
        book.tags.extend(learnt);
        Ok(())
    }

    async fn learn_categories(
        &self,
        book: &mut Book,
        ids: BTreeSet<String>,
    ) -> Result<(), RestError> {
        let new = ids.into_iter().filter(|id| !book.categories.contains_key(id)).collect();
        let learnt = each(&self.rest, new, Ask::Category).await?;
        book.categories.extend(learnt);
        Ok(())
    }

    /// Whether every declared label was found already, as it is when nothing is to be done.
    fn knows_all(&self, book: &Book) -> bool {
        self.declared.values.iter().all(|(key, values)| {
            book.category(key)
                .is_some_and(|id| values.iter().all(|value| book.tag(id, value).is_some()))
        })
    }

    /// Looks at all categories, and at the tags of the declared ones.
    async fn look_up_declared(&self, book: &mut Book) -> Result<(), RestError> {
        let all: Option<BTreeSet<String>> = self.rest.read(&Ask::Categories).await?;
        self.learn_categories(book, all.unwrap_or_default()).await?;
        let declared = self.declared.values.keys().filter_map(|key| book.category(key));
        let declared: Vec<String> = declared.map(str::to_owned).collect();
        let mut tags = BTreeSet::new();
        for category in declared {
            let some: Option<Vec<String>> = self.rest.read(&Ask::TagsOf(category)).await?;
            tags.extend(some.unwrap_or_default());
        }
        self.learn_tags(book, tags).await
    }

    /// Tags as labels, in the spelling of the configuration. Those of other categories are
    /// nobody's business here.
    fn spelt(&self, book: &Book, tags: &[String]) -> BTreeMap<Name, BTreeSet<String>> {
        let mut labels: BTreeMap<Name, BTreeSet<String>> = BTreeMap::new();
        for tag in tags.iter().filter_map(|id| book.tags.get(id)) {
            let is_its = |key: &&Name| book.category(key) == Some(tag.category_id.as_str());
            let Some(key) = self.declared.values.keys().find(is_its) else { continue };
            let declared = self.declared.values.get(key).into_iter().flatten();
            let value = spelling(declared, &tag.name);
            labels.entry(key.clone()).or_default().insert(value.to_owned());
        }
        labels
    }

    fn known(&self, book: &Book) -> BTreeMap<Name, KnownLabel> {
        let one = |(key, values): (&Name, &BTreeSet<String>)| {
            let id = book.category(key)?;
            let info = book.categories.get(id)?;
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
            book.category(label).map(str::to_owned).ok_or_else(missing)
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

impl Book {
    /// The category of a key: the one of that very name, else one that differs in case only.
    fn category(&self, key: &Name) -> Option<&str> {
        let names = || self.categories.iter().map(|(id, it)| (id.as_str(), it.name.as_str()));
        alike(names, key.as_str())
    }

    /// The tag of a value in a category.
    fn tag(&self, category: &str, value: &str) -> Option<&str> {
        let names = || {
            let here = self.tags.iter().filter(|(_, it)| it.category_id == category);
            here.map(|(id, it)| (id.as_str(), it.name.as_str()))
        };
        alike(names, value)
    }
}

fn alike<'a, I>(names: impl Fn() -> I, wanted: &str) -> Option<&'a str>
where
    I: Iterator<Item = (&'a str, &'a str)>,
{
    let exact = names().find(|(_, name)| *name == wanted);
    let folded = || {
        let wanted = wanted.to_lowercase();
        names().find(|(_, name)| name.to_lowercase() == wanted)
    };
    exact.or_else(folded).map(|(id, _)| id)
}

/// A value as the configuration spells it, where that differs in case only.
fn spelling<'a>(declared: impl Iterator<Item = &'a String> + Clone, name: &'a str) -> &'a str {
    if declared.clone().any(|it| it == name) {
        return name;
    }
    let folded = name.to_lowercase();
    let mut alike = declared.filter(|it| it.to_lowercase() == folded);
    alike.next().map_or(name, String::as_str)
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
        let Ok((id, answer)) = ended else { continue };
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

    fn book(categories: &[(&str, &str)], tags: &[(&str, &str, &str)]) -> Book {
        let category = |(id, name): &(&str, &str)| {
            let info = CategoryInfo {
                name: (*name).to_owned(),
                cardinality: "SINGLE".to_owned(),
                associable_types: None,
            };
            ((*id).to_owned(), info)
        };
        let tag = |(id, category_id, name): &(&str, &str, &str)| {
            let (name, category_id) = ((*name).to_owned(), (*category_id).to_owned());
            ((*id).to_owned(), TagInfo { name, category_id })
        };
        Book {
            since: Duration::ZERO,
            categories: categories.iter().map(category).collect(),
            tags: tags.iter().map(tag).collect(),
        }
    }

    #[test]
    fn a_name_is_found_by_its_letters_and_else_whatever_their_case() {
        let one = book(&[("c1", "Tenant")], &[("t1", "c1", "ACME"), ("t2", "c2", "acme")]);
        assert_eq!(one.category(&"tenant".into()), Some("c1"));
        assert_eq!(one.tag("c1", "acme"), Some("t1"), "a tag of another category is another");
        let both = book(&[("c1", "Tenant"), ("c2", "tenant")], &[]);
        assert_eq!(both.category(&"tenant".into()), Some("c2"));
    }

    #[test]
    fn what_is_read_is_spelt_as_it_is_declared() {
        let declared = ["acme".to_owned(), "Beta".to_owned()];
        assert_eq!(spelling(declared.iter(), "ACME"), "acme");
        assert_eq!(spelling(declared.iter(), "beta"), "Beta");
        assert_eq!(spelling(declared.iter(), "gamma"), "gamma");
    }
}
