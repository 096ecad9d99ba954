//! A disk that is cut off, for tests.
//!
//! A [`Recorder`] lies below a [`Disk`](crate::Disk), lets every change through to real files and keeps a log of it. From
//! the log and a copy of the directory as it was before, [`Recorder::image`] makes the directory that a power cut after
//! any number of calls would have left: with everything that was written, with what was synced alone, or torn. So one
//! run of an operation gives every state it can be cut in.
//!
//! The model is stricter than most file systems: a name counts only when its directory was synced, even if the file was;
//! unsynced bytes of one file reach the medium in any order.
//!
//! A recorder can also refuse calls, as a disk that fails does.

mod model;
mod record;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Call, Device, FileKey};
use model::Model;
use record::Record;

pub use record::Unsynced;

/// When a [`Recorder`] refuses calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Never.
    Never,
    /// The call with this number, counted from 0, and every later one.
    From(usize),
    /// The call with this number alone.
    Once(usize),
}

/// A device that keeps a log of every change below one directory.
pub struct Recorder {
    root: PathBuf,
    state: Mutex<State>,
    watcher: Mutex<Option<Watcher>>,
    /// Held by the thread whose change is made. Without it, a file could be logged before the directory that another
    /// thread had just made for it.
    turn: Mutex<()>,
}

/// Hears of calls before they are made.
type Watcher = Arc<dyn Fn(usize) + Send + Sync>;

struct State {
    calls: usize,
    refusal: Refusal,
    error: io::ErrorKind,
    log: Vec<Record>,
    /// How many calls had been made when each record was logged.
    at: Vec<usize>,
    ignored_syncs: Vec<usize>,
    syncs: usize,
    written_by_others: Option<PathBuf>,
}

impl Recorder {
    /// Records what happens below `root`.
    pub fn new(root: &Path) -> Arc<Self> {
        Self::refusing(root, Refusal::Never, io::ErrorKind::Other)
    }

    /// As [`Self::new`], refusing some calls with an error of this kind.
    pub fn refusing(root: &Path, refusal: Refusal, error: io::ErrorKind) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_owned(),
            state: Mutex::new(State {
                calls: 0,
                refusal,
                error,
                log: Vec::new(),
                at: Vec::new(),
                ignored_syncs: Vec::new(),
                syncs: 0,
                written_by_others: None,
            }),
            watcher: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes and syncs were asked for so far.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// The syncs so far, in words, in the order of the numbers that [`Self::forget_sync`] takes; without forgotten ones.
    pub fn syncs(&self) -> Vec<String> {
        let state = self.state();
        let syncs = state
            .log
            .iter()
            .filter(|record| matches!(record, Record::Sync(..) | Record::SyncDir(..) | Record::SyncAll));
        syncs.map(Record::to_string).collect()
    }

    /// Others than the program write the files below `dir`, and do not sync them: what is in one counts once the program
    /// has synced it.
    pub fn others_write(&self, dir: &Path) {
        self.state().written_by_others = Some(dir.to_owned());
    }

    /// From now on calls are refused in another way; they count from 0 again.
    pub fn set_refusal(&self, refusal: Refusal, error: io::ErrorKind) {
        let mut state = self.state();
        (state.refusal, state.error, state.calls) = (refusal, error, 0);
    }

    /// The sync with this number, counted from 0, is to be left out of the log, as if the program had forgotten it.
    pub fn forget_sync(&self, number: usize) {
        self.state().ignored_syncs.push(number);
    }

    /// From now on `watcher` is told the number of each call, counted from 0, before the call is made and in its thread.
    pub fn watch(&self, watcher: impl Fn(usize) + Send + Sync + 'static) {
        *self.watcher() = Some(Arc::new(watcher));
    }

    fn watcher(&self) -> MutexGuard<'_, Option<Watcher>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last of the first `calls` calls was, in words, for messages.
    pub fn describe(&self, calls: usize) -> String {
        let state = self.state();
        let last = state.at.iter().rposition(|at| *at < calls);
        let last = last.and_then(|at| state.log.get(at));
        last.map_or_else(|| "nothing".to_owned(), Record::to_string)
    }

    /// Makes in `to` the directory that a power cut after the first `calls` calls would have left. `before` is a copy of
    /// the recorded directory as it was when recording began, all of it on the medium. Names for which `skip` says so,
    /// relative to the directory, are left out.
    ///
    /// # Errors
    /// A copy cannot be read or made.
    pub fn image(
        &self,
        before: &Path,
        calls: usize,
        unsynced: Unsynced,
        to: &Path,
        skip: &dyn Fn(&Path) -> bool,
    ) -> io::Result<()> {
        let state = self.state();
        let mut model = Model::of(before, &self.root, skip)?;
        let counted = state.at.iter().take_while(|at| **at < calls).count();
        for record in &state.log[..counted] {
            model.apply(record);
        }
        model.write(unsynced, to)
    }
}

