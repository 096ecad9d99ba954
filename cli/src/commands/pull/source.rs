//! Pulling from the polling source of a dataset.

use odf::dataset::Dataset;
use odf::ingest::Polled;
use odf::metadata::{DatasetId, PrepStep};
use odf::poll::{self, FetchPhase, Fetched, Surroundings};
use odf::workspace::Growth;

use super::{PullArgs, committed, open};
use crate::commands::publish::watch;
use crate::failure::Failure;
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// What was taken of a source, however many times it was asked.
#[derive(Default)]
struct Taken {
    blocks: usize,
    rows: u64,
}

/// Asks the source of a dataset until it has no more; whether anything was new.
pub(super) fn one(id: &DatasetId, args: &PullArgs, session: &Session, io: &mut Io) -> Result<bool, Failure> {
    let mut dataset = open(id, session)?;
    let _turn = session.turn(&mut dataset, io)?;
    let name = dataset.name()?;
    allow_commands(&dataset, session, io)?;
    if poll::is_uncacheable(dataset.state()) && !args.fetch_uncacheable {
        io.say(format_args!(
            "{name}: its source cannot say whether there is something new; --fetch-uncacheable takes all it has"
        ));
        io.line(format_args!("{name} is up to date"))?;
        return Ok(false);
    }
    let mut taken = Taken::default();
    let asked = ask(&mut dataset, &mut taken, session, io);
    // What was taken before a failure is there, and stays.
    if taken.blocks > 0 {
        committed(&dataset, session, io)?;
        io.line(format_args!(
            "{name}: updated to {} ({} block(s), {} row(s))",
            dataset.head(),
            taken.blocks,
            output::count(taken.rows)
        ))?;
    } else if asked.is_ok() {
        io.line(format_args!("{name} is up to date"))?;
    }
    asked?;
    Ok(taken.blocks > 0)
}

fn ask(dataset: &mut Dataset, taken: &mut Taken, session: &Session, io: &mut Io) -> Result<(), Failure> {
    loop {
        io.check()?;
        let Some(fetched) = fetch(dataset, session, io)? else {
            return Ok(());
        };
        match ingest(dataset, &fetched, session, io)? {
            Growth::UpToDate => return Ok(()),
            Growth::Grown(grown) => {
                taken.blocks += grown.blocks.len();
                taken.rows += grown.rows;
            }
        }
        if !fetched.has_more {
            return Ok(());
        }
    }
}

fn fetch(dataset: &Dataset, session: &Session, io: &Io) -> Result<Option<Fetched>, Failure> {
    let state = dataset.state();
    let Some(source) = &state.polling_source else {
        return Ok(None);
    };
    let (cancel, progress) = (io.cancel().clone(), io.progress().clone());
    let around = Surroundings {
        spool: &session.spool_dir()?,
        base: io.cwd(),
        now: io.now()?,
        http: &session.settings().source_http,
        variables: &|name| std::env::var(name).ok(),
        stop: &|| cancel.is_set(),
        progress: &|at| progress.show(|| step(&at)),
    };
    match poll::fetch(source, state.source_state.as_ref(), &around)? {
        poll::Outcome::UpToDate => Ok(None),
        poll::Outcome::Fetched(fetched) => Ok(Some(fetched)),
    }
}

fn ingest(dataset: &mut Dataset, fetched: &Fetched, session: &Session, io: &Io) -> Result<Growth, Failure> {
    let slice = session.settings().slice_options();
    let polled = Polled {
        name: &fetched.name,
        content: fetched.path(),
        event_time: Some(fetched.event_time),
        state: fetched.state.as_ref(),
        slice: &slice,
    };
    Ok(session
        .workspace()?
        .polled(dataset, polled, io.now()?, &mut watch(io))?)
}

/// Commands of a source run with the rights of whoever pulls. In a dataset whose key is not here they may be somebody
/// else's, who then could run anything here.
fn allow_commands(dataset: &Dataset, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let steps = dataset
        .state()
        .polling_source
        .as_ref()
        .and_then(|source| source.prepare.as_deref());
    let commands: Vec<String> = steps
        .unwrap_or_default()
        .iter()
        .filter_map(|step| match step {
            PrepStep::Pipe { command } => Some(format!("`{}`", command.join(" "))),
            PrepStep::Decompress { .. } => None,
        })
        .collect();
    if commands.is_empty() || session.workspace()?.key_of(&dataset.id()).is_some() {
        return Ok(());
    }
    io.confirm(&format!(
        "The source of {}, which was not made here, runs {} on this machine. Run it?",
        dataset.name()?,
        commands.join(" and ")
    ))
}

fn step(at: &poll::FetchProgress) -> Step {
    let doing = match at.phase {
        FetchPhase::Fetching => "downloading",
        FetchPhase::Preparing => "preparing",
    };
    let of = at.total.map(|total| format!(" of {}", output::bytes(total)));
    Step {
        text: format!("{doing}: {}{}", output::bytes(at.bytes), of.unwrap_or_default()),
        done: at.bytes,
        total: at.total,
    }
}
