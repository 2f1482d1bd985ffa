//! TLS: a node's certificate and key, and whose clients it lets in, from PEM files.
//!
//! Called by whoever starts or reloads a node. Files are read and judged here, once, before a
//! socket is bound; the handshake itself is the transport's (`server::transport`). No session is
//! ever resumed: every connection shows its certificate, so a new authority counts at once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, CertificateError, InconsistentKeys, RootCertStore, ServerConfig};

/// What a node shows to its clients, and what it asks of them. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    asks_clients: bool,
    warning: Option<&'static str>,
}

/// Why a file cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TlsProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(std::io::Error),
    /// It is not PEM, or PEM of something else.
    #[error("there is no {wanted} in it")]
    Missing {
        /// What should be in it.
        wanted: &'static str,
        /// What is in it instead.
        found: Found,
    },
    /// It is PEM that does not come to its end, or that somebody has changed.
    #[error("its PEM is cut off or damaged")]
    Torn,
    /// The key is locked by a passphrase.
    #[error("its key is locked by a passphrase")]
    Locked,
    /// The certificate belongs to another key.
    #[error("it is not the key of the certificate")]
    OtherKey,
    /// It is PEM, and what is in it makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

/// What is in a file that does not have what it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The binary form of a certificate or key.
    Der,
    /// PEM of another kind.
    OtherPem,
    /// Neither.
    NoPem,
}

impl Found {
    fn of(bytes: &[u8]) -> Found {
        let mark = b"-----BEGIN ";
        match bytes {
            [] => Found::Nothing,
            // A sequence whose length takes one or two bytes.
            [0x30, 0x81 | 0x82, ..] => Found::Der,
            _ if bytes.windows(mark.len()).any(|word| word == mark) => Found::OtherPem,
            _ => Found::NoPem,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the key.
        let asks_clients = self.asks_clients;
        write!(f, "Tls {{ asks_clients: {asks_clients} }}")
    }
}

impl Tls {
    /// Reads certificate (with what leads to its authority) and key; with `client_ca`, clients have
    /// to show a certificate that one of its authorities has signed.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn from_pem(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Tls, TlsError> {
        let certs = certificates(cert)?;
        let warning = certs.first().and_then(doubt);
        let secret = private_key(key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| nonsense(cert, words(&error)))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier
                    .build()
                    .map_err(|error| nonsense(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(certs, secret)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError {
                    path: key.to_path_buf(),
                    problem: TlsProblem::OtherKey,
                },
                rustls::Error::InvalidCertificate(_) => nonsense(cert, words(&error)),
                error => nonsense(key, words(&error)),
            })?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Tls {
            config: Arc::new(config),
            asks_clients: client_ca.is_some(),
            warning,
        })
    }

    /// Why clients may not believe the certificate, whoever has signed it.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        self.warning
    }

    /// Do clients have to show a certificate?
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}

/// What a client will have against a certificate before it looks who has signed it.
fn doubt(cert: &CertificateDer<'static>) -> Option<&'static str> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).ok()?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let name = ServerName::try_from("localhost").ok()?;
    let verified =
        verifier
            .build()
            .ok()?
            .verify_server_cert(cert, &[], &name, &[], UnixTime::now());
    match verified.err()? {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Some("the certificate is too old: clients refuse it"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Some("the certificate is not valid yet, or this machine's clock is wrong"),
        error if is_of_an_authority(&error) => Some(
            "the certificate is an authority's (CA:TRUE): memnode's tools and other clients \
             refuse it",
        ),
        _ => None,
    }
}

/// What rustls has against a certificate or a key, in words.
#[must_use]
pub fn words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = error else {
        return error.to_string();
    };
    match why {
        CertificateError::BadEncoding => "what stands there is no certificate".into(),
        CertificateError::Other(other)
            if other.0.to_string().contains("UnsupportedCertVersion") =>
        {
            "its certificate is of version 1: sign it again with openssl x509 -req -extfile or \
             -copy_extensions copy"
                .into()
        }
        _ => error.to_string(),
    }
}

/// Whether a certificate was refused because it is an authority's, as `openssl req -x509` makes
/// them.
#[must_use]
pub fn is_of_an_authority(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

/// The certificates in a file, in their order.
///
/// # Errors
/// It cannot be read, or there is none in it.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text)
        .map(|one| one.map(CertificateDer::into_owned))
        .collect();
    match found {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => Err(missing(path, "certificate", &text)),
        Err(_) => Err(torn(path)),
    }
}

/// The authorities in a file.
///
/// # Errors
/// It cannot be read, there is none in it, or one makes no sense.
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(path)? {
        roots
            .add(cert)
            .map_err(|error| nonsense(path, words(&error)))?;
    }
    Ok(roots)
}

/// Where Debian, and where Red Hat keeps the authorities of the machine.
const MACHINES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// The file with the authorities that this machine believes, if it has one.
#[must_use]
pub fn machine_authorities() -> Option<&'static Path> {
    let paths = MACHINES.map(Path::new).into_iter();
    { paths }.find(|path| path.exists())
}

/// The first private key in a file: PKCS #8, PKCS #1 or SEC1.
///
/// # Errors
/// It cannot be read, or there is none in it that can be used.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let locked = b"ENCRYPTED";
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        _ if text.windows(locked.len()).any(|word| word == locked) => TlsError {
            path: path.to_path_buf(),
            problem: TlsProblem::Locked,
        },
        PemError::NoItemsFound => missing(path, "private key", &text),
        _ => torn(path),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError {
        path: path.to_path_buf(),
        problem: TlsProblem::Unreadable(error),
    })
}

fn missing(path: &Path, wanted: &'static str, text: &[u8]) -> TlsError {
    let found = Found::of(text);
    TlsError {
        path: path.to_path_buf(),
        problem: TlsProblem::Missing { wanted, found },
    }
}

fn torn(path: &Path) -> TlsError {
    TlsError {
        path: path.to_path_buf(),
        problem: TlsProblem::Torn,
    }
}

fn nonsense(path: &Path, error: String) -> TlsError {
    TlsError {
        path: path.to_path_buf(),
        problem: TlsProblem::Nonsense(error),
    }
}
