//! `odfs ipfs dag`

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use odf_node::block::{Block, DAG_CBOR, DAG_JSON, DAG_PB, MAX_BLOCK_BYTES, RAW};
use odf_node::dag::{self, DepthFirst, Ipld};
use serde::{Serialize, Serializer};

use super::block::{self, or_stdin};
use super::call::{Call, go_bytes};
use super::path::IpfsPath;
use crate::commands::{car, input};
use crate::failure::{Failure, Kind};
use crate::io::Io;

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
        /// Print how many blocks they had
        #[arg(long)]
        stats: bool,
    },
    /// Keep values as IPLD nodes, and print their CIDs
    Put {
        /// Files with the values; `-`, or none, for standard input
        #[arg(value_name = "OBJECT DATA")]
        files: Vec<PathBuf>,
        /// Codec that they are stored in
        #[arg(long, value_enum, default_value_t = Codec::DagCbor)]
        store_codec: Codec,
        /// Codec of the files
        #[arg(long, value_enum, default_value_t = Codec::DagJson)]
        input_codec: Codec,
        /// Keep them, with all below them, from being collected as garbage
        #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
        pin: bool,
        /// Hash function
        #[arg(long, value_parser = ["sha2-256"], default_value = "sha2-256", hide = true)]
        hash: String,
    },
    /// Print the CID of the block that a path leads to
    Resolve {
        /// Path: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(value_name = "REF")]
        path: IpfsPath,
    },
    /// Print how many blocks there are below paths, and their size
    Stat {
        /// Paths: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(required = true, value_name = "ROOT")]
        paths: Vec<IpfsPath>,
        /// Taken for Kubo's sake
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
        progress: bool,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CidOf {
    cid: Link,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResolvedTo {
    cid: Link,
    rem_path: String,
}

/// A CID as dag-json has it.
#[derive(Serialize)]
struct Link {
    #[serde(rename = "/")]
    cid: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootOf {
    root: PinnedRoot,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PinnedRoot {
    cid: Link,
    pin_error_msg: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatsOf {
    stats: Stats,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stats {
    block_count: u64,
    block_bytes_count: u64,
}

/// What is below several roots.
#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    unique_blocks: u64,
    total_size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    shared_size: u64,
    #[serde(serialize_with = "as_go_number")]
    ratio: f32,
    dag_stats: Vec<DagStat>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DagStat {
    cid: String,
    size: u64,
    num_blocks: u64,
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

pub(super) fn run(command: &DagCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let (path, output_codec) = match command {
        DagCommand::Get { path, output_codec } => (path, output_codec),
        DagCommand::Export { path, .. } => return car::export(path, "-", false, call.session, io),
        DagCommand::Import {
            files,
            pin_roots,
            stats,
        } => return import(files, *pin_roots, *stats, call, io),
        DagCommand::Put {
            files,
            store_codec,
            input_codec,
            pin,
            ..
        } => return put(files, *store_codec, *input_codec, *pin, call, io),
        DagCommand::Resolve { path } => return resolve(path, call, io),
        DagCommand::Stat { paths, .. } => return stat(paths, call, io),
    };
    let mut source = call.source()?;
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

fn import(files: &[PathBuf], pin: bool, stats: bool, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let imported = car::import(&or_stdin(files), pin, call.session, io)?;
    for root in imported.roots {
        let root = call.cid(&root);
        if pin {
            let value = RootOf {
                root: PinnedRoot {
                    cid: Link { cid: root.clone() },
                    pin_error_msg: "",
                },
            };
            call.answer(&value, format_args!("Pinned root\t{root}\tsuccess"), io)?;
        }
    }
    if stats {
        let (blocks, bytes) = (imported.taken.blocks, imported.taken.bytes);
        let value = StatsOf {
            stats: Stats {
                block_count: blocks,
                block_bytes_count: bytes,
            },
        };
        call.answer(&value, format_args!("Imported {blocks} blocks ({bytes} bytes)"), io)?;
    }
    Ok(())
}

/// The value that bytes are in a codec. Of dag-pb and raw the bytes are what is stored.
fn put(
    files: &[PathBuf],
    store_codec: Codec,
    input_codec: Codec,
    pin: bool,
    call: &Call<'_>,
    io: &mut Io,
) -> Result<(), Failure> {
    let mut blocks = Vec::new();
    for file in or_stdin(files) {
        let bytes = input::read_bytes(&file.to_string_lossy(), MAX_BLOCK_BYTES as u64, io)?;
        let unfit = |error: &dyn std::fmt::Display| {
            Failure::new(
                Kind::BadInput,
                format!("{} is no {}: {error}", file.display(), input_codec.word()),
            )
        };
        // Read as a block of that codec, within the bounds of one.
        let read = Block::new(input_codec.code(), bytes)?;
        let value = dag::value(&read).map_err(|error| unfit(&error))?;
        let bytes = match store_codec {
            same if same == input_codec && same == Codec::DagPb => read.data().to_vec(),
            Codec::DagJson => serde_ipld_dagjson::to_vec(&value).map_err(|error| unfit(&error))?,
            Codec::DagCbor => serde_ipld_dagcbor::to_vec(&value).map_err(|error| unfit(&error))?,
            Codec::Raw => match value {
                Ipld::Bytes(bytes) => bytes,
                _ => return Err(unfit(&"raw blocks are of bytes only")),
            },
            Codec::DagPb => return Err(unfit(&"nodes of UnixFS are made by `ipfs add`")),
        };
        blocks.push(Block::new(store_codec.code(), bytes)?);
    }
    block::keep(&blocks, pin, call)?;
    for block in blocks {
        let cid = call.cid(block.cid());
        let value = CidOf {
            cid: Link { cid: cid.clone() },
        };
        call.answer(&value, cid, io)?;
    }
    Ok(())
}

fn resolve(path: &IpfsPath, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let resolved = call.source()?.resolve(path, io)?;
    let cid = call.cid(&resolved.cid);
    let rem_path = resolved.remainder.join("/");
    // Without the end of a line, as Kubo has it.
    let text = match rem_path.is_empty() {
        true => cid.clone(),
        false => format!("{cid}/{rem_path}"),
    };
    if !call.is_json() {
        return io.text(&text);
    }
    let value = ResolvedTo {
        cid: Link { cid },
        rem_path,
    };
    call.answer(&value, text, io)
}

fn stat(paths: &[IpfsPath], call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let mut source = call.source()?;
    let mut summary = Summary::default();
    let mut seen = HashMap::new();
    let mut all_bytes = 0;
    for path in paths {
        let root = source.resolve(path, io)?.cid;
        let (mut size, mut num_blocks) = (0, 0);
        let mut order = DepthFirst::new(root);
        while let Some(cid) = order.next_block() {
            let block = source.block(&cid, io)?;
            order.enter(&block)?;
            source.read_ahead(order.upcoming())?;
            let bytes = block.data().len() as u64;
            seen.insert(cid, bytes);
            size += bytes;
            num_blocks += 1;
        }
        all_bytes += size;
        summary.dag_stats.push(DagStat {
            cid: call.cid(&root),
            size,
            num_blocks,
        });
    }
    summary.unique_blocks = seen.len() as u64;
    summary.total_size = seen.values().sum();
    summary.shared_size = all_bytes - summary.total_size;
    summary.ratio = match summary.total_size {
        0 => 1.0,
        total => all_bytes as f32 / total as f32,
    };
    if call.is_json() {
        return call.answer(&summary, "", io);
    }
    io.text(&summary.text())
}

/// Go writes a whole number without a point.
fn as_go_number<S: Serializer>(number: &f32, to: S) -> Result<S::Ok, S::Error> {
    match number.fract() == 0.0 {
        true => to.serialize_u64(*number as u64),
        false => to.serialize_f32(*number),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    /// As Kubo prints it, the empty lines included.
    fn text(&self) -> String {
        let widest = self.dag_stats.iter().map(|stat| stat.cid.len()).max().unwrap_or(0);
        let mut text = format!("\n{:<widest$}\t{:<15}\tSize\n", "CID", "Blocks");
        for stat in &self.dag_stats {
            text.push_str(&format!(
                "{:<widest$}\t{:<15}\t{}\n",
                stat.cid, stat.num_blocks, stat.size
            ));
        }
        text.push_str(&format!(
            "\nSummary\nTotal Size: {0} ({1})\nUnique Blocks: {2}\nShared Size: {5} ({3})\nRatio: {4:.6}\n\n\n",
            self.total_size,
            go_bytes(self.total_size),
            self.unique_blocks,
            go_bytes(self.shared_size),
            self.ratio,
            self.shared_size
        ));
        text
    }
}

impl Codec {
    fn code(self) -> u64 {
        match self {
            Self::DagJson => DAG_JSON,
            Self::DagCbor => DAG_CBOR,
            Self::DagPb => DAG_PB,
            Self::Raw => RAW,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::DagJson => "dag-json",
            Self::DagCbor => "dag-cbor",
            Self::DagPb => "dag-pb",
            Self::Raw => "raw",
        }
    }
}
