//! `odfs system encode`

use std::path::{Path, PathBuf};

use clap::Args;
use odf::codec::EncodedBlock;
use odf::yaml;

use crate::commands::input::read_text;
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Turn the YAML of a metadata block into its exact bytes, and print their hash
///
/// What `odfs system decode` and `odfs log --output yaml` print of a block gives the same bytes again, unless the block
/// was written in version 2: new bytes are always of version 3.
#[derive(Args, Debug)]
pub(crate) struct EncodeArgs {
    /// A file or http(s) URL with one MetadataBlock manifest, or `-` for standard input
    #[arg(value_name = "FILE|-", default_value = "-")]
    manifest: String,
    /// File to write the bytes to; `-` for standard output, the hash then goes to standard error
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &EncodeArgs, io: &mut Io) -> Result<(), Failure> {
    let text = read_text(&args.manifest, yaml::MAX_MANIFEST_BYTES as u64, io)?;
    let blocks = yaml::read_blocks(&text).map_err(|error| Failure::from(error).about(&args.manifest))?;
    let [block]: [_; 1] = blocks.try_into().map_err(|blocks: Vec<_>| {
        let count = blocks.len();
        Failure::new(
            Kind::BadInput,
            format!("{} holds {count} blocks, and one is wanted", args.manifest),
        )
        .next("put each block into a file of its own")
    })?;
    let block = EncodedBlock::encode(block)
        .map_err(|error| Failure::new(Kind::BadInput, error).about("the block cannot be written"))?;
    match &args.output {
        Some(path) if path == Path::new("-") => {
            io.write(block.bytes())?;
            io.say(block.hash());
            return Ok(());
        }
        Some(path) => {
            let path = io.resolve(path);
            std::fs::write(&path, block.bytes()).map_err(|error| Failure::file(&path, &error))?;
        }
        None => {}
    }
    io.line(block.hash())
}
