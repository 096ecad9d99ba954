//! The records that other peers leave with us, and our own, behind libp2p's `RecordStore`.
//!
//! They are in memory, so that the task that owns the swarm never waits for a disk, within budgets that those who put them
//! share (see `records/shelf.rs`): [`MAX_PROVIDER_BYTES`] for the provider records of one DHT, about 60,000 of the usual size, and
//! [`MAX_VALUE_BYTES_IN_ALL`] for value records, about 10,000. What changes is written to a [`Table`] behind that, every
//! two seconds, and read again at the start. What was not written when the machine stops is lost: of others' records
//! their owners and other peers remind us. Our own are on the disk when the call that keeps them returns.
//!
//! Value records are shared by both DHTs: they are signed, so where they came from does not matter. Provider records are
//! kept per DHT, because the addresses in them are of that network.
//!
//! | key | value |
//! |---|---|
//! | `V` key | whose it is, `expires u64 BE`, bytes of the record |
//! | `P` network `u8` key length `u16 BE` key, provider | whose it is, `expires u64 BE`, then `length u16 BE` address, … |
//!
//! Whose it is: one byte 0 for our own; one byte 1, five of the network and eight of the peer for others'. Earlier versions had
//! neither, under `v` and `p`: their records are read once and are nobody's in particular.
//!
//! What we provide ourselves is not here: it is in the [schedule](super::schedule), and answered from there.

mod shelf;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

pub(crate) use self::shelf::Owner;
use self::shelf::{Kept, Shelf};
use super::network::{Network, PROVIDER_TTL, VALUE_TTL};
use super::schedule::Schedule;
use crate::address::{IpGroup, reach};
use crate::clock::Clock;
use crate::store::{Change, StoreError, Table};
use crate::threads::{blocking, lock};

/// Memory for value records of others, in bytes.
pub const MAX_VALUE_BYTES_IN_ALL: usize = 8 << 20;
/// The largest value record kept: the ceiling of an IPNS record.
pub const MAX_VALUE_BYTES: usize = 10 << 10;
/// Memory for provider records of one DHT, in bytes.
pub const MAX_PROVIDER_BYTES: usize = 24 << 20;
/// Providers kept for one key, at most; also what libp2p puts in one answer.
pub const MAX_PROVIDERS_PER_KEY: usize = 20;
/// Addresses kept of one provider, at most.
pub const MAX_PROVIDER_ADDRESSES: usize = 16;
/// The longest address kept, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 256;
/// The longest key of a provider record, as in go-libp2p-kad-dht: a multihash is 34 bytes, or up to 80 in odd cases.
pub const MAX_PROVIDER_KEY_BYTES: usize = 80;
/// The longest key of a value record.
pub const MAX_VALUE_KEY_BYTES: usize = 256;

/// Table of a store in which the records of both DHTs are.
pub(crate) const TABLE: &str = "dht";

const VALUE: u8 = b'V';
const PROVIDER: u8 = b'P';
/// The same as earlier versions wrote them.
const OLD_VALUE: u8 = b'v';
const OLD_PROVIDER: u8 = b'p';
/// How often what changed is written, in the background.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);
/// Records that are written, or dropped because their end has come, in one go. Others wait that long for the lock.
const AT_ONCE: usize = 256;

/// The records of one DHT. Clones share what is kept.
#[derive(Clone)]
pub(crate) struct Records {
    shared: Arc<Shared>,
    network: Network,
    /// Who put the provider record that libp2p hands over next.
    from: Owner,
    /// Whether the value record that libp2p hands over next is kept already.
    is_kept: bool,
}

struct Shared {
    table: Table,
    schedule: Schedule,
    local: PeerId,
    clock: Clock,
    values: Mutex<Shelf>,
    providers: [Mutex<Shelf>; 2],
    /// Held from reading what is to be written until it is.
    writing: Mutex<()>,
}

