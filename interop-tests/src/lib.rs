//! What the tests and benchmarks against real peers share: workspaces, odfs processes, Kubo, Helia and network
//! namespaces.
//!
//! Everything here drives built programs from outside, over sockets and files, the way a user does. Nothing dials
//! anything but loopback and namespaces that a test made itself. Whatever is started is killed and whatever is made
//! is removed when its value goes away, also when a test fails half-way.

pub mod bitswap;
pub mod certificate;
pub mod clock;
pub mod content;
pub mod differential;
pub mod failure;
pub mod helia;
pub mod http;
pub mod kubo;
pub mod netns;
pub mod pebble;
pub mod peers;
pub mod process;
pub mod protobuf;
pub mod reference;
pub mod site;
pub mod structure;
pub mod terminal;
pub mod trial;
pub mod workspace;

pub use certificate::Certificate;
pub use clock::Clock;
pub use failure::{Failure, Outcome};
pub use helia::Helia;
pub use kubo::Kubo;
pub use pebble::Pebble;
pub use process::{Finished, Running};
pub use workspace::{Node, Workspace};

use std::path::PathBuf;

/// The root of the checkout whose tests or tasks run. Where cargo says the package is, not where this crate was when it was
/// built: clones that share a target directory share what is built in it. Without cargo, the one around the working
/// directory.
pub fn repository() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = package.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    let mut folders = here.ancestors();
    let root = folders.find(|folder| folder.join("Cargo.lock").is_file());
    root.unwrap_or(&here).to_path_buf()
}
