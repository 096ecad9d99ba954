//! `kill -9` at random points: the workspace opens by itself, the dataset is at its old or its new head, complete, and
//! the interrupted command succeeds when repeated.
//!
//! The points are drawn from a seed that a failure names; `ODFS_TEST_SEED` sets it.

use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::{Listed, same_dataset, table};
use interop_tests::{Outcome, Running, Workspace};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often each command is killed.
const KILLS: u32 = 50;
/// Rows that each publish adds.
const GROWTH: u64 = 40;

/// Random moments within a run of a command, a little beyond its end.
struct Moments {
    seed: u64,
    random: StdRng,
}

impl Moments {
    fn new() -> Self {
        let by_clock = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64)
        };
        let seed = std::env::var("ODFS_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(by_clock);
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// A moment in a run that takes `usual` when it is left alone.
    fn next(&mut self, usual: Duration) -> Duration {
        let micros = u64::try_from(usual.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.random.random_range(0..micros + micros / 5))
    }
}

/// Kills `running` after `delay`. Whether it had not ended by itself before.
fn kill_after(mut running: Running, delay: Duration) -> Outcome<bool> {
    std::thread::sleep(delay);
    if running.has_ended()? {
        running.finish(LIMIT)?.success()?;
        return Ok(false);
    }
    running.kill()?;
    Ok(true)
}

/// What a dataset may look like after a crash: as before, or as it was going to be.
fn check(workspace: &Workspace, name: &str, old: Option<&Listed>, rows: u64) -> Outcome<Option<Listed>> {
    let found = workspace.listed(name)?;
    match (&found, old) {
        (None, None) => {}
        (None, Some(old)) => return Err(format!("{name} is gone; it was at {}", old.head).into()),
        (Some(found), old) => {
            let is_old = old == Some(found);
            let is_new = found.records == rows && old.is_none_or(|old| found.blocks > old.blocks);
            if !(is_old || is_new) {
                return Err(format!("{found:?} is neither the old {old:?} nor one of {rows} rows").into());
            }
            workspace.odfs(["verify", name])?;
            let last: serde_json::Value = workspace.odfs(["tail", name, "-n", "1", "--output", "json"])?.json()?;
            if last[0]["offset"] != found.records - 1 {
                return Err(format!("the last row is {last}, of {} rows", found.records).into());
            }
        }
    }
    Ok(found)
}

#[test]
fn a_killed_publish_leaves_the_old_or_the_new_head() -> Outcome {
    let mut moments = Moments::new();
    let seed = moments.seed;
    let workspace = Workspace::new()?;
    let args = ["publish", "t.csv", "--name", "t", "--exit"];
    let mut rows = 0;
    let mut old: Option<Listed> = None;
    let mut usual = Duration::from_millis(500);
    let mut cut_short = 0;
    for round in 0..KILLS {
        rows += GROWTH;
        workspace.write("t.csv", table(rows))?;
        let delay = moments.next(usual);
        let step = || -> Outcome<Listed> {
            cut_short += u32::from(kill_after(workspace.start(args)?, delay)?);
            check(&workspace, "t", old.as_ref(), rows)?;
            usual = workspace.odfs(args)?.took.max(Duration::from_millis(20));
            let now = check(&workspace, "t", None, rows)?.ok_or("the repeated publish made nothing")?;
            Ok(now)
        };
        let mut step = step;
        let now =
            step().map_err(|failure| failure.during(format!("round {round}, killed after {delay:?}, seed {seed}")))?;
        old = Some(now);
    }
    assert!(cut_short > KILLS / 4, "only {cut_short} of {KILLS} runs were cut short");
    Ok(())
}

#[test]
fn a_killed_pull_leaves_the_old_or_the_new_head() -> Outcome {
    let mut moments = Moments::new();
    let seed = moments.seed;
    let here = Workspace::new()?;
    let node = here.node()?;
    let publish = ["t.csv", "--name", "t"];
    let mut rows = 2_000;
    here.write("t.csv", table(rows))?;
    let name = format!("ipns://{}", here.publish(&publish)?.name);
    let first = ["pull", &name, "--as", "t", "--peer", &node.address];
    let update = ["pull", "t", "--peer", &node.address];

    let mut there = Workspace::new()?;
    let mut old: Option<Listed> = None;
    let mut usual = Duration::from_millis(500);
    let mut cut_short = 0;
    for round in 0..KILLS {
        // Every third time from nothing, else an update.
        if round % 3 == 0 {
            there = Workspace::new()?;
            old = None;
        } else {
            rows += GROWTH;
            here.write("t.csv", table(rows))?;
            here.publish(&publish)?;
        }
        let args = if old.is_none() { &first[..] } else { &update[..] };
        let delay = moments.next(usual);
        let mut step = || -> Outcome<Listed> {
            cut_short += u32::from(kill_after(there.start(args)?, delay)?);
            let found = check(&there, "t", old.as_ref(), rows)?;
            // The same again, or, now that it is there, by its name alone.
            let again = if found.is_none() || round % 2 == 0 {
                args
            } else {
                &update[..]
            };
            usual = there.odfs(again)?.took.max(Duration::from_millis(20));
            same_dataset((&here, "t"), (&there, "t"))?;
            if round % 7 == 0 {
                can_be_pulled_from(&there, &name)?;
            }
            there.dataset("t")
        };
        let now =
            step().map_err(|failure| failure.during(format!("round {round}, killed after {delay:?}, seed {seed}")))?;
        old = Some(now);
    }
    assert!(cut_short > KILLS / 4, "only {cut_short} of {KILLS} runs were cut short");
    Ok(())
}

/// Fails unless somebody who reaches only `workspace` can pull the dataset from it.
fn can_be_pulled_from(workspace: &Workspace, name: &str) -> Outcome {
    let node = workspace.node()?;
    let third = Workspace::new()?;
    third.odfs(["pull", name, "--as", "t", "--peer", &node.address])?;
    same_dataset((workspace, "t"), (&third, "t"))?;
    node.stop().map(drop)
}

#[test]
fn a_killed_node_comes_back_with_all_it_served() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    here.write("t.csv", table(500))?;
    let name = here.publish(&["t.csv", "--name", "t"])?.name;
    node.process.kill()?;
    let node = here.node()?;
    there.odfs(["pull", &format!("ipns://{name}"), "--as", "t", "--peer", &node.address])?;
    same_dataset((&here, "t"), (&there, "t"))
}
