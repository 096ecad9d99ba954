//! `simulate --seed N --days D [--seeds COUNT] [--forget-syncs] [-v]`: twelve machines for so many days of their time, in one
//! process for each seed.
//!
//! The code of the machines is that of the product. What the seed decides is below it: the clock, randomness and the order of
//! threads come from a preloaded library (`lockstep.c`), the network is in memory, and disks lose and tear what was not synced.
//! After each event nothing that was acknowledged may be lost, nothing be shown that its owner never committed, and no name go
//! back; two histories under one key are said by all who meet both; and in the end all agree. One seed is one run, always.

mod lockstep;
mod machine;
mod network;
mod preload;
mod truth;
mod world;

use std::iter::Peekable;
use std::process::ExitCode;
use std::thread;

use preload::Preload;
use truth::Truth;
use world::World;

const USAGE: &str = "simulate --seed N --days D [--seeds COUNT] [--forget-syncs] [-v]";

/// What is to be simulated.
#[derive(Debug, Clone, Copy)]
struct Task {
    /// The first seed, and how many follow it.
    seed: u64,
    seeds: u64,
    days: u64,
    /// Disks take nothing for durable. The simulation must find that: it says whether it can find anything.
    forgets_syncs: bool,
    is_told: bool,
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let Some(task) = task(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match lockstep::is_here() {
        // Where the stack of the first thread lies hangs on the environment.
        true => match thread::spawn(move || one(task)).join() {
            Ok(done) => done,
            Err(_) => Err("it panicked".to_owned()),
        },
        false => Preload::make().and_then(|preload| preload.run(task)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the simulation cannot go on: {error}");
            ExitCode::from(3)
        }
    }
}

fn task(words: impl Iterator<Item = String>) -> Option<Task> {
    let mut task = Task {
        seed: 1,
        seeds: 1,
        days: 30,
        forgets_syncs: false,
        is_told: false,
    };
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let number = match word.as_str() {
            "--seed" => &mut task.seed,
            "--seeds" => &mut task.seeds,
            "--days" => &mut task.days,
            "--forget-syncs" => {
                task.forgets_syncs = yes(&mut words);
                continue;
            }
            "-v" => {
                task.is_told = yes(&mut words);
                continue;
            }
            _ => return None,
        };
        *number = words.next()?.parse().ok()?;
    }
    Some(task)
}

/// Whether a word that needs no other is meant; the processes of the seeds are told so either way, in words of one length.
fn yes(words: &mut Peekable<impl Iterator<Item = String>>) -> bool {
    let said = words.next_if(|word| matches!(word.as_str(), "yes" | "no "));
    said.is_none_or(|word| word == "yes")
}

/// Runs the first seed of a task in this process, which has the library. Whether nothing was that must never be.
#[allow(clippy::print_stdout)]
fn one(task: Task) -> Result<bool, String> {
    // The first batch of sled in a process spins while another thread is in sled; in lockstep that would be for ever.
    let said = |error: sled::Error| error.to_string();
    let first = sled::Config::new().temporary(true).open().map_err(said)?;
    first.apply_batch(sled::Batch::default()).map_err(said)?;
    drop(first);
    let truth = Truth::new(task.is_told);
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut world = World::new(task, scratch.path(), truth.clone())?;
    world.run()?;
    let counts: Vec<String> = truth
        .counts()
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let [forked, refused, proved] = truth.forks();
    println!(
        "seed {}: {} blocks, {} pieces of data sent, {forked} forked ({refused} refusals, {proved} proofs); {}; trace {:016x}",
        task.seed,
        truth.blocks(),
        world.sent(),
        counts.join(", "),
        lockstep::trace()
    );
    let violation = truth.violation();
    if let Some(violation) = &violation {
        println!("seed {}: {violation}", task.seed);
    }
    Ok(violation.is_none())
}
