//! Prepare steps: from what was fetched to what is read. Each step goes from one file to another, because archives are
//! read from their end, and a command must not be able to hang the one before it.

pub(super) mod archive;
pub(super) mod pipe;

use super::spool::Content;
use super::{PollError, Surroundings};
use odf_metadata::{CompressionFormat, PrepStep};

pub use archive::{MAX_UNPACKED_BYTES, UNPACK_FLOOR_BYTES, UNPACK_RATIO};

/// Runs the steps one after another. `name` is what messages call the data.
pub(super) fn prepare(
    steps: &[PrepStep],
    mut content: Content,
    name: &str,
    around: &Surroundings<'_>,
) -> Result<Content, PollError> {
    for step in steps {
        around.check()?;
        content = Content::Spooled(match step {
            PrepStep::Decompress {
                format: CompressionFormat::Gzip,
                sub_path: _,
            } => archive::gunzip(content.path(), name, around)?,
            PrepStep::Decompress {
                format: CompressionFormat::Zip,
                sub_path,
            } => archive::unzip(content.path(), sub_path.as_deref(), name, around)?,
            PrepStep::Pipe { command } => pipe::pipe(content.path(), command, around)?,
        });
    }
    Ok(content)
}
