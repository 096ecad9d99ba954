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

use std::io::Read;

use sha2::{Digest, Sha256};

use super::chunks::{Rule, end_of_rows, line_breaks};
use super::source::{Format, OnProgress, Phase, Problem, Source, SourceError, Span, report};
use super::{delimited, json};
use odf_metadata::{DEFAULT_SOURCE, Multihash, SourceState};

/// `kind` of the source state.
pub const STATE_KIND: &str = "odfs/prefix";

const SHA2_256: u64 = 0x12;
const BUFFER_BYTES: usize = 1 << 20;

/// The part of a file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Format the bytes were read as.
    pub format: Format,
    /// How many bytes.
    pub length: u64,
    /// sha2-256 of them.
    pub hash: Multihash,
}

impl Taken {
    /// The form that goes into the chain.
    pub fn to_state(&self) -> SourceState {
        SourceState {
            source_name: DEFAULT_SOURCE.to_owned(),
            kind: STATE_KIND.to_owned(),
            value: format!("{} {} {}", self.format, self.length, self.hash),
        }
    }

    /// Reads a state back; none if it is of another kind or nothing this program wrote.
    pub fn from_state(state: &SourceState) -> Option<Taken> {
        if state.kind != STATE_KIND || state.source_name != DEFAULT_SOURCE {
            return None;
        }
        let mut words = state.value.split(' ');
        let format = Format::ALL
            .into_iter()
            .find(|f| Some(f.name()) == words.clone().next())?;
        words.next();
        let length = words.next()?.parse().ok()?;
        let hash: Multihash = words.next()?.parse().ok()?;
        (words.next().is_none() && hash.code() == SHA2_256).then_some(Taken { format, length, hash })
    }
}

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

