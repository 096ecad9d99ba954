//! `odfs ipfs ls`

use clap::{ArgAction, Args};
use odf_node::block::{Block, DAG_PB};
use odf_node::dag::PbNode;
use odf_node::unixfs::directory::Link;
use odf_node::unixfs::node::{NodeError, Stat, stat};
use serde::Serialize;

use super::call::{Call, columns};
use super::escape;
use super::path::IpfsPath;
use super::source::{Source, whole_block};
use crate::failure::Failure;
use crate::io::Io;

/// List the entries of directories
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Paths to list: /ipfs/CID/…, /ipns/NAME/… or CID/…
    #[arg(required = true, value_name = "IPFS_PATH")]
    paths: Vec<IpfsPath>,
    /// Print a line of headings
    #[arg(long = "headers")]
    headers: bool,
    /// Look at each entry to find out whether it is a directory
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    resolve_type: bool,
    /// Print sizes of files
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    size: bool,
    /// Taken for Kubo's sake: entries are printed in the order of names
    #[arg(short, long)]
    stream: bool,
}

/// One line of a listing.
struct Row {
    link: LinkTo,
    is_directory: bool,
}

/// What programs are told of an entry.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LinkTo {
    name: String,
    hash: String,
    size: u64,
    r#type: u8,
    target: String,
    mode: u32,
    mod_time: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Objects {
    objects: Vec<Object>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    hash: String,
    links: Vec<LinkTo>,
}

/// The time that Go has for none.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The numbers that UnixFS has for kinds of entries.
const DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 4;

pub(super) fn run(args: &LsArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let mut source = call.source()?;
    let mut objects = Vec::new();
    for (index, path) in args.paths.iter().enumerate() {
        let resolved = source.resolve(path, io)?;
        let root = source.block(&whole_block(&resolved, path)?, io)?;
        let links = links(&mut source, &root, io)?;
        let mut rows = Vec::with_capacity(links.len());
        for link in links {
            rows.push(row(&mut source, link, args, call, io)?);
        }
        if call.is_json() {
            let object = |links| Object {
                hash: path.typed.clone(),
                links,
            };
            let links = rows.into_iter().map(|row| row.link);
            match args.stream {
                true => {
                    for link in links {
                        let objects = vec![object(vec![link])];
                        call.answer(&Objects { objects }, "", io)?;
                    }
                }
                false => objects.push(object(links.collect())),
            }
            continue;
        }
        if args.paths.len() > 1 {
            if index > 0 {
                io.line("")?;
            }
            io.line(format_args!("{}:", path.typed))?;
        }
        io.text(&text(&rows, args))?;
    }
    match call.is_json() && !args.stream {
        true => call.answer(&Objects { objects }, "", io),
        false => Ok(()),
    }
}

/// The entries of a directory by name, or the parts of a file in order.
fn links(source: &mut Source<'_>, root: &Block, io: &Io) -> Result<Vec<Link>, Failure> {
    if stat(root)? != Stat::Directory {
        if root.cid().codec() != DAG_PB {
            return Ok(Vec::new());
        }
        let node = PbNode::decode(root.data()).map_err(|source| NodeError::Malformed {
            cid: *root.cid(),
            source,
        })?;
        let unnamed = |link: odf_node::dag::PbLink| Link {
            name: String::from_utf8_lossy(&link.name).into_owned(),
            cid: link.cid,
            tsize: link.tsize,
        };
        return Ok(node.links.into_iter().map(unnamed).collect());
    }
    source.list(root, io)
}

fn row(source: &mut Source<'_>, link: Link, args: &LsArgs, call: &Call<'_>, io: &Io) -> Result<Row, Failure> {
    let (size, kind, target) = if link.cid.codec() != DAG_PB || !args.resolve_type {
        (link.tsize, FILE, String::new())
    } else {
        match stat(&source.block(&link.cid, io)?)? {
            Stat::Directory => (0, DIRECTORY, String::new()),
            Stat::File(size) => (size, FILE, String::new()),
            Stat::Symlink(target) => (0, SYMLINK, String::from_utf8_lossy(&target).into_owned()),
        }
    };
    Ok(Row {
        link: LinkTo {
            name: link.name,
            hash: call.cid(&link.cid),
            size,
            r#type: kind,
            target,
            mode: 0,
            mod_time: NEVER,
        },
        is_directory: kind == DIRECTORY,
    })
}

fn text(rows: &[Row], args: &LsArgs) -> String {
    let mut cells = Vec::with_capacity(rows.len() + 1);
    if args.headers {
        cells.push(["Hash", "Size", "Name"].map(str::to_owned).to_vec());
    }
    for Row { link, is_directory } in rows {
        let (size, slash) = match is_directory {
            true => ("-".to_owned(), "/"),
            false => (link.size.to_string(), ""),
        };
        cells.push(vec![
            link.hash.clone(),
            size,
            format!("{}{slash}", escape::name(&link.name)),
        ]);
    }
    if !args.size {
        cells.iter_mut().for_each(|row| drop(row.remove(1)));
    }
    columns(&cells, false)
}
