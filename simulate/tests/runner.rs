//! Short simulations, by the built program.

#![allow(clippy::unwrap_used, reason = "tests")]

mod lockstep;
mod scale;

use std::process::{Command, Output};

fn simulate(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate"))
        .args(words)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

/// The lines about seeds, which end in a number that is another one if anything went another way.
fn seeds(output: &Output) -> Vec<String> {
    let text = said(output);
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("seed "))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_day_of_twelve_machines_is_the_same_again() {
    let words = ["--seed", "1", "--seeds", "2", "--days", "1"];
    let first = simulate(&words);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(seeds(&first).len(), 2, "{}", said(&first));
    let again = simulate(&words);
    assert_eq!(seeds(&first), seeds(&again));
    let another = simulate(&["--seed", "3", "--days", "0"]);
    assert!(another.status.success(), "{}", said(&another));
    assert!(!seeds(&first).contains(&seeds(&another)[0]));
}

/// A simulation that finds nothing may be blind: this one must see that what was acknowledged is gone.
#[test]
fn disks_that_keep_nothing_are_found_out() {
    let output = simulate(&["--seed", "3", "--days", "2", "--forget-syncs"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    // What is gone is a head that was acknowledged, or a file without which nothing can be read.
    let found = seeds(&output).iter().any(|line| line.starts_with("seed 3: day"));
    assert!(found, "{}", said(&output));
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    for words in [&["--seed"][..], &["--seed", "x"], &["--never"]] {
        let output = simulate(words);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("simulate --seed N --days D"));
    }
}
