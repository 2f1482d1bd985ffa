//! TLS to memory nodes, from the client's side: whom to believe, what to show, and what it means
//! when a node is not believed or does not believe us.
//!
//! `settings` checks the files of `--node-ca`, `--node-cert` and `--node-key`; the hook server
//! (`server::client`), `doctor` and `--require` (`probe`) shake hands here. Every wait is bounded.
//! Nothing of this is ever in a target: it talks to the hook server (`server::tunnel`).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use memnode::tls::{authorities, certificates, is_of_an_authority, machine_authorities};
use memnode::tls::{private_key, words};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig};
use tokio_rustls::rustls::{ClientConnection, SignatureScheme, StreamOwned};

use crate::cli::NodeTlsArgs;
use crate::failure::Failure;
use crate::layers::{says_nothing, variable_name};
use crate::sizes::BadQuantity;

/// The files of `--node-ca`, `--node-cert` and `--node-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Papers {
    /// Authorities that are believed; `None`: those of the machine.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to a node which asks for one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why there is no trust between a node and this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A file of ours is of no use: which and why.
    Files(String),
    /// This machine has no list of authorities, and none was given.
    NoAuthorities,
    /// Somebody who is not believed has signed its certificate.
    Unbelieved,
    /// Its certificate is too old.
    Expired,
    /// Its certificate is not valid yet, or a clock is wrong.
    Early,
    /// Its certificate is for other names: these.
    OtherName(String),
    /// Its certificate is an authority's own.
    Authority,
    /// It asks for a certificate: none was shown.
    AsksUs,
    /// It asks for a certificate, and refuses ours.
    RefusesUs,
    /// It does not speak TLS.
    Plain,
    /// It takes the connection and does not answer in TLS.
    Mute,
    /// Anything else, in words.
    Other(String),
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(why) => f.write_str(why),
            Self::NoAuthorities => {
                f.write_str("this machine has no list of authorities and --node-ca is not given")
            }
            Self::Unbelieved => f.write_str("its certificate was signed by nobody who is believed"),
            Self::Expired => f.write_str("its certificate has expired"),
            Self::Early => {
                f.write_str("its certificate is not valid yet, or the clock here is wrong")
            }
            Self::OtherName(names) => write!(f, "its certificate is for another name{names}"),
            Self::Authority => f.write_str("its certificate is an authority's own (CA:TRUE)"),
            Self::AsksUs => f.write_str("it asks for a client certificate, and none is given"),
            Self::RefusesUs => f.write_str("it refuses the client certificate of --node-cert"),
            Self::Plain => f.write_str("it does not speak TLS"),
            Self::Mute => f.write_str("it takes the connection and does not answer in TLS"),
            Self::Other(why) => write!(f, "TLS: {why}"),
        }
    }
}

impl Refused {
    /// What to type about it; `at` is `HOST:PORT`.
    pub fn fix(&self, at: &str) -> String {
        match self {
            Self::Files(_) => "give PEM files that you may read:  --node-ca FILE --node-cert FILE \
                 --node-key FILE"
                .into(),
            Self::NoAuthorities | Self::Unbelieved => {
                "give the authority that has signed it:  --node-ca FILE".into()
            }
            Self::Expired => {
                "give the node a new certificate; memnode takes it up at:  kill -HUP PID".into()
            }
            Self::Early => "compare the clocks of both machines:  date -u".into(),
            Self::OtherName(_) => {
                "name the node as its certificate does:  --node rediss://NAME:PORT".into()
            }
            Self::Authority => {
                "give the node one that an authority has signed, or one of its own made with  \
                 openssl req -x509 -addext basicConstraints=CA:FALSE"
                    .into()
            }
            Self::AsksUs => {
                "give one that its authority has signed:  --node-cert FILE --node-key FILE".into()
            }
            Self::RefusesUs => {
                "give one that the node's authority has signed and that has not expired; why it \
                 was refused is in the node's log"
                    .into()
            }
            Self::Plain => format!("leave TLS out:  --node redis://{at}"),
            Self::Mute => {
                format!("it is stopped, or speaks no TLS; if so:  --node redis://{at}")
            }
            Self::Other(_) => format!("ask it yourself:  openssl s_client -connect {at}"),
        }
    }
}

/// What an I/O error says about trust, if that is what it is about.
pub fn refusal_of(error: &io::Error) -> Option<Refused> {
    let inner = error.get_ref()?;
    if let Some(refused) = inner.downcast_ref::<Refused>() {
        return Some(refused.clone());
    }
    inner.downcast_ref::<rustls::Error>().map(of_rustls)
}

fn of_rustls(error: &rustls::Error) -> Refused {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidMessage(_) => Refused::Plain,
        rustls::Error::InvalidCertificate(why) => match why {
            Bad::UnknownIssuer => Refused::Unbelieved,
            Bad::Expired | Bad::ExpiredContext { .. } => Refused::Expired,
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => Refused::Early,
            Bad::NotValidForName => Refused::OtherName(String::new()),
            Bad::NotValidForNameContext { presented, .. } => {
                Refused::OtherName(names(presented.as_slice()))
            }
            _ if is_of_an_authority(error) => Refused::Authority,
            _ => Refused::Other(words(error)),
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown,
        ) => Refused::RefusesUs,
        other => Refused::Other(words(other)),
    }
}

