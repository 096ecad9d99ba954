//! `odfs diff`: what changed in a dataset from one point of its history to another.

mod rows;
mod words;

use clap::Args;
use odf::dataset::Dataset;
use serde_json::json;

use super::as_of::find;
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;

pub(super) use rows::{Counts, count, for_table, table};
pub(super) use words::of as in_words;

/// Show what changed in a dataset: rows that were added (+), corrected (~) and retracted (-), and what is said about them
///
/// By primary key where the dataset has one: each row as it was at the first point against what it is at the second,
/// whatever was in between. A point is a block (its number or hash as `odfs log` shows them, more of the hash, or `head`), or a time
/// (RFC 3339; a date means its first moment in UTC). What changed besides rows is told on standard error.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Name or id of the dataset
    dataset: String,
    /// From here [default: before the newest change of rows]
    #[arg(value_name = "FROM")]
    from: Option<String>,
    /// To here [default: the newest block]
    #[arg(value_name = "TO")]
    to: Option<String>,
    /// Only count
    #[arg(long)]
    stat: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &DiffArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = find(&args.dataset, session)?;
    let sequence = |text: &String| -> Result<u64, Failure> { Ok(dataset.point(text)?.block.block().sequence_number) };
    let from = match &args.from {
        Some(text) => sequence(text)?,
        None => before_newest_rows(&dataset)?,
    };
    let to = match &args.to {
        Some(text) => sequence(text)?,
        None => dataset.state().sequence_number,
    };
    let (then, now) = (dataset.as_of(from)?, dataset.as_of(to)?);
    let described = words::of(then.state(), now.state())?;
    let format = args.output.format(io);
    let changes = match from <= to {
        true => now.changes_since(from, false)?,
        false => then.changes_since(to, true)?,
    };
    if args.stat {
        let counts = changes.map_or(Ok(Counts::default()), |changes| count(changes, io))?;
        return stat(&then, &now, counts, &described, format, io);
    }
    if format == Format::Table {
        io.say(format_args!(
            "{}: from {} to {}",
            dataset.name()?,
            point(&then),
            point(&now)
        ));
    }
    for line in &described {
        io.say(line);
    }
    let counts = match changes {
        Some(changes) => rows::write(changes, format, io)?,
        None => {
            if let Some(nothing) = format.nothing() {
                io.line(nothing)?;
            }
            Counts::default()
        }
    };
    if format == Format::Table {
        io.say(counts);
    }
    Ok(())
}

/// The block before the newest that brought rows; the first one if none did.
fn before_newest_rows(dataset: &Dataset) -> Result<u64, Failure> {
    for stored in dataset.blocks()?.rev() {
        let block = stored?.block.into_block();
        if block.event.new_data().is_some() {
            return Ok(block.sequence_number.saturating_sub(1));
        }
    }
    Ok(0)
}

/// A point for people.
pub(super) fn point(dataset: &Dataset) -> String {
    let state = dataset.state();
    format!(
        "{} (block {}, {})",
        state.head.short(),
        state.sequence_number,
        output::time(state.system_time.datetime())
    )
}

fn stat(
    then: &Dataset,
    now: &Dataset,
    counts: Counts,
    described: &[String],
    format: Format,
    io: &mut Io,
) -> Result<(), Failure> {
    if format == Format::Table {
        io.line(format_args!("From {} to {}: {counts}", point(then), point(now)))?;
        return described.iter().try_for_each(|line| io.line(line));
    }
    let (from, to) = (then.head().to_string(), now.head().to_string());
    if format == Format::Json {
        return io.object(&json!({
            "dataset": now.name()?.as_str(),
            "id": now.id().to_string(),
            "from": from,
            "to": to,
            "added": counts.added,
            "corrected": counts.corrected,
            "retracted": counts.retracted,
            "other": described,
        }));
    }
    let mut listing = Listing::new(&["from", "to", "added", "corrected", "retracted", "other"]);
    listing.row([
        from.into(),
        to.into(),
        Cell::count(counts.added),
        Cell::count(counts.corrected),
        Cell::count(counts.retracted),
        described.join("; ").into(),
    ]);
    listing.write(format, io)
}
