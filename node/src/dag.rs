//! Links and values of a block, whatever its codec, within fixed bounds.
//!
//! Every function here takes bytes that strangers wrote. None panics, recurses without a limit or allocates more
//! than a small multiple of the block; see [`MAX_LINKS`], [`MAX_DEPTH`] and [`MAX_VALUES`].

mod cbor;
mod pb;
pub(crate) mod wire;

use cid::Cid;
use ipld_core::ipld::Ipld;

pub use self::cbor::{MAX_DEPTH, MAX_VALUES};
pub(crate) use self::cbor::{Walked, walk};
pub use self::pb::{PbLink, PbNode};
use crate::block::{Block, DAG_CBOR, DAG_PB, RAW};

/// The most links that one block may hold. A 2 MiB directory of one-letter names holds about 45,000.
pub const MAX_LINKS: usize = 1 << 16;

/// Multicodec of CBOR that is not dag-cbor, and has no links.
const PLAIN_CBOR: u64 = 0x51;
/// Multicodec of JSON that is not dag-json, and has no links.
const PLAIN_JSON: u64 = 0x0200;

/// What is wrong with bytes that claim to be dag-pb, UnixFS or dag-cbor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end within a value.
    #[error("the bytes end within a value")]
    Truncated,
    /// Bytes follow the value.
    #[error("bytes follow the value")]
    TrailingBytes,
    /// A varint of more than 64 bits.
    #[error("a varint has more than 64 bits")]
    BadVarint,
    /// A protobuf field that the format does not have.
    #[error("field {0} does not belong there")]
    UnexpectedField(u64),
    /// A known protobuf field in another wire type.
    #[error("a field has the wrong wire type")]
    WrongWireType,
    /// A field that may occur once occurs again.
    #[error("a field is repeated")]
    Repeated,
    /// Fields in an order that the format forbids.
    #[error("fields are out of order")]
    OutOfOrder,
    /// A link without a CID.
    #[error("a link has no CID")]
    MissingHash,
    /// Bytes that are not exactly one CID.
    #[error("a link is not one whole CID")]
    BadCid,
    /// More than [`MAX_LINKS`].
    #[error("more than {MAX_LINKS} links")]
    TooManyLinks,
    /// More than [`MAX_VALUES`].
    #[error("more than {MAX_VALUES} values")]
    TooManyValues,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A CBOR head that dag-cbor does not have.
    #[error("0x{0:02x} does not begin a dag-cbor value")]
    BadHead(u8),
    /// A CBOR tag other than 42.
    #[error("tag {0} is not that of a link")]
    ForeignTag(u64),
    /// A map key that is not text.
    #[error("a map key is not text")]
    KeyNotText,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A UnixFS node without a type, or with one that does not exist.
    #[error("no UnixFS type of that number")]
    BadUnixFsType,
    /// A HAMT node whose parameters or links break the rules of the format.
    #[error("the HAMT node is inconsistent: {0}")]
    BadShard(&'static str),
    /// Values that the dag-cbor decoder refuses although their shape is right.
    #[error("the dag-cbor value cannot be read: {0}")]
    BadValue(String),
}

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
/// Malformed bytes, or a codec other than these, dag-pb and dag-cbor.
pub fn links(block: &Block) -> Result<Vec<Cid>, DagError> {
    let cid = *block.cid();
    let found = match cid.codec() {
        RAW | PLAIN_CBOR | PLAIN_JSON => Ok(Vec::new()),
        DAG_PB => PbNode::decode(block.data()).map(|node| node.links.into_iter().map(|link| link.cid).collect()),
        DAG_CBOR => cbor::links(block.data()),
        codec => return Err(DagError::UnsupportedCodec { cid, codec }),
    };
    found.map_err(|source| DagError::Malformed { cid, source })
}

/// A block as a value of the IPLD data model: raw as bytes, dag-pb as `{Data, Links: [{Hash, Name, Tsize}]}`.
///
/// # Errors
/// Malformed bytes, a codec other than raw, dag-pb and dag-cbor, and a dag-cbor block of more than [`MAX_VALUES`] values.
pub fn value(block: &Block) -> Result<Ipld, DagError> {
    let cid = *block.cid();
    let value = match cid.codec() {
        RAW => Ok(Ipld::Bytes(block.data().to_vec())),
        DAG_PB => PbNode::decode(block.data()).map(pb_value),
        DAG_CBOR => cbor::check_expandable(block.data()).and_then(|()| {
            serde_ipld_dagcbor::from_slice(block.data()).map_err(|error| Malformed::BadValue(error.to_string()))
        }),
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

/// The CID that fills `bytes` exactly.
fn whole_cid(bytes: &[u8]) -> Result<Cid, Malformed> {
    let cid = Cid::try_from(bytes).map_err(|_| Malformed::BadCid)?;
    if cid.encoded_len() == bytes.len() {
        Ok(cid)
    } else {
        Err(Malformed::BadCid)
    }
}

#[cfg(test)]
mod tests;
