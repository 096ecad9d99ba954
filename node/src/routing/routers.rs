//! Delegated Routing V1 as a client: who has a block, where a peer is and what a name stands for, asked of HTTP endpoints beside
//! the DHTs.
//!
//! Spec: <https://specs.ipfs.tech/routing/http-routing-v1/>.
//!
//! All are asked at once and each answer counts when it comes, so one that is dead holds nobody up, and each for so long at most
//! as a DHT would be ([`PROVIDERS_WITHIN`], [`RECORD_WITHIN`]). Records are for [names](crate::ipns) to verify. Peers are what
//! strangers said of themselves: where a router is on the internet, so are the addresses that are taken from it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};
use libp2p::{Multiaddr, PeerId};
use odf_doors::Authorities;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use url::{Host, Url};

use super::command::Provider;
use crate::address::{Reach, reach, split_peer};
use crate::block::LIBP2P_KEY;
use crate::retrieval::{Clients, base};
use crate::threads::lock;

/// The most routers.
pub const MAX_ROUTERS: usize = 8;
/// The most providers that are taken of one answer.
const MAX_PROVIDERS: usize = 100;
/// The most addresses that are taken of one peer.
const MAX_ADDRESSES: usize = 32;
/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How long an answer may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);
/// How long providers are waited for.
pub const PROVIDERS_WITHIN: Duration = Duration::from_secs(20);
/// How long a record is waited for, or that one is taken.
pub const RECORD_WITHIN: Duration = Duration::from_secs(5);
/// How long others are waited for when one has answered.
const AFTER_FIRST: Duration = Duration::from_millis(500);
/// How long one is left out that could not be reached.
const LEFT_OUT: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const RECORD: &str = "application/vnd.ipfs.ipns-record";
/// Where the paths of the specification begin.
const ROOT: &str = "routing/v1/";

/// Why an address is none of a router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// Neither http nor https, or with what such an address does not have.
    #[error(
        "`{0}` is no address of a router: http:// or https:// and a host, maybe a port and a folder, and nothing behind"
    )]
    NotOne(String),
    /// More than are asked.
    #[error("more than {MAX_ROUTERS} routers")]
    TooMany,
}

/// Routers that are asked over HTTP. Clones are the same ones; by default there are none.
#[derive(Debug, Clone, Default)]
pub struct Routers {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    routers: Vec<Router>,
    clients: Clients,
}

#[derive(Debug)]
struct Router {
    /// Ends in [`ROOT`].
    url: Url,
    /// The addresses that are taken from it reach at least as far.
    least: Reach,
    left_out: Mutex<Option<Instant>>,
}

/// A peer, in whatever schema: what they have in common.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    schema: String,
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    addrs: Option<Vec<String>>,
}

impl Routers {
    /// Asks these, each named by the address below which `/routing/v1` is, or by that itself; who speaks HTTPS is believed as those
    /// authorities say.
    ///
    /// # Errors
    /// One is no such address, or there are too many.
    pub fn new(urls: &[Url], authorities: Authorities) -> Result<Self, RouterError> {
        if urls.len() > MAX_ROUTERS {
            return Err(RouterError::TooMany);
        }
        let routers: Result<Vec<Router>, RouterError> = urls.iter().map(Router::new).collect();
        let clients = Clients::default();
        clients.believe(authorities);
        Ok(Self {
            inner: Arc::new(Inner {
                routers: routers?,
                clients,
            }),
        })
    }

    /// Whether nobody is asked.
    pub fn is_empty(&self) -> bool {
        self.inner.routers.is_empty()
    }

