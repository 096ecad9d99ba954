//! A bounded reader of dag-cbor that finds links and walks paths without building the value.
//!
//! Spec: <https://ipld.io/specs/codecs/dag-cbor/spec/>. It refuses what the codec does not have (indefinite lengths,
//! tags other than 42, keys that are not text, trailing bytes) and does not insist on sorted keys or shortest
//! integers, since old writers produced neither.

use cid::Cid;

use super::malformed::{MAX_DEPTH, MAX_LINKS, MAX_VALUES, Malformed, whole_cid};

/// The head of one value; what it contains follows.
#[derive(Debug, PartialEq)]
enum Head<'a> {
    Scalar,
    Unsigned,
    Text(&'a [u8]),
    List(u64),
    Map(u64),
    Link(Cid),
}

/// Where a path through one block ends.
#[derive(Debug, PartialEq)]
pub(crate) enum Walked {
    /// At a link to another block, after this many segments.
    Link(Cid, usize),
    /// At a value within the block, all segments used.
    Value,
    /// At a map without the key, or a list without the index, of the segment with this number.
    Missing(usize),
    /// At a value that holds nothing, with the segment of this number left.
    Leaf(usize),
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// All links of a dag-cbor block, in order.
pub(crate) fn links(bytes: &[u8]) -> Result<Vec<Cid>, Malformed> {
    let mut found = Vec::new();
    scan(bytes, &mut found)?;
    Ok(found)
}

/// Checks that a block is safe to expand into a tree of values.
pub(crate) fn check_expandable(bytes: &[u8]) -> Result<(), Malformed> {
    if scan(bytes, &mut Vec::new())? > MAX_VALUES {
        Err(Malformed::TooManyValues)
    } else {
        Ok(())
    }
}

/// Follows `path` within one block.
pub(crate) fn walk<S: AsRef<str>>(bytes: &[u8], path: &[S]) -> Result<Walked, Malformed> {
    let mut scanner = Scanner { bytes, at: 0 };
    for (number, segment) in path.iter().map(AsRef::as_ref).enumerate() {
        let found = match scanner.head()? {
            Head::Map(pairs) => scanner.enter_map(pairs, segment)?,
            Head::List(items) => scanner.enter_list(items, segment)?,
            Head::Link(cid) => return Ok(Walked::Link(cid, number)),
            Head::Scalar | Head::Unsigned | Head::Text(_) => return Ok(Walked::Leaf(number)),
        };
        if !found {
            return Ok(Walked::Missing(number));
        }
    }
    match scanner.head()? {
        Head::Link(cid) => Ok(Walked::Link(cid, path.len())),
        _ => Ok(Walked::Value),
    }
}

/// Reads the one value that must fill `bytes`; gives the number of values in it.
fn scan(bytes: &[u8], found: &mut Vec<Cid>) -> Result<usize, Malformed> {
    let mut scanner = Scanner { bytes, at: 0 };
    let values = scanner.value(found)?;
    if scanner.at == bytes.len() {
        Ok(values)
    } else {
        Err(Malformed::TrailingBytes)
    }
}

impl<'a> Scanner<'a> {
    /// Moves behind the next value, however deep, collecting its links.
    fn value(&mut self, found: &mut Vec<Cid>) -> Result<usize, Malformed> {
        // One entry per open container: the values still to come, and whether they are pairs.
        let mut open: Vec<(u64, bool)> = Vec::new();
        let mut values = 0;
        loop {
            if let Some((left, pairs)) = open.last_mut() {
                if *left == 0 {
                    open.pop();
                    if open.is_empty() {
                        return Ok(values);
                    }
                    continue;
                }
                *left -= 1;
                if *pairs {
                    self.text()?;
                }
            }
            values += 1;
            match self.head()? {
                Head::List(items) => open.push((items, false)),
                Head::Map(pairs) => open.push((pairs, true)),
                Head::Link(_) if found.len() == MAX_LINKS => return Err(Malformed::TooManyLinks),
                Head::Link(cid) => found.push(cid),
                Head::Scalar | Head::Unsigned | Head::Text(_) => {}
            }
            if open.len() > MAX_DEPTH {
                return Err(Malformed::TooDeep);
            }
            if open.is_empty() {
                return Ok(values);
            }
        }
    }

    fn enter_map(&mut self, pairs: u64, key: &str) -> Result<bool, Malformed> {
        for _ in 0..pairs {
            if self.text()? == key.as_bytes() {
                return Ok(true);
            }
            self.value(&mut Vec::new())?;
        }
        Ok(false)
    }

    fn enter_list(&mut self, items: u64, index: &str) -> Result<bool, Malformed> {
        let Some(index) = index.parse::<u64>().ok().filter(|index| *index < items) else {
            return Ok(false);
        };
        for _ in 0..index {
            self.value(&mut Vec::new())?;
        }
        Ok(true)
    }

    fn text(&mut self) -> Result<&'a [u8], Malformed> {
        match self.head()? {
            Head::Text(text) => Ok(text),
            _ => Err(Malformed::KeyNotText),
        }
    }

    fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let (major, value) = self.argument()?;
        match major {
            0 => Ok(Head::Unsigned),
            1 => Ok(Head::Scalar),
            2 => self.take(value).map(|_| Head::Scalar),
            3 => {
                let text = self.take(value)?;
                std::str::from_utf8(text).map_err(|_| Malformed::NotUtf8)?;
                Ok(Head::Text(text))
            }
            4 => self.container(value).map(Head::List),
            5 => self.container(value).map(Head::Map),
            6 if value == 42 => match self.argument()? {
                (2, len) => match self.take(len)? {
                    [0, cid @ ..] => whole_cid(cid).map(Head::Link),
                    _ => Err(Malformed::BadCid),
                },
                _ => Err(Malformed::BadCid),
            },
            6 => Err(Malformed::ForeignTag(value)),
            _ => Ok(Head::Scalar),
        }
    }

    /// Every member takes at least a byte, so a count that exceeds the rest of the block is a lie.
    fn container(&self, members: u64) -> Result<u64, Malformed> {
        if members > (self.bytes.len() - self.at) as u64 {
            Err(Malformed::Truncated)
        } else {
            Ok(members)
        }
    }

    /// Major type and argument of the next head. Of simple values and floats only those of the codec pass.
    fn argument(&mut self) -> Result<(u8, u64), Malformed> {
        let first = *self.take(1)?.first().ok_or(Malformed::Truncated)?;
        let (major, low) = (first >> 5, first & 0x1f);
        if major == 7 && !matches!(low, 20..=22 | 25..=27) {
            return Err(Malformed::BadHead(first));
        }
        let len = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(Malformed::BadHead(first)),
        };
        let value = self
            .take(len)?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        Ok((major, value))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= rest.len())
            .ok_or(Malformed::Truncated)?;
        self.at += len;
        Ok(&rest[..len])
    }
}
