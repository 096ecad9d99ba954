//! Commands that are cut off on the way, and what must hold after that, whatever cut them off.
//!
//! A [`Trial`] is one command in a workspace that is made what it was before each run. The trials themselves are in
//! [`commands`]; [`Trial::kill`] ends each run with `kill -9`, [`Trial::fill`] gives it too little room on its disk.

pub mod commands;
mod state;

use self::state::{Heads, Seen, fetched_by_another};
use crate::peers::note;
use crate::workspace::dataset::Listed;
use crate::workspace::disk::Disk;
use crate::workspace::{LIMIT, Saved};
use crate::{Failure, Finished, Node, Outcome, Workspace};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often each command is killed, unless [`KILLS_VARIABLE`] says otherwise.
const KILLS: u32 = 15;
/// Sets how often each command is killed.
pub const KILLS_VARIABLE: &str = "ODFS_KILLS";
/// Sets the seed of the moments at which commands are killed.
pub const SEED_VARIABLE: &str = "ODFS_TEST_SEED";
/// After so many kills another peer fetches everything from the workspace.
const FETCH_EVERY: u32 = 10;
/// Room for everything that a trial does, in bytes.
pub const LARGE_DISK: u64 = 256 << 20;
/// How many faults of one trial are told in full.
const TOLD: usize = 3;
/// Exit code for what is not here.
const NOT_FOUND: i32 = 3;
/// Exit code of a full disk.
const DISK_FULL: i32 = 12;
/// Exit code for what the other side refuses.
const REFUSED: i32 = 7;
/// How a full disk is called, here or there.
const FULL: [&str; 3] = ["disk is full", "No space left", "the server has no room for"];

/// When the root of a dataset that the command brought to a new head must be pinned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pinned {
    /// As soon as the head is seen.
    AtOnce,
    /// When the command has succeeded.
    Afterwards,
    /// Not by this command.
    Never,
}

/// A command in a workspace prepared for it.
pub struct Trial {
    what: &'static str,
    workspace: Workspace,
    args: Vec<String>,
    starts: Vec<Start>,
    pinned: Pinned,
    /// The repeated command may find nothing left to do and say so with [`NOT_FOUND`].
    may_be_gone: bool,
    /// The command makes room, and so succeeds on a full disk.
    frees: bool,
    /// Whether each dataset has its name on the network once the command is done.
    named: bool,
    /// Where the command sends the dataset.
    target: Target,
    heads: Heads,
    /// Keeps the peer up that the command asks.
    _source: Option<(Workspace, Node)>,
}

/// What a command begins with.
struct Start {
    saved: Saved,
    /// The server's side, if the command pushes to one.
    server: Option<Saved>,
}

/// Where the command sends the dataset `t`.
enum Target {
    /// Nowhere.
    None,
    /// To an address that anybody can pull from.
    Address(String),
    /// To another workspace, whose node listens there while the command runs.
    Server(Box<Workspace>),
}

/// What a trial knows before it cuts a command off.
struct Known {
    before: Seen,
    after: BTreeMap<String, Shape>,
    target: Vec<String>,
    usual: Duration,
}

/// What is the same each time that a command makes a dataset: records and metadata blocks.
type Shape = (u64, u64);

fn shapes(datasets: &BTreeMap<String, Listed>) -> BTreeMap<String, Shape> {
    let shape = |dataset: &Listed| (dataset.records, dataset.blocks);
    datasets
        .iter()
        .map(|(name, dataset)| (name.clone(), shape(dataset)))
        .collect()
}

/// What became of the runs of a trial.
#[derive(Default)]
struct Tally {
    runs: u32,
    cut_short: u32,
    faults: Vec<Failure>,
}

