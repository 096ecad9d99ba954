//! `odfs ingest`

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use odf::dataset::{Dataset, RemoteAliases};
use odf::ingest::source::{Format, ReadOptions, Rows};
use odf::ingest::{Effect, PushOptions};
use odf::metadata::{Multihash, Timestamp};
use odf::workspace::{Grown, Growth};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::announce::{ReportFormat, in_json, in_millis};
use super::batch::{self, committed};
use super::effect::{self, in_words, into_json, say_drastic, say_passed_over};
use super::input::{is_sheet, open_sheet, spool};
use super::owner::pulled_from;
use super::publish::{say_filled, say_notes, watch};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::{Session, Turn, Wanted};

/// Push rows into a dataset that says itself how they are read
///
/// The dataset has a push source, made by its manifest (`odfs add`) or by `odfs publish`: its read step, preprocess query
/// and merge strategy say what becomes of the rows. Several files are taken one after another, each in metadata blocks of
/// its own. `odfs push` then publishes what is new.
#[derive(Args, Debug)]
pub(crate) struct IngestArgs {
    /// The dataset
    dataset: String,
    /// Files with rows, in order; `-` for standard input
    #[arg(value_name = "FILE|-", required_unless_present = "stdin")]
    files: Vec<String>,
    /// Read rows from standard input
    #[arg(long, conflicts_with = "files")]
    stdin: bool,
    /// Which push source, if the dataset has several
    #[arg(long, value_name = "NAME")]
    source_name: Option<String>,
    /// Event time (RFC 3339) of rows that have none [default: now]
    #[arg(long, value_name = "TIME")]
    event_time: Option<Timestamp>,
    /// Format of the rows: csv, ndjson, json, geojson, ndgeojson, parquet or esrishapefile [default: what the source
    /// reads]
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Sheet of a workbook (.xlsx, .ods) [default: the only one that has anything in it]
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Take columns that the source does not declare into source and dataset, as optional ones
    #[arg(long)]
    add_columns: bool,
    /// Let a snapshot retract every row of the dataset although the file is empty
    #[arg(long)]
    allow_empty: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text, value_name = "FORMAT")]
    output: ReportFormat,
}

pub(super) fn run(args: &IngestArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let name = dataset.name()?;
    let RemoteAliases {
        pull_aliases,
        push_aliases,
    } = dataset.remote_aliases()?;
    let repositories = session.repositories();
    let is_at = |to: &String, from: &String| match (repositories.resolve(to), repositories.resolve(from)) {
        (Ok(to), Ok(from)) => to == from,
        _ => to == from,
    };
    let goes_back = |from: &String| push_aliases.iter().any(|to| is_at(to, from));
    let is_elsewhere = pulled_from(&dataset, session)?.is_some();
    if let Some(alias) = pull_aliases.iter().find(|from| is_elsewhere && !goes_back(from)) {
        return Err(Failure::new(
            Kind::Refused,
            format!("{name} is pulled from {alias}; rows pushed here would make its history differ from the one there"),
        )
        .next(format!(
            "push them where it comes from, then `odfs pull {name}`; if you push there yourself: `odfs repo alias add --push \
             {name} {alias}`"
        )));
    }
    let options = PushOptions {
        source_name: args.source_name.clone(),
        input_format: args.input_format,
        sheet: None,
        event_time: args.event_time,
        allow_empty: args.allow_empty || session.settings().allow_empty,
        add_columns: args.add_columns,
        slice: session.settings().slice_options(),
    };
    let standard_input = ["-".to_owned()];
    let files = if args.stdin { &standard_input[..] } else { &args.files };
    let mut pushed = Pushed::default();
    let result = push_all(
        files,
        args.sheet.as_deref(),
        &mut dataset,
        &options,
        &mut pushed,
        session,
        io,
    );
    // What was taken before a failure is there, and stays.
    let served = match pushed.head {
        Some(_) => serve(&mut dataset, &mut pushed, session, io),
        None => Ok(()),
    };
    report(&dataset, &pushed, result.is_ok(), args.output, io)?;
    result.and(served)
}

/// Gives the new head its DAG, or leaves that to the node.
fn serve(dataset: &mut Dataset, pushed: &mut Pushed, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let _turn = match pushed.turn.take() {
        Some(turn) => turn,
        None => session.turn(dataset, io)?,
    };
    pushed.due = batch::leave(dataset, Wanted::Root, session)?;
    if pushed.due.is_some() {
        return Ok(());
    }
    // Whoever pushes them again may have them twice.
    committed(dataset, session, io).map_err(|failure| {
        let name = dataset
            .name()
            .map_or_else(|_| dataset.id().to_string(), |name| name.to_string());
        failure
            .about("the rows are taken, but what peers are served of them is not made")
            .next(format!(
                "do not push them again; when what is in the way is gone, `odfs push {name}` makes it"
            ))
    })
}

/// What all files together came to.
#[derive(Default)]
struct Pushed {
    blocks: usize,
    rows: u64,
    /// How many of the rows had no event time.
    without_event_time: u64,
    /// What they did to those that were there.
    effect: Effect,
    /// What became of values that did not come out as they went in, and what else was said.
    notes: Vec<Value>,
    /// The last head that was made; none if nothing was taken.
    head: Option<Multihash>,
    /// In what time the node makes what peers are served of it, if that was left to the node.
    due: Option<Duration>,
    /// The turn at changing the dataset, if it is still on.
    turn: Option<Turn>,
}

