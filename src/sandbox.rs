//! `--sandbox`: the bundled simulators in the place of the hypervisors, in this
//! process, over real HTTPS on loopback.
//!
//! Each configured hypervisor gets a simulator of its own. Its world is kept below
//! `.novahost/sandbox/` between commands and is on disk before each mutating reply; a
//! missing one is seeded from one embedded fixture. No trust file is read and no secret
//! resolved: the simulators take fixed stand-ins.

use crate::model::{HypervisorConfig, HypervisorName};
use anyhow::Context as _;
use mock_servers::{pve, vcenter};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The first world of every simulated cluster.
const FIRST_CLUSTER: &str = include_str!("../fixtures/worlds/proxmox.yaml");
/// The first world of every simulated vCenter.
const FIRST_VCENTER: &str = include_str!("../fixtures/worlds/vcenter.yaml");
/// The user that every simulated vCenter takes.
pub const USERNAME: &str = "novahost@vsphere.local";
/// Its password. Not a secret: it opens nothing but a simulator on loopback.
pub const PASSWORD: &str = "sandbox-password";
/// The token that every simulated cluster takes.
pub const TOKEN_ID: &str = "novahost@pve!sandbox";
/// Its secret. Not a secret: it opens nothing but a simulator on loopback.
pub const TOKEN_SECRET: &str = "00000000-0000-4000-8000-00000000a11a";

/// The simulators of one command.
pub struct Sandbox {
    servers: BTreeMap<HypervisorName, Simulator>,
    /// Held until the simulators have stopped.
    _lock: std::fs::File,
}

/// One simulator.
enum Simulator {
    Cluster(pve::Server),
    Vcenter(vcenter::Server),
}

/// How to reach one simulator.
#[derive(Clone, Debug)]
pub struct Address {
    /// `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The CA of its certificate, PEM.
    pub ca_pem: String,
}

/// Where a project's sandbox is kept.
pub fn folder(root: &Path) -> PathBuf {
    root.join(".novahost").join("sandbox")
}

impl Sandbox {
    /// Starts one simulator per hypervisor.
    ///
    /// # Errors
    /// When the folder cannot be written, or a kept world cannot be read.
    pub async fn start(
        root: &Path,
        hypervisors: &BTreeMap<HypervisorName, HypervisorConfig>,
        record: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let lock = lock(root, std::fs::File::try_lock_shared)?;
        Self::start_locked(root, hypervisors, record, lock).await
    }

    /// Starts them for other clients, and lets no other command in: it would start from
    /// the world on disk, and whoever writes last would wipe out what the other did.
    ///
    /// # Errors
    /// As [`Sandbox::start`], and when another command is using the sandbox.
    pub async fn start_alone(
        root: &Path,
        hypervisors: &BTreeMap<HypervisorName, HypervisorConfig>,
        record: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let lock = lock(root, std::fs::File::try_lock)?;
        Self::start_locked(root, hypervisors, record, lock).await
    }

    async fn start_locked(
        root: &Path,
        hypervisors: &BTreeMap<HypervisorName, HypervisorConfig>,
        record: Option<&Path>,
        lock: std::fs::File,
    ) -> anyhow::Result<Self> {
        let folder = folder(root);
        let mut servers = BTreeMap::new();
        for (name, config) in hypervisors {
            let kept = folder.join(format!("{name}.json"));
            let started = Simulator::start(name, config, &kept, record).await;
            let server = started.with_context(|| {
                format!(
                    "could not start the simulator of `{name}` (its world is {}; `novahost sandbox reset` forgets it)",
                    kept.display()
                )
            })?;
            servers.insert(name.clone(), server);
        }
        Ok(Self { servers, _lock: lock })
    }

    /// How to reach the simulator of a hypervisor.
    pub fn address(&self, name: &HypervisorName) -> Option<Address> {
        Some(match self.servers.get(name)? {
            Simulator::Cluster(server) => {
                Address { endpoint: server.endpoint(), ca_pem: server.ca_pem().to_owned() }
            }
            Simulator::Vcenter(server) => {
                Address { endpoint: server.endpoint(), ca_pem: server.ca_pem().to_owned() }
            }
        })
    }

