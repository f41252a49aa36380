//! Many objects in few calls: the property collector.
//!
//! A read is one session's: views and page tokens die with it, and a dead session can
//! answer as if nothing had a name. So whatever breaks on the way restarts the whole
//! read, and pages of two reads are never put together.

use super::{
    client::{Session, VimClient},
    codec::Request,
    error::CallError,
    fault::{Fault, FaultKind},
    node::Node,
    val::{MoRef, Val},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Objects of one page: the server's own default may be much lower, and a page is what
/// is held in memory twice.
const PAGE_OBJECTS: usize = 500;
/// Pages of one read: more objects than any vCenter holds.
const PAGES_MAX: usize = 1_000;
/// Whole reads after the first, when a session, a token or a connection broke.
const RESTARTS_MAX: usize = 2;
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// What to read of one type. Subclasses are included; paths that only a subclass has
/// belong into an entry of that subclass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The managed type.
    pub kind: &'static str,
    /// Paths without which the read is of no use.
    pub required: Vec<String>,
    /// Paths that are given up when the server does not know them.
    pub optional: Vec<String>,
}

impl Paths {
    /// These paths of this type, all of them required.
    pub fn of(kind: &'static str, required: &[&str]) -> Self {
        let required = required.iter().map(|path| (*path).to_owned()).collect();
        Self { kind, required, optional: Vec::new() }
    }
}

/// One object, as far as it could be read. A path that is neither in `props` nor in
/// `missing` is unset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectContent {
    /// Which.
    pub obj: MoRef,
    /// Values by path.
    pub props: BTreeMap<String, Node>,
    /// What the server could not or would not give.
    pub missing: BTreeMap<String, Fault>,
}

/// What a read brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The objects, in the server's order.
    pub objects: Vec<ObjectContent>,
    /// Optional paths that this server does not know.
    pub dropped: BTreeSet<String>,
}

/// What is read.
enum Source<'a> {
    /// Everything of these types below a container.
    View { container: &'a MoRef },
    /// These objects.
    Objects(&'a [MoRef]),
}

impl VimClient {
    /// Reads everything of these types below a container, and the container itself.
    ///
    /// # Errors
    /// When it could not be read as a whole.
    pub async fn collect(
        &self,
        container: &MoRef,
        paths: &[Paths],
        operation: &str,
    ) -> Result<Collected, CallError> {
        self.gather(&Source::View { container }, paths, operation).await
    }

    /// Reads single objects of one type. One that is gone is not in the answer.
    ///
    /// # Errors
    /// When they could not be read.
    pub async fn properties(
        &self,
        of: &[MoRef],
        paths: &Paths,
        operation: &str,
    ) -> Result<Collected, CallError> {
        let mut all = Collected::default();
        let mut paths = paths.clone();
        for batch in of.chunks(PAGE_OBJECTS) {
            let source = Source::Objects(batch);
            let part = self.gather(&source, std::slice::from_ref(&paths), operation).await?;
            paths.optional.retain(|path| !part.dropped.contains(path));
            all.objects.extend(part.objects);
            all.dropped.extend(part.dropped);
        }
        Ok(all)
    }

    async fn gather(
        &self,
        source: &Source<'_>,
        paths: &[Paths],
        operation: &str,
    ) -> Result<Collected, CallError> {
        let mut paths = paths.to_vec();
        let mut gone = BTreeSet::new();
        let mut dropped = BTreeSet::new();
        let mut restarts = 0;
        loop {
            let (session, answer) = match self.session().await {
                Ok(session) => {
                    let reading = Reading { client: self, session: &session, operation };
                    let answer = reading.whole(source, &paths, &gone).await;
                    (Some(session), answer)
                }
                Err(error) => (None, Err(error)),
            };
            let error = match answer {
                Ok(objects) => return Ok(Collected { objects, dropped }),
                Err(error) => error,
            };
            // Each of these shortens a list, so that it comes to an end.
            if drop_path(&mut paths, &mut dropped, &error) || drop_object(source, &mut gone, &error)
            {
                continue;
            }
            if restarts == RESTARTS_MAX || !restart_helps(&error) {
                return Err(error);
            }
            restarts += 1;
            match session {
                Some(session) if error.is_fault(&FaultKind::NotAuthenticated) => {
                    self.forget(&session).await;
                }
                Some(_) | None => self.pause(RESTART_PAUSE).await,
            }
        }
    }
}

/// One read, within one session.
struct Reading<'a> {
    client: &'a VimClient,
    session: &'a Arc<Session>,
    operation: &'a str,
}

