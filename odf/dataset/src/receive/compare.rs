//! A remote chain beside a local one, read block by block from its head.

use std::cell::RefCell;
use std::path::Path;

use odf_metadata::chain::{Relation, compare_by};
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, MetadataEvent, Multihash};

use super::limits::{MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS};
use super::{Listener, Progress, ReceiveError, Source, tell};
use crate::dataset::ChainReader;
use crate::{Blocks as _, Dataset, DatasetError, NewBlocks};

/// So many metadata blocks are asked for one by one before a source is asked to bring many: as a rule a chain that grew is
/// met before that.
const ONE_BY_ONE: u64 = 32;

/// The local side of a comparison: hashes by sequence number.
struct Local<'a> {
    dataset: &'a Dataset,
    /// Opened when another block than the head is asked for.
    reader: RefCell<Option<ChainReader<'a>>>,
}

impl<'a> Local<'a> {
    fn new(dataset: &'a Dataset) -> Self {
        Self {
            dataset,
            reader: RefCell::default(),
        }
    }

    fn has(&self, sequence: u64, hash: &Multihash) -> Result<bool, DatasetError> {
        if sequence == self.dataset.state().sequence_number {
            return Ok(self.dataset.head() == hash);
        }
        if sequence >= self.blocks() {
            return Ok(false);
        }
        let mut reader = self.reader.borrow_mut();
        let reader = match &mut *reader {
            Some(reader) => reader,
            unopened => unopened.insert(ChainReader::of(self.dataset)?),
        };
        Ok(reader.hash(sequence)? == *hash)
    }

    fn blocks(&self) -> u64 {
        self.dataset.state().blocks()
    }
}

/// A remote chain beside a local one.
#[derive(Debug)]
pub struct Comparison {
    /// How the local chain stands to the remote one.
    pub relation: Relation,
    /// How many blocks both have.
    pub common: u64,
    /// The remote blocks behind those, oldest first.
    pub theirs: NewBlocks,
}

/// How much one walk takes.
#[derive(Clone, Copy)]
struct Limits {
    blocks: u64,
    bytes: u64,
}

/// Walks the chain of `source` back from `head` to the first block that the local chain has too, or to its beginning.
/// Every block is checked against its hash; the rules of the chain are not looked at. The blocks are put aside in the
/// directory `aside`, if they are many.
///
/// # Errors
/// A block cannot be had or is not what it should be, the two are chains of different datasets, or there is more than is
/// taken at once.
pub fn compare(
    source: &dyn Source,
    head: Multihash,
    local: Option<&Dataset>,
    aside: &Path,
    listener: &Listener<'_>,
) -> Result<Comparison, ReceiveError> {
    let limits = Limits {
        blocks: MAX_NEW_BLOCKS,
        bytes: MAX_NEW_BLOCK_BYTES,
    };
    compare_within(limits, source, head, local, aside, listener)
}

fn compare_within(
    limits: Limits,
    source: &dyn Source,
    head: Multihash,
    here: Option<&Dataset>,
    aside: &Path,
    listener: &Listener<'_>,
) -> Result<Comparison, ReceiveError> {
    let local = here.map(Local::new);
    let place = || source.place().to_owned();
    let has = |sequence, hash: &Multihash| local.as_ref().map_or(Ok(false), |local| local.has(sequence, hash));
    let (mut theirs, mut bytes) = (NewBlocks::beside(aside), 0);
    let mut next = Some((head, None));
    let mut common = 0;
    while let Some((hash, sequence)) = next {
        if let Some(sequence) = sequence
            && has(sequence, &hash)?
        {
            common = sequence + 1;
            break;
        }
        if theirs.count() == ONE_BY_ONE {
            source.bring_many(here, aside, listener)?;
        }
        let raw = source.block(&hash)?;
        bytes += raw.len() as u64;
        let block = EncodedBlock::decode_checked(&hash, raw).map_err(|source| ReceiveError::Block {
            place: place(),
            hash,
            source,
        })?;
        let found = block.block().sequence_number;
        let broken = |reason: String| ReceiveError::Chain {
            place: place(),
            hash,
            reason,
        };
        match sequence {
            // Every step goes one down, so the first number bounds the walk.
            Some(sequence) if sequence != found => {
                return Err(broken(format!(
                    "its sequence number is {found}, {sequence} was expected"
                )));
            }
            None if has(found, &hash)? => {
                common = found + 1;
                break;
            }
            _ => {}
        }
        if theirs.count() >= limits.blocks || bytes > limits.bytes {
            return Err(ReceiveError::TooMuch { place: place() });
        }
        tell(listener, Progress::Block)?;
        next = match (block.block().prev_block_hash, found.checked_sub(1)) {
            (Some(before), Some(sequence)) => Some((before, Some(sequence))),
            (None, None) => None,
            (Some(_), None) => return Err(broken("it is the first one, but names one before it".to_owned())),
            (None, Some(_)) => return Err(broken("it names no block before it".to_owned())),
        };
        theirs.push_front(block.bytes())?;
    }
    let ours = local.as_ref().map_or(0, Local::blocks);
    let relation = compare_by(ours, common + theirs.count(), |at| {
        Ok::<_, std::convert::Infallible>(at < common)
    });
    let relation = match relation {
        Ok(relation) => relation,
        Err(never) => match never {},
    };
    if let (Some(local), 0) = (&local, common)
        && let Some(found) = seed_id(&theirs)?.filter(|found| *found != local.dataset.id())
    {
        return Err(ReceiveError::OtherDataset {
            place: place(),
            found,
            expected: local.dataset.id(),
        });
    }
    Ok(Comparison {
        relation,
        common,
        theirs,
    })
}

