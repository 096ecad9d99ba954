//! `odfs ipfs add`

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::{ArgAction, Args, ValueEnum};
use odf_node::add::{self, AddOptions, Progress};
use odf_node::block::Cid;
use odf_node::store::{Blocks as _, Store};
use odf_node::unixfs::directory;
use odf_node::unixfs::{Entry, KUBO_CIDV1, Profile, UNIXFS_V0_2015, UNIXFS_V1_2025};
use serde::Serialize;

use super::call::Call;
use super::escape;
use super::files::{Place, Tree};
use super::ignore::Ignore;
use super::pin::{PIN_OWNER, check_name};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;

/// The longest chunk that Kubo takes: a block less the space for a wrapping.
const MAX_CHUNK_BYTES: usize = (2 << 20) - 256;
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
    /// Leave out entries of this name, as a pattern of .gitignore (`*.key`, `[a-z]?.py[co]`); may be repeated
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
    /// Name of the pins, which `pin ls --names` shows; without it they have none
    #[arg(long, value_name = "NAME")]
    pin_name: Option<String>,
    /// Put what is added into the tree of `odfs ipfs files`, too: at this place, or in this directory if it ends with a slash
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["only_hash", "wrap"])]
    to_files: Option<String>,
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

    fn ignore_rules(&self, io: &mut Io) -> Result<Ignore, Failure> {
        let mut ignore = Ignore::default();
        let mut add = |pattern: &str, io: &mut Io| {
            if let Err(reason) = ignore.add(pattern) {
                let pattern = pattern.trim();
                io.say(format_args!("the pattern `{pattern}` leaves nothing out: {reason}"));
            }
        };
        if let Some(path) = &self.ignore_rules_path {
            let path = io.resolve(path);
            let failed = |error: std::io::Error| Failure::file(&path, &error);
            let mut text = String::new();
            fs::File::open(&path)
                .map_err(failed)?
                .take(MAX_RULES_BYTES)
                .read_to_string(&mut text)
                .map_err(failed)?;
            text.lines().for_each(|line| add(line, io));
        }
        self.ignore.iter().for_each(|pattern| add(pattern, io));
        Ok(ignore)
    }
}

pub(super) fn run(args: &AddArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    check_name(args.pin_name.as_deref().unwrap_or_default())?;
    if args.pin_name.is_some() && !args.pin {
        return Err(Failure::usage("pin-name option requires pin to be set"));
    }
    let ignore = args.ignore_rules(io)?;
    let dash = PathBuf::from("-");
    let paths = if args.paths.is_empty() {
        std::slice::from_ref(&dash)
    } else {
        &args.paths
    };
    // Before anything is added, so that one wrong word of many adds nothing.
    let inputs = paths
        .iter()
        .map(|path| Input::find(path, args, io))
        .collect::<Result<Vec<_>, _>>()?;
    let store = call.session.workspace()?.store();
    let hold = store.hold();

    let profile = args.import_profile();
    let shows = args.progress.unwrap_or(true) && !args.quiet && !args.quieter && !args.silent;
    let total = inputs.iter().map(|input| input.bytes).sum::<Option<u64>>();
    let (done, cancel, progress) = (AtomicU64::new(0), io.cancel().clone(), io.progress().clone());
    let added: Mutex<Vec<(Entry, String)>> = Mutex::default();
    let watch = |at: Progress<'_>| match at {
        Progress::Bytes(count) => {
            let done = done.fetch_add(count, Ordering::Relaxed) + count;
            if shows {
                progress.show(|| Step {
                    text: output::bytes(done),
                    done,
                    total,
                });
            }
        }
        Progress::Added { path, entry } => {
            let mut added = added.lock().unwrap_or_else(PoisonError::into_inner);
            added.push((entry, path.display().to_string()));
        }
        _ => {}
    };
    let options = AddOptions {
        only_hash: args.only_hash,
        hidden: args.hidden,
        ignore: &|name| ignore.matches(name),
        watch: &watch,
        stop: &|| cancel.is_set(),
        ..AddOptions::new(profile)
    };

    let mut roots = Vec::new();
    let mut last = None;
    for input in inputs {
        let entry = input.add(store, &options, io)?;
        let name = input.name.unwrap_or_else(|| entry.cid.to_string());
        let mut listed = std::mem::take(&mut *added.lock().unwrap_or_else(PoisonError::into_inner));
        if listed.is_empty() {
            listed.push((entry, name.clone()));
        }
        for (entry, name) in listed {
            args.tell(&entry, &name, call, io)?;
        }
        if let Some(place) = &args.to_files {
            link(place, &name, &entry.cid, !roots.is_empty(), call, io)?;
        }
        last = Some(entry.cid);
        roots.push((name, entry));
    }
    if args.wrap {
        let built = directory::build(&profile, roots)?;
        if !args.only_hash {
            store.put(&built.blocks)?;
        }
        args.tell(&built.entry, "", call, io)?;
        last = Some(built.entry.cid);
        roots = vec![(String::new(), built.entry)];
    }
    if let Some(cid) = last.filter(|_| args.quieter && !args.silent && !call.is_json()) {
        io.line(call.cid(&cid))?;
    }
    if !args.only_hash {
        let roots: Vec<Cid> = roots.into_iter().map(|(_, entry)| entry.cid).collect();
        if args.pin {
            store.pin_named(PIN_OWNER, &roots, args.pin_name.as_deref().unwrap_or_default())?;
        }
        store.flush()?;
        call.session.added(&roots);
    }
    drop(hold);
    Ok(())
}

