//! The rows whose primary key is in no earlier row.
//!
//! The new rows are read first and put aside, their keys as hashes by themselves. Of the earlier slices only the key
//! columns are read, and of those only what can hold one of the new keys; what passes is compared part by part. So memory
//! and time go with the new rows, and never more than [`Memory`](super::Memory) is held, whichever side is large.

use arrow::array::{BooleanArray, BooleanBufferBuilder};
use arrow::compute::filter_record_batch;

use super::batch::project;
use super::history::Extents;
use super::keys::{Among, ByHash, Key};
use super::order::Order;
use super::spill::{PARTITIONS, Partitions, Record, Share, Spool, hash_of};
use super::{MergeError, Merged, OnBatch, Operations, Setting, Sink};
use crate::source::Batches;
use odf_metadata::OperationType;

/// A new row by its key.
struct New {
    key: u128,
    row: u64,
}

impl Record for New {
    const BYTES: usize = 24;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.key.to_le_bytes());
        into.extend_from_slice(&self.row.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        New {
            key: hash_of(bytes),
            row: bytes.last_chunk().map_or(0, |row| u64::from_le_bytes(*row)),
        }
    }
}

/// The key of an earlier row.
struct Old(u128);

impl Record for Old {
    const BYTES: usize = 16;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Old(hash_of(bytes))
    }

    /// Once is enough.
    fn condense(records: &mut Vec<u8>) {
        let mut keys: Vec<u128> = records.chunks_exact(Self::BYTES).map(hash_of).collect();
        keys.sort_unstable();
        keys.dedup();
        records.clear();
        keys.into_iter().for_each(|key| Old(key).encode(records));
    }
}

pub(super) fn merge(
    key: &Key,
    batches: &mut dyn Batches,
    setting: &Setting<'_>,
    sink: &mut dyn Sink,
    on_batch: &mut OnBatch<'_>,
) -> Result<Merged, MergeError> {
    let Setting { scratch, memory, .. } = *setting;
    let mut waiting = Spool::new(scratch, memory.rows);
    let mut new = Partitions::<New>::new(scratch, memory.keys);
    let mut extents = Extents::new(&key.fields);
    // Whether a row's key was in no earlier row; one that lacks a value of its key is equal to no other.
    let mut unseen = BooleanBufferBuilder::new(0);
    let mut read = 0u64;
    while let Some(batch) = batches.next_batch()? {
        let complete = key.complete(&batch);
        for (row, hash) in key.of(&batch)?.into_iter().enumerate() {
            let is_complete = complete.as_ref().is_none_or(|complete| complete.is_valid(row));
            unseen.append(!is_complete);
            if is_complete {
                let row = read + row as u64;
                new.push(hash, &New { key: hash, row })?;
            }
        }
        extents.widen(&project(&batch, &key.positions));
        read += batch.num_rows() as u64;
        on_batch(batches.bytes(), read)?;
        waiting.push(batch)?;
    }

    let mut among = Among::new(new.count());
    new.hashes(&mut |hash| among.insert(hash))?;
    let mut old = Partitions::<Old>::new(scratch, memory.keys);
    if new.count() > 0 {
        setting.history.scan(
            &key.fields,
            &extents.conditions(),
            |columns, rows| {
                let mut hashes = key.hasher.hash(&columns, rows)?;
                hashes.retain(|hash| among.may_have(*hash));
                Ok(hashes)
            },
            &mut |hashes: Vec<u128>| {
                on_batch(batches.bytes(), read)?;
                hashes.into_iter().try_for_each(|hash| old.push(hash, &Old(hash)))
            },
        )?;
    }
    drop(among);
    for part in 0..PARTITIONS {
        for share in Share::all(old.bytes_of(part) + new.bytes_of(part)) {
            let seen: ByHash<()> = old.take(part, share)?.map(|Old(key)| (key, ())).collect();
            for New { key, row } in new.take(part, share)? {
                if !seen.contains_key(&key) {
                    unseen.set_bit(usize::try_from(row).unwrap_or(usize::MAX), true);
                }
            }
        }
    }

    let unseen = unseen.finish();
    let mut sorter = setting.sorter(Order::by_event_time(setting)?);
    let mut at = 0;
    if unseen.count_set_bits() > 0 {
        for batch in waiting.drain()? {
            let batch = batch?;
            let wanted = BooleanArray::new(unseen.slice(at, batch.num_rows()), None);
            at += batch.num_rows();
            match wanted.true_count() {
                0 => continue,
                all if all == batch.num_rows() => sorter.push(&batch, Operations::All(OperationType::Append))?,
                _ => sorter.push(
                    &filter_record_batch(&batch, &wanted)?,
                    Operations::All(OperationType::Append),
                )?,
            }
        }
    }
    sorter.finish(sink)?;
    Ok(Merged::Done { read })
}
