//! Whom an HTTPS connection trusts: system roots, a CA of one's own, or pinned leaves.
//!
//! Input is what the trust settings say, output a [`ClientConfig`] for an HTTP
//! client. Signatures are always checked, by rustls' own functions. Where trust is
//! recorded, and whether a host may have a credential at all, is decided elsewhere.

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use std::{
    error::Error as StdError,
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::TcpStream;

/// SHA-256 of a certificate in DER form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// The fingerprint of the first certificate of a PEM text, when there is one.
    pub fn of_pem(pem: &str) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        Some(Self::of(&certificate))
    }
}

impl fmt::Display for Fingerprint {
    /// `sha256:` and 64 lower-case digits, as trust settings spell it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a SHA-256 fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fingerprint like `sha256:` and 64 hexadecimal digits")]
pub struct NotAFingerprint(pub String);

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Takes our own spelling and those of openssl and Proxmox: any case, with or
    /// without colons, with or without `sha256:`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAFingerprint(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let digits: String = lower
            .strip_prefix("sha256:")
            .unwrap_or(&lower)
            .chars()
            .filter(|character| *character != ':')
            .collect();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = &digits[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Whom a connection trusts.
#[derive(Clone, Debug)]
pub enum TlsTrust {
    /// The operating system's roots; the name is checked.
    System,
    /// Only the authorities of this PEM text; the name is checked. System roots are
    /// left out: a private CA is named because no other is to be believed.
    Ca(Arc<str>),
    /// Only these leaves, whatever their names and dates say: every node of a cluster
    /// has its own.
    Pins(Vec<Fingerprint>),
    /// Any certificate, and plain HTTP, on a loopback address; nothing anywhere else.
    InsecureLoopback,
}

/// A trust setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system has no usable roots.
    #[error("could not load the system's certificate authorities")]
    SystemRoots(#[source] rustls::Error),
    /// The CA text holds no certificate.
    #[error("the CA file holds no usable certificate")]
    NoCa,
    /// A certificate of the CA text cannot be used.
    #[error("could not use a certificate of the CA file")]
    Ca(#[source] rustls::Error),
    /// No verifier could be made from these roots.
    #[error("could not build a certificate verifier")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// An empty list of pins would trust nobody.
    #[error("the list of pinned fingerprints is empty")]
    NoPins,
    /// The crypto library offers no usable protocol version.
    #[error("could not set up TLS")]
    Protocol(#[source] rustls::Error),
}

/// The certificate that answered is not one of those that are trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server's certificate is `{presented}`, trusted is {}",
    .trusted.iter().map(|pin| format!("`{pin}`")).collect::<Vec<_>>().join(" or ")
)]
pub struct PinMismatch {
    /// What answered.
    pub presented: Fingerprint,
    /// What is trusted.
    pub trusted: Vec<Fingerprint>,
}

/// Settings for TLS 1.2 and 1.3 with this trust and these application protocols.
///
/// # Errors
/// When the trust setting itself cannot be used.
pub fn client_config(trust: &TlsTrust, alpn: &[&str]) -> Result<ClientConfig, TlsError> {
    config_with(verifier(trust)?, alpn)
}

fn config_with(
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[&str],
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifier(trust: &TlsTrust) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let algorithms = crypto().signature_verification_algorithms;
    Ok(match trust {
        TlsTrust::System => Arc::new(
            rustls_platform_verifier::Verifier::new(crypto()).map_err(TlsError::SystemRoots)?,
        ),
        TlsTrust::Ca(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|_| TlsError::NoCa)?;
                roots.add(certificate).map_err(TlsError::Ca)?;
            }
            if roots.is_empty() {
                return Err(TlsError::NoCa);
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto()).build()?
        }
        TlsTrust::Pins(pins) if pins.is_empty() => return Err(TlsError::NoPins),
        TlsTrust::Pins(pins) => {
            Arc::new(LeafVerifier { accept: Accept::Pinned(pins.clone()), algorithms })
        }
        TlsTrust::InsecureLoopback => {
            Arc::new(LeafVerifier { accept: Accept::Loopback, algorithms })
        }
    })
}

