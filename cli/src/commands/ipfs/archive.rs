//! Files and directories as one tar archive, or one compressed file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use flate2::write::GzEncoder;
use odf_node::add::MAX_DEPTH;
use odf_node::block::Block;
use odf_node::tar::{DIRECTORY, END, FILE, SYMLINK, header, joined, padding};
use odf_node::unixfs::export::FileCursor;
use odf_node::unixfs::node::{Stat, stat};

use super::source::Source;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;

/// Where an archive goes.
pub(super) struct Sink {
    /// A file and where it is; none for standard output.
    pub(super) file: Option<(PathBuf, BufWriter<File>)>,
    /// What has been compressed and not passed on is within.
    pub(super) gzip: Option<GzEncoder<Vec<u8>>>,
}

impl Sink {
    fn write(&mut self, bytes: &[u8], io: &mut Io) -> Result<(), Failure> {
        let Some(gzip) = &mut self.gzip else {
            return self.pass_on(bytes, io);
        };
        gzip.write_all(bytes)?;
        let compressed = std::mem::take(gzip.get_mut());
        self.pass_on(&compressed, io)
    }

    fn pass_on(&mut self, bytes: &[u8], io: &mut Io) -> Result<(), Failure> {
        match &mut self.file {
            Some((path, file)) => file.write_all(bytes).map_err(|error| Failure::file(path, &error)),
            None => io.write(bytes),
        }
    }

    /// All was written.
    ///
    /// # Errors
    /// The output fails.
    pub(super) fn finish(mut self, io: &mut Io) -> Result<(), Failure> {
        if let Some(gzip) = self.gzip.take() {
            let rest = gzip.finish()?;
            self.pass_on(&rest, io)?;
        }
        match &mut self.file {
            Some((path, file)) => file.flush().map_err(|error| Failure::file(path, &error)),
            None => Ok(()),
        }
    }
}

/// Writes content to a sink.
pub(super) struct Archiver<'a> {
    pub(super) source: Source<'a>,
    pub(super) sink: Sink,
    pub(super) saved: u64,
}

impl Archiver<'_> {
    /// An archive of all below `root`, which has this name in it.
    ///
    /// # Errors
    /// A block cannot be had, a name cannot be in an archive, or the output fails.
    pub(super) fn archive(&mut self, root: &Block, name: &str, io: &mut Io) -> Result<(), Failure> {
        self.entry(root, name, 0, io)?;
        self.sink.write(&END, io)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// It is none, a block cannot be had, or the output fails.
    pub(super) fn content(&mut self, root: &Block, io: &mut Io) -> Result<(), Failure> {
        let (sink, saved) = (&mut self.sink, &mut self.saved);
        self.source.read(FileCursor::new(*root.cid()), io, &mut |bytes, _, io| {
            *saved += bytes.len() as u64;
            io.progress().show(|| Step {
                text: output::bytes(*saved),
                ..Step::default()
            });
            sink.write(bytes, io)
        })
    }

    fn entry(&mut self, root: &Block, path: &str, depth: usize, io: &mut Io) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::new(
                Kind::BadInput,
                format!("directories are nested deeper than {MAX_DEPTH}"),
            )
            .next("save what lies deeper by its own path (`odfs ipfs ls PATH` shows the way)"));
        }
        io.check()?;
        match stat(root)? {
            Stat::File(size) => {
                if let Some((path, _)) = &self.sink.file {
                    self.source.check_room(size, path)?;
                }
                self.sink.write(&header(path, FILE, size, b""), io)?;
                self.content(root, io)?;
                let zeros = END.get(..padding(size)).unwrap_or_default();
                self.sink.write(zeros, io)
            }
            Stat::Symlink(target) => self.sink.write(&header(path, SYMLINK, 0, &target), io),
            Stat::Directory => {
                self.sink.write(&header(&format!("{path}/"), DIRECTORY, 0, b""), io)?;
                for link in self.source.list(root, io)? {
                    let Some(inner) = joined(path, &link.name) else {
                        let reason = format!("{:?} in {path} would lie outside of the archive", link.name);
                        return Err(Failure::new(Kind::BadInput, reason));
                    };
                    let block = self.source.block(&link.cid, io)?;
                    self.entry(&block, &inner, depth + 1, io)?;
                }
                Ok(())
            }
        }
    }
}
