//! What becomes of the layout when a chain is written again: roots made before stay whole.

use std::path::{Path, PathBuf};

use ipld_core::ipld::Ipld;
use odf_node::block::Block;
use odf_node::dag;
use odf_node::store::{Blocks as _, Leaf, StoreError};
use odf_node::unixfs::import;

use super::{BATCH, Cut, Foresight, Format, Layout, LayoutError, PROFILE, WHOLE_BYTES, Work, len_of};
use odf_dataset::{Dataset, Object};

impl Layout {
    /// Prepares for the metadata blocks from sequence number `from` on to leave the chain: those that are part of a layout
    /// are copied out of the chain file, so that roots made before stay whole for as long as they are pinned. Durable. Gives
    /// the laid out blocks that stay, for [`Self::take_place`].
    ///
    /// # Errors
    /// The chain or the index cannot be read, or the index not be written.
    pub(crate) fn keep_from(&self, dataset: &Dataset, from: u64) -> Result<Vec<Leaf>, LayoutError> {
        let mut same = Vec::new();
        let mut kept: Vec<Block> = Vec::new();
        for stored in dataset.blocks_after(None)? {
            let stored = stored?;
            let (_, raw) = import::leaf(&PROFILE, stored.block.bytes().clone())?;
            if !self.store.has(raw.cid())? {
                continue;
            }
            if stored.block.block().sequence_number < from {
                same.push(Leaf {
                    cid: *raw.cid(),
                    offset: stored.place.offset,
                    len: stored.place.len,
                });
            } else {
                kept.push(raw);
            }
            if kept.len() == BATCH {
                self.store.put_beside_files(&kept)?;
                kept.clear();
            }
        }
        self.store.put_beside_files(&kept)?;
        Ok(same)
    }

    /// Makes blocks of the slices and checkpoints that no block of the chain names, as roots of an earlier history need them.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub(crate) fn adopt_unnamed(&self, dataset: &Dataset) -> Result<(), LayoutError> {
        let mut paths = Vec::new();
        dataset.each_unnamed(&mut |path| {
            paths.push(path.to_owned());
        })?;
        self.content_of(dataset, &paths)
    }

    /// Makes blocks of slices and checkpoints as pinned roots of other formats than the current one have them, for an index that
    /// was made again. What is not there is passed over.
    ///
    /// # Errors
    /// The chain cannot be read, or the store failed.
    pub(crate) fn adopt_pinned(&self, dataset: &Dataset) -> Result<(), LayoutError> {
        let mut cuts = Vec::new();
        for pin in self.store.pins(Some(&dataset.id().to_string()))? {
            let root = self.store.get(&pin.cid)?;
            let number = root.and_then(|root| dag::value_at(&root, &["odf"]).ok());
            let Some(Ipld::Integer(number)) = number else { continue };
            let cut = Format::of_number(number).map(Format::cut);
            cuts.extend(cut.filter(|cut| *cut != Format::CURRENT.cut() && !cuts.contains(cut)));
        }
        let mut work = Work::new(self, dataset, Foresight::default());
        for cut in cuts {
            for stored in dataset.blocks_after(None)? {
                for object in Object::of(&stored?.block) {
                    let path = object.path(dataset.dir());
                    let made = match len_of(&path) {
                        // Cut alike in every format.
                        Ok(len) if len <= WHOLE_BYTES => continue,
                        Ok(len) => work.content(&path, len, cut).map(drop),
                        Err(error) => Err(error),
                    };
                    match made {
                        Err(LayoutError::Store(error)) => return Err(error.into()),
                        Err(error) => tracing::debug!(%error, "not made blocks of for older roots"),
                        Ok(()) => {}
                    }
                }
            }
        }
        work.flush_pending()
    }

    /// Makes blocks of files of the dataset that somebody else put in place again.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub(crate) fn adopt(&self, dataset: &Dataset, paths: &[PathBuf]) -> Result<(), LayoutError> {
        let mut before = Vec::new();
        for path in paths {
            let inside = path.strip_prefix(self.store.root());
            before.extend(
                self.store
                    .file_at(inside.map_err(|_| LayoutError::Outside(path.clone()))?)?,
            );
        }
        // What was known of the file that had the name says nothing of this one.
        self.store.forget_files(&before)?;
        self.content_of(dataset, paths)
    }

    fn content_of(&self, dataset: &Dataset, paths: &[PathBuf]) -> Result<(), LayoutError> {
        let mut work = Work::new(self, dataset, Foresight::default());
        for path in paths {
            work.every_content(path)?;
        }
        work.flush_pending()?;
        Ok(self.store.mark_complete(&work.walk, &work.nodes)?)
    }

    /// Makes blocks of the chain and of those slices and checkpoints that can be read, for a dataset that cannot be laid out
    /// as a whole: what other roots and peers need of it is served all the same. The store is told of each that is not.
    ///
    /// # Errors
    /// The chain cannot be read, or the store failed.
    pub(crate) fn adopt_what_is_there(&self, dataset: &Dataset) -> Result<(), LayoutError> {
        let mut work = Work::new(self, dataset, Foresight::default());
        let chain = work.register(&dataset.chain_path())?;
        for stored in dataset.blocks_after(None)? {
            let stored = stored?;
            let raw = import::hash_leaf(&PROFILE, stored.block.bytes())?;
            let (offset, len) = (stored.place.offset, stored.place.len);
            let part = Leaf {
                cid: raw.cid,
                offset,
                len,
            };
            self.store.put_references(chain, &[part])?;
            for object in Object::of(&stored.block) {
                let path = object.path(dataset.dir());
                match work.every_content(&path) {
                    Err(LayoutError::Store(error)) => return Err(error.into()),
                    Err(error) => self.store.skip(&path, error.to_string()),
                    Ok(()) => {}
                }
            }
        }
        work.flush_pending()
    }

    /// Puts the file `next` in the place of the chain file `chain`; `same` are the blocks that both hold at one place.
    /// False if the store knows nothing of `chain`, so that nothing was done.
    ///
    /// # Errors
    /// The store or the file system failed; either file may be in that place, none is lost.
    pub(crate) fn take_place(&self, next: &Path, chain: &Path, same: &[Leaf]) -> Result<bool, StoreError> {
        let root = self.store.root();
        let (Ok(next), Ok(chain)) = (next.strip_prefix(root), chain.strip_prefix(root)) else {
            return Ok(false);
        };
        if self.store.file_at(chain)?.is_none() {
            return Ok(false);
        }
        let file = self.store.add_file(next)?;
        self.store.put_references(file, same)?;
        self.store.rename_file(file, chain)?;
        Ok(true)
    }
}

impl Work<'_> {
    /// As [`Self::content`], for roots of every format.
    fn every_content(&mut self, path: &Path) -> Result<(), LayoutError> {
        let len = len_of(path)?;
        let cuts = if len > WHOLE_BYTES {
            &Cut::ALL[..]
        } else {
            &Cut::ALL[..1]
        };
        cuts.iter().try_for_each(|cut| self.content(path, len, *cut).map(drop))
    }
}