impl Trial {
    /// Kills the command at random moments of its run. After each kill everything is checked, then the command is
    /// repeated, and everything is checked again.
    ///
    /// # Errors
    /// The faults that were found, with the moment and the seed of each; or too few runs were cut short for the trial to
    /// mean anything.
    pub fn kill(self) -> Outcome {
        let seed = number_in(SEED_VARIABLE).unwrap_or_else(by_clock);
        let count = number_in(KILLS_VARIABLE).map_or(KILLS, |count| u32::try_from(count).unwrap_or(u32::MAX));
        let mut random = StdRng::seed_from_u64(seed);
        let mut known = (0..self.starts.len())
            .map(|start| self.known(start))
            .collect::<Outcome<Vec<_>>>()?;
        let (mut tally, begun) = (Tally::default(), Instant::now());
        for round in 0..count {
            let start = round as usize % self.starts.len();
            let known = &mut known[start];
            let micros = u64::try_from(known.usual.as_micros()).unwrap_or(u64::MAX).max(1);
            let delay = Duration::from_micros(random.random_range(0..micros + micros / 10));
            let outcome = self.kill_once(start, known, delay, round % FETCH_EVERY == 0, &mut tally);
            tally.runs += 1;
            if let Err(fault) = outcome {
                let about = format!("round {round}, start {start}, killed after {delay:?}, seed {seed}");
                tally.faults.push(fault.during(about));
            }
        }
        note(&format!(
            "killed {:<24} {:>4} times, {:>4} of them cut short, {} fault(s), {:.1?}",
            self.what,
            tally.runs,
            tally.cut_short,
            tally.faults.len(),
            begun.elapsed()
        ));
        let least = tally.runs / 4;
        tally.end(self.what, least)
    }

    fn kill_once(&self, start: usize, known: &mut Known, delay: Duration, fetch: bool, tally: &mut Tally) -> Outcome {
        let server = self.begin(start)?;
        let mut running = self.workspace.start(&self.args)?;
        std::thread::sleep(delay);
        if running.has_ended()? {
            let finished = running.finish(LIMIT)?.success()?;
            known.usual = finished.took;
        } else {
            running.kill()?;
            known.usual = known.usual.max(delay);
            tally.cut_short += 1;
        }
        self.check_old_or_new(known, fetch)
            .map_err(|fault| fault.during("after the kill"))?;
        self.repeat(known, fetch)?;
        drop(server);
        Ok(())
    }

    /// Gives the command less room than it needs, in several degrees, on the disk of its workspace or of the one that it
    /// pushes to. It must succeed, or say that the disk is full and change nothing; with room again it is repeated.
    /// Everything is checked each time.
    ///
    /// # Errors
    /// The faults that were found, with the room that there was; or no workspace has a disk of its own.
    pub fn fill(self) -> Outcome {
        let disk = self.disk()?;
        let (mut tally, begun) = (Tally::default(), Instant::now());
        for start in 0..self.starts.len() {
            let known = self.known(start)?;
            let after = disk.used()?;
            self.put_back(start)?;
            let needed = after.saturating_sub(disk.used()?).max(64 << 10);
            // Small writes come first and last; what is reserved for later makes the rest look large.
            let quarters = [1, 2, 3].map(|quarters| needed * quarters / 4);
            for room in [0, 4 << 10, 16 << 10, 64 << 10, 256 << 10].into_iter().chain(quarters) {
                let outcome = self.fill_once(start, &known, room, &mut tally);
                disk.resize(LARGE_DISK)?;
                tally.runs += 1;
                if let Err(fault) = outcome {
                    let about = format!("start {start}, with room for {room} of about {needed} bytes");
                    tally.faults.push(fault.during(about));
                }
            }
        }
        note(&format!(
            "full disk: {:<24} {:>3} runs, {:>3} of them cut short, {} fault(s), {:.1?}",
            self.what,
            tally.runs,
            tally.cut_short,
            tally.faults.len(),
            begun.elapsed()
        ));
        let least = if self.frees { 0 } else { tally.runs / 4 };
        tally.end(self.what, least)
    }

    fn fill_once(&self, start: usize, known: &Known, room: u64, tally: &mut Tally) -> Outcome {
        let disk = self.disk()?;
        let server = self.begin(start)?;
        disk.resize(disk.used()? + room)?;
        let finished = self.workspace.run(&self.args)?;
        let was_full = !finished.succeeded();
        let mut said = Ok(());
        if was_full {
            tally.cut_short += 1;
            let code = if self.workspace.disk().is_some() {
                DISK_FULL
            } else {
                REFUSED
            };
            said = refused_in_words(&finished, &[code], &FULL);
        }
        // Whoever wants to make room has to see what there is.
        let listed = self.workspace.run(["list"])?;
        if !listed.succeeded() {
            said = said.and(refused_in_words(&listed, &[DISK_FULL], &FULL));
        }
        disk.resize(LARGE_DISK)?;
        // What it said and what it did are two things; what it did counts more.
        if was_full {
            self.check_old_or_new(known, false)
                .map_err(|fault| fault.during("with room again"))?;
            if finished.stderr.contains("nothing was changed") {
                let now = self.workspace.list()?;
                said = said.and(match now == known.before.datasets {
                    true => Ok(()),
                    false => Err(finished.failure(&format!("did change something: {now:?}"))),
                });
            }
        }
        self.repeat(known, false)?;
        drop(server);
        said
    }

