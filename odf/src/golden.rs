//! Datasets made by kamu, for tests: `<repository>/../shared/golden`, or wherever `ODFS_SHARED` says.

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

/// All of them. Without the folder: none, which is said, and an error under CI.
pub(crate) fn datasets() -> Vec<Golden> {
    let shared = std::env::var_os("ODFS_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let golden = shared.join("golden");
    if !golden.is_dir() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{} is missing",
            golden.display()
        );
        println!("skipped: no {}", golden.display());
        return Vec::new();
    }
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
