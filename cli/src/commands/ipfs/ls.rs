//! `odfs ipfs ls`

use std::io::Write as _;

use clap::{ArgAction, Args};
use odf_node::block::{Block, DAG_PB};
use odf_node::dag::PbNode;
use odf_node::unixfs::directory::{Link, Listing};
use odf_node::unixfs::node::{NodeError, Stat, stat};

use super::escape;
use super::path::IpfsPath;
use super::source::{Source, whole_block};
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

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
}

/// One line of a listing.
struct Row {
    cid: String,
    /// Nothing for a directory.
    size: Option<u64>,
    name: String,
}

pub(super) fn run(args: &LsArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut source = Source::new(session)?;
    for (index, path) in args.paths.iter().enumerate() {
        let resolved = source.resolve(path, io)?;
        let root = source.block(&whole_block(&resolved, path)?, io)?;
        let links = links(&mut source, &root, io)?;
        let mut rows = Vec::with_capacity(links.len());
        for link in links {
            rows.push(row(&mut source, link, args, io)?);
        }
        if args.paths.len() > 1 {
            if index > 0 {
                io.line("")?;
            }
            io.line(format_args!("{}:", path.typed))?;
        }
        let text = columns(&rows, args);
        io.out().write_all(text.as_bytes())?;
    }
    Ok(())
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
    let mut listing = Listing::new(*root.cid());
    let mut links = Vec::new();
    while let Some(next) = listing.ask() {
        links.append(&mut listing.feed(&source.block(&next, io)?)?);
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}

fn row(source: &mut Source<'_>, link: Link, args: &LsArgs, io: &Io) -> Result<Row, Failure> {
    let (size, slash) = if link.cid.codec() != DAG_PB || !args.resolve_type {
        (Some(link.tsize), "")
    } else {
        match stat(&source.block(&link.cid, io)?)? {
            Stat::Directory => (None, "/"),
            Stat::File(size) => (Some(size), ""),
            Stat::Symlink(_) => (Some(0), ""),
        }
    };
    Ok(Row {
        cid: link.cid.to_string(),
        size,
        name: format!("{}{slash}", escape::name(&link.name)),
    })
}

/// Columns as Go's tabwriter aligns them: each as wide as its longest cell and one space.
fn columns(rows: &[Row], args: &LsArgs) -> String {
    let mut cells: Vec<[String; 3]> = Vec::with_capacity(rows.len() + 1);
    if args.headers {
        cells.push(["Hash".to_owned(), "Size".to_owned(), "Name".to_owned()]);
    }
    for row in rows {
        let size = row.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        cells.push([row.cid.clone(), size, row.name.clone()]);
    }
    let width = |column: fn(&[String; 3]) -> &String| cells.iter().map(|row| column(row).len()).max().unwrap_or(0) + 1;
    let (first, second) = (width(|[cid, _, _]| cid), width(|[_, size, _]| size));
    let mut text = Vec::new();
    for [cid, size, name] in &cells {
        let _ = if args.size {
            writeln!(text, "{cid:first$}{size:second$}{name}")
        } else {
            writeln!(text, "{cid:first$}{name}")
        };
    }
    String::from_utf8_lossy(&text).into_owned()
}
