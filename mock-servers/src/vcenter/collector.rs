//! The property collector: reads in pages, and updates.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Fault, Outcome};
use super::live::{DEFAULT_COLLECTOR, Token, Told};
use super::schema::{schema, split_path};
use super::server::Core;
use super::val::{Val, arr, obj, text, word};
use super::xml::Elem;

/// What a page holds where the client leaves it to the server.
const PAGE_DEFAULT: usize = 100;
/// At most so many objects in one set of updates.
const UPDATES_MAX: usize = 100;

/// Whose read it is.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// None for a session that is no more.
    pub(crate) user: Option<&'a str>,
    pub(crate) session: &'a str,
}

/// One object, and what is asked for of it.
pub(crate) struct Wanted {
    kind: String,
    id: String,
    paths: Vec<String>,
}

/// One object with what was asked for of it.
struct Content {
    kind: String,
    id: String,
    props: Vec<(String, Val)>,
    missing: Vec<(String, Fault)>,
}

impl Content {
    fn value(self) -> Val {
        let props = self.props.into_iter().map(|(name, value)| {
            obj("DynamicProperty", vec![("name", text(name)), ("val", value)])
        });
        obj(
            "ObjectContent",
            vec![
                ("obj", Val::Ref(self.kind.into(), self.id)),
                ("propSet", arr("DynamicProperty", props.collect())),
                ("missingSet", missing_set(self.missing)),
            ],
        )
    }
}

fn missing_set(missing: Vec<(String, Fault)>) -> Val {
    let missing = missing.into_iter().map(|(path, fault)| {
        obj("MissingProperty", vec![("path", text(path)), ("fault", fault.localized())])
    });
    arr("MissingProperty", missing.collect())
}

impl Core {
    /// The first page of a read; none where nothing was found at all.
    pub(crate) fn retrieve(
        &mut self,
        reader: Reader<'_>,
        collector: &str,
        args: &Elem,
    ) -> Outcome<Option<Val>> {
        let asked = args.get("options").and_then(|options| options.number("maxObjects"));
        let page = match asked {
            Some(number) if number <= 0 => return Err(Fault::argument("options.maxObjects")),
            Some(number) => usize::try_from(number).unwrap_or(usize::MAX),
            None if self.switches.unpaged => usize::MAX,
            None => PAGE_DEFAULT,
        };
        let mut wanted = Vec::new();
        for spec in args.all("specSet") {
            self.check_spec(spec)?;
        }
        for spec in args.all("specSet") {
            wanted.extend(self.choose(reader, spec)?);
        }
        let page = page.min(self.page_max);
        Ok(self.page(reader, collector, wanted, page))
    }

    /// The next page. A token serves once.
    pub(crate) fn more(
        &mut self,
        reader: Reader<'_>,
        collector: &str,
        token: &str,
    ) -> Outcome<Option<Val>> {
        let fits = self
            .live
            .tokens
            .get(token)
            .is_some_and(|it| it.session == reader.session && it.collector == collector);
        if !fits {
            return Err(Fault::property("token"));
        }
        let Some(token) = self.live.tokens.remove(token) else {
            return Err(Fault::property("token"));
        };
        Ok(self.page(reader, collector, token.rest, token.page))
    }

    /// Each page is read when it is asked for: what has changed since the first one is seen as it
    /// is by then, and what is gone is left out.
    fn page(
        &mut self,
        reader: Reader<'_>,
        collector: &str,
        mut wanted: Vec<Wanted>,
        page: usize,
    ) -> Option<Val> {
        let first = wanted.is_empty();
        let rest = if wanted.len() > page { wanted.split_off(page) } else { Vec::new() };
        let there = wanted.into_iter().filter(|it| self.knows(&it.kind, &it.id));
        let rows: Vec<Val> = there.map(|it| self.content(reader, it).value()).collect();
        if first || (rows.is_empty() && rest.is_empty()) {
            return None;
        }
        let mut fields = Vec::new();
        if !rest.is_empty() {
            let token = self.world.new_uuid();
            fields.push(("token", text(token.clone())));
            let (session, collector) = (reader.session.to_owned(), collector.to_owned());
            self.live.tokens.insert(token, Token { session, collector, rest, page });
        }
        fields.push(("objects", arr("ObjectContent", rows)));
        Some(obj("RetrieveResult", fields))
    }

