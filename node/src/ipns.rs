//! Names: what a key says that it stands for, published, found, and kept alive.
//!
//! [`mod@record`] is the signed statement itself, pure. [`Names`] is the handle that sends it into the DHTs and finds it
//! there, and remembers it.
//!
//! # Goals, the first before the second
//!
//! 1. Believe a record for what it says of the name that was *asked for*, and nothing else: see [`mod@record`].
//! 2. Never go back. The best record known is kept, whoever brings an older one; a new record of an own name has a
//!    greater sequence number than any known here or on the network.
//! 3. Keep names alive without their keys. A DHT forgets a record after 48 hours, so own **and followed** names are put
//!    again every four, also after a restart; every follower does. Only signing anew, when the record itself is about to
//!    expire, needs the key ([`KeySource`]).
//! 4. Answer without a network: own names, followed names and names looked up lately resolve off-line, with their age.
//!
//! # Not goals
//!
//! - Names by DNS.
//! - Keys of its own other than ed25519: names of RSA, secp256k1 and ECDSA keys are resolved, followed and put again, and published
//!   by others.
//! - The history of a name. Only the best record is kept; what it stood for before is for datasets to remember.
//! - Deciding between two writers who hold the same key. [`PublishOptions::expected`] notices the other one, if any
//!   peer that can be reached has heard of it.
//!
//! # What a sudden stop loses
//!
//! What is known of names is a table of the store: changes count at once, and are on the disk after the store's next
//! flush. A stop before that loses those of the last moments, down to the record that was published last. The network
//! then has it still, and is asked before the next one is signed. A put that was under way is done again, since it is
//! noted only when it is over. When a damaged index is made anew, the table is gone: own names come back with the next
//! publication, followed ones have to be followed again.

mod inbox;
mod listener;
mod publish;
pub mod record;
mod resolve;
mod state;
mod survey;
#[cfg(test)]
mod tests;
mod upkeep;
mod watch;
mod wish;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::identity::Keypair;
use tokio::sync::{Notify, Semaphore, mpsc};

use inbox::Inbox;
pub(crate) use listener::Listener;
pub use listener::{MAX_TOPICS, RESAY_INTERVAL};
pub use publish::{PublishError, PublishOptions, Published};
pub use record::Name;
use record::Record;
pub use resolve::{Freshness, Origin, ResolveError, Resolved};
pub use state::{DHT_MEMORY, NameStatus, Rival};
use state::{Known, States};
pub use survey::Asked;
pub use watch::{Change, Changes, Watch};
pub(crate) use wish::{MAX_WISHES, Wish};

use crate::block::Cid;
use crate::clock::Clock;
use crate::retrieval::Gateways;
use crate::routing::Routing;
use crate::routing::records::{self, Records};
use crate::store::{Store, StoreError, Table};
use crate::threads::{blocking, lock};

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

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Names {
    inner: Arc<Inner>,
}

struct Inner {
    states: States,
    records: Records,
    inbox: Inbox,
    /// Where it is said which names are to be heard over PubSub; nothing without it.
    wishes: Option<mpsc::Sender<Wish>>,
    routing: Routing,
    gateways: Gateways,
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
    /// Who is asked over HTTP beside the network.
    pub(crate) gateways: Gateways,
    pub(crate) keys: KeySource,
    pub(crate) clock: Clock,
    /// Where it is said which records are to be said and heard over PubSub, if any are.
    pub(crate) wishes: Option<mpsc::Sender<Wish>>,
}

impl Names {
    /// The names that `parts` remember, and where records that other peers put are to be offered.
    pub(crate) fn open(parts: NamesParts) -> (Self, Inbox) {
        let states = States::new(parts.table);
        let inbox = Inbox::new(states.clone(), parts.records.clone(), parts.clock.clone());
        let inner = Inner {
            states,
            records: parts.records,
            inbox: inbox.clone(),
            wishes: parts.wishes,
            routing: parts.routing,
            gateways: parts.gateways,
            keys: parts.keys,
            used_keys: Mutex::default(),
            publishing: Mutex::default(),
            background: Arc::new(Semaphore::new(MAX_BACKGROUND)),
            clock: parts.clock,
            wake: Notify::new(),
        };
        (Self { inner: Arc::new(inner) }, inbox)
    }

