//! Blocks for one command: from the store, else from peers. What comes from peers is kept until the next GC, or until a limit
//! makes it go (`store.max`).

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;

use odf_node::block::{Block, Cid};
use odf_node::dag::DepthFirst;
use odf_node::fetch::{FetchError, Fetcher};
use odf_node::ipns::Freshness;
use odf_node::store::{Blocks as _, Store};
use odf_node::unixfs::directory::{Link, Listing};
use odf_node::unixfs::export::{self, FileCursor};
use odf_node::unixfs::resolve::{Resolved, Resolver, Step};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::path::{IpfsPath, Root};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Blocks that are fetched before their turn.
const READ_AHEAD: usize = 32;
/// Names that one path may lead through, one naming the next.
const MAX_NAME_DEPTH: usize = 32;

/// Where a command reads blocks from.
pub(in crate::commands) struct Source<'a> {
    session: &'a Session,
    store: &'a Store,
    /// Whether only what is here is given.
    offline: bool,
    /// When it is no longer waited for peers.
    deadline: Option<Instant>,
    /// Made when the first block is missing here, so that reading what is here starts no peer.
    peers: Option<Peers>,
}

/// Gets each piece of a file and the length of the whole.
type Take<'a> = &'a mut dyn FnMut(&[u8], u64, &mut Io) -> Result<(), Failure>;

struct Peers {
    fetcher: Fetcher,
    ahead: HashMap<Cid, JoinHandle<Result<Block, FetchError>>>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for task in self.ahead.values() {
            task.abort();
        }
    }
}

impl<'a> Source<'a> {
    /// Reads through the session's store and, where needed, its peer.
    pub(in crate::commands) fn new(session: &'a Session) -> Result<Self, Failure> {
        Ok(Self {
            session,
            store: session.workspace()?.store(),
            offline: false,
            deadline: None,
            peers: None,
        })
    }

    /// Asks nobody from now on if `offline`, and waits for peers until `deadline` only.
    pub(super) fn bound(&mut self, offline: bool, deadline: Option<Instant>) {
        (self.offline, self.deadline) = (offline, deadline);
    }

    /// Refuses a file that its disk has no room for: whoever made it may say in a few blocks that it has as many bytes as they
    /// like.
    ///
    /// # Errors
    /// Less is free than `size` bytes.
    pub(super) fn check_room(&self, size: u64, target: &Path) -> Result<(), Failure> {
        match target.parent().and_then(|dir| self.store.disk().free_bytes(dir)) {
            Some(free) if free < size => {
                let (size, free) = (output::bytes(size), output::bytes(free));
                let target = target.display();
                let said = format!("{target} would take {size}, and {free} are free on its disk");
                Err(Failure::new(Kind::DiskFull, said).next(
                    "make room, save it on another disk with --output, or read a part with `odfs ipfs cat --offset N --length N`",
                ))
            }
            _ => Ok(()),
        }
    }

    /// The block, wherever it is.
    ///
    /// # Errors
    /// Nobody who can be reached has it, the store fails, or the user stops the wait.
    pub(in crate::commands) fn block(&mut self, cid: &Cid, io: &Io) -> Result<Block, Failure> {
        if let Some(block) = self.store.get(cid)? {
            return Ok(block);
        }
        if self.offline {
            return Err(Failure::new(
                Kind::NotFound,
                format!("block was not found locally (offline): ipld: could not find {cid}"),
            ));
        }
        let task = self.fetch(cid)?;
        wait_until(self.deadline, self.session, io, async {
            match task.await {
                Ok(fetched) => fetched.map_err(Failure::from),
                Err(_) => Err(Failure::new(Kind::Bug, format!("the fetch of {cid} was lost"))),
            }
        })
    }

    /// Lets blocks come that will be needed soon, if peers are in use anyway.
    pub(in crate::commands) fn read_ahead(&mut self, upcoming: impl Iterator<Item = Cid>) -> Result<(), Failure> {
        if self.peers.is_none() {
            return Ok(());
        }
        for cid in upcoming.take(READ_AHEAD) {
            let known = self.peers.as_ref().is_some_and(|peers| peers.ahead.contains_key(&cid));
            if !known && !self.store.has(&cid)? {
                let task = self.fetch(&cid)?;
                if let Some(peers) = &mut self.peers {
                    peers.ahead.insert(cid, task);
                }
            }
        }
        Ok(())
    }

    fn fetch(&mut self, cid: &Cid) -> Result<JoinHandle<Result<Block, FetchError>>, Failure> {
        let peers = match &mut self.peers {
            Some(peers) => peers,
            none => {
                let session = self.session.node()?.exchange().session();
                let fetcher = Fetcher::new(self.store.clone(), Some(session));
                none.insert(Peers {
                    fetcher,
                    ahead: HashMap::new(),
                })
            }
        };
        if let Some(task) = peers.ahead.remove(cid) {
            return Ok(task);
        }
        let (fetcher, cid) = (peers.fetcher.clone(), *cid);
        Ok(self
            .session
            .runtime()?
            .spawn(async move { fetcher.passing(&cid).await }))
    }

