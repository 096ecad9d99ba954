//! dag-json: JSON in which `{"/": …}` is a link or bytes.
//!
//! Spec: <https://ipld.io/specs/codecs/dag-json/spec/>. How many values a block has is counted before it is expanded; how deep
//! it goes the reader limits by itself, to 128.

use cid::Cid;
use ipld_core::ipld::Ipld;

use super::cbor::Walked;
use super::malformed::{MAX_LINKS, MAX_VALUES, Malformed};

/// A block as a value.
pub(super) fn value(bytes: &[u8]) -> Result<Ipld, Malformed> {
    if values(bytes) > MAX_VALUES {
        return Err(Malformed::TooManyValues);
    }
    serde_ipld_dagjson::from_slice(bytes).map_err(|error| Malformed::BadValue(error.to_string()))
}

/// All links of a block, in order of their keys.
pub(super) fn links(bytes: &[u8]) -> Result<Vec<Cid>, Malformed> {
    let mut found = Vec::new();
    let value = value(bytes)?;
    let mut open = vec![&value];
    while let Some(value) = open.pop() {
        match value {
            Ipld::Link(_) if found.len() == MAX_LINKS => return Err(Malformed::TooManyLinks),
            Ipld::Link(cid) => found.push(*cid),
            Ipld::List(items) => open.extend(items.iter().rev()),
            Ipld::Map(map) => open.extend(map.values().rev()),
            _ => {}
        }
    }
    Ok(found)
}

/// Follows `path` within a value.
pub(super) fn walk<S: AsRef<str>>(value: &Ipld, path: &[S]) -> Walked {
    let mut at = value;
    for (number, segment) in path.iter().map(AsRef::as_ref).enumerate() {
        let next = match at {
            Ipld::Map(map) => map.get(segment),
            Ipld::List(items) => segment.parse().ok().and_then(|index: usize| items.get(index)),
            Ipld::Link(cid) => return Walked::Link(*cid, number),
            _ => return Walked::Leaf(number),
        };
        match next {
            Some(next) => at = next,
            None => return Walked::Missing(number),
        }
    }
    match at {
        Ipld::Link(cid) => Walked::Link(*cid, path.len()),
        _ => Walked::Value,
    }
}

/// At most how many values these bytes hold: one more than there are commas, colons and opening brackets outside of texts.
fn values(bytes: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";

    #[test]
    fn links_and_paths_are_those_of_the_value() {
        let text = format!("{{\"a\":{{\"/\":\"{LINK}\"}},\"b\":[1,\"x,[\\\"{{\",{{\"/\":{{\"bytes\":\"AQ\"}}}}]}}");
        let cid: Cid = LINK.parse().unwrap();
        let value = value(text.as_bytes()).unwrap();
        assert_eq!(links(text.as_bytes()).unwrap(), [cid]);
        assert_eq!(walk(&value, &["a", "z"]), Walked::Link(cid, 1));
        assert_eq!(walk(&value, &["a"]), Walked::Link(cid, 1));
        assert_eq!(walk(&value, &["b", "0"]), Walked::Value);
        assert_eq!(walk(&value, &["b", "3"]), Walked::Missing(1));
        assert_eq!(walk(&value, &["b", "0", "x"]), Walked::Leaf(2));
        assert!(links(b"{").is_err());
        assert!(links("[".repeat(200).as_bytes()).is_err());
    }

    #[test]
    fn one_value_too_many_is_not_expanded() {
        // One for the list, two less than the limit of commas, and the one that is always added.
        let full = format!("[{}0]", "0,".repeat(MAX_VALUES - 2));
        assert!(value(full.as_bytes()).is_ok());
        let over = format!("[{}0]", "0,".repeat(MAX_VALUES - 1));
        assert_eq!(value(over.as_bytes()), Err(Malformed::TooManyValues));
        let text = format!("\"{}\"", ",".repeat(MAX_VALUES));
        assert!(value(text.as_bytes()).is_ok());
    }
}
