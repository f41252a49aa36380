//! Simulated clusters for all integration tests.
//!
//! With `NOVAHOST_CONTRACTS` set to a folder, each cluster records what it was asked and
//! what it answered, for `.ci/contracts` to judge by the product's own schema.

#![allow(clippy::unwrap_used, reason = "helpers of tests are test code too")]

use mock_servers::pve::{Control, Options, Release, Server, Switches, Timing, World, serve};
use novahost::{
    clock::Clock,
    provider::{
        endpoint::Endpoint,
        proxmox::{Auth, PORT, ProxmoxProvider, Settings},
        tls::TlsTrust,
    },
};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Three nodes, three templates, a few guests of other people.
pub const WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
/// The token of that world.
pub const TOKEN_ID: &str = novahost::sandbox::TOKEN_ID;
/// Its secret.
pub const TOKEN_SECRET: &str = novahost::sandbox::TOKEN_SECRET;
/// What a configuration calls the cluster of that world.
pub const HYPERVISOR: &str = "pve-paris";

/// How a cluster is set up.
pub struct Setup {
    /// Which release is played.
    pub release: Release,
    /// The reading of each point that the sources leave open.
    pub switches: Switches,
    /// What there is.
    pub world: World,
    /// Whether faults are planted, or requests sent that must be refused: then only the
    /// server's side of the recording has to hold.
    pub faulty: bool,
    /// How long things take.
    pub timing: Timing,
    /// How many ports serve it.
    pub endpoints: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            release: Release::V9_2,
            switches: Switches::default(),
            world: World::from_yaml(WORLD).unwrap(),
            faulty: false,
            timing: Timing::fast(),
            endpoints: 1,
        }
    }
}

/// A running cluster with the operator's hand in it.
pub struct Cluster {
    /// The servers; dropping this ends them.
    pub server: Server,
    /// Looks behind the interface, changes things, plants faults.
    pub control: Control,
}

impl Cluster {
    /// Starts a cluster. `name` is the test's, and part of the recording's file name.
    pub async fn start(name: &str, setup: Setup) -> Self {
        let mut options = Options::new(setup.release, 7);
        options.switches = setup.switches;
        options.timing = setup.timing;
        options.endpoints = setup.endpoints;
        options.record = recording(setup.release, setup.faulty, name);
        let server = serve(setup.world, options).await.unwrap();
        let control = server.control();
        Self { server, control }
    }

    /// Base address of the first port.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// The authority of its certificate, PEM.
    pub fn ca(&self) -> String {
        self.server.ca_pem().to_owned()
    }

    /// Settings with which the account of the fixture reaches it.
    pub fn settings(&self, project: &str) -> Settings {
        Settings {
            name: HYPERVISOR.into(),
            project: Some(project.into()),
            endpoints: self
                .server
                .endpoints()
                .iter()
                .map(|it| Endpoint::parse(it, PORT).unwrap())
                .collect(),
            allowed_hosts: BTreeSet::new(),
            auth: Auth::Token { id: TOKEN_ID.into(), secret: TOKEN_SECRET.into() },
            tls: TlsTrust::Ca(self.server.ca_pem().into()),
            vmid_range: (20000, 29999),
            reads_max: 8,
            writes_max: 4,
            expected_identity: None,
            settle: Duration::from_millis(200),
        }
    }

    /// A provider with those settings.
    pub fn provider(&self, project: &str) -> ProxmoxProvider {
        ProxmoxProvider::new(self.settings(project), Clock::system()).unwrap()
    }
}

/// Where a cluster records, when it is to record: `9.2-client-NAME.jsonl`.
pub fn recording(release: Release, faulty: bool, name: &str) -> Option<PathBuf> {
    recording_of(&release.to_string(), faulty, name)
}

/// The same for another product than a release of Proxmox VE.
pub fn recording_of(product: &str, faulty: bool, name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("NOVAHOST_CONTRACTS")?;
    std::fs::create_dir_all(&folder).unwrap();
    let side = if faulty { "server" } else { "client" };
    Some(PathBuf::from(folder).join(format!("{product}-{side}-{name}.jsonl")))
}
