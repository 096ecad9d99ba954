//! `odfs system decode`

use clap::{Args, ValueEnum};
use odf::codec::{EncodedBlock, MAX_BLOCK_BYTES};
use odf::yaml;

use crate::commands::input::read_bytes;
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Show a metadata block file as YAML
///
/// The block's hash and the version of its bytes go to standard error.
#[derive(Args, Debug)]
pub(crate) struct DecodeArgs {
    /// The block: a file, http(s) URL, or `-` for standard input; with --dataset its hash or sequence number
    #[arg(value_name = "BLOCK|-", required_unless_present = "stdin")]
    block: Option<String>,
    /// Read the block from standard input
    #[arg(long, conflicts_with = "block")]
    stdin: bool,
    /// The dataset that has the block
    #[arg(long, value_name = "NAME", conflicts_with = "stdin")]
    dataset: Option<String>,
    /// Form of the block
    #[arg(short, long, value_enum, default_value_t = Form::Yaml, value_name = "FORMAT")]
    output: Form,
}

/// The form of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A MetadataBlock manifest, as kamu writes it; `odfs system encode` reads it back
    Yaml,
    /// Its content as one JSON object
    Json,
}

impl DecodeArgs {
    pub(super) fn needs_workspace(&self) -> bool {
        self.dataset.is_some()
    }
}

pub(super) fn run(args: &DecodeArgs, session: Option<&Session>, io: &mut Io) -> Result<(), Failure> {
    let block = args.block.as_deref().unwrap_or("-");
    let block = match (&args.dataset, session) {
        (Some(dataset), Some(session)) => of_dataset(dataset, block, session)?,
        _ => {
            let bytes = read_bytes(block, MAX_BLOCK_BYTES as u64, io)?;
            EncodedBlock::decode(bytes).map_err(|error| Failure::from(error).about(block))?
        }
    };
    match args.output {
        Form::Yaml => io.text(&yaml::write_block(block.block())?)?,
        Form::Json => io.line(serde_json::to_string_pretty(block.block()).map_err(std::io::Error::from)?)?,
    }
    io.say(format_args!("{} (version {})", block.hash(), block.version()));
    Ok(())
}

/// The block of a dataset with a number, a hash or a part of one.
fn of_dataset(name: &str, block: &str, session: &Session) -> Result<EncodedBlock, Failure> {
    let dataset = session.workspace()?.catalog().find(name)?;
    Ok(dataset.point(block)?.block)
}
