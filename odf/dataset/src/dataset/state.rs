//! What a chain amounts to: computed from its blocks, and kept in the cache.

use std::ops::ControlFlow;

use odf_metadata::Multihash;
use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;

use super::error::DatasetError;
use super::journal::Journal;
use crate::Medium;

/// Reads the chain file up to the block `head`, checking every rule on the way.
pub(super) fn recompute(journal: &Journal, head: &Multihash) -> Result<ChainState, DatasetError> {
    let mut state: Option<ChainState> = None;
    journal.scan(&mut |bytes| {
        let sequence = state.as_ref().map_or(0, ChainState::blocks);
        let block = EncodedBlock::decode(bytes).map_err(|source| DatasetError::Block {
            sequence: Some(sequence),
            source,
        })?;
        ChainState::append(&mut state, &block)?;
        Ok(if block.hash() == head {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    state
        .filter(|state| state.head == *head)
        .ok_or_else(|| DatasetError::Damaged {
            path: journal.path().to_owned(),
            reason: format!("it does not hold the head {head}"),
        })
}

/// Area of the cache that holds states of chains, by dataset id.
pub(crate) const STATES: &str = "states";
/// Version of the kept form of a state; another one is computed again.
const STATE_VERSION: u8 = 3;

pub(super) fn read_state(bytes: &[u8]) -> Option<ChainState> {
    let json = bytes.strip_prefix(&[STATE_VERSION])?;
    serde_json::from_slice(json).ok()
}

/// Keeps a state. It is a copy of what the chain says: not having it costs a recomputation, no more.
pub(super) fn keep_state(medium: &Medium, state: &ChainState) {
    let mut bytes = vec![STATE_VERSION];
    match serde_json::to_writer(&mut bytes, state) {
        Ok(()) => medium.cache.put(STATES, &state.dataset_id.to_bytes(), &bytes),
        Err(error) => tracing::warn!(dataset = %state.dataset_id, %error, "the state of a dataset could not be kept"),
    }
}
