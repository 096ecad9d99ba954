//! TLS: certificates that a server shows and can exchange while it runs, and whom a client believes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the two versions of HTTP are called where a connection begins (RFC 7301).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
/// What an authority offers that looks for the answer to its challenge (RFC 8737).
const ACME: &[u8] = b"acme-tls/1";

/// Why something is no certificate that can be shown, or none of an authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not in PEM, or damaged.
    #[error("it is not in the form of PEM: {0}")]
    Form(String),
    /// PEM, of something else.
    #[error("there is no certificate in it")]
    None,
    /// The key is of another certificate, or of a kind that is not spoken.
    #[error("the key does not go with the certificate: {0}")]
    Key(#[source] rustls::Error),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Validity {
    /// When it is to be replaced: after two thirds of its life, so that there is time for several attempts.
    pub fn renew_at(&self) -> SystemTime {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        self.from + life * 2 / 3
    }
}

/// The certificates that a server shows. Clones are the same ones. Before there is one, nobody gets through.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    shown: Arc<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    served: Mutex<Option<Arc<CertifiedKey>>>,
    /// The answer to a challenge, and the name that it is for.
    challenge: Mutex<Option<(String, Arc<CertifiedKey>)>>,
}

/// The answer to a challenge is given until this is dropped.
#[derive(Debug)]
pub(crate) struct Challenged(Arc<Shown>);

impl Drop for Challenged {
    fn drop(&mut self) {
        set(&self.0.challenge, None);
    }
}

impl Certificates {
    /// Shows this certificate from now on: in PEM, that of the server first, then those it is signed with, and its key.
    /// Connections that are open stay.
    ///
    /// # Errors
    /// See [`CertificateError`]; the one before is shown then.
    pub fn show(&self, chain: &[u8], key: &[u8]) -> Result<Validity, CertificateError> {
        let chain = certificates(chain)?;
        let validity = validity(&chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| CertificateError::Form(error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(CertificateError::Key)?;
        set(&self.shown.served, Some(Arc::new(certified)));
        Ok(validity)
    }

    /// Whether there is one.
    pub fn are_there(&self) -> bool {
        get(&self.shown.served).is_some()
    }

    /// Answers a challenge for a name with this certificate.
    pub(crate) fn answer(&self, name: &str, certified: CertifiedKey) -> Challenged {
        set(&self.shown.challenge, Some((name.to_owned(), Arc::new(certified))));
        Challenged(Arc::clone(&self.shown))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_challenge = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ACME));
        if !is_challenge {
            return get(&self.served);
        }
        let (name, certified) = get(&self.challenge)?;
        (hello.server_name()? == name).then_some(certified)
    }
}

/// The chain in a text.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(CertificateError::None),
        Ok(all) => Ok(all),
        Err(error) => Err(CertificateError::Form(error.to_string())),
    }
}

fn validity(chain: &[CertificateDer<'_>]) -> Result<Validity, CertificateError> {
    let first = chain.first().ok_or(CertificateError::None)?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(first).map_err(|error| CertificateError::Unreadable(error.to_string()))?;
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let validity = parsed.validity();
    Ok(Validity {
        from: at(validity.not_before.timestamp()),
        until: at(validity.not_after.timestamp()),
    })
}

/// What a connection is spoken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// The handshakes of a server.
#[derive(Clone)]
pub(crate) struct Handshakes(TlsAcceptor);

impl Handshakes {
    pub(crate) fn new(certificates: &Certificates) -> Result<Self, rustls::Error> {
        let shown: Arc<Shown> = Arc::clone(&certificates.shown);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(shown);
        config.alpn_protocols = [HTTP_2, HTTP_1, ACME].map(<[u8]>::to_vec).to_vec();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// One handshake. Whoever only wanted the answer to a challenge has it then, and there is nothing to be said.
    pub(crate) async fn shake<S>(&self, socket: S) -> io::Result<Option<(TlsStream<S>, Version)>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.accept(socket).await?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(ACME) => return Ok(None),
            Some(HTTP_2) => Version::Http2,
            _ => Version::Http1,
        };
        Ok(Some((stream, version)))
    }
}

/// The authorities that a client believes: those that browsers believe, and others that its owner names.
#[derive(Debug, Clone)]
pub struct Authorities(RootCertStore);

impl Default for Authorities {
    fn default() -> Self {
        Self(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        })
    }
}

impl Authorities {
    /// These as well: certificates in PEM.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn and(mut self, pem: &[u8]) -> Result<Self, CertificateError> {
        for certificate in certificates(pem)? {
            self.0
                .add(certificate)
                .map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        }
        Ok(self)
    }

    /// How a client that believes them begins a connection over which it speaks HTTP, 2 before 1.1.
    ///
    /// # Errors
    /// The versions of TLS that are usual are not there.
    pub fn client(&self) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        config.alpn_protocols = [HTTP_2, HTTP_1].map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

/// Named, because two are linked in.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn get<T: Clone>(value: &Mutex<Option<T>>) -> Option<T> {
    value.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set<T>(value: &Mutex<Option<T>>, to: Option<T>) {
    *value.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_shown_with_its_own_key_alone_and_renewed_in_time() {
        let signed = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2026, 1, 31);
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let ((one, key), (_, other_key)) = (signed("a.example"), signed("b.example"));
        let certificates = Certificates::default();
        let show = |chain: &str, key: &str| certificates.show(chain.as_bytes(), key.as_bytes());
        assert!(matches!(show(&one, &other_key), Err(CertificateError::Key(_))));
        assert!(matches!(show(&key, &key), Err(CertificateError::None)));
        assert!(matches!(show(&one, &one), Err(CertificateError::Form(_))));
        assert!(matches!(show("", &key), Err(CertificateError::None)));
        assert!(!certificates.are_there());
        let validity = show(&one, &key).unwrap();
        assert!(certificates.are_there());
        let day = Duration::from_secs(86_400);
        assert_eq!(validity.until, validity.from + 30 * day);
        assert_eq!(validity.renew_at(), validity.from + 20 * day);
    }
}
