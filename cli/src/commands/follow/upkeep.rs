//! What a node does for the names that are followed: it brings what is new when it hears of it, and asks from time to time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::{FuturesUnordered, StreamExt};
use odf::follows::{self, Wish};
use odf::pull;
use odf_node::ipns::{Change, Name};
use odf_node::peer::Node;
use tokio::time::Instant;

use crate::commands::audit;
use crate::commands::pull::news::{Brought, Subject, about, bring};
use crate::failure::{Failure, Kind};
use crate::session::Session;

/// Datasets that are brought up to date at the same time.
const MAX_AT_ONCE: usize = 4;
/// How long what failed is left alone the first time; the time doubles.
const RETRY: Duration = Duration::from_secs(5);
/// How long at most.
const MAX_RETRY: Duration = Duration::from_secs(3600);

/// A name that is followed.
struct Kept {
    wish: Wish,
    /// When somebody is asked next.
    due: Instant,
    /// What is heard before this does not count: it just failed.
    after: Instant,
    /// There is something new.
    heard: bool,
    /// What the name stood for when the rows came that are here.
    taken: Option<String>,
    running: bool,
    failed: u32,
}

impl Kept {
    fn new(wish: Wish, now: Instant) -> Self {
        Self {
            wish,
            due: now,
            after: now,
            heard: false,
            taken: None,
            running: false,
            failed: 0,
        }
    }

    /// When it is to be brought up to date; not while that is being done.
    fn ripe_at(&self) -> Option<Instant> {
        let heard = self.heard.then_some(self.after);
        (!self.running).then(|| heard.map_or(self.due, |after| after.min(self.due)))
    }

    /// Notes whether there is something new.
    async fn listen(&mut self, node: &Node) {
        if let Ok(Some(status)) = node.names().status(&self.wish.name).await {
            self.heard = status.value.is_some() && status.value != self.taken;
        }
    }
}

/// Keeps datasets up to date. Never ends.
pub(in crate::commands) async fn run(session: &Session, node: &Node) {
    let mut changes = node.names().changes();
    let mut kept = BTreeMap::new();
    load(session, &mut kept);
    let mut running = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        for one in kept.values_mut() {
            if running.len() < MAX_AT_ONCE && one.ripe_at().is_some_and(|at| at <= now) {
                // A question answers what was heard too.
                let heard = one.heard && one.due > now;
                (one.running, one.heard) = (true, false);
                running.push(once(session, node, one.wish.clone(), heard));
            }
        }
        // With no room for more, the next end of one is waited for.
        let next = kept.values().filter_map(Kept::ripe_at).min();
        let next = next.filter(|_| running.len() < MAX_AT_ONCE);
        let time = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = session.follows_changed().notified() => load(session, &mut kept),
            Some(change) = changes.next() => match change {
                Change::Of(name) => {
                    if let Some(one) = kept.get_mut(&name) {
                        one.listen(node).await;
                        // What was in the way may be no longer.
                        one.after = one.after.min(Instant::now() + RETRY);
                    }
                }
                Change::Many => {
                    for one in kept.values_mut() {
                        one.listen(node).await;
                    }
                }
            },
            Some(done) = running.next() => {
                let name = done.name;
                settle(done, session, &mut kept);
                // There may be more by now.
                if let Some(one) = kept.get_mut(&name) {
                    one.listen(node).await;
                }
            }
        }
    }
}

/// Takes over what is wished by now.
fn load(session: &Session, kept: &mut BTreeMap<Name, Kept>) {
    let wishes = match session.follows().list() {
        Ok((wishes, damaged)) => {
            for error in damaged {
                tracing::warn!(%error, "a name is not followed");
            }
            wishes
        }
        Err(error) => {
            tracing::warn!(%error, "what is followed cannot be read");
            return;
        }
    };
    kept.retain(|name, _| wishes.iter().any(|wish| wish.name == *name));
    let now = Instant::now();
    for wish in wishes {
        match kept.get_mut(&wish.name) {
            Some(one) => one.wish = wish,
            None => {
                kept.insert(wish.name, Kept::new(wish, now));
            }
        }
    }
}

