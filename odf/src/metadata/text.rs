//! Text forms shared by all unions and enumerations: the `kind` map, short forms, spellings of names.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_norway::{Mapping, Value};

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
/// `read_member` gets the member's name and the map without `kind`. It runs inside the visitor, because there the
/// deserializer adds to an error where in the text it is.
pub(crate) fn read_union<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    union: &'static str,
    members: &'static [&'static str],
    short: bool,
    read_member: fn(&'static str, Value) -> Result<T, serde_norway::Error>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(UnionVisitor {
        union,
        members,
        short,
        read_member,
    })
}

struct UnionVisitor<T> {
    union: &'static str,
    members: &'static [&'static str],
    short: bool,
    read_member: fn(&'static str, Value) -> Result<T, serde_norway::Error>,
}

impl<T> UnionVisitor<T> {
    fn member<E: Error>(&self, kind: &str, map: Mapping) -> Result<T, E> {
        let name = find_name(kind, self.members).ok_or_else(|| E::unknown_variant(kind, self.members))?;
        let member = (self.read_member)(name, Value::Mapping(map));
        member.map_err(|error| E::custom(format_args!("{name}: {error}")))
    }
}

impl<'de, T> Visitor<'de> for UnionVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a {} (a map with `kind`{})",
            self.union,
            if self.short { ", or just its name" } else { "" }
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        if !self.short {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        self.member(text, Mapping::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<T, A::Error> {
        let mut kind = None;
        let mut map = Mapping::new();
        while let Some(key) = access.next_key::<String>()? {
            if key == "kind" {
                if kind.replace(access.next_value::<String>()?).is_some() {
                    return Err(A::Error::duplicate_field("kind"));
                }
            } else if map.insert(Value::String(key.clone()), access.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("kind"))?;
        self.member(&kind, map)
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
