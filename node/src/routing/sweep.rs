//! The way around the key space: keys of a region are told together to the peers of it.
//!
//! What is new or was put off comes first: a few keys each in a walk of its own, many by region. Then the sweep, which tells all
//! keys again once a lap (see [`schedule`](super::schedule)): a walk or two find the peers of the next region, and each of them
//! is told of those keys that it is among the closest to, on one stream at a time. In memory is what one stretch of a region
//! needs, [`MAX_STRETCH`] keys at most, whatever is provided in all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::command::{Command, Provider};
use super::keyspace::{Exploration, Place, Prefix, REGION_PEERS, Region, place_of};
use super::schedule::RETRY_INTERVAL;
use super::tell::KEYS_AT_ONCE;
use super::{MAX_ANNOUNCEMENTS, Network, Routing, RoutingError};
use crate::block::Cid;
use crate::threads::{blocking, lock};

/// Keys of a region that are told in one go.
const MAX_STRETCH: usize = 8192;
/// Keys that one peer is told in a second: about half of what one of ours lets a network tell it.
const KEYS_PER_SECOND: usize = 500;
/// Peers that are told at the same time.
const MAX_TOLD_AT_ONCE: usize = 20;
/// How often the schedule is looked at when nothing happens; it bounds how late a laptop that slept finds out.
const SCHEDULE_TICK: Duration = Duration::from_secs(5);
/// Longer than a walk takes on one network and then on the other.
const LONGEST_WALKS: Duration = Duration::from_secs(180);
/// Failed announcements made due again at once when the first peer appears.
const MAX_RETRIES_AT_ONCE: usize = 10_000;

/// Keys with their places.
type Keys = Vec<(Place, Vec<u8>)>;

impl Routing {
    /// Announces what is due, for as long as the peer runs.
    pub(crate) async fn run_schedule(mut self) {
        let added = Arc::clone(&self.added);
        loop {
            let pause = match self.announce_due().await {
                Ok(pause) => pause,
                Err(RoutingError::Stopped) => return,
                Err(error) => {
                    tracing::warn!(%error, "announcements are put off");
                    SCHEDULE_TICK
                }
            };
            let before = self.table_sizes().target();
            let changed = tokio::select! {
                changed = timeout(pause, self.tables_changed()) => changed,
                () = added.notified() => continue,
            };
            if let Ok(running) = changed {
                if !running {
                    return;
                }
                if self.table_sizes().target() > before {
                    let schedule = self.schedule.clone();
                    let has_joined = self.table_sizes().target() == Some(Network::Wan);
                    let retried = blocking(move || {
                        schedule.retry_now(MAX_RETRIES_AT_ONCE)?;
                        match has_joined {
                            true => schedule.sweep_again_if_owed(),
                            false => Ok(()),
                        }
                    });
                    if let Err(error) = retried.await {
                        tracing::warn!(%error, "announcements are put off");
                    }
                }
            }
        }
    }

    /// Announces some of what is due; returns when to go on.
    async fn announce_due(&self) -> Result<Duration, RoutingError> {
        let Some(network) = self.table_sizes().target() else {
            return Ok(SCHEDULE_TICK);
        };
        let (schedule, claims) = (self.schedule.clone(), self.claims.clone());
        let (waiting, next) = blocking(move || {
            let waiting = schedule.due(MAX_ANNOUNCEMENTS + 1, |key| claims.leave(key))?;
            Ok::<_, RoutingError>((waiting, schedule.next()?))
        })
        .await?;
        if let Some(first) = waiting.first().cloned() {
            if waiting.len() <= MAX_ANNOUNCEMENTS {
                // Each of them is told, or waits for longer.
                let claims = self.claims.claim(waiting);
                self.announce_each(claims, Instant::now() + LONGEST_WALKS).await?;
                return Ok(Duration::ZERO);
            }
            return self.announce_waiting(network, &first).await;
        }
        match next {
            Some((first, Duration::ZERO)) => self.sweep_on(network, &first).await,
            Some((_, wait)) => Ok(wait.min(SCHEDULE_TICK)),
            None => Ok(SCHEDULE_TICK),
        }
    }

