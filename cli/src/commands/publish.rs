//! `odfs publish`

use std::ops::ControlFlow;
use std::time::Duration;

use clap::{Args, ValueEnum};
use odf::dataset::{Dataset, DatasetName};
use odf::ingest::source::{Phase, Progress, ReadOptions};
use odf::ingest::taken::{Check, STATE_KIND, waiting};
use odf::ingest::{
    self, Changed, ColumnNote, ColumnType, DdlError, Effect, MergeOptionError, Retracting, merge_option,
};
use odf::metadata::{MergeStrategy, MetadataEvent, SourceState, Timestamp};
use odf::origins;
use odf::workspace::{Grown, Growth};
use odf_node::keystore::Keypair;

use super::announce::{Announcement, ReportArgs, ReportFormat};
use super::batch;
use super::describe::{DescribeArgs, Description};
use super::effect::{may_go, say_passed_over};
use super::input::{Input, SourceArgs};
use super::inspect::type_in_words;
use super::newest::{Change, check_newest};
use super::owner::pulled_from;
use super::place::After;
use super::safety::{self, Demand};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Rows};
use crate::session::{Session, Turn, Wanted};
use crate::settings::duration::duration_of;

mod reading;
mod target;

use target::{Asked, NEW, Target};

/// Publish a table: make a dataset of it or append what is new, and announce it under its name
///
/// The dataset is made on first use, with a key of its own that is its id and its name. Publishing the same file again
/// takes only the rows that are new. Then the peer serves the dataset until Ctrl-C; with a node running on the
/// workspace it hands over to that and returns.
#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Name of the dataset here [default: the one that the file was published into before, else that of the file]
    #[arg(long)]
    name: Option<DatasetName>,
    /// The dataset, as --name; or `new` for a new one with a published name of its own, whatever the file was published into
    #[arg(long = "as", value_name = "NAME|new")]
    target: Option<DatasetName>,
    /// Address of a peer to ask what was published under the name, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    /// How new rows meet those that are there: append, ledger, snapshot, changelog or upsert [default: what the dataset
    /// has; for a new one ledger with --primary-key, else append]
    ///
    /// An append takes all rows, a ledger those whose key is new and keeps what it has of the others. A snapshot takes the
    /// file as all that holds: changed rows are corrected, rows that it lacks retracted; --yes where these are more than half.
    /// An upsert corrects and adds, and retracts nothing unasked; a changelog says of each row what it does. It stays with the
    /// dataset.
    #[arg(long, value_name = "STRATEGY")]
    merge: Option<String>,
    /// Columns that identify a row [default: those that the dataset has]
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    primary_key: Vec<String>,
    /// Column that says when a row happened [default: event_time]
    #[arg(long, value_name = "COLUMN")]
    event_time: Option<String>,
    /// Types of columns, whatever their values suggest: `id BIGINT, at TIMESTAMP(0)`. Integers in a TIMESTAMP(0) are seconds
    /// since 1970, (3) milliseconds, (6) microseconds, (9) nanoseconds
    #[arg(long, value_name = "COLUMNS", value_parser = parse_types)]
    schema: Option<Types>,
    /// Make Decimal, not Float64, of columns of numbers with a point, where one is wide enough
    #[arg(long)]
    decimal: bool,
    /// Cut off what times have below the millisecond; otherwise such columns are text, or refused
    #[arg(long)]
    cut_times: bool,
    /// Append all rows of a file that changed otherwise than by growing
    #[arg(long)]
    append_all: bool,
    /// Take columns that the dataset does not have, as optional ones
    #[arg(long)]
    add_columns: bool,
    /// Take the last line of a file that has grown, though nothing ends it; else it waits for its line break
    #[arg(long = "final")]
    finished: bool,
    #[command(flatten)]
    describe: DescribeArgs,
    /// How the part of a file is looked at that was taken earlier
    ///
    /// Every byte of it is read if the file was touched since. A file that grew looks to the file system like one that was
    /// written anew with one value corrected; `quick` says that this one only grows, as logs do. Then its first 16 MiB and
    /// those at its old end are read, and what is new: a value further in that was changed in place goes unnoticed, until
    /// every byte is read again. Rows with a primary key are always read and compared in full.
    #[arg(long, value_enum, default_value_t = CheckName::Touched, value_name = "CHECK")]
    check: CheckName,
    /// Move the name even if it leads to something that is not part of the dataset's history, or begin one anew under a key
    /// that is here
    #[arg(long)]
    force: bool,
    /// Return once announced instead of serving: others get the rows once `odfs node` runs
    #[arg(long)]
    exit: bool,
    /// End with 9 if fewer other machines than this know the name in the end; the rows are taken all the same
    #[arg(long, value_name = "N", requires = "exit")]
    require_holders: Option<usize>,
    /// Serve until other machines have the dataset and this one may be off, then end
    ///
    /// A stranger to this machine looks for the name, and each machine that it finds is asked for blocks chosen by chance. The
    /// command ends with 9 if that does not come about within --timeout.
    #[arg(long, conflicts_with = "exit")]
    until_safe: bool,
    /// How many other machines must have it [default: 1]
    #[arg(long, value_name = "N", requires = "until_safe", value_parser = clap::value_parser!(u16).range(1..))]
    copies: Option<u16>,
    /// How long --until-safe waits, such as 10m or 12h [default: as long as it takes]
    #[arg(long, value_name = "TIME", requires = "until_safe", value_parser = waiting_time)]
    timeout: Option<Duration>,
    #[command(flatten)]
    report: ReportArgs,
}