/// Whether a host is this machine, as far as its name says.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Judges the leaf alone; the proof that the server owns its key stays with rustls.
#[derive(Debug)]
struct LeafVerifier {
    accept: Accept,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Accept {
    Pinned(Vec<Fingerprint>),
    Loopback,
    /// Anything, to be shown to a person; no request follows on that connection.
    Recorded(Mutex<Vec<CertificateDer<'static>>>),
}

impl ServerCertVerifier for LeafVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.accept {
            Accept::Pinned(trusted) => {
                let presented = Fingerprint::of(end_entity);
                if trusted.contains(&presented) {
                    return Ok(ServerCertVerified::assertion());
                }
                let mismatch = PinMismatch { presented, trusted: trusted.clone() };
                Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
            }
            Accept::Loopback if is_loopback(&server_name.to_str()) => {
                Ok(ServerCertVerified::assertion())
            }
            Accept::Loopback => Err(CertificateError::NotValidForName.into()),
            Accept::Recorded(chain) => {
                let seen = std::iter::once(end_entity).chain(intermediates);
                *chain.lock().unwrap_or_else(PoisonError::into_inner) =
                    seen.map(|certificate| certificate.clone().into_owned()).collect();
                Ok(ServerCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate trouble inside a failed connection, when that is what it was.
///
/// An `io::Error` hides what it wraps from `source`, so the chain is walked here
/// instead of by each caller.
pub fn certificate_trouble<'a>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(trouble)) = error.downcast_ref() {
            return Some(trouble);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The two fingerprints behind a failed connection, when a pin refused it.
pub fn pin_mismatch<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a PinMismatch> {
    match certificate_trouble(error)? {
        CertificateError::Other(OtherError(inner)) => inner.downcast_ref(),
        _ => None,
    }
}

/// What a server shows of itself.
#[derive(Clone, Debug)]
pub struct Probe {
    /// SHA-256 of its own certificate: what a pin holds.
    pub leaf: Fingerprint,
    /// Every certificate it sent, its own first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// A server that could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not a host name or address.
    #[error("`{0}` is not a host name or address")]
    Host(String),
    /// No connection, or no TLS on it.
    #[error("could not connect to {host}:{port}")]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Shakes hands and hangs up: the server proves that it owns the key of the
/// certificate it shows, and gets nothing but a farewell.
///
/// # Errors
/// When there is no TLS server at that place within `within`.
pub async fn probe(host: &str, port: u16, within: Duration) -> Result<Probe, ProbeError> {
    let recorder = Arc::new(LeafVerifier {
        accept: Accept::Recorded(Mutex::default()),
        algorithms: crypto().signature_verification_algorithms,
    });
    let config = config_with(recorder.clone(), &[])?;
    let failed = |source| ProbeError::Connect { host: host.to_owned(), port, source };
    handshake(config, host, port, within).await?;
    let chain = match &recorder.accept {
        Accept::Recorded(chain) => chain.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        Accept::Pinned(_) | Accept::Loopback => Vec::new(),
    };
    let leaf = chain.first().map(|leaf| Fingerprint::of(leaf));
    let leaf = leaf.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
    Ok(Probe { leaf, chain })
}

/// Shakes hands under this trust, and hangs up.
///
/// # Errors
/// When there is no TLS server at that place within `within`, or it is not trusted:
/// then [`certificate_trouble`] finds why.
pub async fn verify(
    trust: &TlsTrust,
    host: &str,
    port: u16,
    within: Duration,
) -> Result<(), ProbeError> {
    handshake(client_config(trust, &["http/1.1"])?, host, port, within).await
}

async fn handshake(
    config: ClientConfig,
    host: &str,
    port: u16,
    within: Duration,
) -> Result<(), ProbeError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name =
        ServerName::try_from(bare.to_owned()).map_err(|_| ProbeError::Host(host.to_owned()))?;
    let failed = |source| ProbeError::Connect { host: host.to_owned(), port, source };
    let handshake = async {
        let stream = TcpStream::connect((bare, port)).await?;
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let mut stream = tokio::time::timeout(within, handshake)
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    // The answer is known; a server that does not say farewell changes nothing.
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    struct Server {
        port: u16,
        leaf: Fingerprint,
        ca_pem: String,
    }

    /// A server that answers any request with `ok`, under a certificate for `names`.
    async fn server(names: &[&str]) -> Server {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .unwrap();
        let config = ServerConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0; 1024];
                if stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    let _ = stream.write_all(reply).await;
                }
                let _ = stream.shutdown().await;
            }
        });
        Server { port, leaf: Fingerprint::of(leaf.der()), ca_pem }
    }

    /// Goes through the HTTP client, because the hand-over of the settings is untyped.
    async fn get(trust: &TlsTrust, host: &str, port: u16) -> Result<String, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(trust, &["http/1.1"]).unwrap())
            .no_proxy()
            .build()
            .unwrap();
        client.get(format!("https://{host}:{port}/")).send().await?.text().await
    }

    #[tokio::test]
    async fn the_right_pin_connects_whatever_the_name() {
        let server = server(&["elsewhere.example"]).await;
        let trust = TlsTrust::Pins(vec![Fingerprint([0; 32]), server.leaf]);
        assert_eq!(get(&trust, "127.0.0.1", server.port).await.unwrap(), "ok");
    }

    #[tokio::test]
    async fn a_wrong_pin_is_refused_with_both_fingerprints() {
        let server = server(&["127.0.0.1"]).await;
        let wrong = Fingerprint([7; 32]);
        let error = get(&TlsTrust::Pins(vec![wrong]), "127.0.0.1", server.port).await.unwrap_err();
        assert!(error.is_connect());
        let mismatch = pin_mismatch(&error).expect("the mismatch is in the chain");
        assert_eq!(*mismatch, PinMismatch { presented: server.leaf, trusted: vec![wrong] });
        let text = mismatch.to_string();
        assert!(text.contains(&server.leaf.to_string()) && text.contains(&wrong.to_string()));
    }

    #[tokio::test]
    async fn a_private_ca_still_checks_the_name_and_other_authorities_are_refused() {
        let right = server(&["localhost"]).await;
        let trust = TlsTrust::Ca(right.ca_pem.as_str().into());
        assert_eq!(get(&trust, "localhost", right.port).await.unwrap(), "ok");
        let wrong_name = get(&trust, "127.0.0.1", right.port).await.unwrap_err();
        assert!(matches!(
            certificate_trouble(&wrong_name),
            Some(CertificateError::NotValidForNameContext { .. })
        ));
        let other = server(&["localhost"]).await;
        // Both authorities bear the same empty name, so that only the signature differs.
        let unknown = get(&trust, "localhost", other.port).await.unwrap_err();
        assert!(certificate_trouble(&unknown).is_some());
    }

    #[tokio::test]
    async fn a_probe_tells_the_leaf_without_trusting_it() {
        let server = server(&["whatever.example"]).await;
        let probe = probe("127.0.0.1", server.port, Duration::from_secs(5)).await.unwrap();
        assert_eq!(probe.leaf, server.leaf);
        assert_eq!(probe.chain.len(), 1);
    }

    #[test]
    fn verification_is_off_only_for_loopback() {
        let verifier = verifier(&TlsTrust::InsecureLoopback).unwrap();
        let leaf = CertificateDer::from(vec![0]);
        let verdict = |name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(verdict("127.0.0.1") && verdict("localhost"));
        assert!(!verdict("pve1.example") && !verdict("10.0.0.1"));
        assert!(is_loopback("[::1]") && !is_loopback("localhost.example"));
    }

    #[test]
    fn fingerprints_are_read_in_every_spelling_and_printed_in_one() {
        let printed = format!("sha256:{}", "0f".repeat(32));
        let colons = vec!["0F"; 32].join(":");
        for text in [printed.clone(), colons, "0f".repeat(32)] {
            assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), printed);
        }
        for text in ["", "sha256:", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn trust_that_trusts_nobody_is_an_error() {
        assert!(matches!(client_config(&TlsTrust::Pins(vec![]), &[]), Err(TlsError::NoPins)));
        let empty = TlsTrust::Ca("no certificate".into());
        assert!(matches!(client_config(&empty, &[]), Err(TlsError::NoCa)));
    }
}
