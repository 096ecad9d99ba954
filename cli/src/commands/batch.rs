//! What becomes of a new head: its root now, or, with `publish.batch`, one for several that the node makes.
//!
//! The rows are in the chain, durable, before anything is left to anybody. If the node dies before the root is made, the next
//! opening of the workspace makes it; that a name is to be moved is on disk, and the next node moves it.

use std::time::{Duration, Instant, SystemTime};

use futures::stream::{FuturesUnordered, StreamExt};
use odf::catalog::Entry;
use odf::dataset::Dataset;
use odf::metadata::DatasetId;
use odf::publish;
use odf::retention::retain;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::{Session, Wanted};

/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How long a node that is told to stop goes on with what was left to it. What is not done then is done by the next one.
const SETTLE: Duration = Duration::from_secs(10);

/// Leaves what was just appended to the node, if the settings and the time say so, and tells in what time it is done. To be
/// called in the turn at changing the dataset.
///
/// # Errors
/// It cannot be noted that the name is to be moved.
pub(super) fn leave(dataset: &Dataset, wanted: Wanted, session: &Session) -> Result<Option<Duration>, Failure> {
    let Some(batch) = session.settings().batch.filter(|_| session.is_lasting()) else {
        return Ok(None);
    };
    let now = Instant::now();
    let left = session.batches().leave(dataset.id(), wanted, batch, now);
    if left.is_some() && wanted == Wanted::Name {
        publish::set_due(session.workspace()?.local(), dataset)?;
    }
    Ok(left.map(|at| at.saturating_duration_since(now)))
}

/// Gives a dataset with a new head the DAG that the peer and the gateway serve.
pub(super) fn committed(dataset: &Dataset, session: &Session, io: &Io) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    let hold = workspace.store().hold();
    session.wait(io, publish::lay_out(workspace.local(), dataset))?;
    drop(hold);
    session.batches().made(dataset.id(), false);
    session.retain(dataset)
}

/// Makes the root of a dataset now if it was left to the node, for a command that looks at what peers are served.
///
/// # Errors
/// It cannot be made, or others change the dataset for too long.
pub(super) fn catch_up(entry: &Entry, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if session.batches().due(&entry.id).is_none() {
        return Ok(());
    }
    let mut dataset = session.workspace()?.catalog().open_entry(entry)?;
    let _turn = session.turn(&mut dataset, io)?;
    committed(&dataset, session, io)
}

/// Takes over what earlier processes were to do and did not. A store that cannot be read is no reason not to serve.
pub(super) fn resume(session: &Session) {
    let due = session
        .workspace()
        .and_then(|workspace| Ok(publish::all_due(workspace.local())?));
    match due {
        Ok(due) => due
            .into_iter()
            .for_each(|id| session.batches().resume(id, Wanted::Name, Instant::now())),
        Err(failure) => warn(&failure),
    }
}

/// Does in its time what was left to this process. Never ends.
pub(super) async fn upkeep(session: &Session) {
    let batches = session.batches();
    let mut running = FuturesUnordered::new();
    loop {
        running.extend(batches.ripe(Instant::now()).into_iter().map(|id| make(session, id)));
        let next = batches.next();
        let time = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = batches.changed() => {}
            Some(()) = running.next() => {}
        }
    }
}

/// Does what is still left to this process, which ends. From now on nothing is left to it any more.
pub(super) fn settle(session: &Session) {
    let left = session.batches().close();
    if left.is_empty() {
        return;
    }
    let Ok(runtime) = session.runtime().map_err(|failure| warn(&failure)) else {
        return;
    };
    let work = async {
        for id in &left {
            make(session, *id).await;
        }
    };
    if runtime
        .block_on(async { tokio::time::timeout(SETTLE, work).await })
        .is_err()
    {
        tracing::warn!(
            "not all roots that are due are made: the next opening makes them, and the next node moves names"
        );
    }
}

/// Makes what is due of a dataset.
async fn make(session: &Session, id: DatasetId) {
    let batches = session.batches();
    let _turn = session.turn_in_background(id).await;
    // Somebody may have done it meanwhile, or asked for more.
    let Some(wanted) = batches.due(&id) else {
        return;
    };
    match make_now(session, id, wanted).await {
        Ok(true) => {}
        Ok(false) => batches.forget(&id),
        Err(failure) => {
            warn(&failure.about(format!("the root of {id} that appends left to the node")));
            batches.failed(id, Instant::now() + RETRY);
        }
    }
}

fn warn(failure: &Failure) {
    tracing::warn!(reason = failure.message(), "a root is not made yet");
}

/// Whether the dataset is still there.
async fn make_now(session: &Session, id: DatasetId, wanted: Wanted) -> Result<bool, Failure> {
    let (workspace, node) = (session.workspace()?, session.node()?);
    let here = workspace.clone();
    let opened = blocking(move || {
        let dataset = here.catalog().by_id(&id)?;
        // GC must not take what has no pin yet.
        Ok(dataset.map(|dataset| (dataset, here.key_of(&id), here.store().hold())))
    });
    let Some((dataset, key, hold)) = opened.await? else {
        return Ok(false);
    };
    match (wanted, key) {
        (Wanted::Root, _) => {
            publish::lay_out(workspace.local(), &dataset).await?;
        }
        (Wanted::Name, Some(key)) => {
            publish::publish(workspace.local(), node, &dataset, &key, false).await?;
        }
        (Wanted::Name, None) => {
            return Err(Failure::new(
                Kind::Refused,
                format!("the key of {id} is not in this workspace any more"),
            ));
        }
    }
    drop(hold);
    session.batches().made(id, wanted == Wanted::Name);
    let (local, retention) = (workspace.local().clone(), session.settings().retention.clone());
    let given_up = blocking(move || Ok(retain(&local, &dataset, &retention, SystemTime::now())?)).await?;
    given_up.withdraw(workspace.local(), Some(node)).await?;
    Ok(true)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::interrupted()),
    }
}
