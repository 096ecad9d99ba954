//! Acceptance tests: the built odfs against itself, Kubo and Helia.
//!
//! One binary for all of them. A test that needs a foreign peer says so on the terminal when it has none, and fails
//! under `cargo xtask test` and in CI.

mod absence;
mod browser;
mod bundles;
mod churn;
mod clone;
mod corrections;
mod cost;
mod crashes;
mod cuts;
mod dead_world;
mod delegated;
mod differential;
mod disks;
mod doctor;
mod first_week;
mod follow;
mod gateway;
mod going_offline;
mod harness;
mod helia;
mod history;
mod hostile;
mod https;
mod identity;
mod indexes;
mod kubo;
mod lan;
mod limits;
mod memory;
mod names;
mod nat;
mod newcomers;
mod next_steps;
mod over_http;
mod pages;
mod plain_words;
mod private;
mod progress;
mod pubsub;
mod reach;
mod refusals;
mod replay;
mod reports;
mod shapes;
mod strangers;
mod stumbles;
mod terminals;
mod tickets;
mod tidy;
mod two_processes;
mod verify;
mod workbooks;
