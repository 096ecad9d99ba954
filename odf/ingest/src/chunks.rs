//! Text tables of one row after the other, cut into chunks of whole rows that are worked on by several threads and come
//! back in the order of the file.
//!
//! One thread cuts. As long as a chunk of CSV has no quotes, any line break in it ends a row, which is found at the speed
//! of memory; where there are quotes, they are followed by the same rules that the parser has.

mod queue;

use std::io::Read;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use arrow::record_batch::RecordBatch;

use super::source::{Batches, Input, MAX_ROW_BYTES, Problem, Source, SourceError, Span};
use odf_tables::slice::bytes_of_rows;
use queue::{Giver, Queue};

/// How long a chunk should be. Longer rows make longer chunks, up to [`MAX_ROW_BYTES`] and one row.
const CHUNK_BYTES: usize = 1 << 20;

/// The most threads that work on chunks.
const MAX_WORKERS: usize = 8;

/// Chunks that wait for a thread, and chunks whose results wait for the caller, beyond one for each thread.
const QUEUED_CHUNKS: usize = 2;

/// Bytes of chunks that are worked on, and of results that wait for the caller. Rows of many columns with few values are much
/// longer in memory than in the file.
const QUEUED_BYTES: usize = 48 << 20;

/// The bytes that a file may begin with to say that it is UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How many lines end in `text`: with LF, CR LF or CR. `next` is the byte behind it.
pub(super) fn line_breaks(text: &[u8], next: Option<u8>) -> u64 {
    let (feeds, returns) = (count(text, b'\n'), count(text, b'\r'));
    if returns == 0 {
        return feeds as u64;
    }
    let pairs = text.windows(2).filter(|pair| *pair == b"\r\n").count();
    let split = text.last() == Some(&b'\r') && next == Some(b'\n');
    (feeds + returns - pairs - usize::from(split)) as u64
}

/// How often `byte` is in `text`.
fn count(text: &[u8], byte: u8) -> usize {
    // A sum of so few fits a byte, and then as many are compared at once as there are bytes in a register.
    let few = text.chunks(usize::from(u8::MAX));
    few.map(|few| usize::from(few.iter().map(|each| u8::from(*each == byte)).sum::<u8>()))
        .sum()
}

/// Some rows of a file.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Position of the first byte in the file.
    pub(super) start: u64,
    /// Number of lines before it.
    pub(super) line: u64,
    /// The file ends inside of quotes.
    pub(super) open: bool,
    /// How many of the bytes are rows that something ends; all but in the last chunk.
    pub(super) ended: u64,
}

/// Where rows end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// At every line feed.
    Lines,
    /// Before every separator.
    Records { separator: u8 },
    /// At every line break that is not inside of quotes.
    Quoted {
        separator: u8,
        quote: u8,
        escape: Option<u8>,
    },
}

impl Rule {
    /// How many of these bytes, which begin with a row, are whole rows; and whether they end inside of quotes.
    pub(super) fn scan(self, bytes: &[u8]) -> (usize, bool) {
        let (separator, quote, escape) = match self {
            Rule::Quoted {
                separator,
                quote,
                escape,
            } if bytes.contains(&quote) => (separator, quote, escape),
            Rule::Records { separator } => {
                let last = bytes.iter().rposition(|byte| *byte == separator);
                return (last.unwrap_or(0), false);
            }
            _ => {
                let last = |end: u8| bytes.iter().rposition(|byte| *byte == end).map(|at| at + 1);
                let plain = last(b'\n').or_else(|| if matches!(self, Rule::Lines) { None } else { last(b'\r') });
                return (plain.unwrap_or(0), false);
            }
        };
        #[derive(Clone, Copy, PartialEq)]
        enum At {
            FieldStart,
            Field,
            Quoted,
            Escaped,
            /// Behind a quote inside of quotes: the end of them, or the first half of a quote that is meant.
            Closing,
        }
        let mut at = At::FieldStart;
        let mut whole = 0;
        for (position, byte) in bytes.iter().copied().enumerate() {
            at = match at {
                At::Quoted if byte == quote => At::Closing,
                At::Quoted if Some(byte) == escape => At::Escaped,
                At::Quoted | At::Escaped => At::Quoted,
                At::FieldStart | At::Closing if byte == quote => At::Quoted,
                _ if byte == separator => At::FieldStart,
                _ if matches!(byte, b'\n' | b'\r') => {
                    whole = position + 1;
                    At::FieldStart
                }
                _ => At::Field,
            };
        }
        (whole, matches!(at, At::Quoted | At::Escaped))
    }
}

