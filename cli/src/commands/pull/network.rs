//! Pulling over IPFS: names and roots.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use odf::dataset::DatasetName;
use odf::metadata::DatasetId;
use odf::pull::{Address, FromPeers, PullError, PullListener, PullOptions, Pulled, id_of, pull_from};
use odf::receive::{Progress, Received};
use odf::ticket::Ticket;
use odf_node::PeerId;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Freshness, Origin};

use super::beside::{self, Apart};
use super::repository::{finish, tell};
use super::{PullArgs, open, rebase};
use crate::commands::contact::meet;
use crate::commands::owner::pulled_from;
use crate::commands::repair::{after_pull, peers_at};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Whom a pull asks besides those whom it finds.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    peers: &'a [PeerId],
    /// Whether these are enough, as one of them is connected and was named as who has it; or whether nobody is asked, as all of
    /// it was brought here.
    freshness: Freshness,
    /// What the dataset is called there.
    label: Option<&'a DatasetName>,
}

impl<'a> Asked<'a> {
    /// Everybody, and these peers too.
    pub(super) fn of(peers: &'a [PeerId]) -> Self {
        Self {
            peers,
            freshness: Freshness::Network,
            label: None,
        }
    }
}

/// As [`one`], of what was carried here: the blocks are in the store, and the record of the name is remembered. Nobody is
/// asked.
pub(in crate::commands) fn carried(
    address: &Address,
    label: &DatasetName,
    name: Option<DatasetName>,
    force: bool,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let args = PullArgs {
        name,
        force,
        ..PullArgs::default()
    };
    let asked = Asked {
        peers: &[],
        freshness: Freshness::Cached,
        label: Some(label),
    };
    one(address, None, &args, &asked, session, io)
}

/// As [`one`], of what a ticket is for: those whom it names are met first.
pub(super) fn by_ticket(
    ticket: &Ticket,
    dataset: Option<DatasetId>,
    args: &PullArgs,
    peers: &[PeerId],
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let met = meet(ticket, session, io)?;
    let peers: Vec<PeerId> = peers.iter().copied().chain(met).collect();
    let asked = Asked {
        peers: &peers,
        freshness: match met {
            Some(_) => Freshness::Near,
            None => Freshness::Network,
        },
        label: ticket.label(),
    };
    one(ticket.address(), dataset, args, &asked, session, io).map_err(|failure| match failure.kind() {
        Kind::Unreachable | Kind::UnknownName if met.is_none() => failure.next(
            "let `odfs node` run on the machine that has it, and take a new ticket from there (`odfs ticket DATASET`): \
             addresses change",
        ),
        _ => failure,
    })
}