/// What came of one attempt.
struct Done {
    name: Name,
    /// What the name stood for before it.
    value: Option<String>,
    brought: Result<Brought, Failure>,
}

async fn once(session: &Session, node: &Node, wish: Wish, heard: bool) -> Done {
    if let Some(ticket) = wish.ticket.as_ref().filter(|_| !heard)
        && pull::meet(node, ticket).await.is_err()
    {
        tracing::debug!(name = %wish.name, "nobody of the ticket that it is followed by answers");
    }
    let known = node.names().status(&wish.name).await.ok().flatten();
    let subject = Subject {
        address: wish.address.clone(),
        dataset: wish.dataset,
        called: wish.called.clone(),
        peers: Vec::new(),
        ticket: None,
    };
    let brought = bring(&subject, heard, session).await;
    if brought.as_ref().is_err_and(|failure| failure.kind() == Kind::Refused) {
        match audit::prove(&wish.name, session, node).await {
            Ok(Some(path)) => {
                tracing::warn!(name = %wish.name, file = %path.display(), "what was signed does not go together")
            }
            Ok(None) => {}
            Err(failure) => tracing::warn!(name = %wish.name, reason = failure.message(), "there is no proof of it"),
        }
    }
    Done {
        name: wish.name,
        value: known.and_then(|status| status.value),
        brought,
    }
}

/// Notes what came of an attempt, and when the next is due.
fn settle(done: Done, session: &Session, kept: &mut BTreeMap<Name, Kept>) {
    let Some(one) = kept.get_mut(&done.name) else { return };
    one.running = false;
    let now = Instant::now();
    let noted = match done.brought {
        Ok(brought) => {
            one.failed = 0;
            one.taken = done.value;
            one.due = now + about(session.settings().follow_interval);
            succeeded(one, &brought, session)
        }
        Err(failure) => {
            one.failed = one.failed.saturating_add(1);
            let rest = RETRY * 2_u32.saturating_pow(one.failed.saturating_sub(1).min(16));
            one.after = now + about(rest.min(MAX_RETRY));
            one.due = one.after;
            failed(one, &failure, session)
        }
    };
    if let Err(failure) = noted {
        tracing::warn!(name = %done.name, reason = failure.message(), "what came of following a name is not noted");
    }
}

fn succeeded(one: &mut Kept, brought: &Brought, session: &Session) -> Result<(), Failure> {
    let store = session.workspace()?.store();
    let mut outcome = follows::outcome(store, &one.wish.name)?;
    if brought.is_new {
        outcome.updated = unix();
        let name = brought.dataset.name()?;
        tracing::info!(dataset = %name, head = %brought.dataset.head(), "news of a dataset that is followed");
    }
    if !brought.unasked {
        outcome.checked = unix();
    }
    (outcome.failed, outcome.failure, outcome.next) = (0, None, None);
    follows::note(store, &one.wish.name, &outcome)?;
    // It may be followed no longer by now.
    if one.wish.dataset.is_none() && session.follows().get(&one.wish.name)?.is_some() {
        one.wish.dataset = Some(brought.dataset.id());
        session.follows().put(&one.wish)?;
    }
    Ok(())
}

fn failed(one: &Kept, failure: &Failure, session: &Session) -> Result<(), Failure> {
    let store = session.workspace()?.store();
    let mut outcome = follows::outcome(store, &one.wish.name)?;
    if outcome.failure.as_deref() != Some(failure.message()) {
        tracing::warn!(name = %one.wish.name, reason = failure.message(), "a dataset that is followed is not up to date");
    }
    outcome.failed = one.failed;
    outcome.failure = Some(failure.message().to_owned());
    outcome.next = failure.next_step().map(str::to_owned);
    Ok(follows::note(store, &one.wish.name, &outcome)?)
}

fn unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
