//! A machine that lies: a server of the DHT that holds on to what names stood for at first, says that it and others have
//! whatever is asked for, and sends other blocks than those. Its keys, and what is signed, are all that it cannot make up.

mod blocks;
mod lies;

use std::net::Ipv4Addr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::{self, Mode, Quorum};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::{Config, NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, Transport as _, identify, noise, ping, request_response, yamux,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};

use crate::machine::PORT;
use lies::Lies;
use simulate::network::Network;
use simulate::network::wire::Wire;

/// How often it puts what is false on all machines that it is connected with.
const PUTS_EVERY: Duration = Duration::from_secs(15);
/// Where nobody is.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(121, 41, 7, 9);
const DHT: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// How the thread of a life is told to end, and what it has to say then.
type Life = (oneshot::Sender<()>, JoinHandle<Result<(), String>>);

/// The liar, over all its lives.
pub(crate) struct Liar {
    at: Ipv4Addr,
    key: Keypair,
    lies: Lies,
    life: Option<Life>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<Lies>,
    bitswap: request_response::Behaviour<blocks::Messages>,
}

impl Liar {
    /// One at this address.
    pub(crate) fn new(at: Ipv4Addr) -> Self {
        Self {
            at,
            key: Keypair::generate_ed25519(),
            lies: Lies::default(),
            life: None,
        }
    }

    /// Of these machines it says from now on that they have whatever is asked for; and of itself, and of one that is not there.
    pub(crate) fn accuse(&self, machines: &[Multiaddr]) {
        let mut holders: Vec<_> = machines.iter().filter_map(peer_at).collect();
        holders.push((self.key.public().to_peer_id(), address(self.at)));
        holders.push((PeerId::random(), address(NOWHERE)));
        self.lies.accuse(holders);
    }

    /// Answers and claims that were false so far.
    pub(crate) fn told(&self) -> u64 {
        self.lies.told()
    }

    /// It is switched on, and goes to `known` first.
    ///
    /// # Errors
    /// It has no thread or no peer.
    pub(crate) fn switch_on(&mut self, network: &Network, known: &[Multiaddr]) -> Result<(), String> {
        if self.life.is_some() {
            return Ok(());
        }
        network.switch_on(self.at, false);
        let (end, ended) = oneshot::channel();
        let (lies, known) = (self.lies.clone(), known.to_vec());
        let swarm = swarm(&self.key, Wire::new(network.clone(), self.at), self.at, lies.clone())?;
        let thread = thread::Builder::new().name("liar".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(live(swarm, lies, known, ended))
        });
        self.life = Some((end, thread.map_err(|error| error.to_string())?));
        Ok(())
    }

    /// It is shut down.
    ///
    /// # Errors
    /// It ended before.
    pub(crate) fn switch_off(&mut self, network: &Network) -> Result<(), String> {
        let Some((end, thread)) = self.life.take() else {
            return Ok(());
        };
        let _ = end.send(());
        let lived = thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
        network.end_program(self.at);
        lived.map_err(|error| format!("the liar: {error}"))
    }
}

/// Its life, until it is told to end.
async fn live(
    mut swarm: Swarm<Behaviour>,
    lies: Lies,
    known: Vec<Multiaddr>,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), String> {
    let behaviour = swarm.behaviour_mut();
    for (peer, address) in known.iter().filter_map(peer_at) {
        behaviour.kad.add_address(&peer, address);
    }
    behaviour.kad.bootstrap().map_err(|error| error.to_string())?;
    let mut puts = interval_at(Instant::now() + PUTS_EVERY, PUTS_EVERY);
    loop {
        tokio::select! {
            biased;
            _ = &mut ended => return Ok(()),
            event = swarm.select_next_some() => answer(&mut swarm, &lies, event),
            _ = puts.tick() => {
                let peers: Vec<_> = swarm.connected_peers().copied().collect();
                for record in lies.all() {
                    swarm.behaviour_mut().kad.put_record_to(record, peers.iter().copied(), Quorum::One);
                }
            }
        }
    }
}

fn answer(swarm: &mut Swarm<Behaviour>, lies: &Lies, event: SwarmEvent<BehaviourEvent>) {
    let SwarmEvent::Behaviour(BehaviourEvent::Bitswap(Event::Message { peer, message, .. })) = event else {
        return;
    };
    let Message::Request { request, channel, .. } = message else {
        return;
    };
    let bitswap = &mut swarm.behaviour_mut().bitswap;
    let _ = bitswap.send_response(channel, ());
    if let Some(said) = blocks::answer(&request, lies) {
        bitswap.send_request(&peer, said);
    }
}

/// A peer over this network.
fn swarm(key: &Keypair, wire: Wire, at: Ipv4Addr, lies: Lies) -> Result<Swarm<Behaviour>, String> {
    let peer = key.public().to_peer_id();
    let noise = noise::Config::new(key).map_err(|error| error.to_string())?;
    let transport = wire.streams().upgrade(Version::V1).authenticate(noise);
    let transport = transport.multiplex(yamux::Config::default()).boxed();
    let mut dht = kad::Config::new(DHT);
    dht.set_periodic_bootstrap_interval(None).set_record_ttl(None);
    let mut kad = kad::Behaviour::with_config(peer, lies, dht);
    kad.set_mode(Some(Mode::Server));
    let behaviour = Behaviour {
        identify: identify::Behaviour::new(identify::Config::new("ipfs/0.1.0".to_owned(), key.public())),
        ping: ping::Behaviour::default(),
        kad,
        bitswap: blocks::behaviour(),
    };
    let mut swarm = Swarm::new(transport, behaviour, peer, Config::with_tokio_executor());
    swarm.listen_on(address(at)).map_err(|error| error.to_string())?;
    swarm.add_external_address(address(at));
    Ok(swarm)
}

fn address(at: Ipv4Addr) -> Multiaddr {
    Multiaddr::from(at).with(Protocol::Tcp(PORT))
}

/// The peer that an address ends with, and the rest of it.
fn peer_at(address: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    let mut address = address.clone();
    match address.pop() {
        Some(Protocol::P2p(peer)) => Some((peer, address)),
        _ => None,
    }
}
