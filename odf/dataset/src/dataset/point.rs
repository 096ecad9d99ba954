//! A point of a chain as people name it, and the dataset as it was there.

use odf_metadata::{Multihash, Timestamp};

use super::{Dataset, DatasetError, StoredBlock};

/// The fewest digits of a hash that may stand for a block.
pub const MIN_HASH_DIGITS: usize = 4;

/// The word for the newest block.
const HEAD: &str = "head";

/// What the text of every block's hash begins with.
const HASH_PREFIX: &str = "f1620";

/// How many blocks are named that one text could stand for.
const MAX_CANDIDATES: usize = 5;

/// The longest text that can be a point; a whole hash has 69 digits.
const MAX_TEXT: usize = 128;

/// Why a text is no point of a chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PointError {
    /// It is neither a block nor a time.
    #[error(
        "`{text}` is neither a block (its number, its hash, {MIN_HASH_DIGITS} or more digits of that, or `head`) nor a time such as \
         2026-05-31 or 2026-05-31T12:00:00Z"
    )]
    Malformed {
        /// The dataset.
        dataset: String,
        /// The text.
        text: String,
    },
    /// The chain has no such block.
    #[error("{dataset} has no block `{text}`")]
    Unknown {
        /// The dataset.
        dataset: String,
        /// The text.
        text: String,
    },
    /// Several blocks have such a hash.
    #[error("`{text}` could be {}{}", .candidates.iter().map(Multihash::to_string).collect::<Vec<_>>().join(" or "), if *.more { " or others" } else { "" })]
    Ambiguous {
        /// The dataset.
        dataset: String,
        /// The text.
        text: String,
        /// The first blocks that it could be, oldest first.
        candidates: Vec<Multihash>,
        /// There are more of them.
        more: bool,
    },
    /// The chain begins later.
    #[error("{dataset} begins at {first}, so there is nothing of {text}")]
    Earlier {
        /// The dataset.
        dataset: String,
        /// The text.
        text: String,
        /// When the first block was made.
        first: Timestamp,
    },
    /// The dataset cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// What a text asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// The newest block.
    Head,
    /// The block of this number.
    Number(u64),
    /// The block of this hash.
    Whole(Multihash),
    /// The one block whose hash begins with these digits, behind the prefix that all have.
    Beginning(&'a str),
    /// The one block whose hash ends with these digits, as listings show it.
    End(&'a str),
    /// The last block that is not younger.
    Time(Timestamp),
}

impl<'a> Asked<'a> {
    fn of(text: &'a str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        if text.eq_ignore_ascii_case(HEAD) {
            return Some(Self::Head);
        }
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        if let Some(time) = time(text) {
            return Some(Self::Time(time));
        }
        Self::hash(text)
    }

    fn hash(text: &'a str) -> Option<Self> {
        if let Ok(hash) = text.parse() {
            return Some(Self::Whole(hash));
        }
        let digits = |text: &&str| text.len() >= MIN_HASH_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        let beginning = text.strip_prefix(HASH_PREFIX).filter(digits);
        beginning
            .map(Self::Beginning)
            .or_else(|| Some(text).filter(digits).map(Self::End))
    }
}

/// RFC 3339, or a date alone, which is its first moment in UTC. A time without a fraction is the whole of its second, as
/// listings show times.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        let (year, day, second, _) = time.parts();
        return match text.contains('.') {
            true => Some(time),
            false => Timestamp::from_parts(year, day, second, 999_999_999).ok(),
        };
    }
    format!("{text}T00:00:00Z").parse().ok()
}

