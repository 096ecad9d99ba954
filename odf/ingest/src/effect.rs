//! What new rows do to those that are there, in numbers for people.

use odf_metadata::OperationType;

mod gone;

pub(super) use gone::Gone;

/// A snapshot that retracts more of the rows that hold than this, in percent, may be a file that was cut short.
pub const MAX_UNASKED_PERCENT: u64 = 50;

/// What new rows did to those that were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Rows that came.
    pub added: u64,
    /// Rows whose values became others.
    pub corrected: u64,
    /// Rows that hold no longer.
    pub retracted: u64,
    /// Rows with an operation that ODF gives no meaning, which a stream of changes may have.
    pub other: u64,
    /// Rows that held before; counted for a snapshot only, else 0.
    pub held: u64,
    /// Rows that were not taken: a ledger has their keys, with other values, and keeps what it has. Not counted for polls.
    pub passed_over: u64,
}

impl Effect {
    /// Whether a snapshot retracts so much that somebody should have said so. What retracts by what its rows say, as an upsert
    /// does, counts no rows that hold.
    pub fn is_drastic(&self) -> bool {
        self.held > 0 && u128::from(self.retracted) * 100 > u128::from(self.held) * u128::from(MAX_UNASKED_PERCENT)
    }

    /// Of rows that are all new.
    pub fn all_new(rows: u64) -> Effect {
        Effect {
            added: rows,
            ..Effect::default()
        }
    }

    /// Counts rows that are written with this operation, by number. A correction is two, of which one counts.
    pub(super) fn count(&mut self, operation: i32, rows: u64) {
        match OperationType::try_from(operation) {
            Ok(OperationType::Append) => self.added += rows,
            Ok(OperationType::Retract) => self.retracted += rows,
            Ok(OperationType::CorrectFrom) => {}
            Ok(OperationType::CorrectTo) => self.corrected += rows,
            Err(_) => self.other += rows,
        }
    }
}

/// How many rows a snapshot may retract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retracting {
    /// As many as the table lacks.
    #[default]
    Any,
    /// No more than [`MAX_UNASKED_PERCENT`] of those that hold; what would retract more is
    /// [refused](super::IngestError::Drastic).
    Unasked,
    /// The same, or so many as somebody has agreed to.
    Agreed(u64),
}

impl Retracting {
    /// Whether an effect is more than that.
    pub(super) fn forbids(self, effect: &Effect) -> bool {
        match self {
            Retracting::Any => false,
            Retracting::Unasked => effect.is_drastic(),
            Retracting::Agreed(most) => effect.retracted > most && effect.is_drastic(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_is_drastic() {
        let effect = |retracted, held| Effect {
            retracted,
            held,
            ..Effect::default()
        };
        let held = 200;
        let most = held * MAX_UNASKED_PERCENT / 100;
        assert!(!effect(most, held).is_drastic());
        assert!(effect(most + 1, held).is_drastic());
        assert!(!effect(0, 0).is_drastic() && effect(1, 1).is_drastic());
        assert!(!effect(5, 0).is_drastic());
        assert!(effect(u64::MAX, u64::MAX).is_drastic());
        let all = effect(10, 10);
        assert!(!Retracting::Any.forbids(&all) && Retracting::Unasked.forbids(&all));
        assert!(!Retracting::Agreed(10).forbids(&all) && Retracting::Agreed(9).forbids(&all));
        assert!(!Retracting::Agreed(0).forbids(&effect(1, 2)));
    }

    #[test]
    fn a_correction_counts_once() {
        let mut effect = Effect::default();
        [0, 1, 2, 3, 0, 7]
            .iter()
            .for_each(|operation| effect.count(*operation, 1));
        effect.count(OperationType::Append as i32, 3);
        let wanted = Effect {
            added: 5,
            corrected: 1,
            retracted: 1,
            other: 1,
            ..Effect::default()
        };
        assert_eq!(effect, wanted);
    }
}