/// Pulls one dataset; whether anything was new.
pub(super) fn one(
    address: &Address,
    dataset: Option<DatasetId>,
    args: &PullArgs,
    asked: &Asked<'_>,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let workspace = session.workspace()?;
    let node = session.node()?;
    let peers = asked.peers;
    let exchange = (asked.freshness != Freshness::Cached).then(|| node.exchange().session());
    if let Some(exchange) = &exchange {
        peers.iter().for_each(|peer| exchange.add_provider(*peer));
    }
    let fetcher = Fetcher::new(workspace.store().clone(), exchange);
    io.progress().show(|| Step {
        text: format!("looking for {}", address),
        ..Step::default()
    });

    let far = Arc::new(Far::default());
    let heard = Arc::clone(&far);
    let listener: PullListener = Arc::new(move |at| heard.hear(at));
    let progress = io.progress().clone();
    let show = || progress.show(|| far.step(&fetcher));
    let is_own = is_own(address, session)?;
    let mut dataset = dataset.map(|id| open(&id, session)).transpose()?;
    let label = asked.label.filter(|_| args.name.is_none());
    let label = label.map(|label| workspace.catalog().free_name(label)).transpose()?;
    // A node that follows the name brings the same at the same time. A rebase has turns of its own.
    let _turn = match &mut dataset {
        Some(dataset) if !args.rebase => Some(session.turn(dataset, io)?),
        _ => None,
    };
    let pull = |force: bool, io: &Io| -> Result<Result<Pulled, PullError>, Failure> {
        let options = PullOptions {
            dataset: dataset.clone(),
            name: args.name.clone().or_else(|| label.clone()),
            alias: !args.no_alias && !is_own,
            freshness: asked.freshness,
            force,
        };
        let listener = Arc::clone(&listener);
        let work = pull_from(workspace.local(), node, &fetcher, address, options, listener);
        session.wait(io, async {
            tokio::pin!(work);
            let mut tick = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    pulled = &mut work => return Ok::<_, Failure>(pulled),
                    _ = tick.tick() => show(),
                }
            }
        })
    };
    let beside = |name: &DatasetName, apart: Option<&Apart>, io: &mut Io| {
        let source = session.wait(
            io,
            FromPeers::at(workspace.local(), node, &fetcher, address, asked.freshness),
        )?;
        let memory = Memory::of(source.answer());
        let is_new = beside::take(name, &source.apart(), &address.to_string(), apart, session, io)?;
        match memory {
            Some(memory) if is_new => memory.tell(address, io),
            Some(memory) => return Err(memory.refusal(&format!("for news of {address}"), "the copy is as it was")),
            None => {}
        }
        Ok(is_new)
    };
    if args.rebase {
        let source = session.wait(
            io,
            FromPeers::at(workspace.local(), node, &fetcher, address, asked.freshness),
        )?;
        if let Some(memory) = Memory::of(source.answer()) {
            // What is remembered can be what was published here, which is nothing to put rows behind.
            let refusal = memory.refusal(&format!("what {address} has"), "nothing was changed");
            return Err(refusal.next(
                "check the connection, or name a peer that has it with --peer: what was done here goes behind what is there, \
                 which has to come first",
            ));
        }
        return rebase::onto(&source.apart(), &address.to_string(), session, io);
    }
    if let Some(name) = args.name.as_ref().filter(|_| !args.force)
        && (beside::is_copy(Some(name), session)? || is_own_by_another_name(address, name, session)?)
    {
        return beside(name, None, io);
    }
    let apart = match pull(false, io)? {
        Ok(pulled) => match &pulled.received {
            Received::Ahead { dataset, by, .. } if args.force => Apart::ahead(dataset, *by),
            _ => return done(&pulled, address, args, peers, session, io),
        },
        Err(PullError::Receive(error)) => {
            let (apart, error) = Apart::of(error, session)?;
            match &args.name {
                _ if args.force => {}
                Some(name) if !apart.is_of(name)? => return beside(name, Some(&apart), io),
                _ => return Err(apart.refusal(&error, &address.to_string(), session)?),
            }
            apart
        }
        Err(error) => {
            let here = dataset.as_ref().map(odf::dataset::Dataset::name).transpose()?;
            let what = match (address.name(), here.or_else(|| args.name.clone())) {
                (Some(_), Some(name)) => format!("the newest rows of {name}"),
                (Some(_), None) => format!("the newest rows of {address}"),
                // A root is of one moment.
                (None, _) => address.to_string(),
            };
            return Err(Failure::of_pull(error, &what));
        }
    };
    apart.agree(&address.to_string(), io)?;
    done(&pull(true, io)??, address, args, peers, session, io)
}

/// Whether the key of the name is here: who holds it owns what the name stands for, and is kept from nothing by having pulled it.
pub(super) fn is_own(address: &Address, session: &Session) -> Result<bool, Failure> {
    let key = address
        .name()
        .map(|name| session.keys().map(|keys| keys.find(&name.peer_id(), &[])));
    Ok(key.transpose()?.flatten().is_some())
}

/// Whether an address is that of a dataset that is made here, under another name than this: what is there is looked at then.
fn is_own_by_another_name(address: &Address, name: &DatasetName, session: &Session) -> Result<bool, Failure> {
    let Some(id) = address.dataset_id().or_else(|| id_of(address.name()?)) else {
        return Ok(false);
    };
    Ok(match session.workspace()?.catalog().by_id(&id)? {
        Some(dataset) => dataset.remote_aliases()?.pull_aliases.is_empty() && dataset.name()? != *name,
        None => false,
    })
}

/// Does and tells what follows when a dataset was pulled; whether anything was new.
fn done(
    pulled: &Pulled,
    address: &Address,
    args: &PullArgs,
    peers: &[PeerId],
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    finish(&pulled.received, session)?;
    if let Some(failure) = taken_back(pulled, address, session)? {
        return Err(failure);
    }
    let updated = report(pulled, address, io)?;
    let name = pulled.received.dataset().name()?;
    if let Some(wanted) = args.name.as_ref().filter(|wanted| **wanted != name) {
        io.say(format_args!(
            "It is here as {name}, and stays that: `odfs rename {name} {wanted}` gives it the other name"
        ));
    }
    let places = || {
        peers_at(address, peers, session).unwrap_or_else(|failure| {
            tracing::warn!(%address, reason = failure.message(), "nobody is asked for what is missing");
            Vec::new()
        })
    };
    after_pull(&pulled.received, &places, session, io)?;
    Ok(updated)
}

