//! The leaves of small objects as they were while the objects arrived, so that those need not be read again: there may be very
//! many. Where larger ones are cut is said at their ends, so those are read when they are here.
//!
//! What is remembered is of bytes whose length and physical hash were found to be the object's, and lasts no longer than the
//! arrival they came with. Whether a file still has these bytes is asked, as always, whenever a leaf is read from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use odf_dataset::{Arriving, ArrivingObject, Object};
use odf_metadata::{DatasetId, Multihash};
use odf_node::unixfs::import::{LeafHasher, Leaves};

use super::cut::WHOLE_BYTES;
use super::format::PROFILE;

/// So many leaves are remembered at once, of all that arrives. Objects that come later are read when they are here.
const MAX_LEAVES: usize = 1 << 17;

/// What is remembered of all datasets. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ArrivedLeaves(Arc<Mutex<Remembered>>);

#[derive(Default)]
struct Remembered {
    /// How many leaves, of all objects.
    count: usize,
    /// By dataset, as long as something arrives in it, and by physical hash.
    datasets: HashMap<DatasetId, HashMap<Multihash, Leaves>>,
}

impl ArrivedLeaves {
    /// The leaves of an object of this hash and length, if it arrived just now. They are forgotten with that.
    pub(super) fn take(&self, id: &DatasetId, hash: &Multihash, len: u64) -> Option<Leaves> {
        let mut remembered = self.lock();
        let leaves = remembered.datasets.get_mut(id)?.remove(hash)?;
        remembered.count -= leaves.count();
        Some(leaves).filter(|leaves| leaves.file_len() == len)
    }

    /// Remembers what arrives in a dataset until that is dropped.
    pub(super) fn listen(&self, id: DatasetId) -> Listening {
        self.lock().datasets.entry(id).or_default();
        Listening { id, all: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn add(&mut self, id: &DatasetId, hash: Multihash, leaves: Leaves) {
        let count = self.count + leaves.count();
        // Of an empty object there is nothing to remember, and of an arrival that has ended nobody asks.
        let Some(objects) = self.datasets.get_mut(id).filter(|_| leaves.count() > 0) else {
            return;
        };
        if count > MAX_LEAVES {
            return;
        }
        let before = objects.insert(hash, leaves);
        self.count = count - before.map_or(0, |before| before.count());
    }
}

/// Listens to what arrives in one dataset.
pub(super) struct Listening {
    id: DatasetId,
    all: ArrivedLeaves,
}

impl Arriving for Listening {
    fn object(&self, object: &Object) -> Option<Box<dyn ArrivingObject>> {
        if object.size > WHOLE_BYTES {
            return None;
        }
        Some(Box::new(Coming {
            id: self.id,
            hash: object.hash,
            hasher: LeafHasher::new(&PROFILE)?,
            all: self.all.clone(),
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut remembered = self.all.lock();
        let objects = remembered.datasets.remove(&self.id).unwrap_or_default();
        remembered.count -= objects.values().map(|leaves| leaves.count()).sum::<usize>();
    }
}

/// One object on its way.
struct Coming {
    id: DatasetId,
    hash: Multihash,
    hasher: LeafHasher,
    all: ArrivedLeaves,
}

impl ArrivingObject for Coming {
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn complete(self: Box<Self>) {
        let leaves = self.hasher.finish();
        self.all.lock().add(&self.id, self.hash, leaves);
    }
}

#[cfg(test)]
mod tests {
    use odf_dataset::ObjectKind;

    use super::*;

    fn id(key: u8) -> DatasetId {
        DatasetId::from_public_key([key; 32])
    }

    fn come(listening: &Listening, bytes: &[u8]) -> Multihash {
        let object = Object {
            kind: ObjectKind::Slice,
            hash: Multihash::sha3_256(bytes),
            size: bytes.len() as u64,
        };
        let mut coming = listening.object(&object).unwrap();
        bytes.chunks(3).for_each(|piece| coming.bytes(piece));
        coming.complete();
        object.hash
    }

    #[test]
    fn leaves_are_remembered_by_dataset_hash_and_length_until_the_arrival_ends() {
        let all = ArrivedLeaves::default();
        let (first, second) = (all.listen(id(1)), all.listen(id(2)));
        let hash = come(&first, b"some rows");
        assert!(all.take(&id(2), &hash, 9).is_none());
        assert_eq!(all.take(&id(1), &hash, 9).unwrap().count(), 1);
        assert!(all.take(&id(1), &hash, 9).is_none());
        come(&first, b"some rows");
        assert!(all.take(&id(1), &hash, 8).is_none());
        assert_eq!(all.lock().count, 0);
        // The same twice takes the room of one, and what is empty takes none.
        come(&first, b"some rows");
        come(&first, b"some rows");
        let empty = come(&first, b"");
        assert!(all.take(&id(1), &empty, 0).is_none());
        assert_eq!(all.lock().count, 1);
        let late = second.object(&Object {
            kind: ObjectKind::Slice,
            hash,
            size: 9,
        });
        drop((first, second));
        late.unwrap().complete();
        assert_eq!(all.lock().count, 0);
        assert!(all.lock().datasets.is_empty());
    }

    #[test]
    fn what_may_be_more_than_one_leaf_is_not_remembered() {
        let all = ArrivedLeaves::default();
        let listening = all.listen(id(1));
        for (size, is_heard) in [(WHOLE_BYTES, true), (WHOLE_BYTES + 1, false)] {
            let object = Object {
                kind: ObjectKind::Slice,
                hash: Multihash::sha3_256(b"x"),
                size,
            };
            assert_eq!(listening.object(&object).is_some(), is_heard, "{size}");
        }
    }

    #[test]
    fn no_more_leaves_are_remembered_than_there_is_room_for() {
        let all = ArrivedLeaves::default();
        let listening = all.listen(id(1));
        all.lock().count = MAX_LEAVES - 1;
        let last = come(&listening, b"last");
        let over = come(&listening, b"over");
        assert_eq!(all.lock().count, MAX_LEAVES);
        assert!(all.take(&id(1), &over, 4).is_none() && all.take(&id(1), &last, 4).is_some());
        assert_eq!(all.lock().count, MAX_LEAVES - 1);
    }
}
