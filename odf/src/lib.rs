//! `odf`: Open Data Fabric datasets that live on IPFS, for programs that embed them.
//!
//! An [`Instance`] opens, publishes, follows, pulls and queries; a [`Workspace`] is what it owns. Behind it stand crates that can be used alone; here they are modules, in the
//! way of the data: [`ingest`] turns a table into rows with offsets and a [`slice`](mod@slice), [`chain`] decides which
//! metadata block may follow which, [`dataset`] commits them, [`layout`] gives a dataset the shape of a DAG, [`publish`]
//! signs and announces its root, [`pull`] finds it on IPFS, [`repository`] in other places, [`receive`](mod@receive) brings it here,
//! [`verify`] checks every byte.

pub mod copies;
pub mod follows;
pub mod instance;
pub mod origins;
pub mod place;
pub mod registry;
pub mod tables;
pub mod workspace;

pub use instance::Instance;
pub use odf_dataset as dataset;
pub use odf_dataset::{catalog, compact, lineage, receive, repair, rewrite, search, snapshot, verify};
pub use odf_disk as disk;
pub use odf_exchange as repository;
pub use odf_exchange::export;
pub use odf_ingest as ingest;
pub use odf_ingest::poll;
pub use odf_ipfs::{
    CollectError, Local, OpenError, SharedOnly, announce, bundle, citation, elsewhere, layout, proof, publish, pull,
    retention, room, ticket, unpublish,
};
pub use odf_metadata as metadata;
pub use odf_metadata::{chain, codec, yaml};
pub use odf_query::{select, sql, transform};
pub use odf_tables::{digest, schema_text, slice, table_file};
pub use workspace::Workspace;