    /// Every simulator's name and address.
    pub fn addresses(&self) -> BTreeMap<HypervisorName, Address> {
        self.servers.keys().filter_map(|name| Some((name.clone(), self.address(name)?))).collect()
    }

    /// Stops them; their worlds are on disk.
    pub async fn stop(self) {
        for server in self.servers.into_values() {
            match server {
                Simulator::Cluster(server) => server.stop().await,
                Simulator::Vcenter(server) => server.stop().await,
            }
        }
    }
}

impl Simulator {
    async fn start(
        name: &HypervisorName,
        config: &HypervisorConfig,
        kept: &Path,
        record: Option<&Path>,
    ) -> anyhow::Result<Self> {
        match config {
            HypervisorConfig::Proxmox(_) => {
                let mut world = pve::World::from_yaml(FIRST_CLUSTER)?;
                // Two simulators must not be one cluster: identity is name and CA.
                name.as_str().clone_into(&mut world.cluster);
                let mut options = pve::Options::new(release(), seed(name));
                options.persist = Some(kept.to_owned());
                options.record = record.map(Path::to_path_buf);
                Ok(Self::Cluster(pve::serve(world, options).await?))
            }
            HypervisorConfig::Vcenter(_) => {
                let mut world = vcenter::World::from_yaml(FIRST_VCENTER)?;
                // Two simulators must not be one vCenter.
                name.as_str().clone_into(&mut world.name);
                let identity =
                    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_str().as_bytes());
                world.instance_uuid = identity.to_string();
                let mut options = vcenter::Options::new(seed(name));
                options.persist = Some(kept.to_owned());
                // Exchanges of another protocol than the checks of recordings read.
                options.record = record.map(|path| path.with_extension("vim.jsonl"));
                Ok(Self::Vcenter(vcenter::serve(world, options).await?))
            }
        }
    }
}

/// Refuses links among what is about to be written: the tree may come from somebody else,
/// who must not choose which file of this machine is overwritten.
fn no_links(root: &Path) -> anyhow::Result<()> {
    let folder = folder(root);
    let inside = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|it| it.path());
    for path in
        folder.parent().map(Path::to_owned).into_iter().chain([folder.clone()]).chain(inside)
    {
        if std::fs::symlink_metadata(&path).is_ok_and(|it| it.is_symlink()) {
            anyhow::bail!(
                "`{}` is a link; the sandbox writes through none, remove it",
                path.display()
            );
        }
    }
    Ok(())
}

/// Opens and locks the file that says that the sandbox is in use.
fn lock(
    root: &Path,
    take: fn(&std::fs::File) -> Result<(), std::fs::TryLockError>,
) -> anyhow::Result<std::fs::File> {
    let folder = folder(root);
    no_links(root)?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("could not create {}", folder.display()))?;
    let path = folder.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("could not create {}", path.display()))?;
    match take(&file) {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => anyhow::bail!(
            "the sandbox is in use by another command; `novahost sandbox serve` has it for itself until it is stopped"
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

/// Forgets the worlds and the journal of the sandbox. Says whether there was anything.
///
/// # Errors
/// When the folder exists and cannot be removed.
pub fn reset(root: &Path) -> std::io::Result<bool> {
    match std::fs::remove_dir_all(folder(root)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The release that is played; the suite runs with both.
fn release() -> pve::Release {
    let asked = std::env::var("NOVAHOST_SANDBOX_RELEASE").ok();
    asked.and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// The same durations, MACs and UUIDs for the same hypervisor in every run.
fn seed(name: &HypervisorName) -> u64 {
    name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_served_sandbox_is_nobody_elses() {
        let root = tempfile::tempdir().unwrap();
        let none = BTreeMap::new();
        let one = Sandbox::start(root.path(), &none, None).await.unwrap();
        let two = Sandbox::start(root.path(), &none, None).await.unwrap();
        assert!(Sandbox::start_alone(root.path(), &none, None).await.is_err());
        one.stop().await;
        two.stop().await;
        let served = Sandbox::start_alone(root.path(), &none, None).await.unwrap();
        assert!(Sandbox::start(root.path(), &none, None).await.is_err());
        served.stop().await;
        assert!(Sandbox::start(root.path(), &none, None).await.is_ok());
    }
}
