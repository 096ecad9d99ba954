//! `odfs ipfs files write`

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use odf_node::store::Blocks as _;
use odf_node::unixfs::Profile;
use odf_node::unixfs::node::{Mtime, Stat, stat};
use odf_node::unixfs::write::{BATCH_BYTES, FileWriter, WriteError};

use super::super::call::Call;
use super::form::Form;
use super::place::Place;
use super::tree::Tree;
use super::tree::{missing, profile_of};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;

/// Arguments of `write`.
#[derive(Args, Debug)]
pub(super) struct WriteArgs {
    /// Which file
    path: String,
    /// What to write; standard input for `-` or without it
    data: Option<PathBuf>,
    /// Byte to begin at; what is there is written over
    #[arg(short, long, default_value_t = 0, allow_hyphen_values = true)]
    offset: i64,
    /// Make the file if it is not there
    #[arg(short = 'e', long)]
    create: bool,
    /// Make the directories on the way
    #[arg(short, long)]
    parents: bool,
    /// Take away first what the file has
    #[arg(short, long)]
    truncate: bool,
    /// The most bytes to write
    #[arg(short = 'n', long, allow_hyphen_values = true)]
    count: Option<i64>,
    /// Whether new leaves are the bare bytes [default: where the file's CID has version 1]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    raw_leaves: Option<bool>,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(args: &WriteArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let place = Place::parse(&args.path)?;
    let offset = u64::try_from(args.offset).map_err(|_| Failure::usage("cannot have negative write offset"))?;
    let count = args.count.unwrap_or(i64::MAX);
    let count = u64::try_from(count).map_err(|_| Failure::usage("cannot have negative byte count"))?;
    let new = args.form.profile();
    let not_a_file = || Failure::new(Kind::BadInput, format!("{place} was not a file"));
    // Before the turn of this command: whoever writes may take long.
    let file = args.data.clone().unwrap_or_else(|| PathBuf::from("-"));
    let mut reader: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io.take_input()),
        false => {
            let path = io.resolve(&file);
            Box::new(File::open(&path).map_err(|error| Failure::file(&path, &error))?)
        }
    };
    let mut first = Vec::new();
    let mut left = count;
    fill(&mut reader, &mut first, &mut left)?;

    let mut tree = Tree::change(call, io)?;
    let (dir, name) = place.split().filter(|_| !place.is_directory).ok_or_else(not_a_file)?;
    if args.parents {
        let above = Place {
            names: dir.to_vec(),
            is_directory: true,
        };
        tree.make(&above, true, &new, io)?;
    }
    let root = match tree.look(&place.names, io)? {
        Some(there) => match stat(&there)? {
            Stat::File(_) => there,
            Stat::Directory => return Err(not_a_file()),
            Stat::Symlink(_) => return Err(Failure::new(Kind::BadInput, "symlinks not yet supported")),
        },
        None if args.create => {
            tree.directory(dir, io)?;
            FileWriter::<Failure>::empty(&new)?
        }
        None => return Err(missing()),
    };
    let of_root = profile_of(root.cid());
    let profile = Profile {
        raw_leaves: args.raw_leaves.unwrap_or(of_root.raw_leaves),
        ..of_root
    };
    let now = io.now()?;
    let progress = io.progress().clone();
    let io = &*io;
    let store = tree.store();
    let source = tree.source();
    let mut load = |cid: &_| source.block(cid, io);
    let mut writer = FileWriter::open(&profile, root, &mut load)?;
    if args.truncate {
        writer.truncate()?;
    }
    let mut at = offset;
    let mut batch = first;
    loop {
        let is_last = batch.len() < BATCH_BYTES;
        let bytes = std::mem::take(&mut batch).into();
        writer.write_at(at, &bytes)?;
        store.put(&writer.take())?;
        at += bytes.len() as u64;
        if is_last {
            break;
        }
        io.check()?;
        progress.show(|| Step {
            text: output::bytes(at - offset),
            ..Step::default()
        });
        fill(&mut reader, &mut batch, &mut left)?;
    }
    let (entry, blocks) = writer.finish(Mtime {
        secs: now.datetime().timestamp(),
        nanos: now.datetime().timestamp_subsec_nanos(),
    })?;
    store.put(&blocks)?;
    tree.set(dir, name, Some(entry), io)?;
    tree.commit()
}

/// Reads what Kubo would write at once.
fn fill(reader: &mut dyn Read, batch: &mut Vec<u8>, left: &mut u64) -> Result<(), Failure> {
    let most = (BATCH_BYTES as u64).min(*left);
    let read = reader.take(most).read_to_end(batch)?;
    *left -= read as u64;
    Ok(())
}

impl From<WriteError<Failure>> for Failure {
    fn from(error: WriteError<Failure>) -> Self {
        match error {
            WriteError::Load(failure) => failure,
            WriteError::Node(error) => error.into(),
            WriteError::Block(error) => error.into(),
            other => Failure::new(Kind::BadInput, other),
        }
    }
}
