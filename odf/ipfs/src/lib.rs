//! Datasets on IPFS: their shape as a DAG ([`layout`]), publishing one under a name ([`publish`]), bringing one here
//! ([`pull`]). The only crate that knows the IPFS node.

mod gate;
pub mod layout;
mod local;
pub mod publish;
pub mod pull;

pub use gate::SharedOnly;
pub use local::{CollectError, Local, OpenError};