/// The id in the Seed that a chain begins with.
pub(super) fn seed_id(blocks: &NewBlocks) -> Result<Option<DatasetId>, DatasetError> {
    let first = blocks.at(0)?;
    Ok(match first.as_ref().map(|block| &block.block().event) {
        Some(MetadataEvent::Seed(seed)) => Some(seed.dataset_id),
        _ => None,
    })
}

/// A whole remote chain, compared with a local one that was not known before.
pub(super) fn against(compared: Comparison, dataset: &Dataset) -> Result<Comparison, ReceiveError> {
    let local = Local::new(dataset);
    let (ours, len) = (local.blocks(), compared.theirs.count());
    let relation = compare_by(ours, len, |at| match compared.theirs.at(at)? {
        Some(block) => local.has(at, block.hash()),
        None => Ok(false),
    })?;
    let common = match relation {
        Relation::Equal => ours,
        Relation::Ahead { .. } => len,
        Relation::Behind { .. } => ours,
        Relation::Diverged { common, .. } => common,
    };
    let mut theirs = compared.theirs;
    theirs.drop_first(common);
    Ok(Comparison {
        relation,
        common,
        theirs,
    })
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;

    use super::super::{Arrival, SourceError};
    use super::*;
    use crate::Object;
    use crate::dataset::each;
    use crate::made_up;

    /// A chain in memory, Seed first, and how often it was asked for many blocks.
    struct Chain(Vec<EncodedBlock>, AtomicU64);

    impl Chain {
        fn of(len: u64) -> Self {
            Self(made_up::chain(len, 0), AtomicU64::new(0))
        }

        fn bytes(&self) -> u64 {
            self.0.iter().map(|block| block.bytes().len() as u64).sum()
        }
    }

    impl Source for Chain {
        fn place(&self) -> &str {
            "memory/"
        }

        fn head(&self) -> Result<Option<Multihash>, SourceError> {
            Ok(self.0.last().map(|block| *block.hash()))
        }

        fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
            let found = self.0.iter().find(|block| block.hash() == hash);
            Ok(found.unwrap().bytes().clone())
        }

        fn bring_many(&self, _: Option<&Dataset>, _: &Path, _: &Listener<'_>) -> Result<(), ReceiveError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn objects(&self, _: &[Object], _: &Arrival, _: &Listener<'_>) -> Result<(), ReceiveError> {
            Ok(())
        }
    }

    #[test]
    fn only_a_long_walk_asks_for_many_blocks_and_once() {
        let dir = tempfile::tempdir().unwrap();
        for (length, times) in [(ONE_BY_ONE, 0), (ONE_BY_ONE + 1, 1), (3 * ONE_BY_ONE, 1)] {
            let chain = Chain::of(length);
            let head = chain.head().unwrap().unwrap();
            compare(&chain, head, None, dir.path(), &|_| ControlFlow::Continue(())).unwrap();
            assert_eq!(chain.1.load(Ordering::Relaxed), times, "{length}");
        }
    }

    #[test]
    fn a_walk_ends_at_its_limits() {
        let dir = tempfile::tempdir().unwrap();
        let chain = Chain::of(20);
        let walk = |blocks, bytes| {
            let (limits, head) = (Limits { blocks, bytes }, chain.head().unwrap().unwrap());
            compare_within(limits, &chain, head, None, dir.path(), &|_| ControlFlow::Continue(()))
        };
        let whole = walk(20, chain.bytes()).unwrap();
        assert_eq!((whole.common, whole.relation), (0, Relation::Behind { by: 20 }));
        let theirs: Vec<EncodedBlock> = each(&whole.theirs).map(|block| block.unwrap().into_owned()).collect();
        assert_eq!(theirs, chain.0);
        assert!(matches!(walk(19, chain.bytes()), Err(ReceiveError::TooMuch { .. })));
        assert!(matches!(walk(20, chain.bytes() - 1), Err(ReceiveError::TooMuch { .. })));
    }
}
