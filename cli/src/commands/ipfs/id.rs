//! `odfs ipfs id`

use clap::Args;
use odf::workspace::PEER_KEY;
use odf_node::block::Base;
use odf_node::keystore::PublicKey;
use odf_node::peer::AGENT;
use odf_node::{Multiaddr, PeerId};
use serde::Serialize;

use super::call::{Call, as_go};
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Print who a peer is, as JSON
#[derive(Args, Debug)]
pub(crate) struct IdArgs {
    /// The peer; this one without it
    #[arg(value_name = "PEER")]
    peer: Option<PeerId>,
    /// What to print in place of JSON: `<id>`, `<aver>`, `<pubkey>`, `<addrs>`, `<protocols>`, \n and \t stand for what they say
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Taken for Kubo's sake; peers are written in base58btc
    #[arg(long, value_parser = ["b58mh"], default_value = "b58mh", hide = true)]
    peerid_base: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    #[serde(rename = "ID")]
    id: String,
    public_key: String,
    addresses: Option<Vec<String>>,
    agent_version: String,
    protocols: Option<Vec<String>>,
}

pub(super) fn run(args: &IdArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let own = call.session.keys()?.get_or_generate(PEER_KEY)?.public();
    let identity = match args.peer {
        Some(peer) if peer != own.to_peer_id() => other(peer, call, io)?,
        _ => this(&own, call),
    };
    if let Some(format) = &args.format {
        return io.text(&identity.shown(format));
    }
    if call.is_json() {
        return call.answer(&identity, "", io);
    }
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    identity
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))
        .map_err(std::io::Error::from)?;
    io.text(&format!("{}\n", as_go(&String::from_utf8_lossy(&text))))
}

/// This peer, with its addresses only while it runs.
fn this(key: &PublicKey, call: &Call<'_>) -> Identity {
    let peer = key.to_peer_id();
    let running = call.session.running_node();
    Identity {
        id: peer.to_string(),
        public_key: Base::Base64Pad.encode(key.encode_protobuf()),
        addresses: running.map(|node| told(&node.listen_addrs(), &peer)),
        agent_version: AGENT.to_owned(),
        protocols: None,
    }
}

/// A peer that is connected, or can be found.
fn other(peer: PeerId, call: &Call<'_>, io: &Io) -> Result<Identity, Failure> {
    let node = call.node()?;
    let known = call.wait(io, async {
        let mut tried = false;
        loop {
            let peers = node.peers().await;
            if let Some(found) = peers.into_iter().find(|info| info.peer == peer) {
                return Ok::<_, Failure>(found);
            }
            if std::mem::replace(&mut tried, true) {
                return Err(Failure::new(Kind::Unreachable, format!("{peer} went away")));
            }
            let addresses = node.routing().find_peer(peer, FIND_PEER).await?;
            node.dial_any(peer, addresses).await?;
        }
    })?;
    // The key is in the peer id, unless it is too long for that.
    let key = PublicKey::try_decode_protobuf(peer.to_bytes().get(2..).unwrap_or_default());
    Ok(Identity {
        id: peer.to_string(),
        public_key: key
            .map(|key| Base::Base64Pad.encode(key.encode_protobuf()))
            .unwrap_or_default(),
        addresses: Some(told(&known.addresses, &peer)),
        agent_version: known.agent.unwrap_or_default(),
        protocols: None,
    })
}

/// How long a peer is looked for.
const FIND_PEER: std::time::Duration = std::time::Duration::from_secs(30);

/// Addresses with the peer at their end, in order.
fn told(addresses: &[Multiaddr], peer: &PeerId) -> Vec<String> {
    let mut told: Vec<String> = addresses
        .iter()
        .map(|address| match address.to_string() {
            text if text.contains("/p2p/") => text,
            text => format!("{text}/p2p/{peer}"),
        })
        .collect();
    told.sort();
    told.dedup();
    told
}

impl Identity {
    fn shown(&self, format: &str) -> String {
        let lines = |list: &Option<Vec<String>>| list.as_deref().unwrap_or_default().join("\n");
        format
            .replace("<id>", &self.id)
            .replace("<aver>", &self.agent_version)
            .replace("<pubkey>", &self.public_key)
            .replace("<addrs>", &lines(&self.addresses))
            .replace("<protocols>", &lines(&self.protocols))
            .replace("\\n", "\n")
            .replace("\\t", "\t")
    }
}
