//! Writing a DAG as a CAR.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use odf_node::block::{Block, Cid};
use odf_node::car::{frame, header};
use odf_node::dag::DepthFirst;

use crate::commands::ipfs::path::IpfsPath;
use crate::commands::ipfs::source::{Source, whole_block};
use crate::commands::target::Target;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// How much was written.
pub(in crate::commands) struct Written {
    pub(in crate::commands) blocks: u64,
    pub(in crate::commands) bytes: u64,
}

/// Writes what is below a path to `to`, a file or `-`.
pub(in crate::commands) fn export(
    path: &IpfsPath,
    to: &str,
    force: bool,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let mut sink = Sink::open(to, force, io)?;
    let mut source = Source::new(session)?;
    let root = whole_block(&source.resolve(path, io)?, path)?;
    let written = sink.write(root, None, &mut source, io)?;
    sink.finish(io)?;
    if to != "-" {
        io.say(format_args!(
            "{} block(s), {}: all of {root}",
            output::count(written.blocks),
            output::bytes(written.bytes)
        ));
    }
    Ok(())
}

/// Where a CAR goes.
pub(in crate::commands) enum Sink {
    Output(Vec<u8>),
    File(Target, BufWriter<File>),
}

impl Sink {
    /// A file that gets its name at the end, or for `-` standard output.
    ///
    /// # Errors
    /// There is such a file already, unless it is to be written over; standard output is a terminal.
    pub(in crate::commands) fn open(to: &str, force: bool, io: &Io) -> Result<Self, Failure> {
        if to != "-" {
            let target = Target::new(io.resolve(Path::new(to)), force)?;
            let file = BufWriter::with_capacity(BUFFER_BYTES, target.reopen()?);
            return Ok(Self::File(target, file));
        }
        match io.terminal().output {
            true => Err(Failure::usage("a CAR is no text for a terminal").next("name a file, or send it on with |")),
            false => Ok(Self::Output(Vec::with_capacity(BUFFER_BYTES))),
        }
    }

    /// Writes all blocks below `root`, behind one of `first` that leads to it, if there is one.
    ///
    /// # Errors
    /// A block cannot be had or read, or the bytes cannot be written.
    pub(in crate::commands) fn write(
        &mut self,
        root: Cid,
        first: Option<&Block>,
        source: &mut Source<'_>,
        io: &mut Io,
    ) -> Result<Written, Failure> {
        let mut written = Written { blocks: 0, bytes: 0 };
        written.bytes += self.put(&header(&[first.map_or(root, |first| *first.cid())]), io)?;
        let mut order = DepthFirst::new(root);
        let mut first = first.cloned();
        loop {
            io.check()?;
            let block = match first.take() {
                Some(first) => first,
                None => {
                    let Some(cid) = order.next_block() else {
                        return Ok(written);
                    };
                    let block = source.block(&cid, io)?;
                    let entered = order.enter(&block);
                    entered.map_err(|error| Failure::new(Kind::BadInput, error.to_string()))?;
                    source.read_ahead(order.upcoming())?;
                    block
                }
            };
            written.blocks += 1;
            written.bytes += self.put(&frame(block.cid(), block.data().len()), io)?;
            written.bytes += self.put(block.data(), io)?;
            io.progress().show(|| Step {
                text: format!(
                    "{} blocks, {}",
                    output::count(written.blocks),
                    output::bytes(written.bytes)
                ),
                ..Step::default()
            });
        }
    }

    /// Writes `first`, which is said to be what the CAR is of, and these blocks behind it.
    ///
    /// # Errors
    /// That of `blocks`, or the bytes cannot be written.
    pub(in crate::commands) fn write_these(
        &mut self,
        first: &Block,
        blocks: impl Iterator<Item = Result<Block, Failure>>,
        io: &mut Io,
    ) -> Result<Written, Failure> {
        let mut written = Written { blocks: 0, bytes: 0 };
        written.bytes += self.put(&header(&[*first.cid()]), io)?;
        for block in std::iter::once(Ok(first.clone())).chain(blocks) {
            io.check()?;
            let block = block?;
            written.blocks += 1;
            written.bytes += self.put(&frame(block.cid(), block.data().len()), io)?;
            written.bytes += self.put(block.data(), io)?;
        }
        Ok(written)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// What remains cannot be written.
    pub(in crate::commands) fn finish(self, io: &mut Io) -> Result<(), Failure> {
        match self {
            Self::Output(bytes) => io.write(&bytes),
            Self::File(target, mut file) => {
                file.flush().map_err(|error| Failure::file(&target.path, &error))?;
                target.finish().map(|_| ())
            }
        }
    }

    fn put(&mut self, bytes: &[u8], io: &mut Io) -> Result<u64, Failure> {
        match self {
            Self::Output(waiting) => {
                waiting.extend_from_slice(bytes);
                if waiting.len() >= BUFFER_BYTES {
                    io.write(waiting)?;
                    waiting.clear();
                }
            }
            Self::File(target, file) => file
                .write_all(bytes)
                .map_err(|error| Failure::file(&target.path, &error))?,
        }
        Ok(bytes.len() as u64)
    }
}
