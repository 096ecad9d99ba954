//! The rows whose primary key is in no earlier row.
//!
//! The new rows are read first and put aside, their keys as hashes by themselves. Of the earlier slices only the key
//! columns are read, and of those only what can hold one of the new keys; what passes is compared part by part. So memory
//! and time go with the new rows, and never more than [`Memory`](super::Memory) is held, whichever side is large.

use arrow::array::{ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::compute::{cast, filter_record_batch, max, min};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use super::batch::project;
use super::history::Extents;
use super::keys::{Among, ByHash, Key};
use super::order::Order;
use super::passed::Passed;
use super::repeated::{Keyed, push_keys};
use super::spill::{PARTITIONS, Partitions, Record, Share, Spool, hash_of};
use super::{Far, MergeError, Merged, OnBatch, Operations, Repeated, Setting, Sink};
use crate::source::{BATCH_ROWS, Batches};
use odf_metadata::OperationType;

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
    let mut new = Partitions::<Keyed>::new(scratch, memory.keys);
    let mut extents = Extents::new(&key.fields);
    // Whether a row's key was in no earlier row; one that lacks a value of its key is equal to no other.
    let mut unseen = BooleanBufferBuilder::new(0);
    let mut read = 0u64;
    let mut blocks = BlockEnds::default();
    let mut density = Density::default();
    while let Some(batch) = batches.next_batch()? {
        match key.complete(&batch) {
            None => unseen.append_n(batch.num_rows(), false),
            Some(complete) => complete.iter().for_each(|is_complete| unseen.append(!is_complete)),
        }
        push_keys(&mut new, key, &batch, read)?;
        extents.widen(&project(&batch, &key.positions));
        read += batch.num_rows() as u64;
        blocks.read(read, batches.ends_block());
        density.widen(&project(&batch, &key.positions))?;
        on_batch(Far::Read {
            bytes: batches.bytes(),
            rows: read,
        })?;
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
                on_batch(Far::Compared(hashes.len() as u64))?;
                hashes.into_iter().try_for_each(|hash| old.push(hash, &Old(hash)))
            },
        )?;
    }
    drop(among);
    let mut repeated = Repeated::default();
    for part in 0..PARTITIONS {
        for share in Share::all(old.bytes_of(part) + new.bytes_of(part)) {
            let seen: ByHash<()> = old.take(part, share)?.map(|Old(key)| (key, ())).collect();
            let mut taken: ByHash<u64> = ByHash::default();
            for Keyed { key, row } in new.take(part, share)? {
                if !seen.contains_key(&key) {
                    unseen.set_bit(usize::try_from(row).unwrap_or(usize::MAX), true);
                    if let Some(before) = taken.insert(key, row) {
                        repeated.note(before, row);
                    }
                }
            }
        }
    }

    let unseen = unseen.finish();
    let order = Order::by_event_time(setting)?;
    let mut sorter = match order.is_none() && waiting.is_spilled() {
        // Nothing to sort by: the rows are handed on as they come.
        true => None,
        false => Some(setting.joined_arranger(order, !density.is_dense(read))),
    };
    // The first row of those that are compared with what is there.
    let first = usize::try_from(read.saturating_sub(setting.compared)).ok();
    let mut passed = match first {
        Some(first) if unseen.slice(first, unseen.len() - first).count_set_bits() < unseen.len() - first => {
            Some((first, Passed::new(key, setting)?))
        }
        _ => None,
    };
    let mut at = 0;
    if unseen.count_set_bits() > 0 || passed.is_some() {
        for batch in waiting.drain()? {
            let batch = batch?;
            on_batch(Far::Compared(batch.num_rows() as u64))?;
            let mut from = 0;
            while from < batch.num_rows() {
                let rows = blocks.next(at as u64, batch.num_rows() - from);
                let part = batch.slice(from, rows);
                let wanted = BooleanArray::new(unseen.slice(at, rows), None);
                if let Some((first, passed)) = &mut passed {
                    let known: BooleanArray = (at..at + rows)
                        .map(|row| Some(row >= *first && !unseen.value(row)))
                        .collect();
                    passed.push(&part, &known)?;
                }
                from += rows;
                at += rows;
                let part = match wanted.true_count() {
                    all if all == rows => part,
                    _ => filter_record_batch(&part, &wanted)?,
                };
                let append = Operations::All(OperationType::Append);
                match &mut sorter {
                    _ if part.num_rows() == 0 => {}
                    Some(sorter) => sorter.push(&part, append)?,
                    None => sink.accept(&part, append)?,
                }
                if let Some(sorter) = sorter.as_mut().filter(|_| blocks.is_end(at as u64)) {
                    sorter.end_block()?;
                }
            }
        }
    }
    if let Some(sorter) = sorter {
        sorter.finish(sink)?;
    }
    let passed_over = match passed {
        Some((_, passed)) => passed.count(&mut |rows| Ok(on_batch(Far::Compared(rows))?))?,
        None => 0,
    };
    Ok(Merged::Done {
        read,
        held: 0,
        passed_over,
        repeated,
    })
}

