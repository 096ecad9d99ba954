//! The records that other peers leave with us, and our own, behind libp2p's `RecordStore`.
//!
//! On disk (a [`Table`]) rather than in memory, so that a restart forgets nothing, and bounded in number and size. Value
//! records are shared by both DHTs: they are signed, so where they came from does not matter. Provider records are
//! kept per DHT, because the addresses in them are of that network.
//!
//! | key | value |
//! |---|---|
//! | `v` key | `expires u64 BE` bytes of the record |
//! | `p` network `u8` key length `u16 BE` key, provider | `expires u64 BE`, then `length u16 BE` address, … |
//!
//! What we provide ourselves is not here: it is in the [schedule](super::schedule), and answered from there.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use super::network::{Network, PROVIDER_TTL, VALUE_TTL};
use super::schedule::Schedule;
use crate::address::reach;
use crate::clock::Clock;
use crate::store::{StoreError, Table};

/// Value records kept, at most.
pub const MAX_VALUES: usize = 4096;
/// The largest value record kept: the ceiling of an IPNS record.
pub const MAX_VALUE_BYTES: usize = 10 << 10;
/// Provider records kept in one DHT, at most.
pub const MAX_PROVIDER_RECORDS: usize = 65_536;
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

const VALUE: u8 = b'v';
const PROVIDER: u8 = b'p';
const EXPIRES_BYTES: usize = 8;

/// The records of one DHT. Clones share the same table and counters.
#[derive(Clone)]
pub(crate) struct Records {
    table: Table,
    schedule: Schedule,
    network: Network,
    local: PeerId,
    clock: Clock,
    values: Arc<AtomicUsize>,
    providers: Arc<AtomicUsize>,
}

impl Records {
    /// Opens the records of both DHTs, dropping what expired while the peer was away. Reads the table once: call it
    /// where blocking is allowed.
    pub(crate) fn open(table: &Table, schedule: &Schedule, local: PeerId, clock: &Clock) -> [Self; 2] {
        let values = Arc::new(AtomicUsize::new(0));
        let records = Network::BOTH.map(|network| Self {
            table: table.clone(),
            schedule: schedule.clone(),
            network,
            local,
            clock: clock.clone(),
            values: Arc::clone(&values),
            providers: Arc::default(),
        });
        for records in &records {
            records.sweep();
        }
        records
    }

    /// Drops expired records and counts the rest. Blocking.
    pub(crate) fn sweep(&self) {
        for (prefix, counter) in [
            (vec![VALUE], &self.values),
            (self.provider_prefix(None), &self.providers),
        ] {
            let now = self.clock.unix();
            let mut kept = 0;
            for entry in self.table.scan_prefix(&prefix) {
                match entry {
                    Ok((key, value)) if expires(&value).is_some_and(|at| at > now) => {
                        let _ = key;
                        kept += 1;
                    }
                    Ok((key, _)) => log(self.table.remove(&key)),
                    Err(error) => return log(Err(error)),
                }
            }
            counter.store(kept, Ordering::Relaxed);
        }
    }

