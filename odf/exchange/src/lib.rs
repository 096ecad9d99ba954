//! Repositories: datasets exchanged with other places than IPFS, block by block and file by file.
//!
//! The layout is the same everywhere, that of ODF's Simple Transfer Protocol: `refs/head`, `blocks/{hash}`,
//! `data/{hash}`, `checkpoints/{hash}` below a directory or a URL. [`files::FilesSource`], [`http::HttpSource`] and
//! [`smart::SmartSource`] read it for [`odf_dataset::receive`], through which everything comes here; the [`server`] uses
//! the same [`Arrival`](odf_dataset::receive::Arrival). [`files::push`] and [`smart::push`] are the other direction. Heads
//! are compared as kamu does: equal, ahead, behind, diverged.

mod brought;
mod error;
pub mod export;
pub mod files;
pub mod http;
pub mod kamu_workspace;
pub mod server;
pub mod smart;
mod together;

pub use error::{PushError, ReadError};
pub use smart::SmartError;

/// The URL as the base of what is below it.
pub fn with_slash(url: &url::Url) -> url::Url {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// The datasets of a directory, without a second form.
#[cfg(test)]
fn datasets_in(dir: &std::path::Path) -> odf_dataset::Datasets {
    use odf_dataset::catalog::Catalog;
    use odf_dataset::{Datasets, Medium, NoMirror};
    let medium = Medium::new(odf_disk::Disk::new());
    let catalog = Catalog::open(&dir.join("datasets"), medium).unwrap();
    Datasets::new(catalog, std::sync::Arc::new(NoMirror))
}

#[cfg(test)]
mod tests;
