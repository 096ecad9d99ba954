//! When parts of packs were last read, by a clock that goes on with what is written.
//!
//! A read costs no write: what is known is in memory and ends with the process. After that, as after a crash, a part counts as
//! used when it was written.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::place::{Place, Position};

/// Packs are told apart in parts of this many bytes, as a power of two.
const PART_BITS: u32 = 18;
/// The most parts whose last use is remembered; the half that was used least lately is forgotten for more.
pub(super) const MAX_PARTS: usize = 1 << 18;

/// A part of a pack. In the order in which they were written.
pub(super) type Part = (u32, u32);

/// When parts were last read.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<Part, Part>>);

/// The part at a position.
pub(super) fn part_at((pack, offset): Position) -> Part {
    (pack, u32::try_from(offset >> PART_BITS).unwrap_or(u32::MAX))
}

impl Uses {
    /// Somebody read from a pack at a moment when it was written at `now`.
    pub(super) fn note(&self, place: &Place, now: Position) {
        let (Some(part), now) = (place.position().map(part_at), part_at(now)) else {
            return;
        };
        if part >= now {
            return;
        }
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() >= MAX_PARTS && !uses.contains_key(&part) {
            let mut moments: Vec<Part> = uses.values().copied().collect();
            let (_, middle, _) = moments.select_nth_unstable(MAX_PARTS / 2);
            let middle = *middle;
            uses.retain(|_, at| *at > middle);
        }
        uses.insert(part, now);
    }

    /// When the part of this place was last written or read; nothing for a place in a file.
    pub(super) fn last(&self, place: &Place) -> Option<Part> {
        let part = place.position().map(part_at)?;
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(uses.get(&part).map_or(part, |at| part.max(*at)))
    }

    /// Forgets parts of packs that are not there any more.
    pub(super) fn retain(&self, is_there: impl Fn(u32) -> bool) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.retain(|(pack, _), _| is_there(*pack));
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::Holder;
    use super::*;

    fn place(part: u32) -> Place {
        Place {
            holder: Holder::Pack(1),
            offset: u64::from(part) << PART_BITS,
            len: 1,
        }
    }

    #[test]
    fn a_part_is_as_old_as_its_last_use() {
        let uses = Uses::default();
        assert_eq!(uses.last(&place(3)), Some((1, 3)));
        uses.note(&place(3), (2, 0));
        assert_eq!(uses.last(&place(3)), Some((2, 0)));
        assert_eq!(uses.last(&place(4)), Some((1, 4)));
        uses.retain(|pack| pack != 1);
        assert_eq!(uses.last(&place(3)), Some((1, 3)));
    }

    #[test]
    fn one_part_too_many_makes_the_older_half_forgotten() {
        let uses = Uses::default();
        let most = u32::try_from(MAX_PARTS).unwrap();
        for part in 0..=most {
            uses.note(&place(part), (2, u64::from(part) << PART_BITS));
        }
        assert_eq!(uses.0.lock().unwrap().len(), MAX_PARTS / 2);
        assert_eq!(uses.last(&place(0)), Some((1, 0)));
        assert_eq!(uses.last(&place(most)), Some((2, most)));
    }
}