    /// Keeps `name` alive from now on, and its newest value at hand: it is asked for and put again like an own one, and heard
    /// of over PubSub. The first time is in the background, at once. What is known of it is served to others when this returns.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn follow(&self, name: &Name) -> Result<(), StoreError> {
        let (records, at) = (self.inner.records.clone(), *name);
        self.update(name, move |entry| {
            entry.followed = true;
            entry.withdrawn = false;
            entry.next_put = 0;
            if let Some(record) = entry.record(&at) {
                inbox::keep_kept(&records, &at, &record);
            }
        })
        .await?;
        self.inner.wake.notify_one();
        self.hear(name).await;
        Ok(())
    }

    /// Remembers a record that came some other way than over the network, if it is better than what is known. It counts also
    /// when its time is over, since it was checked by whoever brings it; whether it is fresh is told with what the name stands
    /// for. Returns whether it is remembered.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn take(&self, record: Record) -> Result<bool, StoreError> {
        let (name, now) = (record.name(), self.inner.clock.unix());
        self.update(&name, move |entry| entry.hear(&record, now)).await
    }

    /// Stops keeping `name` alive. Its last value stays at hand. An own name goes on.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn unfollow(&self, name: &Name) -> Result<(), StoreError> {
        let is_own = self.update(name, |entry| {
            entry.followed = false;
            entry.own
        });
        if !is_own.await? {
            self.ignore(name).await;
        }
        Ok(())
    }

    /// Stops keeping an own name alive, followed or not: it is neither put again nor signed anew, and not served to others
    /// unless they put it here. What is known of it stays, so that a later publication has a greater number. Returns what is
    /// known then; nothing if the name was never published or followed here, and then nothing is changed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn withdraw(&self, name: &Name) -> Result<Option<NameStatus>, StoreError> {
        // A publication that is under way would make it an own name again.
        let turn = Arc::clone(lock(&self.inner.publishing).entry(*name).or_default());
        let _turn = turn.lock().await;
        let entry = self.entry(name).await?;
        if !entry.is_kept() && !entry.withdrawn {
            return Ok(None);
        }
        lock(&self.inner.used_keys).remove(name);
        let (records, at) = (self.inner.records.clone(), *name);
        let status = self.update(name, move |entry| {
            entry.withdrawn = true;
            entry.own = false;
            entry.followed = false;
            records.forget_value(&at.routing_key());
            entry.status(at)
        });
        let status = status.await?;
        self.ignore(name).await;
        Ok(Some(status))
    }

    /// Forgets `name` altogether, own or not, and serves its record no longer. Others forget it when the record expires.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget(&self, name: &Name) -> Result<(), StoreError> {
        lock(&self.inner.used_keys).remove(name);
        self.ignore(name).await;
        let (states, records, name) = (self.inner.states.clone(), self.inner.records.clone(), *name);
        blocking(move || {
            states.remove(&name)?;
            records.forget_value(&name.routing_key());
            Ok(())
        })
        .await
    }

    /// Forgets what somebody else published of an own name: it is known here by now, or not wanted.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget_rival(&self, name: &Name) -> Result<(), StoreError> {
        let (states, name) = (self.inner.states.clone(), *name);
        blocking(move || states.update_known(&name, |entry| entry.rival.clear())).await
    }

    /// Everything known here of one name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn status(&self, name: &Name) -> Result<Option<NameStatus>, StoreError> {
        let (states, at) = (self.inner.states.clone(), *name);
        let entry = blocking(move || states.get(&at)).await?;
        Ok(entry.map(|entry| entry.status(*name)))
    }

    /// Own, followed and withdrawn names, in the order of their bytes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self) -> Result<Vec<NameStatus>, StoreError> {
        let states = self.inner.states.clone();
        blocking(move || kept_in(&states)).await
    }

    /// Changes what is kept of a name.
    async fn update<T: Send + 'static>(
        &self,
        name: &Name,
        change: impl FnOnce(&mut Known) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (states, name) = (self.inner.states.clone(), *name);
        blocking(move || states.update(&name, change)).await
    }

    async fn entry(&self, name: &Name) -> Result<Known, StoreError> {
        let (states, name) = (self.inner.states.clone(), *name);
        Ok(blocking(move || states.get(&name)).await?.unwrap_or_default())
    }

    /// The key of an own name. May read files.
    fn key_of(&self, name: &Name) -> Option<Keypair> {
        let used = lock(&self.inner.used_keys).get(name).cloned();
        used.or_else(|| (self.inner.keys.0)(name))
            .filter(|key| Name::from_public_key(&key.public()) == *name)
    }
}

/// Own, followed and withdrawn names as `store` remembers them, in the order of their bytes. Needs no running peer.
///
/// # Errors
/// The store cannot be read.
pub fn kept(store: &Store) -> Result<Vec<NameStatus>, StoreError> {
    kept_in(&States::new(store.table(TABLE)?))
}

/// The names that were published from `store` and are no longer, however many others there are. Needs no running peer.
///
/// # Errors
/// The store cannot be read; or written, the first time after an update.
pub fn withdrawn(store: &Store) -> Result<Vec<Name>, StoreError> {
    States::new(store.table(TABLE)?).withdrawn()
}

/// Whether a name that is own or followed, as `store` remembers it, stands for `root` or something below it. However many
/// names there are, only those are looked at that do. Needs no running peer.
///
/// # Errors
/// The store cannot be read; or written, the first time after an update.
pub fn is_named(store: &Store, root: &Cid) -> Result<bool, StoreError> {
    States::new(store.table(TABLE)?).is_named(root)
}

/// The best record known of a name, without a peer; it was checked against the name when it came, and is again. Nothing for a
/// name that is not known.
///
/// # Errors
/// The store cannot be read.
pub fn record(store: &Store, name: &Name) -> Result<Option<Record>, StoreError> {
    let entry = States::new(store.table(TABLE)?).get(name)?;
    Ok(entry.and_then(|entry| entry.record(name)))
}

/// What `store` remembers of one name, own, followed or neither. Needs no running peer.
///
/// # Errors
/// The store cannot be read.
pub fn status(store: &Store, name: &Name) -> Result<Option<NameStatus>, StoreError> {
    let entry = States::new(store.table(TABLE)?).get(name)?;
    Ok(entry.map(|entry| entry.status(*name)))
}

/// As [`Names::forget`], of a store on which no peer runs.
///
/// # Errors
/// The store cannot be written.
pub fn forget(store: &Store, name: &Name) -> Result<(), StoreError> {
    States::new(store.table(TABLE)?).remove(name)?;
    records::forget_in(&store.table(records::TABLE)?, &name.routing_key())
}

/// As [`Names::forget_rival`], of a store on which no peer runs.
///
/// # Errors
/// The store cannot be written.
pub fn forget_rival(store: &Store, name: &Name) -> Result<(), StoreError> {
    States::new(store.table(TABLE)?).update_known(name, |entry| entry.rival.clear())
}

fn kept_in(states: &States) -> Result<Vec<NameStatus>, StoreError> {
    let all = states.all()?.into_iter();
    let kept = all.filter(|(_, entry)| entry.is_kept() || entry.withdrawn);
    Ok(kept.map(|(name, entry)| entry.status(name)).collect())
}