impl Records {
    /// Opens the records of both DHTs, dropping what expired while the peer was away. Reads the table once: call it
    /// where blocking is allowed.
    pub(crate) fn open(table: &Table, schedule: &Schedule, local: PeerId, clock: &Clock) -> [Self; 2] {
        let shared = Arc::new(Shared {
            table: table.clone(),
            schedule: schedule.clone(),
            local,
            clock: clock.clone(),
            values: Mutex::new(Shelf::new(&local, MAX_VALUE_BYTES_IN_ALL)),
            providers: Network::BOTH.map(|_| Mutex::new(Shelf::new(&local, MAX_PROVIDER_BYTES))),
            writing: Mutex::default(),
        });
        let records = Network::BOTH.map(|network| Self {
            shared: Arc::clone(&shared),
            network,
            from: Owner::default(),
            is_kept: false,
        });
        let [any, _] = &records;
        any.read_table();
        records
    }

    fn read_table(&self) {
        let now = self.shared.clock.unix();
        let mut surplus: Vec<Change> = Vec::new();
        for entry in self.shared.table.scan_prefix(&[]) {
            let (key, stored) = match entry {
                Ok(entry) => entry,
                Err(error) => return log(Err(error)),
            };
            let is_kept = match key.split_first() {
                Some((&VALUE, name)) => self.values().load(&key, name, &stored, now),
                Some((&PROVIDER, rest)) => match split_provider_key(rest) {
                    Some((network, name, _)) => self.shelf_of(network).load(&key, name, &stored, now),
                    None => false,
                },
                Some((&OLD_VALUE, name)) => {
                    read_old(&stored, now, |value, end| {
                        let owner = Some(Owner::default());
                        self.values().insert(&value_key(name), name, value, end, owner);
                    });
                    false
                }
                Some((&OLD_PROVIDER, rest)) => {
                    read_old(&stored, now, |value, end| {
                        if let Some((network, name, _)) = split_provider_key(rest) {
                            let (key, owner) = ([&[PROVIDER], rest].concat(), Some(Owner::default()));
                            self.shelf_of(network).insert(&key, name, value, end, owner);
                        }
                    });
                    false
                }
                _ => true,
            };
            if !is_kept {
                surplus.push((key, None));
            }
        }
        for changes in surplus.chunks(AT_ONCE) {
            log(self.shared.table.apply(changes));
        }
    }

    /// Writes what changed for as long as the peer runs.
    pub(crate) async fn run_writer(self) {
        loop {
            tokio::time::sleep(WRITE_INTERVAL).await;
            let records = self.clone();
            blocking(move || records.write_out()).await;
        }
    }

    /// Writes what changed in both DHTs. Blocking.
    pub(crate) fn write_out(&self) {
        let all = std::iter::once(&self.shared.values).chain(&self.shared.providers);
        for shelf in all {
            loop {
                let _writing = lock(&self.shared.writing);
                let changes = lock(shelf).changes(AT_ONCE);
                if changes.is_empty() {
                    break;
                }
                log(self.shared.table.apply(&changes));
            }
        }
    }

    /// Drops records of both DHTs whose end has come; costs what is dropped.
    pub(crate) fn sweep(&self) {
        let now = self.shared.clock.unix();
        let all = std::iter::once(&self.shared.values).chain(&self.shared.providers);
        for shelf in all {
            while lock(shelf).expire(now, AT_ONCE) == AT_ONCE {}
        }
    }

    /// Bytes that the provider records of this DHT hold.
    pub(crate) fn provider_bytes(&self) -> usize {
        self.shelf_of(self.network).used()
    }

    /// Bytes that the value records of both DHTs hold.
    pub(crate) fn value_bytes(&self) -> usize {
        self.values().used()
    }