fn push_all(
    files: &[String],
    named: Option<&str>,
    dataset: &mut Dataset,
    options: &PushOptions,
    pushed: &mut Pushed,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let several = files.len() > 1;
    for file in files {
        io.check()?;
        // A stream may go on for long, and others do not wait for it.
        pushed.turn = None;
        let path = Path::new(if file == "-" { "" } else { file });
        let content = Content::open(file, session, io)?;
        let content = match is_sheet(file, path, named, options.input_format)? {
            true => content.sheet(named, session, io)?,
            false => content,
        };
        let options = &PushOptions {
            sheet: content.rows.clone(),
            ..options.clone()
        };
        pushed.turn = Some(session.turn(dataset, io)?);
        let before = *dataset.head();
        let progress = &mut watch(io);
        let growth = session
            .workspace()?
            .push(dataset, &content.name, &content.path, options, io.now()?, progress)?;
        let (Growth::UpToDate(effect) | Growth::Grown(Grown { effect, .. })) = &growth;
        effect::add(&mut pushed.effect, effect);
        match &growth {
            Growth::UpToDate(_) if several => io.say(format_args!("{file}: nothing new")),
            Growth::UpToDate(_) => {}
            Growth::Grown(grown) => {
                pushed.blocks += grown.blocks.len();
                pushed.rows += grown.rows;
                pushed.without_event_time += grown.without_event_time;
                pushed.head = Some(grown.new_head);
                if several {
                    let words = in_words(&grown.effect);
                    io.say(format_args!("{file}: {} row(s): {words}", output::count(grown.rows)));
                }
                say_notes(&grown.notes, io);
                pushed.notes.extend(grown.notes.iter().map(|note| {
                    let mut note = in_json(note);
                    note["file"] = file.as_str().into();
                    note
                }));
                if options.event_time.is_none() {
                    let hint = "; --event-time gives them another";
                    say_filled(dataset, grown.without_event_time, hint, io);
                }
            }
        }
        say_drastic(dataset, effect, Some(&before), io);
        say_passed_over(dataset, effect, file, session, io)?;
    }
    Ok(())
}

fn report(dataset: &Dataset, pushed: &Pushed, whole: bool, format: ReportFormat, io: &mut Io) -> Result<(), Failure> {
    let name = dataset.name()?;
    let Pushed {
        blocks,
        rows,
        without_event_time,
        effect,
        notes,
        head,
        due,
        ..
    } = pushed;
    let head = head.unwrap_or(*dataset.head());
    match (format, blocks) {
        (_, 0) if !whole => Ok(()),
        (ReportFormat::Json, _) => {
            let mut report = json!({
                "dataset": name.as_str(),
                "id": dataset.id().to_string(),
                "head": head.to_string(),
                "blocks": blocks,
                "rows": rows,
                "rowsWithoutEventTime": without_event_time,
                "notes": notes,
                "dueInMs": due.map(in_millis),
            });
            into_json(effect, &mut report);
            io.line(report)
        }
        (ReportFormat::Text, 0) => io.line(format_args!("{name} is up to date")),
        (ReportFormat::Text, _) => {
            if let Some(due) = due {
                io.say(format_args!(
                    "what peers are served of {name} follows in {} ms (publish.batch)",
                    in_millis(*due)
                ));
            }
            io.line(format_args!(
                "{name}: updated to {head} ({blocks} block(s), {} row(s)): {}",
                output::count(*rows),
                in_words(effect)
            ))
        }
    }
}

/// Rows in a file, which is read several times: streams are written to one first.
struct Content {
    /// As the user named it.
    name: String,
    path: PathBuf,
    /// Which rows of a sheet its lines are, if it was made of one.
    rows: Option<Arc<Rows>>,
    /// Removed when the content is dropped.
    _spool: Option<NamedTempFile>,
}

impl Content {
    fn open(file: &str, session: &Session, io: &mut Io) -> Result<Self, Failure> {
        if file == "-" {
            let name = "standard input";
            let mut input = io.take_input();
            return Self::spooled(name, spool(name, &mut input, session, io)?);
        }
        let path = io.resolve(Path::new(file));
        let metadata = fs::metadata(&path).map_err(|error| Failure::file(&path, &error))?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{file} is a directory")).next("name the files in it"));
        }
        if !metadata.is_file() {
            let mut stream = fs::File::open(&path).map_err(|error| Failure::file(&path, &error))?;
            return Self::spooled(file, spool(file, &mut stream, session, io)?);
        }
        Ok(Self {
            name: file.to_owned(),
            path,
            rows: None,
            _spool: None,
        })
    }

    fn spooled(name: &str, spool: NamedTempFile) -> Result<Self, Failure> {
        Ok(Self {
            name: name.to_owned(),
            path: spool.path().to_owned(),
            rows: None,
            _spool: Some(spool),
        })
    }

    /// The sheet of the workbook that it is: the one of that name, or the one that is meant without.
    fn sheet(self, named: Option<&str>, session: &Session, io: &Io) -> Result<Self, Failure> {
        let (sheet, spool) = open_sheet(&self.name, &self.path, named, ReadOptions::default(), session, io)?;
        Ok(Self {
            rows: Some(sheet.rows),
            ..Self::spooled(sheet.source.name(), spool)?
        })
    }
}
