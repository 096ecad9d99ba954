//! Records that come from other peers: put to us, or heard over PubSub.

use bytes::Bytes;

use super::record::{Name, Record};
use super::state::States;
use crate::clock::Clock;
use crate::clock::to_unix;
use crate::routing::records::{Owner, Records};

/// Checks and keeps records that come in.
#[derive(Clone)]
pub(crate) struct Inbox {
    states: States,
    records: Records,
    clock: Clock,
}

/// What a record that was heard is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is none, of another name, forged, or expired.
    Invalid,
    /// It is not better than what is known of the name; or the name is neither own nor followed.
    Known,
    /// It is better than what was known, and kept.
    Better,
}

/// What came of a good record.
#[derive(Default)]
struct Noted {
    is_better: bool,
    is_kept: bool,
    is_withdrawn: bool,
}

impl Inbox {
    pub(super) fn new(states: States, records: Records, clock: Clock) -> Self {
        Self { states, records, clock }
    }

    /// Keeps `value` if it is a valid record for `key` and better than what is kept. Returns whether it was taken. Of a name
    /// that was withdrawn here only the number is noted: nobody gets it from here because others brought it back.
    ///
    /// Blocking: the signatures of the new record and of the two that may be kept of the name are checked, with reads and writes
    /// of a table. Whoever put the record is told what this returns.
    pub(crate) fn offer(&self, key: &[u8], value: &[u8], owner: Owner) -> bool {
        let Some(record) = self.check(key, value) else {
            return false;
        };
        !self.note(&record).is_withdrawn && keep(&self.records, &record.name(), &record, owner)
    }

    /// Keeps `value` if it is a valid record for `key`, an own or followed name, and better than what is kept. Blocking, as
    /// [`Self::offer`].
    pub(super) fn hear(&self, key: &[u8], value: &[u8]) -> Heard {
        let Some(record) = self.check(key, value) else {
            return Heard::Invalid;
        };
        match self.note(&record) {
            Noted {
                is_better: true,
                is_kept: true,
                ..
            } => {
                keep_kept(&self.records, &record.name(), &record);
                Heard::Better
            }
            _ => Heard::Known,
        }
    }

    fn check(&self, key: &[u8], value: &[u8]) -> Option<Record> {
        // Kubo also takes `/pk/`, for keys that names did not hold before 2018; it is refused here.
        let Some(name) = Name::from_routing_key(key) else {
            tracing::debug!("a record outside /ipns/ is refused");
            return None;
        };
        match Record::verify(name, Bytes::copy_from_slice(value), self.clock.now()) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::debug!(%name, %error, "a record is refused");
                None
            }
        }
    }

    /// Notes a checked record in what is known of its name, if anything is.
    fn note(&self, record: &Record) -> Noted {
        let (name, now) = (record.name(), self.clock.unix());
        let mut noted = Noted::default();
        let updated = self.states.update_known(&name, |entry| {
            noted.is_kept = entry.is_kept();
            noted.is_withdrawn = entry.withdrawn;
            noted.is_better = entry.hear(record, now);
        });
        if let Err(error) = updated {
            tracing::warn!(%name, %error, "a newer record could not be noted");
            noted.is_better = false;
        }
        noted
    }
}

/// Keeps a checked record that `owner` put, for others to fetch from us, unless a better one is there.
fn keep(records: &Records, name: &Name, record: &Record, owner: Owner) -> bool {
    let key = name.routing_key();
    let known = records
        .value(&key)
        .and_then(|bytes| Record::verify_signature(*name, bytes.into()).ok());
    if known.is_some_and(|known| known.bytes() != record.bytes() && !record.compare(&known).is_gt()) {
        return false;
    }
    let expires = records.value_deadline().min(to_unix(record.valid_until()));
    records.put_value(&key, record.bytes(), expires, owner).is_ok()
}

/// Keeps a checked record of an own or followed name for as long as it is valid, whatever others have left here.
pub(super) fn keep_kept(records: &Records, name: &Name, record: &Record) {
    let key = name.routing_key();
    let known = records
        .value(&key)
        .and_then(|bytes| Record::verify_signature(*name, bytes.into()).ok());
    if known.is_none_or(|known| record.bytes() == known.bytes() || record.compare(&known).is_gt()) {
        records.put_kept(&key, record.bytes(), to_unix(record.valid_until()));
    }
}
