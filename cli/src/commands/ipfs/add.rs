//! `odfs ipfs add`

use std::fs;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{ArgAction, Args, ValueEnum};
use odf_node::block::Cid;
use odf_node::files::Adder;
use odf_node::store::Blocks;
use odf_node::unixfs::{Entry, KUBO_CIDV1, Profile, UNIXFS_V0_2015, UNIXFS_V1_2025};

use super::PIN_OWNER;
use super::ignore::Ignore;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// The longest chunk that Kubo takes: a block less the space for a wrapping.
const MAX_CHUNK_BYTES: usize = (2 << 20) - 256;
/// Directories inside each other that are followed.
const MAX_DEPTH: usize = 256;
/// The largest file of ignore rules.
const MAX_RULES_BYTES: u64 = 1 << 20;

/// Add files and directories, and print their CIDs
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Files and directories; standard input for `-` or without any
    paths: Vec<PathBuf>,
    /// Add directories with all they hold
    #[arg(short, long)]
    recursive: bool,
    /// Print CIDs only
    #[arg(short, long)]
    quiet: bool,
    /// Print the last CID only
    #[arg(short = 'Q', long)]
    quieter: bool,
    /// Print nothing
    #[arg(long)]
    silent: bool,
    /// Show progress [default: on a terminal]
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    progress: Option<bool>,
    /// Wrap everything in a directory
    #[arg(short, long = "wrap-with-directory")]
    wrap: bool,
    /// Take entries whose names begin with a dot
    #[arg(short = 'H', long)]
    hidden: bool,
    /// Leave out entries of this name, as a pattern of .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// File with patterns to leave out, one a line
    #[arg(long, value_name = "FILE")]
    ignore_rules_path: Option<PathBuf>,
    /// Name of standard input within the wrapping directory
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<String>,
    /// Compute CIDs and keep nothing
    #[arg(short = 'n', long)]
    only_hash: bool,
    /// How files are cut: size-BYTES
    #[arg(short = 's', long, value_parser = chunker, value_name = "CHUNKER")]
    chunker: Option<usize>,
    /// Version of the CIDs, 0 or 1; with 1, leaves are raw unless --raw-leaves=false
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1), value_name = "VERSION")]
    cid_version: Option<u8>,
    /// Whether leaves are the bare bytes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    raw_leaves: Option<bool>,
    /// Keep what is added from being collected as garbage
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pin: bool,
    /// What decides the CIDs, before the flags above; the default is that of `ipfs add`
    #[arg(long, value_enum, default_value_t = ProfileName::UnixfsV02015)]
    profile: ProfileName,
}

/// A named set of import parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// IPIP-499: CIDv1, raw leaves, chunks of 1 MiB
    #[value(name = "unixfs-v1-2025")]
    UnixfsV12025,
    /// IPIP-499: CIDv0, chunks of 256 KiB
    #[value(name = "unixfs-v0-2015")]
    UnixfsV02015,
    /// `ipfs add --cid-version 1 --raw-leaves`: CIDv1, raw leaves, chunks of 256 KiB
    #[value(name = "kubo-cidv1")]
    KuboCidv1,
}

impl AddArgs {
    fn import_profile(&self) -> Profile {
        let mut profile = match self.profile {
            ProfileName::UnixfsV12025 => UNIXFS_V1_2025,
            ProfileName::UnixfsV02015 => UNIXFS_V0_2015,
            ProfileName::KuboCidv1 => KUBO_CIDV1,
        };
        match self.cid_version {
            Some(0) => profile.version = UNIXFS_V0_2015.version,
            Some(_) => {
                profile.version = UNIXFS_V1_2025.version;
                profile.raw_leaves = true;
            }
            None => {}
        }
        if let Some(raw_leaves) = self.raw_leaves {
            profile.raw_leaves = raw_leaves;
        }
        if let Some(bytes) = self.chunker {
            profile.chunk_bytes = bytes;
        }
        profile
    }

    fn ignore_rules(&self, io: &Io) -> Result<Ignore, Failure> {
        let mut ignore = Ignore::default();
        if let Some(path) = &self.ignore_rules_path {
            let path = io.resolve(path);
            let failed = |error: std::io::Error| Failure::file(&path, &error);
            let mut text = String::new();
            fs::File::open(&path).map_err(failed)?.take(MAX_RULES_BYTES).read_to_string(&mut text).map_err(failed)?;
            text.lines().for_each(|line| ignore.add(line));
        }
        self.ignore.iter().for_each(|pattern| ignore.add(pattern));
        Ok(ignore)
    }
}

