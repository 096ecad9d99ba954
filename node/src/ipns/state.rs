//! What is remembered of each name, on disk.
//!
//! Beside the names are, in the same table, the roots that own and followed ones stand for, so that whoever wants to know
//! whether a root is named need not look at all names; and so are those that were withdrawn. Such an entry is written in one step
//! with that of its name and counts only if the name says the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::record::{Name, Record};
use crate::block::Cid;
use crate::clock::from_unix;
use crate::store::{Change, StoreError, Table};
use crate::threads::lock;

/// How long a DHT keeps a record that nobody puts again.
pub const DHT_MEMORY: Duration = Duration::from_secs(48 * 3600);
/// Names remembered that are neither own nor followed, at most; the one confirmed longest ago makes room.
pub(super) const MAX_CACHED_NAMES: usize = 1024;
/// Changes that may wait for somebody who watches names. One who is slower is told that some were missed.
pub(super) const MAX_UNSEEN: usize = 256;
/// What the key of a root that a name stands for begins with; no multihash of a name does, and all are before it. Alone it
/// says that every name that is kept has its root here.
const ROOTS: u8 = 0xff;
/// What the key of a withdrawn name begins with beside its own; else as [`ROOTS`].
const WITHDRAWN: u8 = 0xfe;

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
    /// Published from here once, and no longer: nothing is done for it, and only its number is remembered.
    pub withdrawn: bool,
    /// What somebody else with the same key published, who did not know of what was published here last.
    pub rival: Option<Rival>,
}

/// A record of an own name that was not made here and says something else than the last one that was, with a number that is
/// not smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// What it says.
    pub value: String,
    /// When it was heard of first.
    pub heard: SystemTime,
    /// Whether it is the better record, so that the name stands for what it says.
    pub leads: bool,
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
    pub(super) withdrawn: bool,
    pub(super) last_put: u64,
    pub(super) next_put: u64,
    pub(super) holders: u32,
    /// The holders are of the local network, and stand in for the public one.
    pub(super) makeshift: bool,
    pub(super) confirmed: u64,
    /// The record that was made here last, for something new.
    #[serde(with = "bytes")]
    pub(super) published: Vec<u8>,
    /// The best record heard since that is not made here, says something else, and has no smaller number; and when it was
    /// heard of.
    #[serde(with = "bytes")]
    pub(super) rival: Vec<u8>,
    pub(super) rival_heard: u64,
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

    /// As [`Self::record`], to be looked at here: there may be many names.
    fn kept_record(&self, name: &Name) -> Option<Record> {
        Record::kept(*name, self.record.clone().into()).ok()
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

    /// Takes `record`, which came from others, if it is better than what is known, and notes one that somebody else made with
    /// the key of an own name. It has been checked against the name.
    pub(super) fn hear(&mut self, record: &Record, now: u64) -> bool {
        self.note_rival(record, now);
        self.offer(record)
    }

    /// Notes a record that somebody else made with the key of an own name, not knowing of the one made here last.
    pub(super) fn note_rival(&mut self, record: &Record, now: u64) {
        let name = record.name();
        let kept = |bytes: &Vec<u8>| Record::verify_signature(name, bytes.clone().into()).ok();
        if !self.own || self.published.is_empty() || record.bytes() == &self.rival[..] {
            return;
        }
        let is_rival = kept(&self.published)
            .is_some_and(|own| own.value() != record.value() && record.sequence() >= own.sequence());
        let before = kept(&self.rival);
        if is_rival && before.as_ref().is_none_or(|before| record.compare(before).is_gt()) {
            if before.is_none_or(|before| before.value() != record.value()) {
                self.rival_heard = now;
            }
            self.rival = record.bytes().to_vec();
        }
    }

    /// Whether what somebody else published says this.
    pub(super) fn rival_says(&self, name: &Name, value: &str) -> bool {
        let rival = Record::verify_signature(*name, self.rival.clone().into());
        rival.is_ok_and(|rival| rival.value() == value.as_bytes())
    }

    fn rival(&self, name: &Name) -> Option<Rival> {
        if !self.own || self.rival.is_empty() {
            return None;
        }
        let rival = Record::kept(*name, self.rival.clone().into()).ok()?;
        Some(Rival {
            value: rival.path().ok()?,
            heard: from_unix(self.rival_heard),
            leads: self.kept_record(name).is_some_and(|best| best.value() == rival.value()),
        })
    }

    /// Kept alive from here.
    pub(super) fn is_kept(&self) -> bool {
        self.own || self.followed
    }

    /// The root that a name which is kept stands for, or that holds what it stands for.
    fn root(&self, name: &Name) -> Option<Cid> {
        let path = self.is_kept().then(|| self.kept_record(name))??.path().ok()?;
        path.strip_prefix("/ipfs/")?.split('/').next()?.parse().ok()
    }

    /// Whether the other is kept as this is, and stands for the same: then its root is the same.
    fn stands_as(&self, other: &Self) -> bool {
        self.is_kept() == other.is_kept() && self.record == other.record
    }

    pub(super) fn status(&self, name: Name) -> NameStatus {
        let time = |seconds: u64| (seconds > 0).then(|| from_unix(seconds));
        let record = self.kept_record(&name);
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
            withdrawn: self.withdrawn,
            rival: self.rival(&name),
        }
    }
}

