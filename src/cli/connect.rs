//! The effectful half of each configured hypervisor, once trust has agreed to every endpoint
//! and to the secret. No request is sent here.

use super::{
    error::CliError,
    session::{Session, no_secret},
};
use crate::{
    apply::ExitClass,
    model::{
        ErrorKind, HypervisorConfig, HypervisorName, PoolBinding, ProviderError, ProxmoxAuth,
        ProxmoxConfig, SecretRef, VcenterConfig,
    },
    provider::{
        Provider,
        endpoint::Endpoint,
        proxmox::{self, Auth, ProxmoxProvider},
        tls::{Fingerprint, TlsTrust},
        vcenter::{self, PoolPlace, VcenterProvider},
    },
    sandbox::{self, Address, Sandbox},
    trust::Connection,
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// What trust has agreed to for one hypervisor.
struct Agreed {
    tls: TlsTrust,
    identity: Option<String>,
    secret: SecretString,
}

/// Whom the tree would believe, where trust does not say.
struct TreeTls<'a> {
    fingerprints: &'a [String],
    ca_file: Option<&'a String>,
}

impl Session {
    /// The effectful half of one hypervisor.
    ///
    /// # Errors
    /// When trust does not cover it, or the secret cannot be had.
    pub async fn provider(
        &self,
        name: &HypervisorName,
        config: &HypervisorConfig,
    ) -> Result<Arc<dyn Provider>, CliError> {
        let failed = |error: ProviderError| {
            let class = match error.kind {
                ErrorKind::Trust => ExitClass::Refused,
                ErrorKind::Certificate => ExitClass::Config,
                ErrorKind::Unreachable
                | ErrorKind::Identity
                | ErrorKind::Auth
                | ErrorKind::Permission
                | ErrorKind::Decode
                | ErrorKind::Refused => ExitClass::Error,
            };
            CliError::of(class, &error)
        };
        Ok(match config {
            HypervisorConfig::Proxmox(config) => {
                let settings = match &self.sandbox {
                    Some(sandbox) => self.proxmox_sandbox(name, config, sandbox)?,
                    None => self.proxmox_settings(name, config).await?,
                };
                let provider = ProxmoxProvider::new(settings, self.clock.clone());
                Arc::new(provider.map_err(failed)?)
            }
            HypervisorConfig::Vcenter(config) => {
                let settings = match &self.sandbox {
                    Some(sandbox) => self.vcenter_sandbox(name, config, sandbox)?,
                    None => self.vcenter_settings(name, config).await?,
                };
                let provider = VcenterProvider::new(settings, self.clock.clone());
                Arc::new(provider.map_err(failed)?)
            }
        })
    }

    fn proxmox_sandbox(
        &self,
        name: &HypervisorName,
        config: &ProxmoxConfig,
        sandbox: &Sandbox,
    ) -> Result<proxmox::Settings, CliError> {
        let address = simulator(name, sandbox)?;
        let endpoint = Endpoint::parse(&address.endpoint, proxmox::PORT)
            .map_err(|error| CliError::of(ExitClass::Bug, &error))?;
        Ok(proxmox::Settings {
            endpoints: vec![endpoint],
            auth: Auth::Token {
                id: sandbox::TOKEN_ID.to_owned(),
                secret: SecretString::from(sandbox::TOKEN_SECRET),
            },
            tls: TlsTrust::Ca(address.ca_pem.into()),
            ..self.proxmox_common(name, config)
        })
    }

    async fn proxmox_settings(
        &self,
        name: &HypervisorName,
        config: &ProxmoxConfig,
    ) -> Result<proxmox::Settings, CliError> {
        let mut settings = self.proxmox_common(name, config);
        for text in &config.endpoints {
            let endpoint = Endpoint::parse(text, proxmox::PORT)
                .map_err(|error| CliError::of(ExitClass::Config, &error))?;
            settings.endpoints.push(endpoint);
        }
        let tree = TreeTls { fingerprints: &config.fingerprints, ca_file: config.ca_file.as_ref() };
        let reference = match &config.auth {
            ProxmoxAuth::Token { secret, .. } => secret,
            ProxmoxAuth::Password { password, .. } => password,
        };
        let agreed = self.agree(name, &config.endpoints, &tree, reference).await?;
        settings.allowed_hosts = settings.endpoints.iter().map(|it| it.host.clone()).collect();
        settings.tls = agreed.tls;
        settings.expected_identity = agreed.identity;
        settings.auth = match &config.auth {
            ProxmoxAuth::Token { id, .. } => Auth::Token { id: id.clone(), secret: agreed.secret },
            ProxmoxAuth::Password { username, .. } => {
                Auth::Password { username: username.clone(), password: agreed.secret }
            }
        };
        Ok(settings)
    }

