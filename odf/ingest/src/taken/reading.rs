//! A file being hashed, from its beginning or from a mark on.

use std::io::{self, ErrorKind, SeekFrom};

use odf_metadata::Multihash;
use sha2::{Digest as _, Sha256};

use super::marks::{Believed, Mark, SHA2_256};
use super::state::Taken;
use crate::chunks::line_breaks;
use crate::source::{Input, OnProgress, Phase, Problem, Source, SourceError, report};

const BUFFER_BYTES: usize = 1 << 20;

/// A file being hashed.
pub(super) struct Reading<'a> {
    source: &'a Source,
    input: Box<dyn Input>,
    hasher: Sha256,
    buffer: Vec<u8>,
    /// Bytes between two marks.
    chunk: u64,
    /// How far it is.
    pub(super) at: u64,
    /// How many bytes the file has.
    pub(super) end: u64,
    /// Line breaks so far, but for a carriage return at the very end.
    lines: u64,
    /// The byte before.
    pub(super) last: u8,
    /// One for each whole chunk so far.
    pub(super) marks: Vec<Mark>,
    /// Every byte so far was read, or read earlier and the file not touched since.
    pub(super) is_read: bool,
}

impl<'a> Reading<'a> {
    /// At the first byte of `input`, which is of `source`.
    pub(super) fn new(source: &'a Source, input: Box<dyn Input>, end: u64, chunk: u64) -> Reading<'a> {
        Reading {
            source,
            input,
            hasher: Sha256::new(),
            buffer: vec![0; BUFFER_BYTES],
            chunk,
            at: 0,
            end,
            lines: 0,
            last: 0,
            marks: Vec::new(),
            is_read: true,
        }
    }

    /// Hashes everything from here to the byte position `target`.
    pub(super) fn to(&mut self, target: u64, progress: &mut OnProgress<'_>) -> Result<(), SourceError> {
        while self.at < target {
            let mark = (self.at / self.chunk + 1).saturating_mul(self.chunk);
            let wanted = usize::try_from(target.min(mark) - self.at).unwrap_or(usize::MAX);
            let most = wanted.min(self.buffer.len());
            let read = match self.input.read(&mut self.buffer[..most]) {
                Ok(0) => Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the file became shorter meanwhile",
                )),
                other => other,
            };
            let read = read.map_err(|error| self.source.error(Problem::Io(error)))?;
            let bytes = &self.buffer[..read];
            self.hasher.update(bytes);
            self.lines += u64::from(self.last == b'\r' && bytes[0] != b'\n');
            self.last = bytes[read - 1];
            // A carriage return at the end counts when it is known what follows.
            self.lines += line_breaks(bytes, (self.last == b'\r').then_some(b'\n'));
            self.at += read as u64;
            if self.at == mark {
                self.marks.push(Mark::of(&self.hasher, self.lines, self.last));
            }
            report(self.source, progress, Phase::Checking, self.at, self.end, 0)?;
        }
        Ok(())
    }

    /// Whether the first `length` bytes have this hash, if those have not changed that lie between the first and the last
    /// chunk of the marks of `believed`, which are within them. These two chunks are read, and what follows. If the hash is
    /// the same, the reading goes on behind those bytes.
    pub(super) fn skim(
        &mut self,
        believed: &Believed<'_>,
        length: u64,
        hash: &Multihash,
        progress: &mut OnProgress<'_>,
    ) -> Result<bool, SourceError> {
        let [before @ .., last] = believed.marks else {
            return Ok(false);
        };
        let Some(first) = before.first() else {
            return Ok(false);
        };
        if !self.resume(&[])? {
            return Ok(false);
        }
        self.to(self.chunk, progress)?;
        let begins = self.marks.last().is_some_and(|mark| mark.agrees(first));
        if !begins || !self.resume(before)? {
            return Ok(false);
        }
        self.is_read = believed.is_read;
        self.to(length, progress)?;
        let ends = self.marks.get(before.len()).is_some_and(|mark| mark.agrees(last));
        Ok(ends && self.hash()? == *hash)
    }

    /// Goes to the last of `marks`, which are those from the beginning on; to the beginning if there are none. False if
    /// there is no going on from it.
    pub(super) fn resume(&mut self, marks: &[Mark]) -> Result<bool, SourceError> {
        let at = self.chunk * marks.len() as u64;
        let (hasher, lines, last) = match marks.last() {
            None => (Some(Sha256::new()), 0, 0),
            Some(mark) => (mark.hasher(at), mark.lines, mark.last),
        };
        let Some(hasher) = hasher else {
            return Ok(false);
        };
        let sought = self.input.seek(SeekFrom::Start(at));
        sought.map_err(|error| self.source.error(Problem::Io(error)))?;
        (self.hasher, self.at, self.lines, self.last) = (hasher, at, lines, last);
        self.marks = marks.to_vec();
        self.is_read = marks.is_empty();
        Ok(true)
    }

    /// What is taken of the file once its first `length` bytes are.
    pub(super) fn taken(&mut self, length: u64, progress: &mut OnProgress<'_>) -> Result<Taken, SourceError> {
        self.to(length, progress)?;
        Ok(Taken {
            format: self.source.format(),
            length,
            hash: self.hash()?,
        })
    }

    /// What is taken once all of the file is. What lies before here is read again unless it was read.
    pub(super) fn whole(&mut self, progress: &mut OnProgress<'_>) -> Result<Taken, SourceError> {
        if !self.is_read {
            self.resume(&[])?;
        }
        self.taken(self.end, progress)
    }

    /// Line breaks so far, where `next` is the byte that follows.
    pub(super) fn lines(&self, next: Option<u8>) -> u64 {
        self.lines + u64::from(self.last == b'\r' && next != Some(b'\n'))
    }

    /// The byte that follows.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, SourceError> {
        let mut next = [0];
        let read = self.input.read(&mut next);
        let sought = read.and_then(|read| self.input.seek(SeekFrom::Start(self.at)).map(|_| read));
        let read = sought.map_err(|error| self.source.error(Problem::Io(error)))?;
        Ok((read == 1).then_some(next[0]))
    }

    /// Hash of everything so far.
    pub(super) fn hash(&self) -> Result<Multihash, SourceError> {
        let digest = self.hasher.clone().finalize();
        Multihash::wrap(SHA2_256, &digest).map_err(|e| self.source.error(Problem::Syntax(e.to_string())))
    }
}
