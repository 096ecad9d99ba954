//! One request at the source: names followed to a root, a path followed to an entry, blocks within their time.
//!
//! What is here is read in turns that never wait for anybody else. What must be asked for takes a share of the room for
//! waiting, which is given back when it has come: a request that waits for nothing but its client has none.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use cid::Cid;
use odf_doors::{Full, Room, Seat, Shares};
use tokio::sync::Semaphore;

use super::held::Held;
use super::options::{Audience, Options};
use super::question::Question;
use super::refusal::Refusal;
use super::root::{Root, split};
use super::source::{NameValue, Source, SourceError};
use crate::block::{Block, inherent};
use crate::retrieval::THROUGH;
use crate::unixfs::resolve::{Resolved, Resolver, Step};

/// The most blocks that are read from the disk at once.
pub const MAX_READS: usize = 64;
/// The most requests that wait for peers at once; one more is told to come back.
pub const MAX_WAITS: usize = 128;
/// How many of them may be of one client. This machine itself has half of all.
pub const MAX_WAITS_OF_ONE: usize = 16;
/// The most blocks that are fetched before their turn, for all requests together: at most 128 MiB.
pub const MAX_BLOCKS_AHEAD: usize = 64;
/// How many of them may be of one client. This machine itself has three quarters of all.
pub const MAX_BLOCKS_AHEAD_OF_ONE: usize = 16;
/// The most archives, CAR and tar, that are made at once; one more takes the place of one whose client does not read, or is told to
/// come back.
pub const MAX_ARCHIVES: usize = 64;
/// How many of them may be of one client. This machine itself has half of all.
pub const MAX_ARCHIVES_OF_ONE: usize = 8;
/// The most names that one path may lead through.
pub const MAX_NAME_DEPTH: usize = 32;

/// Room for waiting.
const WAITS: Room = Room {
    all: MAX_WAITS,
    network: 2 * MAX_WAITS_OF_ONE,
    one: MAX_WAITS_OF_ONE,
    many: MAX_WAITS / 2,
};
/// Room for blocks before their turn.
pub(super) const AHEAD: Room = Room {
    all: MAX_BLOCKS_AHEAD,
    network: 2 * MAX_BLOCKS_AHEAD_OF_ONE,
    one: MAX_BLOCKS_AHEAD_OF_ONE,
    many: MAX_BLOCKS_AHEAD / 4 * 3,
};
/// Room for what is known of archives on their way.
const ARCHIVES: Room = Room {
    all: MAX_ARCHIVES,
    network: 2 * MAX_ARCHIVES_OF_ONE,
    one: MAX_ARCHIVES_OF_ONE,
    many: MAX_ARCHIVES / 2,
};

/// The most gateways that a request may have come through before others are asked for it.
pub(super) const MAX_THROUGH: usize = 8;

/// Through whom a request came, by what it says.
pub(super) fn through(headers: &HeaderMap) -> Vec<String> {
    let fields = headers.get_all(THROUGH).iter().filter_map(|field| field.to_str().ok());
    let ids = fields.flat_map(|field| field.split(','));
    // What stands behind a semicolon is for people.
    let ids = ids.filter_map(|id| id.split(';').next()).map(str::trim);
    ids.filter(|id| !id.is_empty())
        .take(MAX_THROUGH + 1)
        .map(str::to_owned)
        .collect()
}

/// A gateway over a source, shared by all requests.
pub(super) struct Gateway<S> {
    pub(super) source: S,
    pub(super) options: Options,
    reads: Semaphore,
    waits: Shares,
    ahead: Shares,
    archives: Shares,
    pub(super) held: Held,
}

/// One request at the source.
pub(super) struct Asking<S: Source> {
    pub(super) gateway: Arc<Gateway<S>>,
    session: S::Session,
    client: IpAddr,
    /// Whether it came through this gateway before, or through too many.
    is_circle: bool,
    /// The share of the room for waiting, while anything is waited for.
    wait: Mutex<Weak<Seat>>,
}