    /// Those that are asked now.
    fn asked(&self) -> impl Iterator<Item = usize> + '_ {
        let now = Instant::now();
        let routers = self.inner.routers.iter().enumerate();
        routers.filter_map(move |(at, router)| lock(&router.left_out).is_none_or(|until| until <= now).then_some(at))
    }

    /// Has whoever they say has `cid` given to `found`, each as it is said, until all have answered or nobody takes it.
    pub(crate) fn providers(&self, cid: &Cid, found: &mpsc::Sender<Provider>) {
        for at in self.asked() {
            let (routers, found, path) = (self.clone(), found.clone(), format!("providers/{cid}"));
            tokio::spawn(async move {
                let search = routers.search(at, &path, "Providers", &found);
                tokio::select! {
                    () = found.closed() => {}
                    searched = timeout(PROVIDERS_WITHIN, search) => if let Ok(Err(reason)) = searched {
                        routers.note(at, &reason);
                    }
                }
            });
        }
    }

    /// Where they say that a peer is.
    pub(crate) async fn peer(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let (found, mut answers) = mpsc::channel(MAX_ROUTERS);
        let key = Cid::new_v1(LIBP2P_KEY, *peer.as_ref());
        let asked = self.asked().map(|at| {
            let (found, path) = (found.clone(), format!("peers/{key}"));
            async move {
                let asked = timeout(RECORD_WITHIN, self.search(at, &path, "Peers", &found));
                if let Ok(Err(reason)) = asked.await {
                    self.note(at, &reason);
                }
            }
        });
        let asked: FuturesUnordered<_> = asked.collect();
        let all = asked.for_each(|()| std::future::ready(()));
        drop(found);
        let taken = async move {
            while let Some(found) = answers.recv().await {
                if found.peer == *peer && !found.addresses.is_empty() {
                    return found.addresses;
                }
            }
            Vec::new()
        };
        tokio::pin!(taken);
        tokio::select! {
            addresses = &mut taken => addresses,
            () = all => taken.await,
        }
    }

    /// What they give as the record of a name, if it has no more than `most` bytes; whether it is one is for others to say. When one has given something the others
    /// are waited for [a moment](AFTER_FIRST) only.
    pub(crate) async fn records(&self, name: &str, most: usize) -> Vec<Bytes> {
        let asked = self.asked().map(|at| async move {
            match timeout(RECORD_WITHIN, self.record(at, name, most)).await {
                Ok(Ok(record)) => record,
                Ok(Err(reason)) => {
                    self.note(at, &reason);
                    None
                }
                Err(_) => None,
            }
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (mut records, mut until) = (Vec::new(), None);
        loop {
            let next = match until {
                None => asked.next().await,
                Some(until) => tokio::time::timeout_at(until, asked.next()).await.unwrap_or(None),
            };
            match next {
                Some(Some(record)) => {
                    records.push(record);
                    until = until.or_else(|| Some(Instant::now() + AFTER_FIRST));
                }
                Some(None) => {}
                None => return records,
            }
        }
    }

    /// Gives them the record of a name; how many took it.
    pub(crate) async fn put(&self, name: &str, record: &Bytes) -> usize {
        let puts = self.asked().map(|at| async move {
            let put = self.request(at, reqwest::Method::PUT, &format!("ipns/{name}"), RECORD);
            let put = async { answer(put?.header(CONTENT_TYPE, RECORD).body(record.clone())).await };
            match timeout(RECORD_WITHIN, put).await {
                Ok(Ok(response)) => response.status().is_success(),
                Ok(Err(reason)) => {
                    self.note(at, &reason);
                    false
                }
                Err(_) => false,
            }
        });
        let puts: FuturesUnordered<_> = puts.collect();
        puts.filter(|took| std::future::ready(*took)).count().await
    }

    async fn record(&self, at: usize, name: &str, most: usize) -> Result<Option<Bytes>, String> {
        let request = self.request(at, reqwest::Method::GET, &format!("ipns/{name}"), RECORD)?;
        let mut response = answer(request).await?;
        if response.status() != StatusCode::OK || !is(&response, RECORD) {
            return Ok(None);
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = next(&mut response).await? {
            if bytes.len() + chunk.len() > most {
                return Err("it gave more than any record has".to_owned());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes.freeze()))
    }

    /// Gives `found` the peers of a list.
    async fn search(&self, at: usize, path: &str, list: &str, found: &mpsc::Sender<Provider>) -> Result<(), String> {
        let kinds = format!("{NDJSON}, {JSON};q=0.9");
        let mut response = answer(self.request(at, reqwest::Method::GET, path, &kinds)?).await?;
        if response.status() != StatusCode::OK {
            return Ok(());
        }
        let router = &self.inner.routers[at];
        let is_stream = is(&response, NDJSON);
        let (mut rest, mut left) = (BytesMut::new(), MAX_PROVIDERS);
        let mut give = async |value: Value| {
            if let Some(provider) = router.provider(value) {
                left -= 1;
                return found.send(provider).await.is_ok() && left > 0;
            }
            true
        };
        let mut total = 0;
        while let Some(chunk) = next(&mut response).await? {
            total += chunk.len();
            if total > MAX_ANSWER_BYTES {
                return Err(format!("it gave more than {MAX_ANSWER_BYTES} bytes"));
            }
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n').filter(|_| is_stream) {
                let line = rest.split_to(end + 1);
                if let Ok(value) = serde_json::from_slice(&line)
                    && !give(value).await
                {
                    return Ok(());
                }
            }
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&rest) else {
            return Ok(());
        };
        if is_stream {
            give(value).await;
            return Ok(());
        }
        if let Some(Value::Array(peers)) = value.get_mut(list).map(Value::take) {
            for peer in peers {
                if !give(peer).await {
                    break;
                }
            }
        }
        Ok(())
    }

    fn request(&self, at: usize, method: reqwest::Method, path: &str, kinds: &str) -> Result<RequestBuilder, String> {
        let url = self.inner.routers[at]
            .url
            .join(path)
            .map_err(|error| error.to_string())?;
        let client = self.inner.clients.for_named()?;
        Ok(client.request(method, url).header(ACCEPT, kinds))
    }

    /// One could not be asked.
    fn note(&self, at: usize, reason: &str) {
        let router = &self.inner.routers[at];
        tracing::debug!(url = %router.url, reason, "a router did not answer");
        *lock(&router.left_out) = Some(Instant::now() + LEFT_OUT);
    }
}

impl Router {
    fn new(url: &Url) -> Result<Self, RouterError> {
        let mut url = base(url).map_err(|_| RouterError::NotOne(url.to_string()))?;
        if !url.path().ends_with(&format!("/{ROOT}")) {
            let path = format!("{}{ROOT}", url.path());
            url.set_path(&path);
        }
        let least = match url.host() {
            Some(Host::Ipv4(ip)) => reach(&Multiaddr::from(IpAddr::V4(ip))),
            Some(Host::Ipv6(ip)) => reach(&Multiaddr::from(IpAddr::V6(ip))),
            Some(Host::Domain("localhost")) => Reach::Loopback,
            _ => Reach::Public,
        };
        Ok(Self {
            url,
            least,
            left_out: Mutex::default(),
        })
    }

    /// A peer of a list, if it is one.
    fn provider(&self, value: Value) -> Option<Provider> {
        let found: Found = serde_json::from_value(value).ok()?;
        if !matches!(found.schema.as_str(), "peer" | "bitswap") {
            return None;
        }
        let peer: PeerId = found.id.parse().ok()?;
        let addresses = found.addrs.unwrap_or_default();
        let addresses = addresses
            .iter()
            .take(MAX_ADDRESSES)
            .filter_map(|text| text.parse().ok());
        let of_peer = |address: Multiaddr| match split_peer(address) {
            (address, of) if of.is_none_or(|of| of == peer) => Some(address),
            _ => None,
        };
        let addresses = addresses
            .filter_map(of_peer)
            .filter(|address| reach(address) >= self.least);
        Some(Provider {
            peer,
            addresses: addresses.collect(),
        })
    }
}

/// The head of an answer.
async fn answer(request: RequestBuilder) -> Result<Response, String> {
    match timeout(BEGINS_WITHIN, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(error.without_url().to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// The next bytes of its body.
async fn next(response: &mut Response) -> Result<Option<Bytes>, String> {
    response.chunk().await.map_err(|error| error.without_url().to_string())
}

/// Whether an answer is of a kind.
fn is(response: &Response, kind: &str) -> bool {
    let said = response.headers().get(CONTENT_TYPE);
    said.and_then(|said| said.to_str().ok())
        .is_some_and(|said| said.starts_with(kind))
}

#[cfg(test)]
mod tests;