    /// An unknown type or path ends the whole call.
    pub(crate) fn check_spec(&self, spec: &Elem) -> Outcome<()> {
        for props in spec.all("propSet") {
            let kind = props.text_of("type").unwrap_or("");
            if schema().properties(kind).is_none() {
                let fields = vec![("argument", text(kind))];
                return Err(Fault::new("InvalidType", format!("Invalid type {kind}"), fields));
            }
            for path in props.all("pathSet") {
                match schema().path(kind, &path.text) {
                    Some(true) if self.switches.no_keyed_paths => {
                        return Err(Fault::property(&path.text));
                    }
                    Some(_) => {}
                    None => return Err(Fault::property(&path.text)),
                }
            }
        }
        Ok(())
    }

    fn choose(&self, reader: Reader<'_>, spec: &Elem) -> Outcome<Vec<Wanted>> {
        let mut chosen = Chosen::default();
        for start in spec.all("objectSet") {
            let Some(on) = start.get("obj") else { continue };
            let (kind, id) = (on.kind.as_str(), on.text.trim());
            if !self.knows(kind, id) || !self.mine(reader, id) {
                if spec.flag("reportMissingObjectsInResults") == Some(true) {
                    continue;
                }
                return Err(Fault::gone(kind, id));
            }
            let kind = self.kind_of(kind, id);
            if start.flag("skip") != Some(true) {
                chosen.add(&kind, id);
            }
            let mut named = BTreeMap::new();
            name_selections(start, &mut named);
            let mut been = BTreeSet::new();
            for select in start.all("selectSet") {
                self.follow(reader, (&kind, id), select, &named, &mut chosen, &mut been);
            }
        }
        let mut rows = Vec::new();
        for (kind, id) in chosen.list {
            let mut paths: Vec<&str> = Vec::new();
            let mut meant = false;
            for props in spec.all("propSet") {
                if !schema().object_is(&kind, props.text_of("type").unwrap_or("")) {
                    continue;
                }
                meant = true;
                if props.flag("all") == Some(true) {
                    paths.extend(
                        schema().properties(&kind).unwrap_or_default().iter().map(|it| it.name),
                    );
                }
                paths.extend(props.all("pathSet").map(|it| it.text.as_str()));
            }
            if meant {
                let mut seen = BTreeSet::new();
                paths.retain(|path| seen.insert(*path));
                let paths = paths.into_iter().map(str::to_owned).collect();
                rows.push(Wanted { kind, id, paths });
            }
        }
        Ok(rows)
    }

    /// A view is its session's own. On a dead session it is still looked through.
    fn mine(&self, reader: Reader<'_>, id: &str) -> bool {
        self.live
            .views
            .get(id)
            .is_none_or(|view| reader.user.is_none() || view.session == reader.session)
    }

