//! Whose a dataset is: who holds its key may change it here, wherever it was pulled from.

use odf::dataset::Dataset;

use crate::failure::Failure;
use crate::session::Session;

/// From where a dataset was pulled that somebody else changes; none of one that is changed here, or whose key is here.
///
/// # Errors
/// What is noted of the dataset cannot be read.
pub(super) fn pulled_from(dataset: &Dataset, session: &Session) -> Result<Option<String>, Failure> {
    let aliases = dataset.remote_aliases()?.pull_aliases;
    let Some(alias) = aliases.into_iter().next() else {
        return Ok(None);
    };
    let is_own = session.workspace()?.key_of(&dataset.id()).is_some();
    Ok((!is_own).then_some(alias))
}
