//! `odfs ipfs swarm`

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Work with connections to peers
#[derive(Subcommand, Debug)]
pub(crate) enum SwarmCommand {
    /// Connect to a peer
    Connect {
        /// Address of the peer, ending in /p2p/ID
        #[arg(value_name = "ADDRESS")]
        address: String,
    },
    /// List the addresses of connected peers
    Peers,
}

pub(super) fn run(command: &SwarmCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let node = session.node()?;
    match command {
        SwarmCommand::Connect { address } => {
            let parsed = address
                .parse()
                .map_err(|error| Failure::usage(format!("{address:?} is no multiaddr: {error}")))?;
            let peer = session
                .wait(io, node.dial(parsed))
                .map_err(|failure| failure.about(address))?;
            io.line(format_args!("connect {peer} success"))
        }
        SwarmCommand::Peers => {
            let peers = session.wait(io, async { Ok::<_, Failure>(node.peers().await) })?;
            let mut lines: Vec<String> = Vec::new();
            for peer in peers {
                for address in peer.addresses {
                    let text = address.to_string();
                    lines.push(if text.contains("/p2p/") {
                        text
                    } else {
                        format!("{text}/p2p/{}", peer.peer)
                    });
                }
            }
            lines.sort();
            lines.into_iter().try_for_each(|line| io.line(line))
        }
    }
}
