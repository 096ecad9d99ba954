//! The datasets of a workspace, found by name or id.
//!
//! The directory is the truth: one folder per dataset, named by its id. There is no second list that could disagree with
//! it, and what is remembered of datasets is compared with it. A listing looks at five files of each dataset and reads those that
//! were touched (`seen`); a look-up of one name reads one dataset: which one is remembered, and that is believed only if the
//! dataset itself says so (`names`).
//!
//! Opening looks at every dataset only if the last end was not in order (see [`Mark`](crate::Mark)).

mod called;
mod listing;
mod many;
mod names;
mod seen;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use listing::Listed;
use odf_disk::{Access, DiskError, PENDING_PREFIX};

use crate::Medium;
use crate::dataset::{
    Dataset, DatasetError, DatasetName, Incoming, NewDataset, ObjectKind, STATES, Standing, UNNAMED_OBJECTS, WHOLE,
    has_arrived, is_shared_in, standing,
};
use called::Names;
use many::look_at_each;
use odf_metadata::{DatasetId, Multihash};

/// The shortest part of an id, in characters after `fed01`, that may stand for a dataset.
pub const MIN_ID_PREFIX: usize = 4;

/// How many names an unknown one is compared to its nearest of.
const MAX_SUGGESTIONS: usize = 3;

const ID_PREFIX: &str = "fed01";

/// What an id begins with where it is written out in full. No name has a colon.
const DID_PREFIX: &str = "did:odf:";

/// What the name of a directory begins with that holds a dataset on its way out. Its id follows.
const REMOVED_PREFIX: &str = ".removed-";

/// Why a dataset could not be found, made or renamed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Nothing has this name or id.
    #[error("there is no dataset `{name}`{}", suggestion(.nearest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names like it, nearest first.
        nearest: Vec<String>,
    },
    /// Several datasets have this name or begin with this id.
    #[error("`{name}` could be {}; use more of the id", .candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The ids it stands for.
        candidates: Vec<String>,
    },
    /// The name is in use.
    #[error("the name `{name}` is taken by {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: DatasetId,
    },
    /// A dataset of this id was deleted, and not all that was left of it could be removed yet.
    #[error("what is left of the deleted dataset {0} is not removed yet")]
    Leaving(DatasetId),
    /// A directory could not be read or changed.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A dataset could not be opened or changed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

impl From<DiskError> for CatalogError {
    fn from(error: DiskError) -> Self {
        io_error(error.operation, &error.path, error.source)
    }
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean `{}`?", names.join("` or `")),
    }
}

/// A dataset in a listing, damaged ones included: each has its id and its name taken. The name is absent if `info/alias`
/// cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its identity.
    pub id: DatasetId,
    /// Its name here.
    pub name: Option<DatasetName>,
    /// Its directory.
    pub dir: PathBuf,
    /// Its head, if it has one that can be read.
    pub head: Option<Multihash>,
    /// What is wrong with it, as far as is known without reading its chain: it has no usable head, its directory cannot be
    /// read, or it was found to be damaged and not mended since.
    pub damaged: Option<String>,
}

impl Entry {
    /// By what a listing is in order: names, then those without by id.
    fn place(&self) -> (bool, Option<String>, DatasetId) {
        let name = self.name.as_ref().map(|name| name.as_str().to_ascii_lowercase());
        (name.is_none(), name, self.id)
    }

    /// The name, or the id of a dataset whose name cannot be read.
    pub fn label(&self) -> String {
        let name = self.name.as_ref().map(|name| name.as_str().to_owned());
        name.unwrap_or_else(|| self.id.to_string())
    }
}

/// The datasets of one workspace. Cloning gives another handle.
#[derive(Clone)]
pub struct Catalog {
    dir: PathBuf,
    medium: Medium,
    names: Arc<Names>,
}

