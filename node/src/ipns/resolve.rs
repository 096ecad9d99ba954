//! Resolving: what a name stands for now, or stood for when anybody could last be asked.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::timeout;

use super::Names;
use super::record::{MAX_RECORD_BYTES, Name, Record, RecordError};
use super::survey::Survey;
use crate::clock::from_unix;
use crate::routing::RoutingError;
use crate::routing::records::Owner;
use crate::store::StoreError;
use crate::threads::blocking;

/// How long the network is asked at most; a peer that does not answer holds it up that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long peers are waited for when gateways have given a record.
const AFTER_GATEWAYS: Duration = Duration::from_secs(1);
/// How long peers that are near are waited for before all are asked.
const NEAR_PATIENCE: Duration = Duration::from_secs(3);

/// Whether the network is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// Always, whatever is known here; what is known here is the answer only if nobody else has one.
    #[default]
    Network,
    /// As [`Self::Network`], but peers on the local network and those that were named are asked first, and if one of them has a
    /// valid record, nobody else is: what they say may be older than what the internet would. For those who were told whom
    /// to ask, and where the rest of the network may be dead.
    Near,
    /// Never: what is known here, with its age.
    Cached,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Peers were asked just now, and none had anything newer.
    Network {
        /// How many of them held a valid record.
        answers: usize,
    },
    /// From memory.
    Cache {
        /// When peers were last asked and answered; nothing if never since the record came.
        confirmed: Option<SystemTime>,
    },
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The value: a path, `/ipfs/…` or `/ipns/…`.
    pub value: String,
    /// The record that says so.
    pub record: Record,
    /// Where it comes from.
    pub source: Origin,
    /// Time since peers were last asked and answered: zero for [`Origin::Network`], nothing if that never happened.
    pub age: Option<Duration>,
    /// Whether the record's time is over. Only possible for [`Origin::Cache`]; the value is then what the name last
    /// stood for.
    pub expired: bool,
}

