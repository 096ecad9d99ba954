//! An input, walked along from run to run: each of its blocks is read once.

use odf_dataset::catalog::Catalog;
use odf_dataset::{BlockPlace, Dataset, DatasetError, StoredBlock};
use odf_metadata::chain::ChainState;
use odf_metadata::{DatasetId, ExecuteTransformInput, MetadataEvent, Multihash, TransformInput};

use crate::transform::error::TransformError;
use crate::transform::inputs::{News, Part};

/// An input up to some block.
pub(super) struct Along {
    dataset: Dataset,
    /// What its chain amounts to there; none before its first block.
    state: Option<ChainState>,
    /// Where that block lies.
    place: Option<BlockPlace>,
}

impl Along {
    /// Before the first block.
    ///
    /// # Errors
    /// [`TransformError::NoInput`], or it cannot be read.
    pub(super) fn open(input: &TransformInput, catalog: &Catalog) -> Result<Along, TransformError> {
        let id: DatasetId = input
            .dataset_ref
            .parse()
            .map_err(|_| TransformError::Unresolved(input.dataset_ref.clone()))?;
        let alias = input.alias.clone().unwrap_or_else(|| input.dataset_ref.clone());
        let dataset = catalog.by_id(&id)?.ok_or(TransformError::NoInput { alias, id })?;
        Ok(Along {
            dataset,
            state: None,
            place: None,
        })
    }

    /// The part of the input that a run says it read, behind what was read before. With a gap there may be runs between
    /// that nobody looked at. The inner error says what is wrong with it.
    ///
    /// # Errors
    /// The chain of the input cannot be read.
    pub(super) fn part(
        &mut self,
        alias: &str,
        record: &ExecuteTransformInput,
        has_gap: bool,
    ) -> Result<Result<Part, String>, TransformError> {
        let missing =
            |hash: &Multihash| format!("read up to {hash}, which is not in its chain behind what was read before");
        if record.prev_block_hash != self.head() {
            match &record.prev_block_hash {
                Some(before) if has_gap => {
                    if !self.go(before, &mut |_, _| {})? {
                        return Ok(Err(missing(before)));
                    }
                }
                before => {
                    let text =
                        |hash: Option<Multihash>| hash.map_or("its beginning".to_owned(), |hash| hash.to_string());
                    return Ok(Err(format!(
                        "goes on from {}, and was read up to {}",
                        text(*before),
                        text(self.head())
                    )));
                }
            }
        }
        let last = self.last_offset();
        if record.prev_offset != last {
            return Ok(Err(format!(
                "goes on behind {}, where it has {}",
                offset(record.prev_offset),
                offset(last)
            )));
        }
        let mut news = News::default();
        if let Some(end) = &record.new_block_hash
            && !self.go(end, &mut |dataset, event| news.take(dataset, event))?
        {
            return Ok(Err(missing(end)));
        }
        let expected = self.last_offset().filter(|now| last != Some(*now));
        if record.new_offset != expected {
            return Ok(Err(format!(
                "says that rows were read up to {}, and there they go up to {}",
                offset(record.new_offset),
                offset(expected)
            )));
        }
        let unread = || Err("read nothing that has rows or columns".to_owned());
        let Some(state) = &self.state else {
            return Ok(unread());
        };
        let part = Part::new(alias.to_owned(), record.clone(), &self.dataset, state, news)?;
        Ok(part.map_or_else(unread, Ok))
    }

    /// Goes on up to this block, and shows those on the way, it included. Whether it is there.
    fn go(&mut self, to: &Multihash, each: &mut dyn FnMut(&Dataset, &MetadataEvent)) -> Result<bool, TransformError> {
        for stored in self.dataset.blocks_after(self.place)? {
            let StoredBlock { block, place } = stored?;
            ChainState::append(&mut self.state, &block).map_err(DatasetError::from)?;
            self.place = Some(place);
            each(&self.dataset, &block.block().event);
            if block.hash() == to {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn head(&self) -> Option<Multihash> {
        self.state.as_ref().map(|state| state.head)
    }

    fn last_offset(&self) -> Option<u64> {
        self.state.as_ref().and_then(|state| state.last_offset)
    }
}

fn offset(offset: Option<u64>) -> String {
    offset.map_or("none".to_owned(), |offset| format!("offset {offset}"))
}
