//! Objects that rows refer to: columns whose schema says `opendatafabric.org/type: ObjectLink` hold the hashes of files
//! that lie beside the slices, and the chain says how many of them and how large they are (odf-facts §8).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Schema};
use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value, json};

use super::IngestError;
use odf_metadata::{DataField, DataSchema, DataType, ExtraAttributes, Multihash};

/// Attribute of a column that tells a type beyond the storage type.
const TYPE_ATTRIBUTE: &str = "opendatafabric.org/type";
/// Attribute of AddData with the sums.
const SUMS_ATTRIBUTE: &str = "opendatafabric.org/linkedObjects";

/// Sums over the links of a slice. A link that occurs twice counts twice ("naive").
pub(super) struct Linked {
    /// Positions of the link columns in the slice.
    columns: Vec<usize>,
    data_dir: PathBuf,
    objects: u64,
    bytes: u64,
}

impl Linked {
    /// None if no column of the dataset holds links.
    ///
    /// # Errors
    /// A column is declared to hold links in a way that nobody could follow.
    pub(super) fn of(
        dataset: Option<&DataSchema>,
        slice: &Schema,
        data_dir: &Path,
    ) -> Result<Option<Linked>, IngestError> {
        let mut columns = Vec::new();
        for field in dataset.iter().flat_map(|schema| &schema.fields) {
            if is_link(field)? {
                columns.extend(slice.index_of(&field.name));
            }
        }
        Ok((!columns.is_empty()).then(|| Linked {
            columns,
            data_dir: data_dir.to_owned(),
            objects: 0,
            bytes: 0,
        }))
    }

    /// Counts the links in rows as they are written.
    ///
    /// # Errors
    /// A link is no hash, or names an object that is not there.
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<(), IngestError> {
        // Links of neighbouring rows are often the same; one batch is remembered, so that memory stays bounded.
        let mut known: HashMap<String, u64> = HashMap::new();
        for at in &self.columns {
            let texts: ArrayRef = cast(rows.column(*at), &Arrow::Utf8).map_err(super::merge::MergeError::from)?;
            for link in texts.as_string::<i32>().iter().flatten() {
                let size = match known.get(link) {
                    Some(size) => *size,
                    None => {
                        let size = size_of(link, &self.data_dir, rows.schema().field(*at).name())?;
                        known.insert(link.to_owned(), size);
                        size
                    }
                };
                self.objects += 1;
                self.bytes = self.bytes.saturating_add(size);
            }
        }
        Ok(())
    }

    /// What the chain says.
    pub(super) fn into_extra(self) -> ExtraAttributes {
        let sums = json!({ "numObjectsNaive": self.objects, "sizeNaive": self.bytes });
        ExtraAttributes(Map::from_iter([(SUMS_ATTRIBUTE.to_owned(), sums)]))
    }
}

fn size_of(link: &str, data_dir: &Path, column: &str) -> Result<u64, IngestError> {
    let refuse = |reason: String| IngestError::Link {
        column: column.to_owned(),
        link: super::source::shorten(link),
        reason,
    };
    let hash: Multihash = link
        .parse()
        .map_err(|_| refuse("it is not the hash of an object".to_owned()))?;
    match std::fs::metadata(data_dir.join(hash.to_string())) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(refuse("the dataset has no such object".to_owned()))
        }
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn is_link(field: &DataField) -> Result<bool, IngestError> {
    let refuse = |reason: &str| {
        Err(IngestError::Link {
            column: field.name.clone(),
            link: TYPE_ATTRIBUTE.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let declared = field.extra.as_ref().and_then(|extra| extra.0.get(TYPE_ATTRIBUTE));
    let Some(declared) = declared.filter(|declared| kind_of(declared) == Some("ObjectLink")) else {
        return Ok(false);
    };
    let plain = match &field.data_type {
        DataType::Option { inner } => inner,
        plain => plain,
    };
    if *plain != DataType::String {
        return refuse("only text columns can hold links to objects");
    }
    match declared.get("linkType").and_then(kind_of) {
        Some("Multihash") => Ok(true),
        _ => refuse("links to objects can only be of the type Multihash"),
    }
}

fn kind_of(value: &Value) -> Option<&str> {
    value.get("kind").and_then(Value::as_str)
}
