//! Names: what a key says that it stands for, published, found, and kept alive.
//!
//! [`record`] is the signed statement itself, pure. [`Names`] is the handle that sends it into the DHTs and finds it
//! there, and remembers it: own names, followed names and names looked up lately resolve off-line, with their age.
//!
//! A DHT forgets a record after 48 hours, so own **and followed** names are put again every four, also after a restart.
//! That needs no private key: every follower keeps a name alive. Only signing anew, when the record itself is about to
//! expire, needs the key ([`KeySource`]).
//!
//! A record is believed for what it says of the name that was *asked for*, and nothing else: see [`record`].

mod inbox;
mod publish;
pub mod record;
mod resolve;
mod state;
mod survey;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use libp2p::identity::Keypair;
use tokio::sync::{Notify, Semaphore};

pub(crate) use inbox::Inbox;
pub use publish::{PublishError, PublishOptions, Published};
pub use record::Name;
pub use resolve::{Freshness, ResolveError, Resolved, Source};
use state::{Entry, States};

use crate::peer::{Clock, StartError};
use crate::routing::records::Records;
use crate::routing::{Routing, RoutingError};
use crate::store::{Store, StoreError, Table};

/// Table of a store in which names are remembered.
pub(crate) const TABLE: &str = "names";
/// How long a record lasts, unless told otherwise.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long readers may keep a record before they look again, unless told otherwise; Kubo's figure.
pub const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);
/// How often own and followed names are put again; Kubo's figure.
pub const REPUT_INTERVAL: Duration = Duration::from_secs(4 * 3600);
/// How soon a put that nobody took is tried again; Kubo's figure.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How long a DHT keeps a record that nobody puts again.
pub const DHT_MEMORY: Duration = Duration::from_secs(48 * 3600);
/// Corrections and puts left to the background at the same time. Over that, a caller waits.
const MAX_BACKGROUND: usize = 32;

/// Where private keys are found when a record of an own name has to be signed anew.
#[derive(Clone)]
pub struct KeySource(Arc<FindKey>);

type FindKey = dyn Fn(&Name) -> Option<Keypair> + Send + Sync;

impl KeySource {
    /// No keys but those that [`Names::publish`] was given.
    pub fn none() -> Self {
        Self(Arc::new(|_| None))
    }

    /// Asks `find`, which may read files.
    pub fn from_fn(find: impl Fn(&Name) -> Option<Keypair> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }
}

/// What is known here of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameStatus {
    /// The name.
    pub name: Name,
    /// What it stands for, as of the best record known.
    pub value: Option<String>,
    /// The record's sequence number.
    pub sequence: Option<u64>,
    /// When the record expires.
    pub valid_until: Option<SystemTime>,
    /// Until when others can resolve the name if this peer stops now: 48 hours after the last put, or the end of the
    /// record if that is sooner. Nothing if nobody holds it.
    pub safe_until: Option<SystemTime>,
    /// When the record was last put to somebody.
    pub last_put: Option<SystemTime>,
    /// How many peers held this record after that.
    pub holders: u32,
    /// When the network was last asked for something newer, and somebody answered.
    pub confirmed: Option<SystemTime>,
    /// Published from here.
    pub own: bool,
    /// Followed: kept alive and looked after, though the key is elsewhere.
    pub followed: bool,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Names {
    inner: Arc<Inner>,
}

struct Inner {
    states: States,
    records: Records,
    routing: Routing,
    keys: KeySource,
    /// Keys used since the start; as many as there are own names.
    used_keys: Mutex<HashMap<Name, Keypair>>,
    /// One publication of a name at a time, or two would take the same sequence number.
    publishing: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>,
    background: Arc<Semaphore>,
    clock: Clock,
    wake: Notify,
}

/// What [`Names`] is made of.
pub(crate) struct NamesParts {
    pub(crate) table: Table,
    pub(crate) records: Records,
    pub(crate) routing: Routing,
    pub(crate) keys: KeySource,
    pub(crate) clock: Clock,
}

