//! What the tests and benchmarks against real peers share: workspaces, odfs processes, Kubo, Helia and network
//! namespaces.
//!
//! Everything here drives built programs from outside, over sockets and files, the way a user does. Nothing dials
//! anything but loopback and namespaces that a test made itself. Whatever is started is killed and whatever is made
//! is removed when its value goes away, also when a test fails half-way.

pub mod bitswap;
pub mod clock;
pub mod content;
pub mod differential;
pub mod failure;
pub mod helia;
pub mod http;
pub mod kubo;
pub mod netns;
pub mod peers;
pub mod process;
pub mod protobuf;
pub mod reference;
pub mod site;
pub mod structure;
pub mod terminal;
pub mod trial;
pub mod workspace;

pub use clock::Clock;
pub use failure::{Failure, Outcome};
pub use helia::Helia;
pub use kubo::Kubo;
pub use process::{Finished, Running};
pub use workspace::{Node, Workspace};
