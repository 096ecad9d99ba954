//! Whether whoever had the datasets last left nothing to be done in them.
//!
//! Opening a workspace puts right what unfinished work left, and for that looks at every dataset. After an end that was in
//! order there is nothing to find, so then a mark stands, and opening looks at none.
//!
//! The mark may be missing where it could stand: that costs one look. It must not stand where there is something to do. So
//! it goes before the first change that a cut could leave half done, durably, and comes back with the end of the process, when
//! everything that was changed is known to be finished. That needs no sync: either the mark is there later or not. Nor does
//! it stand for long for datasets that somebody else put there or took away: it names the directory as it was, by inode and
//! times, so a copy of a workspace is looked at too. For the same reasons what the mark speaks of can be believed as long as it
//! stands: it has the check of the names that the datasets had (see `catalog::names`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use odf_disk::{Access, Disk, DiskError, PENDING_PREFIX, read_small_text};
use odf_metadata::DatasetId;

/// The longest mark that is read.
const MAX_MARK_BYTES: u64 = 1024;
/// What a mark says that speaks of no names.
const NO_NAMES: &str = "-";

/// What a directory looks like from outside: it changes with the names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([i128; 7]);

impl Stamp {
    /// That of a directory now.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let found = fs::metadata(dir)?;
        Ok(Self([
            found.dev().into(),
            found.ino().into(),
            found.mtime().into(),
            found.mtime_nsec().into(),
            found.ctime().into(),
            found.ctime_nsec().into(),
            // Two changes within one tick of the clock show here, where the file system counts directories.
            found.nlink().into(),
        ]))
    }

    /// In words that another process can compare.
    pub(crate) fn text(&self) -> String {
        self.0.map(|number| number.to_string()).join(" ")
    }
}

/// The names of datasets that a mark speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpokenOf {
    /// The check of the file that has them.
    pub(crate) check: u64,
    /// How the directory looked then.
    pub(crate) stamp: Stamp,
}

/// The mark of one directory of datasets.
#[derive(Debug)]
pub struct Mark {
    disk: Disk,
    path: PathBuf,
    datasets: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// There is a file, whatever it says.
    is_there: bool,
    /// Nothing was left to be done, and nothing was changed since.
    stands: bool,
    /// What the file says, where it stands.
    says: String,
    /// Something cannot be finished by this process.
    is_kept_away: bool,
    /// The datasets that were changed.
    touched: BTreeSet<DatasetId>,
    /// Those of them that nobody looked at since.
    doubted: BTreeSet<DatasetId>,
    /// What it spoke of when it was opened, until somebody has read it.
    names: Option<SpokenOf>,
}