/// Hashes the file up to its present end, reading it once, and compares it with what was taken earlier.
pub fn compare(
    source: &Source,
    earlier: Option<&Taken>,
    growth: Growth,
    progress: &mut OnProgress<'_>,
) -> Result<Comparison, SourceError> {
    let end = source.len()?;
    if end == 0 {
        return Err(source.error(Problem::Empty));
    }
    let grows = source.format().grows();
    let mut reading = Reading::open(source, end)?;
    let Some(earlier) = earlier else {
        let whole = Span { start: 0, line: 0, end };
        let end = match growth {
            Growth::Going if grows => end_of_rows(source, whole, rule(source)?)?,
            _ => end,
        };
        if end == 0 {
            return Ok(Comparison::Waits);
        }
        let span = Span { end, ..whole };
        return reading
            .taken(end, progress)
            .map(|taken| Comparison::Fresh { span, taken });
    };
    let kept = match earlier.length {
        0 => false,
        length if length > end => false,
        length => {
            reading.to(length, progress)?;
            reading.hash()? == earlier.hash
        }
    };
    if kept && earlier.length == end {
        return Ok(Comparison::Same);
    }
    if !kept || !grows || earlier.format != source.format() {
        return reading.taken(end, progress).map(|taken| Comparison::Changed { taken });
    }
    let next = reading.peek()?;
    let (start, line) = (reading.at, reading.lines(next));
    let rule = rule(source)?;
    let begins_a_row = matches!((rule, next), (Rule::Records { separator }, Some(next)) if next == separator);
    if !matches!(reading.last, b'\n' | b'\r') && !matches!(next, Some(b'\n' | b'\r')) && !begins_a_row {
        return reading.taken(end, progress).map(|taken| Comparison::WentOn { taken });
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

/// How many bytes of a file that grew wait because nothing ends their line, once everything else is taken: `state` is that
/// of the dataset. None if nothing waits.
pub fn waiting(source: &Source, state: Option<&SourceState>) -> Option<u64> {
    let taken = Taken::from_state(state?)?;
    let length = source.len().ok()?;
    (source.format() == taken.format && taken.format.grows() && length > taken.length).then(|| length - taken.length)
}

/// Where rows of the file end.
fn rule(source: &Source) -> Result<Rule, SourceError> {
    match source.format() {
        Format::Csv => Ok(delimited::rule(source)),
        _ => json::rule(source),
    }
}

/// A file being hashed from its beginning.
struct Reading<'a> {
    source: &'a Source,
    input: Box<dyn super::source::Input>,
    hasher: Sha256,
    buffer: Vec<u8>,
    at: u64,
    end: u64,
    /// Line breaks so far, but for a carriage return at the very end.
    lines: u64,
    last: u8,
}

impl<'a> Reading<'a> {
    fn open(source: &'a Source, end: u64) -> Result<Reading<'a>, SourceError> {
        let input = source.open_at(0)?;
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Reading {
            source,
            input,
            hasher: Sha256::new(),
            buffer,
            at: 0,
            end,
            lines: 0,
            last: 0,
        })
    }

    fn to(&mut self, target: u64, progress: &mut OnProgress<'_>) -> Result<(), SourceError> {
        while self.at < target {
            let most = usize::try_from(target - self.at)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let read = self
                .input
                .read(&mut self.buffer[..most])
                .map_err(|e| self.source.error(Problem::Io(e)))?;
            if read == 0 {
                let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter meanwhile");
                return Err(self.source.error(Problem::Io(error)));
            }
            let bytes = &self.buffer[..read];
            self.hasher.update(bytes);
            self.lines += u64::from(self.last == b'\r' && bytes[0] != b'\n');
            self.last = bytes[read - 1];
            // A carriage return at the end counts when it is known what follows.
            self.lines += line_breaks(bytes, (self.last == b'\r').then_some(b'\n'));
            self.at += read as u64;
            report(self.source, progress, Phase::Checking, self.at, self.end, 0)?;
        }
        Ok(())
    }

    /// Line breaks so far, where `next` is the byte that follows.
    fn lines(&self, next: Option<u8>) -> u64 {
        self.lines + u64::from(self.last == b'\r' && next != Some(b'\n'))
    }

    /// The byte that follows.
    fn peek(&self) -> Result<Option<u8>, SourceError> {
        let mut next = [0];
        let read = self.source.open_at(self.at)?.read(&mut next);
        let read = read.map_err(|error| self.source.error(Problem::Io(error)))?;
        Ok((read == 1).then_some(next[0]))
    }

    /// What is taken of the file once its first `length` bytes are.
    fn taken(&mut self, length: u64, progress: &mut OnProgress<'_>) -> Result<Taken, SourceError> {
        self.to(length, progress)?;
        Ok(Taken {
            format: self.source.format(),
            length,
            hash: self.hash()?,
        })
    }

    /// Hash of everything so far.
    fn hash(&self) -> Result<Multihash, SourceError> {
        let digest = self.hasher.clone().finalize();
        Multihash::wrap(SHA2_256, &digest).map_err(|e| self.source.error(Problem::Syntax(e.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use bytes::Bytes;

    use super::*;
    use crate::source::ReadOptions;

    fn source(text: &str, format: Format) -> Source {
        Source::bytes(
            "t",
            Bytes::copy_from_slice(text.as_bytes()),
            format,
            ReadOptions::default(),
        )
    }

    fn state_of(text: &str, format: Format) -> Taken {
        match compare(&source(text, format), None, Growth::Open, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
        {
            Comparison::Fresh { taken, .. } => taken,
            other => panic!("{other:?}"),
        }
    }

    fn after(old: &str, new: &str, format: Format) -> Comparison {
        seen_after(old, new, format, Growth::Open)
    }

    fn seen_after(old: &str, new: &str, format: Format, growth: Growth) -> Comparison {
        let taken = state_of(old, format);
        assert_eq!(
            Taken::from_state(&taken.to_state()),
            Some(taken.clone()),
            "the state survives the chain"
        );
        let progress = &mut |_| ControlFlow::Continue(());
        compare(&source(new, format), Some(&taken), growth, progress).unwrap()
    }

    #[test]
    fn a_file_is_the_same_longer_or_another() {
        let old = "a\n1\n2\n";
        assert_eq!(after(old, old, Format::Csv), Comparison::Same);
        let Comparison::Grew { span, taken } = after(old, "a\n1\n2\n3\n", Format::Csv) else {
            panic!("it grew")
        };
        assert_eq!(
            span,
            Span {
                start: 6,
                line: 3,
                end: 8
            }
        );
        assert_eq!(taken, state_of("a\n1\n2\n3\n", Format::Csv));
        for changed in ["a\n1\n3\n", "a\n1\n", "b\n1\n2\n3\n", "a"] {
            assert!(
                matches!(after(old, changed, Format::Csv), Comparison::Changed { .. }),
                "{changed:?}"
            );
        }
    }

    #[test]
    fn a_last_line_that_was_taken_may_be_followed_but_not_lengthened() {
        for new in ["a\n1\n2\n", "a\n1\r\n2\r\n", "a\n1\r2\r"] {
            assert!(
                matches!(after("a\n1", new, Format::Csv), Comparison::Grew { .. }),
                "{new:?}"
            );
        }
        for (old, new, format) in [
            ("a\n1", "a\n12\n", Format::Csv),
            ("a\n1", "a\n12", Format::Csv),
            ("{\"a\":1}", "{\"a\":1} {\n", Format::Ndjson),
        ] {
            assert!(matches!(after(old, new, format), Comparison::WentOn { .. }), "{new:?}");
        }
    }

    /// Where the new part of `new` ends.
    fn taken_to(old: &str, new: &str, format: Format, growth: Growth) -> Option<u64> {
        match seen_after(old, new, format, growth) {
            Comparison::Grew { span, taken } => {
                assert_eq!((span.start, span.end), (old.len() as u64, taken.length));
                let until = usize::try_from(taken.length).unwrap();
                assert_eq!(taken, state_of(&new[..until], format));
                Some(span.end)
            }
            Comparison::Waits => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_last_line_waits_for_its_end() {
        let old = "a,b\n1,x\n";
        for (more, ends) in [
            ("2", None),
            ("2,y\n3,", Some(4)),
            ("2,y\r\n3,z", Some(5)),
            ("2,y\r3,z", Some(4)),
            ("2,y\n3,z\n", Some(8)),
            // The line feed is in quotes, so nothing ends the row.
            ("2,\"y\n", None),
            ("2,y\n3,\"z\n4,\"\n5,\"", Some(13)),
        ] {
            let new = format!("{old}{more}");
            let wanted = ends.map(|ends| (old.len() + ends) as u64);
            assert_eq!(taken_to(old, &new, Format::Csv, Growth::Open), wanted, "{more:?}");
            let all = Some(new.len() as u64);
            assert_eq!(taken_to(old, &new, Format::Csv, Growth::Finished), all, "{more:?}");
        }
        // Of a sequence the last text is ended by a line feed, as RFC 7464 has it, and those before it by the next one.
        let old = "\u{1e}{\"a\":1}\n";
        for (more, ends) in [
            ("\u{1e}{\"a\":", None),
            ("\u{1e}{\"a\":2}\n", Some(9)),
            ("\u{1e}{\"a\":2}\n\u{1e}{\"a", Some(9)),
        ] {
            let new = format!("{old}{more}");
            let wanted = ends.map(|ends| (old.len() + ends) as u64);
            assert_eq!(taken_to(old, &new, Format::Ndjson, Growth::Open), wanted, "{more:?}");
        }
        let (old, new) = ("\u{1e}{\"a\":1}", "\u{1e}{\"a\":1}\u{1e}{\"a\":2}\n");
        assert_eq!(taken_to(old, new, Format::Ndjson, Growth::Open), Some(new.len() as u64));
        let old = "{\"a\":1}\n";
        let new = format!("{old}{{\"a\":2}}");
        assert_eq!(taken_to(old, &new, Format::Ndjson, Growth::Open), None);
        assert_eq!(
            taken_to(old, &format!("{new}\n"), Format::Ndjson, Growth::Open),
            Some(16)
        );
    }

    #[test]
    fn a_file_that_was_seen_to_grow_is_taken_up_to_its_last_whole_line() {
        let first = |text: &str, growth| {
            let progress = &mut |_| ControlFlow::Continue(());
            compare(&source(text, Format::Csv), None, growth, progress).unwrap()
        };
        let end = |comparison| match comparison {
            Comparison::Fresh { span, taken } => (span.end, taken.length),
            other => panic!("{other:?}"),
        };
        assert_eq!(end(first("a\n1\n2", Growth::Open)), (5, 5));
        assert_eq!(end(first("a\n1\n2", Growth::Going)), (4, 4));
        assert_eq!(first("a", Growth::Going), Comparison::Waits);
    }

    #[test]
    fn lines_are_counted_however_they_end() {
        for (text, lines) in [("a\n1\n", 2), ("a\r\n1\r\n", 2), ("a\r1\r", 2), ("a\r1\r\n\r", 3)] {
            let Comparison::Grew { span, .. } = after(text, &format!("{text}2\n"), Format::Csv) else {
                panic!("{text:?}")
            };
            assert_eq!(span.line, lines, "{text:?}");
        }
    }

    #[test]
    fn only_line_formats_grow() {
        assert!(matches!(
            after("[{}]", "[{}]\n[{}]", Format::Json),
            Comparison::Changed { .. }
        ));
        assert!(matches!(
            after("{}\n", "{}\n{}\n", Format::Ndjson),
            Comparison::Grew { .. }
        ));
    }

    #[test]
    fn states_of_others_are_not_ours() {
        let ours = state_of("a\n1\n", Format::Csv).to_state();
        for (kind, value) in [
            ("odf/etag", ours.value.clone()),
            (STATE_KIND, format!("{} more", ours.value)),
            (STATE_KIND, ours.value.replace("csv", "xls")),
            (STATE_KIND, ours.value.replace("f1220", "f1620")),
            (STATE_KIND, String::new()),
        ] {
            let state = SourceState {
                source_name: DEFAULT_SOURCE.to_owned(),
                kind: kind.to_owned(),
                value,
            };
            assert_eq!(Taken::from_state(&state), None, "{state:?}");
        }
    }
}
