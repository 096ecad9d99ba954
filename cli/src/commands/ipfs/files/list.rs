//! `odfs ipfs files ls` and `read`

use clap::Args;
use odf_node::block::RAW;
use odf_node::unixfs::export::FileCursor;
use odf_node::unixfs::node::{Stat, stat};
use serde::Serialize;

use super::super::call::Call;
use super::place::Place;
use super::tree::Tree;
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Arguments of `ls`.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Which directory
    #[arg(default_value = "/")]
    path: String,
    /// Print CIDs and sizes, too
    #[arg(short, long)]
    long: bool,
    /// Taken for Kubo's sake: entries are printed in the order of names
    #[arg(short = 'U', hide = true)]
    unsorted: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    /// Null for none, as Go writes it.
    entries: Option<Vec<Row>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    name: String,
    r#type: u8,
    size: u64,
    hash: String,
}

/// The number that MFS has for directories.
const DIRECTORY: u8 = 1;

/// Lists a directory, or the one file.
pub(super) fn list(args: &ListArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let place = Place::parse(&args.path)?;
    let mut tree = Tree::read(call)?;
    let there = tree.find(&place.names, io)?;
    let found: Vec<_> = match stat(&there)? {
        Stat::Directory => {
            let links = tree.source().list(&there, io)?;
            links.into_iter().map(|link| (link.name, link.cid)).collect()
        }
        _ => vec![(place.names.last().cloned().unwrap_or_default(), *there.cid())],
    };
    let mut rows = Vec::with_capacity(found.len());
    for (name, cid) in found {
        let mut row = Row {
            name,
            r#type: 0,
            size: 0,
            hash: String::new(),
        };
        if args.long {
            row.hash = call.cid(&cid);
            match stat(&tree.block(&cid, io)?)? {
                Stat::Directory => row.r#type = DIRECTORY,
                Stat::File(size) => row.size = size,
                Stat::Symlink(target) => row.size = target.len() as u64,
            }
        }
        rows.push(row);
    }
    if call.is_json() {
        let entries = Some(rows).filter(|rows| !rows.is_empty());
        return call.answer(&Listed { entries }, "", io);
    }
    for row in rows {
        let slash = if row.r#type == DIRECTORY { "/" } else { "" };
        match args.long {
            true => io.line(format_args!("{}{slash}\t{}\t{}", row.name, row.hash, row.size))?,
            false => io.line(row.name)?,
        }
    }
    Ok(())
}

/// Arguments of `read`.
#[derive(Args, Debug)]
pub(super) struct ReadArgs {
    /// Which file
    path: String,
    /// Byte to begin at
    #[arg(short, long, default_value_t = 0, allow_hyphen_values = true)]
    offset: i64,
    /// The most bytes to write
    #[arg(short = 'n', long, allow_hyphen_values = true)]
    count: Option<i64>,
}

/// Writes a file, or a part of it.
pub(super) fn read(args: &ReadArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let place = Place::parse(&args.path)?;
    let mut tree = Tree::read(call)?;
    let there = tree
        .find(&place.names, io)
        .map_err(|failure| failure.about(format_args!("{place}")))?;
    let size = match stat(&there)? {
        Stat::File(size) => size,
        Stat::Directory => return Err(Failure::new(Kind::BadInput, format!("{place} was not a file"))),
        Stat::Symlink(_) => return Err(Failure::new(Kind::BadInput, "symlinks not yet supported")),
    };
    let offset = u64::try_from(args.offset).map_err(|_| Failure::usage("cannot specify negative offset"))?;
    if offset > size {
        return Err(Failure::new(
            Kind::BadInput,
            format!("offset was past end of file ({offset} > {size})"),
        ));
    }
    let count = args.count.unwrap_or(i64::MAX);
    let count = u64::try_from(count).map_err(|_| Failure::usage("cannot specify negative 'count'"))?;
    if there.cid().codec() == RAW {
        let bytes = there.data();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from
            .saturating_add(usize::try_from(count).unwrap_or(usize::MAX))
            .min(bytes.len());
        return io.write(&bytes[from..to]);
    }
    let range = offset..offset.saturating_add(count);
    let cursor = FileCursor::with_range(*there.cid(), range);
    tree.source().read(cursor, io, &mut |bytes, _, io| io.write(bytes))
}
