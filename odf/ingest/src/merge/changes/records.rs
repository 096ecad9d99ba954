//! What is kept of a row to compare it: fixed sizes, in memory as in a file.

use crate::merge::spill::{Record, hash_of};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Values {
    /// Hash of the compared columns but the event time.
    pub(super) compared: u128,
    /// In milliseconds; none also where it is not compared.
    pub(super) event_time: Option<i64>,
}

impl Values {
    const BYTES: usize = 25;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.compared.to_le_bytes());
        into.push(u8::from(self.event_time.is_some()));
        into.extend_from_slice(&self.event_time.unwrap_or(0).to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Values {
        Values {
            compared: hash_of(bytes),
            event_time: (bytes[16] == 1).then(|| number(&bytes[17..])),
        }
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// A new row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct New {
    pub(super) key: u128,
    /// Its number in the table, from 0.
    pub(super) row: u64,
    pub(super) values: Values,
    /// It says that its key goes.
    pub(super) retracts: bool,
    /// No column of the key lacks a value.
    pub(super) complete: bool,
}

impl Record for New {
    const BYTES: usize = 16 + 8 + Values::BYTES + 1;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.key.to_le_bytes());
        into.extend_from_slice(&self.row.to_le_bytes());
        self.values.encode(into);
        into.push(u8::from(self.retracts) | u8::from(self.complete) << 1);
    }

    fn decode(bytes: &[u8]) -> New {
        let flags = bytes[24 + Values::BYTES];
        New {
            key: hash_of(bytes),
            row: number(&bytes[16..]).cast_unsigned(),
            values: Values::decode(&bytes[24..]),
            retracts: flags & 1 == 1,
            complete: flags & 2 == 2,
        }
    }
}

/// An earlier row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) key: u128,
    pub(super) offset: i64,
    /// It says that its values hold, and not that they no longer do.
    pub(super) holds: bool,
    pub(super) values: Values,
}

impl Record for Old {
    const BYTES: usize = 16 + 8 + 1 + Values::BYTES;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.key.to_le_bytes());
        into.extend_from_slice(&self.offset.to_le_bytes());
        into.push(u8::from(self.holds));
        self.values.encode(into);
    }

    fn decode(bytes: &[u8]) -> Old {
        Old {
            key: hash_of(bytes),
            offset: number(&bytes[16..]),
            holds: bytes[24] == 1,
            values: Values::decode(&bytes[25..]),
        }
    }

    /// Of each key the latest row counts, and those before it that hold too.
    fn condense(records: &mut Vec<u8>) {
        let mut rows: Vec<Old> = records.chunks_exact(Self::BYTES).map(Old::decode).collect();
        rows.sort_unstable_by_key(|row| (row.key, std::cmp::Reverse(row.offset)));
        records.clear();
        // The key of which a row was met that no longer holds: what lies before that does not either.
        let mut ended = None;
        for row in rows {
            if ended != Some(row.key) {
                row.encode(records);
            }
            if !row.holds {
                ended = Some(row.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        for event_time in [None, Some(0), Some(-1), Some(i64::MAX)] {
            let values = Values {
                compared: u128::MAX - 1,
                event_time,
            };
            for flag in [true, false] {
                let new = New {
                    key: 1 << 127 | 5,
                    row: u64::MAX,
                    values,
                    retracts: flag,
                    complete: !flag,
                };
                let old = Old {
                    key: 3,
                    offset: i64::MIN,
                    holds: flag,
                    values,
                };
                let mut bytes = Vec::new();
                new.encode(&mut bytes);
                assert_eq!((bytes.len(), New::decode(&bytes)), (New::BYTES, new));
                bytes.clear();
                old.encode(&mut bytes);
                assert_eq!((bytes.len(), Old::decode(&bytes)), (Old::BYTES, old));
            }
        }
    }

    #[test]
    fn condensing_leaves_what_holds_of_each_key_and_its_latest_row() {
        let old = |key, offset| Old {
            key,
            offset,
            holds: offset % 2 == 0,
            values: Values {
                compared: 0,
                event_time: None,
            },
        };
        let mut bytes = Vec::new();
        for row in [
            old(7, 3),
            old(1, 1),
            old(7, 9),
            old(5, 2),
            old(7, 4),
            old(5, 6),
            old(5, 3),
            old(5, 4),
        ] {
            row.encode(&mut bytes);
        }
        Old::condense(&mut bytes);
        let left: Vec<Old> = bytes.chunks_exact(Old::BYTES).map(Old::decode).collect();
        assert_eq!(left, [old(1, 1), old(5, 6), old(5, 4), old(5, 3), old(7, 9)]);
    }
}
