//! What a chain amounts to: computed from its blocks, and kept in the cache.

use std::collections::BTreeMap;
use std::mem;
use std::ops::ControlFlow;

use odf_metadata::chain::{BlockRef, ChainState, Totals};
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{
    AddPushSource, DatasetId, DatasetKind, Multihash, SetDataSchema, SetInfo, SetLicense, SetPollingSource,
    SetTransform, SetVocab, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::error::DatasetError;
use super::index::check;
use super::journal::{Journal, chain_len};
use crate::{Cache, Medium};

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

/// Area of the cache that holds states of chains: what each change moves under the id of the dataset, and what rows that come
/// leave alone under that and [`LASTING`].
pub(crate) const STATES: &str = "states";
/// Version of the kept form of a state; another one is computed again.
const STATE_VERSION: u8 = 4;
/// What the key of the lasting part has behind the id.
const LASTING: u8 = b'l';
/// The check of the lasting part is none of a metadata block: no chain gets that long.
const LASTING_CHECK: u64 = u64::MAX - 1;

/// What only changes when somebody changes how the dataset is described or fed. It is most of a state, so it is kept apart:
/// an append writes a few hundred bytes, and a listing reads no more.
#[derive(Serialize, Deserialize)]
struct Lasting {
    vocab: Option<SetVocab>,
    schema: Option<SetDataSchema>,
    polling_source: Option<SetPollingSource>,
    push_sources: BTreeMap<String, AddPushSource>,
    transform: Option<SetTransform>,
    info: Option<SetInfo>,
    license: Option<SetLicense>,
}

impl Lasting {
    /// Takes it out of a state.
    fn take(state: &mut ChainState) -> Self {
        Self {
            vocab: state.vocab.take(),
            schema: state.schema.take(),
            polling_source: state.polling_source.take(),
            push_sources: mem::take(&mut state.push_sources),
            transform: state.transform.take(),
            info: state.info.take(),
            license: state.license.take(),
        }
    }

    /// Puts it back.
    fn put(self, state: &mut ChainState) {
        state.vocab = self.vocab;
        state.schema = self.schema;
        state.polling_source = self.polling_source;
        state.push_sources = self.push_sources;
        state.transform = self.transform;
        state.info = self.info;
        state.license = self.license;
    }
}

fn lasting_key(id: &DatasetId) -> Vec<u8> {
    let mut key = id.to_bytes().to_vec();
    key.push(LASTING);
    key
}

/// What a listing tells of a dataset, without its schema and sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Whether data comes from outside or is computed.
    pub kind: DatasetKind,
    /// The newest metadata block.
    pub head: Multihash,
    sequence_number: u64,
    last_data_block: Option<BlockRef>,
    /// Up to when its rows are complete, as far as it says.
    pub watermark: Option<Timestamp>,
    /// Sums over the chain.
    pub totals: Totals,
}

impl Summary {
    /// That of a dataset whose whole state is known.
    pub(super) fn of(state: &ChainState) -> Self {
        Self {
            kind: state.kind,
            head: state.head,
            sequence_number: state.sequence_number,
            last_data_block: state.last_data_block,
            watermark: state.watermark,
            totals: state.totals,
        }
    }

    /// How many metadata blocks the chain has.
    pub fn blocks(&self) -> u64 {
        self.sequence_number.saturating_add(1)
    }

    /// When rows came last, here or where they were published.
    pub fn updated(&self) -> Option<Timestamp> {
        Some(self.last_data_block?.system_time)
    }

    /// Length of the part of the chain file that counts.
    pub(super) fn chain_len(&self) -> u64 {
        chain_len(&self.totals, self.blocks())
    }
}

/// The moving part of a kept state, and the check of the lasting one that belongs to it.
fn moving(kept: &[u8]) -> Option<(u64, &[u8])> {
    let (check, json) = kept.strip_prefix(&[STATE_VERSION])?.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*check), json))
}

/// What is kept of a dataset for listings, at whatever head.
pub(super) fn kept_summary(cache: &dyn Cache, id: &DatasetId) -> Option<Summary> {
    let kept = cache.get(STATES, &id.to_bytes())?;
    serde_json::from_slice(moving(&kept)?.1).ok()
}

/// The state that is kept of a dataset, at whatever head.
pub(super) fn kept_state(cache: &dyn Cache, id: &DatasetId) -> Option<ChainState> {
    let kept = cache.get(STATES, &id.to_bytes())?;
    let (wanted, json) = moving(&kept)?;
    let mut state: ChainState = serde_json::from_slice(json).ok()?;
    // Either part may be older than the other: the cache forgets as it likes.
    let lasting = cache.get(STATES, &lasting_key(id))?;
    if check(&state.dataset_id, LASTING_CHECK, &lasting) != wanted {
        return None;
    }
    let lasting: Lasting = serde_json::from_slice(&lasting).ok()?;
    lasting.put(&mut state);
    Some(state)
}

/// Keeps a state. It is a copy of what the chain says: not having it costs a recomputation, no more.
pub(super) fn keep_state(medium: &Medium, state: &ChainState) {
    if let Err(error) = keep(medium.cache.as_ref(), state.clone()) {
        tracing::warn!(dataset = %state.dataset_id, %error, "the state of a dataset could not be kept");
    }
}

fn keep(cache: &dyn Cache, mut state: ChainState) -> serde_json::Result<()> {
    let id = state.dataset_id;
    let (lasting, key) = (serde_json::to_vec(&Lasting::take(&mut state))?, lasting_key(&id));
    let mut moving = vec![STATE_VERSION];
    moving.extend_from_slice(&check(&id, LASTING_CHECK, &lasting).to_le_bytes());
    serde_json::to_writer(&mut moving, &state)?;
    if cache.get(STATES, &key).as_ref() != Some(&lasting) {
        cache.put(STATES, &key, &lasting);
    }
    cache.put(STATES, &id.to_bytes(), &moving);
    Ok(())
}
