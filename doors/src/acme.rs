//! Certificates by ACME (RFC 8555): the authority is shown on the very port that is to have one who answers there
//! (`tls-alpn-01`, RFC 8737), so that no other need be open.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use instant_acme::{
    AccountCredentials, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use url::Url;

use crate::tls::{Authorities, Certificates, provider};

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The longest answer of an authority that is read. A chain of certificates has some kilobytes.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// How long an authority may take for one answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to look, and then to sign.
const DECIDES_WITHIN: Duration = Duration::from_secs(90);

/// Who signs certificates.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Where it lists what it does.
    pub directory: Url,
    /// Where it reaches the owner of the account: an address of mail.
    pub contact: Option<String>,
    /// Who vouches for the authority's own server.
    pub authorities: Authorities,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// The authority was not reached, or refused.
    #[error("{0}")]
    Authority(#[from] instant_acme::Error),
    /// It has no challenge that can be answered here.
    #[error("the authority does not offer the challenge tls-alpn-01")]
    NoChallenge,
    /// It looked, and did not find the answer to its challenge.
    #[error("the authority did not get its answer: {0}")]
    Unanswered(String),
    /// No request could be made for the name.
    #[error("no certificate can be asked for with this name: {0}")]
    Request(#[from] rcgen::Error),
    /// TLS cannot be spoken.
    #[error("TLS cannot be spoken: {0}")]
    Tls(#[from] rustls::Error),
    /// What was kept of the account is none.
    #[error("what is kept of the account is damaged: {0}")]
    Account(#[from] serde_json::Error),
}

/// An account at an authority.
pub struct Account(instant_acme::Account);

/// A certificate that was signed, in PEM.
pub struct Issued {
    /// The server's first, then those it is signed with.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Account {
    /// A new account, which agrees to the authority's terms, and what is to be kept of it: a private key among it.
    ///
    /// # Errors
    /// See [`AcmeError`].
    pub async fn create(authority: &Authority) -> Result<(Self, Vec<u8>), AcmeError> {
        let contact = authority.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = instant_acme::Account::builder_with_http(Box::new(Http::new(authority)?));
        let (account, credentials) = builder.create(&wanted, authority.directory.to_string(), None).await?;
        Ok((Self(account), serde_json::to_vec(&credentials)?))
    }

    /// The account of which this was kept.
    ///
    /// # Errors
    /// See [`AcmeError`].
    pub async fn open(authority: &Authority, kept: &[u8]) -> Result<Self, AcmeError> {
        let credentials: AccountCredentials = serde_json::from_slice(kept)?;
        let builder = instant_acme::Account::builder_with_http(Box::new(Http::new(authority)?));
        Ok(Self(builder.from_credentials(credentials).await?))
    }

    /// Has a certificate signed for a name. `certificates` are those of the server that answers there.
    ///
    /// # Errors
    /// See [`AcmeError`].
    pub async fn certificate(&self, name: &str, certificates: &Certificates) -> Result<Issued, AcmeError> {
        let policy = RetryPolicy::default().timeout(DECIDES_WITHIN);
        let names = [Identifier::Dns(name.to_owned())];
        let mut order = self.0.new_order(&NewOrder::new(&names)).await?;
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == instant_acme::AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
            let mut challenge = challenge.ok_or(AcmeError::NoChallenge)?;
            let answer = answer(name, challenge.key_authorization().digest().as_ref())?;
            answers.push(certificates.answer(name, answer));
            challenge.set_ready().await?;
        }
        let status = order.poll_ready(&policy).await?;
        drop(answers);
        if !matches!(status, OrderStatus::Ready | OrderStatus::Valid) {
            return Err(AcmeError::Unanswered(reason(&mut order, status).await));
        }
        let key = KeyPair::generate()?;
        let mut request = CertificateParams::new(vec![name.to_owned()])?;
        request.distinguished_name = DistinguishedName::new();
        order.finalize_csr(request.serialize_request(&key)?.der()).await?;
        Ok(Issued {
            chain: order.poll_certificate(&policy).await?,
            key: key.serialize_pem(),
        })
    }
}

/// The certificate that answers a challenge.
fn answer(name: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let key = provider().key_provider.load_private_key(key)?;
    // Whether the two go together is not looked at: that fails for an extension that is critical and of ACME alone.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// What an authority says of a challenge that it did not get its answer to.
async fn reason(order: &mut Order, status: OrderStatus) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let mut problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problems.next() {
            return problem.detail.clone().unwrap_or_else(|| problem.to_string());
        }
    }
    format!("it calls the order {status:?}")
}

/// Requests to an authority.
struct Http(reqwest::Client);

impl Http {
    fn new(authority: &Authority) -> Result<Self, AcmeError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(authority.authorities.client()?)
            .timeout(ANSWERS_WITHIN)
            .build()
            .map_err(other)?;
        Ok(Self(client))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let request = request.map(reqwest::Body::wrap);
            let request = reqwest::Request::try_from(request).map_err(other)?;
            let mut response = client.execute(request).await.map_err(other)?;
            let mut answer = Response::new(());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = response.headers().clone();
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(other)? {
                if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err(instant_acme::Error::Str("the answer of the authority has no end"));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(BytesResponse::from(answer.map(|()| BodyWrapper::from(bytes))))
        })
    }
}

/// In the words of what is deepest, which says more than "error sending request".
fn other(error: reqwest::Error) -> instant_acme::Error {
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let host = error.url().and_then(Url::host_str).unwrap_or("the authority");
    instant_acme::Error::Other(format!("{host}: {deepest}").into())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_challenge_is_answered_with_a_certificate_for_it() {
        let answer = answer("data.example.org", &[7; 32]).unwrap();
        assert_eq!(answer.cert.len(), 1);
        // The identifier that RFC 8737 gives the extension, and what it says.
        let digest = [&[0x04, 0x20][..], &[7; 32]].concat();
        assert!(answer.cert[0].windows(digest.len()).any(|part| part == digest));
    }

    #[tokio::test]
    async fn the_longest_answer_of_an_authority_is_read_and_no_longer_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let padded = |length: usize| {
            let urls = r#"{"newNonce":"x","newAccount":"x","newOrder":"x","pad":""#;
            let pad = "x".repeat(length - urls.len() - 2);
            move || std::future::ready(format!("{urls}{pad}\"}}"))
        };
        let router = Router::new()
            .route("/longest", axum::routing::get(padded(MAX_ANSWER_BYTES)))
            .route("/longer", axum::routing::get(padded(MAX_ANSWER_BYTES + 1)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let asked = async |path: &str| {
            let authority = Authority {
                directory: format!("http://{address}/{path}").parse().unwrap(),
                contact: None,
                authorities: Authorities::default(),
            };
            Account::create(&authority).await.err().unwrap().to_string()
        };
        let longer = asked("longer").await;
        assert!(longer.contains("no end"), "{longer}");
        // It was read, and there is no account where it leads.
        let longest = asked("longest").await;
        assert!(!longest.contains("no end"), "{longest}");
    }
}
