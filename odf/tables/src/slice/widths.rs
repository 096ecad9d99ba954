//! How wide the rows of a Parquet file are, as its metadata has it, so that batches of it can be bounded in bytes.

use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::reader::ChunkReader;

/// Bytes that a batch of rows should have at most.
pub const BYTES_PER_BATCH: u64 = 8 << 20;

/// Where the pages of a file are is read, to know the longest of its rows, if a row group has more bytes than this.
const LARGE_BYTES: u64 = 32 << 20;

/// Bytes of a row in each leaf column, where rows are widest: of the pages of a file that says where they are, else of its
/// row groups.
///
/// It is what the writer of the file says. One that says nothing of its pages, and whose rows of one row group are of very
/// different lengths, makes batches of its longest rows longer than they should be.
#[derive(Clone, Debug)]
pub struct Widths(Arc<[u64]>);

impl Widths {
    /// Those of a file with this footer. It is read further if it is large.
    pub fn of(file: &impl ChunkReader, footer: &ParquetMetaData) -> Widths {
        let mut widths = vec![0; footer.file_metadata().schema_descr().num_columns()];
        let is_large = footer.row_groups().iter().any(|group| {
            let bytes = group.columns().iter().map(bytes_of);
            bytes.fold(0u64, u64::saturating_add) > LARGE_BYTES
        });
        let indexed = match footer.offset_index() {
            Some(_) => None,
            None if is_large => with_offset_index(file, footer),
            None => None,
        };
        let index = indexed.as_ref().unwrap_or(footer).offset_index();
        for (at, group) in footer.row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            for (leaf, column) in group.columns().iter().enumerate() {
                let pages = index.and_then(|groups| groups.get(at)?.get(leaf));
                let width = width(column, rows, pages);
                if let Some(widest) = widths.get_mut(leaf) {
                    *widest = width.max(*widest);
                }
            }
        }
        Widths(widths.into())
    }

    /// Rows of these columns that make a batch: at most `most`, at least one.
    pub fn rows_per_batch(&self, columns: &ProjectionMask, most: usize) -> usize {
        let leaves = self.0.iter().enumerate();
        let width = leaves
            .filter(|(leaf, _)| columns.leaf_included(*leaf))
            .fold(0u64, |sum, (_, width)| sum.saturating_add(*width));
        let rows = usize::try_from(BYTES_PER_BATCH / width.max(1)).unwrap_or(usize::MAX);
        rows.clamp(1, most.max(1))
    }
}

fn with_offset_index(file: &impl ChunkReader, footer: &ParquetMetaData) -> Option<ParquetMetaData> {
    let mut reader = ParquetMetaDataReader::new_with_metadata(footer.clone())
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    // Without it there is less to know; that a file cannot be read shows when its rows are.
    reader.read_page_indexes(file).ok()?;
    reader.finish().ok()
}

/// Bytes of the values of one column in a row group, once they are decoded.
fn bytes_of(column: &ColumnChunkMetaData) -> u64 {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let values = number(column.num_values());
    let each = match column.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE | Type::INT96 => 8,
        Type::FIXED_LEN_BYTE_ARRAY => number(i64::from(column.column_descr().type_length())),
        Type::BYTE_ARRAY => {
            let said = column.unencoded_byte_array_data_bytes().map(number);
            let encoded = number(column.uncompressed_size());
            return said.unwrap_or(encoded).saturating_add(values.saturating_mul(4));
        }
    };
    values.saturating_mul(each)
}

/// Bytes of a row in one column of a row group with so many rows, where they are widest.
fn width(column: &ColumnChunkMetaData, rows: u64, pages: Option<&OffsetIndexMetaData>) -> u64 {
    let bytes = bytes_of(column);
    let even = bytes.div_ceil(rows.max(1));
    let Some(pages) = pages.filter(|_| column.column_type() == Type::BYTE_ARRAY) else {
        return even;
    };
    let places = pages.page_locations();
    let said = pages.unencoded_byte_array_data_bytes();
    let packed = u64::try_from(column.compressed_size()).unwrap_or(0).max(1);
    let ends = places.iter().skip(1).map(|page| page.first_row_index);
    let ends = ends.chain([i64::try_from(rows).unwrap_or(i64::MAX)]);
    let widest = places.iter().zip(ends).enumerate().map(|(at, (page, end))| {
        let rows = u64::try_from(end.saturating_sub(page.first_row_index))
            .unwrap_or(0)
            .max(1);
        let said = said.and_then(|said| u64::try_from(*said.get(at)?).ok());
        let share = || {
            let size = u64::try_from(page.compressed_page_size).unwrap_or(0);
            u64::try_from(u128::from(size) * u128::from(bytes) / u128::from(packed)).unwrap_or(u64::MAX)
        };
        said.unwrap_or_else(share).div_ceil(rows).saturating_add(4)
    });
    widest.max().unwrap_or(even)
}
