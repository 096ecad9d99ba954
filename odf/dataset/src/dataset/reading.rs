//! The metadata blocks that a chain has, read from either end, as many as are asked for.

use std::ops::Range;

use odf_metadata::{DataSlice, MetadataEvent, Multihash};

use super::index::{self, Index, Record};
use super::journal::{BlockPlace, Reader, StoredBlock};
use super::{Dataset, DatasetError, decode};

impl Dataset {
    /// All blocks, read one by one from either end, and no more of them than are asked for. To go through the chain from
    /// the start, [`Self::blocks_after`] is cheaper.
    ///
    /// # Errors
    /// The chain file cannot be opened. An item fails if its block is damaged.
    pub fn blocks(
        &self,
    ) -> Result<impl DoubleEndedIterator<Item = Result<StoredBlock, DatasetError>> + '_, DatasetError> {
        ChainReader::of(self)
    }

    /// The blocks from this sequence number on, read one by one. Those before are not read.
    ///
    /// # Errors
    /// As [`Self::blocks`].
    pub fn blocks_from(
        &self,
        sequence: u64,
    ) -> Result<impl Iterator<Item = Result<StoredBlock, DatasetError>> + '_, DatasetError> {
        let mut blocks = ChainReader::of(self)?;
        blocks.rest.start = sequence.min(blocks.rest.end);
        Ok(blocks)
    }

    /// The block with this sequence number.
    ///
    /// # Errors
    /// The chain file cannot be read, or the block is damaged.
    pub fn block_by_sequence(&self, sequence: u64) -> Result<Option<StoredBlock>, DatasetError> {
        match sequence < self.state.blocks() {
            true => ChainReader::of(self)?.get(sequence).map(Some),
            false => Ok(None),
        }
    }

    /// The block with this hash. Looks for it from the head on backwards, in the index of the chain if it has one; of the
    /// chain itself only the block is read then.
    ///
    /// # Errors
    /// The chain file cannot be read, or a block that was looked at is damaged.
    pub fn block_by_hash(&self, hash: &Multihash) -> Result<Option<StoredBlock>, DatasetError> {
        let mut blocks = ChainReader::of(self)?;
        match blocks.find(hash) {
            Some(None) => return Ok(None),
            Some(Some(sequence)) => {
                let found = blocks.get(sequence)?;
                if found.block.hash() == hash {
                    return Ok(Some(found));
                }
            }
            None => {}
        }
        for block in blocks.rev() {
            let block = block?;
            if block.block.hash() == hash {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// What the blocks from this sequence number on are called and where they lie, from either end. The blocks are read only
    /// where the chain has no index; whoever reads one at its place compares its hash.
    ///
    /// # Errors
    /// The chain file cannot be opened. An item fails if the chain file cannot be read.
    pub fn names_from(
        &self,
        sequence: u64,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(Multihash, BlockPlace), DatasetError>> + '_, DatasetError> {
        let mut reader = ChainReader::of(self)?;
        Ok((sequence..self.state.blocks()).map(move |sequence| reader.named(sequence)))
    }

    /// Every slice of the chain, oldest first. The blocks are read only where the chain has no index.
    ///
    /// # Errors
    /// The chain file cannot be read, or a block is damaged.
    pub fn slices(&self) -> Result<Vec<DataSlice>, DatasetError> {
        let mut slices = Vec::new();
        if let Some(index) = Index::of(self.disk(), &self.dir, self.state()) {
            if index.each(self.state.blocks(), &mut |record| slices.extend(record.slice)) {
                return Ok(slices);
            }
            index::distrust(self.disk(), &self.dir);
            slices.clear();
        }
        for block in self.blocks_after(None)? {
            let event = block?.block.into_block().event;
            slices.extend(match event {
                MetadataEvent::AddData(event) => event.new_data,
                MetadataEvent::ExecuteTransform(event) => event.new_data,
                _ => None,
            });
        }
        Ok(slices)
    }

    /// The slices that the blocks with these sequence numbers add, one after another; nothing for a block that adds none. The
    /// blocks are read only where the chain has no index.
    ///
    /// # Errors
    /// The chain file cannot be read, a block is damaged, or there is none with one of the numbers.
    pub fn slices_of(&self, sequences: Range<u64>) -> Result<Vec<Option<DataSlice>>, DatasetError> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = ChainReader::of(self)?;
        sequences.map(|sequence| reader.slice(sequence)).collect()
    }
}

/// Reads blocks of a dataset at one head.
pub(crate) struct ChainReader<'a> {
    dataset: &'a Dataset,
    reader: Reader,
    places: Places,
    /// Sequence numbers that were not given yet.
    rest: Range<u64>,
}

