//! Who is at the other end: TLS in both directions, and the addresses a certificate names.
//!
//! A certificate signed by the relays' own authority names, as URIs `ramgrid-bus:ADDRESS` in its
//! subject alternative names, the addresses its owner may send from and receive for; a `*` in place
//! of a segment stands for any number. Host names are not looked at: an address may move, and the
//! one thing that counts is who may speak for it. Without TLS only this host is talked to, unless
//! the operator said `--insecure`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bus::{Address, Template};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::super::cli::RelayArgs;
use super::super::routes::table::Target;
use crate::failure::Failure;

/// What a name of an address begins with.
const SCHEME: &str = "ramgrid-bus:";

/// How this relay proves who it is, and asks others to.
#[derive(Clone)]
pub struct Security {
    tls: Option<(TlsAcceptor, TlsConnector)>,
    is_insecure: bool,
}

/// Addresses that the other side may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any: it was not asked for a certificate.
    Any,
    /// These patterns.
    Only(Vec<String>),
}

impl Names {
    /// May the other side speak for this address?
    pub fn has(&self, template: Template, address: Address) -> bool {
        let Names::Only(patterns) = self else {
            return true;
        };
        let written = template.show(address).to_string();
        let fits = |pattern: &String| {
            let mut segments = written.split('.');
            let mut parts = pattern.split('.');
            let is_same = parts.by_ref().take(bus::address::SEGMENTS).all(|part| {
                let segment = segments.next();
                part == "*" || Some(part) == segment
            });
            is_same && segments.next().is_none() && parts.next().is_none()
        };
        patterns.iter().any(fits)
    }
}

/// A connection, plain or not.
#[derive(Debug)]
pub enum Link {
    /// Within this host, or insecure.
    Plain(TcpStream),
    /// TLS.
    Secure(Box<TlsStream<TcpStream>>),
}

impl Security {
    /// As the command line says.
    ///
    /// # Errors
    ///
    /// A certificate or key that cannot be read or used; none, and other hosts are listened to.
    pub fn load(arguments: &RelayArgs) -> Result<Security, Failure> {
        let (Some(cert), Some(key), Some(ca)) = (&arguments.cert, &arguments.key, &arguments.ca)
        else {
            return Security::plain(arguments);
        };
        let unusable = |path: &Path, why: String| {
            Failure::usage(
                format!("{}: {why}", path.display()),
                "without it no other relay can tell who this is",
                "give PEM files; docs/bus.md shows how they are made",
            )
        };
        let certs = certificates(cert).map_err(|why| unusable(cert, why))?;
        let roots = certificates(ca).map_err(|why| unusable(ca, why))?;
        let secret = PrivateKeyDer::from_pem_file(key);
        let secret = secret.map_err(|error| unusable(key, error.to_string()))?;
        if names_in(&certs).is_empty() {
            let why = format!("it names no address: give it URI:{SCHEME}0.0.1.1");
            return Err(unusable(cert, why));
        }
        let mut store = RootCertStore::empty();
        for root in roots {
            let added = store.add(root);
            added.map_err(|error| unusable(ca, error.to_string()))?;
        }
        let tls = configure(certs, secret, store).map_err(|why| unusable(cert, why))?;
        Ok(Security {
            tls: Some(tls),
            is_insecure: false,
        })
    }

    /// Without TLS: this host only, unless the operator says otherwise.
    fn plain(arguments: &RelayArgs) -> Result<Security, Failure> {
        let is_beyond = |address: &&SocketAddr| !address.ip().is_loopback();
        match arguments.listen.iter().find(is_beyond) {
            Some(address) if !arguments.insecure => Err(Failure::usage(
                format!("--listen {address} is for other hosts, and there is no certificate"),
                "whoever reaches it could send messages in the name of any address",
                "give --cert, --key and --ca (docs/bus.md shows how they are made), or --insecure",
            )),
            _ => Ok(Security {
                tls: None,
                is_insecure: arguments.insecure,
            }),
        }
    }

