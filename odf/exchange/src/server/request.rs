//! What a request names, and the work it asks for.

use std::collections::HashMap;

use axum::extract::Path;
use odf_dataset::DatasetName;

use super::answer::Refusal;
use crate::smart::MAX_OBJECTS_AT_ONCE;
use crate::smart::messages::ObjectFile;

/// Datasets cannot be made under these names: requests below them go elsewhere.
pub(super) const RESERVED_NAMES: [&str; 8] = [
    "accounts", "api", "datasets", "info", "ipfs", "ipns", "platform", "system",
];

/// The parameters of a path.
pub(super) type Params = Path<HashMap<String, String>>;

/// The dataset that a path names.
pub(super) fn dataset_in(params: &HashMap<String, String>) -> Result<DatasetName, Refusal> {
    if let Some(account) = params.get("account") {
        // The same grammar; a workspace has no accounts to look it up in.
        account
            .parse::<DatasetName>()
            .map_err(|_| Refusal::bad_request(format!("{account:?} is no account name")))?;
    }
    let name = params.get("dataset").map(String::as_str).unwrap_or_default();
    name.parse()
        .map_err(|error: odf_dataset::NameError| Refusal::bad_request(error.to_string()))
}

/// The hash that a path names.
pub(super) fn hash_in(params: &HashMap<String, String>) -> Result<odf_metadata::Multihash, Refusal> {
    let hash = params.get("hash").map(String::as_str).unwrap_or_default();
    hash.parse()
        .map_err(|error: odf_metadata::IdError| Refusal::bad_request(error.to_string()))
}

/// Whether a message asks for no more objects than one may.
pub(super) fn few_enough(files: &[ObjectFile]) -> Result<(), String> {
    if files.len() > MAX_OBJECTS_AT_ONCE {
        return Err(format!("more than {MAX_OBJECTS_AT_ONCE} objects at once"));
    }
    Ok(())
}

/// Runs work that reads or writes the disk beside the async tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refusal::internal(&error))
}
