//! The part of the lineage that is shown.

use odf::lineage::Lineage;
use odf::metadata::DatasetId;

/// What a line or box says of one dataset.
pub(super) struct Described {
    pub(super) label: String,
    /// Root, Derivative, or that it is not here.
    pub(super) kind: &'static str,
    pub(super) here: bool,
}

/// The part of the graph that is shown: datasets in order, inputs first.
pub(super) struct View {
    pub(super) lineage: Lineage,
    pub(super) asked: Vec<DatasetId>,
    pub(super) all: Vec<DatasetId>,
}

impl View {
    pub(super) fn describe(&self, id: &DatasetId) -> Described {
        if let Some(node) = self.lineage.node(id) {
            return Described {
                label: node.label(),
                kind: node.kind.name(),
                here: true,
            };
        }
        // Whoever reads it has a name for it at least.
        let inputs = self.lineage.nodes().flat_map(|node| &node.inputs);
        let alias = inputs
            .filter(|input| input.id == *id)
            .map(|input| input.alias.clone())
            .next();
        Described {
            label: alias.unwrap_or_else(|| id.to_string()),
            kind: "not here",
            here: false,
        }
    }

    pub(super) fn inputs(&self, id: &DatasetId) -> Vec<DatasetId> {
        let inputs = self
            .lineage
            .node(id)
            .map(|node| node.inputs.iter().map(|input| input.id).collect());
        inputs.unwrap_or_default()
    }
}