    /// Lets the command run to its end once, to know how long that takes and what it leaves.
    fn known(&self, start: usize) -> Outcome<Known> {
        let server = self.begin(start)?;
        let before = Seen::of(&self.workspace, &self.heads)?;
        let target = self.target_heads()?;
        let finished = self.workspace.odfs(&self.args)?;
        let after = Seen::of(&self.workspace, &self.heads)?;
        self.check_done(&before, &after, true)
            .map_err(|fault| fault.during(format!("{}, left alone", self.what)))?;
        drop(server);
        Ok(Known {
            before,
            after: shapes(&after.datasets),
            target,
            usual: finished.took.max(Duration::from_millis(20)),
        })
    }

    /// The disk that is made small.
    fn disk(&self) -> Outcome<&Disk> {
        let there = match &self.target {
            Target::Server(server) => server.disk(),
            _ => None,
        };
        Ok(self.workspace.disk().or(there).ok_or("a disk of its own")?)
    }

    /// Makes everything what it was.
    fn put_back(&self, start: usize) -> Outcome {
        let start = &self.starts[start];
        self.workspace.restore(&start.saved)?;
        match (&self.target, &start.server) {
            (Target::Server(server), Some(saved)) => server.restore(saved),
            _ => Ok(()),
        }
    }

    /// Makes everything what it was; gives the server's node, if there is one.
    fn begin(&self, start: usize) -> Outcome<Option<Node>> {
        self.put_back(start)?;
        match &self.target {
            Target::Server(server) if self.starts[start].server.is_some() => server.node().map(Some),
            _ => Ok(None),
        }
    }

    /// Each dataset as it was or as it was to become, whole, with its roots.
    fn check_old_or_new(&self, known: &Known, fetch: bool) -> Outcome {
        let seen = Seen::of(&self.workspace, &self.heads)?;
        let now = shapes(&seen.datasets);
        let is_old = seen.datasets == known.before.datasets;
        if !is_old && now != known.after {
            return Err(Failure::new(format!(
                "the datasets are {:?}, neither the old {:?} nor the new {:?}",
                seen.datasets, known.before.datasets, known.after
            )));
        }
        seen.still_pins(&known.before)?;
        if self.pinned == Pinned::AtOnce {
            seen.pins_each_head()?;
        }
        seen.roots_are_whole(&self.workspace, fetch)?;
        if fetch {
            fetched_by_another(&self.workspace, &seen, false)?;
        }
        self.check_target(&known.target, &seen)
    }

    /// The command once more, with nothing in its way.
    fn repeat(&self, known: &Known, fetch: bool) -> Outcome {
        let repeated = self.workspace.run(&self.args)?;
        if !(self.may_be_gone && repeated.code() == Some(NOT_FOUND)) {
            repeated.success().map_err(|fault| fault.during("repeated"))?;
        }
        let check = || -> Outcome {
            let seen = Seen::of(&self.workspace, &self.heads)?;
            if shapes(&seen.datasets) != known.after {
                return Err(Failure::new(format!(
                    "the datasets are {:?} instead of {:?}",
                    seen.datasets, known.after
                )));
            }
            self.check_done(&known.before, &seen, fetch)?;
            if fetch {
                self.workspace.odfs(["ipfs", "repo", "gc"])?;
                let seen = Seen::of(&self.workspace, &self.heads)?;
                self.check_done(&known.before, &seen, true)
                    .map_err(|fault| fault.during("and garbage was collected"))?;
                fetched_by_another(&self.workspace, &seen, self.named)?;
            }
            Ok(())
        };
        check().map_err(|fault| fault.during("after the command was repeated"))
    }

