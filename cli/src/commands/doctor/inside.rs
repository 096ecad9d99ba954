//! What the running node knows: with whom it is connected, and whether others get through to it.

use odf_node::Multiaddr;
use odf_node::address::{Reach, reach};
use odf_node::peer::{NetworkKey, Node, PeerInfo, Reachability};

use super::finding::Finding;

/// What it was asked.
pub(super) struct Inside {
    pub(super) peers: Vec<PeerInfo>,
    listening: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
    reachability: Reachability,
}

impl Inside {
    /// Asks the node of this process.
    pub(super) async fn ask(node: &Node) -> Self {
        Self {
            peers: node.peers().await,
            listening: node.listen_addrs(),
            told: node.reachable_at(),
            reachability: node.reachability().await,
        }
    }
}

/// What that means; without a node, that there is none.
pub(super) fn judge(inside: Option<&Inside>, key: Option<&NetworkKey>) -> Vec<Finding> {
    let network = match key {
        Some(key) => format!("a private network, fingerprint {} of its key", key.fingerprint()),
        None => "the public network".to_owned(),
    };
    let Some(inside) = inside else {
        return vec![Finding::skipped(
            "node",
            format!("none runs here, so nobody gets anything from this machine; `odfs node` starts it, in {network}"),
        )];
    };
    vec![
        judge_peers(&inside.peers, &network),
        judge_reach(&inside.listening, &inside.told, &inside.reachability),
    ]
}

fn judge_peers(peers: &[PeerInfo], network: &str) -> Finding {
    let is_public = |peer: &&PeerInfo| peer.addresses.iter().any(|address| reach(address) == Reach::Public);
    let public = peers.iter().filter(is_public).count();
    match peers.len() {
        0 => Finding::warning(
            "peers",
            format!("the node is connected to nobody in {network}"),
            "mend what failed above; or name a peer: `odfs node --peer ADDRESS`, `odfs config set network.bootstrap`",
        ),
        all => Finding::ok(
            "peers",
            format!(
                "{all} connected in {network}: {public} over the internet, {} near",
                all - public
            ),
        ),
    }
}

fn judge_reach(listening: &[Multiaddr], told: &[Multiaddr], known: &Reachability) -> Finding {
    const CHECK: &str = "reach";
    let list = |addresses: &[Multiaddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if listening.is_empty() {
        return Finding::warning(
            CHECK,
            "the node listens nowhere, so nobody can connect to it",
            "`odfs config set network.listen`, without a value, has it listen as usual from its next start on",
        );
    }
    if listening.iter().all(|address| reach(address) <= Reach::Loopback) {
        return Finding::warning(
            CHECK,
            "the node listens on addresses of this machine alone, so no other machine can connect to it",
            "`odfs config set network.listen`, without a value, has it listen everywhere from its next start on",
        );
    }
    if known.reached {
        return Finding::ok(
            CHECK,
            format!(
                "others get through to the node, which they are told is at {}",
                list(told)
            ),
        );
    }
    let ports: Vec<String> = ports(listening);
    let open = format!(
        "have the router pass on {} to this machine (port forwarding, or UPnP), and the firewall let it in",
        ports.join(" and ")
    );
    match (known.failed, known.relays.len()) {
        (true, 0) => Finding::failed(
            CHECK,
            "the port is closed: peers on the internet tried to connect to the node, and did not get through",
            format!(
                "{open}; or connect to a node that relays for others (`odfs node --public` on a machine that is reached)"
            ),
        ),
        (true, relays) => Finding::warning(
            CHECK,
            format!(
                "the port is closed: peers on the internet tried to connect to the node, and did not get through; {relays} \
                 relay(s) stand in, at {}",
                list(told)
            ),
            open,
        ),
        (false, relays @ 1..) => Finding::warning(
            CHECK,
            format!(
                "nobody on the internet has come in yet; {relays} relay(s) stand in, at {}",
                list(told)
            ),
            open,
        ),
        (false, 0) => match known.asked {
            true => Finding::skipped(
                CHECK,
                "nobody on the internet has tried to connect to the node yet: ask again later",
            ),
            false => Finding::skipped(
                CHECK,
                format!(
                    "nobody on the internet is connected who could tell; others near find the node at {}",
                    list(told)
                ),
            ),
        },
    }
}

/// The ports that are listened on, in words, each once.
fn ports(listening: &[Multiaddr]) -> Vec<String> {
    use odf_node::address::Protocol;
    let mut ports = Vec::new();
    for part in listening
        .iter()
        .filter(|address| reach(address) > Reach::Loopback)
        .flatten()
    {
        let port = match part {
            Protocol::Tcp(port) => format!("TCP port {port}"),
            Protocol::Udp(port) => format!("UDP port {port}"),
            _ => continue,
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use odf_node::PeerId;

    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_closed_port_is_told_as_such_and_relays_soften_it() {
        let listening: Vec<Multiaddr> = [
            "/ip4/10.0.0.2/tcp/4001",
            "/ip4/127.0.0.1/tcp/4009",
            "/ip4/10.0.0.2/udp/4001/quic-v1",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec();
        let judge = |known: Reachability| judge_reach(&listening, &listening[..1], &known);
        let closed = judge(Reachability {
            failed: true,
            asked: true,
            ..Reachability::default()
        });
        assert!(
            closed.is_failed() && closed.found.contains("port is closed"),
            "{closed}"
        );
        let next = closed.next.unwrap();
        assert!(
            next.contains("TCP port 4001 and UDP port 4001") && !next.contains("4009"),
            "{next}"
        );
        let relayed = judge(Reachability {
            failed: true,
            asked: true,
            relays: vec![PeerId::random()],
            ..Reachability::default()
        });
        assert_eq!(relayed.state, State::Warning);
        let reached = Reachability {
            reached: true,
            ..Reachability::default()
        };
        assert_eq!(judge(reached).state, State::Ok);
        assert_eq!(judge(Reachability::default()).state, State::Skipped);
        assert_eq!(judge_reach(&[], &[], &Reachability::default()).state, State::Warning);
        assert!(
            judge_reach(&listening[1..2], &[], &Reachability::default())
                .found
                .contains("this machine alone")
        );
    }
}
