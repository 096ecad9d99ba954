//! `odfs ipfs routing`

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use odf_node::block::Base;
use odf_node::ipns::Freshness;
use odf_node::ipns::record::Record;
use odf_node::store::Blocks as _;
use odf_node::{Multiaddr, PeerId};
use serde::Serialize;

use super::call::Call;
use super::name::name_of;
use super::path::IpfsPath;
use super::source::whole_block;
use crate::commands::input;
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// How long the DHTs are asked, unless --timeout says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most providers that are asked for.
const MAX_PROVIDERS: usize = 1_000;
/// The largest IPNS record.
const MAX_RECORD_BYTES: u64 = 10 << 10;

/// Ask the DHTs, and tell them
#[derive(Subcommand, Debug)]
pub(crate) enum RoutingCommand {
    /// Print who has some content
    Findprovs {
        /// CID of the content
        #[arg(value_name = "KEY")]
        path: IpfsPath,
        /// The most providers to look for
        #[arg(short, long, default_value_t = 20, value_name = "N")]
        num_providers: usize,
    },
    /// Print the addresses of a peer
    Findpeer {
        /// The peer
        #[arg(value_name = "PEER")]
        peer: PeerId,
    },
    /// Tell others that content is here
    Provide {
        /// CIDs of the content
        #[arg(required = true, value_name = "KEY")]
        paths: Vec<IpfsPath>,
        /// Also of everything below it
        #[arg(short, long)]
        recursive: bool,
    },
    /// Write the record of a name to standard output
    Get {
        /// The name: /ipns/K
        #[arg(value_name = "KEY")]
        name: String,
    },
    /// Give others the record of a name that a file holds
    Put {
        /// The name: /ipns/K
        #[arg(value_name = "KEY")]
        name: String,
        /// File with the record; `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Keep it also where nobody else can be told now
        #[arg(long)]
        allow_offline: bool,
    },
}

/// Kubo's event of a question; the number says what it is.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    extra: String,
    #[serde(rename = "ID")]
    id: String,
    responses: Option<Vec<Response>>,
    r#type: u8,
}

#[derive(Serialize)]
struct Response {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Addrs")]
    addrs: Vec<String>,
}

const FINAL_PEER: u8 = 2;
const PROVIDER: u8 = 4;
const VALUE: u8 = 5;

impl Event {
    fn of(kind: u8, id: &PeerId, addresses: &[Multiaddr]) -> Self {
        Self {
            extra: String::new(),
            id: String::new(),
            responses: Some(vec![Response {
                id: id.to_string(),
                addrs: addresses.iter().map(Multiaddr::to_string).collect(),
            }]),
            r#type: kind,
        }
    }

    fn value(extra: String) -> Self {
        Self {
            extra,
            id: String::new(),
            responses: None,
            r#type: VALUE,
        }
    }
}

pub(super) fn run(command: &RoutingCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    if call.is_offline() {
        return Err(Failure::new(
            Kind::Unreachable,
            "this command must be run in online mode. Try running 'ipfs daemon' first",
        ));
    }
    match command {
        RoutingCommand::Findprovs { path, num_providers } => {
            let cid = whole_block(&call.source()?.resolve(path, io)?, path)?;
            let routing = call.node()?.routing();
            let limit = (*num_providers).clamp(1, MAX_PROVIDERS);
            let found = call.wait(io, routing.find_providers(&cid, limit, PATIENCE))?;
            for provider in found {
                let event = Event::of(PROVIDER, &provider.peer, &provider.addresses);
                call.answer(&event, provider.peer, io)?;
            }
            Ok(())
        }
        RoutingCommand::Findpeer { peer } => {
            let addresses = call.wait(io, call.node()?.routing().find_peer(*peer, PATIENCE))?;
            if addresses.is_empty() {
                return Err(Failure::new(Kind::Unreachable, "routing: not found"));
            }
            let event = Event::of(FINAL_PEER, peer, &addresses);
            let lines: Vec<String> = addresses.iter().map(Multiaddr::to_string).collect();
            call.answer(&event, lines.join("\n"), io)
        }
        RoutingCommand::Provide { paths, recursive } => {
            let mut source = call.source()?;
            let store = call.session.workspace()?.store();
            let mut cids = Vec::new();
            for path in paths {
                let cid = whole_block(&source.resolve(path, io)?, path)?;
                if !store.has(&cid)? {
                    return Err(Failure::new(
                        Kind::NotFound,
                        format!("block {cid} not found locally, cannot provide"),
                    ));
                }
                cids.push(cid);
                if *recursive {
                    cids.extend(source.below(&cid, io)?);
                }
            }
            call.wait(io, call.node()?.provide(cids))?;
            Ok(())
        }
        RoutingCommand::Get { name } => {
            let name = name_of(name)?;
            let names = call.node()?.names();
            let record = call.wait(io, names.resolve(&name, Freshness::Network))?.record;
            match call.is_json() {
                true => call.answer(&Event::value(Base::Base64Pad.encode(record.bytes())), "", io),
                false => io.write(record.bytes()),
            }
        }
        RoutingCommand::Put { name, file, .. } => {
            let name = name_of(name)?;
            let bytes = input::read_bytes(&file.to_string_lossy(), MAX_RECORD_BYTES, io)?;
            let record = Record::verify(name, bytes.into(), SystemTime::now())
                .map_err(|error| Failure::new(Kind::BadRecord, error).about(file.display()))?;
            let names = call.node()?.names();
            call.wait(io, names.relay(record, 1))?;
            call.answer(&Event::value(String::new()), name, io)
        }
    }
}
