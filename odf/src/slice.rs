//! Parquet slices with the writer settings of the reference implementation.
