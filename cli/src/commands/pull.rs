//! `odfs pull`

use clap::Args;
use odf::dataset::{Dataset, DatasetName};
use odf::pull::Address;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

mod network;

/// Fetch datasets, or what is new of them
///
/// A name is always looked up on the network. What is here already is not fetched again, also after an interruption.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// What to pull: ipns://K, ipfs://CID, K, did:odf:…, or the name of a dataset that was pulled before
    #[arg(required_unless_present = "all")]
    targets: Vec<String>,
    /// Update every dataset that was pulled before
    #[arg(short, long, conflicts_with_all = ["targets", "name"])]
    all: bool,
    /// Name for the dataset here [default: the last part of the address]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<DatasetName>,
    /// Do not remember where the dataset is from
    #[arg(long)]
    no_alias: bool,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
}

/// One thing to pull.
struct Job {
    address: Address,
    dataset: Option<Dataset>,
}

pub(super) fn run(args: &PullArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if args.name.is_some() && args.targets.len() > 1 {
        return Err(Failure::usage("--as names one dataset, and several are to be pulled"));
    }
    let jobs = if args.all {
        all(session)?
    } else {
        named(&args.targets, session)?
    };
    let peers = network::dial(&args.peers, session, io)?;
    let several = jobs.len() > 1;
    let (mut updated, mut current) = (0, 0);
    let mut first = None;
    for job in jobs {
        match network::one(&job, args, &peers, session, io) {
            Ok(true) => updated += 1,
            Ok(false) => current += 1,
            Err(failure) if failure.kind() == Kind::Interrupted || !several => return Err(failure),
            Err(failure) => {
                io.say(format_args!("{}: {}", job.address, failure.message()));
                first.get_or_insert(failure);
            }
        }
    }
    for (count, what) in [(updated, "updated"), (current, "up-to-date")] {
        if several && count > 0 {
            io.say(format_args!("{count} dataset(s) {what}"));
        }
    }
    first.map_or(Ok(()), |first| {
        Err(Failure::new(first.kind(), "not every dataset could be pulled")
            .next("run the command again for those; what arrived is kept"))
    })
}

/// Every dataset that was pulled before.
fn all(session: &Session) -> Result<Vec<Job>, Failure> {
    let catalog = session.workspace()?.catalog();
    let mut jobs = Vec::new();
    for entry in catalog.entries()? {
        let dataset = catalog.open_entry(&entry)?;
        if let Some(alias) = dataset.remote_aliases()?.pull_aliases.first() {
            jobs.push(Job {
                address: alias.parse()?,
                dataset: Some(dataset),
            });
        }
    }
    if jobs.is_empty() {
        return Err(
            Failure::new(Kind::NotFound, "no dataset here was pulled from elsewhere")
                .next("`odfs pull ipns://K` fetches one"),
        );
    }
    Ok(jobs)
}

/// What the user named: addresses, or datasets that remember where they are from.
fn named(targets: &[String], session: &Session) -> Result<Vec<Job>, Failure> {
    targets
        .iter()
        .map(|target| match target.parse::<Address>() {
            Ok(address) => Ok(Job {
                dataset: pulled_from(&address, session)?,
                address,
            }),
            Err(error) if target.contains("://") || target.contains(['/', ':']) => Err(error.into()),
            Err(_) => by_name(target, session),
        })
        .collect()
}

fn by_name(target: &str, session: &Session) -> Result<Job, Failure> {
    let dataset = session.workspace()?.catalog().find(target)?;
    match dataset.remote_aliases()?.pull_aliases.as_slice() {
        [only] => Ok(Job {
            address: only.parse()?,
            dataset: Some(dataset),
        }),
        [] => Err(
            Failure::new(Kind::Refused, format!("{target} was not pulled from anywhere"))
                .next("name the place: odfs pull ipns://K"),
        ),
        several => Err(
            Failure::new(Kind::Refused, format!("{target} is pulled from {}", several.join(", ")))
                .next("name one of them"),
        ),
    }
}

/// The dataset that came from this very place, whatever it is called here.
fn pulled_from(address: &Address, session: &Session) -> Result<Option<Dataset>, Failure> {
    let catalog = session.workspace()?.catalog();
    for entry in catalog.entries()? {
        let dataset = catalog.open_entry(&entry)?;
        let aliases = dataset.remote_aliases()?.pull_aliases;
        if aliases
            .iter()
            .any(|alias| alias.parse::<Address>().is_ok_and(|other| other == *address))
        {
            return Ok(Some(dataset));
        }
    }
    Ok(None)
}
