//! Pools: which parts are looked for, which calls make and remove them, and what hinders it.

use super::super::{
    call::{Answers, NativeCall, Surroundings},
    places::{Places, PoolPlace},
    pool_call::pool_call,
    pools::{Attributes, COMMENT, MARK, PoolReader, RawPool},
    product::Vcenter,
    rights::Roles,
    vim::{
        MoRef, Node, Val,
        collect::{Collected, ObjectContent},
    },
};
use super::place;
use crate::{
    model::{
        Change, DesiredPool, Fresh, FreshObject, GrantRole, Grantee, Identity, Name, ObservedPool,
        PartKind, PartSeen, PartState, PoolChange, PoolPart, Product as _, ResourceKey, StepOp,
        Target,
    },
    provider::Call,
};
use std::collections::BTreeMap;

fn text(name: &str, text: &str) -> Node {
    Node { text: text.into(), ..Node::new(name) }
}

fn reference(kind: &str, id: &str) -> Node {
    Node { ref_type: Some(kind.into()), ..text("val", id) }
}

/// An object, below another one.
pub(super) fn object(kind: &str, id: &str, name: &str, parent: (&str, &str)) -> ObjectContent {
    let props = [
        ("name".to_owned(), text("val", name)),
        ("parent".to_owned(), reference(parent.0, parent.1)),
    ];
    ObjectContent { obj: MoRef::new(kind, id), props: props.into(), missing: BTreeMap::new() }
}

pub(super) fn with(mut object: ObjectContent, path: &str, value: Node) -> ObjectContent {
    object.props.insert(path.to_owned(), value);
    object
}

pub(super) fn custom(key: i64, value: &str) -> Node {
    let one = Node {
        children: vec![text("key", &key.to_string()), text("value", value)],
        ..Node::new("CustomFieldValue")
    };
    Node { children: vec![one], ..Node::new("val") }
}

fn cluster(id: &str, name: &str, drs: bool) -> Vec<ObjectContent> {
    let enabled = text("enabled", if drs { "true" } else { "false" });
    let drs = Node { children: vec![enabled], ..Node::new("drsConfig") };
    let config = Node { children: vec![drs], ..Node::new("val") };
    let root = format!("root-{id}");
    let cluster = object("ClusterComputeResource", id, name, ("Datacenter", "dc"));
    let cluster = with(cluster, "configurationEx", config);
    let cluster = with(cluster, "resourcePool", reference("ResourcePool", &root));
    let pool = object("ResourcePool", &root, "Resources", ("ClusterComputeResource", id));
    vec![cluster, pool]
}

pub(super) const OURS: &str = "novahost/1 project=acme key=pool/web uuid=none id=f-web stage=ready \
                    intent=00000000-0000-0000-0000-000000000001 init=none protect=0";

/// Two clusters, of which one takes pools; `Tenants/web` is ours by its mark.
pub(super) fn world(more: Vec<ObjectContent>) -> Places {
    let center = object("Datacenter", "dc", "Lyon", ("Folder", "root"));
    let mut objects = vec![
        with(center, "vmFolder", reference("Folder", "vms")),
        object("Folder", "vms", "vm", ("Datacenter", "dc")),
        object("Folder", "f-tenants", "Tenants", ("Folder", "vms")),
        with(
            object("Folder", "f-web", "web", ("Folder", "f-tenants")),
            "customValue",
            custom(7, OURS),
        ),
    ];
    objects.extend(cluster("c1", "blue", true));
    objects.extend(cluster("c2", "green", false));
    objects.extend(more);
    let read = Collected { objects, ..Collected::default() };
    Places::of(&read, &MoRef::new("Folder", "root"), None)
}

pub(super) fn attributes(keys: &[(&str, i64)]) -> Attributes {
    Attributes {
        manager: "CustomFieldsManager".into(),
        keys: keys.iter().map(|(name, key)| ((*name).to_owned(), *key)).collect(),
        ..Attributes::default()
    }
}

pub(super) fn bound_as(name: &str, folder: &str, pool: &str) -> Option<(Name, PoolPlace)> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (folder, resource_pool) = (some(folder), some(pool));
    Some((name.into(), PoolPlace { folder, resource_pool, ..PoolPlace::default() }))
}

fn bound(folder: &str, pool: &str) -> BTreeMap<Name, PoolPlace> {
    bound_as("web", folder, pool).into_iter().collect()
}

