//! A dataset as an IPLD DAG: format 1.