/// A directory as a power cut left it.
#[derive(Debug)]
pub struct Cut<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// How many calls had been made.
    pub calls: usize,
    /// How many calls the whole change makes.
    pub of: usize,
    /// What became of what was not synced.
    pub unsynced: Unsynced,
    /// The last call before the cut, in words.
    pub last: String,
}

impl Cut<'_> {
    /// Whether the change had been done and told so: what it did must be there.
    pub fn is_acknowledged(&self) -> bool {
        self.calls == self.of
    }
}

impl std::fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            calls,
            of,
            unsynced,
            last,
            ..
        } = self;
        write!(f, "cut after call {calls} of {of} ({last}), unsynced {unsynced:?}")
    }
}

/// Shows every directory that a power cut on the way of what was recorded could have left, made one after the other in
/// `scratch`; `before` is a copy of the recorded directory from before. Gives their number.
///
/// # Errors
/// A copy cannot be read or made.
pub fn every_cut(
    recorder: &Recorder,
    before: &Path,
    scratch: &Path,
    skip: &dyn Fn(&Path) -> bool,
    check: &mut dyn FnMut(&Cut<'_>),
) -> io::Result<usize> {
    let of = recorder.calls();
    let dir = scratch.join("cut");
    let mut count = 0;
    for calls in 0..=of {
        for unsynced in Unsynced::ALL {
            recorder.image(before, calls, unsynced, &dir, skip)?;
            let last = recorder.describe(calls);
            check(&Cut {
                dir: &dir,
                calls,
                of,
                unsynced,
                last,
            });
            fs::remove_dir_all(&dir)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Copies a directory with everything in it that is a file or a directory.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    Model::of(from, from, &|_| false)?.write(Unsynced::Kept, to)
}

impl Device for Recorder {
    fn perform(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.before(call)?;
        make()?;
        self.after(call);
        Ok(())
    }

    fn before(&self, call: &Call<'_>) -> io::Result<()> {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let refused = match state.refusal {
            Refusal::Never => false,
            Refusal::From(first) => number >= first,
            Refusal::Once(one) => number == one,
        };
        if refused {
            return Err(io::Error::new(state.error, "the test refuses it"));
        }
        if call.is_sync() {
            state.syncs += 1;
        }
        drop(state);
        let watcher = self.watcher().clone();
        if let Some(watcher) = watcher {
            watcher(number);
        }
        Ok(())
    }

    fn opened(&self, path: &Path, file: FileKey) {
        let mut state = self.state();
        let at = state.calls.saturating_sub(1);
        state.log.push(Record::Opened(path.to_owned(), file));
        state.at.push(at);
    }

    fn after(&self, call: &Call<'_>) {
        let record = match *call {
            Call::CreateDir(path) => Record::CreateDir(path.to_owned()),
            Call::Create(path) => Record::Create(path.to_owned()),
            Call::Write {
                path,
                file,
                offset,
                bytes,
            } => Record::Write(path.to_owned(), file, offset, bytes.to_vec()),
            Call::Resize { path, file, len } => Record::Resize(path.to_owned(), file, len),
            Call::Punch {
                path,
                file,
                offset,
                len,
            } => Record::Punch(path.to_owned(), file, offset, len),
            Call::Sync { path, file, site } => Record::Sync(path.to_owned(), file, site),
            Call::SyncDir { path, site } => Record::SyncDir(path.to_owned(), site),
            Call::SyncAll(_) => Record::SyncAll,
            Call::Rename { from, to } => Record::Rename(from.to_owned(), to.to_owned()),
            Call::Link { from, to } => Record::Link(from.to_owned(), to.to_owned()),
            Call::RemoveFile(path) | Call::RemoveDir(path) => Record::Remove(path.to_owned()),
        };
        let mut state = self.state();
        if call.is_sync() && state.ignored_syncs.contains(&(state.syncs - 1)) {
            return;
        }
        let at = state.calls - 1;
        if let Call::Sync { path, .. } = *call
            && state
                .written_by_others
                .as_ref()
                .is_some_and(|dir| path.starts_with(dir))
            && let Ok(bytes) = fs::read(path)
        {
            state.log.push(Record::Content(path.to_owned(), bytes));
            state.at.push(at);
        }
        state.log.push(record);
        state.at.push(at);
    }
}
