//! Two chains of one dataset, side by side.
//!
//! A hash commits to everything before it, so two chains that agree at a position agree on all positions before it:
//! the end of what they share is found by halving.

use crate::Multihash;

/// How one chain stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same blocks.
    Equal,
    /// Ours holds all of theirs and goes on.
    Ahead {
        /// How many blocks theirs lacks.
        by: u64,
    },
    /// Theirs holds all of ours and goes on.
    Behind {
        /// How many blocks ours lacks.
        by: u64,
    },
    /// Each has blocks that the other lacks.
    Diverged {
        /// How many blocks they share, from the Seed on; 0 if they are not the same dataset.
        common: u64,
        /// How many only ours has.
        ours: u64,
        /// How many only theirs has.
        theirs: u64,
    },
}

/// Compares two chains given as hashes by sequence number, Seed first.
pub fn compare(ours: &[Multihash], theirs: &[Multihash]) -> Relation {
    let same = |at: u64| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        Ok::<_, std::convert::Infallible>(ours.get(at) == theirs.get(at))
    };
    match compare_by(ours.len() as u64, theirs.len() as u64, same) {
        Ok(relation) => relation,
        Err(never) => match never {},
    }
}

/// Compares two chains by their lengths in blocks and a way to tell whether both have the same block at a sequence
/// number that both have. Asks O(log n) times.
///
/// # Errors
/// What `same` gives.
pub fn compare_by<E>(ours: u64, theirs: u64, mut same: impl FnMut(u64) -> Result<bool, E>) -> Result<Relation, E> {
    let shorter = ours.min(theirs);
    // Blocks before `common` are the same, those from `differs` on are not.
    let (mut common, mut differs) = (0, shorter);
    if shorter > 0 && same(shorter - 1)? {
        common = shorter;
    }
    while common < differs {
        let middle = common + (differs - common) / 2;
        if same(middle)? {
            common = middle + 1
        } else {
            differs = middle
        }
    }
    Ok(match (ours - common, theirs - common) {
        (0, 0) => Relation::Equal,
        (by, 0) => Relation::Ahead { by },
        (0, by) => Relation::Behind { by },
        (ours, theirs) => Relation::Diverged { common, ours, theirs },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of `length` blocks that leaves the common trunk after `common`.
    fn chain(branch: u8, common: usize, length: usize) -> Vec<Multihash> {
        (0..length)
            .map(|at| Multihash::sha3_256(&[if at < common { 0 } else { branch }, at as u8]))
            .collect()
    }

    #[test]
    fn every_relation_is_found_at_every_length() {
        for common in 0..12 {
            for ours in common..12 {
                for theirs in common..12 {
                    let expected = match ((ours - common) as u64, (theirs - common) as u64) {
                        (0, 0) => Relation::Equal,
                        (by, 0) => Relation::Ahead { by },
                        (0, by) => Relation::Behind { by },
                        (ours, theirs) => Relation::Diverged {
                            common: common as u64,
                            ours,
                            theirs,
                        },
                    };
                    assert_eq!(compare(&chain(1, common, ours), &chain(2, common, theirs)), expected);
                }
            }
        }
    }

    #[test]
    fn long_chains_are_compared_with_few_questions() {
        let mut asked = 0;
        let relation = compare_by(1 << 40, 1 << 41, |at| {
            asked += 1;
            Ok::<_, ()>(at < 1_000_000)
        });
        assert!(matches!(relation, Ok(Relation::Diverged { common: 1_000_000, .. })));
        assert!(asked <= 42, "{asked}");
        assert_eq!(compare_by(5, 7, |_| Err("offline")), Err("offline"));
        assert_eq!(compare_by(0, 7, |_| Err("not asked")), Ok(Relation::Behind { by: 7 }));
    }
}
