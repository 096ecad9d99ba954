//! `odfs ipfs files stat`

use std::collections::HashMap;

use chrono::DateTime;
use clap::Args;
use odf_node::block::{Block, Cid, RAW};
use odf_node::store::Blocks as _;
use odf_node::unixfs::node::{Kind as NodeKind, decode};
use serde::Serialize;

use super::super::call::{Call, go_bytes};
use super::tree::{entry, links};
use super::what::What;
use crate::failure::Failure;
use crate::io::Io;

/// What is printed where nothing else is asked for.
const FORMAT: &str = "<hash>
Size: <size>
CumulativeSize: <cumulsize>
ChildBlocks: <childs>
Type: <type>
Mode: <mode> (<mode-octal>)
Mtime: <mtime>";
/// What is printed for what a node does not say.
const UNSET: &str = "not set";
/// What Go adds to the mode of a symlink.
const SYMLINK: u32 = 1 << 27;

/// Arguments of `stat`.
#[derive(Args, Debug)]
pub(super) struct StatArgs {
    /// Which: a place in the tree, or /ipfs/CID/…
    path: String,
    /// Print this, with values for `<hash>`, `<size>`, `<cumulsize>`, `<type>`, `<childs>`, `<mode>`, `<mode-octal>`, `<mtime>`,
    /// `<mtime-secs>` and `<mtime-nsecs>`
    #[arg(long)]
    format: Option<String>,
    /// Print the CID only
    #[arg(long)]
    hash: bool,
    /// Print the length of all its blocks only
    #[arg(long)]
    size: bool,
    /// Count how much of it is here, too
    #[arg(long)]
    with_local: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    hash: String,
    size: u64,
    cumulative_size: u64,
    blocks: usize,
    r#type: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    with_locality: bool,
    #[serde(skip_serializing_if = "is_default")]
    local: bool,
    #[serde(skip_serializing_if = "is_default")]
    size_local: u64,
    #[serde(skip_serializing_if = "is_default")]
    mtime: i64,
    #[serde(skip_serializing_if = "is_default")]
    mtime_nsecs: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    mode: String,
    #[serde(skip)]
    bits: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) fn run(args: &StatArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let format = match (&args.format, args.hash, args.size) {
        (None, false, false) => FORMAT,
        (Some(format), false, false) => format,
        (None, true, false) => "<hash>",
        (None, false, true) => "<cumulsize>",
        _ => {
            return Err(Failure::usage(
                "invalid parameters: format was set by multiple options. Only one format option is allowed",
            ));
        }
    };
    let block = What::parse(&args.path)?.find(call, io)?;
    let mut told = look(&block, call)?;
    if args.with_local {
        let store = call.session.workspace()?.store();
        let here = local(&block, io, &|cid| Ok(store.get(cid)?))?;
        (told.with_locality, told.local, told.size_local) = (true, here.whole, here.bytes);
    }
    if call.is_json() {
        return call.answer(&told, "", io);
    }
    io.line(told.fill(format))?;
    if told.with_locality {
        let share = 100.0 * told.size_local as f64 / told.cumulative_size as f64;
        let (here, all) = (go_bytes(told.size_local), go_bytes(told.cumulative_size));
        io.line(format_args!("Local: {here} of {all} ({share:.2}%)"))?;
    }
    Ok(())
}

fn look(block: &Block, call: &Call<'_>) -> Result<Told, Failure> {
    let linked = entry(block)?;
    let mut told = Told {
        hash: call.cid(block.cid()),
        size: linked.size,
        cumulative_size: linked.tsize,
        blocks: 0,
        r#type: "file",
        with_locality: false,
        local: false,
        size_local: 0,
        mtime: 0,
        mtime_nsecs: 0,
        mode: String::new(),
        bits: 0,
    };
    if block.cid().codec() == RAW {
        return Ok(told);
    }
    let (node, data) = decode(block)?;
    told.blocks = node.links.len();
    if matches!(data.kind, NodeKind::Directory | NodeKind::HamtShard) {
        told.r#type = "directory";
        told.size = data.filesize.unwrap_or(0);
    }
    told.bits = match data.mode.map(|mode| mode & 0o777) {
        Some(mode) if mode != 0 => mode,
        _ if data.kind == NodeKind::Symlink => SYMLINK | 0o777,
        _ => 0,
    };
    if told.bits != 0 {
        told.mode = format!("{:04o}", told.bits);
    }
    if let Some(mtime) = data.mtime {
        (told.mtime, told.mtime_nsecs) = (mtime.secs, mtime.nanos);
    }
    Ok(told)
}