impl Catalog {
    /// Opens the directory that holds the datasets, creating it if need be, and sweeps away what unfinished work left,
    /// unless the mark of the medium says that there is nothing of that kind. Only the owner of the workspace may do that.
    ///
    /// What does not belong there is passed over, and so is what cannot be read or removed now.
    ///
    /// # Errors
    /// The directory itself cannot be made or read.
    pub fn open(dir: &Path, medium: Medium) -> Result<Catalog, CatalogError> {
        medium.disk.create_dirs(dir, Access::Readable)?;
        let catalog = Catalog {
            dir: dir.to_owned(),
            medium,
            names: Arc::default(),
        };
        if catalog.is_settled() {
            return Ok(catalog);
        }
        for path in catalog.paths()? {
            if let Err(error) = catalog.sweep(&path) {
                catalog.keep_unsettled();
                tracing::warn!(path = %path.display(), %error, "what unfinished work left stays for now");
            }
        }
        Ok(catalog)
    }

    /// Whether nothing was left to be done in any dataset, and nothing was changed since.
    pub fn is_settled(&self) -> bool {
        self.medium.mark.as_ref().is_some_and(|mark| mark.stands())
    }

    /// Says that something is left to be done that this process cannot do: the next opening looks at every dataset.
    pub fn keep_unsettled(&self) {
        if let Some(mark) = &self.medium.mark {
            mark.keep_away();
        }
    }

    /// Says that this process ends and changes nothing more. If nothing is left to be done in the datasets that it changed,
    /// the next opening looks at none. `is_followed` tells of a dataset whether its second form is that of this head; the mark gets
    /// `words`, without which it counts for nothing.
    ///
    /// # Errors
    /// A dataset cannot be looked at, or the mark not be written: the next opening looks at every dataset.
    pub fn settle(
        &self,
        is_followed: &dyn Fn(&DatasetId, &Multihash) -> bool,
        words: &str,
    ) -> Result<(), CatalogError> {
        let Some((mark, touched)) = self.medium.mark.as_ref().and_then(|mark| Some((mark, mark.touched()?))) else {
            return Ok(());
        };
        let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
        let is_done = |id: &DatasetId| {
            let dir = self.dataset_dir(id);
            if is_there(self.set_aside_dir(id))
                || is_there(self.dir.join(format!("{PENDING_PREFIX}{}", id.to_multibase())))
            {
                return false;
            }
            if dir.symlink_metadata().is_err() {
                return true;
            }
            match standing(&dir, id) {
                Standing::Arriving => true,
                Standing::There { head: Some(head), .. } => is_followed(id, &head),
                Standing::There { head: None, .. } => false,
            }
        };
        if touched.iter().all(is_done) && !is_there(self.swap_dir()) {
            let names = self.keep_names(mark);
            mark.put_back(words, names)?;
        }
        Ok(())
    }

    /// Everything in the directory.
    fn paths(&self) -> Result<Vec<PathBuf>, CatalogError> {
        let failed = |e| io_error("read", &self.dir, e);
        let entries = fs::read_dir(&self.dir).map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
    }

    /// Removes what unfinished work left at a path of the directory.
    fn sweep(&self, path: &Path) -> Result<(), CatalogError> {
        let disk = &self.medium.disk;
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().starts_with(PENDING_PREFIX) {
            return Ok(disk.remove_tree(path)?);
        }
        if id_named(name).is_some() && path.is_dir() {
            for kind in ObjectKind::ALL {
                disk.sweep(&path.join(kind.directory()))?;
            }
            disk.remove_tree(&path.join(UNNAMED_OBJECTS))?;
            has_arrived(disk, path)?;
        }
        Ok(())
    }

    /// What the datasets are kept on.
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    /// The directory that holds the datasets.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of a dataset, whether it is there or not.
    pub fn dataset_dir(&self, id: &DatasetId) -> PathBuf {
        self.dir.join(id.to_multibase())
    }

    /// Whether everybody may read this dataset from here; also false if it is not here.
    pub fn is_shared(&self, id: &DatasetId) -> bool {
        is_shared_in(&self.dataset_dir(id))
    }

