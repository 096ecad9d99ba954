//! Pulling from the polling source of a dataset.

use odf::dataset::Dataset;
use odf::ingest::{Effect, Polled};
use odf::metadata::DatasetId;
use odf::poll::{self, FetchPhase, Fetched, PollError, Surroundings};
use odf::workspace::Growth;

use super::{PullArgs, open};
use crate::commands::approve::{Standing, held_to};
use crate::commands::batch::committed;
use crate::commands::effect::{self, in_words, say_drastic};
use crate::commands::publish::{say_notes, watch};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// What was taken of a source, however many times it was asked.
#[derive(Default)]
struct Taken {
    blocks: usize,
    rows: u64,
    /// What they did to those that were there.
    effect: Effect,
}

/// Asks the source of a dataset until it has no more; whether anything was new.
pub(super) fn one(id: &DatasetId, args: &PullArgs, session: &Session, io: &mut Io) -> Result<bool, Failure> {
    let mut dataset = open(id, session)?;
    let _turn = session.turn(&mut dataset, io)?;
    let name = dataset.name()?;
    held_to(&dataset, args.all, session, io)?;
    if poll::is_uncacheable(dataset.state()) && !args.fetch_uncacheable {
        io.say(format_args!(
            "{name}: its source cannot say whether there is something new; --fetch-uncacheable takes all it has"
        ));
        io.line(format_args!("{name} is up to date"))?;
        return Ok(false);
    }
    let mut taken = Taken::default();
    let allow_empty = args.allow_empty || session.settings().allow_empty;
    let asked = ask(&mut dataset, &mut taken, allow_empty, session, io);
    // What was taken before a failure is there, and stays.
    if taken.blocks > 0 {
        committed(&dataset, session, io)?;
        io.line(format_args!(
            "{name}: updated to {} ({} block(s), {} row(s)): {}",
            dataset.head(),
            taken.blocks,
            output::count(taken.rows),
            in_words(&taken.effect)
        ))?;
    } else if asked.is_ok() {
        io.line(format_args!("{name} is up to date"))?;
    }
    asked?;
    Ok(taken.blocks > 0)
}

fn ask(
    dataset: &mut Dataset,
    taken: &mut Taken,
    allow_empty: bool,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    loop {
        io.check()?;
        let Some(fetched) = fetch(dataset, session, io)? else {
            return Ok(());
        };
        match ingest(dataset, &fetched, allow_empty, session, io)? {
            Growth::UpToDate(_) => return Ok(()),
            Growth::Grown(grown) => {
                say_notes(&grown.notes, io);
                taken.blocks += grown.blocks.len();
                taken.rows += grown.rows;
                effect::add(&mut taken.effect, &grown.effect);
                say_drastic(dataset, &grown.effect, grown.old_head.as_ref(), io);
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
    // Each time anew: with the rows before, somebody may have set another source.
    let standing = Standing::of(dataset, session.workspace()?.catalog());
    let around = Surroundings {
        spool: &session.spool_dir()?,
        consent: standing.consent(),
        bounds: &session.settings().source_bounds,
        base: io.cwd(),
        now: io.now()?,
        http: &session.settings().source_http,
        variables: &|name| io.environment().text(name),
        environment: io.environment().all(),
        unpack_ratio: session.settings().unpack_ratio,
        free_bytes: &|path| session.disk().free_bytes(path),
        stop: &|| cancel.is_set(),
        progress: &|at| progress.show(|| step(&at)),
    };
    let name = dataset.name()?;
    poll::fetch(source, state.source_state.as_ref(), &around).map_err(|error| {
        let other_file = matches!(error, PollError::OtherFile { .. });
        let failure = Failure::from(error);
        match failure.kind() {
            Kind::NotApproved if other_file => failure.next(format!(
                "pull in the directory where it was approved; or `odfs approve --revoke {name}`, then `odfs approve {name}` here"
            )),
            Kind::NotApproved => failure.next(format!(
                "`odfs approve {name}` shows what it does and lets it; nothing was taken"
            )),
            _ => failure,
        }
    })
}

fn ingest(
    dataset: &mut Dataset,
    fetched: &Fetched,
    allow_empty: bool,
    session: &Session,
    io: &Io,
) -> Result<Growth, Failure> {
    let slice = session.settings().slice_options();
    let polled = Polled {
        name: &fetched.name,
        content: fetched.path(),
        event_time: Some(fetched.event_time),
        state: fetched.state.as_ref(),
        seen: fetched.seen,
        allow_empty,
        slice: &slice,
    };
    Ok(session
        .workspace()?
        .polled(dataset, polled, io.now()?, &mut watch(io))?)
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
