//! Datasets made by kamu, for tests: `interop-tests/reference/golden` in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use crate::chain::ChainState;
use crate::codec::EncodedBlock;
use crate::dataset::{Dataset, Object};
use crate::metadata::Multihash;
use crate::workspace::Workspace;

/// The datasets there must be.
const NAMES: [&str; 8] = [
    "cities.changelog",
    "cities.snapshot",
    "cities.upsertstream",
    "counter.long",
    "earthquakes.usgs",
    "sensors.push",
    "weather.monthly",
    "weather.seattle",
];

/// One dataset made by kamu.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) dir: PathBuf,
}

/// All of them.
pub(crate) fn datasets() -> Vec<Golden> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop-tests/reference/golden");
    assert!(golden.is_dir(), "{} is missing", golden.display());
    NAMES
        .iter()
        .map(|name| Golden {
            name,
            dir: golden.join(name),
        })
        .collect()
}

impl Golden {
    /// A file of the dataset directory.
    pub(crate) fn object(&self, path: &str) -> PathBuf {
        self.dir.join("dataset").join(path)
    }

    /// A text file beside the dataset directory.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap()
    }

    pub(crate) fn head(&self) -> Multihash {
        fs::read_to_string(self.object("refs/head")).unwrap().parse().unwrap()
    }

    /// The chain, Seed first, read back from the head.
    pub(crate) fn blocks(&self) -> Vec<EncodedBlock> {
        let mut blocks = Vec::new();
        let mut next = Some(self.head());
        while let Some(hash) = next {
            let bytes = fs::read(self.object(&format!("blocks/{hash}"))).unwrap();
            let block = EncodedBlock::decode_checked(&hash, bytes).unwrap();
            next = block.block().prev_block_hash;
            blocks.push(block);
        }
        blocks.reverse();
        blocks
    }

    /// The dataset in a workspace, as a copy that came from elsewhere.
    pub(crate) fn receive(&self, workspace: &Workspace) -> Dataset {
        let blocks = self.blocks();
        let id = ChainState::begin(&blocks[0]).unwrap().dataset_id;
        let incoming = workspace.catalog().receive(id, &self.name.parse().unwrap()).unwrap();
        for object in Object::of_all(&blocks) {
            fs::copy(self.object(&object.to_string()), object.path(incoming.dir())).unwrap();
        }
        incoming.install(blocks, workspace.catalog().states()).unwrap()
    }
}