    /// Announces keys around `first` that wait and are due.
    async fn announce_waiting(&self, network: Network, first: &[u8]) -> Result<Duration, RoutingError> {
        let Some(region) = self.explore(network, first).await? else {
            return Ok(SCHEDULE_TICK);
        };
        let (schedule, prefix, claims) = (self.schedule.clone(), region.prefix, self.claims.clone());
        let is_free = move |key: &[u8]| claims.leave(key);
        let keys = blocking(move || match schedule.waiting() > MAX_STRETCH {
            true => schedule.due_within(&prefix, MAX_STRETCH, is_free),
            false => Ok(within(&prefix, schedule.due(MAX_STRETCH, is_free)?)),
        });
        let keys = keys.await?;
        self.tell_region(network, region, keys).await?;
        Ok(Duration::ZERO)
    }

    /// Announces what comes next in the sweep, from `first` on.
    async fn sweep_on(&self, network: Network, first: &[u8]) -> Result<Duration, RoutingError> {
        let Some(region) = self.explore(network, first).await? else {
            return Ok(SCHEDULE_TICK);
        };
        let (schedule, blocks, prefix) = (self.schedule.clone(), Arc::clone(&self.blocks), region.prefix);
        let mut stretch = blocking(move || {
            schedule.stretch(&prefix, MAX_STRETCH, |key| {
                let hash = libp2p::multihash::Multihash::from_bytes(key);
                // What cannot be looked up may be here.
                hash.map_or(true, |hash| {
                    blocks.has(&Cid::new_v1(crate::block::RAW, hash)).unwrap_or(true)
                })
            })
        })
        .await?;
        (stretch.keys, _) = self
            .tell_region(network, region, std::mem::take(&mut stretch.keys))
            .await?;
        let schedule = self.schedule.clone();
        blocking(move || schedule.swept(&stretch)).await?;
        Ok(Duration::ZERO)
    }

    /// Announces these keys, which are in the schedule, region by region, until then; returns how many reached anybody.
    pub(super) async fn tell_regions(
        &self,
        keys: impl IntoIterator<Item = Vec<u8>>,
        until: Instant,
    ) -> Result<usize, RoutingError> {
        let all = Prefix::of(&[0; 32], 0);
        let mut keys = within(&all, keys);
        let tell = async |keys: &mut Keys| -> Result<usize, RoutingError> {
            let (Some(network), Some((_, first))) = (self.table_sizes().target(), keys.first()) else {
                return Ok(0);
            };
            let Some(region) = self.explore(network, first).await? else {
                return Ok(0);
            };
            let count = keys.iter().take_while(|(place, _)| region.prefix.holds(place)).count();
            let rest = keys.split_off(count.min(MAX_STRETCH));
            let now = std::mem::replace(keys, rest);
            let (_, told) = self.tell_region(network, region, now).await?;
            Ok(told)
        };
        let mut reached = 0;
        while let Ok(told) = timeout_at(until, tell(&mut keys)).await {
            match told? {
                0 => break,
                told => reached += told,
            }
        }
        Ok(reached)
    }

    /// Finds the peers of the region around a key. None if the network does not answer as it should.
    async fn explore(&self, network: Network, key: &[u8]) -> Result<Option<Region<Provider>>, RoutingError> {
        let mut exploration = Exploration::around(key);
        while let Some(key) = exploration.next_walk().map(<[u8]>::to_vec) {
            lock(&self.swept).walks += 1;
            let Some(peers) = self.closest(network, &key).await? else {
                return Ok(None);
            };
            let sizes = self.table_sizes();
            let known = match network {
                Network::Lan => sizes.lan,
                Network::Wan => sizes.wan,
            };
            if peers.len() < REGION_PEERS && 2 * peers.len() < known {
                // They would be taken for all there are.
                tracing::debug!(%network, found = peers.len(), known, "a walk for announcements met too few");
                return Ok(None);
            }
            exploration.walked(peers.into_iter().map(|peer| (place_of(&peer.peer.to_bytes()), peer)));
        }
        Ok(Some(exploration.end()).filter(|region| !region.peers.is_empty()))
    }

