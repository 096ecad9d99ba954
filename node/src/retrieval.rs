//! Retrieval over HTTP: blocks and records from trustless gateways, for where firewalls let nothing else out.
//!
//! Spec: <https://specs.ipfs.tech/http-gateways/trustless-gateway/>, of it blocks (`?format=raw`), whole DAGs (`?format=car`) and
//! records (`?format=ipns-record`).
//!
//! # Goals, the first before the second
//!
//! 1. Believe no gateway. Every block is hashed before anybody sees it, and a gateway that gave another block than the one that
//!    was asked for is not asked again. Lengths and times have named bounds. Records are verified where names are
//!    ([`crate::ipns`]).
//! 2. Do not wait for a slow one where another can be asked: it gets as much as it can do, and is left out for a while when others
//!    had to stand in for it.
//! 3. Go where the owner said, and nowhere else: a redirect leads to the same host or one below it. Servers that strangers
//!    announce are on the internet, whatever their names stand for, and redirect nobody.
//!
//! Blocks come one by one; many requests go on at the same time, over HTTP/2 where the gateway has it. Of a DAG of which nothing is
//! here, they come as one CAR (`car.rs`), and lie ready for whoever walks over it (`ahead.rs`).

mod ahead;
mod car;
mod clients;
mod gateway;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};
use odf_doors::Authorities;
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

pub(crate) use self::ahead::Ahead;
pub use self::ahead::MAX_HELD_BYTES as MAX_AHEAD_BYTES;
use self::clients::BEGINS_WITHIN;
pub(crate) use self::clients::Clients;
pub use self::gateway::GatewayStats;
use self::gateway::{Busy, Gateway, Missed, Wanted, shown};
use crate::block::{Block, MAX_BLOCK_BYTES};
use crate::threads::lock;

/// Requests for blocks under way at all gateways together.
const MAX_REQUESTS: usize = 32;
/// The most gateways.
pub const MAX_GATEWAYS: usize = 16;
/// The most gateways that strangers announced.
const MAX_FOUND: usize = 16;
/// The field that says through whom a request came (RFC 8586).
pub(crate) const THROUGH: &str = "cdn-loop";
/// How long it may then pause.
const GOES_ON_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take in all.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How long a record is waited for.
const RECORD_WITHIN: Duration = Duration::from_secs(5);
/// Why an address is none of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// Neither http nor https, or with what a gateway's address does not have.
    #[error(
        "`{0}` is no address of a gateway: http:// or https:// and a host, maybe a port and a folder, and nothing behind"
    )]
    NotOne(String),
    /// More than can be asked.
    #[error("more than {MAX_GATEWAYS} gateways")]
    TooMany,
}

/// Trustless gateways that are asked beside peers. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Gateways {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    gateways: Mutex<Vec<Arc<Gateway>>>,
    clients: Clients,
    slots: Semaphore,
    /// How often one was found.
    found: watch::Sender<u64>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            gateways: Mutex::default(),
            clients: Clients::default(),
            slots: Semaphore::new(MAX_REQUESTS),
            found: watch::Sender::new(0),
        }
    }
}

/// Gateways that are asked until this is dropped.
#[derive(Debug)]
#[must_use = "they are asked until this is dropped"]
pub struct Added {
    gateways: Gateways,
    added: Vec<Arc<Gateway>>,
}

impl Added {
    /// They are asked for as long as there is anybody to ask them for.
    pub fn keep(mut self) {
        self.added.clear();
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        self.gateways.remove(&self.added);
    }
}

impl Gateways {
    /// Asks these too from now on. Those that are asked already are asked once.
    ///
    /// # Errors
    /// One is no address of a gateway, or there are too many; none is added then.
    pub fn add(&self, urls: &[Url]) -> Result<Added, GatewayError> {
        let urls: Vec<Url> = urls.iter().map(base).collect::<Result<_, _>>()?;
        let mut gateways = lock(&self.inner.gateways);
        let mut added = Vec::new();
        for url in urls {
            if gateways
                .iter()
                .chain(&added)
                .all(|gateway: &Arc<Gateway>| gateway.url != url)
            {
                added.push(Arc::new(Gateway::new(url, false)));
            }
        }
        let named = gateways.iter().filter(|gateway| !gateway.found).count();
        if named + added.len() > MAX_GATEWAYS {
            return Err(GatewayError::TooMany);
        }
        gateways.extend(added.iter().cloned());
        Ok(Added {
            gateways: self.clone(),
            added,
        })
    }

