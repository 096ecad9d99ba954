//! A metadata block as people read it: keys and values with nested indentation, the form of `kamu log`.

use std::collections::BTreeMap;

use odf::codec::EncodedBlock;
use odf::metadata::{DatasetId, MetadataEvent};
use serde_norway::Value;

use crate::failure::Failure;

/// One block with an empty line behind it. `names` are those of the datasets that are here.
pub(super) fn entry(encoded: &EncodedBlock, names: &BTreeMap<DatasetId, String>) -> Result<String, Failure> {
    let block = encoded.block();
    let mut text = Text(format!("Block #{}: {}\n", block.sequence_number, encoded.hash()));
    text.property(0, "SystemTime", &block.system_time.to_string());
    text.property(0, "Kind", block.event.kind());
    let value = serde_norway::to_value(&block.event).map_err(odf::yaml::YamlError::Unwritable)?;
    if let Value::Mapping(fields) = &value {
        for (key, value) in fields {
            let key = key.as_str().unwrap_or_default();
            match (&block.event, key) {
                (_, "kind") => {}
                // What is readable by itself stays as it is.
                (MetadataEvent::SetDataSchema(_), "schema") => text.yaml(0, "Schema", value)?,
                (_, "extra") => text.yaml(0, "Extra", value)?,
                _ => text.field(0, key, value, names),
            }
        }
    }
    text.0.push('\n');
    Ok(text.0)
}

struct Text(String);

impl Text {
    fn indent(&mut self, depth: usize) {
        self.0.push_str(&"  ".repeat(depth));
    }

    fn section(&mut self, depth: usize, name: &str) {
        self.indent(depth);
        self.0.push_str(&format!("{name}:\n"));
    }

    fn property(&mut self, depth: usize, name: &str, value: &str) {
        if value.contains('\n') {
            self.section(depth, name);
            for line in value.trim_end().lines() {
                self.indent(depth + 1);
                self.0.push_str(line);
                self.0.push('\n');
            }
        } else {
            self.indent(depth);
            self.0.push_str(&format!("{name}: {}\n", value));
        }
    }

    fn yaml(&mut self, depth: usize, name: &str, value: &Value) -> Result<(), Failure> {
        let yaml = serde_norway::to_string(value).map_err(odf::yaml::YamlError::Unwritable)?;
        self.section(depth, name);
        for line in yaml.lines() {
            self.indent(depth + 1);
            self.0.push_str(line);
            self.0.push('\n');
        }
        Ok(())
    }

    fn field(&mut self, depth: usize, key: &str, value: &Value, names: &BTreeMap<DatasetId, String>) {
        let name = in_words(key);
        match value {
            Value::Null => self.property(depth, &name, "-"),
            Value::Bool(value) => self.property(depth, &name, &value.to_string()),
            Value::Number(value) => self.property(depth, &name, &value.to_string()),
            Value::String(value) => self.string(depth, &name, value, names),
            Value::Sequence(items) => {
                let scalars: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                match scalars {
                    Some(items) => self.property(depth, &name, &items.join(", ")),
                    None => {
                        self.section(depth, &name);
                        for (at, item) in items.iter().enumerate() {
                            self.field(depth + 1, &format!("[{at}]"), item, names);
                        }
                    }
                }
            }
            Value::Mapping(fields) => {
                self.section(depth, &name);
                for (key, value) in fields {
                    match (key.as_str().unwrap_or_default(), value) {
                        ("offsetInterval", Value::Mapping(offsets)) => self.offsets(depth + 1, offsets),
                        // Whole files; `--output yaml` shows them.
                        ("content", Value::String(_)) => self.property(depth + 1, "Content", "..."),
                        (key, value) => self.field(depth + 1, key, value, names),
                    }
                }
            }
            Value::Tagged(tagged) => self.field(depth, key, &tagged.value, names),
        }
    }

    fn string(&mut self, depth: usize, name: &str, value: &str, names: &BTreeMap<DatasetId, String>) {
        self.property(depth, name, value);
        let dataset = value.parse().ok().and_then(|id: DatasetId| names.get(&id));
        if let Some(dataset) = dataset.filter(|_| depth > 0) {
            self.property(depth, "Name", dataset);
        }
    }

    fn offsets(&mut self, depth: usize, offsets: &serde_norway::Mapping) {
        let at = |key: &str| offsets.get(key).and_then(Value::as_u64).unwrap_or_default();
        let (start, end) = (at("start"), at("end"));
        self.property(depth, "Offset.Start", &start.to_string());
        self.property(depth, "Offset.End", &end.to_string());
        let records = u128::from(end.saturating_sub(start)) + 1;
        self.property(depth, "NumRecords", &records.to_string());
    }
}

/// A key of YAML as kamu prints it for people: `prevBlockHash` is `PrevBlockHash`, and abbreviations are in capitals.
fn in_words(key: &str) -> String {
    match key {
        "spdxId" => return "SPDXID".to_owned(),
        "websiteUrl" => return "WebsiteURL".to_owned(),
        "datasetId" => return "DatasetID".to_owned(),
        "queryInputs" => return "Inputs".to_owned(),
        _ => {}
    }
    let mut letters = key.chars();
    match letters.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + letters.as_str(),
        None => String::new(),
    }
}
