//! What tells most keys that are not in a run without reading of it: a block that arrives is looked for before it is asked for
//! and before it is kept, and as a rule no run has it.
//!
//! It is the split block Bloom filter of Parquet (`BloomFilter.md` of parquet-format; Putze, Sanders, Singler, "Cache-, Hash- and
//! Space-Efficient Bloom Filters", 2007): the hash of a key chooses one of the filter's blocks of 256 bits, and in each of its
//! eight words one bit. A look-up touches one line of the processor's cache. Hashes are SipHash-1-3 with the identity of the
//! index for key, so that nobody outside can choose keys that look as if they were here.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::form::{FILTER_BLOCK_BYTES, MAX_FILTER_BYTES};

/// Of each key; about one key in a hundred that is not there is read for all the same.
const BITS: u64 = 10;
/// Those of the specification.
const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

type Block = [u32; SALT.len()];

/// The filter of a run, which has all of its keys.
pub(super) struct Filter {
    /// The identity of the index.
    identity: u64,
    blocks: Vec<Block>,
}

impl Filter {
    /// For a run of so many keys at most.
    pub(super) fn for_keys(identity: u64, keys: u64) -> Self {
        let blocks = keys.saturating_mul(BITS).div_ceil(8 * FILTER_BLOCK_BYTES as u64);
        let most = (MAX_FILTER_BYTES / FILTER_BLOCK_BYTES) as u64;
        Self {
            identity,
            blocks: vec![[0; SALT.len()]; blocks.min(most) as usize],
        }
    }

    /// Nothing if the bytes are not whole blocks.
    pub(super) fn decode(identity: u64, bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        let (blocks, single) = words.as_chunks::<{ SALT.len() }>();
        let block = |words: &[[u8; 4]; SALT.len()]| words.map(u32::from_le_bytes);
        (rest.is_empty() && single.is_empty()).then(|| Self {
            identity,
            blocks: blocks.iter().map(block).collect(),
        })
    }

    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()));
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        let (at, bits) = self.place_of(key);
        if let Some(block) = self.blocks.get_mut(at) {
            block.iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
        }
    }

    /// False of none that was added. True of all if there are no blocks: runs of earlier versions have none.
    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        let (at, bits) = self.place_of(key);
        let has_all = |block: &Block| block.iter().zip(bits).all(|(word, bit)| word & bit != 0);
        self.blocks.get(at).is_none_or(has_all)
    }

    fn place_of(&self, key: &[u8]) -> (usize, Block) {
        let mut hasher = SipHasher13::new_with_keys(self.identity, 0);
        hasher.write(key);
        let hash = hasher.finish();
        let at = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        let bits = SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27));
        (at as usize, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::sha2_256;

    fn keys(from: u32, to: u32) -> impl Iterator<Item = Vec<u8>> {
        (from..to).map(|n| sha2_256(&n.to_le_bytes()).to_bytes())
    }

    #[test]
    fn all_that_was_added_may_be_there_and_little_else() {
        let mut filter = Filter::for_keys(7, 50_000);
        keys(0, 50_000).for_each(|key| filter.add(&key));
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        assert_eq!(bytes.len(), 62_528, "ten bits of each, and whole blocks");
        let filter = Filter::decode(7, &bytes).unwrap();
        assert!(keys(0, 50_000).all(|key| filter.may_have(&key)));
        let wrong = keys(50_000, 150_000).filter(|key| filter.may_have(key)).count();
        assert!(wrong < 2_000, "{wrong} of 100,000");
        let other = Filter::decode(8, &bytes).unwrap();
        assert!(
            keys(0, 1_000).any(|key| !other.may_have(&key)),
            "hashes are of one index"
        );
    }

    #[test]
    fn without_blocks_anything_may_be_there() {
        let mut none = Filter::for_keys(7, 0);
        assert!(none.blocks.is_empty() && none.may_have(b"k"));
        none.add(b"k");
        assert!(Filter::decode(7, &[]).unwrap().may_have(b"k"));
        assert!(Filter::decode(7, &[0; 31]).is_none() && Filter::decode(7, &[0; 36]).is_none());
    }

    #[test]
    fn it_is_no_longer_than_it_may_be() {
        let keys = MAX_FILTER_BYTES as u64 * 8 / BITS;
        let bytes = |keys| Filter::for_keys(7, keys).blocks.len() * FILTER_BLOCK_BYTES;
        assert!(bytes(keys) <= MAX_FILTER_BYTES);
        assert_eq!(bytes(keys + 100), MAX_FILTER_BYTES, "one over");
    }
}
