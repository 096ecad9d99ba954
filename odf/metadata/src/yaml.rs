//! The text forms of metadata: manifests in YAML, events in JSON.
//!
//! A manifest is `{kind, version, content}`. Field names are those of the schema in camelCase, fields that are
//! absent are left out, unknown ones refused; what is written is what kamu writes, character for character.

mod header;
mod limits;

use std::cell::RefCell;

use serde::de::{DeserializeOwned, DeserializeSeed as _};
use serde::{Deserialize, Serialize};

use self::header::{Header, ManifestKind, Mismatch};
pub use self::limits::{MAX_DOCUMENTS, MAX_EXPANDED, MAX_MANIFEST_BYTES, MAX_NESTED_BYTES};
use crate::codec::{self, EncodedBlock};
use crate::{DatasetKind, MetadataBlock, MetadataEvent, Multihash};

/// Version of the `DatasetSnapshot` and `MetadataEvent` manifests.
const MANIFEST_VERSION: i64 = 1;

/// Why text is not the manifest it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamlError {
    /// Not YAML, or not of the form that the kind asks for.
    #[error("document {document}: {source}")]
    Malformed {
        /// Position of the document in the file, from 1.
        document: usize,
        /// What and where.
        source: serde_norway::Error,
    },
    /// A manifest of another kind.
    #[error("document {document} is a {found}, not a {expected}, at line {line}")]
    OtherKind {
        /// Position of the document in the file, from 1.
        document: usize,
        /// Line of the file, from 1.
        line: usize,
        /// Kind wanted.
        expected: &'static str,
        /// Kind found.
        found: String,
    },
    /// A manifest of a version that is not known.
    #[error("document {document}: version {found} of {kind} is not supported, only {supported}, at line {line}")]
    OtherVersion {
        /// Position of the document in the file, from 1.
        document: usize,
        /// Line of the file, from 1.
        line: usize,
        /// Kind of the manifest.
        kind: &'static str,
        /// Version found.
        found: i64,
        /// Versions that are read.
        supported: &'static str,
    },
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("a manifest of {len} bytes exceeds the limit of {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Length found.
        len: usize,
    },
    /// More than [`MAX_EXPANDED`].
    #[error("document {document}: aliases make it larger than the limit, at line {line}")]
    Expanded {
        /// Position of the document in the file, from 1.
        document: usize,
        /// Line of the alias that is too much, from 1.
        line: usize,
    },
    /// More than [`MAX_NESTED_BYTES`].
    #[error("brackets nest too deep")]
    Nested,
    /// More than [`MAX_DOCUMENTS`].
    #[error("more than {MAX_DOCUMENTS} documents in one file")]
    TooManyDocuments,
    /// Nothing but comments.
    #[error("no {expected} in the file")]
    Empty {
        /// Kind wanted.
        expected: &'static str,
    },
    /// A value cannot be written.
    #[error("cannot be written as YAML: {0}")]
    Unwritable(serde_norway::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest<T> {
    kind: String,
    version: i64,
    content: T,
}

/// What a dataset is to become: the manifest that people write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSnapshot {
    /// Its name, `name` or `account/name`.
    pub name: String,
    /// Whether it has sources or inputs.
    pub kind: DatasetKind,
    /// The events after the Seed.
    pub metadata: Vec<MetadataEvent>,
}

const METADATA_BLOCK: ManifestKind = ManifestKind {
    name: "MetadataBlock",
    versions: codec::MIN_VERSION as i64..=codec::VERSION as i64,
    supported: "2 and 3",
};
const METADATA_EVENT: ManifestKind = ManifestKind {
    name: "MetadataEvent",
    versions: MANIFEST_VERSION..=MANIFEST_VERSION,
    supported: "1",
};
const DATASET_SNAPSHOT: ManifestKind = ManifestKind {
    name: "DatasetSnapshot",
    versions: MANIFEST_VERSION..=MANIFEST_VERSION,
    supported: "1",
};

