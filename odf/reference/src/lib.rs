//! Datasets made by kamu, for the tests of the other crates.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests use this, and one that cannot go on has failed"
)]

use std::fs;
use std::path::PathBuf;

use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;

/// The datasets there are.
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
#[derive(Debug, Clone)]
pub struct Golden {
    /// Its name.
    pub name: &'static str,
    /// The directory with the dataset and with what kamu says of it.
    pub dir: PathBuf,
}

/// The root of the checkout whose tests run. Where cargo says the tested package is, not where this crate was when it
/// was built: clones that share a target directory share what is built in it.
pub fn repository() -> PathBuf {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let mut folders = package.ancestors();
    folders
        .find(|folder| folder.join("Cargo.lock").is_file())
        .unwrap()
        .to_path_buf()
}

/// All of them.
pub fn datasets() -> Vec<Golden> {
    let golden = repository().join("interop-tests/reference/golden");
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
    pub fn object(&self, path: &str) -> PathBuf {
        self.dir.join("dataset").join(path)
    }

    /// A text file beside the dataset directory.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// The head.
    pub fn head(&self) -> Multihash {
        fs::read_to_string(self.object("refs/head")).unwrap().parse().unwrap()
    }

    /// The chain, Seed first, read back from the head.
    pub fn blocks(&self) -> Vec<EncodedBlock> {
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
}
