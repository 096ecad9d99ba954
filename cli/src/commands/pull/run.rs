//! From the arguments to the ways of the datasets, one after the other.

use odf::metadata::DatasetId;
use odf_node::retrieval::Gateways;

use super::network::Asked;
use super::plan::{self, Job, Way};
use super::report::Before;
use super::{PullArgs, PullFormat, Tally, network, open, repository, source, transform, watch, watermark, workspace};
use crate::commands::dial::dial;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

pub(in crate::commands) fn run(args: &PullArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if args.name.is_some() && args.targets.len() > 1 {
        return Err(Failure::usage("--as names one dataset, and several are to be pulled"));
    }
    if args.watch {
        return watch::run(args, session, io);
    }
    let as_json = match args.output {
        None | Some(PullFormat::Text) => false,
        Some(PullFormat::Json) => true,
        Some(PullFormat::Table | PullFormat::Ndjson | PullFormat::Csv) => {
            return Err(
                Failure::usage("table, ndjson and csv are forms of the rows that --watch prints")
                    .next("say --watch too, or -o json for a report of the pull; `odfs tail` shows rows that are here"),
            );
        }
    };
    if as_json && (args.from_workspace.is_some() || args.set_watermark.is_some()) {
        return Err(Failure::usage(
            "-o json tells what came of pulls; --from-workspace and --set-watermark have no such report",
        )
        .next("leave -o json away; `odfs list -o json` shows what is here"));
    }
    if let Some(path) = &args.from_workspace {
        return workspace::import(path, args, session, io);
    }
    if let Some(watermark) = args.set_watermark {
        return watermark::set(args, watermark, session, io);
    }
    if as_json {
        io.put_lines_aside();
    }
    let jobs = plan::plan(args, session)?;
    let from_network = jobs.iter().any(|job| matches!(job.way, Way::Network { .. }));
    let peers = if from_network && !args.offline {
        dial(&args.peers, session, io)?
    } else {
        Vec::new()
    };
    let asked = match from_network && !args.offline {
        true => Some(session.node()?.exchange().gateways()),
        false => None,
    };
    let _added = asked.map(|gateways| gateways.add(&args.gateways)).transpose()?;
    let mut told = Vec::new();
    let done = all(jobs, args, &peers, as_json.then_some(&mut told), session, io);
    for gateway in asked.map(Gateways::stats).unwrap_or_default() {
        let reason = match done {
            Ok(()) => gateway.refused,
            Err(_) => gateway.refused.or(gateway.last_failure),
        };
        if let Some(reason) = reason {
            io.warn(format_args!("{}: {reason}", gateway.url));
        }
    }
    if as_json {
        io.object(&told.into())?;
    }
    done
}

/// Does all jobs; what came of each goes to `told`.
fn all(
    jobs: Vec<Job>,
    args: &PullArgs,
    peers: &[odf_node::PeerId],
    mut told: Option<&mut Vec<serde_json::Value>>,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let several = jobs.len() > 1;
    let mut tally = Tally::default();
    let mut first = None;
    for job in jobs {
        let label = job.label.clone();
        let before = match told.is_some() {
            true => Some(Before::look(&job, session)?),
            false => None,
        };
        if let Some(known) = job.way.elsewhere().filter(|_| args.offline) {
            offline(&label, known, session, io)?;
            if let (Some(before), Some(told)) = (before, &mut told) {
                told.push(before.unasked());
            }
            tally.unasked += 1;
            continue;
        }
        let outcome = one(job, args, peers, session, io);
        if let (Some(before), Some(told)) = (before, &mut told) {
            told.push(before.then(&outcome, session)?);
        }
        match outcome {
            Ok(updated) => tally.count(updated),
            // One that waits for its owner keeps nobody waiting, and is no failure of a command that names nobody.
            Err(failure) if failure.kind() == Kind::NotApproved && args.all => {
                io.warn(format_args!(
                    "{label} waits for `odfs approve {label}`: {}",
                    failure.message()
                ));
            }
            Err(failure) if failure.kind() == Kind::Interrupted || !several => return Err(failure),
            Err(failure) => {
                tally.unasked += usize::from(failure.kind() == Kind::Unreachable);
                tally.undecided += usize::from(failure.kind() == Kind::Refused);
                io.warn(format_args!("{label}: {}", failure.message()));
                if let Some(step) = failure.next_step() {
                    io.warn(format_args!("  {step}"));
                }
                first.get_or_insert(failure);
            }
        }
    }
    tally.tell(io);
    first.map_or(Ok(()), |first| {
        Err(Failure::new(first.kind(), "not every dataset could be pulled")
            .next("run the command again for those; what arrived is kept"))
    })
}

/// Says of what time that is which is here of a dataset that others have.
fn offline(label: &str, dataset: Option<&DatasetId>, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let Some(id) = dataset else {
        return Err(Failure::new(
            Kind::NotFound,
            format!("{label} is not here, and with --offline nobody is asked for it"),
        )
        .next("pull it without --offline"));
    };
    let dataset = open(id, session)?;
    io.line(format_args!(
        "{}: nobody was asked; what is here is of {}",
        dataset.name()?,
        output::time(dataset.state().system_time.datetime())
    ))
}

/// Does one job; whether anything was new.
fn one(job: Job, args: &PullArgs, peers: &[odf_node::PeerId], session: &Session, io: &mut Io) -> Result<bool, Failure> {
    io.check()?;
    match job.way {
        Way::Network {
            address,
            ticket,
            dataset,
        } => match ticket {
            Some(ticket) => network::by_ticket(&ticket, dataset, args, peers, session, io),
            None => network::one(&address, dataset, args, &Asked::of(peers), session, io),
        },
        Way::Repository { place, alias, dataset } => {
            repository::one(&place, &alias, dataset.as_ref(), args, session, io)
        }
        Way::Source(dataset) => source::one(&dataset, args, session, io),
        Way::Transform(dataset) => transform::one(&dataset, args, session, io),
        Way::Blocked(failure) => Err(failure),
        Way::Nothing => {
            io.say(format_args!("{} has no source, so there is nothing to pull", job.label));
            Ok(false)
        }
    }
}
