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
const CUTS: usize = 4;

/// A command that writes.
struct Operation {
    /// What it is called in messages.
    name: &'static str,
    /// Prepares the workspace that is cut later.
    before: fn(&mut Bench),
    /// The command that is cut.
    command: &'static [&'static str],
    /// What it does once more.
    again: Again,
}

/// What a command does when it is run again although it was done before.
#[derive(Clone, Copy)]
enum Again {
    /// It succeeds and finds everything as it should be.
    Same,
    /// It succeeds and does its work once more.
    More,
    /// It ends with this code and changes nothing.
    Refused(u8),
    /// As `Same`; and before it was done, something was damaged.
    Heals,
}

/// What became of the index of the store, which sled writes when it likes.
#[derive(Debug, Clone, Copy)]
enum Index {
    Before,
    After,
    Gone,
}

/// Runs `operation`, cuts it, and gives how many cuts were looked at and how many calls it makes.
fn freeze(operation: &Operation) -> (usize, usize) {
    let mut bench = Bench::new();
    (operation.before)(&mut bench);
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
            for index in [Index::Before, Index::After, Index::Gone] {
                let dir = bench.workspace();
                fs::remove_dir_all(&dir).unwrap();
                let is_index = |path: &Path| path.starts_with("store");
                recorder.image(&before, cut_after, unsynced, &dir, &is_index).unwrap();
                match index {
                    Index::Before => copy_index(&before, &dir),
                    Index::After => copy_index(&after, &dir),
                    Index::Gone => {}
                }
                let cut = Cut {
                    dir: &dir,
                    calls: cut_after,
                    of: calls,
                    unsynced,
                    last: recorder.describe(cut_after),
                };
                let shown = format!("{}, {cut}, index {index:?}", operation.name);
                look(&bench, operation, &cut, &shown, &old, &new);
                count += 1;
            }
        }
    }
    (count, calls)
}

/// Runs `operation` once for each of its syncs, on a disk that leaves that one out, and cuts the power everywhere. Gives for
/// each sync the first cut that shows that it is needed.
fn without_each_sync(operation: &Operation) -> Vec<Option<String>> {
    let mut bench = Bench::new();
    (operation.before)(&mut bench);
    let old = bench.state();
    let before = bench.dir().join("before");
    copy_tree(&bench.workspace(), &before).unwrap();
    let start_again = || {
        fs::remove_dir_all(bench.workspace()).unwrap();
        copy_tree(&before, &bench.workspace()).unwrap();
    };
    let counting = Recorder::new(&bench.workspace());
    bench.on(counting.clone()).run(operation.command).ok(operation.name);

    let without = |sync: usize| {
        start_again();
        let recorder = Recorder::new(&bench.workspace());
        recorder.forget_sync(sync);
        bench.on(recorder.clone()).run(operation.command).ok(operation.name);
        let new = bench.state();
        let after = bench.dir().join("after");
        let _ = fs::remove_dir_all(&after);
        copy_tree(&bench.workspace(), &after).unwrap();
        let calls = recorder.calls();
        // From the end: most often what was said to be done is not.
        (0..=calls).rev().find_map(|cut_after| {
            Unsynced::ALL.into_iter().find_map(|unsynced| {
                let dir = bench.workspace();
                fs::remove_dir_all(&dir).unwrap();
                recorder
                    .image(&before, cut_after, unsynced, &dir, &|path| path.starts_with("store"))
                    .unwrap();
                copy_index(&after, &dir);
                let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    bench.check_whole(operation.name);
                    let now = bench.state();
                    let is_new = now.same_as(&new) && now.others_as(&new);
                    is_new || cut_after < calls && now.same_as(&old) && now.others_lie_between(&old, &new)
                }));
                (!looked.unwrap_or(false)).then(|| {
                    let last = recorder.describe(cut_after);
                    format!("missed after call {cut_after} of {calls} ({last}), unsynced {unsynced:?}")
                })
            })
        })
    };
    (0..counting.syncs()).map(without).collect()
}

fn copy_index(from: &Path, to: &Path) {
    let index = from.join("store");
    if index.exists() {
        copy_tree(&index, &to.join("store")).unwrap();
    }
}

fn look(bench: &Bench, operation: &Operation, cut: &Cut<'_>, shown: &str, old: &State, new: &State) {
    if cut.is_acknowledged() || !matches!(operation.again, Again::Heals) {
        bench.check_whole(shown);
    }
    let now = bench.state();
    let done = now.same_as(new);
    assert!(
        done || now.same_as(old) && !cut.is_acknowledged(),
        "{shown}: {now:#?} is neither the old {old:#?} nor the new {new:#?}"
    );
    assert!(
        now.others_as(new) || !cut.is_acknowledged() && now.others_lie_between(old, new),
        "{shown}: what is beside the datasets is neither old nor new: {now:#?}, {old:#?}, {new:#?}"
    );
    let Ran { code, output } = bench.run(operation.command);
    let is_refused = done && now.others_as(new) && !(old.same_as(new) && old.others_as(new));
    let expected = match operation.again {
        Again::Refused(code) if is_refused => code,
        _ => 0,
    };
    assert_eq!(code, expected, "{shown}: run again: {output}");
    bench.check_whole(shown);
    if !done || !matches!(operation.again, Again::More) {
        let again = bench.state();
        assert!(again.is_like(new), "{shown}: run again: {again:#?} instead of {new:#?}");
    }
}

/// Reads a file of the workspace, for [`State`].
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}
