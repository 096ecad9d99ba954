//! Finding providers for the block exchange.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use crate::address::{is_http, public_server};
use crate::block::Cid;
use crate::exchange;
use crate::routing::{Provider, Routing};

/// Providers dialled at the same time; Kubo's figure.
const MAX_PROVIDERS_DIALLED: usize = 10;
/// Time a search may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A search for providers on behalf of the exchange.
pub(super) struct Search {
    routing: Routing,
    exchange: exchange::Handle,
    session: exchange::SessionId,
    /// Whether providers that speak HTTP are asked over that, too.
    over_http: bool,
    connected: usize,
    /// Whether there was one of those.
    has_servers: bool,
    unreachable: Vec<PeerId>,
}

impl Search {
    pub(super) fn new(
        routing: Routing,
        exchange: exchange::Handle,
        session: exchange::SessionId,
        over_http: bool,
    ) -> Self {
        Self {
            routing,
            exchange,
            session,
            over_http,
            connected: 0,
            has_servers: false,
            unreachable: Vec::new(),
        }
    }

    /// Hands peers over as they are reached. In the end, if there were none, those who could not be: the verdict is
    /// then "not reachable" rather than "nobody has it".
    ///
    /// Waits for its turn first. There is one search a session at most: the exchange asks again only when it has its
    /// answer, or after a minute.
    pub(super) async fn run(mut self, cid: Cid, searches: Arc<Semaphore>, mut stop: watch::Receiver<bool>) {
        let Ok(_permit) = searches.acquire_owned().await else {
            return;
        };
        let search = async {
            let mut arrivals = self.routing.arrivals();
            while !self.find_and_dial(&cid).await && arrivals.next().await {}
        };
        tokio::select! {
            _ = timeout(DEADLINE, search) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let unreachable = if self.connected == 0 {
            self.unreachable
        } else {
            Vec::new()
        };
        self.exchange.provide_peers(self.session, unreachable);
    }

    /// Returns whether there is now somebody to fetch from.
    async fn find_and_dial(&mut self, cid: &Cid) -> bool {
        let mut found = self.routing.providers(cid);
        let mut dials = JoinSet::new();
        let mut searching = true;
        loop {
            tokio::select! {
                provider = found.recv(), if searching && dials.len() < MAX_PROVIDERS_DIALLED => match provider {
                    Some(Provider { peer, mut addresses }) => {
                        if self.over_http {
                            let servers: Vec<Url> = addresses.iter().filter_map(public_server).collect();
                            self.has_servers |= self.exchange.gateways().found(&servers);
                        }
                        let told = addresses.len();
                        addresses.retain(|address| !is_http(address));
                        if addresses.is_empty() && told > 0 {
                            continue;
                        }
                        let routing = self.routing.clone();
                        dials.spawn(async move { (peer, routing.connect(Some(peer), addresses, false).await) });
                    }
                    None => searching = false,
                },
                Some(Ok((peer, dialled))) = dials.join_next() => match dialled {
                    Ok(_) => {
                        self.connected += 1;
                        self.exchange.provider_found(self.session, peer);
                    }
                    Err(error) => {
                        tracing::debug!(%peer, %error, "a provider cannot be reached");
                        self.unreachable.push(peer);
                    }
                },
                else => return self.connected > 0 || self.has_servers,
            }
        }
    }
}
