//! What is remembered of each name, on disk.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use super::record::{Name, Record};
use crate::clock::from_unix;
use crate::store::{StoreError, Table};
use crate::threads::lock;

/// How long a DHT keeps a record that nobody puts again.
pub const DHT_MEMORY: Duration = Duration::from_secs(48 * 3600);
/// Names remembered that are neither own nor followed, at most; the one confirmed longest ago makes room.
pub(super) const MAX_CACHED_NAMES: usize = 1024;

/// What is known here of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameStatus {
    /// The name.
    pub name: Name,
    /// What it stands for, as of the best record known.
    pub value: Option<String>,
    /// The record's sequence number.
    pub sequence: Option<u64>,
    /// When the record expires.
    pub valid_until: Option<SystemTime>,
    /// Until when others can resolve the name if this peer stops now: 48 hours after the last put, or the end of the
    /// record if that is sooner. Nothing if nobody holds it.
    pub safe_until: Option<SystemTime>,
    /// When the record was last put to somebody.
    pub last_put: Option<SystemTime>,
    /// How many peers held this record after that.
    pub holders: u32,
    /// When the network was last asked for something newer, and somebody answered.
    pub confirmed: Option<SystemTime>,
    /// Published from here.
    pub own: bool,
    /// Followed: kept alive and looked after, though the key is elsewhere.
    pub followed: bool,
}

/// One name. Times are seconds since 1970, 0 for never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Known {
    /// The best record known, as it was received; it was checked against the name then.
    #[serde(with = "bytes")]
    pub(super) record: Vec<u8>,
    pub(super) own: bool,
    pub(super) followed: bool,
    pub(super) last_put: u64,
    pub(super) next_put: u64,
    pub(super) holders: u32,
    /// The holders are of the local network, and stand in for the public one.
    pub(super) makeshift: bool,
    pub(super) confirmed: u64,
}

/// Keeps the record a CBOR byte string instead of an array of numbers.
mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

impl Known {
    /// The record, if there is one.
    pub(super) fn record(&self, name: &Name) -> Option<Record> {
        Record::verify_signature(*name, self.record.clone().into()).ok()
    }

    /// Takes `record` if it is better than what is known. It has been checked against the name.
    pub(super) fn offer(&mut self, record: &Record) -> bool {
        let better = self
            .record(&record.name())
            .is_none_or(|known| record.compare(&known).is_gt());
        if better {
            self.record = record.bytes().to_vec();
            // Nobody is known to hold the new one.
            self.holders = 0;
        }
        better
    }

    pub(super) fn status(&self, name: Name) -> NameStatus {
        let time = |seconds: u64| (seconds > 0).then(|| from_unix(seconds));
        let record = self.record(&name);
        let valid_until = record.as_ref().map(Record::valid_until);
        let remembered = (self.holders > 0).then(|| from_unix(self.last_put) + DHT_MEMORY);
        NameStatus {
            name,
            value: record.as_ref().and_then(|record| record.path().ok()),
            sequence: record.as_ref().map(Record::sequence),
            valid_until,
            safe_until: remembered.zip(valid_until).map(|(remembered, end)| remembered.min(end)),
            last_put: time(self.last_put),
            holders: self.holders,
            confirmed: time(self.confirmed),
            own: self.own,
            followed: self.followed,
        }
    }
}

/// All names, by the bytes of their multihash. Clones share the table.
#[derive(Clone)]
pub(super) struct States {
    table: Table,
    // Read, change, write back: one at a time.
    writing: Arc<Mutex<()>>,
}

impl States {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            writing: Arc::default(),
        }
    }

    pub(super) fn get(&self, name: &Name) -> Result<Option<Known>, StoreError> {
        Ok(self.table.get(&key(name))?.and_then(|bytes| decode(&bytes)))
    }

    pub(super) fn update<T>(&self, name: &Name, change: impl FnOnce(&mut Known) -> T) -> Result<T, StoreError> {
        let _writing = lock(&self.writing);
        let key = key(name);
        let stored = self.table.get(&key)?;
        let known = stored.as_deref().and_then(decode);
        let mut entry = known.clone().unwrap_or_default();
        let result = change(&mut entry);
        if known.as_ref() != Some(&entry) {
            if stored.is_none() && !entry.own && !entry.followed {
                self.make_room()?;
            }
            // Encoding plain integers, booleans and bytes has no way to fail.
            self.table
                .insert(&key, &serde_ipld_dagcbor::to_vec(&entry).unwrap_or_default())?;
        }
        Ok(result)
    }

    /// Changes the entry of a name that is known here; others are left alone.
    pub(super) fn update_known(&self, name: &Name, change: impl FnOnce(&mut Known)) -> Result<(), StoreError> {
        if self.get(name)?.is_some() {
            self.update(name, change)
        } else {
            Ok(())
        }
    }

    pub(super) fn remove(&self, name: &Name) -> Result<(), StoreError> {
        let _writing = lock(&self.writing);
        self.table.remove(&key(name))
    }

    pub(super) fn all(&self) -> Result<Vec<(Name, Known)>, StoreError> {
        let mut all = Vec::new();
        for stored in self.table.scan_prefix(&[]) {
            let (key, value) = stored?;
            if let (Ok(name), Some(entry)) = (PeerId::from_bytes(&key).map(Name::from_peer_id), decode(&value)) {
                all.push((name, entry));
            }
        }
        Ok(all)
    }

    fn make_room(&self) -> Result<(), StoreError> {
        let mut cached = self.all()?;
        cached.retain(|(_, entry)| !entry.own && !entry.followed);
        if cached.len() >= MAX_CACHED_NAMES {
            cached.sort_by_key(|(_, entry)| entry.confirmed);
            for (name, _) in &cached[..=cached.len() - MAX_CACHED_NAMES] {
                self.table.remove(&key(name))?;
            }
        }
        Ok(())
    }
}

fn key(name: &Name) -> Vec<u8> {
    name.peer_id().to_bytes()
}

fn decode(bytes: &[u8]) -> Option<Known> {
    serde_ipld_dagcbor::from_slice(bytes).ok()
}
