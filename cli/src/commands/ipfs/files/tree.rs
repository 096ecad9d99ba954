//! The tree that `ipfs files` changes: a UnixFS directory whose root the workspace remembers.
//!
//! What it holds is kept like what is pinned, for as much of it as is here: a DAG that was put into it comes when it is read. A
//! change makes new directories from the place that changed up to the root, and the file `files.root` says which root counts;
//! until that is written, the old tree is there whole.

use std::sync::MutexGuard;
use std::time::Duration;

use odf::disk::{Access, read_small_text};
use odf_node::block::{Block, Cid, DAG_PB, RAW};
use odf_node::dag::PbNode;
use odf_node::store::{Blocks as _, Hold, PARTIAL_OWNER, Store};
use odf_node::unixfs::directory::{self, Found, Link, Lookup};
use odf_node::unixfs::node::{NodeError, Stat, decode, stat};
use odf_node::unixfs::update::update;
use odf_node::unixfs::{Entry, KUBO_CIDV1, Profile, UNIXFS_V0_2015};

use super::super::call::Call;
use super::super::source::Source;
use super::place::{Place, written};
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Where it is said which root counts.
const ROOT_FILE: &str = "files.root";
/// The longest such file.
const MAX_ROOT_BYTES: u64 = 256;
/// How long after its turn came a change still waits for blocks of others, so that the changes behind it come to theirs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tree as one command sees it.
pub(in crate::commands::ipfs) struct Tree<'a> {
    call: &'a Call<'a>,
    store: &'a Store,
    source: Source<'a>,
    root: Cid,
    /// No other command changes the tree. None for those that only read.
    _turn: Option<MutexGuard<'a, ()>>,
    /// What this reads or makes is not collected meanwhile.
    _hold: Hold,
}

/// The profile of what goes on from a node: it has its version.
pub(super) fn profile_of(cid: &Cid) -> Profile {
    match cid.version() == KUBO_CIDV1.version {
        true => KUBO_CIDV1,
        false => UNIXFS_V0_2015,
    }
}

/// What is said of a name that is not there.
pub(super) fn missing() -> Failure {
    Failure::new(Kind::NotFound, "file does not exist").next("`ipfs files ls PATH` shows what is there")
}

impl<'a> Tree<'a> {
    /// The tree as it is, to be read.
    ///
    /// # Errors
    /// The store, or the file that says which root counts, cannot be read.
    pub(in crate::commands::ipfs) fn read(call: &'a Call<'a>) -> Result<Self, Failure> {
        Self::open(call, call.source()?, None)
    }

    /// The tree, to be changed by nobody else until this is dropped.
    ///
    /// # Errors
    /// As [`Tree::read`], or the user does not want to wait for whoever changes it now.
    pub(in crate::commands::ipfs) fn change(call: &'a Call<'a>, io: &Io) -> Result<Self, Failure> {
        let turn = call.session.changing_files(io)?;
        Self::open(call, call.source_within(PATIENCE)?, Some(turn))
    }

    /// As [`Tree::change`], of an empty tree, whatever the workspace remembers.
    ///
    /// # Errors
    /// As [`Tree::change`], but for the file that says which root counts.
    pub(super) fn anew(call: &'a Call<'a>, io: &Io) -> Result<Self, Failure> {
        let turn = call.session.changing_files(io)?;
        let store = call.session.workspace()?.store();
        Ok(Self {
            call,
            store,
            source: call.source()?,
            root: Self::empty(store)?,
            _turn: Some(turn),
            _hold: store.hold(),
        })
    }

    fn open(call: &'a Call<'a>, source: Source<'a>, turn: Option<MutexGuard<'a, ()>>) -> Result<Self, Failure> {
        let store = call.session.workspace()?.store();
        let hold = store.hold();
        let file = call.session.root().join(ROOT_FILE);
        let text = read_small_text(&file, MAX_ROOT_BYTES).map_err(|error| Failure::file(&file, &error.source))?;
        let root = match text {
            Some(text) => text.trim().parse().map_err(|_| {
                Failure::new(
                    Kind::Storage,
                    format!("{} is damaged: it is not one CID", file.display()),
                )
                .next("`ipfs files chroot --confirm [CID]` sets the root of the tree anew")
            })?,
            None => Self::empty(store)?,
        };
        Ok(Self {
            call,
            store,
            source,
            root,
            _turn: turn,
            _hold: hold,
        })
    }

