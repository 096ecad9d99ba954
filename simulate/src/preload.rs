//! The library that gives a process its clock, its randomness and the order of its threads: made, and this program run with it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::task::Task;

const SOURCE: &str = include_str!("../lockstep.c");
/// What is told of seeds that went well, of many: one line each, and of those that did not, how to see them again.
const REPLAY: &str = "cargo xtask simulate";

/// The library, in a directory of its own.
pub(crate) struct Preload {
    dir: TempDir,
}

impl Preload {
    /// Makes it with the system's C compiler, which building odfs needs, too.
    ///
    /// # Errors
    /// There is no C compiler.
    pub(crate) fn make() -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let dir = tempfile::tempdir().map_err(said)?;
        let source = dir.path().join("lockstep.c");
        fs::write(&source, SOURCE).map_err(said)?;
        let preload = Self { dir };
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-O2", "-shared", "-fPIC", "-o"]);
        compiler.arg(preload.library()).arg(&source).args(["-ldl", "-lpthread"]);
        let made = compiler.status().map_err(|error| format!("`cc`: {error}"))?;
        if made.success() {
            Ok(preload)
        } else {
            Err(format!("`cc` fails: {made}"))
        }
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("lockstep.so")
    }

    /// Runs each seed of a task in a process of its own, as many at a time as there are processors. Whether all went well.
    ///
    /// # Errors
    /// A process cannot be started, or ended otherwise than a simulation does.
    #[allow(clippy::print_stdout)]
    pub(crate) fn run(&self, task: Task) -> Result<bool, String> {
        let most = thread::available_parallelism().map_or(1, usize::from);
        let mut running: Vec<(u64, Child)> = Vec::new();
        let mut failed = Vec::new();
        let mut seeds = task.seed..task.seed.saturating_add(task.seeds);
        loop {
            while running.len() < most
                && let Some(seed) = seeds.next()
            {
                running.push((seed, self.start(seed, task)?));
            }
            if running.is_empty() {
                break;
            }
            let (seed, mut child) = running.remove(0);
            let ended = child.wait().map_err(|error| error.to_string())?;
            match ended.code() {
                Some(0) => {}
                Some(1) => failed.push(seed),
                _ => {
                    return Err(format!(
                        "seed {seed}: {ended}; `{REPLAY} --seed {seed} --days {} -v`",
                        task.days
                    ));
                }
            }
        }
        for seed in &failed {
            println!("see it again: {REPLAY} --seed {seed} --days {} -v", task.days);
        }
        if task.seeds > 1 {
            println!(
                "{} of {} seeds went well, {} days each",
                task.seeds - failed.len() as u64,
                task.seeds,
                task.days
            );
        }
        Ok(failed.is_empty())
    }

    fn start(&self, seed: u64, task: Task) -> Result<Child, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        // Nothing that lies on the stack before the first thread may have another length in another run.
        command.env_clear();
        command
            .env("LD_PRELOAD", self.library())
            .env("LOCKSTEP_SEED", format!("{seed:020}"));
        command.env("TMPDIR", std::env::temp_dir());
        for (word, number) in [("--seed", seed), ("--days", task.days)] {
            command.args([word, &format!("{number:020}")]);
        }
        for (word, yes) in [("--forget-syncs", task.forgets_syncs), ("-v", task.is_told)] {
            command.args([word, if yes { "yes" } else { "no " }]);
        }
        command.stdin(Stdio::null());
        command.spawn().map_err(|error| error.to_string())
    }
}
