//! How far a file was taken, kept in the chain so that the next publish goes on where this one ended.
//!
//! The state is an ordinary ODF source state, `AddData.new_source_state`:
//! `{sourceName: default, kind: odfs/prefix, value: "<format> <length> <multihash>"}`, where length counts the bytes taken
//! and the multihash (sha2-256, text form `f1220…`) is of exactly those bytes. A file whose first bytes still hash to it
//! was not changed there, and whatever follows is new.
//!
//! # The last line
//! A file that is published for the first time is taken whole, also a last line that nothing ends: most such files are
//! finished, and their last row must not be lost. A file that has grown since is one that is being written: a last line
//! that nothing ends [waits](Comparison::Waits) for its end, unless somebody says that the file is finished. When a line
//! that was taken unended goes on, its row was half a row: the file has [not kept](Comparison::WentOn) what was taken.
//!
//! # Cost
//! The hash of a file need not begin at its beginning: marks beside the dataset say where it stood after each 16 MiB. How
//! much of what was taken is read again depends on the [`Check`]. A file that was read to the last byte and not touched
//! since, by all that the file system says, is believed to be as it was. That a file which was touched has only grown, no
//! file system says: it is read whole, unless somebody vouches for it ([`Check::Quick`]). Then nothing in the chain tells
//! the difference, unless the middle was changed: the chain says what was taken and not what is there now, and the next look
//! at every byte finds it. What the marks say is never believed against the chain: the hash that they lead to at the old
//! end must be the one that the chain has.
//!
//! Growth is believed only where nothing but the new part is taken. What is taken whole is hashed whole, so that the state
//! in the chain is always of the very bytes whose rows are there.

use super::chunks::{Rule, end_of_rows};
use super::source::{Fingerprint, Format, OnProgress, Problem, Source, SourceError, Span};
use super::{delimited, json};
use odf_metadata::SourceState;

mod marks;
mod memory;
mod reading;
mod state;

pub use marks::Change;
pub use memory::{Check, Memory};
pub use state::{STATE_KIND, Taken};

use reading::Reading;

/// Name of the file that remembers how a file was taken, in the directory of a dataset.
pub const MARKS_FILE: &str = "marks";

/// How a file relates to what was taken of it earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Nothing was taken yet: everything is new.
    Fresh {
        /// The whole file.
        span: Span,
        /// The state after taking it.
        taken: Taken,
    },
    /// The same bytes.
    Same,
    /// The old bytes and more behind them.
    Grew {
        /// The new part.
        span: Span,
        /// The state after taking it.
        taken: Taken,
    },
    /// The old bytes, and behind them only a line that nothing ends yet.
    Waits,
    /// The old bytes, of which the last line goes on.
    WentOn {
        /// The state after taking the whole file.
        taken: Taken,
    },
    /// Other bytes.
    Changed {
        /// The state after taking the whole file.
        taken: Taken,
        /// Where the old bytes are others.
        change: Change,
    },
}

/// What is known of a file apart from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It may be finished or not.
    Open,
    /// It was seen to grow: a last line that nothing ends is not taken.
    Going,
    /// It is finished: a last line is taken though nothing ends it.
    Finished,
}

/// Hashes the file up to its present end and compares it with what was taken earlier. It is read once; where `memory` has
/// reason to believe that what was taken is as it was, the middle of that is not read at all, and the state comes out the
/// same.
pub fn compare(
    source: &Source,
    earlier: Option<&Taken>,
    growth: Growth,
    memory: &mut Memory,
    progress: &mut OnProgress<'_>,
) -> Result<Comparison, SourceError> {
    let opened = source.open()?;
    if opened.length == 0 {
        return Err(source.error(Problem::Empty));
    }
    let seen = opened.fingerprint;
    let mut reading = Reading::new(source, opened.input, opened.length, memory.chunk());
    let comparison = match earlier {
        None => first(source, growth, &mut reading, progress)?,
        Some(earlier) => {
            let kept = is_kept(earlier, memory, seen.as_ref(), &mut reading, progress)?;
            match kept {
                true => beyond(source, earlier, growth, &mut reading, progress)?,
                false => {
                    let taken = reading.whole(progress)?;
                    let change = memory.change(&earlier.to_state().value, earlier.length, &reading);
                    Comparison::Changed { taken, change }
                }
            }
        }
    };
    let now = match &comparison {
        Comparison::Fresh { taken, .. }
        | Comparison::Grew { taken, .. }
        | Comparison::WentOn { taken }
        | Comparison::Changed { taken, .. } => Some(taken),
        Comparison::Same | Comparison::Waits => earlier,
    };
    if let Some(now) = now {
        memory.note(seen, now.to_state().value, reading);
    }
    Ok(comparison)
}

