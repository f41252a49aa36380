//! The cluster's certificate authority and the certificate of the listener.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::world::Authority;

/// Makes an authority and a certificate for the loopback names.
pub(crate) fn make(cluster: &str, node_names: &[String], now: u64) -> anyhow::Result<Authority> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
    ca.distinguished_name
        .push(DnType::OrganizationName, format!("PVE Cluster Manager CA of {cluster}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let leaf_key = KeyPair::generate()?;
    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    names.extend(node_names.iter().cloned());
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.distinguished_name.push(DnType::OrganizationName, "PVE Cluster Node");
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

/// SHA-256 of a certificate as the product writes it: upper-case pairs with colons.
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
