//! `odfs ipfs dag`

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use odf_node::block::{DAG_CBOR, DAG_PB, RAW};
use odf_node::dag;

use super::path::IpfsPath;
use super::source::Source;
use crate::commands::car;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Work with IPLD nodes
#[derive(Subcommand, Debug)]
pub(crate) enum DagCommand {
    /// Write an IPLD node, or a value within one, to standard output
    Get {
        /// Path to the node: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(value_name = "REF")]
        path: IpfsPath,
        /// Codec of the output
        #[arg(long, value_enum, default_value_t = Codec::DagJson)]
        output_codec: Codec,
    },
    /// Write all blocks below a path to standard output, as a CAR
    Export {
        /// Where to begin: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(value_name = "ROOT")]
        path: IpfsPath,
        /// Show progress on a terminal
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
        progress: bool,
    },
    /// Take the blocks of CARs into the store, and pin what they say that they are of
    Import {
        /// The files; `-`, or none, for standard input
        #[arg(value_name = "PATH")]
        files: Vec<PathBuf>,
        /// Pin the roots
        #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
        pin_roots: bool,
    },
}

/// A codec that a node can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// JSON with links as {"/": CID}
    DagJson,
    /// Canonical CBOR
    DagCbor,
    /// The protobuf of UnixFS, for nodes that are stored so
    DagPb,
    /// Plain bytes, for nodes that are stored so
    Raw,
}

pub(super) fn run(command: &DagCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let (path, output_codec) = match command {
        DagCommand::Get { path, output_codec } => (path, output_codec),
        DagCommand::Export { path, .. } => return car::export(path, "-", false, session, io),
        DagCommand::Import { files, pin_roots } => return import(files, *pin_roots, session, io),
    };
    let mut source = Source::new(session)?;
    let resolved = source.resolve(path, io)?;
    let block = source.block(&resolved.cid, io)?;
    let stored = match output_codec {
        Codec::DagJson => None,
        Codec::DagCbor => Some(DAG_CBOR),
        Codec::DagPb => Some(DAG_PB),
        Codec::Raw => Some(RAW),
    };
    if stored == Some(block.cid().codec()) && resolved.remainder.is_empty() {
        return io.write(block.data());
    }
    let value = dag::value_at(&block, &resolved.remainder)?;
    let unfit = |reason: String| {
        Failure::new(
            Kind::BadInput,
            format!("{} cannot be written as {output_codec:?}: {reason}", path.typed),
        )
    };
    let bytes = match output_codec {
        Codec::DagJson => serde_ipld_dagjson::to_vec(&value).map_err(|error| unfit(error.to_string()))?,
        Codec::DagCbor => serde_ipld_dagcbor::to_vec(&value).map_err(|error| unfit(error.to_string()))?,
        Codec::DagPb | Codec::Raw => return Err(unfit("it is stored in another form".to_owned())),
    };
    io.write(&bytes)
}

fn import(files: &[PathBuf], pin: bool, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    for root in car::import(files, pin, session, io)? {
        if pin {
            io.line(format_args!("Pinned root\t{root}\tsuccess"))?;
        }
    }
    Ok(())
}
