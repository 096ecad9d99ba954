//! Pushes under way, and the objects they wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use odf_dataset::receive::Arrival;
use odf_dataset::{DatasetName, Object, ObjectKind};
use odf_metadata::Multihash;

/// The pushes under way, by the dataset's name in lowercase: one at a time for each.
#[derive(Default)]
pub(super) struct Uploads {
    open: Arc<Mutex<HashMap<String, Arc<Upload>>>>,
}

/// What one push brings.
pub(super) struct Upload {
    arrival: Arrival,
    /// Label of the token of whoever pushes: others cannot add to it.
    label: String,
    wanted: HashMap<(ObjectKind, Multihash), Object>,
}

impl Upload {
    /// An upload of these objects by the holder of a token.
    pub(super) fn new(arrival: Arrival, label: String, objects: Vec<Object>) -> Self {
        let wanted = objects.into_iter().map(|object| ((object.kind, object.hash), object));
        Self {
            arrival,
            label,
            wanted: wanted.collect(),
        }
    }

    /// Where it arrives.
    pub(super) fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// The object of this name, if the pushed metadata blocks name it.
    pub(super) fn wanted(&self, kind: ObjectKind, hash: &Multihash) -> Option<Object> {
        self.wanted.get(&(kind, *hash)).copied()
    }
}

/// A push that takes uploads. Dropping it ends that.
pub(super) struct Open {
    key: String,
    upload: Arc<Upload>,
    open: Arc<Mutex<HashMap<String, Arc<Upload>>>>,
}

impl Uploads {
    /// Takes uploads for a push from now on; gives nothing if another push to that name is under way.
    pub(super) fn open(&self, name: &DatasetName, upload: Upload) -> Option<Open> {
        let key = key(name);
        let upload = Arc::new(upload);
        let mut open = lock(&self.open);
        if open.contains_key(&key) {
            return None;
        }
        open.insert(key.clone(), Arc::clone(&upload));
        drop(open);
        Some(Open {
            key,
            upload,
            open: Arc::clone(&self.open),
        })
    }

    /// The push to this name by the holder of this token.
    pub(super) fn of(&self, name: &DatasetName, label: &str) -> Option<Arc<Upload>> {
        lock(&self.open)
            .get(&key(name))
            .filter(|upload| upload.label == label)
            .cloned()
    }
}

impl Open {
    /// What it brings.
    pub(super) fn upload(&self) -> &Arc<Upload> {
        &self.upload
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.key);
    }
}

fn key(name: &DatasetName) -> String {
    name.as_str().to_ascii_lowercase()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