impl Reading<'_> {
    async fn whole(
        &self,
        source: &Source<'_>,
        paths: &[Paths],
        gone: &BTreeSet<MoRef>,
    ) -> Result<Vec<ObjectContent>, CallError> {
        match source {
            Source::Objects(objects) => {
                let objects: Vec<Val> =
                    objects.iter().filter(|it| !gone.contains(*it)).map(single).collect();
                if objects.is_empty() {
                    return Ok(Vec::new());
                }
                self.pages(objects, paths).await
            }
            Source::View { container } => {
                let view = self.view(container, paths).await?;
                let answer = self.pages(vec![over_view(&view), single(container)], paths).await;
                // Views count against the session; one that cannot be ended ends with it.
                let _ = self.call("DestroyView", &view, &[]).await;
                answer
            }
        }
    }

    async fn view(&self, container: &MoRef, paths: &[Paths]) -> Result<MoRef, CallError> {
        let manager = self.client.part("viewManager").await?;
        let args = [
            ("container", container.into()),
            ("type", Val::arr(paths.iter().map(|paths| paths.kind))),
            ("recursive", true.into()),
        ];
        let answer = self.call("CreateContainerView", &manager, &args).await?;
        reference(&answer)
    }

    async fn pages(
        &self,
        objects: Vec<Val>,
        paths: &[Paths],
    ) -> Result<Vec<ObjectContent>, CallError> {
        let collector = self.client.part("propertyCollector").await?;
        let args = [
            ("specSet", filter_spec(paths, objects).with("reportMissingObjectsInResults", true)),
            ("options", Val::obj("RetrieveOptions").with("maxObjects", PAGE_OBJECTS)),
        ];
        let mut answer = self.call("RetrievePropertiesEx", &collector, &args).await?;
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            // Nothing at all is said by returning nothing.
            let Some(page) = answer.into_returned() else { return Ok(found) };
            let token = page.word_at("token").map(ToOwned::to_owned);
            for child in page.children.into_iter().filter(|child| child.name == "objects") {
                found.push(object(child)?);
            }
            let Some(token) = token else { return Ok(found) };
            let args = [("token", token.into())];
            answer = self.call("ContinueRetrievePropertiesEx", &collector, &args).await?;
        }
        Err(CallError::Decode("the server's pages have no end".into()))
    }

    async fn call(
        &self,
        method: &str,
        this: &MoRef,
        args: &[(&str, Val)],
    ) -> Result<Node, CallError> {
        let request = Request { method, this, args, operation: Some(self.operation) };
        self.client.read_in(self.session, &request).await
    }
}

/// What a call that makes something returned.
fn reference(answer: &Node) -> Result<MoRef, CallError> {
    let made = answer.returned().and_then(Node::as_moref);
    made.ok_or_else(|| CallError::Decode("the server made something and does not say what".into()))
}

/// Which properties of which objects.
fn filter_spec(paths: &[Paths], objects: Vec<Val>) -> Val {
    let of_kind = |paths: &Paths| {
        Val::obj("PropertySpec")
            .with("type", paths.kind)
            .with("all", false)
            .with("pathSet", Val::arr(paths.required.iter().chain(&paths.optional).cloned()))
    };
    Val::obj("PropertyFilterSpec")
        .with("propSet", Val::arr(paths.iter().map(of_kind)))
        .with("objectSet", Val::Arr(objects))
}

/// Everything that a view shows, but not the view.
fn over_view(view: &MoRef) -> Val {
    let traversal = Val::obj("TraversalSpec")
        .with("name", "v")
        .with("type", "ContainerView")
        .with("path", "view")
        .with("skip", false);
    Val::obj("ObjectSpec").with("obj", view).with("skip", true).with("selectSet", traversal)
}

fn single(object: &MoRef) -> Val {
    Val::obj("ObjectSpec").with("obj", object).with("skip", false)
}

fn object(node: Node) -> Result<ObjectContent, CallError> {
    let nameless = || CallError::Decode("an object without a reference".into());
    let obj = node.moref_at("obj").ok_or_else(nameless)?;
    let (mut props, mut missing) = (BTreeMap::new(), BTreeMap::new());
    for child in node.children {
        match child.name.as_str() {
            "propSet" => {
                let (path, value) = property(child)?;
                if let Some(value) = value {
                    props.insert(path, value);
                }
            }
            "missingSet" => {
                let fault = child.child("fault").map(Fault::localized);
                let fault = fault.unwrap_or_else(|| Fault::untyped("unknown fault", ""));
                // A dead session answers so, and then every object is one without a name.
                if fault.is(&FaultKind::NotAuthenticated) {
                    return Err(CallError::Fault(Box::new(fault)));
                }
                missing.insert(child.text_at("path").unwrap_or_default().to_owned(), fault);
            }
            _ => {}
        }
    }
    Ok(ObjectContent { obj, props, missing })
}

/// A property's path and value.
fn property(node: Node) -> Result<(String, Option<Node>), CallError> {
    let nameless = || CallError::Decode("a property without a name".into());
    let path = node.word_at("name").ok_or_else(nameless)?.to_owned();
    Ok((path, node.children.into_iter().find(|child| child.name == "val")))
}

/// Gives up an optional path that the server does not know.
fn drop_path(paths: &mut [Paths], dropped: &mut BTreeSet<String>, error: &CallError) -> bool {
    let fault = error.fault().filter(|fault| fault.is(&FaultKind::InvalidProperty));
    let Some(unknown) = fault.and_then(Fault::subject) else { return false };
    let mut any = false;
    for paths in paths {
        let before = paths.optional.len();
        paths.optional.retain(|path| path != unknown);
        any |= paths.optional.len() < before;
    }
    if any {
        dropped.insert(unknown.to_owned());
    }
    any
}

/// Leaves out an object that is gone, on servers that fail the whole call for it.
fn drop_object(source: &Source<'_>, gone: &mut BTreeSet<MoRef>, error: &CallError) -> bool {
    let fault = error.fault().filter(|fault| fault.is(&FaultKind::ManagedObjectNotFound));
    match (source, fault.and_then(Fault::object)) {
        (Source::Objects(objects), Some(object)) => {
            objects.contains(&object) && gone.insert(object)
        }
        _ => false,
    }
}

/// Whether reading everything again may well succeed: the session, the page token, the
/// view or the connection broke.
fn restart_helps(error: &CallError) -> bool {
    error.read_again_helps()
        || error.is_fault(&FaultKind::NotAuthenticated)
        || error.is_fault(&FaultKind::ManagedObjectNotFound)
        || error
            .fault()
            .is_some_and(|it| it.is(&FaultKind::InvalidProperty) && it.subject() == Some("token"))
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