/// Puts what was added into the tree of `files`.
fn link(place: &str, name: &str, cid: &Cid, is_second: bool, call: &Call<'_>, io: &Io) -> Result<(), Failure> {
    let work = || {
        let mut place = match place {
            "" => Place::parse("/")?,
            place => Place::parse(place)?,
        };
        let mut tree = Tree::change(call, io)?;
        if place.is_directory() {
            let names = place.names().to_vec();
            let directory = tree.directory(&names, io);
            directory.map_err(|failure| failure.about(format_args!("MFS destination directory \"{place}\"")))?;
            place = place.child(name);
        } else if is_second {
            return Err(Failure::new(
                Kind::Refused,
                format!("MFS destination is a file: only one entry can be copied to \"{place}\""),
            ));
        }
        let node = tree.block(cid, io)?;
        tree.add(&place, &node, io)
            .map_err(|failure| failure.about(format_args!("cannot put node in path \"{place}\"")))?;
        tree.commit()
    };
    work().map_err(|failure: Failure| failure.about("to-files"))
}

/// What was added, as programs are told of it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Added<'a> {
    name: &'a str,
    hash: String,
    size: String,
}

impl AddArgs {
    fn tell(&self, entry: &Entry, name: &str, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
        let hash = call.cid(&entry.cid);
        if call.is_json() {
            let size = entry.tsize.to_string();
            return call.answer(&Added { name, hash, size }, "", io);
        }
        if self.silent || self.quieter {
            Ok(())
        } else if self.quiet {
            io.line(hash)
        } else {
            io.line(format_args!("added {hash} {}", escape::name(name)))
        }
    }
}

/// One argument.
struct Input {
    /// Where it is; nothing for standard input.
    path: Option<PathBuf>,
    /// What it is called; nothing for standard input without a name.
    name: Option<String>,
    /// It is read to its end rather than looked at: a pipe, a device, standard input.
    stream: bool,
    /// Length, where it is known.
    bytes: Option<u64>,
}

impl Input {
    fn find(path: &Path, args: &AddArgs, io: &Io) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self {
                path: None,
                name: args.stdin_name.clone(),
                stream: true,
                bytes: None,
            });
        }
        let mut path = io.resolve(path);
        let failed = |path: &Path, error: std::io::Error| Failure::file(path, &error);
        if path.file_name().is_none() {
            path = fs::canonicalize(&path).map_err(|error| failed(&path, error))?;
        }
        let metadata = fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
        let kind = metadata.file_type();
        if kind.is_dir() && !args.recursive {
            return Err(Failure::usage(format!(
                "'{}' is a directory, use the '-r' flag to specify directories",
                path.display()
            )));
        }
        let name = path.file_name().unwrap_or_default().to_str().map(str::to_owned);
        let name = name.ok_or_else(|| {
            Failure::new(Kind::BadInput, format!("the name of {} is not UTF-8", path.display())).next("rename it")
        })?;
        let stream = !(kind.is_file() || kind.is_dir() || kind.is_symlink()) || is_descriptor(&path);
        let bytes = kind.is_file().then_some(metadata.len());
        Ok(Self {
            path: Some(path),
            name: Some(name),
            stream,
            bytes,
        })
    }

    fn add(&self, store: &Store, options: &AddOptions<'_>, io: &mut Io) -> Result<Entry, Failure> {
        let added = match &self.path {
            None => add::add_reader(store, Path::new("standard input"), io.take_input(), options)?,
            Some(path) if self.stream => {
                let file = fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
                add::add_reader(store, path, file, options)?
            }
            Some(path) => add::add_path(store, path, options)?,
        };
        Ok(added.entry)
    }
}

/// Whether the path is a descriptor of some process, which looks like a symlink but is the open file.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path == Path::new("/dev/stdin") || path.starts_with("/proc")
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
