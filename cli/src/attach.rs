//! Commands that run in the process that owns the workspace, for a terminal that belongs to another process.
//!
//! The owner listens on `node.sock` in the workspace (mode 0600, and the peer's user is checked). A process that finds
//! the workspace taken connects, is greeted with a [`frame::Welcome`], sends its command line, and from then on is
//! only a terminal: it writes what it is sent, draws progress, answers requests for input, and reports Ctrl-C. The
//! command itself is the same function in both cases.
//!
//! Races are settled by the lock, never by the socket file. Only the holder of the lock makes or removes the socket;
//! a connection counts from the greeting on, and an owner that greeted ends only when it has answered. A process whose
//! connection fails before the greeting goes back and tries the lock.

mod client;
mod door;
mod frame;
mod socket;

pub(crate) use client::{Attached, connect};
pub(crate) use door::{Door, Runner};
pub(crate) use frame::Ending;