/// The first names of a certificate, behind a colon.
fn names(presented: &[String]) -> String {
    let plain = presented.iter().take(4).map(|name| {
        let quoted = name.split('"').nth(1).unwrap_or(name);
        quoted
            .chars()
            .filter(|c| !c.is_control())
            .collect::<String>()
    });
    let list: Vec<_> = plain.collect();
    match list.is_empty() {
        true => String::new(),
        false => format!(": {}", list.join(", ")),
    }
}

/// Looks at a file name that was typed; makes it absolute, because the hook server works elsewhere.
///
/// # Errors
///
/// It is none.
pub fn check_path(text: &str) -> Result<PathBuf, BadQuantity> {
    let bad = |means: &str| BadQuantity {
        means: means.into(),
        write: "/etc/ramgrid/ca.crt".into(),
    };
    match text {
        "" => Err(bad("certificates and keys are in files")),
        _ => std::path::absolute(text).map_err(|error| bad(&error.to_string())),
    }
}

/// The files as `doctor` was given them, by flag or variable.
///
/// # Errors
///
/// A name that is none, or a file that is of no use.
pub fn papers_of(typed: &NodeTlsArgs) -> Result<Papers, Failure> {
    let path = |flag: &str, text: &Option<String>| {
        let variable = || std::env::var(variable_name(flag)).ok();
        let text = text
            .clone()
            .or_else(variable)
            .filter(|text| !says_nothing(text));
        let path = text.as_deref().map(check_path).transpose();
        path.map_err(|BadQuantity { means, write }| {
            let fix = format!("write:  --{flag} {write}");
            Failure::usage(format!("--{flag}: this is no file"), means, fix)
        })
    };
    let papers = Papers {
        ca: path("node-ca", &typed.node_ca)?,
        cert: path("node-cert", &typed.node_cert)?,
        key: path("node-key", &typed.node_key)?,
    };
    examine(&papers, false).map(|()| papers)
}

/// Reads the files once, so that what is wrong with them is said before anything is started;
/// `has_node`: there is a node that speaks TLS.
///
/// # Errors
///
/// A file that is of no use, one without the other, or nobody to believe.
pub fn examine(papers: &Papers, has_node: bool) -> Result<(), Failure> {
    let means = "a node that speaks TLS could not be reached: nothing was started";
    if papers.cert.is_some() != papers.key.is_some() {
        return Err(Failure::usage(
            "--node-cert and --node-key belong together, and one of them is missing",
            "a certificate is shown by whoever has its key",
            "give both:  --node-cert FILE --node-key FILE",
        ));
    }
    if !has_node && *papers == Papers::default() {
        return Ok(());
    }
    let outcome = papers.load().map(drop);
    outcome.map_err(|refused| Failure::usage(refused.to_string(), means, refused.fix("HOST:PORT")))
}

/// The files as they are used, and read again when somebody has renewed them.
pub struct Trust {
    papers: Papers,
    loaded: Mutex<Option<(Stamps, Arc<ClientConfig>)>>,
}

/// When each file was changed last.
type Stamps = [Option<SystemTime>; 3];

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust {{ {:?} }}", self.papers)
    }
}

impl Trust {
    /// Nothing is read yet.
    pub fn new(papers: Papers) -> Trust {
        let loaded = Mutex::new(None);
        Trust { papers, loaded }
    }

    /// Their names.
    pub fn papers(&self) -> &Papers {
        &self.papers
    }

    /// Reads the files, or those that have changed since; files that have become useless meanwhile
    /// leave everything as it was.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why.
    pub fn check(&self) -> Result<(), Refused> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Refused> {
        let stamps = self.papers.stamps();
        let mut loaded = self.loaded.lock();
        if let Some((_, config)) = loaded.as_ref().filter(|(before, _)| *before == stamps) {
            return Ok(Arc::clone(config));
        }
        let config = match (self.papers.load(), loaded.as_ref()) {
            (Ok(config), _) => Arc::new(config),
            (Err(refused), None) => return Err(refused),
            (Err(refused), Some((_, config))) => {
                tracing::warn!(%refused, "new certificates are of no use: the old ones stay");
                Arc::clone(config)
            }
        };
        *loaded = Some((stamps, Arc::clone(&config)));
        Ok(config)
    }

