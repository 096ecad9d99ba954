//! Why a manifest cannot become a dataset.

use odf_metadata::DatasetId;
use odf_metadata::chain::ChainRule;

use crate::dataset::NameError;

/// A manifest that cannot become a dataset.
#[derive(Debug, thiserror::Error)]
#[error("{origin}, document {document} (`{name}`): {problem}")]
pub struct Refused {
    /// Where the manifest was read.
    pub origin: String,
    /// Position of the document in it, from 1.
    pub document: usize,
    /// Name of the dataset, as it is written there.
    pub name: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An event that a snapshot of this kind cannot have, or whose SQL has no normal form.
    #[error("event {event} ({kind}): {reason}")]
    Event {
        /// Position of the event in the list, from 1.
        event: usize,
        /// Its kind.
        kind: &'static str,
        /// Why not.
        reason: String,
    },
    /// An event that breaks a rule of the chain.
    #[error("event {event} ({kind}): {rule}")]
    Rule {
        /// Position of the event in the list, from 1; 0 is the Seed.
        event: u64,
        /// Its kind.
        kind: &'static str,
        /// The rule.
        rule: Box<ChainRule>,
    },
    /// An event that cannot be written as a metadata block.
    #[error("event {event} ({kind}): {reason}")]
    Block {
        /// Position of the event in the list, from 1; 0 is the Seed.
        event: u64,
        /// Its kind.
        kind: &'static str,
        /// The limit that it exceeds.
        reason: String,
    },
    /// An input that is neither here nor among the manifests.
    #[error("input `{reference}` is not here: {reason}")]
    Input {
        /// The reference, as it is written there.
        reference: String,
        /// What was found out.
        reason: String,
    },
    /// Another manifest of the same call has the name.
    #[error("{origin}, document {document}, has the same name")]
    Twice {
        /// Where the other one was read.
        origin: String,
        /// Position of the document in it, from 1.
        document: usize,
    },
    /// Inputs go round in a circle.
    #[error("it is computed from itself: {}", .0.join(" from "))]
    Cycle(Vec<String>),
    /// There is a dataset of that id under another name.
    #[error("{id} exists already, as `{name}`")]
    IdTaken {
        /// The id.
        id: DatasetId,
        /// The name it has here.
        name: String,
    },
    /// The dataset to replace is an input of others, which would be left without it.
    #[error("the dataset it would replace is an input of {}", .0.join(", "))]
    Dependents(Vec<String>),
}