    /// The value record of `key`, if one is kept and has not expired.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let stored = self.read(&value_key(key))?;
        (expires(&stored)? > self.clock.unix()).then(|| stored[EXPIRES_BYTES..].to_vec())
    }

    /// Keeps a value record until `expires` (seconds since 1970), in place of any other of that key. The caller has
    /// checked it.
    ///
    /// # Errors
    /// Too large, or no room. Nothing changed.
    pub(crate) fn put_value(&self, key: &[u8], value: &[u8], expires: u64) -> Result<()> {
        if value.len() > MAX_VALUE_BYTES || key.len() > MAX_VALUE_KEY_BYTES {
            return Err(Error::ValueTooLarge);
        }
        if self.values.load(Ordering::Relaxed) >= MAX_VALUES && self.read(&value_key(key)).is_none() {
            return Err(Error::MaxRecords);
        }
        self.write_value(key, value, expires)
    }

    /// Keeps a value record of this peer's own, or one that it looks after: there is always room for those.
    pub(crate) fn put_kept(&self, key: &[u8], value: &[u8], expires: u64) {
        if let Err(error) = self.write_value(key, value, expires) {
            tracing::warn!(%error, "a record is not served to others");
        }
    }

    /// Serves the value record of that key no longer, if there is one.
    pub(crate) fn forget_value(&self, key: &[u8]) {
        let at = value_key(key);
        if self.read(&at).is_some() {
            log(self.table.remove(&at));
            self.values.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn write_value(&self, key: &[u8], value: &[u8], expires: u64) -> Result<()> {
        let at = value_key(key);
        let is_new = self.read(&at).is_none();
        let mut stored = expires.to_be_bytes().to_vec();
        stored.extend_from_slice(value);
        if let Err(error) = self.table.insert(&at, &stored) {
            log(Err(error));
            return Err(Error::MaxRecords);
        }
        if is_new {
            self.values.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// When a record put by another peer now is to be dropped.
    pub(crate) fn value_deadline(&self) -> u64 {
        self.clock.unix() + VALUE_TTL.as_secs()
    }

    fn provider_prefix(&self, key: Option<&[u8]>) -> Vec<u8> {
        let mut prefix = vec![PROVIDER, self.network as u8];
        if let Some(key) = key {
            prefix.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
            prefix.extend_from_slice(key);
        }
        prefix
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.table.get(key).unwrap_or_else(|error| {
            log(Err(error));
            None
        })
    }

    /// Stored providers of `key` with the time each expires, dead ones included.
    fn stored_providers(&self, key: &[u8]) -> Vec<(Vec<u8>, u64, ProviderRecord)> {
        let prefix = self.provider_prefix(Some(key));
        let entries = self
            .table
            .scan_prefix(&prefix)
            .filter_map(|entry| entry.map_err(|error| log(Err(error))).ok());
        entries
            .filter_map(|(at, value)| {
                let provider = PeerId::from_bytes(at.get(prefix.len()..)?).ok()?;
                let expires = expires(&value)?;
                let addresses = decode_addresses(value.get(EXPIRES_BYTES..)?);
                let record = ProviderRecord {
                    key: RecordKey::new(&key),
                    provider,
                    expires: None,
                    addresses,
                };
                Some((at, expires, record))
            })
            .collect()
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let value = self.value(key.as_ref())?;
        Some(Cow::Owned(Record::new(key.clone(), value)))
    }

    fn put(&mut self, record: Record) -> Result<()> {
        let left = record
            .expires
            .map_or(VALUE_TTL, |at| at.saturating_duration_since(Instant::now()));
        self.put_value(record.key.as_ref(), &record.value, self.clock.unix() + left.as_secs())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.forget_value(key.as_ref());
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        // Only libp2p's replication job asks, and it is off.
        std::iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider == self.local {
            return Ok(()); // in the schedule already
        }
        let key: &[u8] = record.key.as_ref();
        let mut value = (self.clock.unix() + PROVIDER_TTL.as_secs()).to_be_bytes().to_vec();
        let told = value.len();
        let admitted = record
            .addresses
            .iter()
            .filter(|address| self.network.admits(reach(address)));
        for address in admitted
            .filter(|address| address.len() <= MAX_ADDRESS_BYTES)
            .take(MAX_PROVIDER_ADDRESSES)
        {
            value.extend_from_slice(&(address.len() as u16).to_be_bytes());
            value.extend_from_slice(address.as_ref());
        }
        // A provider without an address that may be told to others helps nobody.
        if key.is_empty() || key.len() > MAX_PROVIDER_KEY_BYTES || value.len() == told {
            return Err(Error::ValueTooLarge);
        }
        let mut at = self.provider_prefix(Some(key));
        at.extend_from_slice(&record.provider.to_bytes());

        let known = self.stored_providers(key);
        let is_new = !known.iter().any(|(stored_at, ..)| *stored_at == at);
        if is_new {
            if known.len() >= MAX_PROVIDERS_PER_KEY {
                // The one that has been silent longest makes room.
                if let Some((oldest, ..)) = known.iter().min_by_key(|(_, expires, _)| *expires) {
                    log(self.table.remove(oldest));
                    self.providers.fetch_sub(1, Ordering::Relaxed);
                }
            } else if self.providers.load(Ordering::Relaxed) >= MAX_PROVIDER_RECORDS {
                return Err(Error::MaxProvidedKeys);
            }
        }
        if let Err(error) = self.table.insert(&at, &value) {
            log(Err(error));
            return Err(Error::MaxProvidedKeys);
        }
        if is_new {
            self.providers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let now = self.clock.unix();
        let mut providers: Vec<_> = self
            .stored_providers(key.as_ref())
            .into_iter()
            .filter(|(_, expires, _)| *expires > now)
            .map(|(_, expires, mut record)| {
                record.expires = Instant::now().checked_add(Duration::from_secs(expires - now));
                record
            })
            .collect();
        if self.schedule.contains(key.as_ref()) {
            // Without addresses: libp2p fills in those of the moment.
            providers.insert(0, ProviderRecord::new(key.clone(), self.local, Vec::new()));
        }
        providers
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        // Only libp2p's republishing job asks, and it is off.
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let mut at = self.provider_prefix(Some(key.as_ref()));
        at.extend_from_slice(&provider.to_bytes());
        if self.read(&at).is_some() {
            log(self.table.remove(&at));
            self.providers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Removes the value record of `key` where no peer runs on the table.
///
/// # Errors
/// The table cannot be written.
pub(crate) fn forget_in(table: &Table, key: &[u8]) -> std::result::Result<(), StoreError> {
    table.remove(&value_key(key))
}

fn value_key(key: &[u8]) -> Vec<u8> {
    [&[VALUE], key].concat()
}

fn expires(stored: &[u8]) -> Option<u64> {
    stored
        .first_chunk::<EXPIRES_BYTES>()
        .map(|bytes| u64::from_be_bytes(*bytes))
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
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::UNIX_EPOCH;

    use super::*;

    struct Bench {
        records: Records,
        table: Table,
        now: Arc<AtomicU64>,
    }

    fn bench() -> Bench {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let table = Table::in_memory();
        let records = open(&table, &now);
        Bench { records, table, now }
    }

    fn open(table: &Table, now: &Arc<AtomicU64>) -> Records {
        let now = Arc::clone(now);
        let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed)));
        let schedule = Schedule::open(Table::in_memory(), clock.clone());
        let [lan, _] = Records::open(table, &schedule, PeerId::random(), &clock);
        lan
    }

    fn provider(key: &[u8], address: &str) -> ProviderRecord {
        ProviderRecord::new(RecordKey::new(&key), PeerId::random(), vec![address.parse().unwrap()])
    }

    #[test]
    fn records_survive_a_restart_and_expire_by_the_clock() {
        let mut bench = bench();
        bench
            .records
            .add_provider(provider(b"key", "/ip4/10.0.0.1/tcp/1"))
            .unwrap();
        bench.records.put_value(b"/ipns/x", b"record", 1_000_100).unwrap();

        let reopened = open(&bench.table, &bench.now);
        assert_eq!(reopened.providers(&RecordKey::new(b"key")).len(), 1);
        assert_eq!(reopened.value(b"/ipns/x").unwrap(), b"record");
        assert_eq!(reopened.values.load(Ordering::Relaxed), 1);

        bench.now.store(1_000_100, Ordering::Relaxed);
        assert_eq!(reopened.value(b"/ipns/x"), None);
        bench.now.store(1_000_000 + PROVIDER_TTL.as_secs(), Ordering::Relaxed);
        assert!(reopened.providers(&RecordKey::new(b"key")).is_empty());
        reopened.sweep();
        assert_eq!(bench.table.scan_prefix(b"").count(), 0);
    }

    #[test]
    fn providers_need_a_usable_address_and_a_key_within_the_limit() {
        let mut bench = bench();
        let longest = [7; MAX_PROVIDER_KEY_BYTES];
        assert!(
            bench
                .records
                .add_provider(provider(&longest, "/ip4/10.0.0.1/tcp/1"))
                .is_ok()
        );
        let too_long = [7; MAX_PROVIDER_KEY_BYTES + 1];
        assert!(
            bench
                .records
                .add_provider(provider(&too_long, "/ip4/10.0.0.1/tcp/1"))
                .is_err()
        );
        assert!(
            bench
                .records
                .add_provider(provider(b"", "/ip4/10.0.0.1/tcp/1"))
                .is_err()
        );
        assert!(
            bench
                .records
                .add_provider(provider(b"k", "/ip4/0.0.0.0/tcp/1"))
                .is_err()
        );
        let silent = ProviderRecord::new(RecordKey::new(b"k"), PeerId::random(), Vec::new());
        assert!(bench.records.add_provider(silent).is_err());
    }

    #[test]
    fn one_provider_over_the_limit_displaces_the_most_silent() {
        let mut bench = bench();
        let first = provider(b"k", "/ip4/10.0.0.1/tcp/1");
        bench.records.add_provider(first.clone()).unwrap();
        bench.now.fetch_add(60, Ordering::Relaxed);
        for _ in 0..MAX_PROVIDERS_PER_KEY {
            bench
                .records
                .add_provider(provider(b"k", "/ip4/10.0.0.2/tcp/1"))
                .unwrap();
        }
        let kept = bench.records.providers(&RecordKey::new(b"k"));
        assert_eq!(kept.len(), MAX_PROVIDERS_PER_KEY);
        assert!(kept.iter().all(|record| record.provider != first.provider));
        assert_eq!(bench.records.providers.load(Ordering::Relaxed), MAX_PROVIDERS_PER_KEY);
    }

    #[test]
    fn addresses_of_one_provider_are_capped() {
        let mut bench = bench();
        let mut record = provider(b"k", "/ip4/10.0.0.1/tcp/1");
        record.addresses = (1..=MAX_PROVIDER_ADDRESSES as u16 + 1)
            .map(|port| format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap())
            .collect();
        bench.records.add_provider(record).unwrap();
        assert_eq!(
            bench.records.providers(&RecordKey::new(b"k"))[0].addresses.len(),
            MAX_PROVIDER_ADDRESSES
        );
    }

    #[test]
    fn a_value_over_the_limits_is_refused() {
        let bench = bench();
        assert!(bench.records.put_value(b"k", &[0; MAX_VALUE_BYTES], u64::MAX).is_ok());
        assert!(
            bench
                .records
                .put_value(b"k", &[0; MAX_VALUE_BYTES + 1], u64::MAX)
                .is_err()
        );
        assert!(
            bench
                .records
                .put_value(&[0; MAX_VALUE_KEY_BYTES + 1], b"", u64::MAX)
                .is_err()
        );
        for n in 1..MAX_VALUES {
            bench.records.put_value(&n.to_be_bytes(), b"", u64::MAX).unwrap();
        }
        assert!(bench.records.put_value(b"one more", b"", u64::MAX).is_err());
        assert!(bench.records.put_value(b"k", b"replaced", u64::MAX).is_ok());
    }
}
