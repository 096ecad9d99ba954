//! Rows, or their primary keys, as 128-bit hashes.
//!
//! The hash is SipHash-1-3 with 128 bits of output, keyed with fresh random numbers in every merge, or with those of an
//! earlier one whose hashes are kept for their owner only, so nobody can prepare two rows that collide; by chance it happens once in 2^128 / n² merges of n rows (n of a billion: once in 2^68). The
//! outcome of a merge does not depend on the random numbers. It is taken column by column over the values themselves:
//! nothing is allocated for a row, and nothing is copied unless a type is nested.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use super::MergeError;
use super::batch::project;
use crate::shape::Shape;

/// SipHash with 128 bits of output over 64-bit words; `C` rounds a word, `D` rounds at the end.
#[derive(Clone, Copy)]
struct Sip<const C: usize, const D: usize>([u64; 4]);

impl<const C: usize, const D: usize> Sip<C, D> {
    fn new([low, high]: [u64; 2]) -> Self {
        Sip([
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn round(&mut self) {
        let [v0, v1, v2, v3] = &mut self.0;
        *v0 = v0.wrapping_add(*v1);
        *v2 = v2.wrapping_add(*v3);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v1);
        *v0 = v0.wrapping_add(*v3);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.rotate_left(32);
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        for _ in 0..C {
            self.round();
        }
        self.0[0] ^= word;
    }

    /// Bytes of any length such that no two sequences of them are absorbed as the same words.
    #[inline]
    fn absorb_bytes(&mut self, bytes: &[u8]) {
        let padded = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        if bytes.len() < 8 {
            // The lowest byte is a length here, and below it cannot be one.
            return self.absorb(padded(bytes) << 8 | bytes.len() as u64);
        }
        self.absorb((bytes.len() as u64) << 8 | 0xff);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.absorb(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.absorb(padded(rest));
        }
    }

    fn finish(mut self) -> u128 {
        let half = |sip: &mut Self, mark: usize, value: u64| {
            sip.0[mark] ^= value;
            for _ in 0..D {
                sip.round();
            }
            let [v0, v1, v2, v3] = sip.0;
            v0 ^ v1 ^ v2 ^ v3
        };
        let low = half(&mut self, 2, 0xee);
        let high = half(&mut self, 1, 0xdd);
        u128::from(high) << 64 | u128::from(low)
    }
}

type Row = Sip<1, 3>;

/// How many columns share one word that says which of them have no value.
const COLUMNS_PER_NULL_WORD: usize = 64;

/// What the hashes of a merge are keyed with.
pub(super) type Seed = [u64; 2];

/// Hashes the values of some columns, row by row.
pub(super) struct RowHasher {
    seed: Seed,
    /// For every column the converter that brings it to bytes, where its values are not simple ones.
    converters: Vec<Option<RowConverter>>,
}

impl RowHasher {
    pub(super) fn new(fields: &[Field]) -> Result<RowHasher, MergeError> {
        let random = RandomState::new();
        let converter = |field: &Field| match is_simple(field.data_type()) {
            true => Ok(None),
            false => RowConverter::new(vec![SortField::new(field.data_type().clone())]).map(Some),
        };
        Ok(RowHasher {
            seed: [random.hash_one(0), random.hash_one(1)],
            converters: fields.iter().map(converter).collect::<Result<_, _>>()?,
        })
    }

    /// What the hashes are keyed with.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// From now on hashes are those of an earlier merge that had this seed.
    pub(super) fn set_seed(&mut self, seed: Seed) {
        self.seed = seed;
    }

    /// One hash for each of `rows` rows. Columns must have the types of the fields. Rows with the same values, missing ones
    /// included, have the same hash.
    pub(super) fn hash(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u128>, MergeError> {
        let mut states = vec![Row::new(self.seed); rows];
        let mut absent = vec![0u64; rows];
        for (columns, converters) in columns
            .chunks(COLUMNS_PER_NULL_WORD)
            .zip(self.converters.chunks(COLUMNS_PER_NULL_WORD))
        {
            absent.fill(0);
            for (at, (column, converter)) in columns.iter().zip(converters).enumerate() {
                absorb_column(&mut states, column, converter.as_ref())?;
                if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
                    for (absent, valid) in absent.iter_mut().zip(nulls) {
                        *absent |= u64::from(!valid) << at;
                    }
                }
            }
            for (state, absent) in states.iter_mut().zip(&absent) {
                state.absorb(*absent);
            }
        }
        Ok(states.into_iter().map(Row::finish).collect())
    }
}

/// Whether [`absorb_column`] takes the values as they lie in memory.
fn is_simple(data_type: &DataType) -> bool {
    let fixed = data_type
        .primitive_width()
        .is_some_and(|width| matches!(width, 1 | 2 | 4 | 8 | 16));
    let plain = matches!(
        data_type,
        DataType::Boolean
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    );
    fixed || plain
}

/// Adds one value to every state; a missing one as zero, or as no bytes.
fn absorb_column(states: &mut [Row], column: &ArrayRef, converter: Option<&RowConverter>) -> Result<(), MergeError> {
    fn each<'v>(states: &mut [Row], nulls: Option<&NullBuffer>, value: impl Fn(usize) -> &'v [u8]) {
        for (row, state) in states.iter_mut().enumerate() {
            let present = nulls.is_none_or(|nulls| nulls.is_valid(row));
            state.absorb_bytes(if present { value(row) } else { &[] });
        }
    }
    let nulls = column.nulls();
    if let Some(converter) = converter {
        let rows = converter.convert_columns(std::slice::from_ref(column))?;
        for (row, state) in states.iter_mut().enumerate() {
            state.absorb_bytes(rows.row(row).data());
        }
        return Ok(());
    }
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            for (row, state) in states.iter_mut().enumerate() {
                state.absorb(u64::from(values.is_valid(row) && values.value(row)));
            }
        }
        DataType::Utf8 => each(states, nulls, |row| column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => each(states, nulls, |row| column.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => each(states, nulls, |row| column.as_string_view().value(row).as_bytes()),
        DataType::Binary => each(states, nulls, |row| column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => each(states, nulls, |row| column.as_binary::<i64>().value(row)),
        DataType::BinaryView => each(states, nulls, |row| column.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => each(states, nulls, |row| column.as_fixed_size_binary().value(row)),
        data_type => absorb_fixed(states, column, data_type.primitive_width().unwrap_or(0)),
    }
    Ok(())
}

/// Numbers, times and decimals, by the bytes of their values.
fn absorb_fixed(states: &mut [Row], column: &ArrayRef, width: usize) {
    fn words<const WIDTH: usize>(
        states: &mut [Row],
        bytes: &[u8],
        nulls: Option<&NullBuffer>,
        absorb: impl Fn(&mut Row, [u8; WIDTH]),
    ) {
        for (row, (state, value)) in states.iter_mut().zip(bytes.as_chunks::<WIDTH>().0).enumerate() {
            // What lies where there is no value is arbitrary.
            let present = nulls.is_none_or(|nulls| nulls.is_valid(row));
            absorb(state, if present { *value } else { [0; WIDTH] });
        }
    }
    let data = column.to_data();
    let nulls = column.nulls();
    let bytes = match data.buffers().first() {
        Some(buffer) => &buffer.as_slice()[data.offset() * width..],
        None => &[],
    };
    match width {
        1 => words::<1>(states, bytes, nulls, |s, v| s.absorb(u8::from_le_bytes(v).into())),
        2 => words::<2>(states, bytes, nulls, |s, v| s.absorb(u16::from_le_bytes(v).into())),
        4 => words::<4>(states, bytes, nulls, |s, v| s.absorb(u32::from_le_bytes(v).into())),
        8 => words::<8>(states, bytes, nulls, |s, v| s.absorb(u64::from_le_bytes(v))),
        _ => words::<16>(states, bytes, nulls, |s, v| {
            for word in v.as_chunks::<8>().0 {
                s.absorb(u64::from_le_bytes(*word));
            }
        }),
    }
}

/// The columns of a primary key within a shape.
pub(super) struct Key {
    pub(super) positions: Vec<usize>,
    pub(super) fields: Vec<Field>,
    pub(super) hasher: RowHasher,
}

impl Key {
    pub(super) fn new(shape: &Shape, primary_key: &[String]) -> Result<Key, MergeError> {
        if primary_key.is_empty() {
            return Err(MergeError::EmptyKey);
        }
        let find = |name: &String| {
            shape
                .position(name)
                .ok_or_else(|| MergeError::NoKeyColumn(name.clone()))
        };
        let positions = primary_key.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        // Earlier rows may lack a value even where new ones must have it: kamu writes such keys.
        let fields: Vec<Field> = positions
            .iter()
            .map(|at| shape.schema().field(*at).clone().with_nullable(true))
            .collect();
        let hasher = RowHasher::new(&fields)?;
        Ok(Key {
            positions,
            fields,
            hasher,
        })
    }

    /// The key hash of every row of a batch.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Vec<u128>, MergeError> {
        self.hasher.hash(&project(batch, &self.positions), batch.num_rows())
    }

    /// Which rows have a value in every column of the key; none if all do.
    pub(super) fn complete(&self, batch: &RecordBatch) -> Option<NullBuffer> {
        let nulls = self.positions.iter().map(|at| batch.column(*at).nulls());
        let all = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls));
        all.filter(|nulls| nulls.null_count() > 0)
    }

