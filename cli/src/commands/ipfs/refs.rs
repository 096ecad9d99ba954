//! `odfs ipfs refs`

use std::collections::HashSet;
use std::vec;

use clap::{Args, Subcommand};
use odf_node::block::{Block, Cid, DAG_PB};
use odf_node::dag::{self, PbNode};
use serde::Serialize;

use super::call::Call;
use super::path::IpfsPath;
use super::source::{Source, whole_block};
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// List what blocks link to
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RefsArgs {
    #[command(subcommand)]
    command: Option<RefsCommand>,
    /// Paths to the blocks: /ipfs/CID/…, /ipns/NAME/… or CID/…
    #[arg(required = true, value_name = "IPFS_PATH")]
    paths: Vec<IpfsPath>,
    /// What to print: `<src>`, `<dst>` and `<linkname>` stand for what they say
    #[arg(long, value_name = "FORMAT", conflicts_with = "edges")]
    format: Option<String>,
    /// Print `<src> -> <dst>`
    #[arg(short, long)]
    edges: bool,
    /// Print each block once
    #[arg(short, long)]
    unique: bool,
    /// Also what those link to, and so on
    #[arg(short, long)]
    recursive: bool,
    /// How deep to go with --recursive; -1 for all
    #[arg(long, value_name = "N", default_value_t = -1, allow_hyphen_values = true)]
    max_depth: i64,
}

#[derive(Subcommand, Debug)]
enum RefsCommand {
    /// List all blocks that are here, as CIDs of raw bytes
    Local,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reference {
    r#ref: String,
    err: String,
}

struct Walk<'a, 'b> {
    args: &'a RefsArgs,
    call: &'a Call<'b>,
    source: Source<'b>,
    seen: HashSet<Cid>,
}

pub(super) fn run(args: &RefsArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    if let Some(RefsCommand::Local) = args.command {
        let mut failed = Ok(());
        call.session.workspace()?.store().each_block(&mut |cid| {
            failed = tell(call.cid(cid), call, io);
            failed.is_ok()
        })?;
        return failed;
    }
    let mut walk = Walk {
        args,
        call,
        source: call.source()?,
        seen: HashSet::new(),
    };
    let most = match (args.recursive, u64::try_from(args.max_depth)) {
        (false, _) => 1,
        (true, Ok(0)) => return Ok(()),
        (true, Ok(most)) => most,
        (true, Err(_)) => u64::MAX,
    };
    for path in &args.paths {
        let root = whole_block(&walk.source.resolve(path, io)?, path)?;
        walk.below(&root, most, io)?;
    }
    Ok(())
}

impl Walk<'_, '_> {
    /// Lists the links of a block, and after each of them those below it, down to `most` levels: in the order of Kubo.
    fn below(&mut self, root: &Cid, most: u64, io: &mut Io) -> Result<(), Failure> {
        // Of each level that is open, whose links are left of it. A chain of blocks is as deep as it is long.
        let mut open = vec![(*root, self.links(root, io)?)];
        while let Some((from, links)) = open.last_mut() {
            let Some((name, to)) = links.next() else {
                open.pop();
                continue;
            };
            let from = *from;
            if self.args.unique && !self.seen.insert(to) {
                continue;
            }
            self.tell(&from, &to, &name, io)?;
            if (open.len() as u64) < most {
                open.push((to, self.links(&to, io)?));
            }
        }
        Ok(())
    }

    fn links(&mut self, cid: &Cid, io: &Io) -> Result<vec::IntoIter<(String, Cid)>, Failure> {
        io.check()?;
        let links = links(&self.source.block(cid, io)?)?;
        self.source.read_ahead(links.iter().map(|(_, cid)| *cid))?;
        Ok(links.into_iter())
    }

    fn tell(&self, from: &Cid, to: &Cid, name: &str, io: &mut Io) -> Result<(), Failure> {
        let (from, to) = (self.call.cid(from), self.call.cid(to));
        let text = match (&self.args.format, self.args.edges) {
            (Some(format), _) => format
                .replace("<src>", &from)
                .replace("<dst>", &to)
                .replace("<linkname>", name)
                .replace("\\n", "\n")
                .replace("\\t", "\t"),
            (None, true) => format!("{from} -> {to}"),
            (None, false) => to,
        };
        tell(text, self.call, io)
    }
}

fn tell(text: String, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let reference = Reference {
        r#ref: text,
        err: String::new(),
    };
    call.answer(&reference, &reference.r#ref, io)
}

/// The links of a block with their names, where the codec has names.
fn links(block: &Block) -> Result<Vec<(String, Cid)>, Failure> {
    let links = dag::links(block)?;
    if block.cid().codec() != DAG_PB {
        return Ok(links.into_iter().map(|cid| (String::new(), cid)).collect());
    }
    let node = PbNode::decode(block.data()).map_err(|error| Failure::new(Kind::BadInput, error))?;
    let named = node.links.into_iter();
    Ok(named
        .map(|link| (String::from_utf8_lossy(&link.name).into_owned(), link.cid))
        .collect())
}
