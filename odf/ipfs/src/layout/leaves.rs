//! Which leaf of the published DAG stands for which bytes of a slice or checkpoint.

use odf_node::block::Cid;
use odf_node::store::{Blocks as _, StoreError};
use odf_node::unixfs::directory;
use odf_node::unixfs::export::{Part, open};

use super::{Layout, LayoutError};
use odf_metadata::{DatasetId, Multihash};

/// One leaf of a file: an IPLD block that is nothing but content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLeaf {
    /// The block.
    pub cid: Cid,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many there are; `None` for the only leaf of a file, which is the whole file.
    pub len: Option<u64>,
}

impl Layout {
    /// The leaves of the slice or checkpoint with this physical hash, in the order of the file, as the dataset's last
    /// layout has them. Reads the nodes above them, never the file. `None` if the dataset was not laid out with it.
    ///
    /// # Errors
    /// The store cannot be read, or a node in it is not what it must be.
    pub fn leaves(&self, id: &DatasetId, physical_hash: &Multihash) -> Result<Option<Vec<FileLeaf>>, LayoutError> {
        let Some(root) = self.latest(id)? else {
            return Ok(None);
        };
        let name = physical_hash.to_string();
        for directory in [root.data.cid, root.checkpoints.cid] {
            let found = directory::lookup(&directory, &name, &mut |cid| self.node(cid))?;
            if let Some(link) = found {
                return self.leaves_below(link.cid).map(Some);
            }
        }
        Ok(None)
    }

    fn leaves_below(&self, file: Cid) -> Result<Vec<FileLeaf>, LayoutError> {
        let mut leaves = Vec::new();
        // The next part last, so that leaves come in order.
        let mut parts = vec![Part::root(file)];
        while let Some(part) = parts.pop() {
            if part.is_raw() {
                leaves.push(FileLeaf {
                    cid: part.cid,
                    offset: part.offset,
                    len: part.size,
                });
                continue;
            }
            let opened =
                open(&part, &self.node(&part.cid)?).map_err(|error| LayoutError::Directory(error.to_string()))?;
            parts.extend(opened.children.into_iter().rev());
        }
        Ok(leaves)
    }

    pub(super) fn node(&self, cid: &Cid) -> Result<odf_node::block::Block, LayoutError> {
        let missing = || LayoutError::Directory(format!("node {cid} is not here"));
        self.store
            .get(cid)
            .map_err(|error: StoreError| LayoutError::from(error))?
            .ok_or_else(missing)
    }
}