impl Mark {
    /// The mark at `path` for the datasets in `datasets`. It counts for nothing unless it has these `words`: another version
    /// may have to look at datasets that were in order for the last one, and what is kept of them elsewhere may have been
    /// lost without the mark.
    pub fn open(disk: &Disk, path: &Path, datasets: &Path, words: &str) -> Self {
        let mark = Self {
            disk: disk.clone(),
            path: path.to_owned(),
            datasets: datasets.to_owned(),
            state: Mutex::default(),
        };
        let says = read_small_text(path, MAX_MARK_BYTES).ok().flatten().unwrap_or_default();
        let names = says.lines().last().and_then(names_of);
        let stamp = Stamp::of(datasets).ok();
        let stands = names
            .zip(stamp)
            .is_some_and(|(names, stamp)| text(words, &stamp, names) == says);
        let spoken_of = names.flatten().zip(stamp).filter(|_| stands);
        *mark.state() = State {
            is_there: path.symlink_metadata().is_ok(),
            stands,
            says,
            names: spoken_of.map(|(check, stamp)| SpokenOf { check, stamp }),
            ..State::default()
        };
        mark
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file beside the mark.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// The names that the mark spoke of, which are those of now but for the datasets that are doubted, and those that came since
    /// the directory looked so. Once: who has read them keeps them.
    pub(crate) fn take_names(&self) -> Option<SpokenOf> {
        self.state().names.take()
    }

    /// The same, for whoever does not read them, if no dataset is doubted.
    pub(crate) fn names_as_they_were(&self) -> Option<u64> {
        let state = self.state();
        let names = state.names.filter(|_| state.doubted.is_empty() && state.stands)?;
        Some(names.check)
    }

    /// The datasets that may be other than when they were asked for last.
    pub(crate) fn take_doubted(&self) -> BTreeSet<DatasetId> {
        std::mem::take(&mut self.state().doubted)
    }

    /// Says that a dataset was changed, or may have been.
    pub(crate) fn changed(&self, id: DatasetId) {
        self.state().doubted.insert(id);
    }

    /// Whether nothing is to be done in any dataset.
    pub fn stands(&self) -> bool {
        self.state().stands
    }

    /// Datasets have to be looked at whatever the mark says.
    pub fn distrust(&self) {
        let mut state = self.state();
        (state.stands, state.names) = (false, None);
    }

    /// The mark does not come back with the end of this process: something stays to be done.
    pub fn keep_away(&self) {
        self.state().is_kept_away = true;
    }

    /// Says that a dataset is about to be changed: when this returns no cut leaves the mark.
    ///
    /// # Errors
    /// It could not be taken away: nothing may be changed.
    pub(crate) fn changing(&self, id: Option<DatasetId>) -> Result<(), DiskError> {
        let mut state = self.state();
        state.touched.extend(id);
        if state.is_there {
            self.disk.remove_file_if_there(&self.path)?;
            if let Some(dir) = self.path.parent() {
                self.disk.sync_dir(dir)?;
            }
            state.is_there = false;
        }
        state.stands = false;
        Ok(())
    }

    /// The datasets that were changed; nothing if the mark must stay away all the same.
    pub(crate) fn touched(&self) -> Option<BTreeSet<DatasetId>> {
        let state = self.state();
        // What was to follow a change that failed may not have been done.
        let is_kept_away = state.is_kept_away || self.disk.broke_off();
        (!is_kept_away).then(|| state.touched.clone())
    }

    /// Puts the mark back with these words and the check of the names, unless it stands and has them. Not durable, and need not
    /// be.
    ///
    /// # Errors
    /// It cannot be written; it does not stand then.
    pub(crate) fn put_back(&self, words: &str, names: Option<u64>) -> Result<(), DiskError> {
        let mut state = self.state();
        let stamp = Stamp::of(&self.datasets).map_err(|error| DiskError::new("look at", &self.datasets, error))?;
        let text = text(words, &stamp, names);
        if state.stands && state.says == text {
            return Ok(());
        }
        state.stands = false;
        let file = self.disk.create(&self.path, Access::Owner)?;
        state.is_there = true;
        file.write_at(text.as_bytes(), 0)?;
        (state.stands, state.says) = (true, text);
        state.touched.clear();
        Ok(())
    }
}

/// What a mark says.
fn text(words: &str, stamp: &Stamp, names: Option<u64>) -> String {
    let names = names.map_or_else(|| NO_NAMES.to_owned(), |check| format!("{check:016x}"));
    format!("{words}\n{}\n{names}\n", stamp.text())
}

/// What the last line of a mark says of names.
fn names_of(line: &str) -> Option<Option<u64>> {
    match line {
        NO_NAMES => Some(None),
        check => u64::from_str_radix(check, 16).ok().map(Some),
    }
}

/// The id of the dataset that a directory is, or is to be.
pub(crate) fn id_of(dir: &Path) -> Option<DatasetId> {
    let name = dir.file_name()?.to_str()?;
    DatasetId::from_multibase(name.strip_prefix(PENDING_PREFIX).unwrap_or(name)).ok()
}

#[cfg(test)]
mod tests {
    use odf_disk::crash::{Recorder, Unsynced};

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("datasets")).unwrap();
            Self { dir }
        }

        fn datasets(&self) -> PathBuf {
            self.dir.path().join("datasets")
        }

        fn open_as(&self, form: &str) -> Mark {
            Mark::open(&Disk::new(), &self.dir.path().join("settled"), &self.datasets(), form)
        }

        fn open(&self) -> Mark {
            self.open_as("1")
        }
    }

    #[test]
    fn it_stands_from_one_end_in_order_to_the_next_change() {
        let place = Place::new();
        let mark = place.open();
        assert!(!mark.stands(), "nobody knows");
        mark.put_back("1", None).unwrap();
        assert!(place.open().stands());
        assert!(!place.open_as("2").stands(), "another version looks again");
        let mark = place.open();
        let id = DatasetId::from_public_key([1; 32]);
        mark.changing(Some(id)).unwrap();
        assert!(!mark.stands() && !place.open().stands());
        assert_eq!(mark.touched(), Some(BTreeSet::from([id])));
        mark.put_back("1", None).unwrap();
        assert!(place.open().stands());
        assert_eq!(mark.touched(), Some(BTreeSet::new()));
        // What it says follows what is kept elsewhere.
        mark.put_back("2", Some(7)).unwrap();
        assert!(!place.open().stands() && place.open_as("2").stands());
        mark.put_back("1", None).unwrap();
        // It is no use to somebody who must look anyway, and stays on the disk until something changes.
        let mark = place.open();
        mark.distrust();
        assert!(!mark.stands() && place.open().stands());
        mark.keep_away();
        assert_eq!(mark.touched(), None);
    }

    #[test]
    fn it_says_nothing_of_datasets_that_came_or_went_and_nothing_when_it_is_torn() {
        let place = Place::new();
        let stands = || {
            place.open().put_back("1", None).unwrap();
            assert!(place.open().stands());
        };
        stands();
        fs::create_dir(place.datasets().join("more")).unwrap();
        assert!(!place.open().stands(), "one came");
        stands();
        fs::remove_dir(place.datasets().join("more")).unwrap();
        assert!(!place.open().stands(), "one went");
        stands();
        let path = place.dir.path().join("settled");
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(!place.open().stands(), "{len} bytes");
            fs::write(&path, [&whole[..len], &vec![0; whole.len() - len][..]].concat()).unwrap();
            assert!(!place.open().stands(), "{len} bytes and zeros");
        }
        fs::write(&path, vec![b'x'; MAX_MARK_BYTES as usize + 1]).unwrap();
        assert!(!place.open().stands(), "longer than is read");
        // What does not count goes, too, before it could count again.
        place.open().changing(None).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn no_cut_after_a_change_was_allowed_leaves_it() {
        let place = Place::new();
        place.open().put_back("1", None).unwrap();
        let before = tempfile::tempdir().unwrap();
        odf_disk::crash::copy_tree(place.dir.path(), before.path()).unwrap();
        let recorder = Recorder::new(place.dir.path());
        let mark = Mark::open(
            &Disk::with(recorder.clone()),
            &place.dir.path().join("settled"),
            &place.datasets(),
            "1",
        );
        assert!(mark.stands());
        mark.changing(None).unwrap();
        let allowed = recorder.calls();
        // Once is enough.
        mark.changing(None).unwrap();
        assert_eq!(recorder.calls(), allowed);
        for unsynced in Unsynced::ALL {
            let image = tempfile::tempdir().unwrap();
            recorder
                .image(before.path(), allowed, unsynced, image.path(), &|_| false)
                .unwrap();
            assert!(!image.path().join("settled").exists(), "{unsynced:?}");
        }
        // The other way no sync is made.
        let syncs = recorder.syncs().len();
        mark.put_back("1", None).unwrap();
        assert_eq!(recorder.syncs().len(), syncs);
    }
}
