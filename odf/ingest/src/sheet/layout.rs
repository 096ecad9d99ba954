//! What workbooks of all kinds have: sheets with names, and rows of cells, both within bounds.

use super::cell::Cells;
use crate::source::{Problem, SourceError};

/// The most rows of a sheet: spreadsheet programs make no more.
pub const MAX_SHEET_ROWS: u64 = 1 << 20;

/// The most columns of a sheet, likewise. A table may have fewer of them: [`MAX_COLUMNS`](crate::source::MAX_COLUMNS).
pub const MAX_SHEET_COLUMNS: u32 = 1 << 14;

/// The most bytes of text that a sheet may make. Cells that share a text have it once in the file, and each for itself here.
pub const MAX_SHEET_TEXT_BYTES: u64 = 4 << 30;

/// Takes a row by its number, counted from 1, and says whether it wants more.
pub(super) type OnRow<'a> = dyn FnMut(u64, Cells) -> Result<bool, SourceError> + 'a;

/// A sheet in the list of a workbook.
pub(super) struct SheetName {
    pub(super) name: String,
    pub(super) is_hidden: bool,
}

/// That a sheet has more rows than the limit.
pub(super) fn too_many_rows() -> Problem {
    Problem::TooLarge {
        limit: usize::try_from(MAX_SHEET_ROWS).unwrap_or(usize::MAX),
        unit: "rows of a sheet",
        hint: "",
    }
}
