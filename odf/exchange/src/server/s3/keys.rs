//! The keys of a dataset: what its chain names, in the order of the chain.
//!
//! | key | object |
//! |---|---|
//! | `blocks/NUMBER-HASH` | a metadata block, as its stored bytes |
//! | `checkpoints/NUMBER-HASH` | the checkpoint that block names |
//! | `data/NUMBER-HASH.parquet` | the slice that it adds |
//! | `refs/head` | the hash of the newest block |
//!
//! `NUMBER` is the sequence number of the block, ten digits at least, so that the order of keys, which is that of their
//! bytes, is that of the chain; `HASH` is that of the object itself, by which anybody can check it. So a key stands for the
//! same bytes as long as history is not rewritten.

use odf_dataset::{BlockPlace, Dataset, DatasetError, ObjectKind, StoredBlock};
use odf_metadata::{Multihash, Timestamp};

/// The key of the newest block's hash.
pub(super) const HEAD: &str = "refs/head";

/// Digits of a sequence number in a key, at least.
const DIGITS: usize = 10;

/// An object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// How many bytes it has.
    pub(super) size: u64,
    /// The hash of these bytes; of [`HEAD`], the bytes.
    pub(super) hash: Multihash,
    /// The system time of the block.
    pub(super) time: Timestamp,
    /// Where the bytes are.
    pub(super) content: Content,
}

/// Where the bytes of an object are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// In the chain.
    Block(BlockPlace),
    /// In a file.
    File(ObjectKind),
    /// They are the hash.
    Head,
}

/// The parts of a bucket that follow the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Blocks,
    Checkpoints,
    Data,
}

impl Part {
    /// All, in the order of their keys.
    pub(super) const ALL: [Self; 3] = [Self::Blocks, Self::Checkpoints, Self::Data];

    /// What its keys begin with.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Blocks => "blocks/",
            Self::Checkpoints => "checkpoints/",
            Self::Data => "data/",
        }
    }

    /// What its keys end with.
    fn extension(self) -> &'static str {
        match self {
            Self::Data => ".parquet",
            Self::Blocks | Self::Checkpoints => "",
        }
    }

    /// The object of this part that a block is or names.
    pub(super) fn entry(self, stored: &StoredBlock) -> Option<Entry> {
        let block = stored.block.block();
        let (hash, size, content) = match self {
            Self::Blocks => (
                *stored.block.hash(),
                u64::from(stored.place.len),
                Content::Block(stored.place),
            ),
            Self::Checkpoints => {
                let checkpoint = block.event.new_checkpoint()?;
                let content = Content::File(ObjectKind::Checkpoint);
                (checkpoint.physical_hash, checkpoint.size, content)
            }
            Self::Data => {
                let slice = block.event.new_data()?;
                (slice.physical_hash, slice.size, Content::File(ObjectKind::Slice))
            }
        };
        let number = block.sequence_number;
        Some(Entry {
            key: format!("{}{number:0DIGITS$}-{hash}{}", self.directory(), self.extension()),
            size,
            hash,
            time: block.system_time,
            content,
        })
    }

    /// What is behind the key of this block, and before those of later ones.
    pub(super) fn end_of(self, number: u64) -> String {
        // Where the key has its hash there is a character behind all that hashes are written with.
        format!("{}{number:0DIGITS$}-~", self.directory())
    }

    /// Whether no block has such an object.
    pub(super) fn is_empty(self, dataset: &Dataset) -> bool {
        let totals = &dataset.state().totals;
        match self {
            Self::Blocks => false,
            Self::Checkpoints => totals.checkpoints == 0,
            Self::Data => totals.slices == 0,
        }
    }

    /// The first block of `blocks` whose key could be behind this text, and no later one than the first whose key is.
    pub(super) fn first_behind(self, text: &str, blocks: u64) -> u64 {
        let (mut first, mut last) = (0, blocks);
        while first < last {
            let middle = first + (last - first) / 2;
            match self.end_of(middle).as_str() > text {
                true => last = middle,
                false => first = middle + 1,
            }
        }
        first
    }
}

/// The newest block's hash as an object.
pub(super) fn head(dataset: &Dataset) -> Entry {
    let (hash, time) = (*dataset.head(), dataset.state().system_time);
    Entry {
        key: HEAD.to_owned(),
        size: hash.to_string().len() as u64,
        hash,
        time,
        content: Content::Head,
    }
}

/// The object of this key, if there is one.
///
/// # Errors
/// The chain cannot be read.
pub(super) fn find(dataset: &Dataset, key: &str) -> Result<Option<Entry>, DatasetError> {
    if key == HEAD {
        return Ok(Some(head(dataset)));
    }
    let of_part = |part: &Part| Some((*part, key.strip_prefix(part.directory())?));
    let Some((part, rest)) = Part::ALL.iter().find_map(of_part) else {
        return Ok(None);
    };
    let number = rest.split_once('-').and_then(|(number, _)| number.parse::<u64>().ok());
    let Some(number) = number else { return Ok(None) };
    let block = dataset.block_by_sequence(number)?;
    // That it is written in no other way, and that the hash is right.
    Ok(block
        .and_then(|block| part.entry(&block))
        .filter(|entry| entry.key == key))
}
