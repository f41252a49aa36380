//! Which installation answers, and whether it is the one that trust settings mean.

use super::{look, provider::Inner, spelling::segment, wire};
use crate::{
    model::{ErrorKind, NodeName, ProviderError, Retry},
    provider::tls::Fingerprint,
};
use std::{collections::BTreeMap, fmt, sync::atomic::Ordering};

/// What identifies an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SelfId {
    /// The cluster's name, or a single node's; `None` = the account may not know.
    pub name: Option<String>,
    /// SHA-256 of the root certificate.
    pub root: Fingerprint,
}

impl fmt::Display for SelfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name.as_deref().unwrap_or("?"), self.root)
    }
}

impl SelfId {
    /// Whether this is the installation that trust settings mean. Where the account may
    /// not know the name, the certificate alone decides: it is unique.
    fn is(&self, expected: &str) -> bool {
        let Some((name, root)) = expected.rsplit_once('/') else { return false };
        root.parse() == Ok(self.root) && self.name.as_deref().is_none_or(|own| own == name)
    }
}

#[derive(Debug, thiserror::Error)]
enum IdentityError {
    #[error("trust settings expect `{expected}`, and `{answered}` answers")]
    Other { expected: String, answered: String },
    #[error("trust settings expect `{0}`, and the installation does not tell its identity")]
    Untold(String),
}

impl Inner {
    /// Asks who answers, and compares it with what trust settings expect. `None` when
    /// it does not tell and nobody expects anything.
    pub async fn identify(
        &self,
        status: Option<&[wire::StatusRow]>,
        nodes: &BTreeMap<NodeName, bool>,
    ) -> Result<Option<SelfId>, ProviderError> {
        let rows = status.unwrap_or_default();
        let own = rows.iter().find(|row| row.local.is_some_and(|flag| flag.0));
        let cluster = rows.iter().find(|row| row.kind == "cluster");
        let online = nodes.iter().find(|(_, online)| **online).map(|(node, _)| node.to_string());
        let node = own.map(|row| row.name.clone()).or(online);
        let endpoint = self.client.preferred();
        let mut found = None;
        if let Some(node) = node {
            let path = format!("/nodes/{}/certificates/info", segment(&node));
            let answer = self.client.get_from::<Vec<wire::Certificate>>(endpoint, &path).await;
            let rows = match answer {
                Ok(rows) => rows,
                // Not knowing is fatal only to those who expect somebody.
                Err(_) if self.expected_identity.is_none() => Vec::new(),
                Err(error) => return Err(error.into_provider("read the cluster's identity")),
            };
            let root = rows.iter().find(|it| it.filename.as_deref() == Some("pve-root-ca.pem"));
            let name = cluster.or(own).map(|row| row.name.clone());
            found = root.and_then(fingerprint).map(|root| SelfId { name, root });
        }
        let Some(expected) = &self.expected_identity else { return Ok(found) };
        let trouble = match &found {
            Some(identity) if identity.is(expected) => {
                self.confirmed.store(endpoint, Ordering::SeqCst);
                return Ok(found);
            }
            Some(identity) => {
                IdentityError::Other { expected: expected.clone(), answered: identity.to_string() }
            }
            None => IdentityError::Untold(expected.clone()),
        };
        Err(ProviderError {
            operation: format!("trust hypervisor `{}`", self.name),
            kind: ErrorKind::Identity,
            retry: Retry::No,
            source: Box::new(trouble),
        })
    }

    /// Once for each endpoint, before anything from it is believed or sent to it.
    /// The endpoint to send to.
    pub async fn confirm_identity(&self) -> Result<usize, ProviderError> {
        let endpoint = self.client.preferred();
        if self.expected_identity.is_none() || self.confirmed.load(Ordering::SeqCst) == endpoint {
            return Ok(endpoint);
        }
        let status = match self.client.get::<Vec<wire::StatusRow>>("/cluster/status", &[]).await {
            Ok(rows) => Some(rows),
            Err(error) if error.is_forbidden() => None,
            Err(error) => return Err(error.into_provider("read the cluster's status")),
        };
        let rows = match &status {
            Some(_) => Vec::new(),
            None => {
                let listed = look::resources(&self.client, Some("node")).await;
                listed.map_err(|error| error.into_provider("list nodes"))?.nodes
            }
        };
        let nodes = look::nodes_online(status.as_deref(), &rows);
        self.identify(status.as_deref(), &nodes).await?;
        Ok(self.confirmed.load(Ordering::SeqCst))
    }
}

fn fingerprint(row: &wire::Certificate) -> Option<Fingerprint> {
    let from_pem = row.pem.as_deref().and_then(Fingerprint::of_pem);
    from_pem.or_else(|| row.fingerprint.as_deref()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_a_name_and_a_root_certificate() {
        let root = Fingerprint([0xab; 32]);
        let own = SelfId { name: Some("paris".into()), root };
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(own.to_string(), format!("paris/{root}"));
        assert!(own.is(&format!("paris/{root}")) && own.is(&format!("paris/{colons}")));
        assert!(!own.is(&format!("lyon/{root}")));
        assert!(!own.is(&format!("paris/{}", Fingerprint([1; 32]))));
        assert!(!own.is("paris") && !own.is(""));
        let nameless = SelfId { name: None, root };
        assert!(nameless.is(&format!("paris/{root}")));
    }
}
