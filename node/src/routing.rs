//! Finding out who has a block, and telling others what is here, on two Kademlia DHTs.
//!
//! The public DHT is used for announcements when anybody of it is known, the local one otherwise; questions go to both
//! at once (Kubo's rule). libp2p's Kademlia does the walks. What it lacks is here: [records] with
//! limits and validation, turns for those who ask, a [`schedule`] of announcements that survives restarts, answers checked and counted.
//!
//! # Limitations
//! A walk asks until the twenty closest have answered, so on the public network an announcement takes seconds. A few keys are a
//! walk each; many are sorted by where they lie, and a walk finds whom to tell of a whole region of them (`sweep.rs`).
//!
//! [`Routing`] is a handle: cheap to clone, and of no use once its peer is shut down ([`RoutingError::Stopped`]).

mod arrivals;
mod claims;
pub(crate) mod command;
pub(crate) mod desk;
pub(crate) mod dht;
mod keyspace;
mod network;
mod provided;
pub(crate) mod queries;
pub mod records;
mod routers;
pub mod schedule;
mod search;
mod signs;
mod sweep;
pub(crate) mod tell;
mod turns;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use arrivals::Arrivals;
use claims::{Claim, Claims};
use command::{Command, MAX_ANSWERS_WAITING, Walk};
pub use command::{DialError, PeerInfo, Provider, Reachability};
pub use network::Network;
pub use provided::{Provided, Strategy, Swept, UnknownStrategy, Walked};
use records::Records;
pub use routers::{MAX_ROUTERS, PROVIDERS_WITHIN, RECORD_WITHIN, RouterError, Routers};
use schedule::{LAN_ONLY_INTERVAL, RETRY_INTERVAL, Schedule};
pub(crate) use signs::{Expected, Signs};

use crate::block::Cid;
use crate::clock::Clock;
use crate::store::{Blocks, Store, StoreError};
use crate::threads::{blocking, lock};

/// Providers collected by one search, unless told otherwise: enough to pull from, few enough to dial.
pub const DEFAULT_PROVIDERS: usize = 20;
/// Announcements under way at the same time. Each is a walk with ten requests in flight. With more keys than this, regions of
/// them are told.
const MAX_ANNOUNCEMENTS: usize = 16;

/// Why routing cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// The peer has been shut down.
    #[error("the peer has been shut down")]
    Stopped,
    /// The schedule of announcements cannot be read or written.
    #[error("the schedule of announcements cannot be used")]
    Store(#[from] StoreError),
}

/// What came of an announcement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Announced {
    /// Keys that others now know to be here.
    pub reached: usize,
    /// Keys that nobody could be told about yet; the schedule goes on with them.
    pub pending: usize,
}

/// Memory that records take which peers left with this one, in bytes, keys and indexes included. Others put them and they last for
/// up to two days, so a node that serves the DHT holds more and more of them until its first ones expire, or its budget is full:
/// [`records::MAX_PROVIDER_BYTES`], [`records::MAX_VALUE_BYTES_IN_ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordBytes {
    /// Provider records of the local network.
    pub lan: usize,
    /// Provider records of the public network.
    pub wan: usize,
    /// Value records, those of this peer's names among them.
    pub values: usize,
}

/// Number of peers in the two routing tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableSizes {
    /// On the local network.
    pub lan: usize,
    /// On the public network.
    pub wan: usize,
}

impl TableSizes {
    /// The DHT that announcements and records go to: the public one if anybody of it is known.
    pub fn target(self) -> Option<Network> {
        match self {
            Self { wan: 1.., .. } => Some(Network::Wan),
            Self { lan: 1.., .. } => Some(Network::Lan),
            _ => None,
        }
    }
}

