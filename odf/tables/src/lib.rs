//! Open Data Fabric tables: slices as byte-exact Parquet files, their hashes, and ODF types in the forms that others use.
//!
//! [`mod@slice`] writes and reads the Parquet files that the reference implementation would write; [`digest`] has their
//! physical and logical hash, and [`footer`] tells where the column chunks of any Parquet file lie; [`types`] says which Arrow
//! type stands for which ODF type, [`ddl`] reads column lists in DDL, [`schema_text`] writes a schema as DDL, Arrow or Parquet
//! text, and [`table_file`] writes Parquet for other programs.

pub mod ddl;
pub mod digest;
pub mod footer;
pub mod schema_text;
pub mod slice;
pub mod table_file;
pub mod types;

use arrow::datatypes::{DataType, TimeUnit};

/// The time zone of every timestamp.
pub const UTC: &str = "UTC";

/// Timestamp in milliseconds, UTC: the only timestamp type a slice has (odf-facts §6).
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()))
}
