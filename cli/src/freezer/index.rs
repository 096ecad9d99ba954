//! What sled had on disk at each call, since it writes when it likes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use odf::disk::crash::Recorder;

use crate::session::Session;

/// Where the index is, below a workspace.
pub(super) const INDEX: &str = "store";

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// For each call of a command, the files of the index when it was made, with everything that the index had been told by
/// then: the most that a power cut can leave of it.
#[derive(Clone, Default)]
pub(super) struct Indexes(Arc<Mutex<BTreeMap<usize, Arc<Files>>>>);

impl Indexes {
    fn known(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Files>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down the index at each call that `session` makes.
    pub(super) fn watch(&self, recorder: &Recorder, session: &Arc<Session>) {
        let (indexes, session) = (self.clone(), Arc::downgrade(session));
        recorder.watch(move |call| {
            let Some(session) = session.upgrade() else { return };
            if let Some(workspace) = session.open_workspace() {
                workspace.store().run_ahead().unwrap();
            }
            let files = files_below(&session.root().join(INDEX));
            let mut known = indexes.known();
            let same = known.values().next_back().filter(|last| ***last == files).cloned();
            known.insert(call, same.unwrap_or_else(|| Arc::new(files)));
        });
    }

    /// Writes the index as it was after so many calls to the directory of a workspace; false if no call came after them.
    pub(super) fn write(&self, calls: usize, workspace: &Path) -> bool {
        let known = self.known();
        let Some(files) = known.get(&calls) else { return false };
        for (path, bytes) in &**files {
            let path = workspace.join(INDEX).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        true
    }
}

/// What can be read below a directory; sled may remove a file meanwhile.
fn files_below(dir: &Path) -> Files {
    fn read(root: &Path, at: &Path, files: &mut Files) -> io::Result<()> {
        for entry in fs::read_dir(root.join(at))? {
            let entry = entry?;
            let path = at.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                let _gone = read(root, &path, files);
            } else if let Ok(bytes) = fs::read(entry.path()) {
                files.insert(path, bytes);
            }
        }
        Ok(())
    }
    let mut files = Files::new();
    let _none = read(dir, Path::new(""), &mut files);
    files
}
