//! `odfs ipfs dag`

use clap::{Subcommand, ValueEnum};
use odf_node::block::{DAG_CBOR, DAG_PB, RAW};
use odf_node::dag;

use super::path::IpfsPath;
use super::source::Source;
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
    let DagCommand::Get { path, output_codec } = command;
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
