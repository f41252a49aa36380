//! A certificate authority, the certificate of a listener, and its TLS settings.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A certificate authority and the certificate it signed for the listener.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    /// Certificate of the authority.
    pub ca_pem: String,
    /// Certificate of the listener.
    pub leaf_pem: String,
    /// Its private key.
    pub leaf_key_pem: String,
    /// When it was made.
    pub not_before: u64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What the certificates say of themselves.
pub(crate) struct Names<'a> {
    pub(crate) authority: &'a str,
    pub(crate) authority_of: &'a str,
    pub(crate) leaf_of: &'a str,
    /// Names beside those of the loopback interface.
    pub(crate) hosts: &'a [String],
}

/// Makes an authority and a certificate for the loopback names.
pub(crate) fn make(names: &Names<'_>, now: u64) -> anyhow::Result<Authority> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, names.authority);
    ca.distinguished_name.push(DnType::OrganizationName, names.authority_of);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let leaf_key = KeyPair::generate()?;
    let mut hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    hosts.extend(names.hosts.iter().cloned());
    let mut leaf = CertificateParams::new(hosts)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.distinguished_name.push(DnType::OrganizationName, names.leaf_of);
    let leaf_certificate = leaf.signed_by(&leaf_key, &issuer)?;
    Ok(Authority {
        ca_pem: ca_certificate.pem(),
        leaf_pem: leaf_certificate.pem(),
        leaf_key_pem: leaf_key.serialize_pem(),
        not_before: now,
    })
}

/// The listener's TLS settings: HTTP/1.1 only.
pub(crate) fn server_config(authority: &Authority) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let chain = vec![certificate(&authority.leaf_pem)?, certificate(&authority.ca_pem)?];
    let key = PrivateKeyDer::from_pem_slice(authority.leaf_key_pem.as_bytes())
        .context("no usable private key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// SHA-256 of a certificate as products write it: upper-case pairs with colons.
pub(crate) fn fingerprint(pem: &str) -> String {
    let Ok(certificate) = certificate(pem) else {
        return String::new();
    };
    let digest = Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn certificate(pem: &str) -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).context("no usable certificate")
}
