//! Temporary files: what goes in comes out, wherever the limit lies.

use proptest::prelude::*;

use super::*;
use crate::merge::keys::ByHash;
use crate::merge::spill::{PARTITIONS, Partitions, Record, SHARE_BYTES, Share, Spool, hash_of};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbered(u128, u8);

impl Record for Numbered {
    const BYTES: usize = 17;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.0.to_le_bytes());
        into.push(self.1);
    }

    fn decode(bytes: &[u8]) -> Self {
        Numbered(hash_of(bytes), bytes[16])
    }
}

proptest! {
    #[test]
    fn records_come_back_by_part_and_in_order(
        records in prop::collection::vec((any::<u128>(), any::<u8>()), 0..60),
        limit in 0..600usize,
        shares in 0..4usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut parts = Partitions::<Numbered>::new(dir.path(), limit);
        let mut wanted: ByHash<Vec<u8>> = ByHash::default();
        for (key, number) in &records {
            parts.push(*key, &Numbered(*key, *number)).unwrap();
            wanted.entry(*key).or_default().push(*number);
        }
        prop_assert_eq!(parts.count(), records.len() as u64);
        let mut hashes = Vec::new();
        parts.hashes(&mut |hash| hashes.push(hash)).unwrap();
        let mut keys: Vec<u128> = records.iter().map(|(key, _)| *key).collect();
        hashes.sort_unstable();
        keys.sort_unstable();
        prop_assert_eq!(hashes, keys);
        let mut found: ByHash<Vec<u8>> = ByHash::default();
        for part in 0..PARTITIONS {
            // As if there were so many.
            for share in Share::all(parts.bytes_of(part) + shares * SHARE_BYTES) {
                for Numbered(key, number) in parts.take(part, share).unwrap() {
                    prop_assert_eq!(usize::from(key.to_be_bytes()[0]), part);
                    found.entry(key).or_default().push(number);
                }
            }
            for share in Share::all(0) {
                prop_assert_eq!(parts.take(part, share).unwrap().count(), 0, "taken is gone");
            }
        }
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn batches_come_back_in_order(lengths in prop::collection::vec(1..50usize, 0..20), limit in 0..4000usize) {
        let dir = tempfile::tempdir().unwrap();
        let batch = |(at, length): (usize, &usize)| {
            let texts = StringArray::from_iter((0..*length).map(|row| (row % 3 != 0).then(|| format!("{at} {row}"))));
            RecordBatch::try_from_iter([("t", Arc::new(texts) as ArrayRef)]).unwrap()
        };
        let batches: Vec<RecordBatch> = lengths.iter().enumerate().map(batch).collect();
        let mut spool = Spool::new(dir.path(), limit);
        for batch in &batches {
            spool.push(batch.clone()).unwrap();
        }
        let found: Vec<RecordBatch> = spool.drain().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(found, batches);
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_place_without_room_is_said() {
    let mut spool = Spool::new(Path::new("/nonexistent"), 0);
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let error = spool.push(batch).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot create /nonexistent/.pending-merge-"),
        "{error}"
    );
}
