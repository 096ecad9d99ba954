//! What is new under a name, for those who go on asking: it is brought by fast-forward alone, and nobody is there to be asked.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use odf::dataset::{Dataset, DatasetName};
use odf::metadata::DatasetId;
use odf::proof;
use odf::pull::{Address, PullError, PullOptions, id_of, pull_from};
use odf::receive::Received;
use odf::retention::retain;
use odf::ticket::Ticket;
use odf_node::PeerId;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Freshness, Name, Origin};

use super::PullArgs;
use super::beside::Apart;
use super::network::{self, Asked, is_own, taken_back};
use super::plan::{self, Way};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// A name, and the dataset that it leads to.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Subject {
    /// The name, as it is remembered with the dataset.
    pub(in crate::commands) address: Address,
    /// The dataset, once it is here.
    pub(in crate::commands) dataset: Option<DatasetId>,
    /// What a new one is called here; nothing: what the address gives.
    pub(in crate::commands) called: Option<DatasetName>,
    /// Peers that are asked first.
    pub(in crate::commands) peers: Vec<PeerId>,
    /// What it was named by, if that says where others are who have it.
    pub(in crate::commands) ticket: Option<Box<Ticket>>,
}

/// What came of asking once.
#[derive(Debug)]
pub(in crate::commands) struct Brought {
    /// The dataset as it is now.
    pub(in crate::commands) dataset: Dataset,
    /// Something came.
    pub(in crate::commands) is_new: bool,
    /// Nobody could be asked, so nobody knows whether there is more.
    pub(in crate::commands) unasked: bool,
}

/// Brings what is new. `heard`: that there is something was just heard, so nobody has to be asked what the name stands for. The
/// peer runs.
///
/// # Errors
/// Those of a pull; a history that went back or another way is refused. The dataset is at its old head then.
pub(in crate::commands) async fn bring(subject: &Subject, heard: bool, session: &Session) -> Result<Brought, Failure> {
    let (workspace, node, address) = (session.workspace()?, session.node()?, &subject.address);
    let _turn = match subject.dataset {
        Some(id) => Some(session.turn_in_background(id).await),
        None => None,
    };
    let exchange = node.exchange().session();
    subject.peers.iter().for_each(|peer| exchange.add_provider(*peer));
    let fetcher = Fetcher::new(workspace.store().clone(), Some(exchange));
    let (catalog, id) = (workspace.catalog().clone(), subject.dataset);
    let dataset = blocking(move || match id {
        Some(id) => match catalog.by_id(&id)? {
            None => Err(gone(&id)),
            found => Ok(found),
        },
        None => Ok(None),
    });
    let options = PullOptions {
        dataset: dataset.await?,
        name: subject.called.clone(),
        alias: !is_own(address, session)?,
        freshness: match heard {
            // What was heard a moment ago is as good as an answer.
            true => Freshness::Cached,
            false => Freshness::Network,
        },
        ..PullOptions::default()
    };
    let go_on = Arc::new(|_| ControlFlow::Continue(()));
    let pulled = match pull_from(workspace.local(), node, &fetcher, address, options, go_on).await {
        Ok(pulled) => pulled,
        Err(PullError::Receive(error)) => {
            let (apart, error) = Apart::of(error, session)?;
            return Err(apart.refusal(&error, &address.to_string(), session)?);
        }
        Err(error) => return Err(Failure::of_pull(error, &format!("the newest rows of {address}"))),
    };
    if let Some(failure) = taken_back(&pulled, address, session)? {
        return Err(failure);
    }
    let is_new = matches!(pulled.received, Received::Updated(_));
    let dataset = pulled.received.dataset().clone();
    if is_new {
        let retention = session.retention_of(&dataset)?;
        let (local, changed) = (workspace.local().clone(), dataset.clone());
        let given_up = blocking(move || Ok(retain(&local, &changed, &retention, SystemTime::now())?)).await?;
        given_up.withdraw(workspace.local(), Some(node)).await?;
    }
    note_taken(&dataset, address, session).await?;
    Ok(Brought {
        dataset,
        is_new,
        unasked: matches!(pulled.answer, Some(Origin::Cache { .. })),
    })
}

