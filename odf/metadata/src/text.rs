//! Text forms shared by all unions and enumerations: the `kind` map, short forms, spellings of names.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, Visitor};
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

/// A union as text: a map with its member's name under `kind`, or (if [`Self::SHORT`]) just the name.
pub(crate) trait TextUnion: Sized {
    /// What it is called in messages.
    const NAME: &'static str;
    /// The names of its members.
    const MEMBERS: &'static [&'static str];
    /// Whether the name of a member may stand for one without fields.
    const SHORT: bool;

    /// Reads the fields of the member called `name`, one of [`Self::MEMBERS`], from a map without `kind`.
    fn read_member<'de, D: Deserializer<'de>>(name: &'static str, fields: D) -> Result<Self, D::Error>;
}

/// Reads a union. Where `kind` is the first key, as people and kamu write it, the fields are read straight from the
/// text, so that an error names the line it is in; otherwise they are kept until the kind is known.
pub(crate) fn read_union<'de, T: TextUnion, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(UnionVisitor(PhantomData))
}

struct UnionVisitor<T>(PhantomData<T>);

impl<'de, T: TextUnion> Visitor<'de> for UnionVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = if T::SHORT { ", or just its name" } else { "" };
        write!(f, "a {} (a map with `kind`{short})", T::NAME)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        if !T::SHORT {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        let name = find_name(text, T::MEMBERS).ok_or_else(|| E::unknown_variant(text, T::MEMBERS))?;
        let no_fields = std::iter::empty::<(&str, &str)>();
        T::read_member(name, serde::de::value::MapDeserializer::new(no_fields))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<T, A::Error> {
        let Some(mut key) = access.next_key::<String>()? else {
            return Err(A::Error::missing_field("kind"));
        };
        if key == "kind" {
            let name = access.next_value_seed(Name(T::MEMBERS))?;
            return T::read_member(name, MapAccessDeserializer::new(Fields(access)));
        }
        let mut kind = None;
        let mut map = Mapping::new();
        loop {
            if key == "kind" {
                if kind.replace(access.next_value_seed(Name(T::MEMBERS))?).is_some() {
                    return Err(A::Error::duplicate_field("kind"));
                }
            } else if map.insert(Value::String(key.clone()), access.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
            match access.next_key()? {
                Some(next) => key = next,
                None => break,
            }
        }
        let name = kind.ok_or_else(|| A::Error::missing_field("kind"))?;
        // The error is made anew inside the visitor, because there the deserializer adds where in the text it is.
        T::read_member(name, Value::Mapping(map)).map_err(|error| A::Error::custom(format_args!("{name}: {error}")))
    }
}

/// Reads one of these names, in any of its spellings. Errors are raised in the visitor, not behind it, because there the
/// deserializer adds where in the text they are.
pub(crate) fn read_name<'de, D: Deserializer<'de>>(
    deserializer: D,
    names: &'static [&'static str],
) -> Result<&'static str, D::Error> {
    Name(names).deserialize(deserializer)
}

/// A name of a member or value.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<&'static str, E> {
        find_name(text, self.0).ok_or_else(|| E::unknown_variant(text, self.0))
    }
}

/// The rest of a map whose first key was `kind`.
struct Fields<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(FieldName(seed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// A key that is not `kind` once more.
struct FieldName<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for FieldName<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for FieldName<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K::Value, E> {
        if text == "kind" {
            return Err(E::duplicate_field("kind"));
        }
        self.0.deserialize(text.into_deserializer())
    }
}

/// Reads what [`std::str::FromStr`] reads.
pub(crate) fn read_by_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(ByText(PhantomData))
}

struct ByText<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for ByText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
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
                $crate::text::read_by_text(deserializer)
            }
        }
    };
}
pub(crate) use serde_by_text;
