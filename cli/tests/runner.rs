//! Runs the built `odfs` in sealed surroundings: no environment of the caller, no network but loopback.
//!
//! One binary for all tests, so it is linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should panic")]

mod attach;
mod damage;
mod datasets;
mod derivatives;
mod history;
mod ipfs;
mod keys;
mod manifests;
mod polling;
mod proxies;
mod pushing;
mod replays;
mod repositories;
mod roots;
mod sandbox;
mod searching;
mod settings;
mod smart;
mod tables;
mod tails;
mod values;
