//! Metadata blocks by hash, as their stored bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::brought::{Key, key};
use odf_dataset::{BlockPlace, Dataset, DatasetError};
use odf_metadata::{DatasetId, Multihash};

/// The most metadata blocks whose places are remembered, of all datasets together: about 64 MiB. A dataset that has more
/// is remembered alone.
const MAX_KEPT: usize = 1 << 20;
/// So many of the newest blocks are looked at before those of a whole chain are remembered: as a rule what is asked for is new.
const NEWEST: u64 = 256;

/// Where metadata blocks lie, remembered per dataset. What a chain gets is added to what is known of it; only a chain that
/// was written again is gone through anew.
pub(super) struct Blocks {
    kept: Mutex<HashMap<DatasetId, Arc<Chain>>>,
    /// How many places may be kept.
    most: usize,
    /// Of how many blocks it was looked up where they are, to remember it.
    #[cfg(test)]
    read: AtomicUsize,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            most: MAX_KEPT,
            #[cfg(test)]
            read: AtomicUsize::new(0),
        }
    }
}

/// What is known of one chain.
#[derive(Default)]
struct Chain {
    places: Mutex<Places>,
    /// How many places there are, for whoever does not want to wait for them.
    count: AtomicUsize,
}

/// The places of one chain up to a block.
#[derive(Default)]
struct Places {
    /// The last block that is among them.
    last: Option<(Multihash, BlockPlace)>,
    /// How many there are, which is the sequence number of the next.
    next: u64,
    by_key: HashMap<Key, BlockPlace>,
}

impl Places {
    /// Whether these are all places of the dataset's chain, and maybe more: it was opened before the chain grew.
    fn cover(&self, dataset: &Dataset) -> bool {
        let head = key(dataset.head()).and_then(|key| self.by_key.get(&key));
        head.is_some_and(|place| place.end() == dataset.chain_len())
    }

    /// Whether the dataset's chain goes on from these: it has the last of the blocks where that was.
    fn are_before(&self, dataset: &Dataset) -> bool {
        self.last.is_none_or(|(hash, place)| {
            place.end() < dataset.chain_len()
                && dataset
                    .bytes_at(place)
                    .is_ok_and(|bytes| Multihash::sha3_256(&bytes) == hash)
        })
    }

    fn get(&self, dataset: &Dataset, wanted: &Key) -> Option<BlockPlace> {
        let place = self.by_key.get(wanted).copied();
        place.filter(|place| place.end() <= dataset.chain_len())
    }
}

impl Blocks {
    /// The exact bytes of a metadata block of the dataset's chain.
    ///
    /// # Errors
    /// The chain file cannot be read, or does not hold what it held.
    pub(super) fn get(&self, dataset: &Dataset, hash: &Multihash) -> Result<Option<Bytes>, DatasetError> {
        Ok(self.find(dataset, hash)?.map(|(_, bytes)| bytes))
    }