/// A file of which nothing was taken.
fn first(
    source: &Source,
    growth: Growth,
    reading: &mut Reading<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<Comparison, SourceError> {
    let whole = Span {
        start: 0,
        line: 0,
        end: reading.end,
    };
    let end = match growth {
        Growth::Going if source.format().grows() => end_of_rows(source, whole, rule(source)?)?,
        _ => whole.end,
    };
    if end == 0 {
        return Ok(Comparison::Waits);
    }
    let taken = reading.taken(end, progress)?;
    Ok(Comparison::Fresh {
        span: Span { end, ..whole },
        taken,
    })
}

/// A file that has kept what was taken of it, up to where `reading` is.
fn beyond(
    source: &Source,
    earlier: &Taken,
    growth: Growth,
    reading: &mut Reading<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<Comparison, SourceError> {
    if earlier.length == reading.end {
        return Ok(Comparison::Same);
    }
    if !may_grow(source, earlier) {
        return Ok(Comparison::Changed {
            taken: reading.whole(progress)?,
            change: Change::Somewhere,
        });
    }
    let next = reading.peek()?;
    let (start, line, end) = (reading.at, reading.lines(next), reading.end);
    let rule = rule(source)?;
    let begins_a_row = matches!((rule, next), (Rule::Records { separator }, Some(next)) if next == separator);
    if !matches!(reading.last, b'\n' | b'\r') && !matches!(next, Some(b'\n' | b'\r')) && !begins_a_row {
        let taken = reading.whole(progress)?;
        return Ok(Comparison::WentOn { taken });
    }
    let new = Span { start, line, end };
    let end = match growth {
        Growth::Finished => end,
        Growth::Open | Growth::Going => end_of_rows(source, new, rule)?,
    };
    if end == start {
        return Ok(Comparison::Waits);
    }
    let taken = reading.taken(end, progress)?;
    Ok(Comparison::Grew {
        span: Span { end, ..new },
        taken,
    })
}

/// Whether only what is new of the file is taken, if it has grown.
fn may_grow(source: &Source, earlier: &Taken) -> bool {
    source.format().grows() && earlier.format == source.format()
}

/// Whether the bytes that were taken earlier are still there. The reading goes on behind them then.
fn is_kept(
    earlier: &Taken,
    memory: &Memory,
    seen: Option<&Fingerprint>,
    reading: &mut Reading<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<bool, SourceError> {
    if earlier.length == 0 || earlier.length > reading.end {
        return Ok(false);
    }
    if let Some(believed) = memory.believed(seen, earlier.length)
        && reading.skim(&believed, earlier.length, &earlier.hash, progress)?
    {
        return Ok(true);
    }
    reading.resume(&[])?;
    reading.to(earlier.length, progress)?;
    Ok(reading.hash()? == earlier.hash)
}

/// How many bytes of a file that grew wait because nothing ends their line, once everything else is taken: `state` is that
/// of the dataset, which tells of less than was read where the rest of the file had no new rows. None if nothing waits.
pub fn waiting(source: &Source, state: Option<&SourceState>) -> Option<u64> {
    let taken = Taken::from_state(state?)?;
    let length = source.len().ok()?;
    if source.format() != taken.format || !taken.format.grows() || length <= taken.length {
        return None;
    }
    let rest = Span {
        start: taken.length,
        line: 0,
        end: length,
    };
    let end = end_of_rows(source, rest, rule(source).ok()?).ok()?;
    (end < length).then(|| length - end)
}

/// Where rows of the file end.
fn rule(source: &Source) -> Result<Rule, SourceError> {
    match source.format() {
        Format::Csv => Ok(delimited::rule(source)),
        _ => json::rule(source),
    }
}

#[cfg(test)]
mod tests;
