//! Asking the network for the record of a name, and setting right those who hold an older one.

use std::collections::HashSet;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::{K_VALUE, KBucketKey, RecordKey};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::Names;
use super::record::{Name, Record};
use crate::clock::Clock;
use crate::routing::{Network, RoutingError, Values};

/// Valid answers from one network after which no more are waited for; Kubo stops after more than 16.
const QUORUM: usize = 16;
/// How long a walk takes to end once it is no longer wanted, at most.
const WALK_END: Duration = Duration::from_secs(2);

/// What the network says of a name.
#[derive(Default)]
pub(super) struct Survey {
    /// The best valid record, if anybody had one.
    pub(super) best: Option<Record>,
    /// Who holds which valid record.
    pub(super) holders: Vec<(Network, PeerId, Record)>,
    /// The closest peers that answered and hold none, or none that is valid.
    pub(super) without: Vec<(Network, PeerId)>,
    /// Answers that were refused, and why the last of them was.
    pub(super) refused: usize,
    pub(super) refusal: Option<String>,
}

impl Survey {
    fn add(&mut self, other: Self) {
        for (network, peer, record) in other.holders {
            self.note(network, peer, record);
        }
        self.without.extend(other.without);
        self.refused += other.refused;
        self.refusal = other.refusal.or(self.refusal.take());
    }

    fn note(&mut self, network: Network, peer: PeerId, record: Record) {
        if self.best.as_ref().is_none_or(|best| record.compare(best).is_gt()) {
            self.best = Some(record.clone());
        }
        self.holders.push((network, peer, record));
    }

    /// How many peers answered at all.
    pub(super) fn answers(&self) -> usize {
        self.holders.len() + self.without.len()
    }

    /// The peers of `network` closest to `name` that should be given `record`, and how many of the closest have it.
    fn lacking(&self, network: Network, name: &Name, record: &Record) -> (Vec<PeerId>, usize) {
        let target = KBucketKey::new(RecordKey::new(&name.routing_key()));
        let has_it: HashSet<PeerId> = self
            .holders
            .iter()
            .filter(|(of, _, held)| *of == network && held.bytes() == record.bytes())
            .map(|(_, peer, _)| *peer)
            .collect();
        let holders = self
            .holders
            .iter()
            .filter(|(of, ..)| *of == network)
            .map(|(_, peer, _)| *peer);
        let without = self
            .without
            .iter()
            .filter(|(of, _)| *of == network)
            .map(|(_, peer)| *peer);
        let mut all: Vec<PeerId> = holders.chain(without).collect::<HashSet<_>>().into_iter().collect();
        all.sort_by_cached_key(|peer| target.distance(&KBucketKey::from(*peer)));
        all.truncate(K_VALUE.get());
        let (have, lack): (Vec<_>, Vec<_>) = all.into_iter().partition(|peer| has_it.contains(peer));
        (lack, have.len())
    }
}

/// What the network says of a name, and how many of those who were asked say it; see [`Names::ask`].
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The best valid record, if anybody had one.
    pub best: Option<Record>,
    /// The peers that hold that one.
    pub holders: Vec<PeerId>,
    /// How many hold an older one.
    pub behind: usize,
    /// How many of the closest answered and hold none that is valid.
    pub without: usize,
    /// How many gave one that was refused, and why the last of them was.
    pub refused: usize,
    /// See `refused`.
    pub refusal: Option<String>,
}

impl Names {
    /// Asks the networks for the record of `name`, for `patience` at most, and counts. Nothing is set right, unlike by
    /// [`Names::resolve`], and what is known here is no part of the answer.
    ///
    /// # Errors
    /// The peer has been shut down.
    pub async fn ask(&self, name: &Name, patience: Duration) -> Result<Asked, RoutingError> {
        let survey = self.survey(name, patience).await?;
        let has_best = |held: &Record| survey.best.as_ref().is_some_and(|best| best.bytes() == held.bytes());
        let (holders, behind): (Vec<_>, Vec<_>) = survey.holders.into_iter().partition(|(_, _, held)| has_best(held));
        // One that is asked in both networks counts once.
        let holders: HashSet<PeerId> = holders.into_iter().map(|(_, peer, _)| peer).collect();
        Ok(Asked {
            holders: holders.into_iter().collect(),
            behind: behind.len(),
            without: survey.without.len(),
            refused: survey.refused,
            refusal: survey.refusal,
            best: survey.best,
        })
    }

