//! What lives only as long as a session: views, collectors, filters, page tokens.

use std::collections::BTreeMap;

use super::collector::Wanted;
use super::fault::{Fault, Outcome};
use super::schema::schema;
use super::server::Core;
use super::val::{Val, refs};
use super::xml::Elem;

/// All of it.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) views: BTreeMap<String, View>,
    /// By session and id.
    pub(crate) collectors: BTreeMap<(String, String), Collector>,
    pub(crate) filters: BTreeMap<String, Filter>,
    pub(crate) tokens: BTreeMap<String, Token>,
}

/// A view.
pub(crate) struct View {
    pub(crate) session: String,
    pub(crate) kind: ViewKind,
}

/// What a view shows.
pub(crate) enum ViewKind {
    /// All of some kinds below something.
    Container { container: String, kinds: Vec<String>, deep: bool },
    /// What was put into it.
    List(Vec<(String, String)>),
}

/// What was told of each object of each filter.
pub(crate) type Told = BTreeMap<(String, String, String), BTreeMap<String, Val>>;

/// A property collector that waits for updates.
#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) version: u64,
    /// What the client knows at this version.
    pub(crate) told: Told,
    /// The version before it: its answer may have been lost.
    pub(crate) before: Option<(u64, Told)>,
    /// Bumped when a wait is to end.
    pub(crate) cancelled: u64,
}

/// A filter of a collector.
pub(crate) struct Filter {
    pub(crate) session: String,
    pub(crate) collector: String,
    pub(crate) spec: Elem,
}

/// The pages that are still to come.
pub(crate) struct Token {
    pub(crate) session: String,
    pub(crate) collector: String,
    pub(crate) rest: Vec<Wanted>,
    pub(crate) page: usize,
}

/// The collector that every session has.
pub(crate) const DEFAULT_COLLECTOR: &str = "propertyCollector";

impl Live {
    /// Ends all that was a session's.
    pub(crate) fn end(&mut self, session: &str) {
        self.views.retain(|_, view| view.session != session);
        self.collectors.retain(|(of, _), _| of != session);
        self.filters.retain(|_, filter| filter.session != session);
        self.tokens.retain(|_, token| token.session != session);
    }
}

impl Core {
    /// An id for something of a session: nothing can be read out of it.
    fn live_id(&mut self) -> String {
        let (one, two) = (self.world.new_uuid(), self.world.new_uuid());
        format!("session[{one}]{two}")
    }

    /// Makes a container view.
    pub(crate) fn container_view(
        &mut self,
        session: &str,
        user: &str,
        args: &Elem,
    ) -> Outcome<Val> {
        let container = args.text_of("container").unwrap_or("").to_owned();
        let Some(entity) = self.world.entities.get(&container) else {
            let kind = args.get("container").map_or("", |it| it.kind.as_str());
            return Err(Fault::gone(kind, &container));
        };
        let holds = ["Folder", "Datacenter", "ComputeResource", "ResourcePool", "HostSystem"];
        if !holds.iter().any(|kind| schema().object_is(entity.type_name(), kind)) {
            return Err(Fault::argument("container"));
        }
        self.world.need(user, &container, "System.View")?;
        let kinds: Vec<String> = args.all("type").map(|it| it.text.clone()).collect();
        if kinds.iter().any(|kind| schema().properties(kind).is_none()) {
            return Err(Fault::argument("type"));
        }
        let deep = args.flag("recursive").unwrap_or(false);
        let id = self.live_id();
        let kind = ViewKind::Container { container, kinds, deep };
        self.live.views.insert(id.clone(), View { session: session.to_owned(), kind });
        Ok(Val::Ref("ContainerView".into(), id))
    }

    /// Makes a list view.
    pub(crate) fn list_view(&mut self, session: &str, args: &Elem) -> Val {
        let list = args.all("obj").filter(|it| self.is_there(it)).map(pair).collect();
        let id = self.live_id();
        let kind = ViewKind::List(list);
        self.live.views.insert(id.clone(), View { session: session.to_owned(), kind });
        Val::Ref("ListView".into(), id)
    }

    /// Adds to a list view and takes from it; gives what could not be found.
    pub(crate) fn modify_list(&mut self, session: &str, id: &str, args: &Elem) -> Outcome<Val> {
        let (found, lost): (Vec<&Elem>, Vec<&Elem>) =
            args.all("add").partition(|it| self.is_there(it));
        let lost = lost.into_iter().map(reference).collect();
        let add: Vec<(String, String)> = found.into_iter().map(pair).collect();
        let view = self.live.views.get_mut(id).filter(|view| view.session == session);
        let Some(View { kind: ViewKind::List(list), .. }) = view else {
            return Err(Fault::gone("ListView", id));
        };
        let gone: Vec<(String, String)> = args.all("remove").map(pair).collect();
        list.retain(|it| !gone.contains(it));
        for one in add {
            if !list.contains(&one) {
                list.push(one);
            }
        }
        Ok(refs(lost))
    }