    fn values(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shared.values)
    }

    fn shelf_of(&self, network: Network) -> MutexGuard<'_, Shelf> {
        let [lan, wan] = &self.shared.providers;
        lock(match network {
            Network::Lan => lan,
            Network::Wan => wan,
        })
    }

    /// The value record of `key`, if one is kept and has not expired.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let now = self.shared.clock.unix();
        let values = self.values();
        let kept = values.get(&value_key(key)).filter(|kept| kept.expires > now)?;
        Some(kept.value.to_vec())
    }

    /// Keeps a value record that `owner` put until `expires` (seconds since 1970), in place of any other of that key. The
    /// caller has checked it.
    ///
    /// # Errors
    /// Too large, or no room. Nothing changed.
    pub(crate) fn put_value(&self, key: &[u8], value: &[u8], expires: u64, owner: Owner) -> Result<()> {
        if value.len() > MAX_VALUE_BYTES || key.len() > MAX_VALUE_KEY_BYTES {
            return Err(Error::ValueTooLarge);
        }
        let at = value_key(key);
        let mut values = self.values();
        let owner = match values.get(&at).map(|kept| kept.owner) {
            Some(None) => None,
            // Anybody may put a record again. It stays with the one of the two who has more room for it, so that a flood
            // does not take over what it then pushes out.
            Some(Some(before)) if values.share(&before) <= values.share(&owner) => Some(before),
            _ => Some(owner),
        };
        if values.insert(&at, key, value, expires, owner) {
            Ok(())
        } else {
            Err(Error::MaxRecords)
        }
    }

    /// Keeps a value record of this peer's own, or one that it looks after: there is always room for those. It is on the
    /// disk when this returns. Blocking.
    pub(crate) fn put_kept(&self, key: &[u8], value: &[u8], expires: u64) {
        let at = value_key(key);
        self.values().insert(&at, key, value, expires, None);
        self.write_value(&at);
    }

    /// Serves the value record of that key no longer, if there is one. Blocking.
    pub(crate) fn forget_value(&self, key: &[u8]) {
        let at = value_key(key);
        self.values().remove(&at);
        self.write_value(&at);
    }

    fn write_value(&self, at: &[u8]) {
        let _writing = lock(&self.shared.writing);
        let change = self.values().change(at);
        log(self.shared.table.apply(&[change]));
    }

    /// When a record put by another peer now is to be dropped.
    pub(crate) fn value_deadline(&self) -> u64 {
        self.shared.clock.unix() + VALUE_TTL.as_secs()
    }

    /// Says who put the provider record that libp2p hands over next.
    pub(super) fn expect_from(&mut self, owner: Owner) {
        self.from = owner;
    }

    /// Says that the value record that libp2p hands over next is kept already.
    pub(super) fn expect_kept(&mut self) {
        self.is_kept = true;
    }

    fn provider_prefix(&self, key: &[u8]) -> Vec<u8> {
        let mut prefix = vec![PROVIDER, self.network as u8];
        prefix.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
        prefix.extend_from_slice(key);
        prefix
    }

    fn put_provider(&self, record: &ProviderRecord, owner: Owner) -> Result<()> {
        let key: &[u8] = record.key.as_ref();
        let mut value = Vec::new();
        let admitted = record
            .addresses
            .iter()
            .filter(|address| address.len() <= MAX_ADDRESS_BYTES && self.network.admits(reach(address)));
        for address in admitted.take(MAX_PROVIDER_ADDRESSES) {
            value.extend_from_slice(&(address.len() as u16).to_be_bytes());
            value.extend_from_slice(address.as_ref());
        }
        // A provider without an address that may be told to others helps nobody.
        if key.is_empty() || key.len() > MAX_PROVIDER_KEY_BYTES || value.is_empty() {
            return Err(Error::ValueTooLarge);
        }
        let prefix = self.provider_prefix(key);
        let at = [&prefix[..], &record.provider.to_bytes()].concat();
        let expires = self.shared.clock.unix() + PROVIDER_TTL.as_secs();
        let mut shelf = self.shelf_of(self.network);
        let before = surplus_provider(&shelf, &prefix, &at, owner);
        if !shelf.insert(&at, key, &value, expires, Some(owner)) {
            return Err(Error::MaxProvidedKeys);
        }
        if let Some(before) = before {
            shelf.remove(&before);
        }
        Ok(())
    }
}

/// Hands on the value and end of a record as earlier versions wrote it, if that end is yet to come.
fn read_old(stored: &[u8], now: u64, take: impl FnOnce(&[u8], u64)) {
    if let Some((end, value)) = stored.split_first_chunk::<8>() {
        let end = u64::from_be_bytes(*end);
        if end > now {
            take(value, end);
        }
    }
}