impl Dataset {
    /// The block that `text` stands for: `head`, which is the newest; its number; its hash, the beginning of it with at least [`MIN_HASH_DIGITS`] digits
    /// behind `f1620`, or as many of its last digits; or the last block that was made up to a time (RFC 3339, or a date,
    /// which stands for its beginning in UTC). Nothing but the block is read for a whole hash where the chain has an index.
    ///
    /// # Errors
    /// See [`PointError`].
    pub fn point(&self, text: &str) -> Result<StoredBlock, PointError> {
        let asked = Asked::of(text).ok_or_else(|| PointError::Malformed {
            dataset: self.label(),
            text: text.chars().take(MAX_TEXT).collect(),
        })?;
        let found = match asked {
            Asked::Head => self.block_by_sequence(self.state.sequence_number)?,
            // Few hashes are digits alone, and few chains are that long.
            Asked::Number(number) if number < self.state.blocks() => self.block_by_sequence(number)?,
            Asked::Number(_) => match Asked::hash(text) {
                Some(Asked::End(digits)) => self.only(text, |hash| hash.ends_with(digits))?,
                _ => None,
            },
            Asked::Whole(hash) => self.block_by_hash(&hash)?,
            Asked::Beginning(digits) => {
                let digits = digits.to_ascii_lowercase();
                let begins = |hash: &str| {
                    hash.strip_prefix(HASH_PREFIX)
                        .is_some_and(|rest| rest.starts_with(&digits))
                };
                self.only(text, begins)?
            }
            Asked::End(digits) => {
                let digits = digits.to_ascii_lowercase();
                self.only(text, |hash| hash.ends_with(&digits))?
            }
            Asked::Time(time) => return self.at_time(text, time),
        };
        found.ok_or_else(|| PointError::Unknown {
            dataset: self.label(),
            text: text.to_owned(),
        })
    }

    /// The dataset as it was when this block was its newest: only to be read. Its own state is left alone, and so is what is
    /// kept of it; an append to it is refused, since its head is not that of the files. Reads the chain up to the block,
    /// unless that is the newest.
    ///
    /// # Errors
    /// [`DatasetError::NoBlock`], or the chain cannot be read.
    pub fn as_of(&self, sequence: u64) -> Result<Dataset, DatasetError> {
        let state = match sequence.checked_add(1) {
            Some(next) if next <= self.state.blocks() => self.state_before(next)?,
            _ => None,
        };
        Ok(Dataset {
            state: state.ok_or(DatasetError::NoBlock { sequence })?,
            ..self.clone()
        })
    }

    /// The one block whose hash in text is such.
    fn only(&self, text: &str, matches: impl Fn(&str) -> bool) -> Result<Option<StoredBlock>, PointError> {
        let (mut found, mut more) = (Vec::new(), false);
        for (sequence, name) in (0..).zip(self.names_from(0)?) {
            let (hash, _) = name?;
            if matches(&hash.to_string()) {
                more |= found.len() == MAX_CANDIDATES;
                found.push((sequence, hash));
                found.truncate(MAX_CANDIDATES);
            }
        }
        match found.as_slice() {
            [] => Ok(None),
            [(sequence, _)] => Ok(self.block_by_sequence(*sequence)?),
            several => Err(PointError::Ambiguous {
                dataset: self.label(),
                text: text.to_owned(),
                candidates: several.iter().map(|(_, hash)| *hash).collect(),
                more,
            }),
        }
    }

    /// The last block that was made up to a time. Times never go back in a chain.
    fn at_time(&self, text: &str, time: Timestamp) -> Result<StoredBlock, PointError> {
        let (mut found, mut first) = (None, None);
        // Blocks before `from` are not younger, those from `until` on are.
        let (mut from, mut until) = (0, self.state.blocks());
        while from < until {
            let middle = from + (until - from) / 2;
            let stored = self
                .block_by_sequence(middle)?
                .ok_or(DatasetError::NoBlock { sequence: middle })?;
            let made = stored.block.block().system_time;
            if made <= time {
                from = middle + 1;
                found = Some(stored);
            } else {
                until = middle;
                first = Some(made);
            }
        }
        found.ok_or_else(|| PointError::Earlier {
            dataset: self.label(),
            text: text.to_owned(),
            first: first.unwrap_or(time),
        })
    }

