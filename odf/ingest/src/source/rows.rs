//! Which rows of a sheet the lines are of a text that was made of it.

/// Which rows of a sheet the lines are of a text that was made of it: messages name the row that people see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// From this line on lines and rows go on side by side, from this row on. Sorted, both counted from 1.
    from: Vec<(u64, u64)>,
}

impl Rows {
    /// Says that the row `row` begins on the line `line`, which comes behind those that were said before.
    pub(crate) fn note(&mut self, line: u64, row: u64) {
        if self.of(line) != row {
            self.from.push((line, row));
        }
    }

    /// The row that the line is of.
    pub(crate) fn of(&self, line: u64) -> u64 {
        let behind = self.from.partition_point(|(from, _)| *from <= line);
        match behind.checked_sub(1).and_then(|at| self.from.get(at)) {
            Some((from, row)) => row + (line - from),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_to_the_rows_they_are_of() {
        let mut rows = Rows::default();
        // A header in row 3, a blank row behind it, a row of three lines, and two of one.
        for (line, row) in [(1, 3), (2, 5), (5, 6), (6, 7)] {
            rows.note(line, row);
        }
        assert_eq!(rows.from.len(), 3);
        for (line, row) in [(1, 3), (2, 5), (5, 6), (6, 7), (7, 8)] {
            assert_eq!(rows.of(line), row, "{line}");
        }
        assert_eq!(Rows::default().of(4), 4);
    }
}