    /// The root of a tree without anything in it.
    pub(super) fn empty(store: &Store) -> Result<Cid, Failure> {
        let built = directory::build(&UNIXFS_V0_2015, [])?;
        if !store.has(&built.entry.cid)? {
            store.put(&built.blocks)?;
        }
        Ok(built.entry.cid)
    }

    /// The root as it is now.
    pub(super) fn root(&self) -> Cid {
        self.root
    }

    /// The block with this CID.
    ///
    /// # Errors
    /// It cannot be had.
    pub(in crate::commands::ipfs) fn block(&mut self, cid: &Cid, io: &Io) -> Result<Block, Failure> {
        self.source.block(cid, io)
    }

    /// Where blocks are stored.
    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// Where blocks are read from.
    pub(super) fn source(&mut self) -> &mut Source<'a> {
        &mut self.source
    }

    /// What is at a place.
    ///
    /// # Errors
    /// Nothing, or something on the way is no directory.
    pub(in crate::commands::ipfs) fn find(&mut self, names: &[String], io: &Io) -> Result<Block, Failure> {
        let mut at = self.source.block(&self.root, io)?;
        for (index, name) in names.iter().enumerate() {
            if stat(&at)? != Stat::Directory {
                let way = names.get(..=index).unwrap_or_default().join("/");
                return Err(Failure::new(
                    Kind::NotFound,
                    format!("cannot access {way}: Not a directory"),
                ));
            }
            let cid = self.entry(&at, name, io)?.ok_or_else(missing)?.cid;
            at = self.source.block(&cid, io)?;
        }
        Ok(at)
    }

    /// As [`Tree::find`], of what may not be there.
    pub(super) fn look(&mut self, names: &[String], io: &Io) -> Result<Option<Block>, Failure> {
        match self.find(names, io) {
            Ok(block) => Ok(Some(block)),
            Err(failure) if failure.kind() == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The directory at a place.
    ///
    /// # Errors
    /// As [`Tree::find`], or it is none.
    pub(in crate::commands::ipfs) fn directory(&mut self, names: &[String], io: &Io) -> Result<Block, Failure> {
        let block = self.find(names, io)?;
        match stat(&block)? {
            Stat::Directory => Ok(block),
            _ => Err(Failure::new(
                Kind::BadInput,
                format!("{} is not a directory", written(names)),
            )),
        }
    }

    fn entry(&mut self, directory: &Block, name: &str, io: &Io) -> Result<Option<Link>, Failure> {
        let mut lookup = Lookup::new(name);
        let mut at = directory.clone();
        loop {
            match lookup.feed(&at)? {
                Found::Entry(link) => return Ok(Some(link)),
                Found::Missing => return Ok(None),
                Found::Below(cid) => at = self.source.block(&cid, io)?,
            }
        }
    }

    /// Puts something into a directory that has nothing of that name.
    ///
    /// # Errors
    /// It has, or is no directory.
    pub(in crate::commands::ipfs) fn add(&mut self, place: &Place, node: &Block, io: &Io) -> Result<(), Failure> {
        let Some((dir, name)) = place.split().filter(|_| !place.is_directory) else {
            return Err(Failure::usage("cannot create file with empty name"));
        };
        let directory = self.directory(dir, io)?;
        if self.entry(&directory, name, io)?.is_some() {
            return Err(Failure::new(Kind::Refused, "directory already has entry by that name")
                .next("remove it first with `ipfs files rm`, or take another name"));
        }
        self.set(dir, name, Some(entry(node)?), io)
    }

    /// Makes a directory, and those on the way to it where `parents`. One that is there is no failure then.
    ///
    /// # Errors
    /// Something else is there, or nothing on the way to it.
    pub(super) fn make(&mut self, place: &Place, parents: bool, profile: &Profile, io: &Io) -> Result<(), Failure> {
        for length in 1..=place.names.len() {
            let (names, is_last) = (&place.names[..length], length == place.names.len());
            match self.look(names, io)? {
                Some(block) if stat(&block)? == Stat::Directory && (!is_last || parents) => {}
                Some(_) if is_last => return Err(Failure::new(Kind::Refused, "file already exists")),
                Some(_) => {
                    let name = written(names);
                    return Err(Failure::new(Kind::BadInput, format!("{name} was not a directory")));
                }
                None if is_last || parents => {
                    let built = directory::build(profile, [])?;
                    self.store.put(&built.blocks)?;
                    if let Some((name, dir)) = names.split_last() {
                        self.set(dir, name, Some(built.entry), io)?;
                    }
                }
                None => return Err(missing()),
            }
        }
        Ok(())
    }

    /// Puts an entry into a directory, in the place of one of that name, or takes it out; and so on up to the root.
    ///
    /// # Errors
    /// A block cannot be had or stored.
    pub(super) fn set(&mut self, dir: &[String], name: &str, mut entry: Option<Entry>, io: &Io) -> Result<(), Failure> {
        let (mut dir, mut name) = (dir, name);
        loop {
            let block = self.find(dir, io)?;
            // The root has the version that is set for new content; the others keep theirs.
            let profile = match dir {
                [] => UNIXFS_V0_2015,
                _ => profile_of(block.cid()),
            };
            let source = &mut self.source;
            let change = [(name.to_owned(), entry)];
            let updated = update(&profile, block.cid(), change, &mut |cid| source.block(cid, io))?;
            self.store.put(&updated.blocks)?;
            match dir.split_last() {
                Some((last, above)) => (dir, name, entry) = (above, last, Some(updated.entry)),
                None => {
                    self.root = updated.entry.cid;
                    return Ok(());
                }
            }
        }
    }

    /// The changed tree counts from now on, whatever happens to this process or the power.
    ///
    /// # Errors
    /// The disk is full, or fails: the old tree counts then.
    pub(in crate::commands::ipfs) fn commit(self) -> Result<(), Failure> {
        let root = self.root;
        self.replace(root)
    }

    /// Another root counts from now on.
    ///
    /// # Errors
    /// As [`Tree::commit`].
    pub(super) fn replace(self, root: Cid) -> Result<(), Failure> {
        // The pin first: a root that counts is never one that a collection takes.
        self.store.pin(PARTIAL_OWNER, &root)?;
        self.store.flush()?;
        let session = self.call.session;
        let file = session.root().join(ROOT_FILE);
        let replaced = session
            .disk()
            .replace(&file, format!("{root}\n").as_bytes(), Access::Owner);
        replaced.map_err(|error| Failure::file(&error.path, &error.source))?;
        for pin in self.store.pins(Some(PARTIAL_OWNER))? {
            if pin.cid != root {
                self.store.unpin(PARTIAL_OWNER, &pin.cid)?;
            }
        }
        Ok(self.store.flush()?)
    }
}

/// What a directory needs to link to a node.
///
/// # Errors
/// It is neither bytes nor UnixFS.
pub(super) fn entry(node: &Block) -> Result<Entry, Failure> {
    let len = node.data().len() as u64;
    let (below, size) = match node.cid().codec() {
        RAW => (0, len),
        _ => {
            let (node, data) = decode(node)?;
            (node.links_tsize(), data.content_len())
        }
    };
    Ok(Entry {
        cid: *node.cid(),
        tsize: below.saturating_add(len),
        size,
    })
}

/// The links of a node that is no leaf.
///
/// # Errors
/// It is malformed.
pub(super) fn links(block: &Block) -> Result<Vec<Cid>, Failure> {
    if block.cid().codec() != DAG_PB {
        return Ok(Vec::new());
    }
    let node = PbNode::decode(block.data()).map_err(|source| NodeError::Malformed {
        cid: *block.cid(),
        source,
    })?;
    Ok(node.links.into_iter().map(|link| link.cid).collect())
}
