//! SQL over rows, in this process: the preprocess queries of sources ([`sql`]) and derivative datasets ([`transform`]).

pub mod sql;
pub mod transform;
