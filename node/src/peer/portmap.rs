//! A port of the router at home, opened for as long as the peer runs: UPnP port mappings.
//!
//! Only a peer that wants to be found on the internet asks for them, and only where it listens at private IPv4 addresses.
//! What a router says is believed as far as an address goes: others find out whether it leads here (`driver/reaching`).

mod igd;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::{mpsc, watch};

use self::igd::{Gateway, Transport};
use crate::routing::command::Command;
use crate::threads::blocking;

/// Where routers are asked for (UPnP Device Architecture 1.1, section 1.3.2).
const SSDP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
/// Commands that end soon ask no router for anything.
const BEGIN_AFTER: Duration = Duration::from_secs(3);
/// How long a mapping lasts when nobody renews it.
const LEASE: Duration = Duration::from_secs(3600);
/// How long after a round the next one is due; it renews what there is, or looks for a router again.
const ROUND: Duration = Duration::from_secs(1800);
/// How long the end of a peer may wait for its mappings to be taken back. They end by themselves otherwise.
const FAREWELL: Duration = Duration::from_secs(1);

/// An address that the peer listens at, as far as a router needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listening {
    ip: Ipv4Addr,
    port: u16,
    transport: Transport,
    address: Multiaddr,
}

impl Listening {
    /// Nothing where a router has nothing to do: beyond private IPv4 addresses over TCP or UDP.
    fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let (Some(Protocol::Ip4(ip)), Some(port)) = (parts.next(), parts.next()) else {
            return None;
        };
        let (port, transport) = match port {
            Protocol::Tcp(port) => (port, Transport::Tcp),
            Protocol::Udp(port) => (port, Transport::Udp),
            _ => return None,
        };
        ip.is_private().then(|| Self {
            ip,
            port,
            transport,
            address: address.clone(),
        })
    }

    /// The same listener where it is reached from outside.
    fn outside(&self, ip: Ipv4Addr, port: u16) -> Multiaddr {
        let replaced = self.address.iter().map(|part| match part {
            Protocol::Ip4(_) => Protocol::Ip4(ip),
            Protocol::Tcp(_) => Protocol::Tcp(port),
            Protocol::Udp(_) => Protocol::Udp(port),
            part => part,
        });
        replaced.collect()
    }
}

/// A mapping that is there.
#[derive(Debug, Clone)]
struct Mapping {
    gateway: Gateway,
    transport: Transport,
    outer: u16,
    address: Multiaddr,
}

/// Keeps mappings for what `listening` says until `stop` says so, and tells the owner of the swarm which addresses there are.
pub(super) async fn run(
    mut listening: watch::Receiver<Vec<Multiaddr>>,
    commands: mpsc::Sender<Command>,
    mut stop: watch::Receiver<bool>,
) {
    let mut mapped: Vec<Mapping> = Vec::new();
    tokio::select! {
        () = keep(&mut listening, &commands, &mut mapped) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let taken_back = blocking(move || {
        for Mapping {
            gateway,
            transport,
            outer,
            ..
        } in mapped
        {
            if let Err(error) = gateway.unmap(transport, outer) {
                tracing::debug!(%error, outer, "the router keeps a port open until its lease ends");
            }
        }
    });
    let _ = tokio::time::timeout(FAREWELL, taken_back).await;
}

/// Never ends but with the owner of the swarm.
async fn keep(
    listening: &mut watch::Receiver<Vec<Multiaddr>>,
    commands: &mpsc::Sender<Command>,
    mapped: &mut Vec<Mapping>,
) {
    loop {
        tokio::time::sleep(BEGIN_AFTER).await;
        let wanted: Vec<Listening> = listening.borrow_and_update().iter().filter_map(Listening::of).collect();
        if !wanted.is_empty() {
            let before = mapped.clone();
            *mapped = blocking(move || map_all(&wanted, &before, SSDP)).await;
            let addresses = mapped.iter().map(|mapping| mapping.address.clone()).collect();
            if commands.send(Command::Mapped { addresses }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            changed = listening.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Maps what is wanted at the first router that does, of each interface; what was mapped before keeps its port.
fn map_all(wanted: &[Listening], before: &[Mapping], ssdp: SocketAddrV4) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut interfaces: Vec<Ipv4Addr> = wanted.iter().map(|listening| listening.ip).collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    for ip in interfaces {
        let of_interface: Vec<&Listening> = wanted.iter().filter(|listening| listening.ip == ip).collect();
        let gateways = igd::find(ip, ssdp).unwrap_or_else(|error| {
            tracing::debug!(%error, %ip, "no router is looked for");
            Vec::new()
        });
        let mapped = gateways.into_iter().find_map(|gateway| {
            map(&gateway, &of_interface, before)
                .inspect_err(|error| tracing::debug!(%error, "a router opens no port"))
                .ok()
        });
        found.extend(mapped.into_iter().flatten());
    }
    found
}

fn map(gateway: &Gateway, wanted: &[&Listening], before: &[Mapping]) -> Result<Vec<Mapping>, igd::Refusal> {
    let outside = gateway.external_ip()?;
    let mut mapped = Vec::new();
    for listening in wanted {
        let last = before
            .iter()
            .find(|mapping| mapping.address == listening.outside(outside, mapping.outer));
        let first = last.map_or(listening.port, |mapping| mapping.outer);
        let outer = gateway.map(listening.transport, (listening.ip, listening.port), first, LEASE)?;
        mapped.push(Mapping {
            gateway: gateway.clone(),
            transport: listening.transport,
            outer,
            address: listening.outside(outside, outer),
        });
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests;
