//! The network in memory that both programs of this crate run peers over: `simulate`, few machines for long, and `scale`, many for
//! a while.

pub mod network;
