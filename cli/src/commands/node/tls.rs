//! The gateway by HTTPS: with a certificate from files, which their owner renews, or with one that the node gets by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use odf::disk::{Access, Disk};
use odf_doors::acme::{Account, AcmeError, Authority, LETS_ENCRYPT};
use odf_doors::{Certificates, Entrance, Validity};
use odf_node::address::http_address;
use odf_node::peer::Node;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use url::Url;

use super::bind::bind;
use crate::failure::{Failure, Kind, chain};
use crate::session::Session;
use crate::session::authorities::read_pem;

/// Where accounts and certificates are kept in the workspace.
const DIR: &str = "tls";
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a certificate may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(300);
/// How long it waits after a failure, and at most. Authorities count failures by the hour.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 3600));
/// How long it sleeps at most: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What is served by HTTPS, and with which certificate.
pub(super) struct Secure {
    certificates: Certificates,
    source: Source,
    /// Where others reach it.
    url: Option<Url>,
}

enum Source {
    Files(Files),
    Acme(Box<Acme>),
}

struct Files {
    chain: PathBuf,
    key: PathBuf,
    /// What they held when they were read last.
    seen: (Vec<u8>, Vec<u8>),
}

struct Acme {
    domain: String,
    authority: Authority,
    disk: Disk,
    dir: PathBuf,
    /// Of the certificate that is shown.
    validity: Option<Validity>,
}

