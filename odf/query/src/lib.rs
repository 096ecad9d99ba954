//! SQL over rows, in this process: the preprocess queries of sources ([`sql`]) derivative datasets
//! ([`transform`]), and queries over whole datasets ([`select`]).

pub mod select;
mod slices;
pub mod sql;
pub mod transform;