/// How long a command waits.
fn waiting_time(text: &str) -> Result<Duration, String> {
    duration_of(text).ok_or_else(|| "a time such as 30s, 10m or 12h is expected".to_owned())
}

impl PublishArgs {
    /// Which dataset is meant.
    fn asked(&self) -> Result<Asked<'_>, Failure> {
        let apart = self.target.as_ref().is_some_and(|target| target.as_str() == NEW);
        let name = match (&self.name, self.target.as_ref().filter(|_| !apart)) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("--name and --as both name the dataset").next("leave one of them out"));
            }
            (name, target) => name.as_ref().or(target),
        };
        Ok(Asked {
            name,
            apart,
            force: self.force,
            peers: &self.peers,
        })
    }

    /// The merge strategy that is asked for; none if only a key is, which leaves the strategy as it is. An append has no use
    /// for a key that nobody named.
    fn merge(&self, key: &[String]) -> Result<Option<MergeStrategy>, MergeOptionError> {
        let Some(merge) = self.merge.as_deref() else {
            return Ok(None);
        };
        let key = match self.primary_key.is_empty() && merge.eq_ignore_ascii_case("append") {
            true => Vec::new(),
            false => key.to_vec(),
        };
        merge_option(Some(merge), key)
    }

    /// How types are found out.
    fn found_types(&self) -> ReadOptions {
        ReadOptions {
            decimal: self.decimal,
            cut_times: self.cut_times,
            ..ReadOptions::default()
        }
    }
}

/// A way to look at what was taken earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckName {
    /// Every byte, unless the file was not touched at all since that was last done
    Touched,
    /// Its beginning and its end, if the file is the same one and has grown
    Quick,
    /// Every byte
    Full,
}

impl From<CheckName> for Check {
    fn from(name: CheckName) -> Self {
        match name {
            CheckName::Touched => Check::Touched,
            CheckName::Quick => Check::Quick,
            CheckName::Full => Check::Full,
        }
    }
}

/// The types that `--schema` declares.
#[derive(Clone, Debug, Default)]
pub(super) struct Types(pub(super) Vec<ColumnType>);

pub(super) fn parse_types(text: &str) -> Result<Types, DdlError> {
    ingest::parse_types(text).map(Types)
}