/// Cuts a part of a file.
pub(super) struct Cutter {
    source: Source,
    input: Box<dyn Input>,
    rule: Rule,
    at: u64,
    line: u64,
    end: u64,
    /// The beginning of the next chunk, read already.
    rest: Vec<u8>,
}

impl Cutter {
    /// Cuts the part `span` by `rule`.
    pub(super) fn open(source: &Source, span: Span, rule: Rule) -> Result<Cutter, SourceError> {
        Ok(Cutter {
            source: source.clone(),
            input: source.open_at(span.start)?,
            rule,
            at: span.start,
            line: span.line,
            end: span.end.max(span.start),
            rest: Vec::new(),
        })
    }

    /// The next chunk; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, SourceError> {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut wanted = CHUNK_BYTES;
        loop {
            let left = self.end - self.at - bytes.len() as u64;
            let room = wanted.saturating_sub(bytes.len());
            let more = left.min(room as u64);
            bytes.reserve(usize::try_from(more).unwrap_or(room));
            let read = self.input.by_ref().take(more).read_to_end(&mut bytes);
            let read = read.map_err(|error| self.source.error(Problem::Io(error)))? as u64;
            if bytes.is_empty() {
                return Ok(None);
            }
            let is_last = read == left || read < more;
            let content = match bytes.strip_prefix(BYTE_ORDER_MARK) {
                Some(content) if self.at == 0 => content,
                _ => &bytes,
            };
            let (whole, open) = self.rule.scan(content);
            let whole = whole + (bytes.len() - content.len()) * usize::from(whole > 0);
            // What follows ends a text of a sequence; behind the last nothing follows, and a line feed ends it.
            let ended = match self.rule {
                Rule::Records { .. } if is_last && bytes.ends_with(b"\n") => bytes.len(),
                _ => whole,
            };
            // A row that is too long goes on as it is, to be refused by who knows its line.
            if !is_last && whole == 0 && bytes.len() <= MAX_ROW_BYTES {
                wanted = wanted.saturating_mul(2);
                continue;
            }
            if !is_last && whole > 0 {
                self.rest = bytes.split_off(whole);
            }
            let chunk = Chunk {
                start: self.at,
                line: self.line,
                open: is_last && open,
                ended: ended as u64,
                bytes,
            };
            self.at += chunk.bytes.len() as u64;
            self.line += match self.rule {
                Rule::Quoted { .. } => line_breaks(&chunk.bytes, self.rest.first().copied()),
                // To JSON a carriage return is a blank.
                Rule::Lines | Rule::Records { .. } => count(&chunk.bytes, b'\n') as u64,
            };
            return Ok(Some(chunk));
        }
    }
}

/// Where the last row of the part `span` ends that is ended by something; its beginning if there is none.
pub(super) fn end_of_rows(source: &Source, span: Span, rule: Rule) -> Result<u64, SourceError> {
    let mut cutter = Cutter::open(source, span, rule)?;
    let mut end = span.start;
    while let Some(chunk) = cutter.next()? {
        if chunk.ended > 0 {
            end = chunk.start + chunk.ended;
        }
    }
    Ok(end)
}