impl Names {
    /// Reads what was known before the restart.
    pub(crate) async fn open(parts: NamesParts) -> Result<(Self, Inbox), StartError> {
        let inner = Inner {
            states: States::new(parts.table),
            records: parts.records,
            routing: parts.routing,
            keys: parts.keys,
            used_keys: Mutex::default(),
            publishing: Mutex::default(),
            background: Arc::new(Semaphore::new(MAX_BACKGROUND)),
            clock: parts.clock,
            wake: Notify::new(),
        };
        let inbox = Inbox::new(inner.states.clone(), inner.records.clone(), inner.clock.clone());
        Ok((Self { inner: Arc::new(inner) }, inbox))
    }

    /// Keeps `name` alive from now on, and its newest value at hand: it is asked for and put again like an own one. The
    /// first time is in the background, at once.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn follow(&self, name: &Name) -> Result<(), StoreError> {
        self.update(name, |entry| {
            entry.followed = true;
            entry.next_put = 0;
        })
        .await?;
        self.inner.wake.notify_one();
        Ok(())
    }

    /// Stops keeping `name` alive. Its last value stays at hand. An own name goes on.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn unfollow(&self, name: &Name) -> Result<(), StoreError> {
        self.update(name, |entry| entry.followed = false).await
    }

    /// Forgets `name` altogether, own or not. Others do when its record expires.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget(&self, name: &Name) -> Result<(), StoreError> {
        lock(&self.inner.used_keys).remove(name);
        let (states, name) = (self.inner.states.clone(), *name);
        on_disk(move || states.remove(&name)).await
    }

    /// Everything known here of one name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn status(&self, name: &Name) -> Result<Option<NameStatus>, StoreError> {
        let (states, at) = (self.inner.states.clone(), *name);
        let entry = on_disk(move || states.get(&at)).await?;
        Ok(entry.map(|entry| entry.status(*name)))
    }

    /// Own and followed names, in the order of their bytes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self) -> Result<Vec<NameStatus>, StoreError> {
        let states = self.inner.states.clone();
        on_disk(move || kept_in(&states)).await
    }

    /// Changes what is kept of a name.
    async fn update<T: Send + 'static>(
        &self,
        name: &Name,
        change: impl FnOnce(&mut Entry) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (states, name) = (self.inner.states.clone(), *name);
        on_disk(move || states.update(&name, change)).await
    }

    async fn entry(&self, name: &Name) -> Result<Entry, StoreError> {
        let (states, name) = (self.inner.states.clone(), *name);
        Ok(on_disk(move || states.get(&name)).await?.unwrap_or_default())
    }

    /// The key of an own name. May read files.
    fn key_of(&self, name: &Name) -> Option<Keypair> {
        let used = lock(&self.inner.used_keys).get(name).cloned();
        used.or_else(|| (self.inner.keys.0)(name))
            .filter(|key| Name::from_public_key(&key.public()) == *name)
    }
}

/// Own and followed names as `store` remembers them, in the order of their bytes. Needs no running peer.
///
/// # Errors
/// The store cannot be read.
pub fn kept(store: &Store) -> Result<Vec<NameStatus>, StoreError> {
    kept_in(&States::new(store.table(TABLE)?))
}

fn kept_in(states: &States) -> Result<Vec<NameStatus>, StoreError> {
    let kept = states
        .all()?
        .into_iter()
        .filter(|(_, entry)| entry.own || entry.followed);
    Ok(kept.map(|(name, entry)| entry.status(name)).collect())
}

/// A mutex here guards a map that is whole at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a few reads and writes of a table where blocking is allowed.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match crate::routing::blocking(work).await {
        Ok(result) => result,
        // The runtime is going down: nobody will look at what this returns.
        Err(RoutingError::Store(error)) => Err(error),
        Err(RoutingError::Stopped) => std::future::pending().await,
    }
}