fn read_all<T: DeserializeOwned>(text: &str, kind: &ManifestKind) -> Result<Vec<T>, YamlError> {
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(YamlError::TooLarge { len: text.len() });
    }
    if header::nests_too_much(text) {
        return Err(YamlError::Nested);
    }
    // Twice over: once for a first look, so that a wrong kind is called that and nothing is built that is too large, and
    // once straight from the text, so that an error knows its line. Both readers see the same documents.
    let headers = serde_norway::Deserializer::from_str(text);
    let contents = serde_norway::Deserializer::from_str(text);
    let mut found = Vec::new();
    for (index, (header, content)) in headers.zip(contents).enumerate() {
        let document = index + 1;
        if document > MAX_DOCUMENTS {
            return Err(YamlError::TooManyDocuments);
        }
        let mismatch = RefCell::new(None);
        let looked = Header {
            kind,
            mismatch: &mismatch,
        };
        match looked.deserialize(header) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(source) => return Err(refuse(document, kind, mismatch.take(), source)),
        }
        let manifest = Manifest::<T>::deserialize(content);
        found.push(
            manifest
                .map_err(|source| YamlError::Malformed { document, source })?
                .content,
        );
    }
    if found.is_empty() {
        Err(YamlError::Empty { expected: kind.name })
    } else {
        Ok(found)
    }
}

/// What the first look at a document found, with the line that the deserializer has added to its error.
fn refuse(document: usize, kind: &ManifestKind, found: Option<Mismatch>, source: serde_norway::Error) -> YamlError {
    let line = source.location().map_or(0, |place| place.line());
    match found {
        None => YamlError::Malformed { document, source },
        Some(Mismatch::Expanded) => YamlError::Expanded { document, line },
        Some(Mismatch::Kind(found)) => YamlError::OtherKind {
            document,
            line,
            expected: kind.name,
            found,
        },
        Some(Mismatch::Version(found)) => YamlError::OtherVersion {
            document,
            line,
            kind: kind.name,
            found,
            supported: kind.supported,
        },
    }
}

fn write<T: Serialize>(kind: &ManifestKind, content: T) -> Result<String, YamlError> {
    let manifest = Manifest {
        kind: kind.name.to_owned(),
        version: *kind.versions.end(),
        content,
    };
    serde_norway::to_string(&manifest).map_err(YamlError::Unwritable)
}

/// Reads the metadata blocks of a file, one or several documents, in the file's order.
///
/// # Errors
/// See [`YamlError`].
pub fn read_blocks(text: &str) -> Result<Vec<MetadataBlock>, YamlError> {
    read_all(text, &METADATA_BLOCK)
}

/// Reads the events of a file of `MetadataEvent` manifests.
///
/// # Errors
/// See [`YamlError`].
pub fn read_events(text: &str) -> Result<Vec<MetadataEvent>, YamlError> {
    read_all(text, &METADATA_EVENT)
}

/// Reads the datasets of a file of `DatasetSnapshot` manifests.
///
/// # Errors
/// See [`YamlError`].
pub fn read_snapshots(text: &str) -> Result<Vec<DatasetSnapshot>, YamlError> {
    read_all(text, &DATASET_SNAPSHOT)
}

/// A block as a `MetadataBlock` manifest of the newest version, whichever its bytes are of.
///
/// # Errors
/// [`YamlError::Unwritable`].
pub fn write_block(block: &MetadataBlock) -> Result<String, YamlError> {
    write(&METADATA_BLOCK, block)
}

/// An event as a `MetadataEvent` manifest.
///
/// # Errors
/// [`YamlError::Unwritable`].
pub fn write_event(event: &MetadataEvent) -> Result<String, YamlError> {
    write(&METADATA_EVENT, event)
}

/// A dataset as a `DatasetSnapshot` manifest.
///
/// # Errors
/// [`YamlError::Unwritable`].
pub fn write_snapshot(snapshot: &DatasetSnapshot) -> Result<String, YamlError> {
    write(&DATASET_SNAPSHOT, snapshot)
}

/// One entry of `log --output yaml`; the log is the entries one after another, newest first.
///
/// # Errors
/// [`YamlError::Unwritable`].
pub fn log_entry(block: &EncodedBlock) -> Result<String, YamlError> {
    log_entry_of(block.hash(), block.block())
}

/// [`log_entry`] for a block whose bytes are not at hand.
///
/// # Errors
/// [`YamlError::Unwritable`].
pub fn log_entry_of(hash: &Multihash, block: &MetadataBlock) -> Result<String, YamlError> {
    Ok(format!("---\n# Block: {hash}\n{}\n\n", write_block(block)?))
}

/// An event in its JSON form, the one that chain nodes of a published DAG hold.
///
/// # Errors
/// What `serde_json` says; no event of the schema gives an error.
pub fn event_to_json(event: &MetadataEvent) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::to_value(event)
}

#[cfg(test)]
mod tests;
