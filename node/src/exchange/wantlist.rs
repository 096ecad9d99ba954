//! What a message says of its sender's wants, cut to what a ledger can take.
//!
//! The cut is made on the connection's own task, so that the exchange, which is one task for all peers, does an amount of
//! work for each message that does not grow with what the peer sends.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use cid::Cid;

use super::message::WantlistEntry;

/// The most wants kept for one peer (Kubo's number), and therefore taken from one message.
pub(super) const MAX_WANTS_PER_PEER: usize = 1024;
/// The most changes of a wantlist taken from one message as they come. From a longer one those wants are taken that stay
/// in the ledger in the end.
pub(super) const MAX_CHANGES: usize = 2 * MAX_WANTS_PER_PEER;

/// Changes of what a peer wants.
#[derive(Debug, Default)]
pub(super) struct Wantlist {
    /// All that is wanted from now on, when the message says so: what is not named here is withdrawn first.
    pub(super) only: Option<HashSet<Cid>>,
    /// Withdrawn before `entries` are looked at.
    pub(super) withdrawn: HashSet<Cid>,
    /// At most [`MAX_CHANGES`], in the order of the message.
    pub(super) entries: Vec<WantlistEntry>,
}

impl Wantlist {
    /// The changes that a message makes, whose list replaces the one before if it is `full`.
    pub(super) fn new(full: bool, entries: Vec<WantlistEntry>) -> Self {
        let (withdrawn, entries) = if entries.len() <= MAX_CHANGES {
            (HashSet::new(), entries)
        } else {
            cut(entries)
        };
        let wants = entries.iter().filter(|entry| !entry.cancel);
        let only = full.then(|| wants.map(|entry| entry.cid).collect());
        Self {
            only,
            withdrawn,
            entries,
        }
    }

    /// Whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        self.only.is_none() && self.withdrawn.is_empty() && self.entries.is_empty()
    }
}

/// All cancels, and the wants that stand after them: the highest in priority, of equal ones the first. The last word on a
/// CID counts, as in a list that is not cut.
fn cut(entries: Vec<WantlistEntry>) -> (HashSet<Cid>, Vec<WantlistEntry>) {
    let cancels = entries.iter().enumerate().filter(|(_, entry)| entry.cancel);
    let cancels: HashMap<Cid, usize> = cancels.map(|(at, entry)| (entry.cid, at)).collect();
    let stands = |at: usize, entry: &WantlistEntry| cancels.get(&entry.cid).is_none_or(|cancel| *cancel < at);
    let mut wants: Vec<(usize, WantlistEntry)> = entries
        .into_iter()
        .enumerate()
        .filter(|(at, entry)| !entry.cancel && stands(*at, entry))
        .collect();
    if wants.len() > MAX_WANTS_PER_PEER {
        wants.select_nth_unstable_by_key(MAX_WANTS_PER_PEER, |(at, entry)| (Reverse(entry.priority), *at));
        wants.truncate(MAX_WANTS_PER_PEER);
        wants.sort_unstable_by_key(|(at, _)| *at);
    }
    let wants = wants.into_iter().map(|(_, entry)| entry).collect();
    (cancels.into_keys().collect(), wants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, RAW};
    use crate::exchange::message::WantKind;

    fn entry(seed: usize, priority: i32, cancel: bool) -> WantlistEntry {
        WantlistEntry {
            cid: *Block::new(RAW, seed.to_le_bytes().to_vec()).unwrap().cid(),
            priority,
            cancel,
            kind: WantKind::Block,
            send_dont_have: true,
        }
    }

    #[test]
    fn a_list_within_the_limit_is_taken_as_it_comes() {
        let entries: Vec<_> = (0..MAX_CHANGES).map(|at| entry(at / 2, 1, at % 2 == 0)).collect();
        let list = Wantlist::new(false, entries.clone());
        assert_eq!(list.entries, entries);
        assert!(list.only.is_none() && list.withdrawn.is_empty());
        assert!(Wantlist::new(false, Vec::new()).is_empty());
        assert!(!Wantlist::new(true, Vec::new()).is_empty());
    }

    #[test]
    fn one_over_the_limit_keeps_the_highest_in_their_order_and_every_cancel() {
        let mut entries: Vec<_> = (0..MAX_CHANGES).map(|at| entry(at, at as i32 % 7, false)).collect();
        entries.push(entry(99_999, 0, true));
        let list = Wantlist::new(true, entries.clone());
        assert_eq!(list.entries.len(), MAX_WANTS_PER_PEER);
        let lowest = list.entries.iter().map(|entry| entry.priority).min();
        let higher = entries.iter().filter(|entry| Some(entry.priority) > lowest).count();
        assert!(higher <= MAX_WANTS_PER_PEER);
        let mut rest = entries.iter();
        assert!(list.entries.iter().all(|kept| rest.any(|entry| entry == kept)));
        assert_eq!(list.only.unwrap().len(), MAX_WANTS_PER_PEER);
        assert_eq!(list.withdrawn, HashSet::from([entry(99_999, 0, true).cid]));
    }

    #[test]
    fn the_last_word_counts_in_a_list_that_is_cut() {
        let mut entries = vec![
            entry(1, 9, false),
            entry(1, 9, true),
            entry(2, 9, true),
            entry(2, 9, false),
        ];
        entries.extend((100..100 + MAX_CHANGES).map(|at| entry(at, 1, true)));
        let list = Wantlist::new(false, entries);
        assert_eq!(list.entries, [entry(2, 9, false)]);
        assert_eq!(list.withdrawn.len(), MAX_CHANGES + 2);
    }
}
