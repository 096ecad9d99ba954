//! What a dataset somewhere else amounts to, from its chain alone.

use std::path::Path;

use odf_metadata::chain::{ChainState, Relation};
use odf_metadata::{DataSlice, DatasetId};

use super::{Listener, ReceiveError, Source, compare};
use crate::dataset::each;
use crate::{Dataset, DatasetError};

/// A dataset at the head that it has somewhere else. Its slices are there.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// What the chain amounts to.
    pub state: ChainState,
    /// Its slices, oldest first.
    pub slices: Vec<DataSlice>,
}

/// Reads the chain of a source, every block checked against its hash and the rules; `expected` is the id that it must have.
/// Of `local`, the same dataset as far as it is here, only newer blocks are asked for where the source has gone on from it.
/// Many blocks are put aside in a file without a name in the directory `aside`.
///
/// # Errors
/// There is nothing, a block cannot be had or is not what it should be, or it is another dataset.
pub fn survey(
    source: &dyn Source,
    local: Option<&Dataset>,
    expected: Option<DatasetId>,
    aside: &Path,
    listener: &Listener<'_>,
) -> Result<Surveyed, ReceiveError> {
    let place = || source.place().to_owned();
    let head = source
        .head()?
        .ok_or_else(|| ReceiveError::NotFound { place: place() })?;
    let mut compared = compare(source, head, local, aside, listener)?;
    let (mut state, mut slices) = match (local, compared.relation) {
        (Some(local), Relation::Equal | Relation::Behind { .. }) => (Some(local.state().clone()), local.slices()?),
        (Some(_), _) => {
            compared = compare(source, head, None, aside, listener)?;
            (None, Vec::new())
        }
        (None, _) => (None, Vec::new()),
    };
    for block in each(&compared.theirs) {
        let block = block?;
        ChainState::append(&mut state, &block).map_err(DatasetError::Chain)?;
        slices.extend(block.block().event.new_data().cloned());
    }
    let state = state.ok_or_else(|| ReceiveError::NotFound { place: place() })?;
    match expected.filter(|expected| *expected != state.dataset_id) {
        Some(expected) => Err(ReceiveError::OtherDataset {
            place: place(),
            found: state.dataset_id,
            expected,
        }),
        None => Ok(Surveyed { state, slices }),
    }
}
