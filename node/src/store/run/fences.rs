//! Between which keys the blocks of a run lie, so that a look-up reads one of them.
//!
//! The fence of a block is no longer than it must be to come behind every key of the block before. Those of names of
//! files, which begin alike for dozens of bytes, tell them apart as well as those of hashes. The first is the first key
//! of the run, and one more is its last, so that what lies outside is known not to be there: numbers of files only grow.

use super::form::{EARLIER_FENCE_BYTES, Form, MAX_ENTRY_BYTES, MAX_FENCES_BYTES};

/// Length of the length of a fence.
const LEN_BYTES: usize = 2;

/// The fences of a run that is open.
pub(super) struct Fences {
    form: Form,
    blocks: usize,
    /// All of them, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl Fences {
    /// The fences, and the bytes behind them. Nothing if those are not the fences of a run of so many blocks, or there are
    /// bytes behind them in a form that has nothing there.
    pub(super) fn decode(form: Form, blocks: u32, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let blocks = blocks as usize;
        let mut fences = Self {
            form,
            blocks,
            bytes: Vec::with_capacity(bytes.len()),
            ends: Vec::with_capacity(blocks.min(bytes.len() / LEN_BYTES) + 1),
        };
        match form {
            Form::Filtered | Form::Shared | Form::Whole => {
                let mut rest = bytes;
                let count = if blocks == 0 { 0 } else { blocks + 1 };
                while fences.ends.len() < count {
                    let (len, behind) = rest.split_first_chunk()?;
                    let (fence, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
                    fences.push(fence)?;
                    rest = behind;
                }
                (rest.is_empty() || form == Form::Filtered).then_some((fences, rest))
            }
            Form::Short => {
                let (short, rest) = bytes.as_chunks::<EARLIER_FENCE_BYTES>();
                short.iter().try_for_each(|fence| fences.push(short_of(fence)))?;
                (rest.is_empty() && short.len() == blocks).then_some((fences, rest))
            }
        }
    }

    fn push(&mut self, fence: &[u8]) -> Option<()> {
        if fence.len() > MAX_ENTRY_BYTES {
            return None;
        }
        self.bytes.extend_from_slice(fence);
        self.ends.push(u32::try_from(self.bytes.len()).ok()?);
        Some(())
    }

    /// Those of blocks come first.
    fn at(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes.get(begin.map_or(0, |begin| *begin as usize)..end)
    }

    /// How many of the first fences of blocks this is true of; it is true of none behind one that it is not true of.
    fn count(&self, is_true: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle).is_some_and(&is_true) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The first block that may have this key or one behind it; nothing if the run ends before.
    pub(super) fn block_for(&self, key: &[u8]) -> Option<usize> {
        if self.at(self.blocks).is_some_and(|last| last < key) {
            return None;
        }
        // Of short ones only those that differ tell where a block ends.
        let begin_before = match self.form {
            Form::Filtered | Form::Shared | Form::Whole => self.count(|fence| fence <= key),
            Form::Short => self.count(|fence| fence < short_of(key)),
        };
        (self.blocks > 0).then_some(begin_before.saturating_sub(1))
    }

    /// Whether a block is there and may have this key, or one before it.
    pub(super) fn begins_by(&self, block: usize, key: &[u8]) -> bool {
        block < self.blocks && self.at(block).is_some_and(|fence| fence <= key)
    }
}

/// The first bytes of a key without the zeros at their end: they come before the key and in the same order, whether the zeros
/// are of the key or fill it up.
fn short_of(key: &[u8]) -> &[u8] {
    let first = key.get(..EARLIER_FENCE_BYTES).unwrap_or(key);
    let len = first.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    first.get(..len).unwrap_or(first)
}

/// The fences of a run that is being written.
#[derive(Default)]
pub(super) struct Growing {
    bytes: Vec<u8>,
}

impl Growing {
    /// A block begins with `first`, and the one before it, if there is one, ends with `last`. False if that would be too
    /// much for a run.
    #[must_use]
    pub(super) fn begin(&mut self, last: Option<&[u8]>, first: &[u8]) -> bool {
        let fence = last.and_then(|last| {
            let alike = last.iter().zip(first).take_while(|(last, first)| last == first).count();
            first.get(..=alike)
        });
        self.push(fence.unwrap_or(first))
    }

    /// The run ends with this key. False if that would be too much for a run.
    #[must_use]
    pub(super) fn end(&mut self, last: &[u8]) -> bool {
        self.push(last)
    }

