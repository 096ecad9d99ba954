//! `odfs ipfs bootstrap`

use clap::{Args, Subcommand};
use odf::disk::Disk;
use odf_node::Multiaddr;
use odf_node::address::Protocol;
use odf_node::peer::BOOTSTRAP_PEERS;
use serde::Serialize;

use super::call::{Encoding, answer};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::settings;
use crate::workspace::WorkspaceDir;

/// The setting of odfs.
const SETTING: &str = "network.bootstrap";

/// List or change the peers that are dialled to join the network
#[derive(Args, Debug)]
pub(crate) struct BootstrapArgs {
    #[command(subcommand)]
    command: Option<BootstrapCommand>,
}

#[derive(Subcommand, Debug)]
enum BootstrapCommand {
    /// Add peers
    Add {
        /// Their addresses, ending in /p2p/ID; `default` for the public list
        #[arg(required = true, value_name = "PEER")]
        peers: Vec<String>,
    },
    /// List the peers
    List,
    /// Remove peers
    Rm {
        /// Their addresses
        #[arg(required_unless_present = "all", value_name = "PEER")]
        peers: Vec<String>,
        /// Remove all of them
        #[arg(long)]
        all: bool,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Peers<'a> {
    peers: &'a [String],
}

pub(super) fn run(
    args: &BootstrapArgs,
    encoding: Encoding,
    disk: &Disk,
    workspace: &WorkspaceDir,
    environment: Option<&str>,
    io: &mut Io,
) -> Result<(), Failure> {
    let file = workspace.settings_file();
    let default = || BOOTSTRAP_PEERS.map(str::to_owned).to_vec();
    let mut now = settings::load(&file, environment)?
        .settings
        .bootstrap
        .unwrap_or_else(default);
    let (changed, did) = match &args.command {
        None | Some(BootstrapCommand::List) => {
            now.sort();
            return tell(&now, "", encoding, io);
        }
        Some(BootstrapCommand::Add { peers }) => {
            let mut added = Vec::new();
            for peer in peers {
                match peer.as_str() {
                    "default" => added.extend(default()),
                    peer => added.push(checked(peer)?),
                }
            }
            now.extend(added.iter().cloned());
            (added, "added ")
        }
        Some(BootstrapCommand::Rm { all: true, .. }) => (std::mem::take(&mut now), "removed "),
        Some(BootstrapCommand::Rm { peers, .. }) => {
            for peer in peers {
                if !now.contains(peer) {
                    return Err(Failure::new(Kind::NotFound, format!("{peer} is no bootstrap peer"))
                        .next("`odfs ipfs bootstrap list` shows them"));
                }
            }
            now.retain(|known| !peers.contains(known));
            (peers.clone(), "removed ")
        }
    };
    now.sort();
    now.dedup();
    let value = serde_json::to_string(&now).map_err(std::io::Error::from)?;
    settings::store(disk, &file, SETTING, Some(&value))?;
    tell(&changed, did, encoding, io)
}

fn tell(peers: &[String], did: &str, encoding: Encoding, io: &mut Io) -> Result<(), Failure> {
    if encoding == Encoding::Json {
        return answer(encoding, &Peers { peers }, "", io);
    }
    peers.iter().try_for_each(|peer| io.line(format_args!("{did}{peer}")))
}

/// The address of a peer, with who it is.
fn checked(text: &str) -> Result<String, Failure> {
    let wrong = |reason: &str| {
        Failure::usage(format!("{text:?} is no address of a peer: {reason}"))
            .next("such as /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW…")
    };
    let address: Multiaddr = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    match address.iter().last() {
        Some(Protocol::P2p(_)) => Ok(address.to_string()),
        _ => Err(wrong("it does not end in /p2p/ID")),
    }
}
