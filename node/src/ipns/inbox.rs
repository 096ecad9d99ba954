//! Records that other peers put to us.

use bytes::Bytes;

use super::record::{Name, Record};
use super::state::States;
use crate::clock::Clock;
use crate::clock::to_unix;
use crate::routing::records::Records;

/// Checks and keeps records that come in. Owned by the driver.
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
    /// Runs in the driver, so that whoever put the record can rely on the answer that libp2p has already sent. The cost
    /// there is bounded: the signatures of the new record and of the two that may be kept of the name are checked, with
    /// up to six reads and two writes of a table, which do not wait for the disk to be flushed.
    pub(crate) fn offer(&self, key: &[u8], value: &[u8]) -> bool {
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
        !withdrawn && keep(&self.records, &name, &record, self.records.value_deadline())
    }
}

/// Keeps a checked record for others to fetch from us, at most until `deadline`, unless a better one is there.
pub(super) fn keep(records: &Records, name: &Name, record: &Record, deadline: u64) -> bool {
    let key = name.routing_key();
    let known = records
        .value(&key)
        .and_then(|bytes| Record::verify_signature(*name, bytes.into()).ok());
    if known.is_some_and(|known| known.bytes() != record.bytes() && !record.compare(&known).is_gt()) {
        return false;
    }
    records
        .put_value(&key, record.bytes(), deadline.min(to_unix(record.valid_until())))
        .is_ok()
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
