//! Records that other peers put to us.

use bytes::Bytes;

use super::record::{Name, Record};
use super::state::States;
use crate::clock::Clock;
use crate::clock::to_unix;
use crate::routing::records::{Owner, Records};

/// Checks and keeps records that come in.
pub(crate) struct Inbox {
    states: States,
    records: Records,
    clock: Clock,
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
        // Kubo also takes `/pk/`, for keys that names did not hold before 2018; it is refused here.
        let Some(name) = Name::from_routing_key(key) else {
            tracing::debug!("a record outside /ipns/ is refused");
            return false;
        };
        let record = match Record::verify(name, Bytes::copy_from_slice(value), self.clock.now()) {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(%name, %error, "a record is refused");
                return false;
            }
        };
        let now = self.clock.unix();
        let mut withdrawn = false;
        if let Err(error) = self.states.update_known(&name, |entry| {
            withdrawn = entry.withdrawn;
            entry.hear(&record, now);
        }) {
            tracing::warn!(%name, %error, "a newer record could not be noted");
        }
        !withdrawn && keep(&self.records, &name, &record, owner)
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
