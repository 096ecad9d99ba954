//! The entries of one block. What an entry has in common with the one before it is not written again: names of files begin
//! alike for dozens of bytes, and places of blocks differ in a few.

use super::form::{BLOCK_BYTES, BLOCK_HEADER_BYTES, Form};

/// A length below this is one byte, any other that a block can have is two.
const ONE_BYTE: usize = 0x80;

/// A block that is being filled.
pub(super) struct Filling {
    /// With room for the checksum and the number of entries.
    bytes: Vec<u8>,
    count: u16,
    /// Of the entry that was added last, be it to the block before.
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Filling {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BLOCK_HEADER_BYTES],
            count: 0,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The key that was added last, be it to the block before.
    pub(super) fn last_key(&self) -> &[u8] {
        &self.key
    }

    /// Adds an entry, whose key comes behind all that are there. False if there is no room for it, and it is not added then;
    /// there is in an empty block, for one that a run can have.
    #[must_use]
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let before = self.bytes.len();
        if self.count == 0 {
            put_len(&mut self.bytes, key.len());
            put_len(&mut self.bytes, value.len());
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
        } else {
            let shared = alike(self.key.iter(), key.iter());
            let new = key.get(shared..).unwrap_or_default();
            let begin = alike(self.value.iter(), value.iter());
            let (known, rest) = (self.value.get(begin..), value.get(begin..));
            let (known, rest) = (known.unwrap_or_default(), rest.unwrap_or_default());
            let end = alike(known.iter().rev(), rest.iter().rev());
            let rest = rest.get(..rest.len() - end).unwrap_or_default();
            for len in [shared, new.len(), begin, rest.len(), end] {
                put_len(&mut self.bytes, len);
            }
            self.bytes.extend_from_slice(new);
            self.bytes.extend_from_slice(rest);
        }
        if self.bytes.len() > BLOCK_BYTES {
            self.bytes.truncate(before);
            return false;
        }
        self.count += 1;
        replace(&mut self.key, key);
        replace(&mut self.value, value);
        true
    }

    /// Adds the block to `full`, with its checksum and zeros up to its end, and begins another one.
    pub(super) fn close(&mut self, full: &mut Vec<u8>) {
        self.bytes.resize(BLOCK_BYTES, 0);
        let (_, checked) = self.bytes.split_at_mut(4);
        let (count, _) = checked.split_at_mut(2);
        count.copy_from_slice(&self.count.to_le_bytes());
        let check = crc32fast::hash(checked);
        full.extend_from_slice(&check.to_le_bytes());
        full.extend_from_slice(checked);
        self.bytes.truncate(BLOCK_HEADER_BYTES);
        self.count = 0;
    }
}

/// How many of the first items of both are the same.
fn alike<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

fn replace(to: &mut Vec<u8>, by: &[u8]) {
    to.clear();
    to.extend_from_slice(by);
}

fn put_len(to: &mut Vec<u8>, len: usize) {
    if len < ONE_BYTE {
        to.push(len as u8);
    } else {
        to.extend_from_slice(&[(len % ONE_BYTE + ONE_BYTE) as u8, (len / ONE_BYTE) as u8]);
    }
}

