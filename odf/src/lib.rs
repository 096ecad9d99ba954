//! `odf`: Open Data Fabric datasets that live on IPFS.
//!
//! The modules follow the way of the data: [`ingest`] turns a table into rows with offsets and a [`slice`](mod@slice),
//! [`chain`] decides which metadata block may follow which, [`dataset`] commits them, [`layout`] gives a dataset the
//! shape of a DAG, [`publish`] signs and announces its root, [`pull`] brings it here, [`verify`] checks every byte.

pub mod catalog;
pub mod chain;
pub mod codec;
pub mod compact;
pub mod dataset;
pub mod digest;
pub mod export;
#[cfg(test)]
pub(crate) mod golden;
pub mod ingest;
pub mod layout;
pub mod lineage;
pub mod metadata;
pub mod poll;
pub mod publish;
pub mod pull;
pub mod repository;
pub mod rewrite;
pub mod schema_text;
pub mod slice;
pub mod snapshot;
pub mod transform;
pub mod verify;
pub mod workspace;
pub mod yaml;
