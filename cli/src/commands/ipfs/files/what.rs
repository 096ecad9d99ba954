//! What is copied into the tree of `ipfs files`, or looked at: content, or a place in the tree.

use odf_node::block::Block;

use super::super::call::Call;
use super::super::path::IpfsPath;
use super::super::source::whole_block;
use super::place::Place;
use super::tree::Tree;
use crate::failure::Failure;
use crate::io::Io;

/// What is said to be copied or looked at: content, or a place in the tree.
pub(super) enum What {
    /// Content, wherever it is.
    Content(IpfsPath),
    /// A place in the tree.
    Place(Place),
}

impl What {
    /// Reads what was typed.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn parse(typed: &str) -> Result<Self, Failure> {
        let is_content = ["/ipfs/", "/ipns/", "ipfs://", "ipns://"]
            .iter()
            .any(|space| typed.starts_with(space));
        match typed.parse() {
            Ok(path) if is_content => Ok(Self::Content(path)),
            _ => Ok(Self::Place(Place::parse(typed)?)),
        }
    }

    /// The root of what is meant.
    ///
    /// # Errors
    /// It is not there, or cannot be had.
    pub(super) fn find(&self, call: &Call<'_>, io: &Io) -> Result<Block, Failure> {
        match self {
            Self::Content(path) => {
                let mut source = call.source()?;
                let resolved = source.resolve(path, io)?;
                source.block(&whole_block(&resolved, path)?, io)
            }
            Self::Place(place) => Tree::read(call)?.find(&place.names, io),
        }
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Content(path) => path.last_segment(),
            Self::Place(place) => place.names.last().cloned().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content(path) => path.fmt(f),
            Self::Place(place) => f.write_str(place.to_string().trim_end_matches('/')),
        }
    }
}