    fn label(&self) -> String {
        self.name()
            .map_or_else(|_| self.id().to_string(), |name| name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{add, make, open, time as at};
    use super::*;

    #[test]
    fn a_text_asks_for_one_thing() {
        let hash = Multihash::sha3_256(b"a");
        let (whole, short) = (hash.to_string(), hash.short());
        assert_eq!(Asked::of(&whole), Some(Asked::Whole(hash)));
        assert_eq!(Asked::of(&whole[..9]), Some(Asked::Beginning(&whole[5..9])));
        // One digit fewer behind the prefix is the end of some hash.
        assert_eq!(Asked::of(&whole[..8]), Some(Asked::End(&whole[..8])));
        assert_eq!(Asked::of(&short), Some(Asked::End(&short)));
        assert_eq!(Asked::of("12"), Some(Asked::Number(12)));
        assert_eq!(Asked::of("abcd"), Some(Asked::End("abcd")));
        assert_eq!(Asked::of("abc"), None);
        assert_eq!(Asked::of("head"), Some(Asked::Head));
        assert_eq!(Asked::of("HEAD"), Some(Asked::Head));
        assert_eq!(Asked::of("heads"), None);
        assert_eq!(Asked::of(&"a".repeat(MAX_TEXT + 1)), None);
    }

    #[test]
    fn a_time_is_the_whole_of_its_second_and_a_date_its_first_moment() {
        let at = |text: &str| time(text).map(|time| time.to_string());
        assert_eq!(at("2026-05-31").as_deref(), Some("2026-05-31T00:00:00Z"));
        assert_eq!(
            at("2026-05-31T12:00:00Z").as_deref(),
            Some("2026-05-31T12:00:00.999999999Z")
        );
        assert_eq!(
            at("2026-05-31T14:00:00.5+02:00").as_deref(),
            Some("2026-05-31T12:00:00.500Z")
        );
        assert_eq!(at("2026-13-31"), None);
        assert_eq!(at("yesterday"), None);
    }

    /// Blocks: Seed, schema, three rows, all at 0; then one at 4 and one at 5.
    fn dataset(dir: &std::path::Path) -> Dataset {
        let mut dataset = make(&open(dir));
        add(&mut dataset, 3, 4).unwrap();
        add(&mut dataset, 4, 5).unwrap();
        dataset
    }

    #[test]
    fn a_block_is_found_by_number_hash_part_of_it_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path());
        let found = |text: &str| dataset.point(text).unwrap().block.block().sequence_number;
        let hash = dataset.block_by_sequence(3).unwrap().unwrap().block.hash().to_string();
        for text in ["3", &hash, &hash[..13], &hash[hash.len() - 8..], &at(4).to_string()] {
            assert_eq!(found(text), 3, "{text}");
        }
        assert_eq!(found("head"), 4);
        assert_eq!(found(&at(0).to_string()), 2);
        assert_eq!(found("9999-12-31"), 4);
        assert!(matches!(dataset.point("1999-12-31"), Err(PointError::Earlier { .. })));
        assert!(matches!(dataset.point("5"), Err(PointError::Unknown { .. })));
        assert!(matches!(dataset.point("latest"), Err(PointError::Malformed { .. })));
    }

    #[test]
    fn blocks_that_one_text_could_be_are_named_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut dataset = dataset(dir.path());
        for row in 5..7 {
            let blocks = usize::try_from(dataset.state().blocks()).unwrap();
            let Err(PointError::Ambiguous { candidates, more, .. }) = dataset.only("any", |_| true) else {
                panic!("one block of several");
            };
            assert_eq!((candidates.len(), more), (MAX_CANDIDATES, blocks > MAX_CANDIDATES));
            add(&mut dataset, row, row + 1).unwrap();
        }
    }

    #[test]
    fn what_was_is_read_and_leaves_what_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut dataset = make(&open(dir.path()));
        // Long enough for an index.
        for row in 3..140 {
            add(&mut dataset, row, row + 1).unwrap();
        }
        let head = *dataset.head();
        let mut then = dataset.as_of(4).unwrap();
        assert_eq!((then.state().blocks(), then.state().last_offset), (5, Some(4)));
        assert_eq!(then.slices().unwrap().len(), 3);
        assert_eq!(then.tail(100).unwrap().unwrap().num_rows(), 5);
        assert!(then.block_by_hash(&head).unwrap().is_none());
        assert!(matches!(add(&mut then, 5, 6), Err(DatasetError::HeadMoved { .. })));
        assert_eq!(dataset.slices().unwrap().len(), 138);
        assert!(dataset.block_by_hash(&head).unwrap().is_some());
        let again = Dataset::open(dataset.dir(), &crate::Medium::new(odf_disk::Disk::new())).unwrap();
        assert_eq!(again.head(), &head);
        assert!(matches!(dataset.as_of(140), Err(DatasetError::NoBlock { .. })));
    }
}