    fn follow<'a>(
        &self,
        reader: Reader<'_>,
        (kind, id): (&str, &str),
        select: &'a Elem,
        named: &BTreeMap<&'a str, &'a Elem>,
        chosen: &mut Chosen,
        been: &mut BTreeSet<(String, *const Elem)>,
    ) {
        let step = if select.get("path").is_some() {
            Some(select)
        } else {
            select.text_of("name").and_then(|name| named.get(name).copied())
        };
        let Some(step) = step else { return };
        if !schema().object_is(kind, step.text_of("type").unwrap_or(""))
            || !been.insert((id.to_owned(), std::ptr::from_ref(step)))
        {
            return;
        }
        let path = step.text_of("path").unwrap_or("");
        let found = match self.property(reader.user, kind, id, path) {
            Some(Val::Arr(_, items)) => items,
            Some(other) => vec![other],
            None => return,
        };
        for one in found {
            let Val::Ref(kind, id) = one else { continue };
            if step.flag("skip") != Some(true) {
                chosen.add(&kind, &id);
            }
            for next in step.all("selectSet") {
                self.follow(reader, (&kind, &id), next, named, chosen, been);
            }
        }
    }

    fn content(&self, reader: Reader<'_>, wanted: Wanted) -> Content {
        let Wanted { kind, id, paths } = wanted;
        let on = || Val::Ref(kind.clone().into(), id.clone());
        let mut props = Vec::new();
        let mut missing = Vec::new();
        let mut whole: BTreeMap<String, Option<Val>> = BTreeMap::new();
        for path in &paths {
            let first = split_path(path).and_then(|steps| steps.into_iter().next());
            let Some(first) = first.map(|step| step.name) else { continue };
            let Some(user) = reader.user else {
                missing.push((path.clone(), Fault::not_authenticated(on())));
                continue;
            };
            let privilege = if matches!(first.as_str(), "name" | "parent") {
                "System.View"
            } else {
                "System.Read"
            };
            if self.world.entities.contains_key(&id) && !self.world.may(user, &id, privilege) {
                missing.push((path.clone(), Fault::no_permission(on(), privilege)));
                continue;
            }
            let value = whole
                .entry(first.clone())
                .or_insert_with(|| self.property(Some(user), &kind, &id, &first));
            if let Some(found) = value.as_ref().and_then(|value| value.dig(path)) {
                props.push((path.clone(), found));
            }
        }
        Content { kind, id, props, missing }
    }

    /// What a collector's filters show at the moment.
    fn look(&self, reader: Reader<'_>, collector: &str) -> Outcome<Told> {
        let mut told = Told::new();
        for (name, filter) in &self.live.filters {
            if filter.session != reader.session || filter.collector != collector {
                continue;
            }
            // What a filter was made for may be gone by now; then it shows nothing.
            let rows = self.choose(reader, &filter.spec).unwrap_or_default();
            for row in rows {
                let row = self.content(reader, row);
                let key = (name.clone(), row.kind, row.id);
                told.insert(key, row.props.into_iter().collect());
            }
        }
        Ok(told)
    }

    /// What is new since a version; none where nothing is.
    pub(crate) fn updates(
        &mut self,
        reader: Reader<'_>,
        collector: &str,
        args: &Elem,
    ) -> Outcome<Option<Val>> {
        let now = self.look(reader, collector)?;
        let most = args
            .get("options")
            .and_then(|options| options.number("maxObjectUpdates"))
            .and_then(|most| usize::try_from(most).ok())
            .map_or(UPDATES_MAX, |most| most.min(UPDATES_MAX));
        let version = args.text_of("version").unwrap_or("").to_owned();
        let state = self.need_collector(reader.session, collector)?;
        let (number, base) = if version.is_empty() {
            (0, Told::new())
        } else if version == state.version.to_string() && state.version > 0 {
            (state.version, state.told.clone())
        } else {
            match &state.before {
                Some((number, told)) if version == number.to_string() => (*number, told.clone()),
                Some(_) | None => {
                    let message = "The version is not known to this collector.";
                    return Err(Fault::new("InvalidCollectorVersion", message, vec![]));
                }
            }
        };
        let mut next = base.clone();
        let mut updates: BTreeMap<String, Vec<Val>> = BTreeMap::new();
        let mut count = 0;
        let keys: BTreeSet<_> = base.keys().chain(now.keys()).cloned().collect();
        let mut truncated = false;
        for key in keys {
            let (old, new) = (base.get(&key), now.get(&key));
            if old == new {
                continue;
            }
            if count == most {
                truncated = true;
                break;
            }
            count += 1;
            updates.entry(key.0.clone()).or_default().push(update(&key, old, new));
            match new {
                Some(new) => next.insert(key, new.clone()),
                None => next.remove(&key),
            };
        }
        if updates.is_empty() {
            return Ok(None);
        }
        // The answer to this very question may get lost: it can be asked once more.
        state.before = Some((number, base)).filter(|_| !version.is_empty());
        state.version += 1;
        state.told = next;
        let sets = updates.into_iter().map(|(filter, objects)| {
            let filter = Val::Ref("PropertyFilter".into(), filter);
            let objects = arr("ObjectUpdate", objects);
            obj("PropertyFilterUpdate", vec![("filter", filter), ("objectSet", objects)])
        });
        let mut fields = vec![
            ("version", text(state.version.to_string())),
            ("filterSet", arr("PropertyFilterUpdate", sets.collect())),
        ];
        if truncated {
            fields.push(("truncated", super::val::flag(true)));
        }
        Ok(Some(obj("UpdateSet", fields)))
    }

    /// Ends the waits of a collector.
    pub(crate) fn cancel_waits(&mut self, session: &str, collector: &str) -> Outcome<()> {
        self.need_collector(session, collector)?.cancelled += 1;
        self.changed.send_modify(|turn| *turn += 1);
        Ok(())
    }

    /// Whether there is a managed object of this kind and id.
    pub(crate) fn knows(&self, kind: &str, id: &str) -> bool {
        let is = |actual: &str| schema().object_is(actual, kind);
        if let Some(entity) = self.world.entities.get(id) {
            return is(entity.type_name());
        }
        match kind {
            "Task" => self.world.tasks.contains_key(id),
            "ContainerView" | "ListView" | "View" | "ManagedObjectView" => {
                self.live.views.contains_key(id)
            }
            "PropertyFilter" => self.live.filters.contains_key(id),
            "PropertyCollector" => {
                id == DEFAULT_COLLECTOR || self.live.collectors.keys().any(|(_, it)| it == id)
            }
            "VirtualMachineSnapshot" => {
                self.world.vms().any(|(_, vm)| vm.snapshots.iter().any(|it| it.id == id))
            }
            other => super::props::singleton(other) == Some(id),
        }
    }

    /// The exact kind of an object that was named by a more general one.
    fn kind_of(&self, kind: &str, id: &str) -> String {
        self.world.entities.get(id).map_or_else(|| kind.to_owned(), |it| it.type_name().to_owned())
    }
}

