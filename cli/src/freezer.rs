//! The freezer: every command that writes, its power cut at every call that it makes to the disk.
//!
//! A command runs once in this process, on a disk that keeps a log. From the log every directory is made that a power
//! cut could have left: after each call, with what was not synced kept, dropped or torn, and with the index of the store
//! as it was before the command, with all that it had been told by then, or gone, since sled writes when it likes. Each of
//! them is opened again: the datasets are the old ones or the new ones, complete and verified, with their roots pinned and
//! whole; a command that had said that it was done is done; and the command run once more succeeds. Of a push both sides
//! are cut, one after the other.
//!
//! `ODFS_CUTS=all` looks at every cut, and at every sync of every command, which takes long; else at an even choice of
//! them, always with the last.

mod bench;
mod index;
mod operations;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench::{Bench, Ran, State};
use index::{INDEX, Indexes};
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
    /// Nothing was written since the command began.
    Before,
    /// All of it was written, up to the cut.
    Then,
    Gone,
}

/// A command that was run on a watched disk, and the workspace from before and after it.
struct Recorded {
    recorder: Arc<Recorder>,
    indexes: Indexes,
    /// How many calls were made when it said that it was done.
    calls: usize,
    before: PathBuf,
    after: PathBuf,
}

impl Recorded {
    /// Runs the command of `operation` and keeps copies. `without` is the number of a sync that is left out.
    fn run(bench: &Bench, operation: &Operation, without: Option<usize>) -> Self {
        let (before, after) = (bench.dir().join("before"), bench.dir().join("after"));
        if before.exists() {
            start_from(bench, &before);
            fs::remove_dir_all(&after).unwrap();
        } else {
            copy_tree(&bench.workspace(), &before).unwrap();
        }
        let (recorder, indexes) = (Recorder::new(&bench.workspace()), Indexes::default());
        without.into_iter().for_each(|sync| recorder.forget_sync(sync));
        let ran = bench.on(&recorder, &indexes).act(operation.command);
        let calls = ran.calls;
        ran.ok(operation.name);
        copy_tree(&bench.workspace(), &after).unwrap();
        Self {
            recorder,
            indexes,
            calls,
            before,
            after,
        }
    }

    /// Makes the workspace that a power cut after so many calls would have left.
    fn cut(&self, bench: &Bench, calls: usize, unsynced: Unsynced, index: Index) {
        let dir = bench.workspace();
        fs::remove_dir_all(&dir).unwrap();
        let is_index = |path: &Path| path.starts_with(INDEX);
        self.recorder
            .image(&self.before, calls, unsynced, &dir, &is_index)
            .unwrap();
        match index {
            Index::Before => copy_index(&self.before, &dir),
            Index::Then if self.indexes.write(calls, &dir) => {}
            // Nothing was written any more.
            Index::Then => copy_index(&self.after, &dir),
            Index::Gone => {}
        }
    }
}

/// Puts the workspace back.
fn start_from(bench: &Bench, copy: &Path) {
    fs::remove_dir_all(bench.workspace()).unwrap();
    copy_tree(copy, &bench.workspace()).unwrap();
}

fn is_all_wanted() -> bool {
    std::env::var("ODFS_CUTS").as_deref() == Ok("all")
}

/// Runs `operation`, cuts it, and gives how many cuts were looked at and how many calls it makes.
fn freeze(operation: &Operation) -> (usize, usize) {
    let mut bench = Bench::new();
    (operation.before)(&mut bench);
    let old = bench.state();
    let recorded = Recorded::run(&bench, operation, None);
    let (calls, new) = (recorded.calls, bench.state());

    let step = if is_all_wanted() {
        1
    } else {
        calls.div_ceil(CUTS).max(1)
    };
    let mut count = 0;
    for cut_after in (0..calls).step_by(step).chain([calls]) {
        for unsynced in Unsynced::ALL {
            for index in [Index::Before, Index::Then, Index::Gone] {
                recorded.cut(&bench, cut_after, unsynced, index);
                let cut = Cut {
                    dir: &bench.workspace(),
                    calls: cut_after,
                    of: calls,
                    unsynced,
                    last: recorded.recorder.describe(cut_after),
                };
                let shown = format!("{}, {cut}, index {index:?}", operation.name);
                look(&bench, operation, &cut, &shown, &old, &new);
                count += 1;
            }
        }
    }
    (count, calls)
}

/// Runs `operation` once for each of its syncs, on a disk that leaves that one out, and cuts the power everywhere. Gives each
/// sync with the first cut that shows that it is needed.
fn without_each_sync(operation: &Operation) -> Vec<(String, Option<String>)> {
    let mut bench = Bench::new();
    (operation.before)(&mut bench);
    let old = bench.state();
    let whole = Recorded::run(&bench, operation, None);
    let syncs = whole.recorder.syncs();
    let without = |sync: usize| {
        let recorded = Recorded::run(&bench, operation, Some(sync));
        let (calls, new) = (recorded.calls, bench.state());
        let is_missed = |cut_after: usize, unsynced: Unsynced, index: Index| {
            if cut_after < calls && matches!(operation.again, Again::Heals) {
                return false;
            }
            recorded.cut(&bench, cut_after, unsynced, index);
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                bench.check_whole(operation.name);
                let now = bench.state();
                let is_told = cut_after == calls;
                (now.same_as(&new) || !is_told && now.same_as(&old))
                    && (now.others_as(&new) || !is_told && now.others_lie_between(&old, &new))
            }));
            !looked.unwrap_or(false)
        };
        // From the end: most often what was said to be done is not.
        let mut cuts = (0..=calls).rev().flat_map(|calls| {
            let both = |unsynced| [Index::Then, Index::Before].map(|index| (calls, unsynced, index));
            Unsynced::ALL.map(both).into_iter().flatten()
        });
        cuts.find(|(cut_after, unsynced, index)| is_missed(*cut_after, *unsynced, *index))
            .map(|(cut_after, unsynced, index)| {
                let last = recorded.recorder.describe(cut_after);
                format!("missed after call {cut_after} of {calls} ({last}), unsynced {unsynced:?}, index {index:?}")
            })
    };
    assert_eq!(without(syncs.len()), None, "{}: nothing is left out", operation.name);
    let syncs = syncs.into_iter().enumerate();
    syncs.map(|(number, sync)| (sync, without(number))).collect()
}

fn copy_index(from: &Path, to: &Path) {
    let index = from.join(INDEX);
    if index.exists() {
        copy_tree(&index, &to.join(INDEX)).unwrap();
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
    let Ran { code, output, .. } = bench.act(operation.command);
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