/// What is kept of an account.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    account: Box<serde_json::value::RawValue>,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error(transparent)]
    Acme(#[from] AcmeError),
    #[error("{} cannot be read or written: {}", .0.path.display(), .0.source)]
    Disk(#[from] odf::disk::DiskError),
    #[error("what the authority signed is no certificate: {0}")]
    Certificate(#[from] odf_doors::CertificateError),
    #[error("{0}")]
    Kept(#[from] serde_json::Error),
    #[error("it took more than {} minutes", COMES_WITHIN.as_secs() / 60)]
    Late,
}

/// Listens for HTTPS, if the settings say so.
///
/// # Errors
/// The address cannot be had, there is no certificate to show and no name to get one for, or its files are wrong.
pub(super) fn open(session: &Session) -> Result<Option<(Entrance, SocketAddr, Secure)>, Failure> {
    let settings = session.settings();
    let Some(address) = settings.tls() else {
        return Ok(None);
    };
    let certificates = Certificates::default();
    let at = |file: &String| session.root().join(file);
    let files = (settings.gateway_certificate.as_ref(), settings.gateway_key.as_ref());
    let source = match (files, &settings.gateway_domain) {
        ((Some(chain), Some(key)), _) => {
            let mut files = Files {
                chain: at(chain),
                key: at(key),
                seen: Default::default(),
            };
            files.show(&certificates)?;
            Source::Files(files)
        }
        ((None, None), Some(domain)) => Source::Acme(Box::new(Acme::open(session, domain, &certificates)?)),
        ((None, None), None) => {
            return Err(Failure::usage("gateway.tls is set, and there is no certificate to show there").next(
                "have the node get one with `odfs config set gateway.domain NAME`, or name one with gateway.certificate and \
                 gateway.key",
            ));
        }
        _ => {
            return Err(
                Failure::usage("gateway.certificate and gateway.key go together, and one of them is not set")
                    .next("set both, or none and gateway.domain"),
            );
        }
    };
    let (listener, bound) = bind(session, address, "gateway.tls")?;
    let entrance = Entrance::tls(listener, &certificates)
        .map_err(|error| Failure::new(Kind::General, format!("TLS cannot be spoken: {error}")))?;
    let secure = Secure {
        certificates,
        source,
        url: settings.public_url(),
    };
    Ok(Some((entrance, bound, secure)))
}

impl Secure {
    /// Keeps the certificate new, and has others told where HTTPS is spoken once there is one. What goes wrong is said to `tell`.
    /// Never ends.
    pub(super) async fn keep(mut self, node: &Node, tell: &mpsc::Sender<String>) {
        if self.certificates.are_there() {
            announce(self.url.as_ref(), node).await;
        }
        match self.source {
            Source::Files(ref mut files) => loop {
                sleep(LOOK_EVERY).await;
                files.look(&self.certificates, tell).await;
            },
            Source::Acme(ref mut acme) => {
                let mut failures = 0;
                loop {
                    let due = acme.validity.map(|validity| validity.renew_at());
                    let left = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
                    if let Some(left) = left {
                        sleep(left.min(LONGEST_SLEEP)).await;
                        continue;
                    }
                    let renewed = timeout(COMES_WITHIN, acme.renew(&self.certificates)).await;
                    match renewed.unwrap_or(Err(Missed::Late)) {
                        Ok(()) => {
                            failures = 0;
                            tracing::info!(domain = acme.domain, "there is a new certificate");
                            announce(self.url.as_ref(), node).await;
                        }
                        Err(error) => {
                            let wait = again_after(failures);
                            failures += 1;
                            say(tell, acme.complaint(&error, wait)).await;
                            sleep(wait).await;
                        }
                    }
                }
            }
        }
    }
}

/// Has others told where HTTPS is spoken, if that is where they reach it.
async fn announce(url: Option<&Url>, node: &Node) {
    // An address has a host and a port, and no folder.
    let https = url.filter(|url| url.scheme() == "https" && url.path() == "/");
    let addresses = https.and_then(http_address).into_iter().collect();
    node.serve_http_at(addresses).await;
}

/// Has something shown to whoever runs the node.
async fn say(tell: &mpsc::Sender<String>, message: String) {
    tracing::warn!("{message}");
    // Nobody listens any more when the node ends.
    let _ = tell.send(message).await;
}

/// How long it waits after so many failures before.
fn again_after(failures: u32) -> Duration {
    let (first, most) = AGAIN_AFTER;
    first.saturating_mul(4_u32.saturating_pow(failures)).min(most)
}

impl Files {
    fn show(&mut self, certificates: &Certificates) -> Result<(), Failure> {
        let read = |path: &PathBuf, setting: &str| {
            read_pem(path).map_err(|error| {
                let failure = Failure::file(path, &error).about(setting);
                failure.next("name the file with `odfs config set`, and let the user that runs the node read it")
            })
        };
        self.seen = (
            read(&self.chain, "gateway.certificate")?,
            read(&self.key, "gateway.key")?,
        );
        let shown = certificates.show(&self.seen.0, &self.seen.1);
        shown.map(drop).map_err(|error| {
            let failure = Failure::usage(error).about(self.chain.display());
            failure.next("gateway.certificate is the chain in PEM, gateway.key the key of its first certificate")
        })
    }

    /// Shows what is new in them. While one of them is not, or they do not go together, the certificate before is shown.
    async fn look(&mut self, certificates: &Certificates, tell: &mpsc::Sender<String>) {
        let now = (read_pem(&self.chain), read_pem(&self.key));
        let (Ok(chain), Ok(key)) = now else { return };
        if (&chain, &key) == (&self.seen.0, &self.seen.1) {
            return;
        }
        match certificates.show(&chain, &key) {
            Ok(_) => tracing::info!(file = %self.chain.display(), "there is a new certificate"),
            Err(error) => {
                let file = self.chain.display();
                say(
                    tell,
                    format!("{file}: the new certificate is not shown, the one before is: {error}"),
                )
                .await;
            }
        }
        self.seen = (chain, key);
    }
}

impl Acme {
    /// The certificate for a name, if one is kept from before.
    fn open(session: &Session, domain: &str, certificates: &Certificates) -> Result<Self, Failure> {
        let settings = session.settings();
        let usual = || LETS_ENCRYPT.parse::<Url>();
        let directory = settings.gateway_acme.clone().map_or_else(usual, Ok);
        let mut acme = Self {
            domain: domain.to_owned(),
            authority: Authority {
                directory: directory.map_err(|error| Failure::usage(error).about("gateway.acme"))?,
                contact: settings.gateway_acme_contact.clone(),
                authorities: session.authorities()?,
            },
            disk: session.disk().clone(),
            dir: session.root().join(DIR),
            validity: None,
        };
        if let Ok(kept) = read_pem(&acme.certificate_file()) {
            match certificates.show(&kept, &kept) {
                Ok(validity) => acme.validity = Some(validity),
                Err(error) => tracing::warn!("the certificate that was kept is damaged, and another is got: {error}"),
            }
        }
        Ok(acme)
    }

    /// Has both the certificate and its key, so that they change together.
    fn certificate_file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.domain))
    }

    async fn renew(&mut self, certificates: &Certificates) -> Result<(), Missed> {
        let account = self.account().await?;
        let issued = account.certificate(&self.domain, certificates).await?;
        let both = issued.chain + &issued.key;
        let validity = certificates.show(both.as_bytes(), both.as_bytes())?;
        self.validity = Some(validity);
        self.keep(&self.certificate_file(), both.as_bytes())
    }

    /// The account that is kept, if it is one of this authority and there still, or a new one.
    async fn account(&self) -> Result<Account, Missed> {
        let file = self.dir.join("account.json");
        let kept = read_pem(&file)
            .ok()
            .and_then(|kept| serde_json::from_slice::<Kept>(&kept).ok());
        if let Some(kept) = kept.filter(|kept| kept.directory == self.authority.directory.as_str()) {
            return Ok(Account::open(&self.authority, kept.account.get().as_bytes()).await?);
        }
        let (account, kept) = Account::create(&self.authority).await?;
        let kept = Kept {
            directory: self.authority.directory.to_string(),
            account: serde_json::from_slice(&kept)?,
        };
        self.keep(&file, &serde_json::to_vec(&kept)?)?;
        Ok(account)
    }

    fn keep(&self, file: &std::path::Path, bytes: &[u8]) -> Result<(), Missed> {
        self.disk.create_dirs(&self.dir, Access::Owner)?;
        Ok(self.disk.replace(file, bytes, Access::Owner)?)
    }

    fn complaint(&self, error: &Missed, wait: Duration) -> String {
        let next = match error {
            Missed::Acme(AcmeError::Unanswered(_)) => {
                "the name must stand for this machine, and port 443 of it lead to gateway.tls"
            }
            Missed::Disk(_) => "make room in the workspace, and let the user that runs the node write there",
            _ => "gateway.acme must be the directory of an authority that is reached from here",
        };
        let still = match &self.validity {
            Some(validity) if validity.until > SystemTime::now() => "the certificate before is shown meanwhile",
            Some(_) => "the certificate before has expired",
            None => "HTTPS is not served until there is one",
        };
        format!(
            "no certificate for {}: {}; {still}; it is tried again in {} minutes\nNext: {next}",
            self.domain,
            chain(error),
            wait.as_secs().div_ceil(60)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_asked_less_and_less_often() {
        let minutes: Vec<u64> = (0..6).map(|failures| again_after(failures).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 4, 16, 64, 256, 360]);
        assert_eq!(again_after(u32::MAX), AGAIN_AFTER.1);
    }
}
