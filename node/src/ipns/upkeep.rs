//! Keeping names alive: own and followed records are put again every four hours, and own ones signed anew in time.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::record::{Contents, Name, Record};
use super::state::Known;
use super::{DEFAULT_TTL, DEFAULT_VALIDITY, Names, REPUT_INTERVAL, RETRY_INTERVAL};
use crate::routing::RoutingError;
use crate::routing::schedule::LAN_ONLY_INTERVAL;
use crate::store::StoreError;
use crate::threads::blocking;

/// An own record with less time left than this is signed anew: half its life.
const RENEW_BEFORE: Duration = Duration::from_secs(15 * 24 * 3600);
/// How often due names are looked for when nothing happens; it bounds how late a laptop that slept finds out.
const TICK: Duration = Duration::from_secs(5);
/// Names looked after at the same time.
const MAX_AT_ONCE: usize = 4;
/// How long the network is asked for a newer record before the known one is put.
const PATIENCE: Duration = Duration::from_secs(15);

impl Known {
    /// Notes a put, and when the next is due.
    pub(super) fn note_put(&mut self, now: u64, holders: usize, makeshift: bool) {
        self.holders = u32::try_from(holders).unwrap_or(u32::MAX);
        self.makeshift = makeshift;
        let wait = match holders {
            0 => RETRY_INTERVAL,
            _ if makeshift => LAN_ONLY_INTERVAL,
            _ => REPUT_INTERVAL,
        };
        if holders > 0 {
            self.last_put = now;
        }
        self.next_put = now + wait.as_secs();
    }
}

impl Names {
    /// Looks after names for as long as the peer runs.
    pub(crate) async fn run_schedule(self) {
        let mut routing = self.inner.routing.clone();
        loop {
            if let Err(error) = self.put_due().await {
                match error {
                    UpkeepError::Routing(RoutingError::Stopped) => return,
                    error => tracing::warn!(%error, "names are looked after later"),
                }
            }
            let before = routing.table_sizes().target();
            let pause = async {
                tokio::select! {
                    () = self.inner.wake.notified() => true,
                    running = routing.tables_changed() => running,
                }
            };
            match timeout(TICK, pause).await {
                Ok(false) => return,
                Ok(true) if self.inner.routing.table_sizes().target() > before => {
                    // Somebody to put to has appeared: what nobody holds yet, or only the local network, need not wait.
                    if let Err(error) = self.retry_now().await {
                        tracing::warn!(%error, "names are looked after later");
                    }
                }
                _ => {}
            }
        }
    }

    /// Puts every name that is due. Returns how many were.
    pub(super) async fn put_due(&self) -> Result<usize, UpkeepError> {
        let routing = &self.inner.routing;
        if routing.table_sizes().target().is_none() && routing.routers().is_empty() {
            return Ok(0);
        }
        let (states, now) = (self.inner.states.clone(), self.inner.clock.unix());
        let due = blocking(move || states.due(now)).await?;
        let count = due.len();
        let mut work = JoinSet::new();
        for name in due {
            if work.len() >= MAX_AT_ONCE
                && let Some(Ok(done)) = work.join_next().await
            {
                done?;
            }
            let names = self.clone();
            work.spawn(async move { names.refresh(&name).await });
        }
        while let Some(done) = work.join_next().await {
            if let Ok(done) = done {
                done?;
            }
        }
        Ok(count)
    }

    /// Looks for a newer record of `name`, signs an own one anew if its end is near, and puts the best.
    async fn refresh(&self, name: &Name) -> Result<(), UpkeepError> {
        let survey = self.survey(name, PATIENCE).await?;
        if let Some(found) = &survey.best {
            self.note_found(name, found, survey.holders.is_empty()).await?;
        }
        let entry = self.entry(name).await?;
        let Some(mut record) = entry.record(name) else {
            return Ok(self.postpone(name).await?);
        };
        let now = self.inner.clock.now();
        if entry.own && record.valid_until() <= now + RENEW_BEFORE {
            let (names, old) = (self.clone(), record.clone());
            let signed = blocking(move || names.signed_anew(&old)).await;
            match signed {
                Some(anew) => {
                    self.keep_own(name, &anew, |_| ()).await?;
                    self.say(&anew).await;
                    record = anew;
                }
                None => tracing::warn!(%name, "the record ends soon and the key to sign it anew is not at hand"),
            }
        }
        if record.valid_until() <= now {
            return Ok(self.postpone(name).await?);
        }
        let (network, holders) = self.put_everywhere(name, &record, &survey, usize::MAX).await?;
        tracing::debug!(%name, holders, sequence = record.sequence(), "put again");
        self.note_put(name, &record, network, holders).await;
        Ok(())
    }

    /// The same statement with a full life before it.
    fn signed_anew(&self, record: &Record) -> Option<Record> {
        let name = record.name();
        let key = self.key_of(&name)?;
        let valid_until = self.inner.clock.now() + DEFAULT_VALIDITY;
        let ttl = Some(record.ttl()).filter(|ttl| !ttl.is_zero()).unwrap_or(DEFAULT_TTL);
        match record.path().and_then(|value| {
            Record::create(
                &key,
                &Contents {
                    value: &value,
                    sequence: record.sequence(),
                    valid_until,
                    ttl,
                },
            )
        }) {
            Ok(anew) => Some(anew),
            Err(error) => {
                tracing::warn!(%name, %error, "the record cannot be signed anew");
                None
            }
        }
    }

    async fn postpone(&self, name: &Name) -> Result<(), StoreError> {
        let next = self.inner.clock.unix() + RETRY_INTERVAL.as_secs();
        self.update(name, move |entry| entry.next_put = next).await
    }

    async fn retry_now(&self) -> Result<(), StoreError> {
        let states = self.inner.states.clone();
        blocking(move || {
            for (name, entry) in states.all()? {
                if (entry.own || entry.followed) && (entry.holders == 0 || entry.makeshift) {
                    states.update(&name, |entry| entry.next_put = 0)?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Why names could not be looked after.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpkeepError {
    #[error("the known names cannot be used")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Routing(#[from] RoutingError),
}