    /// Asks both networks until nobody is left to ask, enough have answered, or `patience` is over.
    pub(super) async fn survey(&self, name: &Name, patience: Duration) -> Result<Survey, RoutingError> {
        let until = Instant::now() + patience;
        let [lan, wan] = Network::BOTH;
        let (lan, wan) = tokio::join!(self.survey_one(lan, name, until), self.survey_one(wan, name, until));
        let mut survey = lan?;
        survey.add(wan?);
        self.note_rivals(name, &survey).await;
        Ok(survey)
    }

    /// As [`Self::survey`], of the local network and of peers that were named.
    pub(super) async fn survey_near(&self, name: &Name, patience: Duration) -> Result<Survey, RoutingError> {
        let survey = self.survey_one(Network::Lan, name, Instant::now() + patience).await?;
        self.note_rivals(name, &survey).await;
        Ok(survey)
    }

    /// Notes those of the records found that somebody else made with the key of an own name. The better one is kept in any
    /// case; another is soon heard no more.
    async fn note_rivals(&self, name: &Name, survey: &Survey) {
        let mut records: Vec<Record> = survey.holders.iter().map(|(_, _, record)| record.clone()).collect();
        records.dedup_by(|a, b| a.bytes() == b.bytes());
        let (states, at, now) = (self.inner.states.clone(), *name, self.inner.clock.unix());
        let noted = super::blocking(move || {
            if records.is_empty() {
                return Ok(());
            }
            states.update_known(&at, |entry| {
                records.iter().for_each(|record| entry.note_rival(record, now));
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%name, %error, "a record that somebody else made could not be noted");
        }
    }

    async fn survey_one(&self, network: Network, name: &Name, until: Instant) -> Result<Survey, RoutingError> {
        let values = self.inner.routing.values(network, &name.routing_key(), until).await?;
        Ok(listen(network, name, values, until, &self.inner.clock).await)
    }

    /// Puts `record` where records go: to the public network if anybody of it is known and takes it, else to the local
    /// one. See [`spread`](Self::spread).
    pub(super) async fn put(
        &self,
        name: &Name,
        record: &Record,
        survey: &Survey,
        enough: usize,
    ) -> Result<(Option<Network>, usize), RoutingError> {
        let Some(network) = self.inner.routing.table_sizes().target() else {
            return Ok((None, 0));
        };
        let holders = self.spread(network, name, record, survey, enough).await?;
        if holders > 0 || network == Network::Lan {
            return Ok((Some(network), holders));
        }
        // The way to the internet is down, though the table does not know it yet.
        Ok((
            Some(Network::Lan),
            self.spread(Network::Lan, name, record, survey, enough).await?,
        ))
    }

    /// Gives `record` to the peers of `network` closest to `name` that lack it. Returns once `enough` of them hold it,
    /// with their number; the rest is done in the background, and noted when it is.
    pub(super) async fn spread(
        &self,
        network: Network,
        name: &Name,
        record: &Record,
        survey: &Survey,
        enough: usize,
    ) -> Result<usize, RoutingError> {
        let (lacking, mut holders) = survey.lacking(network, name, record);
        let Ok(permit) = self.inner.background.clone().acquire_owned().await else {
            return Err(RoutingError::Stopped);
        };
        let mut puts = JoinSet::new();
        for peer in lacking {
            let (routing, key, value) = (self.inner.routing.clone(), name.routing_key(), record.bytes().to_vec());
            puts.spawn(async move { routing.put_to(network, peer, key, value).await });
        }
        while holders < enough {
            match puts.join_next().await {
                Some(Ok(Ok(true))) => holders += 1,
                Some(Ok(Err(error))) => return Err(error),
                Some(_) => {}
                None => return Ok(holders),
            }
        }
        if !puts.is_empty() {
            let (names, name, record) = (self.clone(), *name, record.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let mut holders = holders;
                while let Some(put) = puts.join_next().await {
                    holders += usize::from(matches!(put, Ok(Ok(true))));
                }
                names.note_put(&name, &record, Some(network), holders).await;
            });
        }
        Ok(holders)
    }

    /// Notes who holds a record, unless there is a newer one by now.
    pub(super) async fn note_put(&self, name: &Name, record: &Record, network: Option<Network>, holders: usize) {
        let makeshift = network.is_some_and(|network| self.inner.routing.is_makeshift(network));
        let (now, bytes) = (self.inner.clock.unix(), record.bytes().to_vec());
        let states = self.inner.states.clone();
        let at = *name;
        let noted = super::blocking(move || {
            states.update_known(&at, |entry| {
                if entry.record == bytes {
                    entry.note_put(now, holders, makeshift);
                }
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%name, %error, "a put could not be noted; it will be repeated");
        }
    }
}

/// Takes what a walk finds, until none of the closest peers is left that has not answered, enough have a valid record, or
/// `until`. A record that was found first ends nothing: a newer one may be on its way from a slower peer.
async fn listen(network: Network, name: &Name, mut values: Values, until: Instant, clock: &Clock) -> Survey {
    let mut survey = Survey::default();
    while survey.holders.len() <= QUORUM {
        let Ok(Some((peer, bytes))) = timeout_at(until, values.records.recv()).await else {
            break;
        };
        match Record::verify(*name, bytes.into(), clock.now()) {
            // What this very peer keeps for others is a record like any other, but it is nobody to be put to.
            Ok(record) => match peer {
                Some(peer) => survey.note(network, peer, record),
                None if survey.best.as_ref().is_none_or(|best| record.compare(best).is_gt()) => {
                    survey.best = Some(record);
                }
                None => {}
            },
            Err(error) => {
                tracing::debug!(%name, ?peer, %error, "an answer is refused");
                survey.refused += usize::from(peer.is_some());
                survey.refusal = Some(error.to_string());
                // Whoever keeps rubbish under this name should get the real one.
                survey.without.extend(peer.map(|peer| (network, peer)));
            }
        }
    }
    drop(values.records);
    // Ended early or not, the walk tells whom it met, unless the driver is gone.
    if let Ok(Ok(without)) = timeout(WALK_END, values.without).await {
        survey.without.extend(without.into_iter().map(|peer| (network, peer)));
    }
    survey
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use libp2p::identity::Keypair;
    use tokio::sync::{mpsc, oneshot};

    use super::super::record::Contents;
    use super::*;

    fn record(key: &Keypair, sequence: u64) -> Vec<u8> {
        let contents = Contents {
            value: "/ipfs/bafkqaaa",
            sequence,
            valid_until: SystemTime::now() + Duration::from_secs(3600),
            ttl: Duration::from_secs(60),
        };
        Record::create(key, &contents).unwrap().bytes().to_vec()
    }

    /// What is heard of peers that answer after these many milliseconds, with records of these numbers, from a walk that is
    /// over after the last of them or never; and how long that takes.
    async fn heard(answers: &[(u64, u64)], ends: bool, patience: Duration) -> (Survey, Duration) {
        let key = Keypair::generate_ed25519();
        let name = Name::from_public_key(&key.public());
        let (found, records) = mpsc::channel(64);
        let (closest, without) = oneshot::channel();
        let (start, answers) = (Instant::now(), answers.to_vec());
        tokio::spawn(async move {
            for (after, sequence) in answers {
                tokio::time::sleep_until(start + Duration::from_millis(after)).await;
                let _ = found.send((Some(PeerId::random()), record(&key, sequence))).await;
            }
            if !ends {
                found.closed().await;
            }
            let _ = closest.send(Vec::new());
        });
        let values = Values { records, without };
        let survey = listen(Network::Wan, &name, values, start + patience, &Clock::system()).await;
        (survey, start.elapsed())
    }

    #[tokio::test]
    async fn a_newer_record_from_a_slower_peer_is_waited_for() {
        let patience = Duration::from_secs(60);
        let (survey, took) = heard(&[(0, 1), (3500, 2)], true, patience).await;
        assert_eq!(survey.best.unwrap().sequence(), 2);
        assert!(took < patience / 2, "nobody is left to wait for: {took:?}");
        // Enough is enough.
        let (survey, took) = heard(&[(0, 1); QUORUM + 1], false, patience).await;
        assert_eq!(survey.holders.len(), QUORUM + 1);
        assert!(took < patience / 2, "{took:?}");
        // Who never answers does not hold it up for longer than was asked for.
        let (survey, took) = heard(&[(0, 1)], false, Duration::from_millis(300)).await;
        assert_eq!(survey.best.unwrap().sequence(), 1);
        assert!(took >= Duration::from_millis(300) && took < patience / 2, "{took:?}");
    }
}