pub(super) fn run(args: &PublishArgs, session: &Session, io: &mut Io) -> Result<After, Failure> {
    match args.merge(&args.primary_key) {
        // The dataset may have one.
        Ok(_) | Err(MergeOptionError::KeyMissing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let description = args.describe.read(io)?;
    let input = Input::open(&args.source, args.found_types(), session, io)?;
    let asked = args.asked()?;
    let target = target::choose(&asked, &input, session, io)?;
    let key = match args.primary_key.is_empty() {
        true => recorded_key(&target, session)?,
        false => args.primary_key.clone(),
    };
    let options = ingest::Options {
        merge: args.merge(&key)?,
        primary_key: args.primary_key.clone(),
        event_time: args.event_time.clone(),
        types: args.schema.clone().unwrap_or_default().0,
        changed: if args.append_all {
            Changed::TakeAll
        } else {
            Changed::Refuse
        },
        finished: args.finished,
        check: args.check.into(),
        add_columns: args.add_columns,
        retracting: match io.assumes_yes() {
            true => Retracting::Any,
            false => Retracting::Unasked,
        },
        slice: session.settings().slice_options(),
        events: description.events(None, &[])?,
        ..ingest::Options::default()
    };

    let Took {
        dataset,
        grown,
        effect,
        turn,
    } = take(&target, &asked, &input, options, &description, session, io)?;
    if let Some(place) = input.place() {
        origins::remember(session.workspace()?.store(), place, &dataset.id(), &dataset.name()?)?;
    }
    let key = own_key(&dataset, session)?;
    let stays = !args.exit || session.is_lasting();
    // What publishes over something else, or has nothing new, is not one of many; nor is it where holders are counted.
    let is_counted = args.require_holders.is_some() || args.until_safe;
    let due = match grown.as_ref().filter(|_| !args.force && !is_counted) {
        Some(_) => batch::leave(&dataset, Wanted::Name, session)?,
        None => None,
    };
    let announcement = match due {
        Some(due) => Announcement::left(session, &dataset, &key, due, stays)?,
        None => Announcement::make(session, &dataset, &key, args.force, stays, io)
            .map_err(|failure| not_announced(failure, grown.as_ref()))?,
    };
    drop(turn);
    if grown.as_ref().is_none_or(|grown| grown.old_head.is_some()) {
        let of_types = [("--decimal", args.decimal), ("--cut-times", args.cut_times)];
        reading::say_recorded(&args.source, of_types, &dataset, io)?;
    }
    let demand = args.until_safe.then(|| Demand {
        copies: usize::from(args.copies.unwrap_or(1)),
        timeout: args.timeout,
    });
    // Programs get one object, at the end; people see now by what name others get it.
    let in_one = args.report.output == ReportFormat::Json;
    let mut safe = None;
    if let Some(demand) = demand.as_ref().filter(|_| in_one) {
        safe = Some(announcement.until_safe(demand, session, io)?);
    }
    announcement.report(
        &dataset,
        grown.as_ref(),
        &effect,
        safe.as_ref(),
        args.report,
        session,
        io,
    )?;
    say_passed_over(&dataset, &effect, args.source.table(), session, io)?;
    if let Some(demand) = &demand {
        let safe = safe.map_or_else(|| announcement.until_safe(demand, session, io), Ok)?;
        if !in_one {
            io.finish()?;
        }
        safety::say_copies(demand, &safe, &dataset, io)?;
        return Ok(After::Done);
    }
    if args.exit {
        return match args.require_holders.zip(announcement.holders()) {
            Some((wanted, holders)) if holders < wanted => Err(Failure::new(
                Kind::Unreachable,
                format!("{holders} other machine(s) know the name, and {wanted} are required"),
            )
            .next(format!(
                "the rows are taken; when peers are in reach, `odfs push {}` announces them again",
                dataset.name()?
            ))),
            _ => Ok(After::Done),
        };
    }
    if session.is_lasting() {
        io.say("the node that runs on this workspace serves it");
        return Ok(After::Done);
    }
    Ok(After::Serve { gateway: None })
}

/// Where rows were taken before it turned out that the name cannot be moved to them, says so.
fn not_announced(failure: Failure, grown: Option<&Grown>) -> Failure {
    match grown {
        Some(grown) if failure.kind() == Kind::Refused => {
            let rows = output::count(grown.rows);
            failure.about(format!("{rows} row(s) were taken here, and not announced"))
        }
        _ => failure,
    }
}

/// What came of a table.
struct Took {
    dataset: Dataset,
    /// What was added, if anything was.
    grown: Option<Grown>,
    /// What its rows did, or would have done.
    effect: Effect,
    /// The turn at changing the dataset.
    turn: Turn,
}

/// Takes the new rows into the dataset, making it if there is none. The turn at changing it is still on: its head is to be
/// announced before others move it.
fn take(
    target: &Target,
    asked: &Asked<'_>,
    input: &Input,
    mut options: ingest::Options,
    description: &Description<'_>,
    session: &Session,
    io: &mut Io,
) -> Result<Took, Failure> {
    let workspace = session.workspace()?;
    let (mut making, mut turn) = (None, None);
    let mut dataset = None;
    if let Target::Named(name) = target {
        dataset = find(name, session)?;
    }
    if dataset.is_none() {
        making = Some(session.making());
        if let Target::Named(name) = target {
            dataset = find(name, session)?;
        }
    }
    if let Some(mut dataset) = dataset {
        making = None;
        let name = dataset.name()?;
        if let Some(alias) = pulled_from(&dataset, session)? {
            return Err(Failure::new(
                Kind::Refused,
                format!("{name} is pulled from {alias}; rows are added there"),
            )
            .next(format!(
                "publish under another name with --name, or update it with `odfs pull {name}`"
            )));
        }
        // Before anything is appended that could not be announced.
        own_key(&dataset, session)?;
        turn = Some(session.turn(&mut dataset, io)?);
        if !asked.force {
            check_newest(&dataset, asked.peers, Change::Publish, session, io)?;
        }
        if !io.assumes_yes() {
            options.superseded = superseded(&dataset, options.merge.as_ref())?;
        }
    }
    let is_named = options.event_time.is_some();
    let source = input.source();
    let (mut dataset, growth) = loop {
        let (now, watch) = (io.now()?, &mut watch(io));
        let taken = match target {
            Target::Named(name) => workspace.take(name, source, &options, now, watch),
            Target::Keyed(name, id) => workspace.take_new(*id, name, source, &options, now, watch),
            Target::Apart(name) => workspace.take_apart(name, source, &options, now, watch),
        };
        match taken {
            Ok(taken) => break taken,
            Err(error) => may_go(error, source.name(), &mut options, io)?,
        }
    };
    drop(making);
    let turn = match turn {
        Some(turn) => turn,
        None => session.turn(&mut dataset, io)?,
    };
    let (grown, effect) = match growth {
        Growth::UpToDate(effect) => (None, effect),
        Growth::Grown(grown) => {
            let effect = grown.effect;
            (Some(grown), effect)
        }
    };
    if grown.as_ref().is_none_or(|grown| grown.old_head.is_some()) {
        // A new dataset says it from its beginning.
        describe(&mut dataset, description, io)?;
    }
    if let Some(bytes) = waiting(input.source(), dataset.state().source_state.as_ref()) {
        io.say(format_args!(
            "The last line of {} waits for its line break ({}); --final takes it as it is",
            input.source().name(),
            output::bytes(bytes)
        ));
    }
    if grown.as_ref().is_some_and(|grown| grown.old_head.is_none()) {
        show_schema(&dataset, io)?;
        reading::say_header(input, &dataset, io);
        if let Some(separator) = input.found_separator()? {
            io.say(format_args!(
                "The columns of {} are separated by {separator}, as its header shows; --separator says otherwise",
                input.source().name()
            ));
        }
    }
    if let Some(grown) = &grown {
        let hint = match grown.old_head {
            None if !is_named => "; --event-time names the column that has it",
            _ => "",
        };
        say_filled(&dataset, grown.without_event_time, hint, io);
    }
    if let Some(grown) = &grown {
        say_notes(&grown.notes, io);
    }
    Ok(Took {
        dataset,
        grown,
        effect,
        turn,
    })
}

/// The columns that identify a row in the dataset that is meant; none where there is none yet, or it has no key.
fn recorded_key(target: &Target, session: &Session) -> Result<Vec<String>, Failure> {
    let Target::Named(name) = target else {
        return Ok(Vec::new());
    };
    let dataset = find(name, session)?;
    let merge = dataset.as_ref().and_then(|dataset| dataset.state().merge_strategy());
    Ok(merge.map(|merge| merge.primary_key().to_vec()).unwrap_or_default())
}

/// How far a file had been taken when rows came in another way, by a restore or an ingest: none where they did not, or where
/// the rows of the same file, which is published with `merge`, undo nothing.
fn superseded(dataset: &Dataset, merge: Option<&MergeStrategy>) -> Result<Option<SourceState>, Failure> {
    let is_prefix = |state: &SourceState| state.kind == STATE_KIND;
    let merge = merge.or(dataset.state().merge_strategy());
    if dataset.state().source_state.as_ref().is_some_and(is_prefix)
        || matches!(merge, None | Some(MergeStrategy::Append | MergeStrategy::Ledger { .. }))
    {
        return Ok(None);
    }
    for stored in dataset.blocks()?.rev() {
        if let MetadataEvent::AddData(added) = stored?.block.into_block().event
            && let Some(state) = added.new_source_state.filter(is_prefix)
        {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Appends what the dataset is to say of itself, where that is something else than it says.
fn describe(dataset: &mut Dataset, description: &Description<'_>, io: &Io) -> Result<(), Failure> {
    let events = description.events(Some(dataset), &[])?;
    if !events.is_empty() {
        let time = io.now()?.max(dataset.state().system_time);
        dataset.append_events(events, time, None)?;
    }
    Ok(())
}

/// Says what there is to be said of columns.
pub(super) fn say_notes(notes: &[ColumnNote], io: &mut Io) {
    for ColumnNote { column, note } in notes {
        io.say(format!("{column}: {note}"));
    }
}

/// Says how many rows of the last block got the time of the command as their event time, if any.
pub(super) fn say_filled(dataset: &Dataset, rows: u64, hint: &str, io: &mut Io) {
    if rows > 0 {
        let system_time = dataset.state().system_time;
        io.say(format_args!(
            "{} row(s) have no event time and get the time of this command, {}{hint}",
            output::count(rows),
            // Rows have milliseconds.
            Timestamp::from_millis(system_time.millis()).unwrap_or(system_time)
        ));
    }
}

fn find(name: &DatasetName, session: &Session) -> Result<Option<Dataset>, Failure> {
    let catalog = session.workspace()?.catalog();
    let found = catalog.named(name)?.map(|entry| catalog.open_entry(&entry));
    Ok(found.transpose()?)
}

/// The dataset's own key, if it is here.
pub(super) fn own_key(dataset: &Dataset, session: &Session) -> Result<Keypair, Failure> {
    let missing = || {
        let name = dataset
            .name()
            .map_or_else(|_| dataset.id().to_string(), |name| name.to_string());
        Failure::new(Kind::Refused, format!("the key of {name} is not in this workspace")).next(format!(
            "`odfs push {name} --to ipns://KEY` publishes it under a key of yours (`odfs key list`)"
        ))
    };
    session.workspace()?.key_of(&dataset.id()).ok_or_else(missing)
}

fn show_schema(dataset: &Dataset, io: &mut Io) -> Result<(), Failure> {
    let Some(schema) = dataset.state().schema.as_ref().and_then(|event| event.schema.as_ref()) else {
        return Ok(());
    };
    let mut rows = Rows::new(vec!["Column".to_owned(), "Type".to_owned()], vec![false, false]);
    for field in &schema.fields {
        let (data_type, optional) = type_in_words(field);
        rows.push(vec![
            field.name.clone(),
            if optional {
                format!("{data_type}, optional")
            } else {
                data_type
            },
        ]);
    }
    let text = rows.table(io.terminal());
    io.say(text);
    Ok(())
}

/// Shows the progress of an ingest, and ends it when the user wants to stop.
pub(super) fn watch(io: &Io) -> impl FnMut(Progress) -> ControlFlow<()> + use<> {
    let (cancel, progress) = (io.cancel().clone(), io.progress().clone());
    move |at: Progress| {
        progress.show(|| step(&at));
        if cancel.is_set() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

fn step(at: &Progress) -> Step {
    let doing = match at.phase {
        Phase::Checking => "looking at the file",
        Phase::Inferring => "finding out the types of columns",
        Phase::Reading => "reading rows",
        // How much there is to do is not known, but that it goes on is.
        Phase::Comparing | Phase::Writing => {
            let doing = match at.phase {
                Phase::Writing => "writing rows",
                _ => "comparing rows with those that are there",
            };
            return Step {
                text: format!("{doing}: {}", output::count(at.rows)),
                ..Step::default()
            };
        }
    };
    let rows = match at.rows {
        0 => String::new(),
        rows => format!(", {} rows", output::count(rows)),
    };
    Step {
        text: format!(
            "{doing}: {} of {}{rows}",
            output::bytes(at.bytes),
            output::bytes(at.total_bytes),
        ),
        done: at.bytes,
        total: Some(at.total_bytes),
    }
}
