//! One gateway: what it gave, how quick it is, and when it is not asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::Instant;
use url::Url;

use crate::threads::lock;

/// A gateway that a stranger announced is forgotten when it gave nothing so often, one after the other.
pub(super) const MAX_MISSES: u32 = 32;
/// The least time after which another gateway is asked for the same block as well; else four times what it usually takes.
pub(super) const STAND_IN_AFTER: Duration = Duration::from_millis(500);
/// The same for one that has not given anything yet.
pub(super) const FIRST_STAND_IN_AFTER: Duration = Duration::from_secs(2);
/// A gateway for which others had to stand in so often, one after the other, is left out for a while.
pub(super) const MAX_STRIKES: u32 = 2;
/// How long.
pub(super) const LEFT_OUT: Duration = Duration::from_secs(60);

/// What one gateway gave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayStats {
    /// Where it is.
    pub url: Url,
    /// Blocks that came.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that brought nothing.
    pub failures: u64,
    /// Why it is not asked any more.
    pub refused: Option<String>,
    /// Why the last request brought nothing.
    pub last_failure: Option<String>,
}

/// An address as it is shown to people: without the password in it.
pub(super) fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // What has no host has no password.
    let _ = shown.set_password(None);
    shown
}

/// What a gateway is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Block,
    /// All below a root, as a CAR.
    Dag,
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Missed {
    /// Not there.
    Absent(String),
    /// Not there yet, or not for us now.
    Later(StatusCode, Duration),
    /// Nothing came in time.
    Slow(String),
    /// Something else came.
    False(String),
}

#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) url: Url,
    /// Whether a stranger announced it.
    pub(super) found: bool,
    /// Whether it would not give a DAG as one CAR.
    only_blocks: AtomicBool,
    /// How often it gave nothing, since it gave something.
    misses: AtomicU32,
    pub(super) blocks: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests under way.
    busy: u32,
    /// What a block took lately.
    usual: Option<Duration>,
    strikes: u32,
    left_out: Option<Instant>,
    refused: Option<String>,
    last_failure: Option<String>,
}

impl Gateway {
    pub(super) fn new(url: Url, found: bool) -> Self {
        Self {
            url,
            found,
            only_blocks: AtomicBool::new(false),
            misses: AtomicU32::new(0),
            blocks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn stats(&self) -> GatewayStats {
        let state = lock(&self.state);
        GatewayStats {
            url: shown(&self.url),
            blocks: self.blocks.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            refused: state.refused.clone(),
            last_failure: state.last_failure.clone(),
        }
    }

    pub(super) fn may_be_asked(&self, also_left_out: bool) -> bool {
        let state = lock(&self.state);
        state.refused.is_none() && (also_left_out || state.left_out.is_none_or(|until| until <= Instant::now()))
    }

    /// Whether it was found, and found wanting.
    pub(super) fn is_useless(&self) -> bool {
        let is_refused = lock(&self.state).refused.is_some();
        self.found && !is_refused && self.misses.load(Ordering::Relaxed) >= MAX_MISSES
    }

    /// When one more block would be here, by what it did lately. One that was not asked yet is tried at once for a block, and
    /// after all others for a DAG, for which so much more waits.
    pub(super) fn expected(&self, wanted: Wanted) -> (bool, Duration) {
        let state = lock(&self.state);
        let is_new = state.usual.is_none() && wanted == Wanted::Dag;
        (is_new, state.usual.unwrap_or_default() * (state.busy + 1))
    }

    /// How long it is waited for alone.
    pub(super) fn patience(&self) -> Duration {
        let usual = lock(&self.state).usual;
        usual.map_or(FIRST_STAND_IN_AFTER, |usual| STAND_IN_AFTER.max(usual * 4))
    }

    /// Whether there is a point in asking it. Strangers announce blocks, and so much is not let wait for any of them.
    pub(super) fn can_give(&self, wanted: Wanted) -> bool {
        wanted == Wanted::Block || !self.found && !self.only_blocks.load(Ordering::Relaxed)
    }

    /// It would not give a DAG as a CAR, or not in the order of its links: it is asked for blocks alone from now on.
    pub(super) fn gave_no_car(&self, reason: &str) {
        tracing::debug!(url = %shown(&self.url), reason, "a gateway gives no CARs");
        self.only_blocks.store(true, Ordering::Relaxed);
    }

    /// A block came, of so many bytes.
    pub(super) fn count(&self, bytes: usize) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
        self.misses.store(0, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A block came that was asked for alone.
    pub(super) fn gave(&self, bytes: usize, took: Duration) {
        self.count(bytes);
        let mut state = lock(&self.state);
        state.usual = Some(state.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        state.strikes = 0;
    }

    pub(super) fn strike(&self) {
        let mut state = lock(&self.state);
        state.strikes += 1;
        if state.strikes >= MAX_STRIKES {
            state.strikes = 0;
            state.left_out = Some(Instant::now() + LEFT_OUT);
        }
    }

    pub(super) fn note(&self, missed: &Missed) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.misses.fetch_add(1, Ordering::Relaxed);
        let url = shown(&self.url);
        let reason = match missed {
            Missed::Absent(reason) => reason.clone(),
            Missed::Later(status, after) => {
                lock(&self.state).left_out = Some(Instant::now() + (*after).min(LEFT_OUT));
                status.to_string()
            }
            Missed::Slow(reason) => {
                self.strike();
                reason.clone()
            }
            Missed::False(reason) => {
                tracing::warn!(%url, reason, "a gateway is not asked any more");
                lock(&self.state).refused = Some(reason.clone());
                reason.clone()
            }
        };
        tracing::debug!(%url, reason, "a gateway gave nothing");
        lock(&self.state).last_failure = Some(reason);
    }
}

/// A request under way. One that is given up, because others stood in, tells against a gateway that was waited for long enough.
pub(super) struct Busy<'a> {
    gateway: &'a Gateway,
    begun: Instant,
    patience: Duration,
    has_ended: bool,
}

impl<'a> Busy<'a> {
    pub(super) fn begin(gateway: &'a Gateway) -> Self {
        lock(&gateway.state).busy += 1;
        Self {
            gateway,
            begun: Instant::now(),
            patience: gateway.patience(),
            has_ended: false,
        }
    }

    /// There was an answer, or none is waited for any more. Gives how long it took.
    pub(super) fn end(mut self) -> Duration {
        self.has_ended = true;
        self.begun.elapsed()
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.gateway.state).busy -= 1;
        if !self.has_ended && self.begun.elapsed() >= self.patience {
            self.gateway.strike();
        }
    }
}