    /// The name of a dataset, if it is here and that can be read.
    pub fn name(&self, id: &DatasetId) -> Option<DatasetName> {
        Dataset::name_in(&self.dataset_dir(id)).ok()
    }

    /// Whether a dataset of this id is here, in whatever state.
    pub fn holds(&self, id: &DatasetId) -> bool {
        self.dataset_dir(id).symlink_metadata().is_ok()
    }

    /// All datasets by name. What is not named by an id is passed over, and so are datasets that are still being received.
    ///
    /// # Errors
    /// The directory of datasets cannot be read. One that cannot is a damaged dataset.
    pub fn entries(&self) -> Result<Vec<Entry>, CatalogError> {
        let seen = self.seen();
        let mut entries = look_at_each(&self.ids()?, &|id| self.seen_entry(id, &seen));
        entries.sort_by_cached_key(Entry::place);
        self.compare_names(&entries);
        Ok(entries)
    }

    /// The dataset with this id, if it is here and not being received, whatever is wrong with it.
    pub fn entry_of(&self, id: &DatasetId) -> Option<Entry> {
        if self.holds(id) { self.entry(*id) } else { None }
    }

    /// A dataset whose directory is there; nothing while it is being received.
    fn entry(&self, id: DatasetId) -> Option<Entry> {
        let dir = self.dataset_dir(&id);
        let Standing::There { head, damaged } = standing(&dir, &id) else {
            return None;
        };
        let name = Dataset::name_in(&dir);
        if let Err(error) = &name {
            tracing::warn!(dataset = %id, %error, "the name of a dataset cannot be read");
        }
        Some(Entry {
            id,
            name: name.ok(),
            dir,
            head,
            damaged,
        })
    }

    fn ids(&self) -> Result<Vec<DatasetId>, CatalogError> {
        let paths = self.paths()?;
        Ok(paths.iter().filter_map(|path| id_named(path.file_name()?)).collect())
    }

    /// Opens a dataset of the listing.
    pub fn open_entry(&self, entry: &Entry) -> Result<Dataset, DatasetError> {
        Dataset::open(&entry.dir, &self.medium)
    }

    /// Opens the dataset with this id, if it is here.
    ///
    /// # Errors
    /// It is here and cannot be opened: it is damaged.
    pub fn by_id(&self, id: &DatasetId) -> Result<Option<Dataset>, DatasetError> {
        let dir = self.dataset_dir(id);
        if dir.symlink_metadata().is_err() || matches!(standing(&dir, id), Standing::Arriving) {
            return Ok(None);
        }
        Dataset::open(&dir, &self.medium).map(Some)
    }