    /// Refuses a batch with a row that lacks a value in its key. `before` rows of the table came earlier, for messages.
    pub(super) fn require(&self, batch: &RecordBatch, before: u64) -> Result<(), MergeError> {
        let Some(row) = self
            .complete(batch)
            .and_then(|nulls| (0..nulls.len()).find(|row| nulls.is_null(*row)))
        else {
            return Ok(());
        };
        let lacking = self.positions.iter().position(|at| batch.column(*at).is_null(row));
        Err(MergeError::NullKey {
            row: before + row as u64 + 1,
            column: lacking.map(|at| self.fields[at].name().clone()).unwrap_or_default(),
        })
    }
}

/// For maps whose keys are hashes already: takes the lower half as it is.
#[derive(Default)]
pub(super) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only reached for keys that are no hash; still a hash of them.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// A map by row hash.
pub(super) type ByHash<V> = std::collections::HashMap<u128, V, BuildHasherDefault<Ready>>;

/// Keys that may be among some: never says no to one of them, and seldom yes to another.
pub(super) struct Among {
    words: Vec<u64>,
}

impl Among {
    /// At 16 bits a key about one other key in fifty gets through.
    const BITS_PER_KEY: usize = 16;
    /// 32 MiB: with more than 16 million keys more others get through, which costs time and changes nothing else.
    const MOST_WORDS: usize = 4 << 20;

