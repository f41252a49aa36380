//! The vCenter provider against the bundled simulator: what a read brings, and what it
//! does not believe.

use mock_servers::vcenter;
use novahost::{
    clock::Clock,
    model::{Coverage, FreshObject, NativeId, ResourceKey, Scope, Target},
    provider::{
        Provider,
        endpoint::Endpoint,
        tls::TlsTrust,
        vcenter::{DeclaredLabels, PORT, Settings, VcenterProvider},
    },
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

struct Lab {
    server: vcenter::Server,
    labels: DeclaredLabels,
}

impl Lab {
    async fn start() -> Self {
        let text = include_str!("../../fixtures/worlds/vcenter.yaml");
        Self::of(vcenter::World::from_yaml(text).unwrap()).await
    }

    async fn of(world: vcenter::World) -> Self {
        let options = vcenter::Options::new(7);
        let server = vcenter::serve(world, options).await.unwrap();
        Self { server, labels: DeclaredLabels::default() }
    }

    fn provider(&self, user: &str, password: &str) -> VcenterProvider {
        let settings = Settings {
            name: "vc".into(),
            project: Some("acme".into()),
            endpoint: Endpoint::parse(&self.server.endpoint(), PORT).unwrap(),
            allowed_hosts: BTreeSet::new(),
            username: user.into(),
            password: SecretString::from(password),
            tls: TlsTrust::Ca(self.server.ca_pem().to_owned().into()),
            datacenter: None,
            cluster: None,
            folder: "novahost".into(),
            pools: BTreeMap::new(),
            labels: self.labels.clone(),
            keys: BTreeMap::new(),
            setups: Default::default(),
            reads_max: 4,
            writes_max: 4,
            expected_identity: None,
            settle: Duration::from_millis(300),
        };
        VcenterProvider::new(settings, Clock::system()).unwrap()
    }
}

#[tokio::test]
async fn a_plan_costs_eight_requests_and_its_pages() {
    let nobodys = |_: &str, _: usize| Vec::new();
    let lab = Lab::of(vcenter::World::synthetic(8, 1_200, 7, &nobodys).unwrap()).await;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let scope = Scope { names: ["vm-0001".to_owned()].into(), ..Scope::default() };
    let seen = provider.observe(&scope).await;
    provider.close().await;
    assert_eq!(seen.coverage, Coverage::Complete, "{:?}", seen.coverage);
    assert!(seen.listed.len() >= 1_200, "{}", seen.listed.len());
    let counts = lab.server.control().counts();
    let pages = counts.get("ContinueRetrievePropertiesEx").copied().unwrap_or(0) + 1;
    assert!(pages >= 3, "{counts:?}");
    let all: usize = counts.values().sum();
    assert!(all <= 8 + pages, "{all} requests and {pages} pages: {counts:?}");
    assert!(
        !counts.keys().any(|it| it.starts_with("tags.")),
        "nobody declares a label: {counts:?}"
    );
}

/// A world of many machines, of which some are ours and bear what is declared of them.
fn labelled(machines: usize, ours: usize) -> (vcenter::World, DeclaredLabels) {
    let uuid = "c1d2e3f4-0000-5000-8000-000000020500";
    let marked = |name: &str, number: usize| match number < ours {
        true => vec![(
            "novahost.id".to_owned(),
            format!(
                "novahost/1 project=acme key=vm/{name} uuid={uuid} id=vm-1 stage=ready intent={uuid} init=none protect=0"
            ),
        )],
        false => Vec::new(),
    };
    let mut world = vcenter::World::synthetic(8, machines, 7, &marked).unwrap();
    let category = world.add_category("tenant", false, &["VirtualMachine"]);
    let tag = world.add_tag(&category, "acme");
    let mut labels = DeclaredLabels {
        values: [("tenant".into(), ["acme".to_owned()].into())].into(),
        ..DeclaredLabels::default()
    };
    let marked = world.vms().filter(|(_, vm)| vm.config.extra.contains_key("novahost.id"));
    let ids: Vec<String> = marked.map(|(id, _)| id.to_owned()).collect();
    for id in ids {
        labels.machines.insert(ResourceKey::vm(id.as_str()), labels.values.clone());
        world.tagging.attached.insert((tag.clone(), id));
    }
    assert_eq!(labels.machines.len(), ours);
    (world, labels)
}

#[tokio::test]
async fn labels_cost_a_plan_seven_requests_more_and_one_for_each_category_of_others() {
    let (mut world, labels) = labelled(1_200, 40);
    // Each of ours bears another tag of somebody's, which no label means.
    let foreign = world.add_category("Backup Policy", true, &[]);
    let ours: Vec<String> = labels.machines.keys().map(|it| it.name.to_string()).collect();
    for id in ours {
        let tag = world.add_tag(&foreign, &format!("of {id}"));
        world.tagging.attached.insert((tag, id));
    }
    let mut lab = Lab::of(world).await;
    lab.labels = labels;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let seen = provider.observe(&Scope::default()).await;
    provider.close().await;
    assert_eq!(seen.coverage, Coverage::Complete, "{:?}", seen.coverage);
    let bears = |it: &&novahost::model::ObservedMachine| it.spec.labels.contains_key("tenant");
    assert_eq!(seen.machines.values().filter(bears).count(), 40);
    let counts = lab.server.control().counts();
    let pages = counts.get("ContinueRetrievePropertiesEx").copied().unwrap_or(0) + 1;
    let all: usize = counts.values().sum();
    assert!(all <= 8 + pages + 7 + 1, "{all} requests and {pages} pages: {counts:?}");
    let sessions = lab.server.control().inspect(|world| world.tagging.sessions.len());
    assert_eq!(sessions, 0);
}

/// A label that was not read must not look like one that is missing.
#[tokio::test]
async fn a_service_of_tags_that_is_down_makes_its_machines_unreadable_and_no_others() {
    let (world, labels) = labelled(20, 3);
    let mut lab = Lab::of(world).await;
    lab.labels = labels;
    lab.labels.machines.pop_last();
    lab.server.control().set_fault(Box::new(|point| {
        let down = vcenter::Fault::Status(503, "starting".into());
        point.method.starts_with("tags.").then_some(down)
    }));
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let seen = provider.observe(&Scope::default()).await;
    assert_eq!((seen.unreadable.len(), seen.machines.len()), (2, 1), "{:?}", seen.unreadable);
    assert!(seen.unreadable.values().all(|why| why.contains("labels")), "{:?}", seen.unreadable);
    lab.server.control().clear_fault();
    // A session that is over is replaced, without anybody being told.
    assert!(provider.observe(&Scope::default()).await.unreadable.is_empty());
    lab.server.control().end_sessions();
    assert!(provider.observe(&Scope::default()).await.unreadable.is_empty());
    provider.close().await;
}

/// A permission on a hidden object is hidden with it, so that only what the account has on
/// the root tells how far it sees; the name that a hidden machine holds is taken all the same.
#[tokio::test]
async fn an_account_that_does_not_see_the_root_is_not_believed_about_absence() {
    let lab = Lab::start().await;
    lab.server.control().edit(|world| {
        let root = world.root().to_owned();
        let folder = world.find("Folder", "novahost").unwrap().to_owned();
        let taken = |it: &vcenter::access::Grant| it.principal.contains("novahost");
        let root = world.entities.get_mut(&root).unwrap();
        let moved: Vec<_> = root.grants.extract_if(.., |it| taken(it)).collect();
        assert_eq!(moved.len(), 1);
        world.entities.get_mut(&folder).unwrap().grants.extend(moved);
    });
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let seen = provider.observe(&Scope::default()).await;
    assert!(!seen.coverage.is_complete(), "{:?}", seen.coverage);
    provider.close().await;
}

#[tokio::test]
async fn a_machine_that_is_read_shows_its_devices_whole() {
    let lab = Lab::start().await;
    let provider = lab.provider("reader@vsphere.local", "sandbox-reader");
    let scope = Scope { template_names: ["tpl-debian-13".to_owned()].into(), ..Scope::default() };
    let seen = provider.observe(&scope).await;
    let (id, template) = seen.machines.iter().next().unwrap();
    assert!(template.template && template.snapshots.len() == 1);
    let fresh =
        provider.read(&Target::with_id(ResourceKey::vm("x"), id.clone(), None)).await.unwrap();
    let FreshObject::Machine(read) = fresh.object else { panic!("no machine") };
    assert_eq!(*read, *template, "one read says what the inventory says");
    assert!(fresh.version.is_some() && fresh.raw["devices"].as_array().unwrap().len() > 4);
    provider.close().await;
}

#[tokio::test]
async fn a_machine_that_is_hidden_is_not_gone_for_who_knows_its_id() {
    let lab = Lab::start().await;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let control = lab.server.control();
    let id = control.find_vm("legacy-db").unwrap();
    let scope = Scope { ids: [id.as_str().into(), "vm-404".into()].into(), ..Scope::default() };
    assert_eq!(provider.observe(&scope).await.coverage, Coverage::Complete);
    control.hide(&id, true);
    let Coverage::Scoped { why, .. } = provider.observe(&scope).await.coverage else {
        panic!("its permission is told to nobody who cannot see it");
    };
    assert!(why.contains(&id) && !why.contains("vm-404"), "{why}");
    provider.close().await;
}

/// One without a configuration tells neither marker nor UUID. In our own folder it may be
/// ours under another name; elsewhere it is somebody else's ruin.
#[tokio::test]
async fn a_machine_that_says_nothing_may_be_ours_where_ours_are_made() {
    let lab = Lab::start().await;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let control = lab.server.control();
    let id = control.find_vm("legacy-db").unwrap();
    control.edit(|world| {
        let vm = world.vm_mut(&id).unwrap();
        vm.connection = "inaccessible".to_owned();
    });
    let seen = provider.observe(&Scope::default()).await;
    assert!(seen.listed.contains_key(id.as_str()) && seen.unreadable.is_empty());
    control.edit(|world| {
        let ours = world.find("Folder", "novahost").unwrap().to_owned();
        world.entities.get_mut(&id).unwrap().parent = Some(ours);
    });
    let seen = provider.observe(&Scope::default()).await;
    assert!(seen.unreadable.contains_key(id.as_str()), "{:?}", seen.unreadable);
    provider.close().await;
}

/// What is hidden around a machine is looked for once, not at every look at the machine, and
/// many who look at the same time read where things are once.
#[tokio::test]
async fn the_places_around_a_machine_are_read_once() {
    let lab = Lab::start().await;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let control = lab.server.control();
    let id = control.find_vm("legacy-db").unwrap();
    let target = Target::with_id(ResourceKey::vm("x"), NativeId::from(id.as_str()), None);
    let views = || control.counts().get("CreateContainerView").copied().unwrap_or(0);
    let look = || provider.read(&target);
    let (one, two, three) = tokio::join!(look(), look(), look());
    for fresh in [one, two, three] {
        assert!(matches!(fresh.unwrap().object, FreshObject::Machine(_)));
    }
    assert_eq!(views(), 1, "{:?}", control.counts());
    let pool = control
        .inspect(|world| world.vms().find(|(at, _)| *at == id).unwrap().1.pool.clone())
        .unwrap();
    control.hide(&pool, true);
    // As when it was made after the places were read.
    provider.close().await;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    for _ in 0..3 {
        let fresh = provider.read(&target).await.unwrap();
        assert!(matches!(fresh.object, FreshObject::Machine(_)));
    }
    assert!(views() <= 3, "{:?}", control.counts());
    provider.close().await;
}