impl<S: Source> Gateway<S> {
    pub(super) fn new(source: S, options: Options) -> Self {
        let room = |room| Shares::new(room, &[]);
        Self {
            source,
            options,
            reads: Semaphore::new(MAX_READS),
            waits: room(WAITS),
            ahead: room(AHEAD),
            archives: room(ARCHIVES),
            held: Held::default(),
        }
    }
}

impl<S: Source> Asking<S> {
    /// Begins a request of the client at an address; those of whom none is known are one client.
    pub(super) fn new(gateway: &Arc<Gateway<S>>, client: Option<IpAddr>, through: &[String]) -> Self {
        let source = &gateway.source;
        Self {
            is_circle: through.len() > MAX_THROUGH || through.iter().any(|id| id == source.id()),
            session: source.session(through),
            gateway: Arc::clone(gateway),
            client: client.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            wait: Mutex::default(),
        }
    }

    /// The block, from nowhere if its CID says it all, from here, else from peers within the limit.
    pub(super) async fn block(&self, cid: &Cid) -> Result<Block, SourceError> {
        if let Some(block) = inherent(cid) {
            return Ok(block);
        }
        if self.gateway.options.denylist.denies(cid) {
            return Err(SourceError::Denied(format!("/ipfs/{cid}")));
        }
        if let Some(block) = self.here(cid).await? {
            return Ok(block);
        }
        let limit = self.gateway.options.block_limit;
        let late = || format!("{cid} did not arrive within {} s", limit.as_secs());
        let block = self.gateway.source.block(&self.session, cid);
        self.asked_of_peers(&cid.to_string(), limit, late, block).await
    }

    async fn here(&self, cid: &Cid) -> Result<Option<Block>, SourceError> {
        let stopping = |_| SourceError::Failed("the gateway is stopping".to_owned());
        let _turn = self.gateway.reads.acquire().await.map_err(stopping)?;
        self.gateway.source.here(cid).await
    }

    /// The first of these blocks that are here and not denied, in one turn at reading; see [`Source::here_together`].
    pub(super) async fn here_together(&self, cids: &[Cid], most: usize) -> Result<Vec<Block>, SourceError> {
        let denylist = &self.gateway.options.denylist;
        let served = cids.iter().take_while(|cid| !denylist.denies(cid)).count();
        let stopping = |_| SourceError::Failed("the gateway is stopping".to_owned());
        let _turn = self.gateway.reads.acquire().await.map_err(stopping)?;
        self.gateway.source.here_together(&cids[..served], most).await
    }

    /// What a name stands for, for somebody who wants what is at a path below it.
    pub(super) async fn name(&self, name: &str, path: &str) -> Result<NameValue, SourceError> {
        if self.gateway.options.denylist.denies_name(name, path) {
            return Err(SourceError::Denied(format!("/ipns/{name}")));
        }
        if let Some(value) = self.gateway.source.known_name(name).await? {
            return Ok(value);
        }
        let late = || format!("{name} could not be resolved in time");
        let value = self.gateway.source.resolve_name(name);
        self.asked_of_peers(name, self.gateway.options.name_limit, late, value)
            .await
    }

    /// What peers are asked for, if they are asked for this client, within its share of the room for waiting.
    async fn asked_of_peers<T>(
        &self,
        what: &str,
        limit: Duration,
        late: impl Fn() -> String,
        asked: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        if self.is_circle {
            return Err(SourceError::NotFound(format!(
                "{what} is not here, and those that are asked for it ask this gateway again"
            )));
        }
        let audience = self.gateway.options.fetching;
        let is_site = self
            .gateway
            .options
            .sites
            .iter()
            .any(|site| site.eq_ignore_ascii_case(what));
        if !(audience.has(self.client) || is_site) {
            let whom = match audience {
                Audience::Nobody => "from peers",
                _ => "for others than this machine",
            };
            return Err(SourceError::NotFound(format!(
                "{what} is not here, and this gateway gets nothing {whom}; its owner changes that with `odfs config set \
                 gateway.fetch true`"
            )));
        }
        let seat = self.waiting()?;
        tokio::select! {
            biased;
            asked = tokio::time::timeout(limit, asked) => match asked {
                Ok(asked) => asked,
                Err(_) => Err(SourceError::TimedOut(late())),
            },
            () = seat.cut() => Err(SourceError::Busy(format!(
                "{what} did not arrive while there was room to wait for it; try again in a moment"
            ))),
        }
    }

