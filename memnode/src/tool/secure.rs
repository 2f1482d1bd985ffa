//! TLS from the client's side, for `memnode stat|ping|bench`: whom to believe, what to show.
//!
//! Called by `dial`. Without `--tls-ca` it believes whom this machine believes.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use memnode::tls::{
    authorities, certificates, is_of_an_authority, machine_authorities, private_key, words,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, ClientConnection, InvalidMessage,
    StreamOwned,
};

use super::ToolFlags;
use crate::failure::{self, Failure};

/// A connection by TLS.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Shakes hands with the node called `host`.
///
/// # Errors
/// A file that cannot be used, or a node that is not believed or does not speak TLS.
pub fn connect(host: &str, mut socket: TcpStream, flags: &ToolFlags) -> Result<Secure, Failure> {
    let config = configure(flags)?;
    let refuse = |error: io::Error| explain(host, &error);
    let name = ServerName::try_from(host.to_string()).map_err(|error| {
        Failure::usage(
            format!("`{host}` is no name that a certificate can say: {error}"),
            "TLS proves a name or an address",
            "rediss://NAME:PORT",
        )
    })?;
    let mut tls = ClientConnection::new(Arc::new(config), name)
        .map_err(|error| refuse(io::Error::other(error)))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).map_err(refuse)?;
    }
    Ok(StreamOwned::new(tls, socket))
}

fn configure(flags: &ToolFlags) -> Result<ClientConfig, Failure> {
    let believed = match &flags.tls_ca {
        Some(given) => Some(given.as_path()),
        None => machine_authorities(),
    };
    let Some(believed) = believed else {
        return Err(Failure::usage(
            "this machine has no list of authorities",
            "so no certificate can be believed",
            "--tls-ca FILE with the authority of the node",
        ));
    };
    let roots = authorities(believed).map_err(failure::tls)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    let impossible = |error: rustls::Error| {
        Failure::usage(
            format!("TLS cannot begin: {}", words(&error)),
            "certificate and key do not fit together, or one of them is of no use here",
            "--tls-cert FILE --tls-key FILE, made for each other",
        )
    };
    let builder = builder.map_err(impossible)?.with_root_certificates(roots);
    match (&flags.tls_cert, &flags.tls_key) {
        (Some(cert), Some(key)) => {
            let certs = certificates(cert).map_err(failure::tls)?;
            let key = private_key(key).map_err(failure::tls)?;
            builder
                .with_client_auth_cert(certs, key)
                .map_err(impossible)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// What a failure of TLS means, and what to do about it.
pub fn explain(host: &str, error: &io::Error) -> Failure {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (means, instead) = match cause {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            ("it does not speak TLS", "redis://HOST:PORT")
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => (
            "its certificate was signed by somebody who is not believed",
            "--tls-ca FILE with the authority of the node",
        ),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => (
            "its certificate is too old",
            "a new --tls-cert there, and SIGHUP",
        ),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => (
            "its certificate is for another name",
            "rediss://NAME:PORT with a name that the certificate says",
        ),
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown,
        )) => (
            "it lets in only clients with a certificate that its --tls-client-ca has signed",
            "--tls-cert FILE --tls-key FILE; what was wrong with one that was shown: its log",
        ),
        Some(error) if is_of_an_authority(error) => (
            "its certificate is an authority's own (CA:TRUE), as `openssl req -x509` makes them",
            "there: openssl req -x509 -addext basicConstraints=CA:FALSE ..., or one that is signed",
        ),
        _ => (
            "the handshake did not come to its end",
            "the log of the node",
        ),
    };
    Failure::own(format!("{host}: TLS: {error}"), means, instead)
}