/// That the owner of a dataset has published less than is here of it, where it is only followed here: it is not up to date.
pub(super) fn taken_back(pulled: &Pulled, address: &Address, session: &Session) -> Result<Option<Failure>, Failure> {
    let Received::Ahead { dataset, by, .. } = &pulled.received else {
        return Ok(None);
    };
    let from = pulled_from(dataset, session)?.and_then(|alias| alias.parse::<Address>().ok());
    let is_followed = from.is_some_and(|from| from.name().is_some() && from.name() == address.name());
    if !is_followed || Memory::of(pulled.answer).is_some() {
        return Ok(None);
    }
    let (name, lost) = (dataset.name()?, Apart::ahead(dataset, *by).lost()?);
    Ok(Some(
        Failure::new(Kind::Refused, format!("the owner of {name} took back {lost}; they are still here")).next(format!(
            "`odfs pull {name} --force` follows, and drops them here; `odfs export {name} FILE` keeps a copy of the rows"
        )),
    ))
}

fn report(pulled: &Pulled, address: &Address, io: &mut Io) -> Result<bool, Failure> {
    let (received, is_new) = (&pulled.received, matches!(pulled.received, Received::Updated(_)));
    let memory = Memory::of(pulled.answer);
    if let (Some(memory), false) = (&memory, is_new) {
        // What was asked for is whether there is something newer, and that nobody knows.
        let dataset = received.dataset();
        let here = format!(
            "what is here is of {}",
            output::time(dataset.state().system_time.datetime())
        );
        return Err(memory.refusal(&format!("for news of {}", dataset.name()?), &here));
    }
    tell(received, io)?;
    if is_new {
        let fetched = pulled.fetched;
        // Of what was carried here nothing is.
        if fetched.blocks == 0 && pulled.answer.is_none() {
            return Ok(true);
        }
        let bytes = output::bytes(fetched.bytes);
        match io.in_terms() {
            // Other blocks than those of the history.
            true => io.say(format_args!(
                "{bytes} fetched in {} block(s); {} were here",
                output::count(fetched.blocks),
                output::count(fetched.local)
            )),
            false => io.say(format_args!("{bytes} fetched")),
        }
        if let Some(memory) = memory {
            memory.tell(address, io);
        }
    }
    Ok(is_new)
}

/// What a name stands for by memory alone, because nobody answered.
struct Memory {
    /// When somebody last did.
    confirmed: Option<SystemTime>,
}

impl Memory {
    /// None if somebody answered, or nobody had to be asked.
    fn of(answer: Option<Origin>) -> Option<Self> {
        match answer {
            Some(Origin::Cache { confirmed }) => Some(Self { confirmed }),
            Some(Origin::Network { .. }) | None => None,
        }
    }

    /// That what was asked for is not known, and what holds instead.
    fn refusal(&self, asked: &str, here: &str) -> Failure {
        Failure::new(
            Kind::Unreachable,
            format!("nobody could be asked {asked}; {here}{}", self.ago()),
        )
        .next("check the connection, or name a peer with --peer; with --offline nobody is asked")
    }

    /// That what came may not be the newest.
    fn tell(&self, address: &Address, io: &mut Io) {
        io.say(format_args!(
            "nobody could be asked for {address}: this is the newest that was heard of it{}",
            self.ago()
        ));
    }

    /// How long ago somebody was asked and answered, if ever.
    fn ago(&self) -> String {
        let age = self.confirmed.and_then(|at| SystemTime::now().duration_since(at).ok());
        age.map_or_else(String::new, |age| {
            format!(" (somebody last answered {} ago)", output::duration(age))
        })
    }
}

/// How far a pull is.
#[derive(Default)]
struct Far {
    done: AtomicU64,
    total: AtomicU64,
}

impl Far {
    fn hear(&self, at: Progress) -> ControlFlow<()> {
        match at {
            Progress::Planned { bytes, .. } => self.total.store(bytes, Ordering::Relaxed),
            Progress::Bytes(bytes) => {
                self.done.fetch_add(bytes, Ordering::Relaxed);
            }
            _ => {}
        }
        // Whoever waits for the pull ends it by no longer waiting.
        ControlFlow::Continue(())
    }

    fn step(&self, fetcher: &Fetcher) -> Step {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let fetched = fetcher.fetched();
        let mut text = format!(
            "{}, {} blocks",
            output::bytes(fetched.bytes),
            output::count(fetched.blocks)
        );
        if let Some(session) = fetcher.session() {
            let stats = session.stats();
            match session.gateways() {
                gateways if stats.providers == 0 && gateways > 0 => text.push_str(&format!(", {gateways} gateway(s)")),
                _ => text.push_str(&format!(
                    ", {}/s, {} provider(s)",
                    output::bytes(stats.rate as u64),
                    stats.providers
                )),
            }
        }
        Step {
            text,
            done: done.max(fetched.bytes.min(total)),
            total: (total > 0).then_some(total),
        }
    }
}
