//! Paths: from a root through directories, HAMTs and values to a block and what is left of the path.
//!
//! Rules of the IPFS path gateway: in UnixFS a segment is the name of an entry; in dag-cbor and dag-json it is a key or an index,
//! and links are crossed without a segment of their own. Symlinks are not followed.

use cid::Cid;

use super::directory::{DirectoryError, Found, Lookup};
use super::node::NodeError;
use crate::block::{Block, DAG_CBOR, DAG_JSON, DAG_PB};
use crate::dag::{Malformed, Walked, walk};

/// The most segments of a path.
pub const MAX_SEGMENTS: usize = 256;
/// The most links that one path crosses: dag-cbor blocks that are nothing but a link take no segment.
pub const MAX_CROSSINGS: usize = 2 * MAX_SEGMENTS;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The block.
    pub cid: Cid,
    /// What of the path leads on within that block: keys of a dag-cbor value, else nothing.
    pub remainder: Vec<String>,
    /// The root, then the block that each crossing into another entry or link led to; the last one is `cid`.
    pub roots: Vec<Cid>,
}

/// What a [`Resolver`] does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It needs this block.
    Need(Cid),
    /// It has arrived.
    Done(Resolved),
}

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No such entry, key or index.
    #[error("there is no {segment:?} in {cid}")]
    NotFound {
        /// The directory or block that does not have it.
        cid: Cid,
        /// The segment of the path.
        segment: String,
    },
    /// The path goes on, but the block has nothing below it.
    #[error("{cid} has nothing below it, so {segment:?} leads nowhere")]
    NothingBelow {
        /// The block.
        cid: Cid,
        /// The segment of the path.
        segment: String,
    },
    /// The path goes on through a codec that is not read here.
    #[error("{cid} has codec 0x{codec:x}, which paths cannot go through here")]
    UnsupportedCodec {
        /// The block.
        cid: Cid,
        /// Multicodec.
        codec: u64,
    },
    /// A malformed directory on the way.
    #[error(transparent)]
    Directory(DirectoryError),
    /// A malformed dag-cbor block on the way.
    #[error("{cid} is malformed: {source}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong.
        source: Malformed,
    },
    /// More than [`MAX_SEGMENTS`].
    #[error("the path has more than {MAX_SEGMENTS} segments")]
    TooLong,
    /// More than [`MAX_CROSSINGS`].
    #[error("the path crosses more than {MAX_CROSSINGS} links")]
    TooManyCrossings,
    /// A block that was not asked for.
    #[error("{got} was given, not the block that was needed")]
    WrongBlock {
        /// The block.
        got: Cid,
    },
}

/// Follows a path, a block at a time.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// The block to look into next.
    at: Cid,
    path: Vec<String>,
    /// Segments that are behind.
    used: usize,
    /// The search in the directory that `at` is a node of.
    lookup: Option<Lookup>,
    roots: Vec<Cid>,
    /// Whether the rest of the path leads into the block `at` and no further.
    arrived: bool,
}

impl Resolver {
    /// Starts at `root`. `path` is segments between slashes, percent signs taken literally; empty segments are
    /// skipped. An empty path leads to the root without needing any block.
    ///
    /// # Errors
    /// [`ResolveError::TooLong`].
    pub fn new(root: Cid, path: &str) -> Result<Self, ResolveError> {
        let path: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .take(MAX_SEGMENTS + 1)
            .map(str::to_owned)
            .collect();
        if path.len() > MAX_SEGMENTS {
            return Err(ResolveError::TooLong);
        }
        let arrived = path.is_empty();
        Ok(Self {
            at: root,
            path,
            used: 0,
            lookup: None,
            roots: vec![root],
            arrived,
        })
    }

    /// The entry or value that has been reached, and the path that is left below it; nothing in the middle of a directory.
    pub fn ahead(&self) -> Option<(Cid, String)> {
        let rest = || self.path[self.used.min(self.path.len())..].join("/");
        self.lookup.is_none().then(|| (self.at, rest()))
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        if !self.arrived {
            return Step::Need(self.at);
        }
        let remainder = self.path[self.used.min(self.path.len())..].to_vec();
        Step::Done(Resolved {
            cid: self.at,
            remainder,
            roots: self.roots.clone(),
        })
    }

    /// Takes the block that [`Resolver::step`] needed.
    ///
    /// # Errors
    /// The path leads nowhere, or the block is not what it should be. The resolver has not moved then.
    pub fn feed(&mut self, block: &Block) -> Result<(), ResolveError> {
        let cid = *block.cid();
        let Some(segment) = self.path.get(self.used).filter(|_| !self.arrived && cid == self.at) else {
            return Err(ResolveError::WrongBlock { got: cid });
        };
        match cid.codec() {
            DAG_PB => {
                let mut lookup = self.lookup.clone().unwrap_or_else(|| Lookup::new(segment));
                match lookup.feed(block) {
                    Ok(Found::Entry(link)) => {
                        self.lookup = None;
                        self.cross(link.cid, 1)?;
                    }
                    Ok(Found::Below(node)) => {
                        self.lookup = Some(lookup);
                        self.at = node;
                    }
                    Ok(Found::Missing) => {
                        let cid = self.roots.last().copied().unwrap_or(cid);
                        return Err(ResolveError::NotFound {
                            cid,
                            segment: segment.clone(),
                        });
                    }
                    Err(DirectoryError::NotADirectory { cid }) => {
                        return Err(ResolveError::NothingBelow {
                            cid,
                            segment: segment.clone(),
                        });
                    }
                    Err(error) => return Err(ResolveError::Directory(error)),
                }
            }
            // A node of a HAMT that is not dag-pb is no node of a HAMT.
            _ if self.lookup.is_some() => return Err(ResolveError::Directory(NodeError::NotUnixFs { cid }.into())),
            DAG_CBOR | DAG_JSON => {
                let rest = &self.path[self.used..];
                let malformed = |source| ResolveError::Malformed { cid, source };
                match walk(block, rest).map_err(malformed)? {
                    Walked::Link(target, used) => self.cross(target, used)?,
                    Walked::Value => self.arrived = true,
                    Walked::Missing(at) => {
                        return Err(ResolveError::NotFound {
                            cid,
                            segment: rest[at].clone(),
                        });
                    }
                    Walked::Leaf(at) => {
                        return Err(ResolveError::NothingBelow {
                            cid,
                            segment: rest[at].clone(),
                        });
                    }
                }
            }
            crate::block::RAW => {
                return Err(ResolveError::NothingBelow {
                    cid,
                    segment: segment.clone(),
                });
            }
            codec => return Err(ResolveError::UnsupportedCodec { cid, codec }),
        }
        Ok(())
    }

    /// Goes over into another block after `used` more segments.
    fn cross(&mut self, target: Cid, used: usize) -> Result<(), ResolveError> {
        if self.roots.len() > MAX_CROSSINGS {
            return Err(ResolveError::TooManyCrossings);
        }
        self.used += used;
        self.at = target;
        self.roots.push(target);
        self.arrived = self.used == self.path.len();
        Ok(())
    }
}
