//! Rows that stand beside the latest one of their key: an append takes a key twice, and so does a ledger of one file.

use super::records::Old;
use crate::merge::keys::ByHash;

/// The earlier rows of keys that have more than one: those that hold, by offset, and how far nothing holds any more.
#[derive(Default)]
pub(super) struct Surplus(ByHash<Of>);

#[derive(Default)]
struct Of {
    holding: Vec<i64>,
    /// The offset of the last row that says that the values of its key no longer hold.
    ended: Option<i64>,
}

impl Surplus {
    /// Takes a row that is not the latest one of its key, in any order.
    pub(super) fn add(&mut self, row: &Old) {
        let of = self.0.entry(row.key).or_default();
        match row.holds {
            true => of.holding.push(row.offset),
            false => of.ended = of.ended.max(Some(row.offset)),
        }
    }

    /// Those that hold though another row of their key came after them, by key. `latest` has the latest row of each key whose
    /// values hold.
    pub(super) fn beside(self, latest: &ByHash<Old>) -> ByHash<Vec<i64>> {
        let of_key = |(key, of): (u128, Of)| {
            let mut holding = of.holding;
            holding.retain(|offset| of.ended.is_none_or(|ended| *offset > ended));
            (latest.contains_key(&key) && !holding.is_empty()).then_some((key, holding))
        };
        self.0.into_iter().filter_map(of_key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::Values;
    use super::*;

    #[test]
    fn what_was_not_taken_back_stands_beside_the_latest_row() {
        let row = |key, offset, holds| Old {
            key,
            offset,
            holds,
            values: Values {
                compared: 0,
                event_time: None,
            },
        };
        let mut surplus = Surplus::default();
        // Key 1 was corrected and then appended twice, 2 appended three times, 3 is gone, 4 was corrected.
        let earlier = [
            (1, 0, true),
            (1, 2, true),
            (1, 1, false),
            (2, 3, true),
            (2, 4, true),
            (3, 7, true),
            (4, 8, true),
        ];
        for (key, offset, holds) in earlier {
            surplus.add(&row(key, offset, holds));
        }
        surplus.add(&row(4, 9, false));
        let latest = [(1, 6), (2, 5), (4, 10)];
        let latest: ByHash<Old> = latest
            .map(|(key, offset)| (key, row(key, offset, true)))
            .into_iter()
            .collect();
        let mut found: Vec<(u128, Vec<i64>)> = surplus.beside(&latest).into_iter().collect();
        found.sort();
        assert_eq!(found, [(1, vec![2]), (2, vec![3, 4])]);
    }
}
