//! Who goes first where rows of both sides of the last match of a merge are equal.
//!
//! The reference implementation merges sorted blocks by a tournament. Of equal rows the one of the earlier block wins every
//! match but the last, where the side goes first of whose block fewer such rows were taken in a row. A count that was not
//! asked for since the last such group stays as it was then, and counts.

/// The blocks of a merge, and what the last match remembers.
pub(super) struct Turns {
    polls: Vec<Polls>,
    /// How many groups of rows that are equal on both sides there were.
    groups: u64,
    /// Whether the last two rows that met were equal.
    tied: bool,
    /// Whether a row of the present group was taken.
    begun: bool,
    /// The block of the row that was taken last.
    last: Option<usize>,
}

/// How often in a row an equal row of a block was taken, and in which group.
#[derive(Clone, Copy, Default)]
struct Polls {
    count: u64,
    group: u64,
}

/// On which side of the last match a block is. Blocks are the leaves of a heap, whose root is that match.
pub(super) fn is_left(blocks: usize, block: usize) -> bool {
    let mut place = blocks + block;
    while place > 3 {
        place /= 2;
    }
    place == 2
}

impl Turns {
    /// Of so many blocks.
    pub(super) fn new(blocks: usize) -> Turns {
        Turns {
            polls: vec![Polls::default(); blocks],
            groups: 0,
            tied: false,
            begun: false,
            last: None,
        }
    }

    pub(super) fn blocks(&self) -> usize {
        self.polls.len()
    }

    /// A group begins whose rows are equal.
    pub(super) fn begin(&mut self) {
        self.begun = false;
    }

    /// Whether the next row is that of the left side. Each side has one of the group, of these blocks.
    pub(super) fn next(&mut self, left: usize, right: usize) -> bool {
        let is_left = match self.last {
            None => left < right,
            Some(last) if is_left(self.blocks(), last) => self.stays(last, left, right),
            Some(last) => !self.stays(last, right, left),
        };
        self.begun = true;
        self.last = Some(if is_left { left } else { right });
        is_left
    }

    /// Whether the side that the last row is from goes first again. It has a row of block `own` now, the other of `other`.
    fn stays(&mut self, last: usize, own: usize, other: usize) -> bool {
        if !self.tied {
            self.tied = true;
            self.groups += 1;
        }
        if last != own {
            return own < other;
        }
        let (group, begun) = (self.groups, self.begun);
        let other = (self.polls.get(other).map_or(0, |polls| polls.count), other);
        let Some(polls) = self.polls.get_mut(own) else {
            return true;
        };
        let before = if polls.group == group { polls.count } else { 0 };
        *polls = Polls {
            count: if begun { before + 1 } else { 0 },
            group,
        };
        (polls.count, own) <= other
    }

    /// A row of this block was taken, and nothing equal to it is left on the other side.
    pub(super) fn took(&mut self, block: usize) {
        self.last = Some(block);
        self.tied = false;
    }

    /// Appends the rows of a whole group, `first` and those behind it, as they go. They are of these blocks, which ascend.
    pub(super) fn arrange(&mut self, first: usize, blocks: &[u32], order: &mut Vec<u32>) {
        let rows = (first..).zip(blocks.iter().map(|block| *block as usize));
        let count = self.blocks();
        let (left, right): (Vec<_>, Vec<_>) = rows.partition(|(_, block)| is_left(count, *block));
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        let mut push = |row: usize| order.push(u32::try_from(row).unwrap_or(u32::MAX));
        self.begin();
        while let (Some((_, a)), Some((_, b))) = (left.peek(), right.peek()) {
            let side = if self.next(*a, *b) { &mut left } else { &mut right };
            side.next().into_iter().for_each(|(row, _)| push(row));
        }
        for (row, block) in left.chain(right) {
            push(row);
            self.took(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of blocks, each in order, as a tournament with all its matches merges them: block and place.
    fn tournament(blocks: &[Vec<i64>]) -> Vec<(usize, usize)> {
        let count = blocks.len();
        let mut at = vec![0; count];
        let mut polls = vec![(0u64, 0u64); count];
        let (mut epoch, mut tied) = (0, false);
        let mut tree = vec![usize::MAX; count];
        let head = |at: &[usize], block: usize| blocks[block].get(at[block]).copied();
        let greater = |at: &[usize], a: usize, b: usize| match (head(at, a), head(at, b)) {
            (None, _) => true,
            (_, None) => false,
            (Some(x), Some(y)) => (x, a) > (y, b),
        };
        for block in 0..count {
            let (mut winner, mut node) = (block, (count + block) / 2);
            while node != 0 && tree[node] != usize::MAX {
                if greater(&at, winner, tree[node]) {
                    std::mem::swap(&mut tree[node], &mut winner);
                }
                node /= 2;
            }
            tree[node] = winner;
        }
        let mut merged = Vec::new();
        loop {
            let mut winner = tree[0];
            if head(&at, winner).is_none() {
                return merged;
            }
            merged.push((winner, at[winner]));
            at[winner] += 1;
            let mut node = (count + winner) / 2;
            while node != 0 {
                let other = tree[node];
                let mut other_wins = greater(&at, winner, other);
                if node == 1 {
                    let (a, b) = (head(&at, winner), head(&at, other));
                    if a.is_some() && a == b {
                        if !tied {
                            tied = true;
                            epoch += 1;
                        }
                        if winner == tree[0] {
                            if polls[winner].1 != epoch {
                                polls[winner] = (0, epoch);
                            }
                            let before = blocks[winner][at[winner] - 1];
                            polls[winner].0 = if Some(before) == a { polls[winner].0 + 1 } else { 0 };
                            other_wins = (polls[winner].0, winner) > (polls[other].0, other);
                        } else {
                            other_wins = other < winner;
                        }
                    } else {
                        tied = false;
                    }
                }
                if other_wins {
                    std::mem::swap(&mut tree[node], &mut winner);
                }
                node /= 2;
            }
            tree[0] = winner;
        }
    }

    #[test]
    fn two_sides_that_take_turns_are_a_tournament() {
        let mut seed = 7u64;
        let mut dice = |sides: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % sides
        };
        for count in 2..20 {
            for values in [1, 2, 3, 10, 1000] {
                let mut block = || {
                    let mut rows: Vec<i64> = (0..1 + dice(20)).map(|_| dice(values) as i64).collect();
                    rows.sort_unstable();
                    rows
                };
                let blocks: Vec<Vec<i64>> = (0..count).map(|_| block()).collect();
                let mut rows: Vec<(i64, usize, usize)> = Vec::new();
                for (at, block) in blocks.iter().enumerate() {
                    rows.extend(block.iter().enumerate().map(|(row, value)| (*value, at, row)));
                }
                rows.sort_unstable();
                let mut turns = Turns::new(count);
                let mut order = Vec::new();
                let mut first = 0;
                for group in rows.chunk_by(|a, b| a.0 == b.0) {
                    let blocks: Vec<u32> = group.iter().map(|(_, block, _)| *block as u32).collect();
                    turns.arrange(first, &blocks, &mut order);
                    first += group.len();
                }
                let place = |row: &u32| (rows[*row as usize].1, rows[*row as usize].2);
                let arranged: Vec<_> = order.iter().map(place).collect();
                assert_eq!(arranged, tournament(&blocks), "{blocks:?}");
            }
        }
    }
}
