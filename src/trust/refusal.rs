//! Why trust says no, and the lines that a person would add to make it a yes.

use super::{Endpoint, NewEntry, Trust};
use crate::model::HypervisorName;

/// A judgement against. Exit code 5, before any socket carries a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name has no entry.
    #[error("no trust settings for hypervisor `{name}` at `{endpoint}`")]
    NoEntry {
        /// The name in the YAML.
        name: HypervisorName,
        /// Where the YAML says it is.
        endpoint: Endpoint,
    },
    /// The name has an entry with other hosts.
    #[error(
        "hypervisor `{name}` is not trusted at `{endpoint}`, only at {}", .known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
    )]
    OtherHost {
        /// The name in the YAML.
        name: HypervisorName,
        /// Where the YAML says it is.
        endpoint: Endpoint,
        /// Where trust says it is.
        known: Vec<Endpoint>,
    },
    /// The sandbox reaches nothing but its own simulators.
    #[error("the sandbox does not connect hypervisor `{name}` to `{endpoint}`")]
    OutsideSandbox {
        /// The name in the YAML.
        name: HypervisorName,
        /// Where the YAML says it is.
        endpoint: Endpoint,
    },
    /// The secret is not one of this hypervisor's.
    #[error("trust settings do not let hypervisor `{name}` use `{reference}`")]
    SecretNotBound {
        /// The name in the YAML.
        name: HypervisorName,
        /// The reference.
        reference: String,
    },
    /// The secret is not one for guests.
    #[error("trust settings do not let a guest's configuration use `{reference}`")]
    NotForGuests {
        /// The reference.
        reference: String,
    },
    /// The secret belongs to something else for good.
    #[error("`{reference}` belongs to {holder} and never goes into a guest")]
    Reserved {
        /// The reference.
        reference: String,
        /// What it belongs to.
        holder: String,
    },
    /// Another installation answers.
    #[error("hypervisor `{name}` is `{presented}`, but trust settings know it as `{known}`")]
    OtherIdentity {
        /// The name in the YAML.
        name: HypervisorName,
        /// What trust says.
        known: String,
        /// What it said of itself.
        presented: String,
    },
    /// The installation is known under another name.
    #[error("hypervisors `{name}` and `{other}` are one installation, `{identity}`")]
    IdentityOfAnother {
        /// The name in the YAML.
        name: HypervisorName,
        /// The name that trust binds to it.
        other: HypervisorName,
        /// What it is.
        identity: String,
    },
}

/// What an endpoint showed of itself, before any secret was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// What identifies the installation, when that can be had without logging in.
    pub identity: Option<String>,
    /// SHA-256 of its leaf certificate, lower-case hex.
    pub pin: Option<String>,
}

impl Refusal {
    /// What to add to the trust settings, ready to be pasted; `None` where nothing
    /// should be added. `secrets` are the references that the YAML wants to use.
    ///
    /// The lines are a proposal: whoever adds them checks the fingerprint elsewhere.
    pub fn lines_to_add(
        &self,
        trust: &Trust,
        secrets: &[String],
        presented: &Presented,
    ) -> Option<String> {
        let file = trust.file().map_or_else(
            || "~/.config/novahost/trust.toml".to_owned(),
            |path| path.display().to_string(),
        );
        match self {
            Refusal::NoEntry { name, endpoint } => {
                let entry = NewEntry {
                    name: name.clone(),
                    hosts: vec![endpoint.clone()],
                    identity: presented.identity.clone(),
                    pins: presented.pin.clone().into_iter().collect(),
                    secrets: secrets.to_vec(),
                };
                Some(format!("# in {file}\n{}", entry.render()))
            }
            Refusal::OtherHost { name, endpoint, known } => {
                let mut hosts: Vec<_> = known.iter().map(ToString::to_string).collect();
                hosts.push(endpoint.to_string());
                Some(changed(&file, name, "hosts", &hosts))
            }
            Refusal::SecretNotBound { name, reference } => {
                let binding = trust.hypervisors.get(name)?;
                let mut all: Vec<_> = binding.secrets.iter().map(super::file::spelt).collect();
                all.push(reference.clone());
                Some(changed(&file, name, "secrets", &all))
            }
            Refusal::NotForGuests { reference } => {
                let mut all: Vec<_> = trust.guest.iter().map(super::file::spelt).collect();
                all.push(reference.clone());
                // A bare key has to stand above the first table.
                Some(format!("# at the top of {file}\nguest = {}\n", super::add::list(&all)))
            }
            Refusal::OutsideSandbox { .. }
            | Refusal::Reserved { .. }
            | Refusal::OtherIdentity { .. }
            | Refusal::IdentityOfAnother { .. } => None,
        }
    }
}

fn changed(file: &str, name: &HypervisorName, key: &str, values: &[String]) -> String {
    format!(
        "# in {file}, change\n[hypervisors.{}]\n{key} = {}\n",
        super::add::key(name.as_str()),
        super::add::list(values)
    )
}
