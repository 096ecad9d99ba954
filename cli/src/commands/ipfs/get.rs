//! `odfs ipfs get`

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use odf_node::add::MAX_DEPTH;
use odf_node::block::{Block, Cid};
use odf_node::unixfs::directory::is_plain_name;
use odf_node::unixfs::export::FileCursor;
use odf_node::unixfs::node::{Stat, stat};

use super::archive::{Archiver, Sink};
use super::call::Call;
use super::path::IpfsPath;
use super::source::{Source, whole_block};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;

/// How much of an archive is written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Save files and directories
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// Path to save: /ipfs/CID/…, /ipns/NAME/… or CID/…
    #[arg(value_name = "IPFS_PATH")]
    path: IpfsPath,
    /// Where to save it, `-` for an archive on standard output [default: the last part of the path, in this directory]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Save one tar archive
    #[arg(short, long)]
    archive: bool,
    /// Compress it with gzip; without --archive that is one file
    #[arg(short = 'C', long)]
    compress: bool,
    /// How much, from 1 to 9
    #[arg(short = 'l', long, value_parser = clap::value_parser!(u32).range(1..=9), value_name = "LEVEL")]
    compression_level: Option<u32>,
    /// Show progress on a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    progress: bool,
}

pub(super) fn run(args: &GetArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let mut source = call.source()?;
    let resolved = source.resolve(&args.path, io)?;
    let cid = whole_block(&resolved, &args.path)?;
    let root = source.block(&cid, io)?;
    let kind = stat(&root)?;

    let shown = match &args.output {
        Some(output) => output.clone(),
        None => {
            let name = args.path.last_segment();
            if !is_plain_name(&name) {
                return Err(Failure::usage(format!("{name:?} cannot be a file name")).next("pass --output"));
            }
            PathBuf::from(name)
        }
    };
    if args.archive || args.compress {
        return save_archive(args, source, &root, shown, io);
    }
    let mut target = io.resolve(&shown);
    if !matches!(kind, Stat::Directory) && target.is_dir() {
        target.push(args.path.last_segment());
    }
    io.line(format_args!("Saving file(s) to {}", shown.display()))?;
    let mut saver = Saver {
        source,
        saved: 0,
        progress: args.progress,
    };
    saver.save(&root, &kind, &target, 0, io)
}

/// Saves one file that has everything in it.
fn save_archive(
    args: &GetArgs,
    source: Source<'_>,
    root: &Block,
    mut shown: PathBuf,
    io: &mut Io,
) -> Result<(), Failure> {
    if !args.archive && !matches!(stat(root)?, Stat::File(_)) {
        return Err(Failure::new(Kind::BadInput, "file is not regular")
            .next("add --archive: only one file is compressed alone"));
    }
    let is_stream = shown.as_os_str() == "-";
    let ends = |path: &Path, suffix: &str| path.to_string_lossy().ends_with(suffix);
    if args.archive && !is_stream && !ends(&shown, ".tar") && !ends(&shown, ".tar.gz") {
        shown.as_mut_os_string().push(".tar");
    }
    if args.compress && !is_stream && !ends(&shown, ".gz") {
        shown.as_mut_os_string().push(".gz");
    }
    let file = match is_stream {
        true => None,
        false => {
            let target = io.resolve(&shown);
            io.line(format_args!("Saving archive to {}", shown.display()))?;
            let file = replace(&target).map_err(|error| Failure::file(&target, &error))?;
            Some((target, BufWriter::with_capacity(BUFFER_BYTES, file)))
        }
    };
    let level = args.compression_level.map_or(Compression::default(), Compression::new);
    let gzip = args.compress.then(|| GzEncoder::new(Vec::new(), level));
    let mut archiver = Archiver {
        source,
        sink: Sink { file, gzip },
        saved: 0,
    };
    match args.archive {
        true => archiver.archive(root, &args.path.last_segment(), io)?,
        false => archiver.content(root, io)?,
    }
    archiver.sink.finish(io)
}

struct Saver<'a> {
    source: Source<'a>,
    saved: u64,
    progress: bool,
}

impl Saver<'_> {
    fn save(&mut self, root: &Block, kind: &Stat, target: &Path, depth: usize, io: &mut Io) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::new(
                Kind::BadInput,
                format!("directories are nested deeper than {MAX_DEPTH}"),
            )
            .next("save what lies deeper by its own path (`odfs ipfs ls PATH` shows the way)"));
        }
        let failed = |error: io::Error| Failure::file(target, &error);
        match kind {
            Stat::File(size) => {
                self.source.check_room(*size, target)?;
                let mut file = replace(target).map_err(failed)?;
                let (mut saved, progress) = (self.saved, self.progress);
                self.source
                    .read(FileCursor::new(*root.cid()), io, &mut |bytes, _, io| {
                        saved += bytes.len() as u64;
                        if progress {
                            io.progress().show(|| Step {
                                text: output::bytes(saved),
                                ..Step::default()
                            });
                        }
                        file.write_all(bytes).map_err(failed)
                    })?;
                self.saved = saved;
                Ok(())
            }
            Stat::Symlink(link) => {
                let link = std::str::from_utf8(link)
                    .map_err(|_| Failure::new(Kind::BadInput, "a symlink leads to a path that is not UTF-8"))?;
                remove_file(target).map_err(failed)?;
                std::os::unix::fs::symlink(link, target).map_err(failed)
            }
            Stat::Directory => {
                // What is there may be a symlink that leads elsewhere; only a real directory will do.
                match fs::symlink_metadata(target) {
                    Ok(metadata) if metadata.is_dir() => {}
                    Ok(_) => {
                        return Err(Failure::new(
                            Kind::Refused,
                            format!("{} is not a directory", target.display()),
                        ));
                    }
                    Err(_) => fs::create_dir(target).map_err(failed)?,
                }
                for (name, cid) in self.entries(root, io)? {
                    io.check()?;
                    let block = self.source.block(&cid, io)?;
                    let kind = stat(&block)?;
                    self.save(&block, &kind, &target.join(name), depth + 1, io)?;
                }
                Ok(())
            }
        }
    }

    fn entries(&mut self, root: &Block, io: &Io) -> Result<Vec<(String, Cid)>, Failure> {
        let links = self.source.list(root, io)?.into_iter();
        links
            .map(|link| match is_plain_name(&link.name) {
                true => Ok((link.name, link.cid)),
                false => Err(Failure::new(
                    Kind::BadInput,
                    format!(
                        "{} has an entry {:?}, which cannot be a file name",
                        root.cid(),
                        link.name
                    ),
                )),
            })
            .collect()
    }
}

/// A new file in the place of whatever file or link was there.
fn replace(target: &Path) -> io::Result<File> {
    remove_file(target)?;
    OpenOptions::new().write(true).create_new(true).open(target)
}

fn remove_file(target: &Path) -> io::Result<()> {
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
