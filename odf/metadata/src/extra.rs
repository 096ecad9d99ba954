//! Opaque parts of the schema: extra attributes and the legacy Arrow schema.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Attributes outside the schema: a JSON object. Keys are reverse-domain names such as `opendatafabric.org/type`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtraAttributes(pub Map<String, Value>);

impl ExtraAttributes {
    /// Compact JSON with the keys of every object sorted: the form that a metadata block holds.
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        write_object(&self.0, &mut json);
        json
    }

    /// Reads a JSON object.
    ///
    /// # Errors
    /// What `serde_json` says if the text is something else.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

// Sorting is spelled out because the map type keeps insertion order if any crate of the build asks for that.
fn write_object(map: &Map<String, Value>, json: &mut String) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    json.push('{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&Value::String(key.clone()).to_string());
        json.push(':');
        write_value(value, json);
    }
    json.push('}');
}

fn write_value(value: &Value, json: &mut String) {
    match value {
        Value::Object(map) => write_object(map, json),
        Value::Array(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_value(item, json);
            }
            json.push(']');
        }
        plain => json.push_str(&plain.to_string()),
    }
}

/// An Arrow schema as an Arrow IPC message, the form of schemas before ODF had its own. In text: base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrowSchemaBytes(pub Vec<u8>);

impl Serialize for ArrowSchemaBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&multibase::Base::Base64Pad.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for ArrowSchemaBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = multibase::Base::Base64Pad
            .decode(text)
            .map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_compact_and_sorted_at_every_level() {
        let extra = ExtraAttributes::from_json(r#"{ "b": [ {"z": 1, "a": "q\"\n"} ], "a": {"d": null, "c": 1.5} }"#);
        assert_eq!(
            extra.unwrap().to_json(),
            r#"{"a":{"c":1.5,"d":null},"b":[{"a":"q\"\n","z":1}]}"#
        );
        assert!(ExtraAttributes::from_json("[1]").is_err());
    }
}