/// What threads make of the chunks of a file, in the order of the file.
pub(super) struct Ordered<T> {
    queue: Arc<Queue<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.queue.refuse();
    }
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts as many threads as there are processors, or chunks if those are fewer. They end when all is done or the
    /// result is dropped. `work` makes one result of a chunk, which is short.
    pub(super) fn start(
        source: &Source,
        span: Span,
        rule: Rule,
        work: impl Fn(Chunk) -> Result<T, SourceError> + Send + Sync + 'static,
    ) -> Result<Ordered<T>, SourceError> {
        let work = move |chunk: Chunk, giver: &mut Giver<T>| {
            // Nobody waits for it any more once the caller has given up.
            giver.give(work(chunk)?, 0);
            Ok(())
        };
        Self::start_on(processors(), source, span, rule, work)
    }

    /// As [`Self::start`], on a machine with so many processors; `work` makes any number of results of a chunk.
    fn start_on(
        processors: usize,
        source: &Source,
        span: Span,
        rule: Rule,
        work: impl Fn(Chunk, &mut Giver<T>) -> Result<(), SourceError> + Send + Sync + 'static,
    ) -> Result<Ordered<T>, SourceError> {
        let mut cutter = Cutter::open(source, span, rule)?;
        let chunks = usize::try_from((cutter.end - cutter.at) / CHUNK_BYTES as u64 + 1).unwrap_or(usize::MAX);
        let workers = processors.min(chunks).min(MAX_WORKERS);
        let mut ordered = Ordered {
            queue: Queue::new(QUEUED_BYTES, workers + QUEUED_CHUNKS),
            threads: Vec::with_capacity(workers + 1),
        };
        let (jobs, waiting) = mpsc::sync_channel::<(Chunk, Giver<T>)>(QUEUED_CHUNKS);
        let (work, waiting) = (Arc::new(work), Arc::new(Mutex::new(waiting)));
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
            spawned.map_err(|error| source.error(Problem::Io(error)))
        };
        for _ in 0..workers {
            let (work, waiting) = (work.clone(), waiting.clone());
            let next = move || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let body = move || {
                while let Ok((chunk, mut giver)) = next() {
                    let outcome = work(chunk, &mut giver);
                    giver.finish(outcome);
                }
            };
            ordered.threads.push(spawn("parse-rows", Box::new(body))?);
        }
        let cut = Cut(ordered.queue.clone());
        let body = move || {
            let queue = &cut.0;
            loop {
                match cutter.next() {
                    Ok(None) => return,
                    Ok(Some(chunk)) => {
                        let Some(giver) = queue.begin(chunk.bytes.len(), cutter.at) else {
                            return;
                        };
                        if jobs.send((chunk, giver)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        if let Some(giver) = queue.begin(0, cutter.at) {
                            giver.finish(Err(error));
                        }
                        return;
                    }
                }
            }
        };
        ordered.threads.push(spawn("cut-rows", Box::new(body))?);
        Ok(ordered)
    }

    /// The next of what became of the chunks, and where its chunk ends in the file; none behind the last.
    pub(super) fn next(&mut self) -> Result<Option<(T, u64)>, SourceError> {
        let next = self.queue.next()?;
        if next.is_none() {
            // Threads have ended, by themselves or by a panic, which goes on here.
            self.queue.refuse();
            for thread in self.threads.drain(..) {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        Ok(next)
    }
}

/// Says that no more chunks come, however the thread that cuts them ends.
struct Cut<T>(Arc<Queue<T>>);

impl<T> Drop for Cut<T> {
    fn drop(&mut self) {
        self.0.complete();
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Rows that threads parse chunk by chunk.
pub(super) struct Chunked {
    batches: Ordered<RecordBatch>,
    bytes: u64,
}

impl Chunked {
    /// `rows` gives the rows of a chunk.
    pub(super) fn start(
        source: &Source,
        span: Span,
        rule: Rule,
        rows: impl Fn(Chunk) -> Result<Box<dyn Batches>, SourceError> + Send + Sync + 'static,
    ) -> Result<Chunked, SourceError> {
        let work = move |chunk: Chunk, giver: &mut Giver<RecordBatch>| {
            let mut rows = rows(chunk)?;
            while let Some(batch) = rows.next_batch()? {
                let bytes = bytes_of_rows(&batch, 0..batch.num_rows());
                if !giver.give(batch, bytes) {
                    break;
                }
            }
            Ok(())
        };
        Ok(Chunked {
            batches: Ordered::start_on(processors(), source, span, rule, work)?,
            bytes: span.start,
        })
    }
}

impl Batches for Chunked {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let next = self.batches.next()?;
        Ok(next.map(|(batch, end)| {
            self.bytes = end;
            batch
        }))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// All batches that there are.
#[cfg(test)]
pub(super) fn all(mut rows: impl Batches) -> Result<Vec<RecordBatch>, SourceError> {
    std::iter::from_fn(|| rows.next_batch().transpose()).collect()
}

/// Batches that are there already.
pub(super) struct Ready(pub(super) std::vec::IntoIter<RecordBatch>);

impl Batches for Ready {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        Ok(self.0.next())
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::source::{Format, ReadOptions};

    const RULE: Rule = Rule::Quoted {
        separator: b',',
        quote: b'"',
        escape: Some(b'\\'),
    };

    #[test]
    fn rows_end_at_line_breaks_outside_of_quotes() {
        for (text, whole, open) in [
            ("", 0, false),
            ("a,b", 0, false),
            ("a\nb", 2, false),
            ("a\rb", 2, false),
            ("a\r\nb", 3, false),
            ("\"a\nb\"", 0, false),
            ("\"a\nb\"\n", 6, false),
            ("x\n\"a\n", 2, true),
            ("x\n\"a\\\"\n", 2, true),
            ("x\n\"a\"\"\n", 2, true),
            ("x\n\"a\"\"\"\n", 8, false),
            // A quote inside of an unquoted field is a letter like others.
            ("5\" x\ny\n", 7, false),
            ("\"a\"b\"\nc\n", 8, false),
        ] {
            assert_eq!(RULE.scan(text.as_bytes()), (whole, open), "{text:?}");
        }
        assert_eq!(Rule::Lines.scan(b"\"a\nb\rc"), (3, false));
        assert_eq!(Rule::Lines.scan(b"a\rb"), (0, false));
    }

    #[test]
    fn results_come_in_order_and_failures_at_their_place() {
        let line = "0123456789,0123456789\n".repeat(50);
        let text = line.repeat(CHUNK_BYTES * 5 / line.len());
        let source = Source::bytes("t", Bytes::from(text.clone()), Format::Csv, ReadOptions::default());
        let span = Span {
            start: 0,
            line: 0,
            end: text.len() as u64,
        };
        let mut chunks =
            Ordered::start(&source, span, RULE, |chunk| Ok((chunk.start, chunk.line, chunk.bytes))).unwrap();
        let (mut all, mut count) = (Vec::new(), 0);
        while let Some(((start, line, bytes), end)) = chunks.next().unwrap() {
            assert_eq!((start, line), (all.len() as u64, all.len() as u64 / 22));
            all.extend(bytes);
            assert_eq!(end, all.len() as u64);
            count += 1;
        }
        assert_eq!(all, text.as_bytes());
        assert!(count >= 5);
        assert!(chunks.next().unwrap().is_none());

        let (name, fails_at) = (source.clone(), CHUNK_BYTES as u64 * 2);
        let mut chunks = Ordered::start(&source, span, Rule::Lines, move |chunk| {
            if chunk.start > fails_at {
                Err(name.error_at(7, None, Problem::Missing))
            } else {
                Ok(())
            }
        })
        .unwrap();
        let mut done = 0;
        let error = loop {
            match chunks.next() {
                Ok(_) => done += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((done, error.to_string().contains("line 7")), (3, true));
        // Threads that nobody listens to end.
        drop(Ordered::start(&source, span, Rule::Lines, |chunk| Ok(chunk.bytes)).unwrap());
    }

    #[test]
    fn no_more_threads_work_on_chunks_than_the_limit_says() {
        let source = Source::bytes("t", Bytes::from_static(b"a\nb\n"), Format::Csv, ReadOptions::default());
        let threads = |processors: usize, chunks: usize| {
            // That the file is shorter is found out when it is read.
            let end = ((chunks - 1) * CHUNK_BYTES) as u64;
            let span = Span { start: 0, line: 0, end };
            let work = |chunk: Chunk, giver: &mut Giver<Vec<u8>>| {
                giver.give(chunk.bytes, 0);
                Ok(())
            };
            let ordered = Ordered::start_on(processors, &source, span, Rule::Lines, work).unwrap();
            // One of them cuts.
            ordered.threads.len() - 1
        };
        let many = 10 * MAX_WORKERS;
        assert_eq!(threads(MAX_WORKERS, many), MAX_WORKERS);
        assert_eq!(threads(MAX_WORKERS + 1, many), MAX_WORKERS);
        assert_eq!(threads(MAX_WORKERS, 3), 3);
        assert_eq!(threads(1, many), 1);
    }

    #[test]
    fn line_breaks_are_counted_in_texts_of_any_length() {
        for length in [0, 1, 254, 255, 256, 1000] {
            for (line, each) in [("\n", 1), ("\r", 1), ("\r\n", 1), ("x\n\r", 2), ("x", 0)] {
                let text = line.repeat(length);
                assert_eq!(
                    line_breaks(text.as_bytes(), None),
                    each * length as u64,
                    "{line:?} {length}"
                );
            }
        }
        assert_eq!(line_breaks(b"a\r", Some(b'\n')), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever the bytes: what is cut off first, parsed alone, and the rest, parsed alone, are the records of the whole.
        #[test]
        fn cuts_do_not_change_records(text in "[ab,\"\\\\\n\r]{0,40}") {
            let records = |bytes: &[u8]| -> Vec<csv::ByteRecord> {
                let mut reader = csv::ReaderBuilder::new();
                let reader = reader.has_headers(false).flexible(true).escape(Some(b'\\')).from_reader(bytes);
                reader.into_byte_records().map(Result::unwrap).collect()
            };
            let bytes = text.as_bytes();
            let (whole, _) = RULE.scan(bytes);
            let (first, rest) = bytes.split_at(whole);
            let mut cut = records(first);
            cut.extend(records(rest));
            prop_assert_eq!(cut, records(bytes));
        }
    }
}
