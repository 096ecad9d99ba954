//! Parquet files for other programs: rows as they are, with no promise about their bytes. Slices are another thing
//! ([`slice`](mod@crate::slice)).

use std::io::Write;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::slice::SliceError;

/// The most bytes that wait for a row group to be full.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// Writes rows with these columns as a Parquet file to `out`, and says how many there were. `path` is what messages call it.
///
/// # Errors
/// That of `rows`, or the file cannot be written; what is in `out` then is no whole file.
pub fn write_parquet<E: From<SliceError>>(
    path: &Path,
    out: impl Write + Send,
    schema: SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch, E>>,
) -> Result<u64, E> {
    let failed = |source| SliceError::parquet(path, source);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(failed)?;
    let mut count = 0;
    for batch in rows {
        let batch = batch?;
        count += batch.num_rows() as u64;
        writer.write(&batch).map_err(failed)?;
        if writer.in_progress_size() > MAX_GROUP_BYTES {
            writer.flush().map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    Ok(count)
}
