//! Several sorted sources as one.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{error::StoreError, run::Pair};

/// Entries in the order of their keys, each key once.
pub(super) type Source<'a> = Box<dyn Iterator<Item = Result<Pair, StoreError>> + 'a>;

/// The next entry of a source: its key, the number of the source, its value.
type Head = (Vec<u8>, usize, Vec<u8>);

/// Several sources in the order of keys as one; of the same key the first source has the word.
pub(super) struct Merged<'a> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl<'a> Merged<'a> {
    /// # Errors
    /// Those of the sources.
    pub(super) fn of(sources: Vec<Source<'a>>) -> Result<Self, StoreError> {
        let mut merged = Self {
            heads: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        for source in 0..merged.sources.len() {
            merged.fill(source)?;
        }
        Ok(merged)
    }

    fn fill(&mut self, source: usize) -> Result<(), StoreError> {
        let next = self.sources.get_mut(source).and_then(Iterator::next).transpose()?;
        self.heads
            .extend(next.map(|(key, value)| Reverse((key, source, value))));
        Ok(())
    }

    /// # Errors
    /// Those of the sources.
    pub(super) fn next(&mut self) -> Result<Option<Pair>, StoreError> {
        let Some(Reverse((key, source, value))) = self.heads.pop() else {
            return Ok(None);
        };
        self.fill(source)?;
        while let Some(Reverse((_, older, _))) = self.heads.peek().filter(|head| head.0.0 == key) {
            let older = *older;
            self.heads.pop();
            self.fill(older)?;
        }
        Ok(Some((key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_comes_once_and_of_the_first_source() {
        let source = |entries: &'static [(&'static str, &'static str)]| -> Source<'static> {
            let bytes = |text: &str| text.as_bytes().to_vec();
            Box::new(entries.iter().map(move |(key, value)| Ok((bytes(key), bytes(value)))))
        };
        let sources = vec![
            source(&[("b", "1"), ("d", "1")]),
            source(&[]),
            source(&[("a", "2"), ("b", "2"), ("c", "2"), ("e", "2")]),
            source(&[("b", "3"), ("e", "3")]),
        ];
        let mut merged = Merged::of(sources).unwrap();
        let mut text = String::new();
        while let Some((key, value)) = merged.next().unwrap() {
            text += &String::from_utf8([key, value].concat()).unwrap();
        }
        assert_eq!(text, "a2b1c2d1e2");
        let torn: Source<'_> = Box::new([Err(StoreError::IndexDamaged)].into_iter());
        assert!(Merged::of(vec![torn]).is_err());
    }
}
