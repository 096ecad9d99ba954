//! The freezer: every command that writes, its power cut at every call that it makes to the disk.
//!
//! A command runs once in this process, on a disk that keeps a log. From the log every directory is made that a power
//! cut could have left: after each call, with what was not synced kept, dropped or torn, and with the index of the store
//! as it was before the command or as it is after it, since sled writes when it likes. Each of them is opened again: the
//! datasets are the old ones or the new ones, complete and verified, with their roots pinned and whole; a command that
//! had said that it was done is done; and the command run once more succeeds.
//!
//! `ODFS_CUTS=all` looks at every cut, which takes long; else at an even choice of them, always with the last.

mod bench;
mod operations;

use std::fs;
use std::path::Path;

use bench::{Bench, Ran, State};
use odf::disk::crash::{Cut, Recorder, Unsynced, copy_tree};

/// How many calls of one command are cut off in an ordinary run of the tests.
const CUTS: usize = 6;

/// A command that writes.
struct Operation {
    /// What it is called in messages.
    name: &'static str,
    /// What is run before, once, in the workspace that is cut later.
    before: &'static [&'static [&'static str]],
    /// The command that is cut.
    command: &'static [&'static str],
    /// Codes with which the command may end when it is run again although it was done before.
    again: &'static [u8],
}

/// Runs `operation`, cuts it, and gives how many cuts were looked at and how many calls it makes.
fn freeze(operation: &Operation) -> (usize, usize) {
    let bench = Bench::new();
    for argv in operation.before {
        bench.run(argv).ok(operation.name);
    }
    let old = bench.state();
    let before = bench.dir().join("before");
    copy_tree(&bench.workspace(), &before).unwrap();

    let recorder = Recorder::new(&bench.workspace());
    bench.on(recorder.clone()).run(operation.command).ok(operation.name);
    let (calls, new) = (recorder.calls(), bench.state());
    let after = bench.dir().join("after");
    copy_tree(&bench.workspace(), &after).unwrap();

    let all = std::env::var("ODFS_CUTS").as_deref() == Ok("all");
    let step = if all { 1 } else { calls.div_ceil(CUTS).max(1) };
    let mut count = 0;
    for cut_after in (0..calls).step_by(step).chain([calls]) {
        for unsynced in Unsynced::ALL {
            for index in [&before, &after] {
                let dir = bench.workspace();
                fs::remove_dir_all(&dir).unwrap();
                recorder
                    .image(&before, cut_after, unsynced, &dir, &|path| path.starts_with("store"))
                    .unwrap();
                copy_tree(&index.join("store"), &dir.join("store")).unwrap();
                let cut = Cut {
                    dir: &dir,
                    calls: cut_after,
                    of: calls,
                    unsynced,
                    last: recorder.describe(cut_after),
                };
                let shown = format!(
                    "{}, {cut}, index from {}",
                    operation.name,
                    index.file_name().unwrap().to_string_lossy()
                );
                look(&bench, operation, &cut, &shown, &old, &new);
                count += 1;
            }
        }
    }
    (count, calls)
}

fn look(bench: &Bench, operation: &Operation, cut: &Cut<'_>, shown: &str, old: &State, new: &State) {
    bench.check_whole(shown);
    let now = bench.state();
    assert!(
        now == *new || now == *old && !cut.is_acknowledged(),
        "{shown}: {now:#?} is neither the old {old:#?} nor the new {new:#?}"
    );
    let Ran { code, output } = bench.run(operation.command);
    assert!(
        code == 0 || now == *new && operation.again.contains(&code),
        "{shown}: run again it ends with {code}: {output}"
    );
    bench.check_whole(shown);
    let again = bench.state();
    assert!(
        again.datasets_like(new),
        "{shown}: run again: {again:#?} instead of {new:#?}"
    );
}

/// Reads a file of the workspace, for [`State`].
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}
