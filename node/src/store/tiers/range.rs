//! Walking over a part of the map, in the order of keys.
//!
//! In pages: some entries of the tree, and what the runs have between them. The runs are those that there are **after** the
//! tree was asked. An entry leaves the tree after its run is in the list, so one that the tree did not have any more is in
//! those runs. Nothing is held from one page to the next, nor while one is walked over: whoever walks may change the map,
//! and folds and merges go on.

use super::Tiers;
use crate::store::{
    error::StoreError,
    merged::{Merged, Source},
    run::Pair,
};

/// The most entries of the tree that a page has, and fewer where a fold is due earlier.
const PAGE_MAX: usize = 1024;

/// Keys and values in the order of keys, each as it is or was since the walk began. Ends after the first error.
pub(in crate::store) struct Range<'a> {
    tiers: &'a Tiers,
    /// Where the next page begins, unless there is none.
    next: Option<Vec<u8>>,
    /// What comes behind the last key, unless that is the end of the map.
    to: Option<Vec<u8>>,
    page: Option<Page>,
}

struct Page {
    all: Merged<'static>,
    /// What comes behind its last key.
    end: Option<Vec<u8>>,
}

impl Tiers {
    /// The entries from the key `from` on, those before `to` if it is given.
    pub(in crate::store) fn range(&self, from: &[u8], to: Option<&[u8]>) -> Range<'_> {
        Range {
            tiers: self,
            next: Some(from.to_vec()),
            to: to.map(<[u8]>::to_vec),
            page: None,
        }
    }

    /// The entries whose keys begin with this.
    pub(in crate::store) fn prefix(&self, prefix: &[u8]) -> Range<'_> {
        self.range(prefix, behind(prefix).as_deref())
    }
}

/// The first key behind all that begin with this, if there is one.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let (counted, last) = prefix.iter().enumerate().rev().find(|(_, byte)| **byte < u8::MAX)?;
    let mut behind = prefix.get(..counted)?.to_vec();
    behind.push(last + 1);
    Some(behind)
}

impl Range<'_> {
    fn advance(&mut self) -> Result<Option<Pair>, StoreError> {
        loop {
            if let Some(page) = &mut self.page {
                while let Some((key, value)) = page.all.next()? {
                    if page.end.as_ref().is_some_and(|end| key >= *end) {
                        break;
                    }
                    if !value.is_empty() {
                        return Ok(Some((key, value)));
                    }
                }
                self.page = None;
            }
            let is_within = |from: &Vec<u8>| self.to.as_ref().is_none_or(|to| from < to);
            let Some(from) = self.next.take().filter(is_within) else {
                return Ok(None);
            };
            self.turn(from)?;
        }
    }

    /// Opens the page that begins there.
    fn turn(&mut self, from: Vec<u8>) -> Result<(), StoreError> {
        let tiers = self.tiers;
        let most = tiers.limits.recent.min(PAGE_MAX);
        let mut recent: Vec<Pair> = Vec::new();
        let mut scan = match &self.to {
            Some(to) => tiers.recent.range(&from[..]..&to[..]),
            None => tiers.recent.range(&from[..]..),
        };
        while recent.len() < most {
            let Some((key, value)) = tiers.guard.run(|| scan.next().transpose())? else {
                break;
            };
            recent.push((key.to_vec(), value.to_vec()));
        }
        let end = match recent.last() {
            Some((last, _)) if recent.len() == most => {
                let end = [&last[..], &[0]].concat();
                self.next = Some(end.clone());
                Some(end)
            }
            _ => self.to.clone(),
        };
        // Only now: see the module.
        let runs = tiers.runs();
        let cursors = runs.iter().rev().map(|run| run.cursor_between(&from, end.as_deref()));
        let mut sources: Vec<Source<'static>> = vec![Box::new(recent.into_iter().map(Ok))];
        sources.extend(cursors.map(|cursor| Box::new(cursor) as Source<'static>));
        let all = Merged::of(sources)?;
        self.page = Some(Page { all, end });
        Ok(())
    }
}

impl Iterator for Range<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let advanced = self.advance();
        if advanced.is_err() {
            (self.next, self.page) = (None, None);
        }
        advanced.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_comes_what_begins_with_the_next_one() {
        assert_eq!(behind(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(behind(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(behind(b"\xff"), None);
        assert_eq!(behind(b""), None);
    }
}
