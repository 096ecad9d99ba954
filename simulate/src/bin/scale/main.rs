//! `scale --nodes N [--operations COUNT] [--sweep KEYS]`: so many peers in one process, over the network in memory, and what
//! lookups, announcements and names cost among them, before and after a third of them is switched off without a word.
//!
//! The code of the peers is that of the product, each with its own keys, tables and connections; time is real. One line of JSON
//! says what came of it. It ends with failure where fewer than 99 of 100 succeeded.

mod crowd;
mod operations;
mod report;
mod sweep;

use std::process::ExitCode;

use crowd::Crowd;
use operations::Published;
use report::Report;

/// As the product has it: see the root `Cargo.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "scale --nodes N [--operations COUNT] [--sweep KEYS]";

/// What is asked for.
struct Task {
    nodes: usize,
    operations: usize,
    sweep: usize,
}

impl Task {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut task = Self {
            nodes: 0,
            operations: 200,
            sweep: 0,
        };
        while let Some(word) = words.next() {
            let number = words.next()?.parse().ok()?;
            match word.as_str() {
                "--nodes" => task.nodes = number,
                "--operations" => task.operations = number,
                "--sweep" => task.sweep = number,
                _ => return None,
            }
        }
        (task.nodes > 1).then_some(task)
    }
}

#[allow(clippy::print_stderr, clippy::print_stdout)]
fn main() -> ExitCode {
    let Some(task) = Task::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build();
    let done = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(&task)));
    match done {
        Ok(report) => {
            println!("{report}");
            match report.succeeded() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("the run cannot go on: {error}");
            ExitCode::from(3)
        }
    }
}

async fn run(task: &Task) -> Result<Report, String> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(task.nodes).await?;
    report.gathered(&mut crowd).await;
    if task.operations > 0 {
        report.add(operations::look_up(&crowd, task.operations, "lookup").await);
        let (announced, cost) = operations::announce(&crowd, task.operations).await;
        report.add(cost);
        report.add(operations::find(&crowd, &announced, "find providers").await);
        let (names, cost) = operations::publish(&crowd, task.operations).await;
        report.add(cost);
        report.add(operations::resolve(&crowd, &names, "name resolve").await);
        churn(&mut crowd, task.operations, &announced, &names, &mut report).await?;
    }
    if task.sweep > 0 {
        report.swept = Some(sweep::sweep(&mut crowd, task.sweep).await?);
    }
    Ok(report)
}

/// A third is switched off without a word and as many come anew; what was left there before is asked for meanwhile.
async fn churn(
    crowd: &mut Crowd,
    operations: usize,
    announced: &[operations::Announced],
    names: &[Published],
    report: &mut Report,
) -> Result<(), String> {
    crowd.lose_a_third().await;
    report.add(operations::find(crowd, announced, "find providers, a third gone").await);
    report.add(operations::resolve(crowd, names, "name resolve, a third gone").await);
    crowd.fill_up().await?;
    report.add(operations::look_up(crowd, operations, "lookup, a third replaced").await);
    report.add(operations::find(crowd, announced, "find providers, a third replaced").await);
    report.add(operations::resolve(crowd, names, "name resolve, a third replaced").await);
    Ok(())
}
