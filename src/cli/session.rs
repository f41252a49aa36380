//! What most commands need: the YAML, trust settings, providers and the journal, in
//! the order in which each may be touched.

use super::{args::Global, error::CliError, output::Output, progress, trust, validate};
use crate::{
    apply::ExitClass,
    clock::Clock,
    config, inventory,
    model::{
        DesiredState, FailureKind, History, HypervisorConfig, HypervisorInventory, HypervisorName,
        Inventory, Product,
    },
    ownership::MarkerKey,
    planted::Bug,
    provider::{Provider, proxmox::Proxmox, vcenter::Vcenter},
    reconcile::Known,
    sandbox::{self, Sandbox},
    secrets::{SecretError, Secrets},
    settings::{Layer, Settings},
    store::{Store, Who},
    trust::Trust,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file that is taken when none is named.
pub fn path_of(path: Option<&Path>) -> PathBuf {
    path.map_or_else(|| PathBuf::from(config::FILE_NAME), Path::to_path_buf)
}

/// Everything of one command.
pub struct Session {
    /// The path as it was typed.
    pub path: PathBuf,
    /// Nothing that is read lies outside of it.
    pub root: PathBuf,
    /// What the YAML asks for.
    pub desired: DesiredState,
    /// Whom to believe.
    pub trust: Trust,
    /// The simulators, with `--sandbox`.
    pub sandbox: Option<Sandbox>,
    /// The effectful half of each hypervisor.
    pub providers: BTreeMap<HypervisorName, Arc<dyn Provider>>,
    /// Where the journal is.
    pub store_path: PathBuf,
    /// Signs and verifies markers.
    pub marker_key: Option<MarkerKey>,
    /// Resolves secrets, as far as trust allows.
    pub secrets: Arc<Secrets>,
    /// The time.
    pub clock: Clock,
    /// How the tool runs.
    pub settings: Settings,
    /// How to print, settings included.
    pub output: Output,
}

/// The pure half of every product that is built in.
static PROXMOX: Proxmox = Proxmox;
static VCENTER: Vcenter = Vcenter;

/// The pure half of every product, in the order in which they are shown.
pub fn all_products() -> [&'static dyn Product; 2] {
    [&PROXMOX, &VCENTER]
}

/// The pure half of each configured hypervisor.
pub fn products(desired: &DesiredState) -> BTreeMap<HypervisorName, &'static dyn Product> {
    let product = |config: &HypervisorConfig| -> &'static dyn Product {
        match config {
            HypervisorConfig::Proxmox(_) => &PROXMOX,
            HypervisorConfig::Vcenter(_) => &VCENTER,
        }
    };
    desired.hypervisors.iter().map(|(name, config)| (name.clone(), product(config))).collect()
}

/// Loads the YAML and shows its problems; then the settings beside it.
pub fn load(
    global: &Global,
    path: &Path,
    output: &Output,
) -> Result<(DesiredState, PathBuf, Settings), CliError> {
    let options = config::Options { root: global.root.clone() };
    let loaded = config::load(path, &options);
    validate::show_problems(&loaded, output);
    let root = loaded.root.clone();
    let Some(desired) = loaded.desired else {
        return Err(CliError::silent(ExitClass::Config));
    };
    let wrong = |error: &crate::settings::SettingsError| CliError::of(ExitClass::Config, error);
    let file = Layer::load(&root).map_err(|error| wrong(&error))?;
    let variables = Layer::from_environment(|name| std::env::var(name).ok());
    let settings = variables.map_err(|error| wrong(&error))?.over(file).settle();
    Ok((desired, root, settings))
}

/// Reads trust settings; the sandbox has its own and reads none.
pub fn read_trust(global: &Global, root: &Path) -> Result<Trust, CliError> {
    if global.sandbox {
        return Ok(Trust::sandbox());
    }
    let variable = |name: &str| std::env::var(name).ok();
    let sources = crate::trust::Sources::usual(root.to_owned(), global.trust.clone(), variable);
    Trust::load(&sources).map_err(|error| CliError::of(ExitClass::Refused, &error))
}

