//! The vCenter provider against the bundled simulator: what a read brings, and what it
//! does not believe.

use mock_servers::vcenter;
use novahost::{
    clock::Clock,
    model::{Coverage, FreshObject, ResourceKey, Scope, Target},
    provider::{
        Provider,
        tls::TlsTrust,
        vcenter::{Settings, VcenterProvider},
    },
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

struct Lab {
    server: vcenter::Server,
}

impl Lab {
    async fn start() -> Self {
        let world =
            vcenter::World::from_yaml(include_str!("../../fixtures/worlds/vcenter.yaml")).unwrap();
        let options = vcenter::Options::new(7);
        Self { server: vcenter::serve(world, options).await.unwrap() }
    }

    fn provider(&self, user: &str, password: &str) -> VcenterProvider {
        let settings = Settings {
            name: "vc".into(),
            project: Some("acme".into()),
            endpoint: self.server.endpoint().parse().unwrap(),
            allowed_hosts: BTreeSet::new(),
            username: user.into(),
            password: SecretString::from(password),
            tls: TlsTrust::Ca(self.server.ca_pem().to_owned().into()),
            datacenter: None,
            folder: "novahost".into(),
            pools: BTreeMap::new(),
            reads_max: 4,
            writes_max: 4,
            expected_identity: None,
            settle: Duration::from_millis(300),
        };
        VcenterProvider::new(settings, Clock::system()).unwrap()
    }
}

#[tokio::test]
async fn everything_is_seen_in_a_few_calls() {
    let lab = Lab::start().await;
    let provider = lab.provider("novahost@vsphere.local", "sandbox-password");
    let scope = Scope { template_names: ["tpl-debian-13".to_owned()].into(), ..Scope::default() };
    let seen = provider.observe(&scope).await;
    assert_eq!(seen.coverage, Coverage::Complete, "{seen:#?}");
    println!("{seen:#?}");
    println!("{:?}", lab.server.control().counts());
    let id = seen.machines.keys().next().unwrap().clone();
    let fresh = provider.read(&Target::with_id(ResourceKey::vm("x"), id, None)).await.unwrap();
    assert!(matches!(fresh.object, FreshObject::Machine(_)));
    println!("{}", fresh.raw);
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
    let Coverage::Incomplete { gaps } = provider.observe(&scope).await.coverage else {
        panic!("its permission is told to nobody who cannot see it");
    };
    assert!(gaps.len() == 1 && gaps[0].contains(&id), "{gaps:?}");
    provider.close().await;
}
