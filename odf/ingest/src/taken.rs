//! How far a file was taken, kept in the chain so that the next publish goes on where this one ended.
//!
//! The state is an ordinary ODF source state, `AddData.new_source_state`:
//! `{sourceName: default, kind: odfs/prefix, value: "<format> <length> <multihash>"}`, where length counts the bytes taken
//! and the multihash (sha2-256, text form `f1220…`) is of exactly those bytes. A file whose first bytes still hash to it
//! was not changed there, and whatever follows is new.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::source::{Format, OnProgress, Phase, Problem, Source, SourceError, Span, report};
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
    /// Other bytes.
    Changed {
        /// The state after taking the whole file.
        taken: Taken,
    },
}

/// Hashes the file up to its present end, reading it once, and compares it with what was taken earlier.
///
/// A prefix that ends within a line counts as changed when that line went on, because its row was taken as it was.
pub fn compare(
    source: &Source,
    earlier: Option<&Taken>,
    progress: &mut OnProgress<'_>,
) -> Result<Comparison, SourceError> {
    let end = source.len()?;
    if end == 0 {
        return Err(source.error(Problem::Empty));
    }
    let mut reading = Reading::open(source, end)?;
    let kept = match earlier {
        Some(earlier) if earlier.length <= end && earlier.length > 0 => {
            reading.to(earlier.length, progress)?;
            reading.hash()? == earlier.hash
        }
        _ => false,
    };
    let (start, line, on_boundary) = (reading.at, reading.lines, matches!(reading.last, b'\n' | b'\r'));
    reading.to(end, progress)?;
    let taken = Taken {
        format: source.format(),
        length: end,
        hash: reading.hash()?,
    };
    let Some(earlier) = earlier else {
        return Ok(Comparison::Fresh {
            span: Span { start: 0, line: 0, end },
            taken,
        });
    };
    if kept && earlier.length == end {
        return Ok(Comparison::Same);
    }
    let goes_on = on_boundary || matches!(reading.after(earlier.length), Some(b'\n' | b'\r'));
    if kept && goes_on && source.format().grows() && earlier.format == source.format() {
        return Ok(Comparison::Grew {
            span: Span { start, line, end },
            taken,
        });
    }
    Ok(Comparison::Changed { taken })
}

/// A file being hashed from its beginning.
struct Reading<'a> {
    source: &'a Source,
    input: Box<dyn super::source::Input>,
    hasher: Sha256,
    buffer: Vec<u8>,
    at: u64,
    end: u64,
    lines: u64,
    last: u8,
    /// Position and value of the first byte read by each call of `to`.
    first: Option<(u64, u8)>,
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
            first: None,
        })
    }

    fn to(&mut self, target: u64, progress: &mut OnProgress<'_>) -> Result<(), SourceError> {
        let begin = self.at;
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
            if self.at == begin {
                self.first = Some((begin, bytes[0]));
            }
            self.hasher.update(bytes);
            self.lines += bytes.iter().filter(|b| **b == b'\n').count() as u64;
            self.last = bytes[read - 1];
            self.at += read as u64;
            report(self.source, progress, Phase::Checking, self.at, self.end, 0)?;
        }
        Ok(())
    }

    /// Hash of everything so far.
    fn hash(&self) -> Result<Multihash, SourceError> {
        let digest = self.hasher.clone().finalize();
        Multihash::wrap(SHA2_256, &digest).map_err(|e| self.source.error(Problem::Syntax(e.to_string())))
    }

    /// The byte at a position where a call of `to` began, if it was the last such call.
    fn after(&self, position: u64) -> Option<u8> {
        self.first.filter(|(at, _)| *at == position).map(|(_, byte)| byte)
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
        match compare(&source(text, format), None, &mut |_| ControlFlow::Continue(())).unwrap() {
            Comparison::Fresh { taken, .. } => taken,
            other => panic!("{other:?}"),
        }
    }

    fn after(old: &str, new: &str, format: Format) -> Comparison {
        let taken = state_of(old, format);
        assert_eq!(
            Taken::from_state(&taken.to_state()),
            Some(taken.clone()),
            "the state survives the chain"
        );
        compare(&source(new, format), Some(&taken), &mut |_| ControlFlow::Continue(())).unwrap()
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
    fn a_last_line_without_a_line_break_may_be_followed_but_not_lengthened() {
        assert!(matches!(
            after("a\n1", "a\n1\n2\n", Format::Csv),
            Comparison::Grew { .. }
        ));
        assert!(matches!(
            after("a\n1", "a\n1\r\n2\r\n", Format::Csv),
            Comparison::Grew { .. }
        ));
        assert!(matches!(
            after("a\n1", "a\n12\n", Format::Csv),
            Comparison::Changed { .. }
        ));
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