/// What tells where blocks lie.
enum Places {
    /// The index, and the records of it that were read last, from this sequence number on.
    Index(Index, u64, Vec<Record>),
    /// The chain file: the lengths of all blocks were read.
    Chain(Vec<BlockPlace>),
    /// Nothing yet.
    Unknown,
}

impl<'a> ChainReader<'a> {
    /// None read yet.
    ///
    /// # Errors
    /// The chain file cannot be opened.
    pub(crate) fn of(dataset: &'a Dataset) -> Result<Self, DatasetError> {
        Ok(Self {
            dataset,
            reader: dataset.journal().reader()?,
            places: match Index::of(dataset.disk(), dataset.dir(), dataset.state()) {
                Some(index) => Places::Index(index, 0, Vec::new()),
                None => Places::Unknown,
            },
            rest: 0..dataset.state().blocks(),
        })
    }

    /// The block with this sequence number, which must be one of the chain.
    fn get(&mut self, sequence: u64) -> Result<StoredBlock, DatasetError> {
        if let Some(stored) = self.by_index(sequence) {
            return Ok(stored);
        }
        let place = self.place_in_chain(sequence)?;
        decode(place, self.reader.read(place)?)
    }

    /// The hash of the bytes of the block with this sequence number, which must be one of the chain; they are not looked at.
    ///
    /// # Errors
    /// The chain file cannot be read.
    pub(crate) fn hash(&mut self, sequence: u64) -> Result<Multihash, DatasetError> {
        if let Some(record) = self.record(sequence)
            && let Ok(bytes) = self.reader.read(record.place)
            && Multihash::sha3_256(&bytes) == record.hash
        {
            return Ok(record.hash);
        }
        let place = self.place_in_chain(sequence)?;
        Ok(Multihash::sha3_256(&self.reader.read(place)?))
    }

    /// What the block with this sequence number is called and where it lies, as the index has it; only without one the block
    /// is read.
    fn named(&mut self, sequence: u64) -> Result<(Multihash, BlockPlace), DatasetError> {
        if let Some(record) = self.record(sequence) {
            return Ok((record.hash, record.place));
        }
        let place = self.place_in_chain(sequence)?;
        Ok((Multihash::sha3_256(&self.reader.read(place)?), place))
    }

    /// The slice that the block with this sequence number adds, as the index has it; only without one the block is read.
    fn slice(&mut self, sequence: u64) -> Result<Option<DataSlice>, DatasetError> {
        match self.record(sequence) {
            Some(record) => Ok(record.slice),
            None => Ok(self.get(sequence)?.block.block().event.new_data().cloned()),
        }
    }

    /// Where a block lies as the chain itself has it. From then on nothing is read by the index.
    fn place_in_chain(&mut self, sequence: u64) -> Result<BlockPlace, DatasetError> {
        if !matches!(self.places, Places::Chain(_)) {
            if matches!(self.places, Places::Index(..)) {
                index::distrust(self.dataset.disk(), self.dataset.dir());
            }
            // Without places there are no more blocks.
            let places = self.dataset.places().inspect_err(|_| self.rest = 0..0)?;
            self.places = Places::Chain(places);
        }
        let place = match &self.places {
            Places::Chain(places) => usize::try_from(sequence).ok().and_then(|at| places.get(at)),
            Places::Index(..) | Places::Unknown => None,
        };
        place.copied().ok_or(DatasetError::NoBlock { sequence })
    }

    /// What the index has of a block.
    fn record(&mut self, sequence: u64) -> Option<Record> {
        let Places::Index(index, first, records) = &mut self.places else {
            return None;
        };
        let at = |first: u64| usize::try_from(sequence.checked_sub(first)?).ok();
        if at(*first).is_none_or(|at| at >= records.len()) {
            (*first, *records) = index.around(sequence, self.dataset.state().blocks())?;
        }
        records.get(at(*first)?).cloned()
    }

    /// A block where the index says that it lies, if it does.
    fn by_index(&mut self, sequence: u64) -> Option<StoredBlock> {
        let record = self.record(sequence)?;
        let stored = decode(record.place, self.reader.read(record.place).ok()?).ok()?;
        let is_it = *stored.block.hash() == record.hash && stored.block.block().sequence_number == sequence;
        is_it.then_some(stored)
    }

    /// The sequence number of the block with this hash, if there is one; nothing if the index does not tell.
    fn find(&self, hash: &Multihash) -> Option<Option<u64>> {
        let Places::Index(index, ..) = &self.places else {
            return None;
        };
        index.find(hash, self.dataset.state().blocks()).ok()
    }
}

impl Iterator for ChainReader<'_> {
    type Item = Result<StoredBlock, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let sequence = self.rest.next()?;
        Some(self.get(sequence))
    }
}

impl DoubleEndedIterator for ChainReader<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let sequence = self.rest.next_back()?;
        Some(self.get(sequence))
    }
}