pub(super) fn look(
    places: &Places,
    attributes: &Attributes,
    pools: &BTreeMap<Name, PoolPlace>,
    cluster: Option<&str>,
) -> BTreeMap<Name, ObservedPool> {
    let project = "acme".into();
    let reader = PoolReader {
        places,
        attributes,
        project: Some(&project),
        pools,
        datacenter: None,
        folder: "novahost",
        cluster,
    };
    reader.all()
}

fn parts(pool: &ObservedPool) -> Vec<(String, PartState)> {
    pool.parts.iter().map(|(part, it)| (part.to_string(), it.state())).collect()
}

#[test]
fn a_pool_is_looked_for_in_its_parts() {
    use PartState::{Absent, Marked, There};
    let places = world(Vec::new());
    let found = look(&places, &attributes(&[(MARK, 7)]), &bound("Tenants/web", "A/web"), None);
    let wanted = [
        ("mark:novahost.comment", Absent),
        ("mark:novahost.id", There),
        ("group-above:Tenants", There),
        ("group:Tenants/web", Marked),
        ("share-above:blue/A", Absent),
        ("share:blue/A/web", Absent),
    ];
    assert_eq!(parts(&found["web"]), wanted.map(|(part, state)| (part.to_owned(), state)));
    assert!(found["web"].hindrance.is_none());
    // Without the attribute nothing is anybody's.
    let blind = look(&places, &attributes(&[]), &bound("Tenants/web", ""), None);
    assert_eq!(blind["web"].part(&PoolPart::new(PartKind::Group, "Tenants/web")), There);
    assert!(blind["web"].marker.found().is_none());
}

#[test]
fn a_pool_that_no_entry_names_is_found_by_its_mark() {
    let places = world(Vec::new());
    let keys = attributes(&[(MARK, 7)]);
    let found = look(&places, &keys, &BTreeMap::new(), None);
    let part = PoolPart::new(PartKind::Group, "Tenants/web");
    assert_eq!(found["web"].part(&part), PartState::Marked);
    assert!(!found["web"].parts[&part].named);
    // One that the entry names elsewhere now is not the same part.
    let moved = look(&places, &keys, &bound("Tenants/other", ""), None);
    assert_eq!(
        moved["web"].part(&PoolPart::new(PartKind::Group, "Tenants/other")),
        PartState::Absent
    );
    assert!(!moved["web"].parts[&part].named);
    // A mark that was copied to another folder makes it nobody's.
    let copy =
        with(object("Folder", "f-copy", "copy", ("Folder", "vms")), "customValue", custom(7, OURS));
    let found = look(&world(vec![copy]), &keys, &BTreeMap::new(), None);
    assert_eq!(found["web"].parts.iter().filter(|(part, _)| part.kind.is_own()).count(), 1);
}

#[test]
fn two_resource_pools_that_fit_are_both_told() {
    let pool = |id: &str, name: &str, parent: &str| {
        object("ResourcePool", id, name, ("ResourcePool", parent))
    };
    let two = vec![
        pool("p1", "web", "root-c1"),
        pool("p2", "Tenants", "root-c1"),
        pool("p3", "web", "p2"),
    ];
    let places = world(two);
    let keys = attributes(&[(MARK, 7)]);
    let found = look(&places, &keys, &bound("", "web"), None);
    let why = &found["web"].hindrance.as_ref().unwrap().why;
    assert_eq!(why, "`web` may be the resource pool `/web` or `/Tenants/web`");
    for (path, id) in [("/web", "p1"), ("Tenants/web", "p3"), ("/Tenants/web", "p3")] {
        let found = look(&places, &keys, &bound("", path), None);
        let share = found["web"].parts.iter().find(|(part, _)| part.kind == PartKind::Share);
        assert_eq!(share.unwrap().1.id.as_ref().unwrap().as_str(), id, "{path}");
        let pools = bound("", path);
        let member = |id: &str| {
            let (folder, share) = (MoRef::new("Folder", "vms"), MoRef::new("ResourcePool", id));
            places.pool_of(&pools, "", Some(&folder), Some(&share)).is_some()
        };
        assert_eq!((member("p1"), member("p3")), (id == "p1", id == "p3"), "{path}");
    }
}

#[test]
fn a_resource_pool_is_made_only_where_it_can_be() {
    let keys = attributes(&[(MARK, 7)]);
    let why = |places: &Places, cluster: Option<&str>| {
        let found = look(places, &keys, &bound("", "new"), cluster);
        found["web"].hindrance.as_ref().map(|it| it.why.clone()).unwrap_or_default()
    };
    assert_eq!(why(&world(Vec::new()), None), "");
    assert!(why(&world(Vec::new()), Some("green")).contains("no cluster with DRS"));
    let two = world(cluster("c3", "red", true));
    assert!(why(&two, None).contains("could be made in `blue`, `red`"));
    assert_eq!(why(&two, Some("red")), "");
}