    /// Follows a path to the block it means.
    ///
    /// # Errors
    /// A name that nobody knows, a segment that does not exist, or a block that cannot be had.
    pub(in crate::commands) fn resolve(&mut self, path: &IpfsPath, io: &Io) -> Result<Resolved, Failure> {
        let mut root = path.root.clone();
        let mut rest = path.rest.clone();
        for _ in 0..=MAX_NAME_DEPTH {
            let name = match root {
                Root::Cid(cid) => {
                    let mut resolver = Resolver::new(cid, &rest)?;
                    loop {
                        match resolver.step() {
                            Step::Done(resolved) => return Ok(resolved),
                            Step::Need(cid) => resolver.feed(&self.block(&cid, io)?)?,
                        }
                    }
                }
                Root::Name(name) => name,
            };
            let node = self.session.node()?;
            let freshness = if self.offline {
                Freshness::Cached
            } else {
                Freshness::Network
            };
            let asked = node.names().resolve(&name, freshness);
            let found = wait_until(self.deadline, self.session, io, asked)?;
            let next: IpfsPath = found.value.parse().map_err(|reason: String| {
                Failure::new(Kind::BadRecord, format!("{name} leads to {:?}: {reason}", found.value))
            })?;
            rest = if next.rest.is_empty() {
                rest
            } else {
                format!("{}/{rest}", next.rest)
            };
            root = next.root;
        }
        Err(Failure::new(
            Kind::BadRecord,
            format!("{} leads through more than {MAX_NAME_DEPTH} names", path.typed),
        ))
    }

    /// The entries of a directory by name.
    ///
    /// # Errors
    /// A block cannot be had, or it is no directory.
    pub(super) fn list(&mut self, directory: &Block, io: &Io) -> Result<Vec<Link>, Failure> {
        let mut listing = Listing::new(*directory.cid());
        let mut links = Vec::new();
        while let Some(next) = listing.ask() {
            links.append(&mut listing.feed(&self.block(&next, io)?)?);
        }
        links.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(links)
    }

    /// All blocks below a block, in the order of a CAR; the block itself is not among them.
    ///
    /// # Errors
    /// One cannot be had, or its links cannot be read.
    pub(super) fn below(&mut self, root: &Cid, io: &Io) -> Result<Vec<Cid>, Failure> {
        let mut order = DepthFirst::new(*root);
        let mut below = Vec::new();
        while let Some(cid) = order.next_block() {
            order.enter(&self.block(&cid, io)?)?;
            self.read_ahead(order.upcoming())?;
            if cid != *root {
                below.push(cid);
            }
        }
        Ok(below)
    }

    /// Reads a file, or a range of it, in order. `take` gets each piece and the length of the whole file.
    ///
    /// # Errors
    /// Not a file, a block that cannot be had, or whatever `take` says.
    pub(super) fn read(&mut self, mut cursor: FileCursor, io: &mut Io, take: Take<'_>) -> Result<(), Failure> {
        loop {
            match cursor.step() {
                export::Step::Done => return Ok(()),
                export::Step::Need(cid) => {
                    let block = self.block(&cid, io)?;
                    cursor.feed(&block)?;
                    self.read_ahead(cursor.upcoming())?;
                }
                export::Step::Data { bytes, .. } => {
                    io.check()?;
                    take(&bytes, cursor.size().unwrap_or_default(), io)?;
                }
            }
        }
    }
}

/// Waits for `work` until `deadline`, if there is one.
///
/// # Errors
/// That of `work`, interrupted, or the time is up.
pub(super) fn wait_until<T, E: Into<Failure>>(
    deadline: Option<Instant>,
    session: &Session,
    io: &Io,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    let Some(deadline) = deadline else {
        return session.wait(io, work);
    };
    session.wait(io, async {
        match tokio::time::timeout_at(deadline, work).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(Failure::new(Kind::Unreachable, "context deadline exceeded")
                .next("wait for longer, as with --timeout 5m")),
        }
    })
}

/// A path that has to end at a block: a value within a dag-cbor block is none.
///
/// # Errors
/// The path goes on inside the block.
pub(in crate::commands) fn whole_block(resolved: &Resolved, path: &IpfsPath) -> Result<Cid, Failure> {
    if resolved.remainder.is_empty() {
        return Ok(resolved.cid);
    }
    Err(Failure::new(
        Kind::BadInput,
        format!(
            "{} is a value within the block {}, not a block",
            path.typed, resolved.cid
        ),
    )
    .next("`odfs ipfs dag get PATH` shows values"))
}
