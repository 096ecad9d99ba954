//! Chain nodes: one dag-cbor map for each metadata block, derived from the block alone and the CIDs of its files.
//!
//! Whoever has the exact bytes of the metadata blocks can derive the same nodes, so a puller never walks them over the
//! network: it computes them, and compares the last one with what the publisher's root names.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use odf_node::block::{Block, Cid, DAG_CBOR};

use super::LayoutError;
use odf_metadata::MetadataEvent;
use odf_metadata::codec::EncodedBlock;

/// The links a chain node carries beside the metadata block itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Links {
    pub(super) prev: Option<Cid>,
    pub(super) data: Option<Cid>,
    pub(super) checkpoint: Option<Cid>,
}

/// Derives the chain node of a metadata block (`docs/formats.md`, "chain node").
pub(super) fn chain_node(block: &EncodedBlock, raw: Cid, links: Links) -> Result<Block, LayoutError> {
    let decoded = block.block();
    let mut map = BTreeMap::from([
        ("seq".to_owned(), Ipld::Integer(i128::from(decoded.sequence_number))),
        ("hash".to_owned(), Ipld::Bytes(block.hash().to_bytes())),
        ("time".to_owned(), Ipld::String(decoded.system_time.to_string())),
        ("event".to_owned(), event_map(&decoded.event)?),
        ("prev".to_owned(), links.prev.map_or(Ipld::Null, Ipld::Link)),
        ("raw".to_owned(), Ipld::Link(raw)),
    ]);
    map.extend(links.data.map(|cid| ("data".to_owned(), Ipld::Link(cid))));
    map.extend(links.checkpoint.map(|cid| ("checkpoint".to_owned(), Ipld::Link(cid))));
    encode(&Ipld::Map(map))
}

/// Encodes a node as dag-cbor.
pub(super) fn encode(node: &Ipld) -> Result<Block, LayoutError> {
    let bytes = serde_ipld_dagcbor::to_vec(node).map_err(|error| LayoutError::Encode(error.to_string()))?;
    Ok(Block::new(DAG_CBOR, bytes)?)
}

/// The event in its JSON form, as IPLD.
fn event_map(event: &MetadataEvent) -> Result<Ipld, LayoutError> {
    let json = serde_json::to_value(event).map_err(|error| LayoutError::Encode(error.to_string()))?;
    Ok(from_json(json))
}

fn from_json(json: serde_json::Value) -> Ipld {
    use serde_json::Value;
    match json {
        Value::Null => Ipld::Null,
        Value::Bool(value) => Ipld::Bool(value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), _, _) => Ipld::Integer(value.into()),
            (_, Some(value), _) => Ipld::Integer(value.into()),
            (_, _, value) => Ipld::Float(value.unwrap_or_default()),
        },
        Value::String(value) => Ipld::String(value),
        Value::Array(items) => Ipld::List(items.into_iter().map(from_json).collect()),
        Value::Object(entries) => Ipld::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key, from_json(value)))
                .collect(),
        ),
    }
}
