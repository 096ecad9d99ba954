//! Datasets on IPFS: their shape as a DAG ([`layout`]), what others are told of it ([`announce`]), publishing one under a name ([`publish`]) and no longer ([`mod@unpublish`]), bringing one here
//! ([`pull`]), one word by which others find it ([`ticket`]), all of it in one file ([`bundle`]), a question to it with what was answered ([`citation`]), and which of its roots stay ([`retention`]) and when there is no room ([`room`]), who else has one ([`elsewhere`]), that one was rewritten ([`proof`]). The only crate that knows the IPFS node.

pub mod announce;
pub mod bundle;
pub mod citation;
pub mod elsewhere;
mod gate;
pub mod layout;
mod local;
#[cfg(test)]
mod made_up;
pub mod proof;
pub mod publish;
pub mod pull;
pub mod retention;
pub mod room;
mod standing;
pub mod ticket;
pub mod unpublish;

pub use gate::SharedOnly;
pub use local::{Behind, CollectError, Local, OpenError};
