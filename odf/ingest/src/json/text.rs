//! JSON as text: its members and items as written, and its one form.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::source::Problem;

/// Stands before each text of a sequence (RFC 7464, RFC 8142).
pub(super) const RECORD_SEPARATOR: u8 = 0x1e;

/// How deep arrays and objects may nest inside one value.
pub const MAX_DEPTH: usize = 64;

/// What is wrong with a row, and in which column if that is known.
pub(crate) type Refused = (Option<String>, Problem);

/// Called with the name and the text of a value.
pub(crate) type OnCell<'c> = dyn FnMut(Cow<'_, str>, &str) -> Result<(), Refused> + 'c;

/// Calls `visit` for every member of the JSON object `text`, values as written.
pub(crate) fn members(text: &str, visit: &mut OnCell<'_>) -> Result<(), Refused> {
    struct Walk<'v, 'c> {
        visit: &'v mut OnCell<'c>,
        refused: &'v mut Option<Refused>,
    }
    impl<'de> Visitor<'de> for Walk<'_, '_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Key<'de>>()? {
                let value: &RawValue = map.next_value()?;
                if self.refused.is_none()
                    && let Err(refused) = (self.visit)(key.0, value.get())
                {
                    *self.refused = Some(refused);
                }
            }
            Ok(())
        }
    }
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walked = deserializer
        .deserialize_map(Walk {
            visit,
            refused: &mut refused,
        })
        .and_then(|()| deserializer.end());
    match (walked, refused) {
        (Err(error), _) => Err((None, not("a JSON object", &error))),
        (Ok(()), Some(refused)) => Err(refused),
        (Ok(()), None) => Ok(()),
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The members of an object in the order of the text, also those of one name.
struct Members<'de>(Vec<(Cow<'de, str>, &'de RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// The text of a JSON string.
pub(crate) fn decode_string(raw: &str) -> Result<Cow<'_, str>, Problem> {
    let key: Key<'_> = serde_json::from_str(raw).map_err(|error| not("a JSON string", &error))?;
    Ok(key.0)
}

/// The items of a JSON array as written.
pub(crate) fn items(raw: &str) -> Result<Vec<&RawValue>, Problem> {
    serde_json::from_str(raw).map_err(|error| not("a JSON array", &error))
}

/// A JSON value without blanks and with sorted keys; scalars stay as written. Two equal keys of an object are refused, since
/// one of the values would be lost.
pub(crate) fn canonical(raw: &str) -> Result<String, Problem> {
    let mut out = String::with_capacity(raw.len());
    let mut keep = |scalar: &str, out: &mut String| {
        out.push_str(scalar);
        Ok(())
    };
    write_canonical(raw, 0, &mut keep, &mut out)?;
    Ok(out)
}

/// A JSON value likewise, but with text in the one form that parsing and printing give it, with exponents as `e` and a sign,
/// and `-0` as `0`: how kamu writes geometries. Numbers keep the digits that they are written with.
pub(super) fn reprinted(raw: &str) -> Result<String, Problem> {
    let mut out = String::with_capacity(raw.len());
    let mut reprint = |scalar: &str, out: &mut String| {
        match (scalar.as_bytes().first(), scalar.split_once(['e', 'E'])) {
            (Some(b'"'), _) => {
                let text: serde_json::Value = serde_json::from_str(scalar).map_err(not_json)?;
                out.push_str(&text.to_string());
            }
            (Some(b'-' | b'0'..=b'9'), Some((mantissa, exponent))) => {
                let sign = if exponent.starts_with(['+', '-']) { "" } else { "+" };
                out.push_str(&format!("{mantissa}e{sign}{exponent}"));
            }
            _ if scalar == "-0" => out.push('0'),
            _ => out.push_str(scalar),
        }
        Ok(())
    };
    write_canonical(raw, 0, &mut reprint, &mut out)?;
    Ok(out)
}

fn not_json(error: serde_json::Error) -> Problem {
    not("JSON", &error)
}

/// Why a text is not `what`. Lines are counted from its beginning, and not told: a person looks for the line of the file.
fn not(what: &str, error: &serde_json::Error) -> Problem {
    let said = error.to_string();
    let reason = said.rsplit_once(" at line ").map_or(&*said, |(reason, _)| reason);
    let place = match error.line() {
        1 => format!(" at its byte {}", error.column()),
        _ => String::new(),
    };
    Problem::Syntax(format!("not {what}: {reason}{place}"))
}

/// Called with a scalar as written and the text to append it to.
type OnScalar<'s> = dyn FnMut(&str, &mut String) -> Result<(), Problem> + 's;

fn write_canonical(raw: &str, depth: usize, scalar: &mut OnScalar<'_>, out: &mut String) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::TooLarge {
            limit: MAX_DEPTH,
            unit: "levels of nesting",
            hint: "",
        });
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let Members(mut members) = serde_json::from_str(raw).map_err(not_json)?;
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                if members.get(at + 1).is_some_and(|(next, _)| next == key) {
                    return Err(Problem::Duplicate.within(key));
                }
                out.push_str(&serde_json::to_string(key).map_err(not_json)?);
                out.push(':');
                write_canonical(value.get(), depth + 1, scalar, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(not_json)?;
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(item.get(), depth + 1, scalar, out)?;
            }
            out.push(']');
        }
        _ => scalar(raw, out)?,
    }
    Ok(())
}
