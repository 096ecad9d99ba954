//! `odfs ipfs swarm`

use clap::Subcommand;
use odf_node::address::split_peer;
use odf_node::peer::PeerInfo;
use odf_node::{Multiaddr, PeerId};
use serde::Serialize;

use super::call::Call;
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Work with connections to peers
#[derive(Subcommand, Debug)]
pub(crate) enum SwarmCommand {
    /// Connect to peers
    Connect {
        /// Addresses of the peers, ending in /p2p/ID
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<Multiaddr>,
    },
    /// Close the connections to peers
    Disconnect {
        /// Addresses of the peers, ending in /p2p/ID
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<Multiaddr>,
    },
    /// List the addresses of connected peers
    Peers {
        /// How long each takes to answer, and who opened the connection
        #[arg(short, long, action = clap::ArgAction::Count)]
        verbose: u8,
        /// How long each takes to answer
        #[arg(long)]
        latency: bool,
        /// Who opened the connection
        #[arg(long)]
        direction: bool,
        /// Taken for Kubo's sake
        #[arg(long, hide = true)]
        streams: bool,
        /// Taken for Kubo's sake
        #[arg(long, hide = true)]
        identify: bool,
    },
    /// List the addresses of this peer
    Addrs {
        #[command(subcommand)]
        command: AddrsCommand,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum AddrsCommand {
    /// Those that others are told
    Local {
        /// With the peer at their end
        #[arg(long)]
        id: bool,
    },
    /// Those that it listens on
    Listen,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Strings {
    strings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Peers {
    peers: Option<Vec<Peer>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Peer {
    addr: String,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<u8>,
}

/// Kubo's numbers for who opened a connection.
const INBOUND: u8 = 1;
const OUTBOUND: u8 = 2;

pub(super) fn run(command: &SwarmCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    if call.is_offline() || (call.session.running_node().is_none() && !is_connect(command)) {
        return Err(Failure::new(
            Kind::Unreachable,
            "this action must be run in online mode, try running 'ipfs daemon' first",
        ));
    }
    let node = call.node()?;
    match command {
        SwarmCommand::Connect { addresses } => {
            for address in addresses {
                let peer = call
                    .wait(io, node.dial(address.clone()))
                    .map_err(|failure| failure.about(address))?;
                said(vec![format!("connect {peer} success")], call, io)?;
            }
            Ok(())
        }
        SwarmCommand::Disconnect { addresses } => {
            for address in addresses {
                let (_, peer) = split_peer(address.clone());
                let peer = peer.ok_or_else(|| Failure::usage(format!("{address} does not end in /p2p/ID")))?;
                let closed = call.wait(io, async { Ok::<_, Failure>(node.disconnect(peer).await) })?;
                let outcome = if closed { "success" } else { "failure: not connected" };
                said(vec![format!("disconnect {peer} {outcome}")], call, io)?;
            }
            Ok(())
        }
        SwarmCommand::Peers {
            verbose,
            latency,
            direction,
            ..
        } => {
            let all = *verbose > 0;
            let connected = call.wait(io, async { Ok::<_, Failure>(node.peers().await) })?;
            let mut peers: Vec<Peer> = connected
                .iter()
                .flat_map(|info| info.addresses.iter().map(move |address| (info, address)))
                .map(|(info, address)| Peer::of(info, address, all || *latency, all || *direction))
                .collect();
            peers.sort_by(|a, b| (&a.addr, &a.peer).cmp(&(&b.addr, &b.peer)));
            if call.is_json() {
                let peers = (!peers.is_empty()).then_some(peers);
                return call.answer(&Peers { peers }, "", io);
            }
            peers.iter().try_for_each(|peer| io.line(peer.text()))
        }
        SwarmCommand::Addrs { command } => {
            let own = node.peer_id();
            let (addresses, id) = match command {
                AddrsCommand::Local { id } => ([node.listen_addrs(), node.external_addrs()].concat(), *id),
                AddrsCommand::Listen => (node.listen_addrs(), false),
            };
            let mut strings: Vec<String> = addresses.iter().map(|address| with_peer(address, &own, id)).collect();
            strings.sort();
            strings.dedup();
            said(strings, call, io)
        }
    }
}

fn is_connect(command: &SwarmCommand) -> bool {
    matches!(command, SwarmCommand::Connect { .. })
}

fn said(strings: Vec<String>, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    if call.is_json() {
        return call.answer(&Strings { strings }, "", io);
    }
    strings.iter().try_for_each(|line| io.line(line))
}

/// The address with the peer at its end if `with`, else without.
fn with_peer(address: &Multiaddr, peer: &PeerId, with: bool) -> String {
    let (bare, _) = split_peer(address.clone());
    match with {
        true => format!("{bare}/p2p/{peer}"),
        false => bare.to_string(),
    }
}

impl Peer {
    fn of(info: &PeerInfo, address: &Multiaddr, latency: bool, direction: bool) -> Self {
        let measured = info
            .latency
            .map_or_else(|| "n/a".to_owned(), |time| format!("{time:?}"));
        Self {
            addr: with_peer(address, &info.peer, false),
            peer: info.peer.to_string(),
            latency: latency.then_some(measured),
            direction: direction.then_some(if info.dialled_by_us { OUTBOUND } else { INBOUND }),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}/p2p/{}", self.addr, self.peer);
        if let Some(latency) = &self.latency {
            text.push_str(&format!(" {latency}"));
        }
        match self.direction {
            Some(OUTBOUND) => text.push_str(" outbound"),
            Some(_) => text.push_str(" inbound"),
            None => {}
        }
        text
    }
}
