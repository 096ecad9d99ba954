//! The walks that the driver has under way, and who waits for what they find.

use std::collections::HashMap;

use libp2p::kad::store::RecordStore;
use libp2p::kad::{
    self, GetClosestPeersError, GetClosestPeersOk, GetProvidersOk, GetRecordError, GetRecordOk, PeerRecord,
    PutRecordError, QueryId, QueryResult, Quorum, Record, RecordKey,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::command::{MAX_ANSWERS_WAITING, Provider, Walk};
use super::dht::Dht;
use super::network::Network;
use super::records::MAX_PROVIDER_ADDRESSES;

enum Waiting {
    Providers {
        key: Vec<u8>,
        found: mpsc::Sender<Provider>,
    },
    Values {
        key: Vec<u8>,
        found: mpsc::Sender<(Option<PeerId>, Vec<u8>)>,
        closest: oneshot::Sender<Vec<PeerId>>,
        until: Instant,
    },
    Peer {
        peer: PeerId,
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    Closest(oneshot::Sender<Vec<Provider>>),
    Done(oneshot::Sender<bool>),
}

impl Waiting {
    /// Whether a walk has done what it was started for.
    fn is_over(&self, now: Instant) -> bool {
        match self {
            Self::Providers { found, .. } => found.is_closed(),
            Self::Values { found, until, .. } => found.is_closed() || now >= *until,
            Self::Peer { reply, .. } => reply.is_closed(),
            Self::Closest(reply) => reply.is_closed(),
            Self::Done(_) => false,
        }
    }
}

/// Walks by their id. At most as many as there are callers, who are bounded where they are made.
#[derive(Default)]
pub(crate) struct Queries(HashMap<(Network, QueryId), Waiting>);

impl Queries {
    /// Starts a walk.
    pub(crate) fn start(&mut self, network: Network, dht: &mut Dht, walk: Walk) {
        let (id, waiting) = match walk {
            Walk::Providers { key, found } => (
                dht.get_providers(RecordKey::new(&key)),
                Waiting::Providers { key, found },
            ),
            Walk::Values {
                key,
                found,
                closest,
                until,
            } => (
                dht.get_record(RecordKey::new(&key)),
                Waiting::Values {
                    key,
                    found,
                    closest,
                    until,
                },
            ),
            Walk::Peer { peer, reply } => (dht.get_closest_peers(peer), Waiting::Peer { peer, reply }),
            Walk::Closest { key, reply } => (dht.get_closest_peers(key), Waiting::Closest(reply)),
            Walk::Announce { reply, .. } if !dht.is_reachable() => {
                let _ = reply.send(false);
                return;
            }
            Walk::Announce { key, reply } => match dht.start_providing(RecordKey::new(&key)) {
                Ok(id) => (id, Waiting::Done(reply)),
                Err(_) => {
                    let _ = reply.send(false);
                    return;
                }
            },
            Walk::Put {
                peer,
                key,
                value,
                reply,
            } => {
                let record = Record::new(key, value);
                (
                    dht.put_record_to(record, std::iter::once(peer), Quorum::One),
                    Waiting::Done(reply),
                )
            }
        };
        self.0.insert((network, id), waiting);
    }

    /// Whether no walk is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the walks of `network` that nobody waits for any more. What they have found so far is reported as their
    /// result.
    pub(crate) fn reap(&self, network: Network, dht: &mut Dht) {
        let now = Instant::now();
        for ((of, id), waiting) in &self.0 {
            if *of == network
                && waiting.is_over(now)
                && let Some(mut query) = dht.query_mut(id)
            {
                query.finish();
            }
        }
    }

    /// Passes on what a walk has found, and how it ended. `reached` counts the peers that answered.
    pub(crate) fn progress(
        &mut self,
        network: Network,
        dht: &mut Dht,
        id: QueryId,
        result: QueryResult,
        step: kad::ProgressStep,
        reached: u32,
    ) {
        let at = (network, id);
        match (self.0.get(&at), &result) {
            (
                Some(Waiting::Providers { key, found }),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                for peer in providers.iter().take(MAX_ANSWERS_WAITING) {
                    // A full channel means that the caller has plenty already.
                    let _ = found.try_send(provider(dht, key, *peer));
                }
            }
            (
                Some(Waiting::Values { key, found, .. }),
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(PeerRecord { peer, record }))),
            ) if record.key.as_ref() == key.as_slice() => {
                // libp2p does not compare the key of an answer with the one asked for: hence the guard.
                let _ = found.try_send((*peer, record.value.clone()));
            }
            _ => {}
        }
        if !step.last {
            return;
        }
        match (self.0.remove(&at), result) {
            (Some(Waiting::Values { closest, .. }), QueryResult::GetRecord(result)) => {
                let _ = closest.send(match result {
                    Ok(GetRecordOk::FinishedWithNoAdditionalRecord { cache_candidates }) => {
                        cache_candidates.into_values().collect()
                    }
                    Err(GetRecordError::NotFound { closest_peers, .. }) => closest_peers,
                    Ok(GetRecordOk::FoundRecord(_)) | Err(_) => Vec::new(),
                });
            }
            (Some(Waiting::Peer { peer, reply }), QueryResult::GetClosestPeers(result)) => {
                let closest = match result {
                    Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                let found = closest.into_iter().filter(|found| found.peer_id == peer);
                let _ = reply.send(
                    found
                        .flat_map(|found| found.addrs)
                        .take(MAX_PROVIDER_ADDRESSES)
                        .collect(),
                );
            }
            (Some(Waiting::Closest(reply)), QueryResult::GetClosestPeers(Ok(closest))) => {
                let peers = closest.peers.into_iter().map(|peer| Provider {
                    peer: peer.peer_id,
                    addresses: peer.addrs.into_iter().take(MAX_PROVIDER_ADDRESSES).collect(),
                });
                let _ = reply.send(peers.collect());
            }
            (Some(Waiting::Done(reply)), QueryResult::StartProviding(result)) => {
                let _ = reply.send(result.is_ok() && reached > 0);
            }
            (Some(Waiting::Done(reply)), QueryResult::PutRecord(result)) => {
                let _ = reply.send(match result {
                    Ok(_) => true,
                    Err(PutRecordError::QuorumFailed { success, .. } | PutRecordError::Timeout { success, .. }) => {
                        !success.is_empty()
                    }
                });
            }
            _ => {}
        }
    }
}

/// A found provider with its addresses. They live as long as the walk does, so they are taken when it is found.
fn provider(dht: &mut Dht, key: &[u8], peer: PeerId) -> Provider {
    let mut addresses = dht.addresses_of(peer);
    let stored = dht.store_mut().providers(&RecordKey::new(&key));
    for address in stored
        .into_iter()
        .filter(|record| record.provider == peer)
        .flat_map(|record| record.addresses)
    {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_PROVIDER_ADDRESSES);
    Provider { peer, addresses }
}