    /// Whom they believe that vouch for servers.
    pub fn believe(&self, authorities: Authorities) {
        self.inner.clients.believe(authorities);
    }

    /// Asks these as well, of which a stranger says that they have something: each of them for as long as it gives something. Gives
    /// back whether there is any that can be asked.
    pub(crate) fn found(&self, urls: &[Url]) -> bool {
        let mut gateways = lock(&self.inner.gateways);
        let mut is_new = false;
        let mut can_be_asked = false;
        for url in urls.iter().take(MAX_FOUND) {
            if let Some(known) = gateways.iter().find(|gateway| gateway.url == *url) {
                can_be_asked |= known.may_be_asked(false);
                continue;
            }
            let found = gateways.iter().filter(|gateway| gateway.found);
            if found.clone().count() >= MAX_FOUND {
                // The one that gave least, and of those the oldest.
                let least = found
                    .min_by_key(|gateway| gateway.blocks.load(Ordering::Relaxed))
                    .cloned();
                gateways.retain(|gateway| least.as_ref().is_none_or(|least| !Arc::ptr_eq(gateway, least)));
            }
            tracing::debug!(%url, "a provider speaks HTTP");
            gateways.push(Arc::new(Gateway::new(url.clone(), true)));
            (is_new, can_be_asked) = (true, true);
        }
        drop(gateways);
        if is_new {
            self.inner.found.send_modify(|count| *count += 1);
        }
        can_be_asked
    }

