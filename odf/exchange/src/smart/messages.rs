//! The messages of the Smart Transfer Protocol, version 1, as kamu writes them: one JSON text frame each.
//!
//! The protocol's written specification (asyncapi) is of another form; what is here is what goes over the wire. Results
//! are `{"Ok": …}` or `{"Err": …}`, absent values are `null`, fields are in snake_case and variants in PascalCase.
//! Readers ignore what they do not know and take an absent field for `null`.

mod parts;
mod pull;
mod push;
#[cfg(test)]
mod tests;

pub(crate) use self::parts::{
    BlocksBatch, Empty, HeaderRow, InternalError, ObjectFile, ObjectType, Phase, PullPhase, PushPhase, TransferPlan,
    TransferUrl,
};
pub(crate) use self::pull::{
    PullAccepted, PullMeans, PullMetadataRequest, PullMetadataResponse, PullObjectsRequest, PullObjectsResponse,
    PullRefused, PullRequest, PullResponse, PullStrategy,
};
pub use self::push::Visibility;
pub(crate) use self::push::{
    ProgressRequest, ProgressResponse, PushComplete, PushMeans, PushMetadataRefused, PushMetadataRequest,
    PushMetadataResponse, PushObjectsAccepted, PushObjectsRefused, PushObjectsRequest, PushObjectsResponse,
    PushRefused, PushRequest, PushResponse, PushStrategy, UploadProgress,
};

/// The version of the protocol, the value of [`VERSION_HEADER`] in every request.
pub(crate) const VERSION: i32 = 1;
/// The longest message that is sent or taken, in bytes: kamu's own limit. It holds the bundle of some 50,000 blocks.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The header field that tells the version.
pub(crate) const VERSION_HEADER: &str = "x-odf-smtp-version";
