//! Who has a block and where a peer is: both DHTs and the routers asked at once.

use std::collections::HashSet;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::command::{Command, MAX_ANSWERS_WAITING, Provider, Walk};
use super::network::Network;
use super::{Routing, RoutingError};
use crate::block::Cid;

impl Routing {
    /// Searches both DHTs, and asks the routers, for providers of `cid`: a channel that gives each of them once, as they are
    /// found, and ends when nobody is left to ask. Dropping it ends the search. This peer itself is left out.
    pub fn providers(&self, cid: &Cid) -> mpsc::Receiver<Provider> {
        self.search(cid, true)
    }

    /// As [`Self::providers`], without the routers: for who asks this peer as a router, or two would ask each other without end.
    pub fn providers_in_dhts(&self, cid: &Cid) -> mpsc::Receiver<Provider> {
        self.search(cid, false)
    }

    fn search(&self, cid: &Cid, asks_routers: bool) -> mpsc::Receiver<Provider> {
        let (found, providers) = mpsc::channel(MAX_ANSWERS_WAITING);
        let (routing, cid, key) = (self.clone(), *cid, cid.hash().to_bytes());
        tokio::spawn(async move {
            let (walk_found, mut walk_providers) = mpsc::channel(MAX_ANSWERS_WAITING);
            if asks_routers {
                routing.routers.providers(&cid, &walk_found);
            }
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

    /// Asks both DHTs where `peer` can be dialled, for at most `deadline`, and the routers, which count where the DHTs do not know.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn find_peer(&self, peer: PeerId, deadline: Duration) -> Result<Vec<Multiaddr>, RoutingError> {
        let found = self.find_peer_in_dhts(peer, deadline);
        let by_http = timeout(deadline, self.routers.peer(&peer));
        tokio::pin!(found, by_http);
        tokio::select! {
            found = &mut found => match found {
                Ok(addresses) if addresses.is_empty() => Ok(by_http.await.unwrap_or_default()),
                found => found,
            },
            addresses = &mut by_http => match addresses {
                Ok(addresses) if !addresses.is_empty() => Ok(addresses),
                _ => found.await,
            },
        }
    }

    /// Asks both DHTs where `peer` can be dialled, for at most `deadline`. Only peers that serve a DHT are found.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn find_peer_in_dhts(&self, peer: PeerId, deadline: Duration) -> Result<Vec<Multiaddr>, RoutingError> {
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
}
