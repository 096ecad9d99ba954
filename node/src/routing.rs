//! Finding out who has a block, and telling others what is here, on two Kademlia DHTs.
//!
//! The public DHT is used for announcements when anybody of it is known, the local one otherwise; questions go to both
//! at once (Kubo's rule). libp2p's Kademlia does the walks. What it lacks is here: [records] with
//! limits and validation, turns for those who ask, a [`schedule`] of announcements that survives restarts, answers checked and counted.
//!
//! # Limitations
//! Whether this peer can be reached from the internet is only found out when somebody does reach it; there is no relay
//! and no hole punching yet. Every announced key is a walk of its own: fine for the tens of keys a dataset needs, slow
//! for a hundred thousand. A walk asks until the twenty closest have answered, so on the public network an announcement
//! takes seconds.
//!
//! [`Routing`] is a handle: cheap to clone, and of no use once its peer is shut down ([`RoutingError::Stopped`]).

mod arrivals;
pub(crate) mod command;
pub(crate) mod desk;
pub(crate) mod dht;
mod network;
pub(crate) mod queries;
pub mod records;
pub mod schedule;
mod signs;
mod turns;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

pub use arrivals::Arrivals;
use command::{Command, MAX_ANSWERS_WAITING, Walk};
pub use command::{DialError, PeerInfo, Provider, Reachability};
pub use network::Network;
use schedule::{LAN_ONLY_INTERVAL, REPROVIDE_INTERVAL, RETRY_INTERVAL, Schedule};
pub(crate) use signs::{Expected, Signs};

use crate::block::Cid;
use crate::clock::Clock;
use crate::store::{Store, StoreError};
use crate::threads::blocking;

/// Providers collected by one search, unless told otherwise: enough to pull from, few enough to dial.
pub const DEFAULT_PROVIDERS: usize = 20;
/// Announcements under way at the same time. Each is a walk with ten requests in flight.
const MAX_ANNOUNCEMENTS: usize = 16;
/// Keys that are taken from the schedule at once: nobody begins another walk while the last of these are under way.
const DUE_AT_ONCE: usize = 16 * MAX_ANNOUNCEMENTS;
/// How often the schedule is looked at when nothing happens; it bounds how late a laptop that slept finds out.
const SCHEDULE_TICK: Duration = Duration::from_secs(5);

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
    announcements: Arc<Semaphore>,
    local: PeerId,
    expected: Expected,
    signs: watch::Receiver<Signs>,
    started: Instant,
}