/// How dense the keys of the new rows are, where they are one integer. The reference implementation joins dense ones in
/// another way, in which its blocks stay in their order.
#[derive(Default)]
struct Density {
    bounds: Option<(i128, i128)>,
}

impl Density {
    /// Keys with a smaller range are dense, however few they are.
    const SMALL_RANGE: i128 = 1024;

    fn widen(&mut self, keys: &[ArrayRef]) -> Result<(), MergeError> {
        let [key] = keys else { return Ok(()) };
        let (least, greatest) = match key.data_type() {
            DataType::UInt64 => {
                let keys = key.as_primitive::<UInt64Type>();
                (min(keys).map(i128::from), max(keys).map(i128::from))
            }
            integer if integer.is_integer() => {
                let keys = cast(key, &DataType::Int64)?;
                let keys = keys.as_primitive::<Int64Type>();
                (min(keys).map(i128::from), max(keys).map(i128::from))
            }
            _ => return Ok(()),
        };
        if let (Some(least), Some(greatest)) = (least, greatest) {
            let (a, b) = self.bounds.unwrap_or((least, greatest));
            self.bounds = Some((a.min(least), b.max(greatest)));
        }
        Ok(())
    }

    fn is_dense(&self, rows: u64) -> bool {
        self.bounds.is_some_and(|(least, greatest)| {
            let range = greatest - least;
            // 0.15 of the range and more.
            range < Self::SMALL_RANGE || i128::from(rows) * 100 > (range + 1) * 15
        })
    }
}

/// Where the blocks of the rows end that the reference implementation reads at once.
#[derive(Default)]
struct BlockEnds {
    ends: Vec<u64>,
    /// Of those that ends are asked of, the first that was not passed.
    at: usize,
}

impl BlockEnds {
    /// So many rows were read up to now, with which a block ends or need not.
    fn read(&mut self, rows: u64, is_end: bool) {
        loop {
            let last = self.ends.last().copied().unwrap_or(0);
            match last + BATCH_ROWS as u64 {
                next if next <= rows => self.ends.push(next),
                _ if is_end && last < rows => self.ends.push(rows),
                _ => return,
            }
        }
    }

    /// How many of the next rows, at most `most`, are of the block in which the row behind `passed` is.
    fn next(&mut self, passed: u64, most: usize) -> usize {
        while self.ends.get(self.at).is_some_and(|end| *end <= passed) {
            self.at += 1;
        }
        let left = self.ends.get(self.at).map(|end| end - passed);
        left.map_or(most, |left| usize::try_from(left).unwrap_or(most).min(most))
    }

    /// Whether a block ends with the last of so many rows.
    fn is_end(&self, passed: u64) -> bool {
        self.ends.get(self.at) == Some(&passed)
    }
}
