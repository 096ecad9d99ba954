//! Text forms shared by all unions and enumerations: the `kind` map, short forms, spellings of names.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The name among `names` that `text` spells: as it is, in camelCase, or in lowercase.
pub(crate) fn find_name(text: &str, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| {
        let Some((first, rest)) = text.split_at_checked(1) else {
            return false;
        };
        *name == text
            || (name.starts_with(&first.to_ascii_uppercase()) && &name[1..] == rest)
            || name.to_ascii_lowercase() == text
    })
}

/// Reads a union: a map with its member's name under `kind`, or (if `short`) just the name.
///
/// Gives the member's name and the map without `kind`.
pub(crate) fn read_union<'de, D: Deserializer<'de>>(
    deserializer: D,
    union: &'static str,
    members: &'static [&'static str],
    short: bool,
) -> Result<(&'static str, Value), D::Error> {
    deserializer.deserialize_any(UnionVisitor { union, members, short })
}

struct UnionVisitor {
    union: &'static str,
    members: &'static [&'static str],
    short: bool,
}

impl<'de> Visitor<'de> for UnionVisitor {
    type Value = (&'static str, Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a {} (a map with `kind`{})",
            self.union,
            if self.short { ", or just its name" } else { "" }
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if !self.short {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        match find_name(text, self.members) {
            Some(name) => Ok((name, Value::Object(Map::new()))),
            None => Err(E::unknown_variant(text, self.members)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut kind = None;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if key == "kind" {
                if kind.replace(access.next_value::<String>()?).is_some() {
                    return Err(A::Error::duplicate_field("kind"));
                }
            } else if map.insert(key.clone(), access.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("kind"))?;
        match find_name(&kind, self.members) {
            Some(name) => Ok((name, Value::Object(map))),
            None => Err(A::Error::unknown_variant(&kind, self.members)),
        }
    }
}

/// Serde by [`fmt::Display`] and [`std::str::FromStr`].
macro_rules! serde_by_text {
    ($ty:ty) => {
        impl serde::Serialize for $ty {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_by_text;
