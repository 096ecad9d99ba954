//! Publishing: the next record of an own name, signed, kept and put.

use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use tokio::time::timeout;

use super::record::{Contents, Name, Record, RecordError};
use super::state::Known;
use super::survey::Survey;
use super::{DEFAULT_TTL, DEFAULT_VALIDITY, Names};
use crate::routing::{Network, RECORD_WITHIN, RoutingError};
use crate::store::StoreError;
use crate::threads::{blocking, lock};

/// How long the network is asked for the current record when nothing of the name is known here.
const ASK_STRANGER: Duration = Duration::from_secs(15);
/// The same when this peer published the name last: another writer is possible, but not likely.
const ASK_OWN: Duration = Duration::from_secs(5);
/// How long routers are waited for when peers hold the record.
const AFTER_PEERS: Duration = Duration::from_secs(1);
/// Peers that have to hold the record before `publish` returns, unless told otherwise; the others get theirs in the background.
const DEFAULT_ENOUGH: usize = 5;

/// How to publish. The default is right for a dataset.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// The new record's sequence number will be greater than this. For a chain: its height.
    pub min_sequence: u64,
    /// If set, publish only if the newest record known anywhere says this (or what is to be published, or nothing).
    pub expected: Option<String>,
    /// How long the record lasts.
    pub validity: Duration,
    /// How long readers may keep it before they look again.
    pub ttl: Duration,
    /// Whether to wait, just after the start of this peer, until a network has been joined or is out of reach: a second and a
    /// half where nobody at all answers, ten seconds at most. Without, a record of somebody else with the same key may go unnoticed, and nobody may hold
    /// the new one yet when the call returns; it is put as soon as somebody appears.
    pub join: bool,
    /// How many peers must hold it before the call returns; it returns with fewer if there are no more.
    pub enough: usize,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            min_sequence: 0,
            expected: None,
            validity: DEFAULT_VALIDITY,
            ttl: DEFAULT_TTL,
            join: true,
            enough: DEFAULT_ENOUGH,
        }
    }
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// Under which name.
    pub name: Name,
    /// The record, signed.
    pub record: Record,
    /// Whether the value is the one that was published before, so that only the record's life was renewed.
    pub renewed: bool,
    /// To which network it went; nothing if nobody is known in either. The schedule puts it as soon as somebody is.
    pub network: Option<Network>,
    /// How many peers hold it by now. More may follow.
    pub holders: usize,
}

