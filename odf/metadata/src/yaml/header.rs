//! The first look at a document: whether it is of the kind and version wanted, and of a size that can be read.
//!
//! Text from outside can be short and yet cost much: brackets that nest without end, and aliases that repeat what they
//! stand for. Both are measured here before anything is built from them.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::limits::{MAX_EXPANDED, MAX_NESTED_BYTES};

/// What a document has to say that it is.
pub(super) struct ManifestKind {
    pub(super) name: &'static str,
    pub(super) versions: std::ops::RangeInclusive<i64>,
    pub(super) supported: &'static str,
}

/// Why the first look ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// Another kind.
    Kind(String),
    /// A version that is not known.
    Version(i64),
    /// More than [`MAX_EXPANDED`].
    Expanded,
}

/// Whether brackets nest so deep, and over so much text, that the parser would take long: it looks at every open bracket
/// for every token. Brackets inside quotes count too; in text for people they are few.
pub(super) fn nests_too_much(text: &str) -> bool {
    let (mut open, mut bytes) = (0_u64, 0_u64);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        bytes = bytes.saturating_add(open);
    }
    bytes > MAX_NESTED_BYTES
}

/// Looks at one document. What is wrong besides its form goes into `mismatch`, and an error then says where.
pub(super) struct Header<'a> {
    pub(super) kind: &'a ManifestKind,
    pub(super) mismatch: &'a RefCell<Option<Mismatch>>,
}

impl Header<'_> {
    fn fail<E: Error>(&self, mismatch: Mismatch) -> E {
        self.mismatch.replace(Some(mismatch));
        E::custom("not the manifest wanted")
    }
}

impl<'de> DeserializeSeed<'de> for Header<'_> {
    /// Whether there is a manifest; none in an empty document.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Header<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest (a map with `kind`, `version` and `content`)")
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<bool, A::Error> {
        let (mut has_kind, mut has_version) = (false, false);
        let left = Cell::new(MAX_EXPANDED);
        while let Some(key) = access.next_key::<String>()? {
            match key.as_str() {
                "kind" => has_kind = access.next_value_seed(Kind(&self))?,
                "version" => has_version = access.next_value_seed(Version(&self))?,
                _ => access.next_value_seed(Weight {
                    left: &left,
                    header: &self,
                })?,
            }
        }
        match (has_kind, has_version) {
            (false, _) => Err(A::Error::missing_field("kind")),
            (_, false) => Err(A::Error::missing_field("version")),
            _ => Ok(true),
        }
    }
}

/// The kind: the one that is wanted. Errors are raised here and below, not where the map is read, because here the
/// deserializer adds the line.
struct Kind<'a, 'b>(&'a Header<'b>);

impl<'de> DeserializeSeed<'de> for Kind<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Kind<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kind of the manifest")
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<bool, E> {
        if found == self.0.kind.name {
            Ok(true)
        } else {
            let found = found.chars().take(MAX_SHOWN).collect();
            Err(self.0.fail(Mismatch::Kind(found)))
        }
    }
}

/// The most characters of a foreign kind that a message repeats.
pub(super) const MAX_SHOWN: usize = 100;

/// The version: one of those that are read.
struct Version<'a, 'b>(&'a Header<'b>);

impl<'de> DeserializeSeed<'de> for Version<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_i64(self)
    }
}

impl Visitor<'_> for Version<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the version of the manifest, a number")
    }

    fn visit_i64<E: Error>(self, found: i64) -> Result<bool, E> {
        if self.0.kind.versions.contains(&found) {
            Ok(true)
        } else {
            Err(self.0.fail(Mismatch::Version(found)))
        }
    }

    fn visit_u64<E: Error>(self, found: u64) -> Result<bool, E> {
        self.visit_i64(i64::try_from(found).unwrap_or(i64::MAX))
    }
}

/// Walks over anything, aliases followed, and adds up what it would take to hold it.
#[derive(Clone, Copy)]
struct Weight<'a, 'b> {
    left: &'a Cell<usize>,
    header: &'a Header<'b>,
}

impl Weight<'_, '_> {
    /// What any value weighs before its text. Two bytes of a file make at most one value, so that a file without aliases
    /// never exceeds the limit.
    const VALUE: usize = 4;

    fn add<E: Error>(self, text: usize) -> Result<(), E> {
        match self.left.get().checked_sub(text + Self::VALUE) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(self.header.fail(Mismatch::Expanded)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Weight<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Weight<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.add(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.add(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.add(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.add(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.add(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.add(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.add(text.len())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.add(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.add(0)?;
        while access.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.add(0)?;
        while access.next_key_seed(self)?.is_some() {
            access.next_value_seed(self)?;
        }
        Ok(())
    }

    /// A value with a tag of its own, which means nothing to any field.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let (_, value) = access.variant::<IgnoredAny>()?;
        value.newtype_variant_seed(self)
    }
}
