//! A peer: one libp2p swarm, and a cheap handle on everything it can do.
//!
//! ```no_run
//! # async fn example(store: odf_node::store::Store, cid: odf_node::block::Cid) -> Result<(), Box<dyn std::error::Error>> {
//! use odf_node::peer::Node;
//!
//! let node = Node::builder(&store)?.bootstrap(Vec::new()).start().await?;
//! node.dial("/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…".parse()?).await?;
//! let block = node.exchange().session().fetch(&cid).await?;
//! node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! [`Node`] is a handle: clones share one peer, which stops at [`Node::shutdown`] or when the last clone is dropped. A
//! process may run several. One task, the driver, owns the swarm; everything else talks to it through bounded queues.

mod driver;
mod portmap;
mod remembered;
mod search;
mod start;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use odf_doors::Arrival;
pub use remembered::{Memory, memory, remembered};
pub use start::{AGENT, BOOTSTRAP_PEERS, Builder, DEFAULT_LISTEN};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::address::{split_peer, worth_telling};
use crate::block::Cid;
use crate::exchange;
use crate::ipns::Names;
use crate::routing::command::Command;
use crate::routing::{Announced, DEFAULT_PROVIDERS, Provider, Routing, RoutingError};
pub use crate::routing::{DialError, PeerInfo, Reachability};
use crate::store::Blocks;
use crate::swarm::HttpStreams;
pub use crate::swarm::{
    Bandwidth, ByteStream, ByteStreams, HttpStream, MAX_NETWORK_KEY_BYTES, NetworkKey, NetworkKeyError, StartError,
    probe,
};
use crate::threads::lock;

