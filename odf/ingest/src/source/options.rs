//! How a table is written, and how its values are to be understood.

/// How a text table is written. The default is what people write, see [`ReadOptions::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Field separator of CSV; absent: a tab for `.tsv`, else a comma.
    pub separator: Option<u8>,
    /// What stands around CSV values that hold separators, line breaks or quotes. A doubled one inside stands for itself.
    pub quote: u8,
    /// What makes a quote inside a quoted CSV value stand for itself, besides doubling it.
    pub escape: Option<u8>,
    /// Whether the first record of CSV holds the names of the columns; otherwise they are `column_1`, `column_2`, …
    pub header: bool,
    /// Whether the types of CSV columns are found out; otherwise every column is text.
    pub infer_types: bool,
    /// Whether columns of numbers with a point are found to be Decimal where one is wide enough, and not Float64.
    pub decimal: bool,
    /// Whether digits of times below the millisecond are cut off; otherwise such times are text, or refused.
    pub cut_times: bool,
    /// For JSON the dotted path to the array that holds the rows; absent: the document itself or its only array of objects.
    /// For shapefiles the `.shp` in the archive, perhaps with wildcards; absent: the only one.
    pub sub_path: Option<String>,
    /// Columns are found out from so many rows, in any table that is read as text; absent: from all of them.
    pub first_rows: Option<u64>,
}

impl Default for ReadOptions {
    /// CSV as RFC 4180 has it, with a header and types found out, and the only array of objects in JSON.
    fn default() -> Self {
        ReadOptions {
            separator: None,
            quote: b'"',
            escape: None,
            header: true,
            infer_types: true,
            decimal: false,
            cut_times: false,
            sub_path: None,
            first_rows: None,
        }
    }
}

/// How values are to be understood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// As kamu does: see [`Source::for_step`](super::Source::for_step).
    pub(crate) lax: bool,
    /// Digits of times below the unit of their column are cut off.
    pub(crate) cut_times: bool,
    /// The format has lists and objects.
    pub(crate) nested: bool,
    /// What kamu cuts is cut, and told of.
    pub(crate) tells: bool,
}