    /// A share of the room for waiting, one for all that this request waits for.
    fn waiting(&self) -> Result<Arc<Seat>, SourceError> {
        let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = wait.upgrade() {
            return Ok(seat);
        }
        let seat = self.gateway.waits.take(self.client).map_err(|full| {
            SourceError::Busy(match full {
                Full::Own => "too many requests from your address wait for peers; try again in a moment".to_owned(),
                Full::All => "too many requests wait for peers; try again in a moment".to_owned(),
            })
        })?;
        let seat = Arc::new(seat);
        *wait = Arc::downgrade(&seat);
        Ok(seat)
    }

    /// Room for an archive.
    pub(super) fn archive(&self) -> Result<Seat, SourceError> {
        self.gateway.archives.take(self.client).map_err(|full| {
            SourceError::Busy(match full {
                Full::Own => "too many archives are on their way to your address; try again in a moment".to_owned(),
                Full::All => "too many archives are on their way; try again in a moment".to_owned(),
            })
        })
    }

    /// Room for one block before its turn, if there is any.
    pub(super) fn ahead(&self) -> Option<Seat> {
        self.gateway.ahead.spare(self.client)
    }

    /// Follows names to a CID.
    pub(super) async fn root(&self, question: &Question) -> Result<Rooted, Refusal> {
        let mut root = question.root.clone();
        let mut base = String::new();
        let mut max_age: Option<Duration> = None;
        for _ in 0..=MAX_NAME_DEPTH {
            let name = match root {
                Root::Cid(cid) => return Ok(Rooted { cid, base, max_age }),
                Root::Name(name) => name,
            };
            let value = self.name(&name, &format!("{base}{}", question.inner_path)).await;
            let value = value.map_err(|error| Refusal::from(error).at(question))?;
            max_age = Some(max_age.map_or(value.max_age, |least| least.min(value.max_age)));
            let (next, inner) = split(&value.path).map_err(|refusal| {
                let reason = format!("{name} stands for {:?}: {}", value.path, refusal.reason());
                Refusal::new(StatusCode::BAD_GATEWAY, reason).at(question)
            })?;
            if !inner.is_empty() {
                base = format!("{inner}/{base}");
            }
            root = next;
        }
        let reason = format!("the name leads through more than {MAX_NAME_DEPTH} others");
        Err(Refusal::new(StatusCode::BAD_GATEWAY, reason).at(question))
    }

    /// Follows a path from a root.
    pub(super) async fn resolve(&self, root: Cid, path: &str) -> Result<Way, Refusal> {
        let mut resolver = Resolver::new(root, path)?;
        let mut trail = Vec::new();
        loop {
            if let Some((root, path)) = resolver.ahead()
                && self.gateway.options.denylist.denies_path(&root, &path)
            {
                return Err(SourceError::Denied(format!("/ipfs/{root}/{path}")).into());
            }
            match resolver.step() {
                Step::Need(cid) => {
                    resolver.feed(&self.block(&cid).await?)?;
                    trail.push(cid);
                }
                Step::Done(resolved) => return Ok(Way { resolved, trail }),
            }
        }
    }
}

/// What a question begins with, all names followed.
pub(super) struct Rooted {
    pub(super) cid: Cid,
    /// The path within that at which the question's own begins: empty, or with a slash at its end.
    pub(super) base: String,
    /// How long the names hold; nothing without a name.
    pub(super) max_age: Option<Duration>,
}

/// Where a path has led.
pub(super) struct Way {
    pub(super) resolved: Resolved,
    /// The blocks that show it, in order: at most [`MAX_SEGMENTS`](crate::unixfs::resolve::MAX_SEGMENTS) times the depth of a HAMT.
    pub(super) trail: Vec<Cid>,
}