    /// Shakes hands with the node that is called `host`, for at most `limit`; every later wait on
    /// the connection is bounded by `limit` as well.
    ///
    /// # Errors
    ///
    /// The connection broke, or there is no trust (`refusal_of`).
    pub fn shake(&self, host: &str, socket: TcpStream, limit: Duration) -> io::Result<Secure> {
        let mut config = (*self.config().map_err(io::Error::other)?).clone();
        let asked = Arc::new(AtomicU8::new(NOT_ASKED));
        config.client_auth_cert_resolver = Arc::new(Witness {
            inner: Arc::clone(&config.client_auth_cert_resolver),
            asked: Arc::clone(&asked),
        });
        let name = ServerName::try_from(host.to_string())
            .map_err(|_| Refused::Other(format!("no certificate can be for '{host}'")))
            .map_err(io::Error::other)?;
        let conn = ClientConnection::new(Arc::new(config), name)
            .map_err(|error| io::Error::other(Refused::Other(words(&error))))?;
        socket.set_nodelay(true)?;
        let sock = Bounded {
            socket,
            limit,
            until: Some(Instant::now() + limit),
        };
        let mut secure = Secure {
            stream: StreamOwned::new(conn, sock),
            asked,
            has_heard: false,
        };
        secure.finish_handshake()?;
        secure.stream.sock.until = None;
        Ok(secure)
    }
}

impl Papers {
    /// The authorities: those given, or those of the machine.
    pub fn authorities(&self) -> Option<&Path> {
        match &self.ca {
            Some(given) => Some(given),
            None => machine_authorities(),
        }
    }

    fn stamps(&self) -> Stamps {
        let changed = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|found| found.modified())
                .ok()
        };
        let files = [
            self.authorities(),
            self.cert.as_deref(),
            self.key.as_deref(),
        ];
        files.map(|path| path.and_then(changed))
    }

    fn load(&self) -> Result<ClientConfig, Refused> {
        let files = |error: memnode::tls::TlsError| Refused::Files(error.to_string());
        let believed = self.authorities().ok_or(Refused::NoAuthorities)?;
        let roots = authorities(believed).map_err(files)?;
        let other = |error: rustls::Error| Refused::Files(words(&error));
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(other)?
            .with_root_certificates(roots);
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let shown = certificates(cert).map_err(files)?;
                let secret = private_key(key).map_err(files)?;
                let unfit = |error: rustls::Error| {
                    let (cert, key) = (cert.display(), key.display());
                    Refused::Files(format!("{cert} and {key}: {}", words(&error)))
                };
                builder.with_client_auth_cert(shown, secret).map_err(unfit)
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

/// What a node has asked of us: a certificate, and whether one was shown.
const NOT_ASKED: u8 = 0;
const ASKED: u8 = 1;
const SHOWN: u8 = 2;

/// Notes whether the node asks for a certificate: one that turns us away may do so without a word.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn ResolvesClientCert>,
    asked: Arc<AtomicU8>,
}

impl ResolvesClientCert for Witness {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let shown = self.inner.resolve(root_hint_subjects, sigschemes);
        let asked = if shown.is_some() { SHOWN } else { ASKED };
        self.asked.store(asked, Ordering::Relaxed);
        shown
    }

    fn has_certs(&self) -> bool {
        // Else it is not asked whether it has one.
        true
    }
}

/// A socket on which no wait is longer than its limit, nor the handshake altogether.
struct Bounded {
    socket: TcpStream,
    limit: Duration,
    /// When the handshake has to be over.
    until: Option<Instant>,
}

impl Bounded {
    fn left(&self) -> io::Result<Duration> {
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left.unwrap_or(self.limit)),
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(bytes)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection by TLS, blocking, each wait bounded.
pub struct Secure {
    stream: StreamOwned<ClientConnection, Bounded>,
    asked: Arc<AtomicU8>,
    /// The node has sent something: it has let us in.
    has_heard: bool,
}

impl Secure {
    fn finish_handshake(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        while conn.is_handshaking() {
            match conn.complete_io(sock) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_late(&error) => return Err(io::Error::other(Refused::Mute)),
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(())
    }

    /// What an error of the connection means: before the node has let us in, that it has not.
    fn explain(&self, error: io::Error) -> io::Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let is_cut = matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        );
        let refused = match (refusal_of(&error), self.asked.load(Ordering::Relaxed)) {
            (Some(Refused::RefusesUs), ASKED) => Some(Refused::AsksUs),
            (None, ASKED) if is_cut && !self.has_heard => Some(Refused::AsksUs),
            (None, SHOWN) if is_cut && !self.has_heard => Some(Refused::RefusesUs),
            (refused, _) => refused,
        };
        refused.map_or(error, io::Error::other)
    }

    /// The two layers, for whoever goes on with them: the socket without limits of time.
    ///
    /// # Errors
    ///
    /// They cannot be cleared.
    pub fn into_parts(self) -> io::Result<(ClientConnection, TcpStream)> {
        let StreamOwned { conn, sock } = self.stream;
        sock.socket.set_read_timeout(None)?;
        sock.socket.set_write_timeout(None)?;
        Ok((conn, sock.socket))
    }
}

fn is_late(error: &io::Error) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}

impl Read for Secure {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(bytes) {
            Ok(0) => Err(self.explain(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.has_heard = true;
                Ok(count)
            }
            Err(error) => Err(self.explain(error)),
        }
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream
            .write(bytes)
            .map_err(|error| self.explain(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().map_err(|error| self.explain(error))
    }
}
