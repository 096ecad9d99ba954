//! What commands that only read take: datasets and copies of them, and `--as-of`, a dataset as it was.

use clap::Args;
use odf::catalog::CatalogError;
use odf::dataset::Dataset;

use crate::failure::Failure;
use crate::session::Session;

/// The option of commands that only read a dataset.
#[derive(Args, Debug)]
pub(super) struct AsOfArgs {
    /// The dataset as it was at a block (its number or hash as `odfs log` shows them, or more of the hash), or at a time
    /// (RFC 3339; a date means its first moment in UTC): after the last block that was made up to then
    #[arg(long, value_name = "BLOCK|TIME")]
    as_of: Option<String>,
}

impl AsOfArgs {
    /// Opens a dataset, as it was if that is asked for.
    ///
    /// # Errors
    /// It is not here, or has no such block.
    pub(super) fn open(&self, name: &str, session: &Session) -> Result<Dataset, Failure> {
        let dataset = find(name, session)?;
        match &self.as_of {
            None => Ok(dataset),
            Some(text) => {
                let point = dataset.point(text)?;
                Ok(dataset.as_of(point.block.block().sequence_number)?)
            }
        }
    }
}

/// The dataset of this name or id, or else the copy of this name.
///
/// # Errors
/// There is none.
pub(super) fn find(name: &str, session: &Session) -> Result<Dataset, Failure> {
    let workspace = session.workspace()?;
    match workspace.catalog().find(name) {
        Err(error @ CatalogError::Unknown { .. }) => match workspace.copies().find(name)? {
            Some(copy) => Ok(copy),
            None => Err(error.into()),
        },
        found => Ok(found?),
    }
}