impl Routing {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        sizes: watch::Receiver<TableSizes>,
        schedule: Schedule,
        local: PeerId,
        (expected, signs): (Expected, watch::Receiver<Signs>),
    ) -> Self {
        let announcements = Arc::new(Semaphore::new(MAX_ANNOUNCEMENTS));
        Self {
            commands,
            sizes,
            schedule,
            announcements,
            local,
            expected,
            signs,
            started: Instant::now(),
        }
    }

    /// How many peers of each DHT are known now.
    pub fn table_sizes(&self) -> TableSizes {
        *self.sizes.borrow()
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
        let keys = self.schedule(cids).await?;
        self.announce_all(keys, deadline).await
    }

    /// As [`Self::provide`], with nobody waiting for the peers to be told: that begins now and goes on beside. What is not told
    /// when this peer stops is told by the next one on the store.
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn provide_beside(&self, cids: Vec<Cid>, deadline: Duration) -> Result<(), RoutingError> {
        let keys = self.schedule(cids).await?;
        let routing = self.clone();
        tokio::spawn(async move {
            if let Err(error) = routing.announce_all(keys, deadline).await {
                tracing::debug!(%error, "announcements are put off");
            }
        });
        Ok(())
    }

    /// Makes keys due now.
    async fn schedule(&self, cids: Vec<Cid>) -> Result<HashSet<Vec<u8>>, RoutingError> {
        let keys: HashSet<Vec<u8>> = cids.iter().map(|cid| cid.hash().to_bytes()).collect();
        let schedule = self.schedule.clone();
        Ok(blocking(move || schedule.add(keys.iter().map(Vec::as_slice)).map(|()| keys)).await?)
    }

    /// Announces keys that are in the schedule, for at most `deadline`.
    async fn announce_all(&self, keys: HashSet<Vec<u8>>, deadline: Duration) -> Result<Announced, RoutingError> {
        let total = keys.len();
        if self.table_sizes().target().is_none() {
            return Ok(Announced {
                reached: 0,
                pending: total,
            });
        }
        let until = Instant::now() + deadline;
        let mut walks = JoinSet::new();
        let mut reached = 0;
        for key in keys {
            // Started as permits come free, so that a million keys are not a million tasks.
            let Ok(permit) = timeout_at(until, Arc::clone(&self.announcements).acquire_owned()).await else {
                break;
            };
            let routing = self.clone();
            walks.spawn(async move {
                let _permit = permit;
                routing.announce(key).await
            });
            while let Some(result) = walks.try_join_next() {
                reached += usize::from(matches!(result, Ok(Ok(true))));
            }
        }
        while let Ok(Some(result)) = timeout_at(until, walks.join_next()).await {
            match result {
                Ok(Ok(true)) => reached += 1,
                Ok(Err(RoutingError::Stopped)) => return Err(RoutingError::Stopped),
                _ => {}
            }
        }
        walks.detach_all();
        Ok(Announced {
            reached,
            pending: total.saturating_sub(reached),
        })
    }

    /// Stops announcing `cids`. Others forget them within 48 hours.
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn unprovide(&self, cids: Vec<Cid>) -> Result<(), RoutingError> {
        let schedule = self.schedule.clone();
        blocking(move || cids.iter().try_for_each(|cid| schedule.remove(&cid.hash().to_bytes()))).await?;
        Ok(())
    }

    /// Number of keys this peer announces.
    pub async fn provided(&self) -> usize {
        self.schedule.len()
    }

    /// Announcements that are due now.
    #[cfg(test)]
    pub(crate) fn due(&self) -> usize {
        self.schedule.due(usize::MAX).unwrap().len()
    }

    /// Tells the peers closest to `key`, and notes in the schedule how it went.
    async fn announce(&self, key: Vec<u8>) -> Result<bool, RoutingError> {
        let Some(network) = self.table_sizes().target() else {
            return Ok(false);
        };
        let mut reached = self.announce_on(network, &key).await?.then_some(network);
        if reached.is_none() && network == Network::Wan && self.table_sizes().lan > 0 {
            // The way to the internet is down, though the table does not know it yet.
            reached = self.announce_on(Network::Lan, &key).await?.then_some(Network::Lan);
        }
        let wait = match reached {
            Some(network) if self.is_makeshift(network) => LAN_ONLY_INTERVAL,
            Some(_) => REPROVIDE_INTERVAL,
            None => RETRY_INTERVAL,
        };
        let schedule = self.schedule.clone();
        blocking(move || schedule.announced(&key, wait)).await?;
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

    /// Searches both DHTs for providers of `cid`: a channel that gives each of them once, as they are found, and ends
    /// when nobody is left to ask. Dropping it ends the search. This peer itself is left out.
    pub fn providers(&self, cid: &Cid) -> mpsc::Receiver<Provider> {
        let (found, providers) = mpsc::channel(MAX_ANSWERS_WAITING);
        let (routing, key) = (self.clone(), cid.hash().to_bytes());
        tokio::spawn(async move {
            let (walk_found, mut walk_providers) = mpsc::channel(MAX_ANSWERS_WAITING);
            for network in Network::BOTH {
                let walk = Walk::Providers {
                    key: key.clone(),
                    found: walk_found.clone(),
                };
                if routing.send(Command::Walk { network, walk }).await.is_err() {
                    return;
                }
            }
            drop(walk_found);
            let mut seen = HashSet::from([routing.local]);
            loop {
                let provider: Provider = tokio::select! {
                    () = found.closed() => return,
                    provider = walk_providers.recv() => match provider {
                        Some(provider) => provider,
                        None => return,
                    },
                };
                if seen.insert(provider.peer) && found.send(provider).await.is_err() {
                    return;
                }
            }
        });
        providers
    }

    /// Collects up to `limit` providers of `cid`, for at most `deadline`.
    ///
    /// On a local network this takes milliseconds: the search ends when nobody is left to ask.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn find_providers(
        &self,
        cid: &Cid,
        limit: usize,
        deadline: Duration,
    ) -> Result<Vec<Provider>, RoutingError> {
        if self.commands.is_closed() {
            return Err(RoutingError::Stopped);
        }
        let until = Instant::now() + deadline;
        let mut search = self.providers(cid);
        let mut providers = Vec::new();
        while providers.len() < limit {
            match timeout_at(until, search.recv()).await {
                Ok(Some(provider)) => providers.push(provider),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(providers)
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

    /// Asks both DHTs where `peer` can be dialled, for at most `deadline`. Only peers that serve a DHT are found.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn find_peer(&self, peer: PeerId, deadline: Duration) -> Result<Vec<Multiaddr>, RoutingError> {
        let until = Instant::now() + deadline;
        let mut addresses = Vec::new();
        let mut walks = JoinSet::new();
        for network in Network::BOTH {
            let (reply, answer) = oneshot::channel();
            self.send(Command::Walk {
                network,
                walk: Walk::Peer { peer, reply },
            })
            .await?;
            walks.spawn(answer);
        }
        while let Ok(Some(answer)) = timeout_at(until, walks.join_next()).await {
            for address in answer.into_iter().flatten().flatten() {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Ok(addresses)
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

    /// Announces what is due, for as long as the peer runs.
    pub(crate) async fn run_schedule(mut self) {
        loop {
            let pause = match self.announce_due().await {
                Ok(0) => SCHEDULE_TICK,
                Ok(_) => Duration::ZERO,
                Err(RoutingError::Stopped) => return,
                Err(error) => {
                    tracing::warn!(%error, "announcements are put off");
                    SCHEDULE_TICK
                }
            };
            let before = self.table_sizes().target();
            if let Ok(running) = timeout(pause, self.tables_changed()).await {
                if !running {
                    return;
                }
                if self.table_sizes().target() > before {
                    let schedule = self.schedule.clone();
                    let retried = blocking(move || schedule.retry_now(MAX_RETRIES_AT_ONCE)).await;
                    if let Err(error) = retried {
                        tracing::warn!(%error, "announcements are put off");
                    }
                }
            }
        }
    }

    /// Announces one batch of what is due; returns how many keys that was.
    async fn announce_due(&self) -> Result<usize, RoutingError> {
        if self.table_sizes().target().is_none() {
            return Ok(0);
        }
        let schedule = self.schedule.clone();
        let due = blocking(move || schedule.due(DUE_AT_ONCE)).await?;
        let mut walks = JoinSet::new();
        let count = due.len();
        for key in due {
            let Ok(permit) = Arc::clone(&self.announcements).acquire_owned().await else {
                break;
            };
            let routing = self.clone();
            walks.spawn(async move {
                let _permit = permit;
                routing.announce(key).await
            });
        }
        while let Some(result) = walks.join_next().await {
            if let Ok(Err(error)) = result {
                return Err(error);
            }
        }
        Ok(count)
    }
}

/// As [`Routing::unprovide`], for a store on which no peer runs.
///
/// # Errors
/// The schedule cannot be written.
pub fn unprovide(store: &Store, cids: &[Cid]) -> Result<(), StoreError> {
    let schedule = Schedule::open(store.table(schedule::TABLE)?, Clock::system());
    cids.iter().try_for_each(|cid| schedule.remove(&cid.hash().to_bytes()))
}

/// Failed announcements made due again at once when the first peer appears.
const MAX_RETRIES_AT_ONCE: usize = 10_000;

/// A search for value records under way.
pub(crate) struct Values {
    pub(crate) records: mpsc::Receiver<(Option<PeerId>, Vec<u8>)>,
    pub(crate) without: oneshot::Receiver<Vec<PeerId>>,
}
