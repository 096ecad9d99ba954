//! Links and values of a block, whatever its codec, within fixed bounds.
//!
//! Every function here takes bytes that strangers wrote. None panics, recurses without a limit or allocates more
//! than a small multiple of the block; see [`MAX_LINKS`], [`MAX_DEPTH`] and [`MAX_VALUES`].

mod cbor;
mod json;
mod malformed;
mod order;
mod pb;

use cid::Cid;
pub use ipld_core::ipld::Ipld;

pub(crate) use self::cbor::Walked;
pub use self::malformed::{MAX_DEPTH, MAX_LINKS, MAX_VALUES, Malformed};
pub use self::order::{DepthFirst, MAX_WAITING};
pub use self::pb::{PbLink, PbNode};
use crate::block::{Block, DAG_CBOR, DAG_JSON, DAG_PB, RAW};

/// Multicodec of CBOR that is not dag-cbor, and has no links.
const PLAIN_CBOR: u64 = 0x51;
/// Multicodec of JSON that is not dag-json, and has no links.
const PLAIN_JSON: u64 = 0x0200;

/// Why a block cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DagError {
    /// The bytes are not what the codec says.
    #[error("{cid} is malformed: {source}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong.
        source: Malformed,
    },
    /// A codec that is not read here.
    #[error("{cid} has codec 0x{codec:x}, which cannot be read here")]
    UnsupportedCodec {
        /// The block.
        cid: Cid,
        /// Multicodec.
        codec: u64,
    },
    /// More links wait for their turn in a walk than may.
    #[error(
        "the links of {cid} are more than a walk keeps (at most {} in all that it is within)",
        order::MAX_WAITING
    )]
    TooWide {
        /// The block.
        cid: Cid,
    },
    /// A path within the block that leads nowhere.
    #[error("{cid} has no value named {segment:?}")]
    NoSuchValue {
        /// The block.
        cid: Cid,
        /// The first segment that was not found.
        segment: String,
    },
}

/// All links of a block in the order of its bytes, repeated ones as often as they occur. Raw blocks have none, nor have
/// plain JSON and plain CBOR.
///
/// # Errors
/// Malformed bytes, or a codec other than these, dag-pb, dag-cbor and dag-json.
pub fn links(block: &Block) -> Result<Vec<Cid>, DagError> {
    let cid = *block.cid();
    let found = match cid.codec() {
        RAW | PLAIN_CBOR | PLAIN_JSON => Ok(Vec::new()),
        DAG_PB => PbNode::decode(block.data()).map(|node| node.links.into_iter().map(|link| link.cid).collect()),
        DAG_CBOR => cbor::links(block.data()),
        DAG_JSON => json::links(block.data()),
        codec => return Err(DagError::UnsupportedCodec { cid, codec }),
    };
    found.map_err(|source| DagError::Malformed { cid, source })
}

/// A block as a value of the IPLD data model: raw as bytes, dag-pb as `{Data, Links: [{Hash, Name, Tsize}]}`.
///
/// # Errors
/// Malformed bytes, a codec other than raw, dag-pb, dag-cbor and dag-json, and a block of the latter two of more than
/// [`MAX_VALUES`] values.
pub fn value(block: &Block) -> Result<Ipld, DagError> {
    let cid = *block.cid();
    let value = match cid.codec() {
        RAW => Ok(Ipld::Bytes(block.data().to_vec())),
        DAG_PB => PbNode::decode(block.data()).map(pb_value),
        DAG_CBOR => cbor::check_expandable(block.data()).and_then(|()| {
            serde_ipld_dagcbor::from_slice(block.data()).map_err(|error| Malformed::BadValue(error.to_string()))
        }),
        DAG_JSON => json::value(block.data()),
        codec => return Err(DagError::UnsupportedCodec { cid, codec }),
    };
    value.map_err(|source| DagError::Malformed { cid, source })
}

/// The value at `path` within a block; links are not followed.
///
/// # Errors
/// As [`value`], and [`DagError::NoSuchValue`].
pub fn value_at<S: AsRef<str>>(block: &Block, path: &[S]) -> Result<Ipld, DagError> {
    let mut at = value(block)?;
    for segment in path.iter().map(AsRef::as_ref) {
        let next = match at {
            Ipld::Map(mut map) => map.remove(segment),
            Ipld::List(mut list) => segment
                .parse()
                .ok()
                .filter(|index| *index < list.len())
                .map(|index| list.swap_remove(index)),
            _ => None,
        };
        at = next.ok_or_else(|| DagError::NoSuchValue {
            cid: *block.cid(),
            segment: segment.to_owned(),
        })?;
    }
    Ok(at)
}

/// Follows `path` within a block of dag-cbor or dag-json.
pub(crate) fn walk<S: AsRef<str>>(block: &Block, path: &[S]) -> Result<Walked, Malformed> {
    match block.cid().codec() {
        DAG_JSON => Ok(json::walk(&json::value(block.data())?, path)),
        _ => cbor::walk(block.data(), path),
    }
}

fn pb_value(node: PbNode) -> Ipld {
    let link = |link: PbLink| {
        Ipld::Map(
            [
                ("Hash".to_owned(), Ipld::Link(link.cid)),
                (
                    "Name".to_owned(),
                    Ipld::String(String::from_utf8_lossy(&link.name).into_owned()),
                ),
                ("Tsize".to_owned(), Ipld::Integer(i128::from(link.tsize))),
            ]
            .into(),
        )
    };
    let mut map = std::collections::BTreeMap::new();
    if let Some(data) = node.data {
        map.insert("Data".to_owned(), Ipld::Bytes(data.to_vec()));
    }
    map.insert(
        "Links".to_owned(),
        Ipld::List(node.links.into_iter().map(link).collect()),
    );
    Ipld::Map(map)
}

#[cfg(test)]
mod tests;
