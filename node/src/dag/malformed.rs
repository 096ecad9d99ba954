//! What blocks are refused for, and the bounds that they are held to.

use cid::Cid;

use crate::protobuf::Broken;

/// The most links that one block may hold. A 2 MiB directory of one-letter names holds about 45,000.
pub const MAX_LINKS: usize = 1 << 16;

/// The deepest nesting of lists and maps that is read. The decoder that expands values stops at 127 by itself.
pub const MAX_DEPTH: usize = 100;
/// The most values that one block is expanded to in memory.
pub const MAX_VALUES: usize = 1 << 18;

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

impl From<Broken> for Malformed {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Truncated => Self::Truncated,
            Broken::Number => Self::BadVarint,
            Broken::WireType { .. } => Self::WrongWireType,
        }
    }
}

/// The CID that fills `bytes` exactly.
pub(super) fn whole_cid(bytes: &[u8]) -> Result<Cid, Malformed> {
    let cid = Cid::try_from(bytes).map_err(|_| Malformed::BadCid)?;
    if cid.encoded_len() == bytes.len() {
        Ok(cid)
    } else {
        Err(Malformed::BadCid)
    }
}