    /// Opens the dataset that `text` stands for: a name (in any case), a `did:odf:fed01…`, or the beginning of an id.
    /// Names win over beginnings of ids.
    ///
    /// # Errors
    /// [`CatalogError::Unknown`] with the nearest names, [`CatalogError::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Dataset, CatalogError> {
        let entry = self.find_entry(text)?;
        Ok(self.open_entry(&entry)?)
    }

    /// As [`Self::find`], without opening it.
    pub fn find_entry(&self, text: &str) -> Result<Entry, CatalogError> {
        let named = |name: DatasetName| self.named(&name).ok().flatten();
        let named = text.parse().ok().and_then(named);
        if let Some(entry) = named.or_else(|| self.written_out(text)) {
            return Ok(entry);
        }
        let entries = self.entries()?;
        let named = |entry: &&Entry| {
            entry
                .name
                .as_ref()
                .is_some_and(|name| name.as_str().eq_ignore_ascii_case(text))
        };
        let mut found: Vec<&Entry> = entries.iter().filter(named).collect();
        if found.is_empty() {
            let id = text.strip_prefix(DID_PREFIX).unwrap_or(text);
            let exact = DatasetId::from_multibase(id).ok();
            let long_enough = id.starts_with(ID_PREFIX) && id.len() >= ID_PREFIX.len() + MIN_ID_PREFIX;
            let matches = |entry: &&Entry| match exact {
                Some(id) => entry.id == id,
                None => long_enough && entry.id.to_multibase().starts_with(id),
            };
            found = entries.iter().filter(matches).collect();
        }
        match found.as_slice() {
            [] => Err(CatalogError::Unknown {
                name: text.chars().take(200).collect(),
                nearest: nearest(text, &entries),
            }),
            [entry] => Ok((*entry).clone()),
            several => Err(CatalogError::Ambiguous {
                name: text.to_owned(),
                candidates: several.iter().map(|entry| entry.id.to_string()).collect(),
            }),
        }
    }

    /// The dataset whose whole id is the text, if it is here.
    fn written_out(&self, text: &str) -> Option<Entry> {
        self.entry_of(&DatasetId::from_multibase(text.strip_prefix(DID_PREFIX)?).ok()?)
    }

    /// The datasets whose name matches a pattern with `%` for any text, in any case.
    pub fn matching(&self, pattern: &str) -> Result<Vec<Entry>, CatalogError> {
        let matches = |entry: &Entry| entry.name.as_ref().is_some_and(|name| like(pattern, name.as_str()));
        Ok(self.entries()?.into_iter().filter(matches).collect())
    }

    /// Prepares a dataset that is not there yet.
    ///
    /// # Errors
    /// [`CatalogError::NameTaken`], [`DatasetError::Exists`].
    pub fn stage(&self, id: DatasetId, name: &DatasetName) -> Result<NewDataset, CatalogError> {
        self.check_free(name, None)?;
        self.check_left(&id)?;
        Ok(NewDataset::stage(&self.dir, id, name, &self.medium)?)
    }

    /// As [`Self::stage`], for a dataset that takes the place of another one, which is deleted before it is put there. It may
    /// have its name, and its id.
    pub(crate) fn stage_for(
        &self,
        id: DatasetId,
        name: &DatasetName,
        replaced: Option<DatasetId>,
    ) -> Result<NewDataset, CatalogError> {
        if replaced.is_none() {
            return self.stage(id, name);
        }
        self.check_free(name, replaced)?;
        self.check_left(&id)?;
        if replaced != Some(id) && self.dataset_dir(&id).symlink_metadata().is_ok() {
            return Err(DatasetError::Exists(id).into());
        }
        Ok(NewDataset::stage_for_place(&self.dir, id, name, &self.medium)?)
    }

    /// Prepares, or goes on with, a dataset that is pulled.
    ///
    /// # Errors
    /// [`CatalogError::NameTaken`], [`DatasetError::Exists`].
    pub fn receive(&self, id: DatasetId, name: &DatasetName) -> Result<Incoming, CatalogError> {
        self.check_free(name, None)?;
        self.check_left(&id)?;
        Ok(Incoming::open(&self.dir, id, name, &self.medium)?)
    }

    /// Gives a dataset another name.
    ///
    /// # Errors
    /// [`CatalogError::NameTaken`] by another one; changing only the case is fine.
    pub fn rename(&self, dataset: &Dataset, name: &DatasetName) -> Result<(), CatalogError> {
        self.check_free(name, Some(dataset.id()))?;
        Ok(dataset.set_name(name)?)
    }

    fn check_free(&self, name: &DatasetName, except: Option<DatasetId>) -> Result<(), CatalogError> {
        let called = self.called(name)?;
        match called.into_iter().find(|entry| Some(entry.id) != except) {
            Some(entry) => Err(CatalogError::NameTaken {
                name: name.to_string(),
                id: entry.id,
            }),
            None => Ok(()),
        }
    }

    /// A name that is free: `wanted`, or `wanted-2` and so on.
    pub fn free_name(&self, wanted: &DatasetName) -> Result<DatasetName, CatalogError> {
        self.with_names(|names| {
            let free = |name: &DatasetName| !names.values().any(|called| called.name == *name);
            let numbered = (2..=names.len() + 2).filter_map(|n| format!("{wanted}-{n}").parse().ok());
            let free = std::iter::once(wanted.clone()).chain(numbered).find(free);
            free.unwrap_or_else(|| wanted.clone())
        })
    }

    /// What is left of a deleted dataset must go before another of the same id can come: what refers to it does so by id.
    fn check_left(&self, id: &DatasetId) -> Result<(), CatalogError> {
        match self.set_aside_dir(id).symlink_metadata() {
            Ok(_) => Err(CatalogError::Leaving(*id)),
            Err(_) => Ok(()),
        }
    }

    fn set_aside_dir(&self, id: &DatasetId) -> PathBuf {
        self.dir.join(format!("{REMOVED_PREFIX}{}", id.to_multibase()))
    }

    /// Takes the directory of a dataset out of sight, whole and in one step that survives power loss.
    ///
    /// # Errors
    /// It cannot be renamed: the dataset is there. If only that cannot be made durable, either may be so after a cut.
    pub(crate) fn set_aside(&self, id: &DatasetId) -> Result<(), CatalogError> {
        self.medium.changing(Some(*id))?;
        let disk = &self.medium.disk;
        disk.rename(&self.dataset_dir(id), &self.set_aside_dir(id))?;
        self.medium.changed(Some(*id));
        disk.sync_dir(&self.dir)?;
        // Both parts: the key of the lasting one begins with that of the other.
        self.medium.cache.forget(STATES, &id.to_bytes());
        self.medium.cache.forget(WHOLE, &id.to_bytes());
        Ok(())
    }

    /// The datasets that were set aside and not removed yet.
    pub(crate) fn leaving(&self) -> Result<Vec<DatasetId>, CatalogError> {
        let left = |path: &PathBuf| id_named(OsStr::new(path.file_name()?.to_str()?.strip_prefix(REMOVED_PREFIX)?));
        Ok(self.paths()?.iter().filter_map(left).collect())
    }

    /// Removes a dataset that was set aside.
    ///
    /// # Errors
    /// A part cannot be removed now.
    pub(crate) fn remove_aside(&self, id: &DatasetId) -> Result<(), CatalogError> {
        Ok(self.medium.disk.remove_tree(&self.set_aside_dir(id))?)
    }
}

