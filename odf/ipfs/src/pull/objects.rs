//! Slices and checkpoints of new metadata blocks: found in their directories, fetched into their place, checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures::stream::{StreamExt as _, TryStreamExt as _};
use odf_node::block::Cid;
use odf_node::store::{FileId, Store, StoreError, Walk};
use odf_node::unixfs::Entry;

use super::transfer::Transfer;
use super::{Progress, PullError, blocking};
use crate::layout::KnownFiles;
use odf_dataset::{INCOMING_PREFIX, Object, ObjectKind};
use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;
use odf_tables::digest;

/// How many slices and checkpoints are fetched at once.
const MAX_OBJECTS_IN_FLIGHT: usize = 64;

/// An object that is complete and checked, under its unfinished name.
#[derive(Debug)]
struct Arrived {
    file: FileId,
    /// Where it belongs, relative to the workspace.
    path: PathBuf,
    /// The nodes above its leaves.
    nodes: Vec<Cid>,
}

/// Gives complete objects their names, all with one flush of the index, and makes everything durable.
fn put_in_place(store: &Store, walk: &Walk, arrived: &[Arrived]) -> Result<(), StoreError> {
    let renames: Vec<(FileId, &Path)> = arrived.iter().map(|file| (file.file, file.path.as_path())).collect();
    store.rename_files(&renames)?;
    let nodes: Vec<Cid> = arrived.iter().flat_map(|file| file.nodes.iter().copied()).collect();
    store.mark_complete(walk, &nodes)?;
    store.flush()
}

/// Where a directory says that an object is.
#[derive(Debug, Clone, Copy)]
struct Located {
    cid: Cid,
    tsize: u64,
}

impl Transfer<'_> {
    /// Slices and checkpoints of the new blocks into `dir`, checked and durable. Also gives the DAGs of those whose
    /// form is the published one.
    pub(super) async fn objects(&self, dir: &Path, new: &[EncodedBlock]) -> Result<(u64, KnownFiles), PullError> {
        let walk = self.local.store().walk();
        let mut wanted = Object::of_all(new);
        wanted.retain(|object| !object.path(dir).exists());
        (self.progress)(Progress::Planned {
            blocks: new.len() as u64,
            objects: wanted.len() as u64,
            bytes: wanted.iter().map(|object| object.size).sum(),
        });
        let mut entries = HashMap::new();
        for kind in ObjectKind::ALL {
            let root = match kind {
                ObjectKind::Slice => self.remote.data,
                ObjectKind::Checkpoint => self.remote.checkpoints,
            };
            let needed: Vec<&Object> = wanted.iter().filter(|object| object.kind == kind).collect();
            if !needed.is_empty() {
                self.locate(kind.directory(), root, &needed, &mut entries).await?;
            }
        }
        let count = wanted.len() as u64;
        let fetched: Vec<(Multihash, Entry, Arrived)> = futures::stream::iter(wanted)
            .map(|object| {
                let link = entries.get(&object.hash).copied();
                async move {
                    let link = link.ok_or(PullError::Lacks {
                        directory: object.kind.directory(),
                        hash: object.hash,
                    })?;
                    let size = object.size;
                    let arrived = self.object(dir, &object, link.cid).await?;
                    (self.progress)(Progress::Object { bytes: size });
                    Ok::<_, PullError>((
                        object.hash,
                        Entry {
                            cid: link.cid,
                            tsize: link.tsize,
                            size,
                        },
                        arrived,
                    ))
                }
            })
            .buffer_unordered(MAX_OBJECTS_IN_FLIGHT)
            .try_collect()
            .await?;
        let (mut known, mut arrived) = (KnownFiles::new(), Vec::new());
        for (hash, entry, file) in fetched {
            known.insert(hash, entry);
            arrived.push(file);
        }
        if !self.remote.canonical {
            known.clear();
        }
        let store = self.local.store().clone();
        blocking(move || put_in_place(&store, &walk, &arrived)).await??;
        Ok((count, known))
    }

    /// Finds the DAGs of objects in a directory.
    async fn locate(
        &self,
        directory: &'static str,
        root: Option<Cid>,
        needed: &[&Object],
        entries: &mut HashMap<Multihash, Located>,
    ) -> Result<(), PullError> {
        let root = root.ok_or(PullError::Lacks {
            directory,
            hash: needed[0].hash,
        })?;
        for skip_complete in [true, false] {
            let (links, _) = self.fetcher.directory(root, skip_complete).await?;
            entries.extend(links.into_iter().filter_map(|link| {
                let hash: Multihash = link.name.parse().ok()?;
                Some((
                    hash,
                    Located {
                        cid: link.cid,
                        tsize: link.tsize,
                    },
                ))
            }));
            if needed.iter().all(|object| entries.contains_key(&object.hash)) {
                return Ok(());
            }
        }
        let missing = needed.iter().find(|object| !entries.contains_key(&object.hash));
        missing.map_or(Ok(()), |object| {
            Err(PullError::Lacks {
                directory,
                hash: object.hash,
            })
        })
    }

    /// One slice or checkpoint: leaves into a file of an unfinished name, hash checked.
    async fn object(&self, dir: &Path, object: &Object, root: Cid) -> Result<Arrived, PullError> {
        let store = self.local.store();
        let path = object.path(dir);
        let unfinished = path.with_file_name(format!("{INCOMING_PREFIX}{}", object.hash));
        let inside = |path: &Path| {
            path.strip_prefix(store.root())
                .map(Path::to_path_buf)
                .unwrap_or_default()
        };
        let file = store.add_file(&inside(&unfinished))?;
        let (size, nodes) = self.fetcher.file(root, file, object.size).await?;
        let checked = {
            let unfinished = unfinished.clone();
            blocking(move || digest::physical_hash(&unfinished)).await?
        };
        let (found, _) = checked.map_err(|source| PullError::Io {
            operation: "read",
            path: unfinished.clone(),
            source,
        })?;
        if size != object.size || found != object.hash {
            store.remove_file(file)?;
            let (expected, found) = match size == object.size {
                true => (object.hash.to_string(), found.to_string()),
                false => (format!("{} bytes", object.size), format!("{size} bytes")),
            };
            return Err(PullError::Object { path, expected, found });
        }
        Ok(Arrived {
            file,
            path: inside(&path),
            nodes,
        })
    }
}