/// The entries of one block, as they were added. None is longer than a block, whatever the bytes are.
pub(super) struct Entries<'a> {
    form: Form,
    rest: &'a [u8],
    left: u16,
    is_first: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Entries<'a> {
    /// Nothing if the checksum is wrong.
    pub(super) fn of(form: Form, block: &'a [u8]) -> Option<Self> {
        let (check, rest) = block.split_first_chunk()?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*check) {
            return None;
        }
        let (count, rest) = rest.split_first_chunk()?;
        Some(Self {
            form,
            rest,
            left: u16::from_le_bytes(*count),
            is_first: true,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// The next entry. Nothing in place of one that the block promises and does not have, which its checksum makes as good
    /// as impossible.
    pub(super) fn advance(&mut self) -> Option<Option<(&[u8], &[u8])>> {
        self.left = self.left.checked_sub(1)?;
        let is_read = match self.form {
            Form::Filtered | Form::Shared if !self.is_first => self.read_shared(),
            Form::Filtered | Form::Shared => self.read_first(),
            Form::Whole | Form::Short => self.read_whole(),
        };
        self.is_first = false;
        Some(is_read.map(|()| (&self.key[..], &self.value[..])))
    }

    fn read_shared(&mut self) -> Option<()> {
        let (shared, new) = (self.take_len()?, self.take_len()?);
        let (begin, rest, end) = (self.take_len()?, self.take_len()?, self.take_len()?);
        let (new, rest) = (self.take(new)?, self.take(rest)?);
        let kept = self.value.len().checked_sub(end)?;
        if shared > self.key.len() || begin > kept {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(new);
        match self.value.get_mut(begin..kept) {
            // Nearly always: a map has values of one length.
            Some(known) if known.len() == rest.len() => known.copy_from_slice(rest),
            _ => drop(self.value.splice(begin..kept, rest.iter().copied())),
        }
        Some(())
    }

    fn read_first(&mut self) -> Option<()> {
        let (key, value) = (self.take_len()?, self.take_len()?);
        self.set(key, value)
    }

    /// As earlier versions wrote all of them.
    fn read_whole(&mut self) -> Option<()> {
        let (key, rest) = self.rest.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        self.rest = rest;
        self.set(u16::from_le_bytes(*key).into(), u16::from_le_bytes(*value).into())
    }

    fn set(&mut self, key: usize, value: usize) -> Option<()> {
        let (key, value) = (self.take(key)?, self.take(value)?);
        replace(&mut self.key, key);
        replace(&mut self.value, value);
        Some(())
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn take_len(&mut self) -> Option<usize> {
        let low = usize::from(*self.take(1)?.first()?);
        if low < ONE_BYTE {
            return Some(low);
        }
        let high = usize::from(*self.take(1)?.first()?);
        Some(low - ONE_BYTE + high * ONE_BYTE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::run::form::MAX_ENTRY_BYTES;

    fn read(form: Form, block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Entries::of(form, block)?;
        let mut all = Vec::new();
        while let Some(entry) = entries.advance() {
            let (key, value) = entry?;
            all.push((key.to_vec(), value.to_vec()));
        }
        Some(all)
    }

    fn closed(block: &mut Filling) -> Vec<u8> {
        let mut bytes = Vec::new();
        block.close(&mut bytes);
        bytes
    }

    /// Keys and values of few different bytes, so that they share much.
    fn entry() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let few = |most| prop::collection::vec(prop::sample::select(&[0_u8, 1, 0xff][..]), 0..most);
        let long = (prop::sample::select(&[0_usize, 127, 128, 300, 3000][..]), few(4));
        let key = prop_oneof![few(6), long.prop_map(|(len, end)| [vec![7; len], end].concat())];
        (key, prop_oneof![few(6), few(200)])
    }

    proptest! {
        #[test]
        fn what_was_added_is_read(entries in prop::collection::btree_map(
            entry().prop_map(|(key, _)| key), entry().prop_map(|(_, value)| value), 0..300,
        )) {
            let (mut block, mut blocks) = (Filling::new(), Vec::new());
            for (key, value) in &entries {
                if !block.push(key, value) {
                    blocks.push(closed(&mut block));
                    prop_assert!(block.is_empty() && block.push(key, value));
                }
                prop_assert_eq!(block.last_key(), key);
            }
            blocks.push(closed(&mut block));
            prop_assert!(blocks.iter().all(|block| block.len() == BLOCK_BYTES));
            let found: Option<Vec<_>> = blocks.iter().map(|block| read(Form::Shared, block)).collect();
            let expected: Vec<_> = entries.into_iter().collect();
            prop_assert_eq!(found.map(|found| found.concat()), Some(expected));
        }

        /// Bytes that nobody wrote, with a checksum that says so.
        #[test]
        fn bytes_of_others_are_read_or_refused(
            bytes in prop::collection::vec(prop_oneof![3 => 0..8_u8, 1 => any::<u8>()], 0..BLOCK_BYTES - 6),
            count in prop_oneof![0..40_u16, any::<u16>()],
        ) {
            let mut checked = [&count.to_le_bytes()[..], &bytes].concat();
            checked.resize(BLOCK_BYTES - 4, 0);
            let block = [&crc32fast::hash(&checked).to_le_bytes()[..], &checked].concat();
            for form in [Form::Shared, Form::Whole] {
                let mut entries = Entries::of(form, &block).unwrap();
                let mut seen = 0;
                while let Some(entry) = entries.advance() {
                    seen += 1;
                    if let Some((key, value)) = entry {
                        prop_assert!(key.len() <= BLOCK_BYTES && value.len() <= BLOCK_BYTES);
                    }
                }
                prop_assert_eq!(seen, count);
            }
        }
    }

    #[test]
    fn the_longest_entry_has_a_block_of_its_own() {
        for key in [0, 1, 127, 128, MAX_ENTRY_BYTES / 2, MAX_ENTRY_BYTES] {
            let (key, value) = (vec![1; key], vec![2; MAX_ENTRY_BYTES - key]);
            let mut block = Filling::new();
            assert!(block.push(&key, &value), "{}", key.len());
            let mut next = key.clone();
            next.push(0);
            assert!(!block.push(&next, &[3; 100]));
            assert_eq!(read(Form::Shared, &closed(&mut block)).unwrap()[0], (key, value));
        }
    }

    #[test]
    fn an_entry_shares_no_more_than_is_there() {
        let block = |bytes: &[u8]| {
            let mut checked = [&2_u16.to_le_bytes()[..], b"\x01\x02kvw", bytes].concat();
            checked.resize(BLOCK_BYTES - 4, 0);
            read(
                Form::Shared,
                &[&crc32fast::hash(&checked).to_le_bytes()[..], &checked].concat(),
            )
        };
        let two = |key: &str, value: &str| {
            let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
            Some(vec![pair("k", "vw"), pair(key, value)])
        };
        assert_eq!(block(b"\x01\x01\x01\x01\x01lx"), two("kl", "vxw"));
        assert_eq!(block(b"\x01\x01\x02\x01\x00lx"), two("kl", "vwx"));
        assert_eq!(block(b"\x02\x01\x01\x01\x01lx"), None, "of the key");
        assert_eq!(block(b"\x01\x01\x02\x01\x01lx"), None, "of the value");
        assert_eq!(block(b"\x01\x01\x03\x01\x00lx"), None, "of its beginning");
        assert_eq!(block(b"\x01\x01\x00\x01\x03lx"), None, "of its end");
        assert_eq!(block(b"\x01\xff\xff\x00\x00\x00l"), None, "more than a block");
    }
}