/// Objects in the order in which they were found, each once.
#[derive(Default)]
struct Chosen {
    list: Vec<(String, String)>,
    seen: BTreeSet<String>,
}

impl Chosen {
    fn add(&mut self, kind: &str, id: &str) {
        if self.seen.insert(id.to_owned()) {
            self.list.push((kind.to_owned(), id.to_owned()));
        }
    }
}

fn name_selections<'a>(elem: &'a Elem, named: &mut BTreeMap<&'a str, &'a Elem>) {
    for select in elem.all("selectSet") {
        if let (Some(name), Some(_)) = (select.text_of("name"), select.get("path")) {
            named.entry(name).or_insert(select);
        }
        name_selections(select, named);
    }
}

fn update(
    (_, kind, id): &(String, String, String),
    old: Option<&BTreeMap<String, Val>>,
    new: Option<&BTreeMap<String, Val>>,
) -> Val {
    let change = match (old, new) {
        (None, _) => "enter",
        (Some(_), Some(_)) => "modify",
        (Some(_), None) => "leave",
    };
    let mut changes = Vec::new();
    if let Some(new) = new {
        let nothing = BTreeMap::new();
        let old = old.unwrap_or(&nothing);
        for (name, value) in new {
            if old.get(name) != Some(value) {
                changes.push(assign(name, Some(value)));
            }
        }
        changes.extend(
            old.keys().filter(|name| !new.contains_key(*name)).map(|name| assign(name, None)),
        );
    }
    obj(
        "ObjectUpdate",
        vec![
            ("kind", word("ObjectUpdateKind", change)),
            ("obj", Val::Ref(kind.clone().into(), id.clone())),
            ("changeSet", arr("PropertyChange", changes)),
        ],
    )
}

fn assign(name: &str, value: Option<&Val>) -> Val {
    let mut fields = vec![("name", text(name)), ("op", word("PropertyChangeOp", "assign"))];
    fields.extend(value.map(|value| ("val", value.clone())));
    obj("PropertyChange", fields)
}