/// The handle. See the module's words.
#[derive(Clone)]
pub struct Routing {
    commands: mpsc::Sender<Command>,
    sizes: watch::Receiver<TableSizes>,
    schedule: Schedule,
    records: [Records; 2],
    announcements: Arc<Semaphore>,
    claims: Claims,
    /// What is in it is announced for as long as it is here.
    blocks: Arc<dyn Blocks>,
    strategy: Strategy,
    /// Says that keys were added that nobody waits for.
    added: Arc<Notify>,
    swept: Arc<Mutex<Swept>>,
    walked: Arc<Mutex<Walked>>,
    local: PeerId,
    expected: Expected,
    signs: watch::Receiver<Signs>,
    routers: Routers,
    started: Instant,
}

impl Routing {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        sizes: watch::Receiver<TableSizes>,
        (schedule, records): (Schedule, [Records; 2]),
        (blocks, strategy): (Arc<dyn Blocks>, Strategy),
        local: PeerId,
        (expected, signs): (Expected, watch::Receiver<Signs>),
        routers: Routers,
    ) -> Self {
        let announcements = Arc::new(Semaphore::new(MAX_ANNOUNCEMENTS));
        Self {
            commands,
            sizes,
            schedule,
            records,
            announcements,
            claims: Claims::default(),
            blocks,
            strategy,
            added: Arc::default(),
            swept: Arc::default(),
            walked: Arc::default(),
            local,
            expected,
            signs,
            routers,
            started: Instant::now(),
        }
    }

    /// Those who are asked over HTTP beside the DHTs.
    pub fn routers(&self) -> &Routers {
        &self.routers
    }

    /// How many peers of each DHT are known now.
    pub fn table_sizes(&self) -> TableSizes {
        *self.sizes.borrow()
    }

    /// What records of others take now.
    pub fn record_bytes(&self) -> RecordBytes {
        let [lan, wan] = &self.records;
        RecordBytes {
            lan: lan.provider_bytes(),
            wan: wan.provider_bytes(),
            values: lan.value_bytes(),
        }
    }

    /// Waits until one of the tables changes in size. Returns false when the peer is shut down.
    pub(crate) async fn tables_changed(&mut self) -> bool {
        self.sizes.changed().await.is_ok()
    }

    /// Announces that this peer has `cids`, now and every 22 hours from now on, also after a restart.
    ///
    /// Returns when everybody who should be told has been, or after `deadline`, whichever comes first; the schedule
    /// goes on with what is pending. When this returns, all of `cids` are in the schedule.
    ///
    /// # Errors
    /// The schedule cannot be written, or the peer has been shut down.
    pub async fn provide(&self, cids: Vec<Cid>, deadline: Duration) -> Result<Announced, RoutingError> {
        let claims = self.claim(cids).await?;
        self.announce_all(claims, deadline).await
    }

    /// As [`Self::provide`], with nobody waiting for the peers to be told: that begins now and goes on beside. What is not told
    /// when this peer stops is told by the next one on the store.
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn provide_beside(&self, cids: Vec<Cid>, deadline: Duration) -> Result<(), RoutingError> {
        let claims = self.claim(cids).await?;
        let routing = self.clone();
        tokio::spawn(async move {
            if let Err(error) = routing.announce_all(claims, deadline).await {
                tracing::debug!(%error, "announcements are put off");
            }
        });
        Ok(())
    }

    /// Makes keys due now, to be told by whoever asks for that.
    async fn claim(&self, cids: Vec<Cid>) -> Result<Vec<Claim>, RoutingError> {
        let keys: HashSet<Vec<u8>> = cids.iter().map(|cid| cid.hash().to_bytes()).collect();
        let claims = self.claims.claim(keys);
        let schedule = self.schedule.clone();
        Ok(blocking(move || {
            schedule
                .add(claims.iter().map(|claim| claim.key.as_slice()))
                .map(|()| claims)
        })
        .await?)
    }

    /// As [`Self::provide`], for keys that nobody asks for first: nobody waits for peers to be told of them, and they are told
    /// region by region, after those that are few.
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn provide_later(&self, cids: Vec<Cid>) -> Result<(), RoutingError> {
        drop(self.claim(cids).await?);
        self.added.notify_one();
        Ok(())
    }

    /// Announces keys that are in the schedule, for at most `deadline`.
    async fn announce_all(&self, claims: Vec<Claim>, deadline: Duration) -> Result<Announced, RoutingError> {
        let total = claims.len();
        let mut reached = 0;
        if self.table_sizes().target().is_some() {
            let until = Instant::now() + deadline;
            reached = match total > MAX_ANNOUNCEMENTS {
                true => {
                    let keys = claims.iter().map(|claim| claim.key.clone());
                    let told = self.tell_regions(keys, until).await;
                    drop(claims);
                    told?
                }
                false => self.announce_each(claims, until).await?,
            };
        }
        let pending = total.saturating_sub(reached);
        if pending > 0 {
            self.added.notify_one();
        }
        Ok(Announced { reached, pending })
    }

    /// Announces keys, each in a walk of its own; returns how many reached anybody until then.
    async fn announce_each(&self, claims: Vec<Claim>, until: Instant) -> Result<usize, RoutingError> {
        let mut walks = JoinSet::new();
        let mut reached = 0;
        for claim in claims {
            let Ok(permit) = timeout_at(until, Arc::clone(&self.announcements).acquire_owned()).await else {
                break;
            };
            let routing = self.clone();
            walks.spawn(async move {
                let _permit = permit;
                routing.announce(&claim.key).await
            });
        }
        while let Ok(Some(result)) = timeout_at(until, walks.join_next()).await {
            match result {
                Ok(Ok(true)) => reached += 1,
                Ok(Err(RoutingError::Stopped)) => return Err(RoutingError::Stopped),
                _ => {}
            }
        }
        walks.detach_all();
        Ok(reached)
    }

    /// Stops announcing `cids`. Others forget them within 48 hours.
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn unprovide(&self, cids: Vec<Cid>) -> Result<(), RoutingError> {
        let schedule = self.schedule.clone();
        blocking(move || {
            let keys: Vec<Vec<u8>> = cids.iter().map(|cid| cid.hash().to_bytes()).collect();
            schedule.remove(keys.iter().map(Vec::as_slice))
        })
        .await?;
        Ok(())
    }

    /// What this peer announces, and how far it is with that.
    ///
    /// # Errors
    /// The schedule cannot be read.
    pub async fn provided(&self) -> Result<Provided, RoutingError> {
        let schedule = self.schedule.clone();
        let behind = blocking(move || schedule.behind()).await?;
        Ok(Provided {
            keys: self.schedule.len(),
            waiting: self.schedule.waiting(),
            lap: self.schedule.progress(),
            behind,
            done: *lock(&self.swept),
        })
    }

    /// What walks have cost since the start.
    pub fn walked(&self) -> Walked {
        *lock(&self.walked)
    }

    /// Notes what a walk has cost that is over.
    pub(crate) fn note_walk(&self, messages: u32, answered: u32, hops: u32) {
        let mut walked = lock(&self.walked);
        walked.walks += u64::from(hops > 0);
        walked.messages += u64::from(messages);
        walked.answered += u64::from(answered);
        walked.hops += u64::from(hops);
    }

    /// Notes what a walk has cost by which this peer looks after its tables.
    pub(crate) fn note_refresh(&self, messages: u32) {
        let mut walked = lock(&self.walked);
        walked.refreshes += u64::from(messages > 0);
        walked.refresh_messages += u64::from(messages);
    }

    /// Which blocks of what is announced here others are to be told of.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Whether `cid` is announced.
    pub fn is_provided(&self, cid: &Cid) -> bool {
        self.schedule.contains(&cid.hash().to_bytes())
    }

    /// Announcements that are due now.
    #[cfg(test)]
    pub(crate) fn due(&self) -> usize {
        self.schedule.due(usize::MAX, |_| true).unwrap().len()
    }

    /// Tells the peers closest to `key`, and notes in the schedule how it went.
    async fn announce(&self, key: &[u8]) -> Result<bool, RoutingError> {
        let Some(network) = self.table_sizes().target() else {
            return Ok(false);
        };
        let mut reached = self.announce_on(network, key).await?.then_some(network);
        if reached.is_none() && network == Network::Wan && self.table_sizes().lan > 0 {
            // The way to the internet is down, though the table does not know it yet.
            reached = self.announce_on(Network::Lan, key).await?.then_some(Network::Lan);
        }
        let wait = match reached {
            Some(network) if self.is_makeshift(network) => Some(LAN_ONLY_INTERVAL),
            Some(_) => None,
            None => Some(RETRY_INTERVAL),
        };
        let (schedule, key) = (self.schedule.clone(), key.to_vec());
        blocking(move || match wait {
            Some(wait) => schedule.put_off([&key[..]], wait),
            None => schedule.told([&key[..]]),
        })
        .await?;
        Ok(reached.is_some())
    }

    /// Whether `network` only stands in for the public one, which this peer means to join.
    pub(crate) fn is_makeshift(&self, network: Network) -> bool {
        network == Network::Lan && self.expected.wan
    }

    async fn announce_on(&self, network: Network, key: &[u8]) -> Result<bool, RoutingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Walk {
            network,
            walk: Walk::Announce {
                key: key.to_vec(),
                reply,
            },
        })
        .await?;
        answer.await.map_err(|_| RoutingError::Stopped)
    }

    /// The peers of `network` that are closest to `key`, twenty at most; nothing if it does not answer.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn closest(&self, network: Network, key: &[u8]) -> Result<Option<Vec<Provider>>, RoutingError> {
        let (reply, answer) = oneshot::channel();
        let key = key.to_vec();
        let walk = Walk::Closest { key, reply };
        self.send(Command::Walk { network, walk }).await?;
        Ok(answer.await.ok())
    }

    /// Asks the peers of `network` closest to `key` for its value record. Records stream through the first channel,
    /// unchecked, with who gave them (`None`: kept here); the second gives, at the end, the closest peers that have
    /// none. The end comes when nobody is left to ask, at `until`, or soon after the first channel is dropped.
    pub(crate) async fn values(&self, network: Network, key: &[u8], until: Instant) -> Result<Values, RoutingError> {
        let (found, records) = mpsc::channel(MAX_ANSWERS_WAITING);
        let (closest, without) = oneshot::channel();
        self.send(Command::Walk {
            network,
            walk: Walk::Values {
                key: key.to_vec(),
                found,
                closest,
                until,
            },
        })
        .await?;
        Ok(Values { records, without })
    }

    /// Gives one peer a value record; whether it took it.
    pub(crate) async fn put_to(
        &self,
        network: Network,
        peer: PeerId,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<bool, RoutingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Walk {
            network,
            walk: Walk::Put {
                peer,
                key,
                value,
                reply,
            },
        })
        .await?;
        answer.await.map_err(|_| RoutingError::Stopped)
    }

    /// Opens a connection to `peer`, if there is none.
    pub(crate) async fn connect(
        &self,
        peer: Option<PeerId>,
        addresses: Vec<Multiaddr>,
        named: bool,
    ) -> Result<PeerId, DialError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Dial {
            peer,
            addresses,
            named,
            reply,
        };
        self.commands.send(command).await.map_err(|_| DialError::Stopped)?;
        answer.await.map_err(|_| DialError::Stopped)?
    }

    async fn send(&self, command: Command) -> Result<(), RoutingError> {
        self.commands.send(command).await.map_err(|_| RoutingError::Stopped)
    }
}

/// As [`Routing::unprovide`], for a store on which no peer runs.
///
/// # Errors
/// The schedule cannot be written.
pub fn unprovide(store: &Store, cids: &[Cid]) -> Result<(), StoreError> {
    let schedule = Schedule::open(store.table(schedule::TABLE)?, Clock::system());
    let keys: Vec<Vec<u8>> = cids.iter().map(|cid| cid.hash().to_bytes()).collect();
    schedule.remove(keys.iter().map(Vec::as_slice))
}

/// A search for value records under way.
pub(crate) struct Values {
    pub(crate) records: mpsc::Receiver<(Option<PeerId>, Vec<u8>)>,
    pub(crate) without: oneshot::Receiver<Vec<PeerId>>,
}