/// Something to add, as found on disk.
enum Item {
    File(PathBuf),
    Symlink(String),
    Directory(Vec<(String, Item)>),
    Input,
}

pub(super) fn run(args: &AddArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let ignore = args.ignore_rules(io)?;
    let mut walk = Walk { args, ignore: &ignore, bytes: 0 };
    let mut items = Vec::new();
    let dash = PathBuf::from("-");
    let paths = if args.paths.is_empty() { std::slice::from_ref(&dash) } else { &args.paths };
    for path in paths {
        items.push(if *path == dash {
            (args.stdin_name.clone().unwrap_or_default(), Item::Input)
        } else {
            let real = io.resolve(path);
            (base_name(&real)?, walk.item(&real, true, 0, io)?)
        });
    }
    let total = walk.bytes;

    let store = if args.only_hash { None } else { Some(session.workspace()?.store()) };
    let hold = store.map(odf_node::store::Store::hold);
    let profile = args.import_profile();
    let shows = args.progress.unwrap_or(true) && !args.quiet && !args.quieter && !args.silent;
    let (done, cancel, progress) = (AtomicU64::new(0), io.cancel().clone(), io.progress().clone());
    let on_bytes = |count: u64| {
        let done = done.fetch_add(count, Ordering::Relaxed) + count;
        if shows {
            progress.show(|| Step {
                text: format!("{} / {}", output::bytes(done), output::bytes(total.max(done))),
                done,
                total: (total > 0).then_some(total),
            });
        }
        if cancel.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut add = Add {
        adder: Adder::new(&profile, store.map(|store| store as &dyn Blocks), &on_bytes),
        args,
        last: None,
    };

    let mut roots: Vec<Cid> = Vec::new();
    let mut wrapped = Vec::new();
    for (name, item) in &items {
        let entry = add.top(name, item, io)?;
        if args.wrap {
            let name = if name.is_empty() { entry.cid.to_string() } else { name.clone() };
            wrapped.push((name, entry));
        } else {
            roots.push(entry.cid);
        }
    }
    if args.wrap {
        let entry = add.adder.directory(wrapped)?;
        add.tell(entry.cid, "", io)?;
        roots.push(entry.cid);
    }
    if let Some(cid) = add.last.filter(|_| args.quieter && !args.silent) {
        io.line(cid)?;
    }
    add.adder.finish()?;
    if let Some(store) = store {
        if args.pin {
            for root in &roots {
                store.pin(PIN_OWNER, root)?;
            }
        }
        store.flush()?;
        session.added(&roots);
    }
    drop(hold);
    Ok(())
}

struct Add<'a> {
    adder: Adder<'a>,
    args: &'a AddArgs,
    last: Option<Cid>,
}

impl Add<'_> {
    /// Adds one argument: files as they come, then the directories from below.
    fn top(&mut self, name: &str, item: &Item, io: &mut Io) -> Result<Entry, Failure> {
        match item {
            Item::Input => {
                let input = io.take_input();
                let entry = self.adder.reader(Path::new("standard input"), input)?;
                let shown = if name.is_empty() { entry.cid.to_string() } else { name.to_owned() };
                self.tell(entry.cid, &shown, io)?;
                Ok(entry)
            }
            _ => {
                let mut directories = Vec::new();
                let entry = self.item(name, item, &mut directories, io)?;
                for (cid, name) in directories {
                    self.tell(cid, &name, io)?;
                }
                Ok(entry)
            }
        }
    }

    fn item(
        &mut self,
        name: &str,
        item: &Item,
        directories: &mut Vec<(Cid, String)>,
        io: &mut Io,
    ) -> Result<Entry, Failure> {
        io.check()?;
        match item {
            Item::File(path) => {
                let entry = self.adder.file(path)?;
                self.tell(entry.cid, name, io)?;
                Ok(entry)
            }
            Item::Symlink(target) => {
                let entry = self.adder.symlink(target)?;
                self.tell(entry.cid, name, io)?;
                Ok(entry)
            }
            Item::Directory(inner) => {
                let mut entries = Vec::with_capacity(inner.len());
                for (inner_name, item) in inner {
                    let entry = self.item(&format!("{name}/{inner_name}"), item, directories, io)?;
                    entries.push((inner_name.clone(), entry));
                }
                let entry = self.adder.directory(entries)?;
                directories.push((entry.cid, name.to_owned()));
                Ok(entry)
            }
            Item::Input => Err(Failure::new(Kind::Bug, "standard input inside a directory")),
        }
    }

    fn tell(&mut self, cid: Cid, name: &str, io: &mut Io) -> Result<(), Failure> {
        self.last = Some(cid);
        if self.args.silent || self.args.quieter {
            Ok(())
        } else if self.args.quiet {
            io.line(cid)
        } else {
            io.line(format_args!("added {cid} {}", output::printable(name)))
        }
    }
}

