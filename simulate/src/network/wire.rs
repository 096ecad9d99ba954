//! The network as libp2p knows it: a transport that dials and listens.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::channel::mpsc;
use futures::future::{BoxFuture, Ready, ready};
use futures::stream::{SelectAll, Stream as _, StreamExt as _};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::{Multiaddr, Transport};
use libp2p::multiaddr::Protocol;
use odf_node::peer::{ByteStream, ByteStreams};

use super::stream::Stream;
use super::{Arrival, Attempt, Network};

/// Connections that wait to be taken.
const MAX_WAITING: usize = 64;

/// What the programs of one machine make connections by.
pub struct Wire {
    network: Network,
    at: Ipv4Addr,
    listeners: SelectAll<Listener>,
    news: VecDeque<Event>,
    waker: Option<Waker>,
}

struct Listener {
    id: ListenerId,
    address: Multiaddr,
    network: Network,
    arrivals: mpsc::Receiver<Arrival>,
}

type Bytes = Box<dyn ByteStream>;
type Event = TransportEvent<Ready<io::Result<Bytes>>, io::Error>;

impl Wire {
    /// Those of the machine at this address.
    pub fn new(network: Network, at: Ipv4Addr) -> Self {
        Self {
            network,
            at,
            listeners: SelectAll::new(),
            news: VecDeque::new(),
            waker: None,
        }
    }

    /// One that leads nowhere.
    pub fn dead() -> Self {
        Self::new(Network::new(0), Ipv4Addr::UNSPECIFIED)
    }

    /// In the form that a peer takes.
    pub fn streams(self) -> ByteStreams {
        self.boxed()
    }
}

impl futures::Stream for Listener {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let arrival = futures::ready!(self.arrivals.poll_next_unpin(cx));
        Poll::Ready(arrival.map(|(from, port, half)| {
            let bytes: Bytes = Box::new(Stream::new(self.network.clone(), half));
            TransportEvent::Incoming {
                listener_id: self.id,
                upgrade: ready(Ok(bytes)),
                local_addr: self.address.clone(),
                send_back_addr: address(from, port),
            }
        }))
    }
}

impl Transport for Wire {
    type Output = Bytes;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Bytes>>;
    type Dial = BoxFuture<'static, io::Result<Bytes>>;

    fn listen_on(&mut self, id: ListenerId, wanted: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let Some((_, port)) = place(&wanted) else {
            return Err(TransportError::MultiaddrNotSupported(wanted));
        };
        let (sender, arrivals) = mpsc::channel(MAX_WAITING);
        if let Some(host) = self.network.state().hosts.get_mut(&self.at) {
            host.listeners.insert(port, sender);
        }
        let address = address(self.at, port);
        self.news.push_back(TransportEvent::NewAddress {
            listener_id: id,
            listen_addr: address.clone(),
        });
        self.listeners.push(Listener {
            id,
            address,
            network: self.network.clone(),
            arrivals,
        });
        self.waker.take().into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, to: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some((machine, port)) = place(&to) else {
            return Err(TransportError::MultiaddrNotSupported(to));
        };
        let (network, from) = (self.network.clone(), self.at);
        let reuse = matches!(options.port_use, PortUse::Reuse);
        Ok(Box::pin(async move {
            match network.connect(from, machine, port, reuse) {
                Attempt::Silence => std::future::pending().await,
                Attempt::Refused(after) => {
                    tokio::time::sleep(after).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Attempt::Through(after, half) => {
                    tokio::time::sleep(after).await;
                    let bytes: Bytes = Box::new(Stream::new(network, half));
                    Ok(bytes)
                }
            }
        }))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.news.pop_front() {
            return Poll::Ready(event);
        }
        if let Poll::Ready(Some(event)) = Pin::new(&mut self.listeners).poll_next(cx) {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn address(at: Ipv4Addr, port: u16) -> Multiaddr {
    Multiaddr::from(at).with(Protocol::Tcp(port))
}

/// The machine and the port of an address that this network knows.
fn place(address: &Multiaddr) -> Option<(Ipv4Addr, u16)> {
    let mut parts = address.iter();
    let (Some(Protocol::Ip4(at)), Some(Protocol::Tcp(port))) = (parts.next(), parts.next()) else {
        return None;
    };
    match parts.next() {
        None | Some(Protocol::P2p(_)) if parts.next().is_none() => Some((at, port)),
        _ => None,
    }
}