/// Why a name was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Somebody with the same key has published something else meanwhile. Nothing changed.
    #[error("{name} already says {found}, which is not what was expected ({expected})")]
    Superseded {
        /// The name.
        name: Name,
        /// What the newest record says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// No record can be made of this key, value or lifetime. Nothing changed.
    #[error("no record can be signed")]
    Record(#[from] RecordError),
    /// The record cannot be kept, so it was not published either.
    #[error("the name cannot be kept")]
    Store(#[from] StoreError),
    /// The peer has been shut down. The record may have been kept, and is then put after the next start.
    #[error(transparent)]
    Routing(#[from] RoutingError),
}

impl Names {
    /// Makes `value` (a path: `/ipfs/…`) what the name of `key` stands for, here and on the network.
    ///
    /// The sequence number is one more than any known here or on the network and than
    /// [`min_sequence`](PublishOptions::min_sequence). Publishing the value that the newest record has keeps its number
    /// and renews its life. When this returns, the record is kept here, served to whoever asks, and put again every four
    /// hours from now on.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        key: &Keypair,
        value: &str,
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        let name = Name::from_public_key(&key.public());
        let turn = Arc::clone(lock(&self.inner.publishing).entry(name).or_default());
        let _turn = turn.lock().await;

        let entry = self.entry(&name).await?;
        let patience = if entry.own { ASK_OWN } else { ASK_STRANGER };
        let mut arrivals = self.inner.routing.arrivals_unless_silent();
        let survey = loop {
            // Looked at before anybody is asked: who comes while nobody could be asked has not been.
            let somebody = self.inner.routing.table_sizes().target().is_some();
            let survey = self.survey(&name, patience).await?;
            if somebody || !options.join || !arrivals.next().await {
                break survey;
            }
        };
        let known = [entry.record(&name), survey.best.clone()].into_iter().flatten();
        let newest = known.reduce(|a, b| if b.compare(&a).is_gt() { b } else { a });

        if let (Some(expected), Some(newest)) = (&options.expected, &newest)
            && !says(newest, expected)
            && !says(newest, value)
        {
            let (found, expected) = (newest.path()?, expected.clone());
            return Err(PublishError::Superseded { name, found, expected });
        }
        let renewed = newest
            .as_ref()
            .is_some_and(|newest| says(newest, value) && newest.sequence() > options.min_sequence);
        let sequence = match &newest {
            Some(newest) if renewed => newest.sequence(),
            newest => newest
                .as_ref()
                .map_or(0, Record::sequence)
                .max(options.min_sequence)
                .saturating_add(1),
        };
        let valid_until = self.inner.clock.now() + options.validity;
        let record = Record::create(
            key,
            &Contents {
                value,
                sequence,
                valid_until,
                ttl: options.ttl,
            },
        )?;
        lock(&self.inner.used_keys).insert(name, key.clone());
        let (made, expected) = (record.bytes().to_vec(), options.expected.clone());
        let note = move |entry: &mut Known| {
            if !renewed || entry.published.is_empty() {
                entry.published = made;
            }
            // Whoever publishes over all there is has decided; on top of what the other published, it is known here.
            if expected.is_none_or(|expected| entry.rival_says(&name, &expected)) {
                entry.rival.clear();
            }
        };
        self.keep_own(&name, &record, note).await?;
        // Before anybody is put to, which takes a walk.
        self.say(&record).await;

        let (network, holders) = self.put_everywhere(&name, &record, &survey, options.enough).await?;
        self.note_put(&name, &record, network, holders).await;
        self.inner.wake.notify_one();
        Ok(Published {
            name,
            record,
            renewed,
            network,
            holders,
        })
    }

    /// Puts a record to the peers that keep it and to the routers. Where peers hold it these are waited for a moment only.
    pub(super) async fn put_everywhere(
        &self,
        name: &Name,
        record: &Record,
        survey: &Survey,
        enough: usize,
    ) -> Result<(Option<Network>, usize), RoutingError> {
        let (routing, text, bytes) = (self.inner.routing.clone(), name.to_string(), record.bytes().clone());
        // Goes on beside where it is not waited for.
        let by_http = tokio::spawn(async move { routing.routers().put(&text, &bytes).await });
        let put = self.put(name, record, survey, enough).await?;
        let wait = if put.1 > 0 { AFTER_PEERS } else { RECORD_WITHIN };
        if let Ok(Ok(took)) = timeout(wait, by_http).await {
            tracing::debug!(%name, took, "given to routers");
        }
        Ok(put)
    }

    /// Keeps a record of an own name, for ourselves and for whoever asks, and in the same step what `note` changes.
    pub(super) async fn keep_own(
        &self,
        name: &Name,
        record: &Record,
        note: impl FnOnce(&mut Known) + Send + 'static,
    ) -> Result<(), StoreError> {
        let (states, records) = (self.inner.states.clone(), self.inner.records.clone());
        let (name, record) = (*name, record.clone());
        blocking(move || {
            states.update(&name, |entry| {
                note(entry);
                entry.own = true;
                entry.withdrawn = false;
                entry.offer(&record);
            })?;
            super::inbox::keep_kept(&records, &name, &record);
            Ok(())
        })
        .await
    }
}

fn says(record: &Record, value: &str) -> bool {
    record.path().is_ok_and(|path| path == value)
}