    fn proxmox_common(&self, name: &HypervisorName, config: &ProxmoxConfig) -> proxmox::Settings {
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

    fn vcenter_sandbox(
        &self,
        name: &HypervisorName,
        config: &VcenterConfig,
        sandbox: &Sandbox,
    ) -> Result<vcenter::Settings, CliError> {
        let address = simulator(name, sandbox)?;
        let agreed = Agreed {
            tls: TlsTrust::Ca(address.ca_pem.into()),
            identity: None,
            secret: SecretString::from(sandbox::PASSWORD),
        };
        let settings = self.vcenter_common(name, config, &address.endpoint, agreed)?;
        Ok(vcenter::Settings { username: sandbox::USERNAME.to_owned(), ..settings })
    }

    async fn vcenter_settings(
        &self,
        name: &HypervisorName,
        config: &VcenterConfig,
    ) -> Result<vcenter::Settings, CliError> {
        let tree = TreeTls { fingerprints: &config.fingerprints, ca_file: config.ca_file.as_ref() };
        let endpoints = std::slice::from_ref(&config.endpoint);
        let agreed = self.agree(name, endpoints, &tree, &config.password).await?;
        self.vcenter_common(name, config, &config.endpoint, agreed)
    }

    fn vcenter_common(
        &self,
        name: &HypervisorName,
        config: &VcenterConfig,
        endpoint: &str,
        agreed: Agreed,
    ) -> Result<vcenter::Settings, CliError> {
        let endpoint = Endpoint::parse(endpoint, vcenter::PORT)
            .map_err(|error| CliError::of(ExitClass::Config, &error))?;
        let allowed_hosts = [endpoint.host.clone()].into();
        Ok(vcenter::Settings {
            name: name.clone(),
            project: Some(self.desired.project.clone()),
            endpoint,
            allowed_hosts,
            username: config.username.clone(),
            password: agreed.secret,
            tls: agreed.tls,
            datacenter: config.datacenter.clone(),
            cluster: config.cluster.as_ref().map(ToString::to_string),
            folder: config.folder.clone().unwrap_or_default(),
            pools: self.pools_at(name),
            labels: vcenter::DeclaredLabels::of(&self.desired, name),
            keys: vcenter::declared_keys(&self.desired, name),
            setups: vcenter::declared_setups(&self.desired, name),
            reads_max: config.reads_max,
            writes_max: config.writes_max,
            expected_identity: agreed.identity,
            settle: vcenter::Settings::SETTLE,
        })
    }

    /// What the pools of the configuration are on one vCenter.
    fn pools_at(&self, name: &HypervisorName) -> BTreeMap<crate::model::Name, PoolPlace> {
        let places = self.desired.pools.iter().filter_map(|(key, pool)| {
            let place = match pool.at.get(name)? {
                PoolBinding::Vcenter { folder, resource_pool } => PoolPlace {
                    folder: folder.clone(),
                    resource_pool: resource_pool.clone(),
                    grantees: pool.grantees(name),
                },
                PoolBinding::Named => PoolPlace::default(),
            };
            Some((key.name.clone(), place))
        });
        places.collect()
    }

    /// Asks trust about every endpoint, about TLS, and for the secret, in this order.
    async fn agree(
        &self,
        name: &HypervisorName,
        endpoints: &[String],
        tree: &TreeTls<'_>,
        reference: &SecretRef,
    ) -> Result<Agreed, CliError> {
        let mut connection = Connection::Loopback;
        for text in endpoints {
            let bound = crate::trust::Endpoint::of_url(text)
                .map_err(|error| CliError::of(ExitClass::Config, &error))?;
            connection = self
                .trust
                .may_connect(name, &bound)
                .map_err(|it| CliError::of(ExitClass::Refused, &it))?;
        }
        let tls = self.tls(tree, &connection)?;
        let identity = match &connection {
            Connection::Bound(binding) => binding.identity.clone(),
            Connection::Loopback => None,
        };
        let fetched = self.secrets.for_login(name, &connection, reference).await;
        let secret = fetched.map_err(|error| no_secret(&error))?;
        Ok(Agreed { tls, identity, secret })
    }

    /// Where trust says how TLS is verified, the tree cannot widen it.
    fn tls(&self, tree: &TreeTls<'_>, connection: &Connection<'_>) -> Result<TlsTrust, CliError> {
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
        if !tree.fingerprints.is_empty() {
            return pins(tree.fingerprints);
        }
        match tree.ca_file {
            Some(path) => read(&self.root.join(path)),
            None => Ok(TlsTrust::System),
        }
    }
}

fn simulator(name: &HypervisorName, sandbox: &Sandbox) -> Result<Address, CliError> {
    let missing = || CliError::new(ExitClass::Bug, format!("no simulator for `{name}`"));
    sandbox.address(name).ok_or_else(missing)
}