/// Which of the providers of a key, which are `prefix` and a peer, makes room for a new one at `at`: of the network that has
/// most of them the one that has been silent longest. None while there is room, or if `at` is there already.
fn surplus_provider(shelf: &Shelf, prefix: &[u8], at: &[u8], owner: Owner) -> Option<Vec<u8>> {
    let known: Vec<(&[u8], &Kept)> = shelf.with_prefix(prefix).collect();
    if known.len() < MAX_PROVIDERS_PER_KEY || known.iter().any(|(key, _)| *key == at) {
        return None;
    }
    let mut of_network: HashMap<IpGroup, usize> = HashMap::from([(owner.group(), 1)]);
    let group = |kept: &Kept| kept.owner.unwrap_or_default().group();
    for (_, kept) in &known {
        *of_network.entry(group(kept)).or_default() += 1;
    }
    let share = |kept: &Kept| of_network.get(&group(kept)).copied().unwrap_or_default();
    let loser = known
        .iter()
        .max_by_key(|(_, kept)| (share(kept), std::cmp::Reverse(kept.expires)))?;
    Some(loser.0.to_vec())
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let value = self.value(key.as_ref())?;
        Some(Cow::Owned(Record::new(key.clone(), value)))
    }

    /// Tells libp2p what was decided of a record that another peer put, so that it answers accordingly. What is not kept is not
    /// confirmed.
    fn put(&mut self, _: Record) -> Result<()> {
        if std::mem::take(&mut self.is_kept) {
            Ok(())
        } else {
            Err(Error::MaxRecords)
        }
    }

    fn remove(&mut self, _: &RecordKey) {
        // Asked for what has expired by libp2p's clock: nothing that is given to it expires. See `sweep`.
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        // Only libp2p's replication job asks, and it is off.
        std::iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider == self.shared.local {
            return Ok(()); // in the schedule already
        }
        self.put_provider(&record, self.from)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let now = self.shared.clock.unix();
        let prefix = self.provider_prefix(key.as_ref());
        let mut providers = Vec::new();
        if self.shared.schedule.contains(key.as_ref()) {
            // Without addresses: libp2p fills in those of the moment.
            providers.push(ProviderRecord::new(key.clone(), self.shared.local, Vec::new()));
        }
        let shelf = self.shelf_of(self.network);
        let stored = shelf.with_prefix(&prefix).filter(|(_, kept)| kept.expires > now);
        providers.extend(stored.filter_map(|(at, kept)| {
            Some(ProviderRecord {
                key: key.clone(),
                provider: PeerId::from_bytes(at.get(prefix.len()..)?).ok()?,
                expires: Instant::now().checked_add(Duration::from_secs(kept.expires - now)),
                addresses: decode_addresses(&kept.value),
            })
        }));
        providers
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        // Only libp2p's republishing job asks, and it is off.
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let at = [&self.provider_prefix(key.as_ref())[..], &provider.to_bytes()].concat();
        self.shelf_of(self.network).remove(&at);
    }
}

/// Removes the value record of `key` where no peer runs on the table.
///
/// # Errors
/// The table cannot be written.
pub(crate) fn forget_in(table: &Table, key: &[u8]) -> std::result::Result<(), StoreError> {
    table.remove(&value_key(key))?;
    table.remove(&[&[OLD_VALUE], key].concat())
}

fn value_key(key: &[u8]) -> Vec<u8> {
    [&[VALUE], key].concat()
}

/// The network, key and provider in what follows the first byte of a provider record's key.
fn split_provider_key(rest: &[u8]) -> Option<(Network, &[u8], &[u8])> {
    let (network, rest) = rest.split_first()?;
    let network = Network::BOTH.into_iter().find(|known| *known as u8 == *network)?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (name, provider) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((network, name, provider))
}

fn decode_addresses(mut bytes: &[u8]) -> Vec<Multiaddr> {
    let mut addresses = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        let Some((address, rest)) = rest.split_at_checked(len) else {
            break;
        };
        addresses.extend(Multiaddr::try_from(address.to_vec()));
        bytes = rest;
    }
    addresses
}

/// A record lost to a failing disk costs a lookup, never data: it is said in the log and the peer goes on.
fn log(result: std::result::Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a DHT record could not be read or written");
    }
}

#[cfg(test)]
mod tests;