/// Where the journal lies.
pub fn store_path(trust: &Trust, root: &Path) -> PathBuf {
    if trust.is_sandbox() {
        return sandbox::folder(root).join("journal.db");
    }
    if let Some(path) = trust.store() {
        return path.to_owned();
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    state.join("novahost/journal.db")
}

impl Session {
    /// Loads, checks trust, and sets up the providers. No request is sent yet.
    pub async fn open(
        global: &Global,
        path: Option<&Path>,
        output: &Output,
    ) -> Result<Self, CliError> {
        let path = path_of(path);
        let (desired, root, settings) = load(global, &path, output)?;
        let mut trust = read_trust(global, &root)?;
        if !global.sandbox {
            let output = output.with(global, &settings);
            trust = trust::settle(global, &root, &desired, trust, &output).await?;
        }
        let loaded = (desired, root, settings);
        let mut session = Self::unconnected(global, path, loaded, trust, output).await?;
        // Judged for all of them before the first secret is fetched.
        may_log_in(&session.trust, &session.desired)?;
        session.marker_key =
            session.secrets.marker_key().await.map_err(|error| no_secret(&error))?;
        if Bug::SignatureNotChecked.is_planted() {
            session.marker_key = None;
        }
        for (name, config) in &session.desired.hypervisors {
            let provider = session.provider(name, config).await?;
            session.providers.insert(name.clone(), provider);
        }
        Ok(session)
    }

    /// Everything but providers and the marker key, with whatever trust says: for
    /// `doctor`, which tells each trouble by itself.
    pub async fn unconnected(
        global: &Global,
        path: PathBuf,
        (desired, root, settings): (DesiredState, PathBuf, Settings),
        trust: Trust,
        output: &Output,
    ) -> Result<Self, CliError> {
        let sandbox = if global.sandbox {
            let started = Sandbox::start(&root, &desired.hypervisors, global.record.as_deref());
            Some(started.await.map_err(CliError::from)?)
        } else {
            None
        };
        let variable = |name: &str| std::env::var_os(name);
        let secrets = Arc::new(Secrets::new(Arc::new(trust.clone()), root.clone(), variable));
        Ok(Self {
            store_path: store_path(&trust, &root),
            path,
            root,
            desired,
            trust,
            sandbox,
            providers: BTreeMap::new(),
            marker_key: None,
            secrets,
            clock: Clock::system(),
            output: output.with(global, &settings),
            settings,
        })
    }

    /// The journal; made when it is not there.
    pub async fn store(&self) -> Result<Store, CliError> {
        Store::open(&self.store_path).await.map_err(CliError::from)
    }

    /// What the journal remembers; nothing when there is none yet. Commands that only
    /// look do not make one.
    pub async fn history(&self) -> Result<History, CliError> {
        if !self.store_path.exists() {
            return Ok(History::default());
        }
        self.history_of(&self.store().await?).await
    }

    /// What an opened journal remembers.
    pub async fn history_of(&self, store: &Store) -> Result<History, CliError> {
        let mut history = store.history(&self.desired.project).await?;
        if Bug::OpenBirthForgotten.is_planted() {
            history.open.clear();
        }
        if Bug::LostMarkerForgotten.is_planted() {
            history.owned.clear();
        }
        Ok(history)
    }

    /// Asks every hypervisor.
    pub async fn observe(&self, history: &History) -> Result<Inventory, CliError> {
        self.observe_closely(history, &BTreeSet::new()).await
    }

    /// Asks every hypervisor, and some of them for every machine.
    pub async fn observe_closely(
        &self,
        history: &History,
        closely: &BTreeSet<HypervisorName>,
    ) -> Result<Inventory, CliError> {
        let mut scopes = inventory::scopes(&self.desired, history);
        for (name, scope) in &mut scopes {
            scope.every = closely.contains(name);
        }
        let mut inventory = inventory::collect(&self.providers, &scopes, &self.clock).await;
        self.check_identities(&mut inventory);
        let identities =
            inventory.hypervisors.iter().map(|(name, it)| (name, it.identity.as_str()));
        if let Some((one, other)) = crate::trust::one_identity_twice(identities) {
            return Err(CliError::new(
                ExitClass::Config,
                format!("hypervisors `{one}` and `{other}` are one installation"),
            )
            .hint(
                "keep one of the two entries; a cluster with several nodes takes several `endpoints`",
            ));
        }
        Ok(inventory)
    }

    /// Another installation behind a name is unknown inventory, never "everything is
    /// missing". One that trust does not know by identity yet is named, to be pinned.
    fn check_identities(&self, inventory: &mut Inventory) {
        if self.trust.is_sandbox() {
            return;
        }
        for (name, seen) in &mut inventory.hypervisors {
            if seen.identity.is_empty() {
                continue;
            }
            if let Err(refusal) = self.trust.may_believe(name, &seen.identity) {
                *seen = HypervisorInventory::failed(refusal.to_string(), FailureKind::Trust);
                continue;
            }
            let binding = self.trust.hypervisors().get(name);
            if binding.is_some_and(|it| it.identity.is_none()) {
                self.output.remark(format!(
                    "note: hypervisor `{name}` says it is `{0}`; pin it with `identity = \"{0}\"` in the trust settings",
                    seen.identity
                ));
            }
        }
    }

    /// What planning takes.
    pub fn known<'a>(
        &'a self,
        inventory: &'a Inventory,
        history: &'a History,
        products: &'a BTreeMap<HypervisorName, &'a dyn Product>,
    ) -> Known<'a> {
        Known {
            desired: &self.desired,
            inventory,
            history,
            products,
            marker_key: self.marker_key.as_ref(),
        }
    }

    /// Does what changes nothing, and ends the session after it, also when a signal stops
    /// the work.
    pub async fn look<T>(
        self,
        work: impl AsyncFnOnce(&Self) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let result = tokio::select! {
            done = work(&self) => done,
            terminated = progress::next_signal() => Err(progress::stopped(terminated)),
        };
        self.close().await;
        result
    }

    /// Ends sessions and simulators.
    pub async fn close(self) {
        for provider in self.providers.values() {
            provider.close().await;
        }
        // Providers hold connections open; a simulator that stops first would see them reset.
        drop(self.providers);
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

/// Whether trust allows every login, asked before the first secret is fetched: what is
/// refused for one hypervisor runs no program for another.
fn may_log_in(trust: &Trust, desired: &DesiredState) -> Result<(), CliError> {
    if trust.is_sandbox() {
        return Ok(());
    }
    let refused = |it: &crate::trust::Refusal| CliError::of(ExitClass::Refused, it);
    for (name, config) in &desired.hypervisors {
        let reference = config.secret();
        for text in config.endpoints() {
            let endpoint = crate::trust::Endpoint::of_url(text)
                .map_err(|error| CliError::of(ExitClass::Config, &error))?;
            let connection = trust.may_connect(name, &endpoint).map_err(|it| refused(&it))?;
            trust.may_use_secret(name, &connection, reference).map_err(|it| refused(&it))?;
        }
    }
    Ok(())
}

/// A secret that was refused is a refusal; one that cannot be had is a failed login.
pub fn no_secret(error: &SecretError) -> CliError {
    match error {
        SecretError::Refused(refusal) => CliError::of(ExitClass::Refused, refusal),
        SecretError::Fetch { .. } => CliError::of(ExitClass::Auth, error),
    }
}

/// The exit class that an inventory by itself deserves.
pub fn coverage_class(inventory: &Inventory) -> Option<ExitClass> {
    use crate::model::Coverage;
    let class = |coverage: &Coverage| match coverage {
        Coverage::Complete | Coverage::Scoped { .. } => None,
        Coverage::Incomplete { .. } => Some(ExitClass::Incomplete),
        Coverage::Failed { kind: FailureKind::Auth, .. } => Some(ExitClass::Auth),
        Coverage::Failed { kind: FailureKind::Trust, .. } => Some(ExitClass::Refused),
        Coverage::Failed { kind: FailureKind::Unreachable, .. } => Some(ExitClass::Incomplete),
    };
    inventory.hypervisors.values().filter_map(|it| class(&it.coverage)).min()
}

/// Who runs this, for the journal.
pub fn who(root: &Path, reason: Option<String>, ticket: Option<String>) -> Who {
    let variable = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()))
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|it| it.trim().to_owned())
        .or_else(|| variable(&["HOSTNAME", "COMPUTERNAME"]))
        .unwrap_or_else(|| "unknown".to_owned());
    Who {
        user: variable(&["USER", "LOGNAME", "USERNAME"]).unwrap_or_else(|| "unknown".to_owned()),
        host,
        ci_job: variable(&["CI_JOB_URL", "BUILD_URL", "GITHUB_RUN_ID", "CI_JOB_ID"]),
        git_commit: git_commit(root),
        reason,
        ticket,
    }
}

/// The commit that is checked out, read from the files of git: no program of the
/// tree's choosing is run for it.
fn git_commit(root: &Path) -> Option<String> {
    let git = root.ancestors().map(|folder| folder.join(".git")).find(|it| it.is_dir())?;
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let commit = match head.trim().strip_prefix("ref: ") {
        Some(name) if name.starts_with("refs/") && !name.contains("..") => {
            std::fs::read_to_string(git.join(name)).ok()?
        }
        Some(_) => return None,
        None => head,
    };
    let commit = commit.trim();
    let plain = commit.len() >= 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
    plain.then(|| commit.to_owned())
}
