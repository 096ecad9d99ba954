//! Strangers who mean harm, as programs beside a node: what an honest neighbour, a newcomer and somebody at the gateway
//! notice of it, and what it costs in memory.
//!
//! The bounds are those of an honest peer when the machine is quiet, measured on the spot, three times over; with a floor,
//! because a test machine has two processors and the attackers take theirs from them, too.

mod connections;
mod dags;
mod doors;
mod records;
mod wants;

use interop_tests::process::{Running, resident, run};
use interop_tests::workspace::LIMIT;
use interop_tests::{Node, Outcome, Workspace, http};
use rand::RngExt as _;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rows of the table that is served: random numbers, so that its slice has leaves of full length.
const ROWS: usize = 200_000;
/// How much slower an honest peer may be beside attackers.
const SLOWER: f64 = 3.0;
/// What is called slow at all, in milliseconds: below it the scheduler speaks.
const FLOOR_MS: f64 = 25.0;
/// A request at the gateway is answered within this.
const GATEWAY: Duration = Duration::from_secs(1);

/// How often is measured before somebody is called slow: other tests take processors, too, but not all the time.
const TRIES: usize = 3;

/// One stage at a time: attackers of one would be in the way of the other's honest people.
static STAGE: Mutex<()> = Mutex::new(());

/// A node that serves a dataset, before it is attacked.
struct Stage {
    _alone: MutexGuard<'static, ()>,
    workspace: Workspace,
    node: Node,
    root: String,
    quiet: Value,
}

/// Attackers at work. They end with this value.
struct Attackers(Vec<Running>);

impl Drop for Attackers {
    fn drop(&mut self) {
        for attacker in self.0.drain(..) {
            drop(attacker.kill());
        }
    }
}

/// Where attackers come from.
#[derive(Clone, Copy)]
enum From {
    /// All from one address.
    One,
    /// Each from an address in another /16.
    Many,
}

impl Stage {
    fn new() -> Outcome<Self> {
        let alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let workspace = Workspace::new()?;
        let node = workspace.node()?;
        let mut random = rand::rng();
        let mut table = String::from("id,reading\n");
        for id in 0..ROWS {
            let _ = writeln!(table, "{id},{}", random.random::<f64>());
        }
        let file = workspace.write("readings.csv", table)?.display().to_string();
        let published = workspace.publish(&[&file, "--name", "readings"])?;
        let mut stage = Self {
            _alone: alone,
            workspace,
            node,
            root: published.root,
            quiet: Value::Null,
        };
        stage.quiet = stage.neighbour()?;
        Ok(stage)
    }

    fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostile"));
        command.args(args).args(["--at", &self.node.address]);
        command
    }

    /// What an honest peer that connects now measures.
    fn neighbour(&self) -> Outcome<Value> {
        run(self.program(&["neighbour", "--root", &self.root]), LIMIT)?
            .success()?
            .json()
    }

    /// `count` programs that attack as `args` say.
    fn attacked(&self, args: &[&str], count: u8, from: From) -> Outcome<Attackers> {
        let mut attackers = Attackers(Vec::new());
        for number in 1..=count {
            let from = match from {
                From::One => "127.66.0.1".to_owned(),
                From::Many => format!("127.{}.0.1", 65 + number),
            };
            let mut command = self.program(args);
            command.args(["--from", &from]);
            attackers.0.push(Running::start(command)?);
        }
        for attacker in &mut attackers.0 {
            attacker.wait_for(LIMIT, |said| said.contains("ready").then_some(()))?;
        }
        Ok(attackers)
    }

    /// Resident memory of the node in bytes, the most so far.
    fn memory(&self) -> Outcome<u64> {
        Ok(resident(self.node.process.id(), "VmHWM").ok_or("the node has ended")?)
    }

    /// Measures an honest peer and the gateway while attackers are at work; prints the figures, and fails if they are not
    /// what honest people may expect.
    fn withstands(&self, what: &str) -> Outcome {
        self.withstands_in_turns(what, 1)
    }

    /// As [`Self::withstands`], beside so many who are served as honestly that everybody waits for a turn.
    fn withstands_in_turns(&self, what: &str, turns: u8) -> Outcome {
        let mut measured = self.measured(what, turns);
        for _ in 1..TRIES {
            if measured.is_ok() {
                break;
            }
            measured = self.measured(what, turns);
        }
        measured
    }

    fn measured(&self, what: &str, turns: u8) -> Outcome {
        let beside = self.neighbour().map_err(|failure| failure.during(what))?;
        let started = Instant::now();
        let url = format!("{}/ipfs/{}/?format=raw", self.node.gateway, self.root);
        let answer = http::get(&url, &[])?;
        let gateway = started.elapsed();
        let mib = self.memory()? >> 20;
        let mut slow = Vec::new();
        let mut line = format!("{what}: connected {:.1} ms", number(&beside["connectMs"]));
        for size in ["small", "large"] {
            let [quiet, now] = [&self.quiet, &beside].map(|report| number(&report[size]["p90Ms"]));
            let _ = write!(line, ", {size} p90 {quiet:.2} -> {now:.2} ms");
            if now > (quiet * SLOWER).max(FLOOR_MS) * f64::from(turns) {
                slow.push(size);
            }
        }
        let _ = write!(line, ", gateway {:.1} ms, {mib} MiB", gateway.as_secs_f64() * 1e3);
        interop_tests::peers::note(&line);
        if answer.status != 200 || gateway > GATEWAY || !slow.is_empty() {
            return Err(format!("{line}: the gateway said {}, too slow: {slow:?}", answer.status).into());
        }
        Ok(())
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