#[test]
fn what_the_account_lacks_is_told_before_anything_is_made() {
    let roles = |id: &str| Node { children: vec![text("int", id)], ..Node::new("val") };
    let center = object("Datacenter", "dc", "Lyon", ("Folder", "root"));
    let objects = vec![
        with(center, "vmFolder", reference("Folder", "vms")),
        with(object("Folder", "vms", "vm", ("Datacenter", "dc")), "effectiveRole", roles("5")),
    ];
    let read = Collected { objects, ..Collected::default() };
    let places = Places::of(&read, &MoRef::new("Folder", "root"), None);
    let (project, pools) = ("acme".into(), bound("new", ""));
    let hindrance = |attributes: &Attributes, role: i64, privileges: &[&str]| {
        let reader = PoolReader {
            places: &places,
            attributes,
            project: Some(&project),
            pools: &pools,
            datacenter: None,
            folder: "novahost",
            cluster: None,
        };
        let list = Node {
            children: vec![Node {
                children: [
                    vec![text("roleId", "5")],
                    privileges.iter().map(|it| text("privilege", it)).collect(),
                ]
                .concat(),
                ..Node::new("AuthorizationRole")
            }],
            ..Node::new("val")
        };
        let mut pool = reader.all().remove("web").unwrap();
        reader.hinder(&mut pool, &Roles::of(&list), &[role]);
        pool.hindrance.map(|it| it.why).unwrap_or_default()
    };
    let all = ["Folder.Create", "Global.SetCustomField", "Global.ManageCustomFields"];
    assert_eq!(hindrance(&attributes(&[]), 5, &all), "");
    assert!(hindrance(&attributes(&[]), 5, &all[..2]).contains("Global.ManageCustomFields"));
    assert_eq!(hindrance(&attributes(&[(MARK, 7)]), 5, &all[..2]), "");
    assert!(hindrance(&attributes(&[(MARK, 7)]), 5, &all[1..]).contains("Folder.Create"));
    let narrow = Attributes { narrow: [MARK.to_owned()].into(), ..attributes(&[]) };
    assert!(hindrance(&narrow, 5, &all).contains("one kind of object"));
}

pub(super) fn desired(comment: Option<&str>) -> DesiredPool {
    DesiredPool {
        key: ResourceKey::pool("web"),
        comment: comment.map(str::to_owned),
        at: BTreeMap::new(),
        acl: BTreeMap::new(),
        place: place(),
    }
}

#[test]
fn what_is_missing_is_made_and_marked_from_outside_to_inside() {
    let places = world(Vec::new());
    let keys = attributes(&[]);
    let pools = bound("New/web", "web");
    let seen = look(&places, &keys, &pools, None).remove("web").unwrap();
    let pool = desired(Some("Front"));
    let change = Change::CreatePool(PoolChange { pool: &pool, seen: Some(&seen) });
    let lowered = Vcenter.lower(&change).unwrap();
    let told: Vec<String> = lowered
        .steps
        .iter()
        .map(|step| match step.op.part() {
            Some(part) => format!("{} {part}", step.op.name()),
            None => step.op.name().to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "make-part mark:novahost.id",
            "make-part group-above:New",
            "make-part group:New/web",
            "mark-part group:New/web",
            "make-part share:blue/web",
            "mark-part share:blue/web",
            "make-part mark:novahost.comment",
            "set-comment",
        ]
    );
    assert!(lowered.steps.iter().all(|step| !step.end.is_empty() && !step.guarded));
    // Where nothing of it is missing, nothing is sent; the mark alone is made for nobody.
    let whole = ObservedPool {
        parts: seen
            .parts
            .iter()
            .map(|(part, it)| {
                let id = part.kind.is_own().then(|| "x".into());
                (part.clone(), PartSeen { id, ..it.clone() })
            })
            .collect(),
        ..ObservedPool::default()
    };
    let pool = desired(None);
    let change = Change::CreatePool(PoolChange { pool: &pool, seen: Some(&whole) });
    let left: Vec<_> = Vcenter.lower(&change).unwrap().steps;
    assert!(left.iter().all(|step| !step.op.part().unwrap().kind.is_own()), "{left:?}");
    assert!(Vcenter.lower(&Change::CreatePool(PoolChange { pool: &pool, seen: None })).is_err());
}