/// Finds out what there is to add.
struct Walk<'a> {
    args: &'a AddArgs,
    ignore: &'a Ignore,
    bytes: u64,
}

impl Walk<'_> {
    /// `path` itself is taken whatever its name; the rules are for what is below it.
    fn item(&mut self, path: &Path, top: bool, depth: usize, io: &Io) -> Result<Item, Failure> {
        let failed = |error: std::io::Error| Failure::file(path, &error);
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let kind = metadata.file_type();
        if kind.is_symlink() && !is_descriptor(path) {
            let target = fs::read_link(path).map_err(failed)?;
            let target = target.into_os_string().into_string();
            return target.map(Item::Symlink).map_err(|_| not_utf8(path));
        }
        if !kind.is_dir() {
            // A pipe named by the user is read like a file; one found in a directory would hang for ever.
            if !kind.is_file() && !top {
                return Err(Failure::new(Kind::BadInput, format!("unrecognized file type for {}", path.display()))
                    .next("only files, directories and symlinks can be added; leave it out with --ignore"));
            }
            self.bytes += metadata.len();
            return Ok(Item::File(path.to_owned()));
        }
        if top && !self.args.recursive {
            return Err(Failure::usage(format!(
                "'{}' is a directory, use the '-r' flag to specify directories",
                path.display()
            )));
        }
        if depth > MAX_DEPTH {
            return Err(Failure::new(Kind::BadInput, format!("{}: nested deeper than {MAX_DEPTH}", path.display())));
        }
        let mut inner = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            io.check()?;
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().map_err(|_| not_utf8(&entry.path()))?;
            if (self.args.hidden || !name.starts_with('.')) && !self.ignore.matches(&name) {
                inner.push((name, entry.path()));
            }
        }
        inner.sort();
        let items = inner.into_iter().map(|(name, path)| Ok((name, self.item(&path, false, depth + 1, io)?)));
        Ok(Item::Directory(items.collect::<Result<_, Failure>>()?))
    }
}

/// Whether the path is a descriptor of some process, which looks like a symlink but is the open file.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path == Path::new("/dev/stdin") || path.starts_with("/proc")
}

fn base_name(path: &Path) -> Result<String, Failure> {
    let real;
    let name = match path.file_name() {
        Some(name) => name,
        None => {
            real = fs::canonicalize(path).map_err(|error| Failure::file(path, &error))?;
            real.file_name().unwrap_or_default()
        }
    };
    name.to_str().map(str::to_owned).ok_or_else(|| not_utf8(path))
}

fn not_utf8(path: &Path) -> Failure {
    Failure::new(Kind::BadInput, format!("the name of {} is not UTF-8", path.display()))
        .next("rename it, or leave it out with --ignore")
}

/// `size-BYTES`, the only way of cutting that gives everybody the same CIDs.
fn chunker(text: &str) -> Result<usize, String> {
    match text.strip_prefix("size-").map(str::parse::<usize>) {
        Some(Ok(bytes)) if (1..=MAX_CHUNK_BYTES).contains(&bytes) => Ok(bytes),
        Some(Ok(_)) => Err(format!("chunks have between 1 and {MAX_CHUNK_BYTES} bytes")),
        _ if text == "default" => Ok(UNIXFS_V0_2015.chunk_bytes),
        _ => Err("only size-BYTES is supported, such as size-262144".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_kubos_limits() {
        assert_eq!(chunker("size-262144"), Ok(262_144));
        assert_eq!(chunker(&format!("size-{MAX_CHUNK_BYTES}")), Ok(MAX_CHUNK_BYTES));
        assert!(chunker(&format!("size-{}", MAX_CHUNK_BYTES + 1)).is_err());
        assert!(chunker("size-0").is_err());
        assert!(chunker("rabin").is_err());
    }
}
