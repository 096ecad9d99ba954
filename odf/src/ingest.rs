//! Ingest: a table becomes rows with offsets, operations and times, in one new slice of a dataset.

pub mod infer;
pub mod merge;
pub mod shape;
pub mod source;
pub mod types;

mod columnar;
mod columns;
mod delimited;
mod json;