    pub(super) fn new(keys: u64) -> Among {
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        let words = keys.saturating_mul(Self::BITS_PER_KEY) / 64;
        Among {
            words: vec![0; words.clamp(64, Self::MOST_WORDS).next_power_of_two()],
        }
    }

    fn place(&self, key: u128) -> (usize, u64) {
        let bits = (key >> 64) as u64;
        let mask = (0..4).fold(0, |mask, n| mask | 1 << (bits >> (6 * n) & 63));
        ((bits >> 24) as usize & (self.words.len() - 1), mask)
    }

    pub(super) fn insert(&mut self, key: u128) {
        let (word, mask) = self.place(key);
        self.words[word] |= mask;
    }

    pub(super) fn may_have(&self, key: u128) -> bool {
        let (word, mask) = self.place(key);
        self.words[word] & mask == mask
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, StringArray};

    use super::*;

    /// Of the authors of SipHash: key 00 01 … 0f, message empty, 00, and 00 … 07, with 2 and 4 rounds.
    #[test]
    fn it_is_siphash() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let hash = |words: &[u64]| {
            let mut sip = Sip::<2, 4>::new(key);
            words.iter().for_each(|word| sip.absorb(*word));
            sip.finish().to_le_bytes()
        };
        assert_eq!(
            hash(&[0]),
            [
                0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93
            ]
        );
        assert_eq!(
            hash(&[1 << 56]),
            [
                0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45
            ]
        );
    }

    fn hashes(columns: &[ArrayRef]) -> Vec<u128> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|c| Field::new("c", c.data_type().clone(), true))
            .collect();
        let mut hasher = RowHasher::new(&fields).unwrap();
        hasher.seed = [1, 2];
        hasher.hash(columns, columns[0].len()).unwrap()
    }

    #[test]
    fn rows_hash_alike_exactly_if_their_values_are_alike() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some(""),
            None,
            Some("\0"),
            Some("a"),
            Some("a\0"),
            Some("1234567"),
            Some("12345678"),
            Some("12345678\0"),
            Some("1234567890123456"),
            Some("a"),
            None,
        ]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![
            Some(0),
            Some(0),
            Some(0),
            None,
            Some(0),
            Some(0),
            Some(0),
            Some(0),
            Some(0),
            None,
            Some(0),
        ]));
        let hashes = hashes(&[texts, numbers]);
        for (a, first) in hashes.iter().enumerate() {
            for (b, second) in hashes.iter().enumerate() {
                let alike = a == b || [(1, 10), (3, 9)].contains(&(a.min(b), a.max(b)));
                assert_eq!(first == second, alike, "{a} {b}");
            }
        }
    }

    #[test]
    fn what_lies_under_a_missing_value_does_not_matter() {
        let validity = NullBuffer::from(vec![false, true]);
        let column = |under: i32| Arc::new(Int32Array::new(vec![under, 5].into(), Some(validity.clone()))) as ArrayRef;
        assert_eq!(hashes(&[column(7)]), hashes(&[column(8)]));
        assert_eq!(hashes(&[column(7).slice(1, 1)]), hashes(&[column(8)])[1..]);
    }

    #[test]
    fn keys_are_always_found_among_themselves_and_others_seldom() {
        let key = |n: u64| hashes(&[Arc::new(Int64Array::from(vec![n as i64])) as ArrayRef])[0];
        let mut among = Among::new(1000);
        (0..1000).for_each(|n| among.insert(key(n)));
        assert!((0..1000).all(|n| among.may_have(key(n))));
        let others = (1000..11_000).filter(|n| among.may_have(key(*n))).count();
        assert!(others < 1_000, "{others} of 10,000");
    }
}
