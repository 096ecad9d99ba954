//! Connections that nobody needs.

use super::{From, Stage};
use interop_tests::Outcome;

/// What a node may take however many connections are full.
const MEMORY: u64 = 300 << 20;

#[test]
fn idle_strangers_of_one_address_do_not_keep_others_out() -> Outcome {
    let stage = Stage::new()?;
    let _attackers = stage.attacked(&["idle", "--connections", "100"], 1, From::One)?;
    stage.withstands("100 idle connections of one address")
}

#[test]
fn idle_strangers_of_many_addresses_do_not_keep_others_out() -> Outcome {
    let stage = Stage::new()?;
    let _attackers = stage.attacked(&["idle", "--connections", "20"], 8, From::Many)?;
    stage.withstands("160 idle connections of eight addresses")
}

#[test]
fn silent_strangers_do_not_keep_others_out_and_are_ended() -> Outcome {
    let stage = Stage::new()?;
    let _attackers = stage.attacked(&["idle", "--connections", "20", "--polite", "0"], 8, From::Many)?;
    stage.withstands("160 silent connections of eight addresses")
}

#[test]
fn what_nobody_will_read_takes_bounded_memory() -> Outcome {
    for (what, args) in [
        ("full windows", ["fill", "--frames", "0", "--streams", "500"]),
        ("unfinished frames", ["fill", "--frames", "1", "--streams", "8"]),
        ("half messages", ["half", "--connections", "9", "--streams", "120"]),
    ] {
        let stage = Stage::new()?;
        let attackers = stage.attacked(&args, 8, From::Many)?;
        stage.withstands(&format!("72 connections with {what}"))?;
        drop(attackers);
        let memory = stage.memory()?;
        assert!(memory <= MEMORY, "{what}: {} MiB", memory >> 20);
    }
    Ok(())
}

#[test]
fn lies_about_who_one_is_and_floods_of_them_do_not_slow_others() -> Outcome {
    let stage = Stage::new()?;
    for (push, attackers) in [("0", 8), ("1", 1), ("1", 8)] {
        let _attackers = stage.attacked(&["claims", "--push", push], attackers, From::Many)?;
        stage.withstands(&format!("{attackers} attackers that say who they are, push {push}"))?;
    }
    Ok(())
}
