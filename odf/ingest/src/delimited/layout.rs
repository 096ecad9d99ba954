//! Which column of a delimited file becomes which of the dataset.

/// Which column of the file goes where.
pub(super) struct Layout {
    /// The names of the columns in the order of the file.
    pub(super) names: Vec<String>,
    /// For each field of a record the column it goes to; none if nobody asked for it.
    pub(super) targets: Vec<Option<usize>>,
    /// Columns that the file may be, and is, without.
    pub(super) absent: Vec<usize>,
}