/// Names by the time at which each is due.
type Due = BTreeSet<(u64, Name)>;

/// All names, by the bytes of their multihash. Clones share the table.
#[derive(Clone)]
pub(super) struct States {
    table: Table,
    // Read, change, write back: one at a time.
    writing: Arc<Mutex<()>>,
    /// When each name that is kept is to be put again; nothing before that was asked for the first time.
    due: Arc<Mutex<Option<Due>>>,
    /// Tells those who watch of which name a better record is kept.
    changed: broadcast::Sender<Name>,
}

impl States {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            writing: Arc::default(),
            due: Arc::default(),
            changed: broadcast::Sender::new(MAX_UNSEEN),
        }
    }

    /// The names of which a better record is kept from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Name> {
        self.changed.subscribe()
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
            // Now, since whoever only reads may end without a flush.
            self.find_withdrawn()?;
            if stored.is_none() && !entry.is_kept() {
                self.make_room()?;
            }
            let mut changes: Vec<Change> = Vec::new();
            let before = known.unwrap_or_default();
            if !before.stands_as(&entry) {
                changes.extend(before.root(name).map(|root| (root_key(&root, name), None)));
                changes.extend(entry.root(name).map(|root| (root_key(&root, name), Some(Vec::new()))));
            }
            if before.withdrawn != entry.withdrawn {
                changes.push((withdrawn_key(name), entry.withdrawn.then(Vec::new)));
            }
            // Encoding plain integers, booleans and bytes has no way to fail.
            changes.push((key, Some(serde_ipld_dagcbor::to_vec(&entry).unwrap_or_default())));
            self.table.apply(&changes)?;
            self.note_due(name, &before, &entry);
            if before.record != entry.record {
                // Nobody may be watching.
                let _ = self.changed.send(*name);
            }
        }
        Ok(result)
    }

    fn note_due(&self, name: &Name, before: &Known, after: &Known) {
        if let Some(due) = &mut *lock(&self.due) {
            due.remove(&(before.next_put, *name));
            if after.is_kept() {
                due.insert((after.next_put, *name));
            }
        }
    }

    /// The names that are kept and to be put again by now. Reads all the first time, and then none.
    pub(super) fn due(&self, now: u64) -> Result<Vec<Name>, StoreError> {
        let _writing = lock(&self.writing);
        let mut due = lock(&self.due);
        if due.is_none() {
            let kept = self.all()?.into_iter().filter(|(_, entry)| entry.is_kept());
            *due = Some(kept.map(|(name, entry)| (entry.next_put, name)).collect());
        }
        let due = due.iter().flatten().take_while(|(at, _)| *at <= now);
        Ok(due.map(|(_, name)| *name).collect())
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
        let before = self.get(name)?.unwrap_or_default();
        let mut changes = vec![(key(name), None)];
        changes.extend(before.root(name).map(|root| (root_key(&root, name), None)));
        changes.extend(before.withdrawn.then(|| (withdrawn_key(name), None)));
        self.table.apply(&changes)?;
        self.note_due(name, &before, &Known::default());
        Ok(())
    }

    /// Whether a name that is kept stands for this root, or for something below it.
    pub(super) fn is_named(&self, root: &Cid) -> Result<bool, StoreError> {
        if self.table.get(&[ROOTS])?.is_none() {
            self.find_roots()?;
        }
        let prefix = root_prefix(root);
        for stored in self.table.scan_prefix(&prefix) {
            let (key, _) = stored?;
            let Ok(name) = PeerId::from_bytes(&key[prefix.len()..]).map(Name::from_peer_id) else {
                continue;
            };
            if self.get(&name)?.and_then(|entry| entry.root(&name)).as_ref() == Some(root) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the entries of the names that were withdrawn, unless they are there: earlier versions had none.
    fn find_withdrawn(&self) -> Result<(), StoreError> {
        if self.table.get(&[WITHDRAWN])?.is_some() {
            return Ok(());
        }
        let all = self.all()?.into_iter().filter(|(_, entry)| entry.withdrawn);
        let mut changes: Vec<Change> = all.map(|(name, _)| (withdrawn_key(&name), Some(Vec::new()))).collect();
        changes.push((vec![WITHDRAWN], Some(Vec::new())));
        self.table.apply(&changes)
    }

    /// The names that were withdrawn, without a look at the others.
    pub(super) fn withdrawn(&self) -> Result<Vec<Name>, StoreError> {
        self.find_withdrawn()?;
        let mut withdrawn = Vec::new();
        for stored in self.table.scan_prefix(&[WITHDRAWN]) {
            let (key, _) = stored?;
            if let Ok(name) = PeerId::from_bytes(&key[1..]).map(Name::from_peer_id)
                && self.get(&name)?.is_some_and(|entry| entry.withdrawn)
            {
                withdrawn.push(name);
            }
        }
        Ok(withdrawn)
    }

    /// Makes the entries of all roots: earlier versions had none. What changes meanwhile has its own.
    fn find_roots(&self) -> Result<(), StoreError> {
        let roots = self.all()?.into_iter().filter_map(|(name, entry)| {
            let root = entry.root(&name)?;
            Some((root_key(&root, &name), Some(Vec::new())))
        });
        let mut changes: Vec<Change> = roots.collect();
        changes.push((vec![ROOTS], Some(Vec::new())));
        self.table.apply(&changes)
    }

    pub(super) fn all(&self) -> Result<Vec<(Name, Known)>, StoreError> {
        let mut all = Vec::new();
        for stored in self.table.scan_prefix(&[]) {
            let (key, value) = stored?;
            if key.first() >= Some(&WITHDRAWN) {
                break;
            }
            if let (Ok(name), Some(entry)) = (PeerId::from_bytes(&key).map(Name::from_peer_id), decode(&value)) {
                all.push((name, entry));
            }
        }
        Ok(all)
    }

    /// Names that are kept, at most `most`, the followed ones last: of the first `looked_at` that are known.
    pub(super) fn some_kept(&self, looked_at: usize, most: usize) -> Result<Vec<Name>, StoreError> {
        let (mut own, mut followed) = (Vec::new(), Vec::new());
        for stored in self.table.scan_prefix(&[]).take(looked_at) {
            let (key, value) = stored?;
            if key.first() >= Some(&WITHDRAWN) || followed.len() >= most {
                break;
            }
            match (PeerId::from_bytes(&key).map(Name::from_peer_id), decode(&value)) {
                (Ok(name), Some(entry)) if entry.followed => followed.push(name),
                (Ok(name), Some(entry)) if entry.own && own.len() < most => own.push(name),
                _ => {}
            }
        }
        own.truncate(most.saturating_sub(followed.len()));
        own.append(&mut followed);
        Ok(own)
    }

    fn make_room(&self) -> Result<(), StoreError> {
        let mut cached = self.all()?;
        cached.retain(|(_, entry)| !entry.is_kept() && !entry.withdrawn);
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

/// What the keys of all names that stand for a root begin with. No CID is the beginning of another.
fn root_prefix(root: &Cid) -> Vec<u8> {
    [&[ROOTS], &root.to_bytes()[..]].concat()
}

fn withdrawn_key(name: &Name) -> Vec<u8> {
    [&[WITHDRAWN], &key(name)[..]].concat()
}

fn root_key(root: &Cid, name: &Name) -> Vec<u8> {
    [root_prefix(root), key(name)].concat()
}

fn decode(bytes: &[u8]) -> Option<Known> {
    serde_ipld_dagcbor::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests;