    /// Where a metadata block lies in the dataset's chain.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn place(&self, dataset: &Dataset, hash: &Multihash) -> Result<Option<BlockPlace>, DatasetError> {
        Ok(self.find(dataset, hash)?.map(|(place, _)| place))
    }

    fn find(&self, dataset: &Dataset, hash: &Multihash) -> Result<Option<(BlockPlace, Bytes)>, DatasetError> {
        let Some(wanted) = key(hash) else { return Ok(None) };
        let Some(place) = self.known_place(dataset, &wanted)? else {
            return Ok(None);
        };
        let bytes = dataset.bytes_at(place)?;
        let found = Multihash::sha3_256(&bytes);
        match found == *hash {
            true => Ok(Some((place, bytes))),
            // Somebody asks for what only begins like a block.
            false if key(&found) == Some(wanted) => Ok(None),
            false => Err(DatasetError::Damaged {
                path: dataset.chain_path(),
                reason: format!("it does not hold the metadata block {hash}"),
            }),
        }
    }

    fn known_place(&self, dataset: &Dataset, wanted: &Key) -> Result<Option<BlockPlace>, DatasetError> {
        let chain = Arc::clone(self.kept().entry(dataset.id()).or_default());
        let mut places = lock(&chain.places);
        if places.cover(dataset) {
            return Ok(places.get(dataset, wanted));
        }
        if !places.are_before(dataset) {
            *places = Places::default();
        }
        let unknown = dataset.state().blocks().saturating_sub(places.next);
        if unknown > NEWEST {
            let newest = dataset.names_from(dataset.state().blocks() - NEWEST)?;
            for entry in newest.rev() {
                let (hash, place) = entry?;
                if key(&hash).as_ref() == Some(wanted) {
                    return Ok(Some(place));
                }
            }
        }
        for entry in dataset.names_from(places.next)? {
            let (hash, place) = entry?;
            places.by_key.extend(key(&hash).map(|key| (key, place)));
            places.last = Some((hash, place));
            places.next += 1;
            #[cfg(test)]
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        chain.count.store(places.by_key.len(), Ordering::Relaxed);
        let found = places.get(dataset, wanted);
        drop(places);
        self.make_room(&dataset.id(), &chain);
        Ok(found)
    }

    /// Forgets the places of all other chains, if those of all together are too many.
    fn make_room(&self, id: &DatasetId, chain: &Arc<Chain>) {
        let mut kept = self.kept();
        let total: usize = kept.values().map(|chain| chain.count.load(Ordering::Relaxed)).sum();
        if total > self.most {
            // Whoever is asked for next is gone through again, which takes as long as reading its chain.
            kept.clear();
            kept.insert(*id, Arc::clone(chain));
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<DatasetId, Arc<Chain>>> {
        lock(&self.kept)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::sample;
    use odf_dataset::receive::Arrival;
    use odf_dataset::{Datasets, RemoteAliases};
    use odf_metadata::codec::EncodedBlock;

    fn dataset_of(workspace: &Datasets, number: u8, name: &str, blocks: &[EncodedBlock]) -> Dataset {
        let (id, name) = (sample::id(number), name.parse().unwrap());
        let arrival = Arrival::begin(workspace, id, &name, RemoteAliases::default()).unwrap();
        arrival.commit(blocks, false).unwrap().dataset
    }

    #[test]
    fn one_place_too_many_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let dataset = |number: u8, name: &str, length: u64| {
            let blocks = sample::chain(sample::id(number), length, length, "");
            dataset_of(&workspace, number, name, &blocks)
        };
        let (first, second) = (dataset(1, "first", 4), dataset(2, "second", 3));
        let (third, long) = (dataset(3, "third", 1), dataset(4, "long", 8));
        assert_eq!(Blocks::default().most, MAX_KEPT);
        let blocks = Blocks {
            most: 7,
            ..Blocks::default()
        };
        let kept_after = |dataset: &Dataset| {
            assert!(blocks.get(dataset, dataset.head()).unwrap().is_some());
            let kept = blocks.kept();
            let mut lengths: Vec<usize> = kept.values().map(|chain| lock(&chain.places).by_key.len()).collect();
            lengths.sort_unstable();
            lengths
        };
        assert_eq!(kept_after(&first), [4]);
        assert_eq!(kept_after(&second), [3, 4]);
        assert_eq!(kept_after(&first), [3, 4]);
        assert_eq!(kept_after(&third), [1]);
        assert_eq!(kept_after(&long), [8]);
        assert_eq!(kept_after(&third), [1]);
    }

    #[test]
    fn only_what_is_new_of_a_chain_is_read_and_what_was_written_again_anew() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let chain = sample::chain(sample::id(1), 12, 12, "");
        let other = sample::chain(sample::id(1), 11, 6, "another way");
        let blocks = Blocks::default();
        let read = || blocks.read.swap(0, Ordering::Relaxed);
        let old = dataset_of(&workspace, 1, "ds", &chain[..10]);
        assert_eq!(blocks.get(&old, chain[3].hash()).unwrap().unwrap(), chain[3].bytes());
        assert_eq!(read(), 10);
        let grown = |blocks: &[EncodedBlock], force: bool| {
            let dataset = workspace.catalog().find("ds").unwrap();
            let arrival = Arrival::into(&workspace, dataset).unwrap();
            arrival.commit(blocks, force).unwrap().dataset
        };
        for at in 10..12 {
            let dataset = grown(&chain[at..=at], false);
            for block in &chain[..=at] {
                assert_eq!(blocks.get(&dataset, block.hash()).unwrap().unwrap(), block.bytes());
            }
            assert_eq!(read(), 1);
            // Somebody who opened it before.
            assert_eq!(blocks.get(&old, chain[9].hash()).unwrap().unwrap(), chain[9].bytes());
            assert_eq!(read(), 0);
        }
        let dataset = grown(&other[6..], true);
        for block in &other {
            assert_eq!(blocks.get(&dataset, block.hash()).unwrap().unwrap(), block.bytes());
        }
        assert!(blocks.get(&dataset, chain[7].hash()).unwrap().is_none());
        assert_eq!(read(), 11);
    }

    #[test]
    fn of_a_long_chain_what_is_new_is_found_without_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let length = 2 * NEWEST;
        let chain = sample::chain(sample::id(1), length, length, "");
        let dataset = dataset_of(&workspace, 1, "ds", &chain);
        let first_new = (length - NEWEST) as usize;
        let blocks = Blocks::default();
        let read = || blocks.read.swap(0, Ordering::Relaxed);
        let gives = |block: &EncodedBlock| blocks.get(&dataset, block.hash()).unwrap().unwrap() == block.bytes();
        for block in [&chain[first_new], &chain[first_new + 1], &chain[length as usize - 1]] {
            assert!(gives(block));
            assert_eq!(read(), 0);
        }
        assert!(gives(&chain[first_new - 1]), "one before");
        assert_eq!(read() as u64, length);
        assert!(gives(&chain[0]) && gives(&chain[first_new]));
        assert_eq!(read(), 0);

        // The places are not told by the blocks: those are looked at when they are wanted.
        let mut bytes = std::fs::read(dataset.chain_path()).unwrap();
        let place = blocks.place(&dataset, chain[9].hash()).unwrap().unwrap();
        bytes[..place.end() as usize].fill(0);
        std::fs::write(dataset.chain_path(), bytes).unwrap();
        let blocks = Blocks::default();
        let found = blocks.get(&dataset, chain[10].hash()).unwrap().unwrap();
        assert_eq!(found, chain[10].bytes());
        assert!(blocks.get(&dataset, chain[9].hash()).is_err());
    }

    #[test]
    fn what_only_begins_like_a_block_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let chain = sample::chain(sample::id(1), 2, 2, "");
        let dataset = dataset_of(&workspace, 1, "ds", &chain);
        let blocks = Blocks::default();
        let mut digest: [u8; 32] = chain[1].hash().digest().try_into().unwrap();
        digest[31] ^= 1;
        let like = [
            Multihash::from_sha3_256(digest),
            Multihash::from_arrow0_sha3_256(chain[1].hash().digest().try_into().unwrap()),
            Multihash::wrap(odf_metadata::SHA3_256, &digest[..8]).unwrap(),
        ];
        for hash in like {
            assert!(blocks.get(&dataset, &hash).unwrap().is_none(), "{hash}");
        }
        let place = blocks.place(&dataset, chain[1].hash()).unwrap().unwrap();
        assert_eq!(place.end(), dataset.chain_len());
    }
}
