//! What is known to be wrong with a dataset, kept beside it until it is mended.
//!
//! Nothing is taken away from a damaged dataset. The note is so that a listing can tell of damage that only a look at every
//! byte finds.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use odf_disk::{Access, read_small_text};
use odf_metadata::{DatasetId, Multihash};
use serde::{Deserialize, Serialize};

use super::{Dataset, DatasetError, Object, ObjectKind, incoming, read_head};

/// Name of the note in the directory of a dataset.
const NOTE: &str = "damaged.json";
/// The longest note that is read.
const MAX_NOTE_BYTES: u64 = 1 << 20;
/// The most missing files that a note names. Whoever has these back has the others, too: they went together.
const MAX_NOTED: usize = 1000;

/// What is wrong with a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong, for people, in one line.
    pub reason: String,
    /// The slices and checkpoints that are missing.
    pub missing: Vec<Object>,
    /// Whether something else is wrong than that files are missing, so that nothing is well when they are back.
    pub lasting: bool,
}

#[derive(Serialize, Deserialize)]
struct Note {
    reason: String,
    missing: Vec<Missing>,
    lasting: bool,
}

#[derive(Serialize, Deserialize)]
struct Missing {
    checkpoint: bool,
    hash: Multihash,
    size: u64,
}

impl Missing {
    fn object(&self) -> Object {
        Object {
            kind: if self.checkpoint {
                ObjectKind::Checkpoint
            } else {
                ObjectKind::Slice
            },
            hash: self.hash,
            size: self.size,
        }
    }
}

impl Dataset {
    /// Remembers what is wrong with the dataset; nothing once it is mended.
    ///
    /// # Errors
    /// The note cannot be written or removed.
    pub fn set_damage(&self, damage: Option<&Damage>) -> Result<(), DatasetError> {
        let path = self.dir.join(NOTE);
        let Some(damage) = damage else {
            return Ok(self.disk().remove_file_if_there(&path)?);
        };
        let missing = damage.missing.iter().take(MAX_NOTED).map(|object| Missing {
            checkpoint: object.kind == ObjectKind::Checkpoint,
            hash: object.hash,
            size: object.size,
        });
        let note = Note {
            reason: damage.reason.clone(),
            missing: missing.collect(),
            lasting: damage.lasting,
        };
        let text = serde_json::to_string_pretty(&note).map_err(|error| DatasetError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(self.disk().replace(&path, text.as_bytes(), Access::Readable)?)
    }

    /// What was found to be wrong with the dataset, if that has not come right by itself: files that were missing are back.
    pub fn damage(&self) -> Option<String> {
        noted(&self.dir)
    }

    /// The slices and checkpoints of the chain that are not there, or of another length, each once. With `newest` only as
    /// many of the newest metadata blocks are looked at. Nothing is hashed.
    ///
    /// # Errors
    /// The chain cannot be read.
    pub fn lacking(&self, newest: Option<usize>) -> Result<Vec<Object>, DatasetError> {
        let mut seen = HashSet::new();
        let mut lacking = Vec::new();
        let mut look = |object: Object| {
            if seen.insert((object.kind, object.hash)) && !object.is_in(&self.dir) {
                lacking.push(object);
            }
        };
        match newest {
            Some(newest) => {
                for stored in self.blocks()?.rev().take(newest) {
                    Object::of(&stored?.block).for_each(&mut look);
                }
            }
            None => {
                for stored in self.blocks_after(None)? {
                    Object::of(&stored?.block).for_each(&mut look);
                }
            }
        }
        Ok(lacking)
    }
}

/// How the directory of a dataset looks from outside.
pub(crate) enum Standing {
    /// There is nothing of a dataset yet: it is still being received.
    Arriving,
    /// There is a dataset.
    There {
        /// Its head, if it has one that can be read.
        head: Option<Multihash>,
        /// What is wrong with it.
        damaged: Option<String>,
    },
}

impl Standing {
    fn damaged(reason: String) -> Self {
        Self::There {
            head: None,
            damaged: Some(reason),
        }
    }
}

/// Looks at the directory of a dataset without reading the chain.
pub(crate) fn standing(dir: &Path, id: &DatasetId) -> Standing {
    // First: where it is there the directory is one, and a listing looks at very many.
    let error = match read_head(dir) {
        Ok(head) => {
            return Standing::There {
                head: Some(head),
                damaged: noted(dir),
            };
        }
        Err(error) => error,
    };
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Standing::damaged(format!("{} is no directory", dir.display())),
        Err(error) => return Standing::damaged(format!("{} cannot be read: {error}", dir.display())),
    }
    if incoming::is_arriving(dir) {
        return Standing::Arriving;
    }
    tracing::debug!(dataset = %id, %error, "a dataset without a head");
    Standing::damaged(error.to_string())
}

/// What a note says, unless it has come right by itself.
fn noted(dir: &Path) -> Option<String> {
    let text = match read_small_text(&dir.join(NOTE), MAX_NOTE_BYTES) {
        Ok(text) => text?,
        Err(error) => return Some(error.to_string()),
    };
    let note: Note = match serde_json::from_str(&text) {
        Ok(note) => note,
        Err(_) => return Some("it was found to be damaged, and the note of how cannot be read".to_owned()),
    };
    let is_back = !note.lasting && note.missing.iter().all(|missing| missing.object().is_in(dir));
    (!is_back).then_some(note.reason)
}