impl Told {
    fn fill(&self, format: &str) -> String {
        let (mode, octal) = match self.bits {
            0 => (UNSET.to_owned(), UNSET.to_owned()),
            bits => (permissions(bits), format!("0{:o}", bits & 0o777)),
        };
        let time = DateTime::from_timestamp(self.mtime, self.mtime_nsecs).filter(|_| self.mtime > 0);
        let (mtime, secs, nanos) = match time {
            Some(time) => (
                time.format("%-d %b %Y, %H:%M:%S UTC").to_string(),
                self.mtime.to_string(),
                self.mtime_nsecs.to_string(),
            ),
            None => (UNSET.to_owned(), UNSET.to_owned(), UNSET.to_owned()),
        };
        [
            ("<hash>", self.hash.clone()),
            ("<size>", self.size.to_string()),
            ("<cumulsize>", self.cumulative_size.to_string()),
            ("<childs>", self.blocks.to_string()),
            ("<type>", self.r#type.to_owned()),
            ("<mode>", mode),
            ("<mode-octal>", octal),
            ("<mtime>", mtime),
            ("<mtime-secs>", secs),
            ("<mtime-nsecs>", nanos),
        ]
        .iter()
        .fold(format.to_owned(), |text, (token, value)| text.replace(token, value))
    }
}

/// `-rw-r--r--`
fn permissions(bits: u32) -> String {
    let letters = "rwxrwxrwx".chars().enumerate();
    let kind = if bits & SYMLINK != 0 { 'l' } else { '-' };
    let letters = letters.map(|(at, letter)| if bits & (1 << (8 - at)) != 0 { letter } else { '-' });
    std::iter::once(kind).chain(letters).collect()
}

/// What is here of a node and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    /// Whether that is all.
    whole: bool,
    /// Bytes. What is linked to twice counts twice, as in the size of all.
    bytes: u64,
}

/// Looks at each block once: whoever made the DAG may have made very many ways through few blocks.
fn local(root: &Block, io: &Io, get: &dyn Fn(&Cid) -> Result<Option<Block>, Failure>) -> Result<Here, Failure> {
    let mut known: HashMap<Cid, Here> = HashMap::new();
    let mut due = vec![(*root.cid(), Some(root.clone()))];
    while let Some((cid, block)) = due.pop() {
        io.check()?;
        if known.contains_key(&cid) {
            continue;
        }
        let block = match block {
            Some(block) => Some(block),
            None => get(&cid)?,
        };
        let Some(block) = block else {
            let nothing = Here { whole: false, bytes: 0 };
            known.insert(cid, nothing);
            continue;
        };
        let links = links(&block)?;
        let unknown: Vec<Cid> = links
            .iter()
            .filter(|link| !known.contains_key(*link))
            .copied()
            .collect();
        if unknown.is_empty() {
            let own = Here {
                whole: true,
                bytes: block.data().len() as u64,
            };
            let below = links.iter().filter_map(|link| known.get(link));
            let all = below.fold(own, |sum, below| Here {
                whole: sum.whole && below.whole,
                bytes: sum.bytes.saturating_add(below.bytes),
            });
            known.insert(cid, all);
        } else {
            // What is below first. It is read again then: memory is that of the CIDs.
            due.push((cid, None));
            due.extend(unknown.into_iter().map(|cid| (cid, None)));
        }
    }
    let nothing = Here { whole: false, bytes: 0 };
    Ok(known.get(root.cid()).copied().unwrap_or(nothing))
}

#[cfg(test)]
mod tests {
    use odf_node::block::DAG_PB;
    use odf_node::dag::{PbLink, PbNode};

    use super::*;
    use crate::io::Cancel;

    #[test]
    fn permissions_are_written_as_go_does() {
        assert_eq!(permissions(0o644), "-rw-r--r--");
        assert_eq!(permissions(SYMLINK | 0o777), "lrwxrwxrwx");
    }

    #[test]
    fn very_many_ways_through_few_blocks_are_not_all_gone() {
        let mut blocks = HashMap::new();
        let leaf = Block::new(RAW, vec![1; 3]).unwrap();
        let mut root = leaf.clone();
        for _ in 0..200 {
            let link = PbLink {
                cid: *root.cid(),
                name: "".into(),
                tsize: 0,
            };
            let node = PbNode {
                links: vec![link.clone(), link],
                data: None,
            };
            blocks.insert(*root.cid(), root);
            root = Block::new(DAG_PB, node.encode()).unwrap();
        }
        blocks.insert(*root.cid(), root.clone());
        let io = Io::apart(std::io::sink(), Cancel::new());
        let look = |blocks: &HashMap<Cid, Block>| local(&root, &io, &|cid| Ok(blocks.get(cid).cloned())).unwrap();
        let all = Here {
            whole: true,
            bytes: u64::MAX,
        };
        assert_eq!(look(&blocks), all);
        blocks.remove(leaf.cid());
        assert!(!look(&blocks).whole);
    }
}
