//! The doors of an HTTP server: who comes in, how many at once, and how long each may take.
//!
//! [`serve`] is an accept loop over hyper with a deadline for each thing that a client can leave undone (send the head of a
//! request, send another, take an answer), with room for so many connections of one address, of one network and in all,
//! and with descriptors left over for everything else. It refuses requests for names that are not this server's.
//!
//! An entrance may speak TLS, with certificates that are exchanged while it is open ([`Certificates`]) and that an authority
//! signs for the asking ([`acme`]); HTTP/2 is spoken there with whoever offers it.
//!
//! Room that many want is given out by [`Shares`], here for connections and elsewhere for whatever work is scarce: a limit
//! that one client has reached never refuses another, because where all is taken, whoever has most makes room.

pub mod acme;
mod client;
mod connection;
mod descriptors;
mod hosts;
mod network;
mod serve;
mod shares;
mod streams;
mod tls;

pub use self::client::{Asked, Client, asked, client};
pub use self::descriptors::raise_descriptors;
pub use self::hosts::Hosts;
pub use self::network::{Network, network, one_client};
pub use self::serve::{
    Doors, Entrance, HEAD_LIMIT, IDLE_LIMIT, MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ONE, MAX_STREAMS, STALL_LIMIT, serve,
};
pub use self::shares::{Full, Room, STALLED_AFTER, Seat, Shares};
pub use self::streams::{Arrival, MAX_ARRIVALS, MAX_ARRIVALS_OF_ONE, serve_streams};
pub use self::tls::{Authorities, CertificateError, Certificates, Validity};