/// The id that a directory is named by. Only the form this program writes: an id has other spellings, which must not count
/// twice.
fn id_named(name: &OsStr) -> Option<DatasetId> {
    let id = DatasetId::from_multibase(name.to_str()?).ok();
    id.filter(|id| *name == *id.to_multibase())
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> CatalogError {
    CatalogError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Whether `name` matches a pattern in which `%` stands for any text, in any case.
pub fn like(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut parts = pattern.split('%');
    let Some(rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Names that somebody may have meant, nearest first.
fn nearest(text: &str, entries: &[Entry]) -> Vec<String> {
    /// Longer texts are not typing errors of names.
    const MAX_TEXT: usize = 128;
    if text.len() > MAX_TEXT {
        return Vec::new();
    }
    let text = text.to_ascii_lowercase();
    let mut scored: Vec<(usize, &str)> = entries
        .iter()
        .filter_map(|entry| entry.name.as_ref())
        .map(|name| {
            let lower = name.as_str().to_ascii_lowercase();
            let contained = text.len().min(lower.len()) >= 3 && (lower.contains(&text) || text.contains(&lower));
            let distance = distance(text.as_bytes(), lower.as_bytes());
            (if contained { distance.min(1) } else { distance }, name.as_str())
        })
        .filter(|(distance, name)| *distance <= 1 + name.len().min(text.len()) / 4)
        .collect();
    scored.sort_unstable();
    scored
        .into_iter()
        .take(MAX_SUGGESTIONS)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Insertions, removals, replacements and swaps of neighbours that lead from one text to the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests;
