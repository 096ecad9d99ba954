//! System columns: their names and the operations they hold.

use serde::{Deserialize, Serialize};

use super::SetVocab;

/// The names of the system columns in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// Position of a row in the dataset, from 0 without gaps.
    pub offset_column: String,
    /// [`OperationType`] of a row.
    pub operation_type_column: String,
    /// When the row was written.
    pub system_time_column: String,
    /// When what the row tells happened.
    pub event_time_column: String,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::from(&SetVocab::default())
    }
}

impl Vocabulary {
    /// All of them, in the order of the columns.
    pub fn of_system(&self) -> [&String; 4] {
        [
            &self.offset_column,
            &self.operation_type_column,
            &self.system_time_column,
            &self.event_time_column,
        ]
    }
}

/// A later event replaces an earlier one whole, so the vocabulary is a function of the last one alone.
impl From<&SetVocab> for Vocabulary {
    fn from(event: &SetVocab) -> Self {
        let name = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        Self {
            offset_column: name(&event.offset_column, "offset"),
            operation_type_column: name(&event.operation_type_column, "op"),
            system_time_column: name(&event.system_time_column, "system_time"),
            event_time_column: name(&event.event_time_column, "event_time"),
        }
    }
}

/// What a row does, as the number in its `op` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum OperationType {
    /// A new event.
    Append = 0,
    /// An earlier row no longer holds.
    Retract = 1,
    /// The old version of a row that changed; always followed by the new one.
    CorrectFrom = 2,
    /// The new version of a row that changed.
    CorrectTo = 3,
}

impl TryFrom<i32> for OperationType {
    type Error = i32;

    /// The operation with this number, or the number back.
    fn try_from(number: i32) -> Result<Self, i32> {
        match number {
            0 => Ok(Self::Append),
            1 => Ok(Self::Retract),
            2 => Ok(Self::CorrectFrom),
            3 => Ok(Self::CorrectTo),
            other => Err(other),
        }
    }
}
