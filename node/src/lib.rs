//! `odfs-node`: an embedded IPFS peer that knows nothing of datasets.
//!
//! The modules follow the way of the data: a [`block`] is bytes under a CID, [`dag`] and [`unixfs`] give blocks
//! their shape, [`store`] keeps them, [`exchange`] moves them between peers, [`retrieval`] takes them from gateways,
//! [`routing`] and [`ipns`] find them and
//! name them. [`peer`] ties these to one libp2p swarm behind a cloneable [`Node`](peer::Node) handle, and [`gateway`]
//! serves them over HTTP, and [`delegated`] answers who has what.
//!
//! Nothing here prints, reads the environment or keeps global state, so a process may run several peers.

pub mod add;
pub mod address;
pub mod block;
pub mod car;
pub mod clock;
pub mod dag;
pub mod delegated;
pub mod denylist;
pub mod exchange;
pub mod fetch;
pub mod gateway;
pub mod ipns;
pub mod keystore;
pub mod peer;
mod percent;
mod protobuf;
mod pubsub;
pub mod retrieval;
mod room;
pub mod routing;
pub mod store;
mod swarm;
pub mod tar;
mod threads;
pub mod unixfs;

pub use libp2p::{Multiaddr, PeerId};