/// Why a name has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nobody could be asked, and nothing is known here.
    #[error("nobody can be asked for {name}: this peer knows no other")]
    NobodyToAsk {
        /// The name.
        name: Name,
    },
    /// Peers answered, but none had a record, and nothing is known here.
    #[error("no record of {name} is known to the {answers} peers that answered")]
    NotFound {
        /// The name.
        name: Name,
        /// How many peers answered.
        answers: usize,
    },
    /// Peers had records, but none that is valid for this name.
    #[error("{refused} records of {name} were refused: {reason}")]
    Refused {
        /// The name.
        name: Name,
        /// How many records.
        refused: usize,
        /// What was wrong with the last of them.
        reason: String,
    },
    /// Not known here, and the network was not to be asked.
    #[error("{name} is not known here")]
    NotCached {
        /// The name.
        name: Name,
    },
    /// The record is good, but what it says is no path.
    #[error(transparent)]
    Value(#[from] RecordError),
    /// The store cannot be read.
    #[error("the known names cannot be read")]
    Store(#[from] StoreError),
    /// The peer has been shut down.
    #[error(transparent)]
    Routing(#[from] RoutingError),
}

impl Names {
    /// What `name` stands for.
    ///
    /// With [`Freshness::Network`], both DHTs, the routers and the gateways are asked for a newer record than the one known here, every time; the
    /// best valid one is kept, given to those who hold an older one, and returned. That is the best of what the peers closest to
    /// the name say: it is waited for until all of them have answered, more than 16 have a valid record, or ten seconds are
    /// over. On a local network that takes milliseconds. Without any answer, what is known here is returned, marked as such. Just after the start of a peer,
    /// that takes until the networks have been joined or are found to be out of reach, ten seconds at most; a network from which
    /// nobody at all answers is not waited for if something is known here.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn resolve(&self, name: &Name, freshness: Freshness) -> Result<Resolved, ResolveError> {
        let entry = self.entry(name).await?;
        let known = entry.record(name);
        if freshness == Freshness::Cached {
            let record = known.ok_or_else(|| ResolveError::NotCached { name: *name })?;
            return self.remembered(record, entry.confirmed);
        }
        let network = self.ask_peers(name, freshness, known.is_some());
        let (mut survey, given) = self.beside_gateways(name, network).await?;
        let now = self.inner.clock.now();
        let mut by_http = Vec::new();
        for bytes in given {
            match Record::verify(*name, bytes, now) {
                Ok(record) => by_http.push(record),
                Err(error) => {
                    survey.refused += 1;
                    survey.refusal = Some(error.to_string());
                }
            }
        }
        let sizes = self.inner.routing.table_sizes();
        let found = survey
            .best
            .iter()
            .chain(&by_http)
            .max_by(|one, other| one.compare(other));
        let Some(found) = found.cloned() else {
            let name = *name;
            return match known {
                Some(record) => self.remembered(record, entry.confirmed),
                None if survey.refused > 0 => Err(ResolveError::Refused {
                    name,
                    refused: survey.refused,
                    reason: survey.refusal.unwrap_or_default(),
                }),
                None if survey.answers() == 0 && sizes.target().is_none() => Err(ResolveError::NobodyToAsk { name }),
                None => Err(ResolveError::NotFound {
                    name,
                    answers: survey.answers(),
                }),
            };
        };
        let best = match known {
            Some(known) if known.compare(&found).is_gt() && known.valid_until() > self.inner.clock.now() => known,
            _ => found,
        };
        let answers = survey.holders.len() + by_http.len();
        self.note_found(name, &best, answers == 0).await?;
        if answers == 0 {
            // It is from this peer's own records: nobody else said anything.
            return self.remembered(best, entry.confirmed);
        }
        let resolved = Resolved {
            value: best.path()?,
            source: Origin::Network { answers },
            age: Some(Duration::ZERO),
            expired: false,
            record: best.clone(),
        };
        let (names, name) = (self.clone(), *name);
        tokio::spawn(async move { names.correct(&name, &best, &survey).await });
        Ok(resolved)
    }

    /// Gives a valid record, which somebody else brought, to the peers that keep it, and keeps it as one that a peer put here.
    /// Nothing is done with one that is older than what they have.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn relay(&self, record: Record, enough: usize) -> Result<(), RoutingError> {
        let (inbox, kept) = (self.inner.inbox.clone(), record.clone());
        let key = record.name().routing_key();
        blocking(move || inbox.offer(&key, kept.bytes(), Owner::default())).await;
        let name = record.name();
        let survey = self.survey(&name, PATIENCE).await?;
        if survey.best.as_ref().is_none_or(|best| best.compare(&record).is_le()) {
            self.put(&name, &record, &survey, enough).await?;
        }
        Ok(())
    }

    /// What is remembered of a name, where nobody has to be asked: of an own one, and of another for as long as its record may be
    /// kept.
    pub async fn at_hand(&self, name: &Name) -> Option<Resolved> {
        let status = self.status(name).await.ok().flatten();
        let known = self.resolve(name, Freshness::Cached).await.ok()?;
        let is_fresh = known.age.is_some_and(|age| age < known.record.ttl());
        (!known.expired && (is_fresh || status.is_some_and(|status| status.own))).then_some(known)
    }

    /// Asks peers, those nearby first if that is wanted, and waits until there are any.
    async fn ask_peers(&self, name: &Name, freshness: Freshness, is_known: bool) -> Result<Survey, ResolveError> {
        let routing = &self.inner.routing;
        let mut arrivals = match is_known {
            true => routing.arrivals_unless_silent(),
            false => routing.arrivals(),
        };
        let near = match freshness {
            Freshness::Near => Some(self.survey_near(name, NEAR_PATIENCE).await?),
            Freshness::Network | Freshness::Cached => None,
        };
        let mut survey = match near.filter(|near| !near.holders.is_empty()) {
            Some(near) => near,
            None => self.survey(name, PATIENCE).await?,
        };
        while survey.holders.is_empty() && arrivals.next().await {
            survey = self.survey(name, PATIENCE).await?;
        }
        Ok(survey)
    }

    /// What peers say, and what is given over HTTP as the record. Where peers have none, gateways and routers are waited for; where these have
    /// one, the peers are for a moment only, as there may be none.
    async fn beside_gateways(
        &self,
        name: &Name,
        peers: impl Future<Output = Result<Survey, ResolveError>>,
    ) -> Result<(Survey, Vec<Bytes>), ResolveError> {
        if self.inner.gateways.count() == 0 && self.inner.routing.routers().is_empty() {
            return Ok((peers.await?, Vec::new()));
        }
        let by_http = self.by_http(name);
        tokio::pin!(peers, by_http);
        tokio::select! {
            survey = &mut peers => {
                let survey = survey?;
                let records = match survey.holders.is_empty() {
                    true => by_http.await,
                    false => by_http.now_or_never().unwrap_or_default(),
                };
                Ok((survey, records))
            }
            records = &mut by_http => {
                let survey = match records.is_empty() {
                    true => peers.await?,
                    false => timeout(AFTER_GATEWAYS, peers).await.unwrap_or_else(|_| Ok(Survey::default()))?,
                };
                Ok((survey, records))
            }
        }
    }

    /// What gateways and routers give as the record. When one kind has given something, the other is waited for a moment only.
    async fn by_http(&self, name: &Name) -> Vec<Bytes> {
        let name = name.to_string();
        let gateways = self.inner.gateways.records(&name, MAX_RECORD_BYTES);
        let routers = self.inner.routing.routers().records(&name, MAX_RECORD_BYTES);
        tokio::pin!(gateways, routers);
        let (mut records, more) = tokio::select! {
            records = &mut gateways => match records.is_empty() {
                true => (records, routers.await),
                false => (records, timeout(AFTER_GATEWAYS, routers).await.unwrap_or_default()),
            },
            records = &mut routers => match records.is_empty() {
                true => (records, gateways.await),
                false => (records, timeout(AFTER_GATEWAYS, gateways).await.unwrap_or_default()),
            },
        };
        records.extend(more);
        records
    }

    /// Notes what the network says.
    pub(super) async fn note_found(&self, name: &Name, best: &Record, unconfirmed: bool) -> Result<(), StoreError> {
        let (states, records) = (self.inner.states.clone(), self.inner.records.clone());
        let (name, best, now) = (*name, best.clone(), self.inner.clock.unix());
        blocking(move || {
            states.update(&name, |entry| {
                entry.hear(&best, now);
                if !unconfirmed {
                    entry.confirmed = now;
                }
                if entry.own || entry.followed {
                    super::inbox::keep_kept(&records, &name, &best);
                }
            })
        })
        .await
    }

    /// Gives the best record to those of the closest peers that hold an older one or none, in each network where
    /// anybody holds one.
    pub(super) async fn correct(&self, name: &Name, best: &Record, survey: &Survey) {
        for network in crate::routing::Network::BOTH {
            if survey.holders.iter().any(|(of, ..)| *of == network) {
                // Whether it worked matters to nobody here.
                let _ = self.spread(network, name, best, survey, usize::MAX).await;
            }
        }
    }

    fn remembered(&self, record: Record, confirmed: u64) -> Result<Resolved, ResolveError> {
        let now = self.inner.clock.now();
        let confirmed = (confirmed > 0).then(|| from_unix(confirmed));
        Ok(Resolved {
            value: record.path()?,
            source: Origin::Cache { confirmed },
            age: confirmed.and_then(|at| now.duration_since(at).ok()),
            expired: record.is_expired(now),
            record,
        })
    }
}
