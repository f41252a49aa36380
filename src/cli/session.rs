//! What most commands need: the YAML, trust settings, providers and the journal, in
//! the order in which each may be touched.

use super::{args::Global, error::CliError, output::Output, trust, validate};
use crate::{
    apply::ExitClass,
    clock::Clock,
    config, inventory,
    model::{
        DesiredState, FailureKind, History, HypervisorConfig, HypervisorInventory, HypervisorName,
        Inventory, Product, ProxmoxAuth, ProxmoxConfig,
    },
    ownership::MarkerKey,
    planted::Bug,
    provider::{
        Provider,
        proxmox::{self, Auth, Endpoint, Proxmox, ProxmoxProvider},
        tls::{Fingerprint, TlsTrust},
    },
    reconcile::Known,
    sandbox::{self, Sandbox},
    secrets::{SecretError, Secrets},
    settings::{Layer, Settings},
    store::{Store, Who},
    trust::{Connection, Trust},
};
use secrecy::SecretString;
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

/// The pure half of each configured hypervisor whose product is built in; whoever plans
/// has made sure that this is all of them.
pub fn products(desired: &DesiredState) -> BTreeMap<HypervisorName, &'static dyn Product> {
    let product = |(name, config): (&HypervisorName, &HypervisorConfig)| match config {
        HypervisorConfig::Proxmox(_) => Some((name.clone(), &PROXMOX as &'static dyn Product)),
        HypervisorConfig::Vcenter(_) => None,
    };
    desired.hypervisors.iter().filter_map(product).collect()
}

/// Whether the product of every hypervisor is built in, for plans without a provider.
pub fn all_built_in(desired: &DesiredState) -> Result<(), CliError> {
    desired.hypervisors.iter().try_for_each(|(name, config)| match config {
        HypervisorConfig::Proxmox(_) => Ok(()),
        HypervisorConfig::Vcenter(_) => Err(not_built_in(name)),
    })
}

/// A hypervisor that the YAML may name, and nothing else can be done with.
fn not_built_in(name: &HypervisorName) -> CliError {
    CliError::new(ExitClass::Config, format!("hypervisor {name}: vCenter is not built in yet"))
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

    /// The effectful half of one hypervisor, once trust has agreed to every endpoint
    /// and to the secret. No request is sent yet.
    pub async fn provider(
        &self,
        name: &HypervisorName,
        config: &HypervisorConfig,
    ) -> Result<Arc<dyn Provider>, CliError> {
        let config = match config {
            HypervisorConfig::Proxmox(config) => config,
            HypervisorConfig::Vcenter(_) => return Err(not_built_in(name)),
        };
        let settings = match &self.sandbox {
            Some(sandbox) => self.sandbox_settings(name, config, sandbox)?,
            None => self.real_settings(name, config).await?,
        };
        let provider = ProxmoxProvider::new(settings, self.clock.clone())
            .map_err(|error| CliError::of(ExitClass::Error, &error))?;
        Ok(Arc::new(provider))
    }

    fn sandbox_settings(
        &self,
        name: &HypervisorName,
        config: &ProxmoxConfig,
        sandbox: &Sandbox,
    ) -> Result<proxmox::Settings, CliError> {
        let missing = || CliError::new(ExitClass::Bug, format!("no simulator for `{name}`"));
        let address = sandbox.address(name).ok_or_else(missing)?;
        let endpoint: Endpoint =
            address.endpoint.parse().map_err(|error| CliError::of(ExitClass::Bug, &error))?;
        Ok(proxmox::Settings {
            endpoints: vec![endpoint],
            auth: Auth::Token {
                id: sandbox::TOKEN_ID.to_owned(),
                secret: SecretString::from(sandbox::TOKEN_SECRET),
            },
            tls: TlsTrust::Ca(address.ca_pem.into()),
            ..self.common_settings(name, config)
        })
    }

    async fn real_settings(
        &self,
        name: &HypervisorName,
        config: &ProxmoxConfig,
    ) -> Result<proxmox::Settings, CliError> {
        let mut settings = self.common_settings(name, config);
        let refused = |it: &crate::trust::Refusal| CliError::of(ExitClass::Refused, it);
        let mut connection = Connection::Loopback;
        for text in &config.endpoints {
            let wrong =
                |error: &(dyn std::error::Error + 'static)| CliError::of(ExitClass::Config, error);
            let endpoint: Endpoint = text.parse().map_err(|error| wrong(&error))?;
            let bound = crate::trust::Endpoint::of_url(text).map_err(|error| wrong(&error))?;
            connection = self.trust.may_connect(name, &bound).map_err(|it| refused(&it))?;
            settings.allowed_hosts.insert(endpoint.host.clone());
            settings.endpoints.push(endpoint);
        }
        settings.tls = self.tls(config, &connection)?;
        if let Connection::Bound(binding) = connection {
            settings.expected_identity.clone_from(&binding.identity);
        }
        let reference = match &config.auth {
            ProxmoxAuth::Token { secret, .. } => secret,
            ProxmoxAuth::Password { password, .. } => password,
        };
        let fetched = self.secrets.for_login(name, &connection, reference).await;
        let secret = fetched.map_err(|error| no_secret(&error))?;
        settings.auth = match &config.auth {
            ProxmoxAuth::Token { id, .. } => Auth::Token { id: id.clone(), secret },
            ProxmoxAuth::Password { username, .. } => {
                Auth::Password { username: username.clone(), password: secret }
            }
        };
        Ok(settings)
    }

    /// Where trust says how TLS is verified, the tree cannot widen it.
    fn tls(
        &self,
        config: &ProxmoxConfig,
        connection: &Connection<'_>,
    ) -> Result<TlsTrust, CliError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map(|pem| TlsTrust::Ca(pem.into())).map_err(|error| {
                CliError::new(
                    ExitClass::Config,
                    format!("could not read `{}`: {error}", path.display()),
                )
            })
        };
        let pins = |pins: &[String]| {
            let all: Result<Vec<Fingerprint>, _> = pins.iter().map(|pin| pin.parse()).collect();
            all.map(TlsTrust::Pins).map_err(|error| CliError::of(ExitClass::Config, &error))
        };
        if let Connection::Bound(binding) = connection {
            if !binding.pins.is_empty() {
                return pins(&binding.pins);
            }
            if let Some(path) = &binding.ca_file {
                return read(path);
            }
        }
        if !config.fingerprints.is_empty() {
            return pins(&config.fingerprints);
        }
        match &config.ca_file {
            Some(path) => read(&self.root.join(path)),
            None => Ok(TlsTrust::System),
        }
    }

    fn common_settings(&self, name: &HypervisorName, config: &ProxmoxConfig) -> proxmox::Settings {
        proxmox::Settings {
            name: name.clone(),
            project: Some(self.desired.project.clone()),
            endpoints: Vec::new(),
            allowed_hosts: BTreeSet::new(),
            auth: Auth::Token { id: String::new(), secret: SecretString::from("") },
            tls: TlsTrust::System,
            vmid_range: config.vmid_range,
            reads_max: config.reads_max,
            writes_max: config.writes_max,
            expected_identity: None,
            settle: proxmox::Settings::SETTLE,
        }
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
