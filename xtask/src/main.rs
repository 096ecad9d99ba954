//! Repository tasks, the same here and in CI.
//!
//! `cargo xtask test` is the whole test command: it installs the foreign peers and runs every test against them.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a task runner talks to whoever runs it

mod bench;
mod cargo;
mod check;
mod peers;
mod scale;
mod soak;
mod test;

use interop_tests::Failure;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask TASK

  peers            install Kubo, Helia, DuckDB and rclone into the user's cache directory; quick when they are there
  test [ARG]...    peers, then every test of the workspace and a small run of the benchmarks; with ARGs only
                   `cargo test ARG...`
  bench [OPTION]...  odfs beside Kubo in one table
      --size SIZE    what is imported and moved (1GiB; also 64MiB, 500KB, ...)
      --small        a run of seconds that proves that every row works
      --only NAME    one row: import, transfer, push, pull, repositories, gateway, start, idle, ingest, grow,
                     verify, scale (some ten minutes; its parts are scale-keyed, scale-along, scale-beside)
      --lengths LIST metadata blocks at which `scale` measures (10,1000,10000,100000)
      --flights FILE real flights for `ingest`: Parquet with date, delay, distance, origin, destination
      --duckdb PYTHON the same tables beside DuckDB, by a Python that has it (pip install duckdb)
  soak [MINUTES]   eight nodes that publish, follow and pull for half an hour; fails when one of them grows
  simulate --seed N --days D [--seeds COUNT] [--forget-syncs] [-v]   twelve machines for so many days of their time, in
                   one process a seed; fails when something is lost, shown unverified or goes back; a seed that failed is the same run again
  scale [OPTION]...  very many peers in one process each time, over a network in memory, with churn: hops, messages, time, success
      --nodes LIST   how many peers (100,1000,5000; some 8 MB and seconds of a processor for each, see docs/scale.md)
      --operations N of each kind (200)
      --sweep KEYS   and so many keys of one peer announced region by region
      --keep         writes docs/scale/; --draw only draws what was kept
      --output json  a line for each number of peers
  check            what the tree looks like (crates, arrows, circles), then formatting, lints and documentation, as
                   CI checks them
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match args.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("", [].as_slice()),
    };
    let result = match task {
        "peers" if rest.is_empty() => peers::install().map(|peers| {
            for (name, value) in peers.env() {
                println!("{name}={}", value.display());
            }
        }),
        "test" => test::run_tests(rest),
        "bench" => bench::run(rest),
        "soak" => soak::run(rest),
        "scale" => scale::run(rest),
        "simulate" => cargo::release_binary()
            .and_then(|_| cargo::built("simulate"))
            .and_then(|program| cargo::run(Command::new(program).args(rest))),
        "check" if rest.is_empty() => check::run_checks(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {task}: {failure}");
            ExitCode::FAILURE
        }
    }
}
