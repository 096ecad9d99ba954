//! dag-pb: the node form of UnixFS, a list of named links and some bytes.
//!
//! Spec: <https://ipld.io/specs/codecs/dag-pb/spec/>. Writing is canonical: links first, sorted by name, with hash,
//! name and size all present. Reading also takes what older writers produced (data first, links unsorted, absent
//! names and sizes), so a node is never re-encoded to be passed on: the block keeps the bytes it came with.

use bytes::Bytes;
use cid::Cid;

use super::malformed::{MAX_LINKS, Malformed, whole_cid};
use crate::protobuf::{Value, next_field, put_bytes, put_number};

/// A named link to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PbLink {
    /// The child.
    pub cid: Cid,
    /// The name as bytes: the format promises UTF-8, old nodes do not always keep the promise.
    pub name: Bytes,
    /// Length of the child block plus the `tsize` of all its links: the size of the subtree with nothing
    /// deduplicated. As claimed by the writer, never checked.
    pub tsize: u64,
}

/// A decoded dag-pb node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PbNode {
    /// Children in the order of the block.
    pub links: Vec<PbLink>,
    /// The node's own bytes; absent and empty are different blocks.
    pub data: Option<Bytes>,
}

impl PbNode {
    /// Reads a node. Names and data share memory with `bytes`.
    ///
    /// # Errors
    /// Whatever strict dag-pb forbids: unknown or repeated fields, links in two runs, a link without a whole CID;
    /// and more than [`MAX_LINKS`] links.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut node = Self::default();
        let mut links_closed = false;
        let mut rest = &bytes[..];
        while let Some(field) = next_field(&mut rest)? {
            match field {
                (1, Value::Bytes(_)) if node.data.is_some() => return Err(Malformed::Repeated),
                (1, Value::Bytes(data)) => {
                    node.data = Some(bytes.slice_ref(data));
                    links_closed = !node.links.is_empty();
                }
                (2, Value::Bytes(_)) if links_closed => return Err(Malformed::OutOfOrder),
                (2, Value::Bytes(_)) if node.links.len() == MAX_LINKS => return Err(Malformed::TooManyLinks),
                (2, Value::Bytes(link)) => node.links.push(PbLink::decode(bytes, link)?),
                (1 | 2, _) => return Err(Malformed::WrongWireType),
                (field, _) => return Err(Malformed::UnexpectedField(field)),
            }
        }
        Ok(node)
    }

    /// The canonical block of this node. Links are sorted by name, equal names keep their order.
    pub fn encode(&self) -> Vec<u8> {
        let mut links: Vec<&PbLink> = self.links.iter().collect();
        links.sort_by(|a, b| a.name.cmp(&b.name));
        let mut out = Vec::with_capacity(64 * links.len() + self.data.as_ref().map_or(0, Bytes::len) + 8);
        let mut inner = Vec::with_capacity(128);
        for link in links {
            inner.clear();
            put_bytes(&mut inner, 1, &link.cid.to_bytes());
            put_bytes(&mut inner, 2, &link.name);
            put_number(&mut inner, 3, link.tsize);
            put_bytes(&mut out, 2, &inner);
        }
        if let Some(data) = &self.data {
            put_bytes(&mut out, 1, data);
        }
        out
    }

    /// Sum of the links' `tsize`, what this node's parent adds to the length of its block.
    pub fn links_tsize(&self) -> u64 {
        self.links.iter().fold(0, |sum, link| sum.saturating_add(link.tsize))
    }
}

impl PbLink {
    /// Reads the link that `rest` holds, a part of `bytes`.
    fn decode(bytes: &Bytes, mut rest: &[u8]) -> Result<Self, Malformed> {
        let (mut cid, mut name, mut tsize) = (None, Bytes::new(), 0);
        let mut last = 0;
        while let Some((field, value)) = next_field(&mut rest)? {
            if (1..=3).contains(&field) && field <= last {
                return Err(if field == last {
                    Malformed::Repeated
                } else {
                    Malformed::OutOfOrder
                });
            }
            last = field;
            match (field, value) {
                (1, Value::Bytes(hash)) => cid = Some(whole_cid(hash)?),
                (2, Value::Bytes(text)) => name = bytes.slice_ref(text),
                (3, Value::Number(size)) => tsize = size,
                (1..=3, _) => return Err(Malformed::WrongWireType),
                (field, _) => return Err(Malformed::UnexpectedField(field)),
            }
        }
        Ok(Self {
            cid: cid.ok_or(Malformed::MissingHash)?,
            name,
            tsize,
        })
    }
}
