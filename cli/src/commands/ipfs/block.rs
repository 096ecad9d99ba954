//! `odfs ipfs block`

use std::path::PathBuf;

use clap::{ArgAction, Subcommand, ValueEnum};
use odf_node::block::{Block, Cid, DAG_CBOR, DAG_JSON, DAG_PB, LIBP2P_KEY, MAX_BLOCK_BYTES, RAW};
use odf_node::store::Blocks as _;
use serde::Serialize;

use super::call::Call;
use super::path::IpfsPath;
use super::pin::PIN_OWNER;
use super::source::whole_block;
use crate::commands::input;
use crate::failure::Failure;
use crate::io::Io;

/// Work with single blocks
#[derive(Subcommand, Debug)]
pub(crate) enum BlockCommand {
    /// Write the bytes of a block to standard output
    Get {
        /// CID of the block, or a path to it
        #[arg(value_name = "CID")]
        path: IpfsPath,
    },
    /// Keep files as blocks, and print their CIDs
    Put {
        /// The files; `-`, or none, for standard input
        #[arg(value_name = "DATA")]
        files: Vec<PathBuf>,
        /// Codec in the CID. The bytes stay as they are
        #[arg(long, value_enum, default_value_t = BlockCodec::Raw, value_name = "CODEC")]
        cid_codec: BlockCodec,
        /// Hash function
        #[arg(long, value_parser = ["sha2-256"], default_value = "sha2-256", hide = true)]
        mhtype: String,
        /// Length of the hash
        #[arg(long, default_value_t = -1, allow_hyphen_values = true, hide = true)]
        mhlen: i64,
        /// Keep them, with all below them, from being collected as garbage
        #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = ArgAction::Set)]
        pin: bool,
        /// The old way to say the codec
        #[arg(short, long, value_enum, hide = true)]
        format: Option<OldFormat>,
    },
    /// Print the size of a block
    Stat {
        /// CID of the block, or a path to it
        #[arg(value_name = "CID")]
        path: IpfsPath,
    },
}

/// Codecs that a CID can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BlockCodec {
    /// Plain bytes
    Raw,
    /// The protobuf of UnixFS
    DagPb,
    /// Canonical CBOR
    DagCbor,
    /// JSON with links
    DagJson,
    /// A public key
    Libp2pKey,
}

/// The old names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OldFormat {
    /// A CID of version 0
    V0,
    /// dag-pb
    Protobuf,
    /// dag-cbor
    Cbor,
    /// raw
    Raw,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stat {
    key: String,
    size: usize,
}

pub(super) fn run(command: &BlockCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    match command {
        BlockCommand::Get { path } => {
            let block = find(path, call, io)?;
            io.write(block.data())
        }
        BlockCommand::Stat { path } => {
            let block = find(path, call, io)?;
            let stat = Stat {
                key: call.cid(block.cid()),
                size: block.data().len(),
            };
            call.answer(&stat, format_args!("Key: {}\nSize: {}", stat.key, stat.size), io)
        }
        BlockCommand::Put {
            files,
            cid_codec,
            mhlen,
            pin,
            format,
            ..
        } => {
            if ![-1, 32].contains(mhlen) {
                return Err(Failure::usage("a sha2-256 hash has 32 bytes"));
            }
            let codec = match (format, cid_codec) {
                (Some(OldFormat::V0 | OldFormat::Protobuf), _) | (None, BlockCodec::DagPb) => DAG_PB,
                (Some(OldFormat::Cbor), _) | (None, BlockCodec::DagCbor) => DAG_CBOR,
                (Some(OldFormat::Raw), _) | (None, BlockCodec::Raw) => RAW,
                (None, BlockCodec::DagJson) => DAG_JSON,
                (None, BlockCodec::Libp2pKey) => LIBP2P_KEY,
            };
            let is_v0 = *format == Some(OldFormat::V0);
            let mut put = Vec::new();
            for file in or_stdin(files) {
                let bytes = input::read_bytes(&file.to_string_lossy(), MAX_BLOCK_BYTES as u64, io)?;
                put.push(Block::new(codec, bytes)?);
            }
            keep(&put, *pin, call)?;
            for block in put {
                let key = match Cid::new_v0(*block.cid().hash()) {
                    Ok(v0) if is_v0 => v0.to_string(),
                    _ => call.cid(block.cid()),
                };
                let size = block.data().len();
                let stat = Stat { key, size };
                call.answer(&stat, &stat.key, io)?;
            }
            Ok(())
        }
    }
}

fn find(path: &IpfsPath, call: &Call<'_>, io: &Io) -> Result<Block, Failure> {
    let mut source = call.source()?;
    let resolved = source.resolve(path, io)?;
    source.block(&whole_block(&resolved, path)?, io)
}

/// Standard input, where there is no file.
pub(super) fn or_stdin(files: &[PathBuf]) -> Vec<PathBuf> {
    match files {
        [] => vec![PathBuf::from("-")],
        files => files.to_vec(),
    }
}

/// Puts blocks on the disk, and tells peers that wait for them.
pub(super) fn keep(blocks: &[Block], pin: bool, call: &Call<'_>) -> Result<(), Failure> {
    let store = call.session.workspace()?.store();
    let _hold = store.hold();
    store.put(blocks)?;
    let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
    if pin {
        store.pin_all(PIN_OWNER, &cids)?;
    }
    store.flush()?;
    call.session.added(&cids);
    Ok(())
}