/// Remembers what was signed for what is here, so that it can be shown beside what is signed later.
///
/// # Errors
/// It cannot be written.
pub(in crate::commands) async fn note_taken(
    dataset: &Dataset,
    address: &Address,
    session: &Session,
) -> Result<(), Failure> {
    let Some(name) = address.name() else { return Ok(()) };
    let (workspace, dataset) = (session.workspace()?.clone(), dataset.clone());
    // One who knows nothing of the name by now has nothing to remember.
    let Ok(resolved) = session.node()?.names().resolve(name, Freshness::Cached).await else {
        return Ok(());
    };
    blocking(move || Ok(proof::remember(workspace.local(), &dataset, &resolved.record)?)).await
}

/// Pulls it once, as `odfs pull` does and tells; gives the dataset.
///
/// # Errors
/// Those of a pull.
pub(in crate::commands) fn pull_once(subject: &Subject, session: &Session, io: &mut Io) -> Result<DatasetId, Failure> {
    let args = PullArgs {
        name: subject.called.clone(),
        ..PullArgs::default()
    };
    let (dataset, peers) = (subject.dataset, &subject.peers);
    match &subject.ticket {
        Some(ticket) => network::by_ticket(ticket, dataset, &args, peers, session, io)?,
        None => network::one(&subject.address, dataset, &args, &Asked::of(peers), session, io)?,
    };
    if let Some(id) = subject.dataset {
        return Ok(id);
    }
    let catalog = session.workspace()?.catalog();
    if let Some(id) = subject.address.name().and_then(id_of)
        && catalog.by_id(&id)?.is_some()
    {
        return Ok(id);
    }
    let (_, subject) = Subject::named(&subject.address.to_string(), "pulled", session)?;
    subject.dataset.ok_or_else(|| {
        Failure::new(Kind::NotFound, "the dataset is not here any more")
            .next("`odfs list` shows the datasets that are here")
    })
}

/// Whether a failure may be over later, by itself.
pub(in crate::commands) fn is_passing(failure: &Failure) -> bool {
    matches!(
        failure.kind(),
        Kind::Unreachable | Kind::UnknownName | Kind::BadRecord | Kind::Busy | Kind::General
    )
}

fn gone(id: &DatasetId) -> Failure {
    Failure::new(Kind::NotFound, format!("the dataset {id} is not here any more"))
        .next(format!("`odfs pull {id}` fetches it again"))
}

impl Subject {
    /// What `target` names: a dataset that was pulled by a name, or such a name. `verb` says what is to be done with it.
    ///
    /// # Errors
    /// It names nothing that can have news under a name.
    pub(in crate::commands) fn named(target: &str, verb: &str, session: &Session) -> Result<(Name, Self), Failure> {
        let args = PullArgs {
            targets: vec![target.to_owned()],
            ..PullArgs::default()
        };
        let mut jobs = plan::plan(&args, session)?;
        let (Some(job), true) = (jobs.pop(), jobs.is_empty()) else {
            return Err(
                Failure::usage(format!("{target} stands for several datasets, and one is to be {verb}"))
                    .next("name one"),
            );
        };
        let label = job.label;
        let refused = |reason: &str| {
            Failure::usage(format!("{label} cannot be {verb}: {reason}")).next(
                "name a dataset that was pulled by its published name, or such a name: `odfs list --wide` shows those of datasets",
            )
        };
        let (address, dataset, ticket) = match job.way {
            Way::Network {
                address,
                dataset,
                ticket,
            } => (address, dataset, ticket),
            Way::Blocked(failure) => return Err(failure),
            Way::Repository { .. } => {
                return Err(refused("it comes from a repository, which tells nobody what is new"));
            }
            Way::Source(_) | Way::Transform(_) | Way::Nothing => return Err(refused("its rows are made here")),
        };
        let name = address.name().copied();
        let name =
            name.ok_or_else(|| refused("the address is that of one version, and no newer one will ever be there"))?;
        let subject = Self {
            address,
            dataset,
            called: None,
            peers: Vec::new(),
            ticket,
        };
        Ok((name, subject))
    }
}

/// About this time, so that those who began together do not go on asking together.
pub(in crate::commands) fn about(time: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // From 0.9 to 1.1 of it.
    time.mul_f64(0.9 + 0.2 * f64::from(now.subsec_nanos() % 1_000_000) / 1e6)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(Kind::Interrupted, "the process is stopping")),
    }
}