    /// Tells the peers of a region of keys in it, and notes in the schedule how it went. Gives the keys back, and how many of
    /// them reached anybody.
    async fn tell_region(
        &self,
        network: Network,
        region: Region<Provider>,
        keys: Keys,
    ) -> Result<(Keys, usize), RoutingError> {
        let mut for_peer: Vec<Vec<usize>> = vec![Vec::new(); region.peers.len()];
        for (number, (place, _)) in keys.iter().enumerate() {
            for peer in region.closest(place) {
                if let Some(numbers) = for_peer.get_mut(peer) {
                    numbers.push(number);
                }
            }
        }
        let keys = Arc::new(keys);
        let mut told = vec![false; keys.len()];
        let mut note = |numbers: Vec<usize>| {
            for number in numbers {
                if let Some(told) = told.get_mut(number) {
                    *told = true;
                }
            }
        };
        let mut tells = JoinSet::new();
        for ((_, peer), numbers) in region.peers.into_iter().zip(for_peer) {
            if numbers.is_empty() {
                continue;
            }
            if tells.len() >= MAX_TOLD_AT_ONCE
                && let Some(Ok(numbers)) = tells.join_next().await
            {
                note(numbers);
            }
            let (routing, keys) = (self.clone(), Arc::clone(&keys));
            tells.spawn(async move { routing.tell_peer(network, peer, &keys, numbers).await });
        }
        while let Some(numbers) = tells.join_next().await {
            note(numbers.unwrap_or_default());
        }
        let count = told.iter().filter(|told| **told).count();
        {
            let mut swept = lock(&self.swept);
            swept.regions += 1;
            swept.keys += count as u64;
        }
        let (schedule, makeshift) = (self.schedule.clone(), self.is_makeshift(network));
        blocking(move || {
            let of = |wanted: bool| {
                let with = keys.iter().zip(&told).filter(move |(_, told)| **told == wanted);
                with.map(|((_, key), _)| key.as_slice())
            };
            schedule.told(of(true))?;
            schedule.put_off(of(false), RETRY_INTERVAL)?;
            if makeshift {
                schedule.owe()?;
            }
            Ok((Arc::unwrap_or_clone(keys), count))
        })
        .await
    }

    /// Tells a peer of those of the keys that have these numbers, as fast as it may be told; returns the numbers of which it was.
    async fn tell_peer(
        &self,
        network: Network,
        to: Provider,
        keys: &[(Place, Vec<u8>)],
        mut numbers: Vec<usize>,
    ) -> Vec<usize> {
        let mut done = 0;
        for some in numbers.chunks(KEYS_AT_ONCE) {
            let began = Instant::now();
            let (reply, answer) = oneshot::channel();
            let tell = Command::Tell {
                network,
                peer: to.peer,
                addresses: to.addresses.clone(),
                keys: some
                    .iter()
                    .filter_map(|number| Some(keys.get(*number)?.1.clone()))
                    .collect(),
                reply,
            };
            if self.send(tell).await.is_err() || answer.await != Ok(true) {
                // Whoever does not take some takes no more.
                break;
            }
            done += some.len();
            lock(&self.swept).messages += some.len() as u64;
            sleep_until(began + Duration::from_secs(1) * some.len() as u32 / KEYS_PER_SECOND as u32).await;
        }
        numbers.truncate(done);
        numbers
    }
}

/// Those of the keys that are within `prefix`, in the order of their places.
fn within(prefix: &Prefix, keys: impl IntoIterator<Item = Vec<u8>>) -> Keys {
    let keys = keys.into_iter().map(|key| (place_of(&key), key));
    let mut keys: Keys = keys.filter(|(place, _)| prefix.holds(place)).collect();
    keys.sort_unstable();
    keys
}