    /// Everything is as it is once the command has succeeded; `all` roots are looked at, or only those of the heads.
    fn check_done(&self, before: &Seen, seen: &Seen, all: bool) -> Outcome {
        seen.still_pins(before)?;
        if self.pinned != Pinned::Never {
            seen.pins_each_head()?;
        }
        seen.roots_are_whole(&self.workspace, all)?;
        let heads: Vec<String> = seen.datasets.values().map(|dataset| dataset.head.clone()).collect();
        match &self.target {
            Target::None => Ok(()),
            _ if self.target_heads()?.iter().any(|head| heads.contains(head)) => Ok(()),
            _ => Err("what was pushed is not where it was pushed to".into()),
        }
    }

    /// Where it was pushed to there is what was there before, or what is here.
    fn check_target(&self, old: &[String], seen: &Seen) -> Outcome {
        let new: Vec<&String> = seen.datasets.values().map(|dataset| &dataset.head).collect();
        let found = self
            .target_heads()
            .map_err(|fault| fault.during("where it was pushed to"))?;
        let lost = !old.is_empty() && found.is_empty();
        if lost || found.iter().any(|head| !old.contains(head) && !new.contains(&head)) {
            return Err(Failure::new(format!(
                "where it was pushed to there is {found:?}, neither {old:?} nor one of {new:?}"
            )));
        }
        Ok(())
    }

    /// The heads of what is where the command pushes to, verified; none if nothing is.
    fn target_heads(&self) -> Outcome<Vec<String>> {
        let heads = |datasets: BTreeMap<String, Listed>| datasets.into_values().map(|dataset| dataset.head).collect();
        match &self.target {
            Target::None => Ok(Vec::new()),
            Target::Server(server) => {
                let seen = Seen::of(server, &self.heads)?;
                seen.pins_each_head()?;
                seen.roots_are_whole(server, false)?;
                Ok(heads(seen.datasets))
            }
            Target::Address(address) => {
                let visitor = Workspace::new()?;
                let pulled = visitor.run(["pull", address, "--as", "t"])?;
                if pulled.code() == Some(NOT_FOUND) {
                    return Ok(Vec::new());
                }
                pulled.success()?;
                Ok(heads(Seen::of(&visitor, &self.heads)?.datasets))
            }
        }
    }
}

impl Tally {
    /// Fails with the faults, or if fewer than `least` runs were cut short: then the trial means nothing.
    fn end(self, what: &str, least: u32) -> Outcome {
        if !self.faults.is_empty() {
            let told: Vec<String> = self.faults.iter().take(TOLD).map(Failure::to_string).collect();
            let more = self.faults.len().saturating_sub(TOLD);
            let more = if more == 0 {
                String::new()
            } else {
                format!("\n... and {more} more")
            };
            return Err(Failure::new(format!(
                "{what}: {} of {} runs went wrong\n{}{more}",
                self.faults.len(),
                self.runs,
                told.join("\n")
            )));
        }
        if self.cut_short < least {
            return Err(Failure::new(format!(
                "{what}: only {} of {} runs were cut short",
                self.cut_short, self.runs
            )));
        }
        Ok(())
    }
}

/// Fails unless a command was refused with one of `codes`, one message that holds one of `words`, and a next step.
///
/// # Errors
/// It succeeded, panicked, ended otherwise, or says something else.
pub fn refused_in_words(finished: &Finished, codes: &[i32], words: &[&str]) -> Outcome {
    let finished = finished.clone().refusal()?;
    if !finished.code().is_some_and(|code| codes.contains(&code)) {
        return Err(finished.failure(&format!("should have ended with exit code {codes:?}")));
    }
    let lines = |prefix: &'static str| finished.stderr.lines().filter(move |line| line.starts_with(prefix));
    let messages: Vec<&str> = lines("Error: ").collect();
    let (says, steps) = (
        |message: &str| words.iter().any(|word| message.contains(word)),
        lines("Next: ").count(),
    );
    match messages[..] {
        [message] if says(message) && steps == 1 => Ok(()),
        _ => Err(finished.failure(&format!(
            "does not say one of {words:?} in one message with a next step"
        ))),
    }
}

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn by_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