    /// Changes whenever one is found.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.found.subscribe()
    }

    fn remove(&self, removed: &[Arc<Gateway>]) {
        lock(&self.inner.gateways).retain(|gateway| !removed.iter().any(|gone| Arc::ptr_eq(gone, gateway)));
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        // At most `MAX_GATEWAYS` and `MAX_FOUND`.
        lock(&self.inner.gateways).len() as u32
    }

    /// Whether one more request could begin at once, at a gateway that is not left out.
    pub(crate) fn is_ready(&self) -> bool {
        let gateways = lock(&self.inner.gateways);
        self.inner.slots.available_permits() > 0 && gateways.iter().any(|gateway| gateway.may_be_asked(false))
    }

    /// What each gave.
    pub fn stats(&self) -> Vec<GatewayStats> {
        let gateways = lock(&self.inner.gateways).clone();
        gateways.iter().map(|gateway| gateway.stats()).collect()
    }

    /// A block, from whichever gateway has it, for whoever asked through those that are named; nothing if none gives it.
    pub(crate) async fn block(&self, cid: &Cid, through: Option<&str>) -> Option<Block> {
        let _slot = self.inner.slots.acquire().await.ok()?;
        let mut tried: Vec<Arc<Gateway>> = Vec::new();
        let mut attempts = FuturesUnordered::new();
        loop {
            // At first, when one had nothing, and when the last one is slow.
            let next = self.next(&tried, Wanted::Block);
            if next.is_none() && attempts.is_empty() {
                return None;
            }
            let late = next.as_ref().map(|gateway| Instant::now() + gateway.patience());
            if let Some(gateway) = next {
                attempts.push(self.attempt(gateway.clone(), cid, through));
                tried.push(gateway);
            }
            let late = async {
                match late {
                    Some(late) => sleep_until(late).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(block) = attempts.next() => if block.is_some() {
                    return block;
                },
                () = late => {}
            }
        }
    }

    /// What gateways give as the record of a name, if it has no more than `most` bytes: whether it is one is for others to say.
    pub(crate) async fn records(&self, name: &str, most: usize) -> Vec<Bytes> {
        let gateways = lock(&self.inner.gateways).clone();
        // What names one is interested in is nothing for strangers.
        let asked = gateways
            .iter()
            .filter(|gateway| !gateway.found && gateway.may_be_asked(true));
        let path = format!("ipns/{name}?format=ipns-record");
        let answers = asked.map(|gateway| async {
            let begun = self.get(gateway, &path, "application/vnd.ipfs.ipns-record", most, None);
            let answer = timeout(RECORD_WITHIN, begun).await;
            let answer = answer.unwrap_or_else(|_| Err(Missed::Slow("no answer".to_owned())));
            answer.map_err(|missed| gateway.note(&missed)).ok()
        });
        let answers: Vec<_> = answers.collect();
        futures::future::join_all(answers).await.into_iter().flatten().collect()
    }

    /// The one that is likely to be the quickest of those that can do it and were not tried.
    fn next(&self, tried: &[Arc<Gateway>], wanted: Wanted) -> Option<Arc<Gateway>> {
        let gateways = lock(&self.inner.gateways);
        let untried = |gateway: &&Arc<Gateway>| !tried.iter().any(|other| Arc::ptr_eq(other, gateway));
        let of = |also_left_out: bool| {
            let asked = gateways
                .iter()
                .filter(untried)
                .filter(|gateway| gateway.can_give(wanted));
            asked
                .filter(|gateway| gateway.may_be_asked(also_left_out))
                .min_by_key(|gateway| gateway.expected(wanted))
                .cloned()
        };
        // Where nobody else is left, one that is slow is better than none.
        of(false).or_else(|| tried.is_empty().then(|| of(true))?)
    }

    async fn attempt(&self, gateway: Arc<Gateway>, cid: &Cid, through: Option<&str>) -> Option<Block> {
        let busy = Busy::begin(&gateway);
        let (path, media) = (format!("ipfs/{cid}?format=raw"), "application/vnd.ipld.raw");
        let asked = self.get(&gateway, &path, media, MAX_BLOCK_BYTES, through);
        let answer = match timeout(ENDS_WITHIN, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Missed::Slow(format!("no end after {} seconds", ENDS_WITHIN.as_secs()))),
        };
        let block = answer.and_then(|bytes| {
            Block::verify(*cid, bytes).map_err(|_| Missed::False(format!("it gave another block as {cid}")))
        });
        match (block, busy.end()) {
            (Ok(block), took) => {
                gateway.gave(block.data().len(), took);
                Some(block)
            }
            (Err(missed), _) => {
                gateway.note(&missed);
                if gateway.is_useless() {
                    self.remove(&[gateway]);
                }
                None
            }
        }
    }

    /// The begin of what is at a path below a gateway.
    async fn open(
        &self,
        gateway: &Gateway,
        path: &str,
        media: &str,
        through: Option<&str>,
    ) -> Result<Response, Missed> {
        let url = gateway
            .url
            .join(path)
            .map_err(|error| Missed::Absent(error.to_string()))?;
        let client = match gateway.found {
            true => self.inner.clients.for_strangers(),
            false => self.inner.clients.for_named(),
        };
        let mut request = client.map_err(Missed::Absent)?.get(url).header(ACCEPT, media);
        if let Some(through) = through {
            request = request.header(THROUGH, through);
        }
        let sent = request.send();
        let response = match timeout(BEGINS_WITHIN, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Missed::Slow(in_words(&error))),
            Err(_) => return Err(Missed::Slow("no answer".to_owned())),
        };
        match response.status() {
            StatusCode::OK => Ok(response),
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                let after = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                Err(Missed::Later(status, Duration::from_secs(after.unwrap_or(1))))
            }
            status => Err(Missed::Absent(status.to_string())),
        }
    }

    /// What is at a path below a gateway, if it is not longer than `limit`.
    async fn get(
        &self,
        gateway: &Gateway,
        path: &str,
        media: &str,
        limit: usize,
        through: Option<&str>,
    ) -> Result<Bytes, Missed> {
        let mut response = self.open(gateway, path, media, through).await?;
        let too_long = || Missed::False(format!("it gave more than {limit} bytes as {path}"));
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_long());
        }
        let mut bytes = BytesMut::new();
        loop {
            match timeout(GOES_ON_WITHIN, response.chunk()).await {
                Ok(Ok(Some(chunk))) if bytes.len() + chunk.len() > limit => {
                    drop(chunk);
                    return Err(too_long());
                }
                Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(bytes.freeze()),
                Ok(Err(error)) => return Err(Missed::Slow(in_words(&error))),
                Err(_) => return Err(Missed::Slow("it stopped within an answer".to_owned())),
            }
        }
    }
}

/// The address below which paths begin.
///
/// # Errors
/// It is none of a gateway.
pub fn base(url: &Url) -> Result<Url, GatewayError> {
    let none = || GatewayError::NotOne(shown(url).to_string());
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() || url.fragment().is_some()
    {
        return Err(none());
    }
    let mut base = url.clone();
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    Ok(base)
}

/// An error without the address, which is said beside it.
fn in_words(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests;
