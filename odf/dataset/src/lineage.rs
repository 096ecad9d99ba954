//! Which dataset is computed from which: the datasets of a workspace as a graph.
//!
//! An edge is an input of the SetTransform in force. Inputs are known by id, so an edge may lead to a dataset that is not
//! here; a chain that came from elsewhere may even claim a cycle, which no walk below falls into.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, CatalogError, Entry};
use crate::dataset::DatasetName;
use odf_metadata::chain::ChainState;
use odf_metadata::{DatasetId, DatasetKind};

/// An input of a derivative dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Which dataset it is.
    pub id: DatasetId,
    /// What the transform calls it.
    pub alias: String,
}

/// A dataset of the workspace with what it is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its identity.
    pub id: DatasetId,
    /// Its name here, if it can be read.
    pub name: Option<DatasetName>,
    /// Whether it has sources or inputs.
    pub kind: DatasetKind,
    /// The inputs of the transform in force, in their order; none for a root dataset.
    pub inputs: Vec<Input>,
}

impl Node {
    /// The name, or the id of a dataset whose name cannot be read.
    pub fn label(&self) -> String {
        let name = self.name.as_ref().map(|name| name.as_str().to_owned());
        name.unwrap_or_else(|| self.id.to_string())
    }
}

/// The graph of the datasets that are here.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    nodes: BTreeMap<DatasetId, Node>,
}

/// The inputs of the transform that is in force at a head. Those whose reference is no id cannot be followed and are left
/// out; the rules of a chain allow none.
pub fn inputs_of(state: &ChainState) -> Vec<Input> {
    let inputs = state.transform.iter().flat_map(|transform| &transform.inputs);
    let resolved = inputs.filter_map(|input| {
        let id = input.dataset_ref.parse().ok()?;
        let alias = input.alias.clone().unwrap_or_else(|| input.dataset_ref.clone());
        Some(Input { id, alias })
    });
    resolved.collect()
}

/// What a dataset of the listing is computed from; nothing, with a warning, if it cannot be opened.
fn node_of(catalog: &Catalog, entry: Entry) -> Option<(DatasetId, Node)> {
    let opened = catalog.open_entry(&entry);
    let opened = opened.inspect_err(|error| tracing::warn!(dataset = %entry.id, %error, "left out of the lineage"));
    let dataset = opened.ok()?;
    let node = Node {
        id: entry.id,
        name: entry.name,
        kind: dataset.kind(),
        inputs: inputs_of(dataset.state()),
    };
    Some((entry.id, node))
}

impl Lineage {
    /// Reads what every dataset of the workspace is computed from. Chains are not read: the kept states say it. A damaged
    /// dataset that cannot be opened is left out, with a warning in the log.
    ///
    /// # Errors
    /// The directory of datasets cannot be read.
    pub fn of(catalog: &Catalog) -> Result<Self, CatalogError> {
        let mut nodes = BTreeMap::new();
        for entry in catalog.entries()? {
            nodes.extend(node_of(catalog, entry));
        }
        Ok(Self { nodes })
    }