    fn push(&mut self, fence: &[u8]) -> bool {
        if self.bytes.len() + LEN_BYTES + fence.len() > MAX_FENCES_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(&(fence.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(fence);
        true
    }

    pub(super) fn into_encoded(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fences of blocks that begin and end with these keys.
    fn fences(blocks: &[(&str, &str)]) -> Fences {
        let mut growing = Growing::default();
        let mut last: Option<&str> = None;
        for (first, end) in blocks {
            assert!(growing.begin(last.map(str::as_bytes), first.as_bytes()));
            last = Some(end);
        }
        assert!(last.is_none_or(|last| growing.end(last.as_bytes())));
        let encoded = growing.into_encoded();
        let decoded = Fences::decode(Form::Whole, blocks.len() as u32, &encoded);
        decoded.unwrap().0
    }

    #[test]
    fn a_fence_is_as_long_as_it_must_be() {
        let fences = fences(&[
            ("data/a1", "data/a7"),
            ("data/b2", "data/b3"),
            ("data/b3x", "data/b3xyz"),
            ("data/c", "e"),
        ]);
        let all: Vec<&[u8]> = (0..6).map_while(|at| fences.at(at)).collect();
        let expected: [&[u8]; 5] = [b"data/a1", b"data/b", b"data/b3x", b"data/c", b"e"];
        assert_eq!(all, expected);
        for (key, block) in [
            ("", Some(0)),
            ("data/a1", Some(0)),
            ("data/a9", Some(0)),
            ("data/b", Some(1)),
            ("data/b3", Some(1)),
            ("data/b3x", Some(2)),
            ("data/b9", Some(2)),
            ("data/c", Some(3)),
            ("e", Some(3)),
            ("e\0", None),
        ] {
            assert_eq!(fences.block_for(key.as_bytes()), block, "{key}");
        }
        let begin = |block, key: &str| fences.begins_by(block, key.as_bytes());
        assert!(!begin(0, "data/a0") && begin(0, "data/a1") && !begin(3, "data/b9") && begin(3, "data/c"));
        assert!(!begin(4, "zz"), "the end is no block");
    }

    #[test]
    fn no_blocks_have_no_fences() {
        let none = fences(&[]);
        assert_eq!((none.block_for(b""), none.block_for(b"k")), (None, None));
        assert!(!none.begins_by(0, b"k"));
    }

    #[test]
    fn what_is_not_as_many_fences_as_it_should_be_is_none() {
        let bytes = |fences: &[&[u8]]| {
            let one = |fence: &&[u8]| [&(fence.len() as u16).to_le_bytes(), *fence].concat();
            fences.iter().flat_map(one).collect::<Vec<u8>>()
        };
        let is_read = |blocks, bytes: &[u8]| Fences::decode(Form::Whole, blocks, bytes).is_some();
        let two = bytes(&[b"a", b"b", b"c"]);
        assert!(is_read(2, &two) && !is_read(1, &two) && !is_read(3, &two) && !is_read(0, &two));
        assert!(!is_read(2, &two[..two.len() - 1]) && !is_read(2, &[&two[..], &[0]].concat()));
        assert!(is_read(1, &bytes(&[b"", b""])) && is_read(0, b"") && !is_read(1, b""));
        let (longest, longer) = ([1; MAX_ENTRY_BYTES], [1; MAX_ENTRY_BYTES + 1]);
        assert!(is_read(1, &bytes(&[b"a", &longest])) && !is_read(1, &bytes(&[b"a", &longer])));
        let behind =
            Fences::decode(Form::Filtered, 2, &[&two[..], b"filter"].concat()).map(|(_, behind)| behind.to_vec());
        assert_eq!(behind.as_deref(), Some(&b"filter"[..]));
        let short = |blocks, bytes: &[u8]| Fences::decode(Form::Short, blocks, bytes).is_some();
        assert!(short(2, &[0; 16]) && !short(2, &[0; 15]) && !short(2, &[0; 24]) && short(0, b""));
    }

    #[test]
    fn there_are_no_more_fences_than_fit_into_memory() {
        let mut growing = Growing::default();
        let long = [7; MAX_ENTRY_BYTES];
        while growing.begin(None, &long) {}
        let left = MAX_FENCES_BYTES - growing.bytes.len();
        assert!(left < LEN_BYTES + MAX_ENTRY_BYTES);
        assert!(!growing.end(&long[..left - 1]), "one over");
        assert!(growing.end(&long[..left - LEN_BYTES]));
        assert_eq!(growing.into_encoded().len(), MAX_FENCES_BYTES);
    }

    #[test]
    fn short_fences_find_what_lies_among_keys_that_begin_alike() {
        // As earlier versions wrote them: the same for every block that begins with the same 8 bytes.
        let bytes: Vec<u8> = [
            *b"aaaaaaaa",
            *b"bbbbbbbb",
            *b"bbbbbbbb",
            *b"bb\0\0\0\0\0\0",
            *b"cccccccc",
        ]
        .concat();
        let mut sorted: Vec<[u8; 8]> = bytes.as_chunks().0.to_vec();
        sorted.sort_unstable();
        let sorted = sorted.concat();
        let (fences, _) = Fences::decode(Form::Short, 5, &sorted).unwrap();
        for (key, block) in [
            (&b""[..], 0),
            (b"aaaaaaaa", 0),
            (b"aaaaaaaaz", 0),
            (b"bb", 0),
            (b"bb\0", 0),
            (b"bb\0\0\0\0\0\0\0", 0),
            (b"bb\x01", 1),
            (b"bbbbbbbb", 1),
            (b"bbbbbbbbx", 1),
            (b"bbbbbbbc", 3),
            (b"cccccccc", 3),
            (b"d", 4),
        ] {
            assert_eq!(fences.block_for(key), Some(block), "{key:?}");
        }
    }
}
