//! Offsets of earlier rows, few or many, in no more than some bits each where there are many.

use std::collections::BTreeMap;

/// Offsets that share all but their lowest bits are kept together.
const LOW_BITS: u32 = 16;

/// So many of them are kept as numbers; with more there is a bit for every offset that could be.
const MOST_NUMBERS: usize = 1024;

const WORDS: usize = (1 << LOW_BITS) / 64;

enum Block {
    /// Ascending.
    Few(Vec<u16>),
    Many(Box<[u64; WORDS]>),
}

impl Block {
    fn insert(&mut self, low: u16) {
        if let Block::Few(numbers) = self {
            let Err(at) = numbers.binary_search(&low) else { return };
            if numbers.len() < MOST_NUMBERS {
                return numbers.insert(at, low);
            }
            let mut bits = Box::new([0; WORDS]);
            numbers.iter().for_each(|low| set(&mut bits, *low));
            *self = Block::Many(bits);
        }
        if let Block::Many(bits) = self {
            set(bits, low);
        }
    }

    /// Whether one between these, both included, is among them.
    fn any_between(&self, least: u16, greatest: u16) -> bool {
        match self {
            Block::Few(numbers) => {
                let first = numbers.partition_point(|low| *low < least);
                numbers.get(first).is_some_and(|low| *low <= greatest)
            }
            Block::Many(bits) => {
                let (first, last) = (usize::from(least) / 64, usize::from(greatest) / 64);
                let from = u64::MAX << (least % 64);
                let to = u64::MAX >> (63 - greatest % 64);
                if first == last {
                    return bits[first] & from & to != 0;
                }
                bits[first] & from != 0 || bits[first + 1..last].iter().any(|word| *word != 0) || bits[last] & to != 0
            }
        }
    }
}

fn set(bits: &mut [u64; WORDS], low: u16) {
    bits[usize::from(low) / 64] |= 1 << (low % 64);
}

/// A set of offsets.
#[derive(Default)]
pub(super) struct Offsets(BTreeMap<i64, Block>);

impl Offsets {
    fn split(offset: i64) -> (i64, u16) {
        let [first, second, ..] = offset.to_le_bytes();
        (offset >> LOW_BITS, u16::from_le_bytes([first, second]))
    }

    pub(super) fn insert(&mut self, offset: i64) {
        let (high, low) = Self::split(offset);
        let block = self.0.entry(high).or_insert_with(|| Block::Few(Vec::new()));
        block.insert(low);
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        let (high, low) = Self::split(offset);
        self.0.get(&high).is_some_and(|block| block.any_between(low, low))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is between these, both included.
    pub(super) fn any_between(&self, least: i128, greatest: i128) -> bool {
        let offset = |number: i128| {
            let number = number.clamp(i64::MIN.into(), i64::MAX.into());
            i64::try_from(number).unwrap_or(0)
        };
        if least > greatest {
            return false;
        }
        let (first, last) = (Self::split(offset(least)), Self::split(offset(greatest)));
        self.0.range(first.0..=last.0).any(|(high, block)| {
            let least = if *high == first.0 { first.1 } else { 0 };
            let greatest = if *high == last.0 { last.1 } else { u16::MAX };
            block.any_between(least, greatest)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn agree(all: &[i64], asked: &[(i64, i64)]) {
        let mut offsets = Offsets::default();
        let mut wanted = BTreeSet::new();
        for offset in all {
            offsets.insert(*offset);
            wanted.insert(*offset);
        }
        assert_eq!(offsets.is_empty(), wanted.is_empty());
        for (least, greatest) in asked {
            assert_eq!(offsets.contains(*least), wanted.contains(least), "{least}");
            let any = least <= greatest && wanted.range(least..=greatest).next().is_some();
            let found = offsets.any_between((*least).into(), (*greatest).into());
            assert_eq!(found, any, "{least} to {greatest}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            all in prop::collection::vec(prop_oneof![-200_000..200_000i64, any::<i64>()], 0..40),
            asked in prop::collection::vec((-200_000..200_000i64, 0..100_000i64), 0..40),
        ) {
            let mut asked: Vec<(i64, i64)> = asked.into_iter().map(|(least, more)| (least, least + more)).collect();
            asked.extend(all.iter().flat_map(|offset| [(*offset, *offset), (offset.saturating_sub(1), *offset)]));
            asked.push((i64::MIN, i64::MAX));
            agree(&all, &asked);
        }
    }

    #[test]
    fn many_take_a_bit_each_and_are_the_same_set() {
        let all: Vec<i64> = (0..200_000).filter(|n| n % 3 == 0 || n / 5000 % 2 == 0).rev().collect();
        let mut asked: Vec<(i64, i64)> = (0..200_000).step_by(7).map(|n| (n, n + n % 90)).collect();
        asked.extend([(65_535, 65_536), (199_999, 300_000), (-5, -1)]);
        agree(&all, &asked);

        let mut offsets = Offsets::default();
        (0..=MOST_NUMBERS as i64).for_each(|n| {
            assert!(!offsets.0.values().any(|block| matches!(block, Block::Many(_))), "{n}");
            offsets.insert(n);
        });
        assert!(offsets.0.values().all(|block| matches!(block, Block::Many(_))));
    }
}