/// How long [`Node::provide`] and [`Node::find_providers`] take at most.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(15);
/// How long [`Node::shutdown`] waits for work under way before it is cut off.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A running peer. See the module's words.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    peer_id: PeerId,
    commands: mpsc::Sender<Command>,
    exchange: exchange::Handle,
    routing: Routing,
    names: Names,
    blocks: Arc<dyn Blocks>,
    listening: watch::Receiver<Vec<Multiaddr>>,
    external: watch::Receiver<Vec<Multiaddr>>,
    served: watch::Receiver<Vec<Multiaddr>>,
    http: HttpStreams,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Who this peer is.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer_id
    }

    /// Where this peer listens, each address with `/p2p/` and its id at the end: what others need to dial it.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let own = libp2p::multiaddr::Protocol::P2p(self.inner.peer_id);
        self.inner
            .listening
            .borrow()
            .iter()
            .map(|address| address.clone().with(own.clone()))
            .collect()
    }

    /// Where several networks on the internet see this peer, without its id: behind a router the only addresses that others
    /// out there can dial, if it lets them in. Those that most agree on come first.
    pub fn external_addrs(&self) -> Vec<Multiaddr> {
        self.inner.external.borrow().clone()
    }

    /// What others are told of where this peer can be dialled; see [`worth_telling`].
    pub fn reachable_at(&self) -> Vec<Multiaddr> {
        worth_telling(&self.external_addrs(), &self.inner.listening.borrow())
    }

    /// Has others told that what is here is also had over HTTP at these addresses, as [`http_address`](crate::address::http_address)
    /// makes them, and at no others.
    pub async fn serve_http_at(&self, addresses: Vec<Multiaddr>) {
        // A peer that has ended tells nobody.
        let _ = self.inner.commands.send(Command::Serves { addresses }).await;
    }

    /// Where others are told that HTTP is spoken.
    pub fn http_addrs(&self) -> Vec<Multiaddr> {
        self.inner.served.borrow().clone()
    }

    /// Offers HTTP to other peers, and gives the streams on which they speak it, to be served with
    /// [`serve_streams`](odf_doors::serve_streams). It is offered until the receiver is dropped, or somebody else takes them.
    pub fn http_streams(&self) -> mpsc::Receiver<Arrival<HttpStream>> {
        self.inner.http.take()
    }

    /// Whether the peer runs: it was not shut down, and the task that owns its connections did not end.
    pub fn is_running(&self) -> bool {
        !self.inner.commands.is_closed()
    }

    /// The peers that are connected now. Empty once the peer is shut down.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let (reply, answer) = oneshot::channel();
        match self.inner.commands.send(Command::Peers { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Whether peers on the internet get through to this one, as far as others showed. Nothing is known once it is shut down.
    pub async fn reachability(&self) -> Reachability {
        let (reply, answer) = oneshot::channel();
        match self.inner.commands.send(Command::Reachable { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Reachability::default(),
        }
    }

    /// Connects to the peer at `address` and keeps the connection. Returns who it is.
    ///
    /// With `/p2p/<id>` at the end, only that peer will do. With nothing else than that, the DHTs are asked where it is. A peer named like this is asked for names and blocks like
    /// one on the local network, wherever it is.
    ///
    /// # Errors
    /// See [`DialError`]. No connection has been made.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerId, DialError> {
        let (address, peer) = split_peer(address);
        let addresses = if address.is_empty() { Vec::new() } else { vec![address] };
        let routing = &self.inner.routing;
        let named = match (routing.connect(peer, addresses, true).await, peer) {
            (Err(DialError::NoAddresses), Some(peer)) => {
                let found = routing
                    .find_peer(peer, DEFAULT_DEADLINE)
                    .await
                    .map_err(|_| DialError::Stopped)?;
                if found.is_empty() {
                    return Err(DialError::NoAddresses);
                }
                routing.connect(Some(peer), found, true).await?
            }
            (result, _) => result?,
        };
        if peer.is_none() {
            // Now that it has a name, hold it.
            routing.connect(Some(named), Vec::new(), true).await?;
        }
        Ok(named)
    }

    /// As [`Self::dial`], of a peer that is said to be at all of these addresses: they are dialled at once, and the first that
    /// it answers at is taken. One that is dead, or where somebody else is by now, holds up nothing. The DHTs are not asked.
    ///
    /// # Errors
    /// See [`DialError`]: none of the addresses led to the peer.
    pub async fn dial_any(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<PeerId, DialError> {
        if peer == self.inner.peer_id {
            return Err(DialError::Myself);
        }
        let routing = &self.inner.routing;
        let mut failed = match routing.connect(Some(peer), addresses.clone(), true).await {
            // Private addresses are used in many networks. In one dial, whoever answers first ends it, right or wrong.
            Err(error @ (DialError::OtherPeer { .. } | DialError::Myself)) => error,
            done => return done,
        };
        let mut alone: JoinSet<_> = addresses
            .into_iter()
            .map(|address| {
                let routing = routing.clone();
                async move { routing.connect(Some(peer), vec![address], true).await }
            })
            .collect();
        while let Some(tried) = alone.join_next().await {
            match tried {
                Ok(Err(error)) => failed = error,
                Ok(Ok(peer)) => return Ok(peer),
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// Closes the connections to `peer` and no longer keeps them. Returns whether there were any.
    pub async fn disconnect(&self, peer: PeerId) -> bool {
        let (reply, answer) = oneshot::channel();
        match self.inner.commands.send(Command::Disconnect { peer, reply }).await {
            Ok(()) => answer.await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Where blocks are fetched from and served.
    pub fn exchange(&self) -> &exchange::Handle {
        &self.inner.exchange
    }

    /// The blocks that are here.
    pub fn blocks(&self) -> &Arc<dyn Blocks> {
        &self.inner.blocks
    }

    /// Names: publish, resolve, follow.
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// The DHTs, for those who want more than [`provide`](Self::provide) and [`find_providers`](Self::find_providers).
    pub fn routing(&self) -> &Routing {
        &self.inner.routing
    }

    /// Announces that `cids` can be fetched here, now and from now on. See [`Routing::provide`].
    ///
    /// # Errors
    /// As [`Routing::provide`].
    pub async fn provide(&self, cids: Vec<Cid>) -> Result<Announced, RoutingError> {
        self.inner.routing.provide(cids, DEFAULT_DEADLINE).await
    }

    /// As [`Self::provide`], with nobody waiting for the peers to be told. See [`Routing::provide_beside`].
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn provide_beside(&self, cids: Vec<Cid>) -> Result<(), RoutingError> {
        self.inner.routing.provide_beside(cids, DEFAULT_DEADLINE).await
    }

    /// Peers that say they have `cid`. See [`Routing::find_providers`].
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn find_providers(&self, cid: &Cid) -> Result<Vec<Provider>, RoutingError> {
        self.inner
            .routing
            .find_providers(cid, DEFAULT_PROVIDERS, DEFAULT_DEADLINE)
            .await
    }

    /// Another peer that says it has `cid`, can be reached now, and gives it; nothing if none is found within `patience`.
    /// That a peer once said so is not enough: it may be off since.
    pub async fn find_giver(&self, cid: &Cid, patience: Duration) -> Option<PeerId> {
        let routing = &self.inner.routing;
        let search = async {
            let mut providers = routing.providers(cid);
            let mut tries = JoinSet::new();
            let mut all_found = false;
            loop {
                tokio::select! {
                    found = providers.recv(), if !all_found && tries.len() < DEFAULT_PROVIDERS => match found {
                        Some(Provider { peer, addresses }) => {
                            let (routing, exchange, cid) = (routing.clone(), self.inner.exchange.clone(), *cid);
                            tries.spawn(async move {
                                let peer = routing.connect(Some(peer), addresses, false).await.ok()?;
                                let session = exchange.session();
                                session.add_provider(peer);
                                session.fetch(&cid).await.ok().map(|_| peer)
                            });
                        }
                        None => all_found = true,
                    },
                    Some(tried) = tries.join_next() => if let Ok(Some(peer)) = tried {
                        return Some(peer);
                    },
                    else => return None,
                }
            }
        };
        tokio::time::timeout(patience, search).await.ok().flatten()
    }

    /// Ends the peer, once its last announcement had the time to be sent, half a second at most: connections are closed,
    /// sockets free, tasks gone when this returns. Other clones of the handle get errors from then on. A second call does
    /// nothing.
    pub async fn shutdown(&self) {
        self.inner.stop.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        let until = tokio::time::Instant::now() + SHUTDOWN_GRACE;
        for mut task in tasks {
            if tokio::time::timeout_at(until, &mut task).await.is_err() {
                task.abort();
                let _ = task.await;
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.inner.peer_id)
    }
}
