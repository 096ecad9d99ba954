//! `simulate --seed N --days D [--seeds COUNT] [--forget-syncs] [-v]`: twelve machines, and one that lies,
//! for so many days of their time, in one process for each seed.
//!
//! The code of the machines is that of the product. What the seed decides is below it: the clock, randomness and the order of
//! threads come from a preloaded library (`lockstep.c`), the network is in memory, and disks lose and tear what was not synced.
//! After each event nothing that was acknowledged may be lost, nothing be shown that its owner never committed, and no name go
//! back; two histories under one key are said by all who meet both; and in the end all agree. One seed is one run, always.

mod liar;
mod lockstep;
mod machine;
mod preload;
mod task;
mod truth;
mod world;

use std::process::ExitCode;
use std::thread;

use preload::Preload;
use task::Task;
use truth::Truth;
use world::World;

const USAGE: &str = "simulate --seed N --days D [--seeds COUNT] [--forget-syncs] [-v]";

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let Some(task) = Task::read(std::env::args().skip(1)) else {
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

/// Runs the first seed of a task in this process, which has the library. Whether nothing was that must never be.
#[allow(clippy::print_stdout)]
fn one(task: Task) -> Result<bool, String> {
    // The first batch of sled in a process spins while another thread is in sled; in lockstep that would be for ever.
    let said = |error: sled::Error| error.to_string();
    let first = sled::Config::new().temporary(true).open().map_err(said)?;
    first.apply_batch(sled::Batch::default()).map_err(said)?;
    drop(first);
    let truth = Truth::new(task.is_told);
    // Whichever thread or task it is in, a panic is of a machine, which may go on with a part of itself.
    let panicked = truth.clone();
    std::panic::set_hook(Box::new(move |panic| panicked.violated(panic)));
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
        "seed {}: {} blocks, {} pieces of data sent, {} lies, {forked} forked ({refused} refusals, {proved} proofs); {}; trace {:016x}",
        task.seed,
        truth.blocks(),
        world.sent(),
        world.lies(),
        counts.join(", "),
        lockstep::trace()
    );
    let violation = truth.violation();
    if let Some(violation) = &violation {
        println!("seed {}: {violation}", task.seed);
    }
    Ok(violation.is_none())
}
