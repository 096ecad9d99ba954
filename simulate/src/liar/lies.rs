//! What a liar's part of the DHT holds: the oldest record that it ever saw of each name, and answers that are false.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::{Empty, empty};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::kad::store::{RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

/// Names of which records are kept.
const MAX_NAMES: usize = 1024;

/// What was seen and what is said of it. Clones are the same one, so that it outlives the liar's lives.
#[derive(Clone, Default)]
pub(super) struct Lies(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The first record that was put of each name.
    oldest: BTreeMap<Vec<u8>, Record>,
    /// Who is said to have whatever is asked for.
    holders: Vec<(PeerId, Multiaddr)>,
    told: u64,
}

/// In which way an answer is false.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// What was true once.
    Old,
    /// What is true of something else.
    Other,
    /// Like what is true, but for one bit.
    Forged,
    /// The first half.
    Cut,
}

impl Lies {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are said to have whatever is asked for.
    pub(super) fn accuse(&self, holders: Vec<(PeerId, Multiaddr)>) {
        self.state().holders = holders;
    }

    /// How many answers and claims were false so far.
    pub(super) fn told(&self) -> u64 {
        self.state().told
    }

    /// The lie whose turn it is.
    pub(super) fn next(&self) -> Lie {
        self.state().next()
    }

    /// A false record of each name that was ever heard of.
    pub(super) fn all(&self) -> Vec<Record> {
        let mut state = self.state();
        let keys: Vec<_> = state.oldest.keys().map(|key| RecordKey::from(key.clone())).collect();
        keys.iter().filter_map(|key| state.record(key)).collect()
    }
}

impl State {
    fn next(&mut self) -> Lie {
        self.told += 1;
        // Old ones, which alone are signed, are half of all.
        match self.told % 6 {
            1 => Lie::Other,
            3 => Lie::Forged,
            5 => Lie::Cut,
            _ => Lie::Old,
        }
    }

    fn record(&mut self, key: &RecordKey) -> Option<Record> {
        let lie = self.next();
        let own = self.oldest.get(key.as_ref());
        let other = || self.oldest.values().find(|record| record.key != *key);
        let mut record = if lie == Lie::Other {
            other().or(own)
        } else {
            own.or_else(other)
        }?
        .clone();
        record.key = key.clone();
        match lie {
            Lie::Old | Lie::Other => {}
            Lie::Forged => {
                let middle = record.value.len() / 2;
                record.value.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
            }
            Lie::Cut => record.value.truncate(record.value.len() / 2),
        }
        Some(record)
    }
}

impl RecordStore for Lies {
    type RecordsIter<'a> = Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.state().record(key).map(Cow::Owned)
    }

    fn put(&mut self, mut record: Record) -> Result<()> {
        let mut state = self.state();
        if state.oldest.len() < MAX_NAMES {
            // It is for ever.
            record.expires = None;
            state.oldest.entry(record.key.to_vec()).or_insert(record);
        }
        Ok(())
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        empty()
    }

    fn add_provider(&mut self, _: ProviderRecord) -> Result<()> {
        // Confirmed, and forgotten.
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let mut state = self.state();
        state.told += 1;
        let holders = state.holders.iter().cloned();
        holders
            .map(|(provider, address)| ProviderRecord {
                key: key.clone(),
                provider,
                expires: None,
                addresses: vec![address],
            })
            .collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}