    /// Removes a view.
    pub(crate) fn destroy_view(&mut self, session: &str, kind: &str, id: &str) -> Outcome<()> {
        match self.live.views.get(id) {
            Some(view) if view.session == session => {
                self.live.views.remove(id);
                Ok(())
            }
            Some(_) | None => Err(Fault::gone(kind, id)),
        }
    }

    /// What a view shows at the moment, to this user.
    pub(crate) fn shown(&self, view: &View, user: Option<&str>) -> Vec<(String, String)> {
        match &view.kind {
            ViewKind::List(list) => {
                list.iter().filter(|(kind, id)| self.knows(kind, id)).cloned().collect()
            }
            ViewKind::Container { container, kinds, deep } => {
                let wanted = |kind: &str| {
                    kinds.is_empty() || kinds.iter().any(|wanted| schema().object_is(kind, wanted))
                };
                self.world
                    .entities
                    .iter()
                    .filter(|(id, entity)| {
                        *id != container
                            && wanted(entity.type_name())
                            && (if *deep {
                                self.world.is_below(id, container)
                            } else {
                                entity.parent.as_deref() == Some(container)
                            })
                    })
                    // A dead session still has its view, but nobody to ask for: what it shows
                    // comes without any property.
                    .filter(|(id, _)| {
                        user.is_none_or(|user| self.world.may(user, id, "System.View"))
                    })
                    .map(|(id, entity)| (entity.type_name().to_owned(), id.clone()))
                    .collect()
            }
        }
    }

    fn is_there(&self, elem: &Elem) -> bool {
        self.knows(&elem.kind, &elem.text)
    }

    /// Makes a collector beside the one that every session has.
    pub(crate) fn new_collector(&mut self, session: &str) -> Val {
        let id = self.live_id();
        self.live.collectors.insert((session.to_owned(), id.clone()), Collector::default());
        Val::Ref("PropertyCollector".into(), id)
    }

    /// Refuses a collector that is not there or not this session's.
    pub(crate) fn need_collector(&mut self, session: &str, id: &str) -> Outcome<&mut Collector> {
        let key = (session.to_owned(), id.to_owned());
        if id == DEFAULT_COLLECTOR {
            return Ok(self.live.collectors.entry(key).or_default());
        }
        self.live.collectors.get_mut(&key).ok_or_else(|| Fault::gone("PropertyCollector", id))
    }

    /// Removes a collector and its filters.
    pub(crate) fn destroy_collector(&mut self, session: &str, id: &str) -> Outcome<()> {
        if id == DEFAULT_COLLECTOR {
            return Err(Fault::unsupported("propertyCollector"));
        }
        self.need_collector(session, id)?;
        self.live.collectors.remove(&(session.to_owned(), id.to_owned()));
        self.live.filters.retain(|_, filter| filter.session != session || filter.collector != id);
        self.changed.send_modify(|turn| *turn += 1);
        Ok(())
    }

    /// Makes a filter.
    pub(crate) fn new_filter(
        &mut self,
        session: &str,
        collector: &str,
        spec: &Elem,
    ) -> Outcome<Val> {
        self.need_collector(session, collector)?;
        self.check_spec(spec)?;
        let id = self.live_id();
        let filter = Filter {
            session: session.to_owned(),
            collector: collector.to_owned(),
            spec: spec.clone(),
        };
        self.live.filters.insert(id.clone(), filter);
        self.changed.send_modify(|turn| *turn += 1);
        Ok(Val::Ref("PropertyFilter".into(), id))
    }

    /// Removes a filter.
    pub(crate) fn destroy_filter(&mut self, session: &str, id: &str) -> Outcome<()> {
        match self.live.filters.get(id) {
            Some(filter) if filter.session == session => {
                self.live.filters.remove(id);
                Ok(())
            }
            Some(_) | None => Err(Fault::gone("PropertyFilter", id)),
        }
    }
}

fn pair(elem: &Elem) -> (String, String) {
    (elem.kind.clone(), elem.text.trim().to_owned())
}

fn reference(elem: &Elem) -> Val {
    Val::Ref(elem.kind.clone().into(), elem.text.trim().to_owned())
}