    /// May be talked to without TLS?
    fn allows_plain(&self, peer: IpAddr) -> Result<(), String> {
        match peer.is_loopback() || self.is_insecure {
            true => Ok(()),
            false => Err(format!(
                "{peer} is another host: give --cert, --key and --ca, or --insecure"
            )),
        }
    }

    /// Makes a connection that was dialled into a link.
    ///
    /// # Errors
    ///
    /// It is not allowed, or the other side is not who it should be.
    pub async fn dialled(&self, socket: TcpStream, to: &Target) -> Result<(Link, Names), String> {
        let peer = socket.peer_addr().map_err(|error| error.to_string())?;
        let Some((_, connector)) = &self.tls else {
            if to.is_tls {
                return Err("the route says tls://: give --cert, --key and --ca".into());
            }
            self.allows_plain(peer.ip())?;
            return Ok((Link::Plain(socket), Names::Any));
        };
        let name = ServerName::IpAddress(peer.ip().into());
        let stream = connector.connect(name, socket).await;
        let stream = stream.map_err(|error| format!("TLS: {error}"))?;
        let names = names_in(stream.get_ref().1.peer_certificates().unwrap_or_default());
        let link = Link::Secure(Box::new(stream.into()));
        Ok((link, Names::Only(names)))
    }

    /// Makes a connection that was accepted into a link.
    ///
    /// # Errors
    ///
    /// As `dialled`.
    pub async fn accepted(&self, socket: TcpStream) -> Result<(Link, Names), String> {
        let peer = socket.peer_addr().map_err(|error| error.to_string())?;
        let Some((acceptor, _)) = &self.tls else {
            self.allows_plain(peer.ip())?;
            return Ok((Link::Plain(socket), Names::Any));
        };
        let stream = acceptor.accept(socket).await;
        let stream = stream.map_err(|error| format!("TLS: {error}"))?;
        let names = names_in(stream.get_ref().1.peer_certificates().unwrap_or_default());
        let link = Link::Secure(Box::new(stream.into()));
        Ok((link, Names::Only(names)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| error.to_string())?;
    match found.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(found),
    }
}

fn configure(
    certs: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
) -> Result<(TlsAcceptor, TlsConnector), String> {
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(roots);
    let words = |error: rustls::Error| error.to_string();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(words)?
        .with_client_cert_verifier(clients)
        .with_single_cert(certs.clone(), key.clone_key())
        .map_err(words)?;
    let verifier = Signed {
        roots,
        provider: Arc::clone(&provider),
    };
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(words)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(certs, key)
        .map_err(words)?;
    Ok((
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    ))
}

/// The addresses a certificate names.
fn names_in(certs: &[CertificateDer<'_>]) -> Vec<String> {
    let Some(Ok(cert)) = certs.first().map(webpki::EndEntityCert::try_from) else {
        return Vec::new();
    };
    let name = |uri: &str| uri.strip_prefix(SCHEME).map(str::to_string);
    cert.valid_uri_names().filter_map(name).collect()
}

/// Accepts a server whose certificate the authority has signed, whatever host it names.
#[derive(Debug)]
struct Signed {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Signed {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(cert)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Link::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Link::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Link::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(socket) => Pin::new(socket).poll_flush(context),
            Link::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Link::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_segment() {
        let template = Template::default();
        let address = template.address("0.0.1.1").unwrap();
        let has = |pattern: &str| Names::Only(vec![pattern.into()]).has(template, address);
        assert!(has("0.0.1.1") && has("0.0.1.*") && has("*.*.*.*"));
        for other in ["0.0.1.2", "0.0.*", "*", "0.0.1.1.*", "0.0.1", ""] {
            assert!(!has(other), "{other}");
        }
        assert!(!Names::Only(Vec::new()).has(template, address));
        assert!(Names::Any.has(template, address));
    }
}