/// The native call of a step on the pool `web` of the project `acme`.
pub(super) fn native(
    places: &Places,
    keys: &Attributes,
    seen: &ObservedPool,
    op: StepOp,
) -> Result<NativeCall, String> {
    let target = Target::with_id(ResourceKey::pool("web"), "web", None);
    let raw = RawPool {
        attributes: keys.clone(),
        authorization: "AuthorizationManager".into(),
        roles: [(GrantRole::Viewer, 17)].into(),
        spelled: [(Grantee::new(r"CORP\bob", false), r"Corp\Bob".to_owned())].into(),
    };
    let fresh = Fresh {
        object: FreshObject::Pool(seen.clone()),
        version: None,
        raw: serde_json::to_value(raw).unwrap(),
    };
    let identity = Identity {
        project: "acme".into(),
        key: target.key.clone(),
        intent: uuid::Uuid::from_u128(1),
        uuid: None,
    };
    let pools = BTreeMap::new();
    let around = Surroundings { places, pools: &pools, datacenter: None, folder: "", kept: None };
    let step = super::super::lower::bare(op);
    let call = Call {
        step: &step,
        op: &step.op,
        target: &target,
        identity: &identity,
        plan_id: "0123456789ab",
        fresh: &fresh,
        marker_key: None,
        secrets: &Default::default(),
    };
    pool_call(&call, &around)
}

#[test]
fn a_mark_names_the_object_that_it_is_on() {
    let places = world(Vec::new());
    let keys = attributes(&[(MARK, 7), (COMMENT, 8)]);
    let pools = bound("Tenants/web", "");
    let seen = look(&places, &keys, &pools, None).remove("web").unwrap();
    let native = |op: StepOp| native(&places, &keys, &seen, op);
    let group = PoolPart::new(PartKind::Group, "Tenants/web");
    let mark = native(StepOp::MarkPart { part: group.clone() }).unwrap();
    assert_eq!((mark.method, mark.answers), ("SetField", Answers::Nothing));
    let shown = format!("{:?}", mark.args);
    assert!(shown.contains("key=pool/web uuid=none id=f-web stage=ready"), "{shown}");
    let comment = native(StepOp::SetComment { comment: "Front".into() }).unwrap();
    assert_eq!(comment.method, "SetField");
    let gone = native(StepOp::RemovePart { part: group }).unwrap();
    assert_eq!(
        (gone.method, gone.this),
        ("UnregisterAndDestroy_Task", MoRef::new("Folder", "f-web"))
    );
    let role = native(StepOp::MakeRole { role: GrantRole::Viewer }).unwrap();
    assert_eq!(role.method, "AddAuthorizationRole");
    let named = ("name", "nh-acme-viewer".into());
    assert_eq!(role.args, [named, ("privIds", Vec::<Val>::new().into())]);
    let grant = |name: &str, role| StepOp::Grant {
        part: PoolPart::new(PartKind::Group, "Tenants/web"),
        grantee: Grantee::new(name, false),
        role,
    };
    let given = native(grant(r"corp\BOB", GrantRole::Viewer)).unwrap();
    assert_eq!((given.method, given.args.len()), ("SetEntityPermissions", 2));
    let shown = format!("{:?}", given.args);
    // Spelled as the server spells them, where it did.
    assert!(shown.contains(r"Corp\\Bob") && shown.contains("f-web"), "{shown}");
    let why = native(grant(r"CORP\bob", GrantRole::Admin)).unwrap_err();
    assert!(why.contains("the role for `admin` is not there"), "{why}");
    let taken = native(StepOp::Revoke {
        part: PoolPart::new(PartKind::Group, "Tenants/web"),
        grantee: Grantee::new(r"CORP\ops", true),
    });
    let taken = taken.unwrap();
    assert_eq!(taken.method, "RemoveEntityPermission");
    let entity = MoRef::new("Folder", "f-web");
    let wanted =
        [("entity", entity.into()), ("user", r"CORP\ops".into()), ("isGroup", true.into())];
    assert_eq!(taken.args, wanted);
    let above = PoolPart::new(PartKind::Group, "Nowhere/web");
    assert!(native(StepOp::MakePart { part: above }).unwrap_err().contains("Nowhere"));
    let share = PoolPart::new(PartKind::Share, "blue/a%2fb");
    let share = native(StepOp::MakePart { part: share }).unwrap();
    assert_eq!(share.this, MoRef::new("ResourcePool", "root-c1"));
    assert_eq!((share.method, share.answers), ("CreateResourcePool", Answers::Object));
}