    /// As [`Self::of`], of these datasets and all that is computed from them: others are not read.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn below(catalog: &Catalog, ids: &[DatasetId]) -> Result<Self, CatalogError> {
        let mut nodes = BTreeMap::new();
        let (mut met, mut due) = (BTreeSet::new(), ids.to_vec());
        while let Some(id) = due.pop() {
            if !met.insert(id) {
                continue;
            }
            let entry = catalog.entry_of(&id);
            nodes.extend(entry.and_then(|entry| node_of(catalog, entry)));
            due.extend(catalog.computed_from(&id)?);
        }
        Ok(Self { nodes })
    }

    /// As [`Self::of`], of these datasets and all that they are computed from: others are not read.
    pub fn above(catalog: &Catalog, ids: &[DatasetId]) -> Self {
        let mut nodes = BTreeMap::new();
        let (mut met, mut due) = (BTreeSet::new(), ids.to_vec());
        while let Some(id) = due.pop() {
            if !met.insert(id) {
                continue;
            }
            let entry = catalog.entry_of(&id);
            if let Some((id, node)) = entry.and_then(|entry| node_of(catalog, entry)) {
                due.extend(node.inputs.iter().map(|input| input.id));
                nodes.insert(id, node);
            }
        }
        Self { nodes }
    }

    /// The dataset with this id, if it is here.
    pub fn node(&self, id: &DatasetId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// All datasets that are here, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// What transforms call the dataset `id`, which need not be here.
    pub fn alias(&self, id: &DatasetId) -> Option<&str> {
        let mut inputs = self.nodes.values().flat_map(|node| &node.inputs);
        inputs.find(|input| input.id == *id).map(|input| input.alias.as_str())
    }

    /// The datasets that have `id` among their inputs, by id.
    pub fn dependents(&self, id: &DatasetId) -> impl Iterator<Item = &Node> {
        self.nodes
            .values()
            .filter(move |node| node.inputs.iter().any(|input| input.id == *id))
    }

    /// These datasets and all that they are computed from, inputs before what is made of them. Inputs that are not here
    /// are in it too.
    pub fn upstream(&self, of: &[DatasetId]) -> Vec<DatasetId> {
        let inputs = |id: &DatasetId| match self.nodes.get(id) {
            Some(node) => node.inputs.iter().map(|input| input.id).collect(),
            None => Vec::new(),
        };
        ends_first(of, inputs)
    }

    /// These datasets and all that is computed from them, each after what depends on it: the order to delete them in.
    pub fn downstream(&self, of: &[DatasetId]) -> Vec<DatasetId> {
        ends_first(of, |id| self.dependents(id).map(|node| node.id).collect())
    }
}

/// Everything reachable from `starts`, each once and after all that it leads to (cycles apart).
fn ends_first(starts: &[DatasetId], next: impl Fn(&DatasetId) -> Vec<DatasetId>) -> Vec<DatasetId> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for start in starts {
        if !seen.insert(*start) {
            continue;
        }
        // The way from the start, each step with what it has not been followed to yet.
        let mut way = vec![(*start, next(start))];
        while let Some((id, ahead)) = way.last_mut() {
            match ahead.pop() {
                Some(step) if seen.insert(step) => {
                    let ahead = next(&step);
                    way.push((step, ahead));
                }
                Some(_) => {}
                None => {
                    order.push(*id);
                    way.pop();
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> DatasetId {
        DatasetId::from_public_key([number; 32])
    }

    /// 1 and 2 make 3, 3 makes 4 and 5; 9 is not here; 6 and 7 claim to be made of each other.
    fn lineage() -> Lineage {
        let edges: [(u8, &[u8]); 7] = [
            (1, &[]),
            (2, &[9]),
            (3, &[1, 2]),
            (4, &[3]),
            (5, &[3, 1]),
            (6, &[7]),
            (7, &[6]),
        ];
        let nodes = edges.map(|(node, inputs)| {
            let inputs = inputs.iter().map(|input| Input {
                id: id(*input),
                alias: input.to_string(),
            });
            let node = Node {
                id: id(node),
                name: None,
                kind: DatasetKind::Derivative,
                inputs: inputs.collect(),
            };
            (node.id, node)
        });
        Lineage {
            nodes: nodes.into_iter().collect(),
        }
    }

    fn place(order: &[DatasetId], number: u8) -> usize {
        order.iter().position(|at| *at == id(number)).unwrap()
    }

    #[test]
    fn inputs_come_before_what_is_made_of_them() {
        let order = lineage().upstream(&[id(5), id(4)]);
        assert_eq!(order.len(), 6, "{order:?}");
        for (before, after) in [(9, 2), (1, 3), (2, 3), (3, 4), (3, 5), (1, 5)] {
            assert!(place(&order, before) < place(&order, after), "{before} before {after}");
        }
    }

    #[test]
    fn what_depends_on_a_dataset_goes_first() {
        let order = lineage().downstream(&[id(2)]);
        assert_eq!(order.len(), 4, "{order:?}");
        for (before, after) in [(4, 3), (5, 3), (3, 2)] {
            assert!(place(&order, before) < place(&order, after), "{before} before {after}");
        }
        let dependents: Vec<_> = lineage().dependents(&id(1)).map(|node| node.id).collect();
        assert_eq!(dependents, [id(3), id(5)]);
    }

    #[test]
    fn a_claimed_cycle_ends() {
        assert_eq!(lineage().upstream(&[id(6)]).len(), 2);
        assert_eq!(lineage().downstream(&[id(7)]).len(), 2);
    }
}
