//! Helia: a script that fetches one path from one peer; and another that works over Kubo's RPC.

use crate::Outcome;
use crate::peers::{ODFS_HELIA_DIR, ODFS_HELIA_NODE, installed};
use crate::process::{Finished, run};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long the script may take, start of Node included.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the script gives the network, in milliseconds.
const NETWORK_MILLISECONDS: &str = "40000";

/// An installed Helia.
pub struct Helia {
    node: PathBuf,
    dir: PathBuf,
}

impl Helia {
    /// The installed Helia, or nothing when it is not installed and need not be; then the test has been reported as
    /// skipped.
    ///
    /// # Errors
    /// Helia is required and missing.
    pub fn find() -> Outcome<Option<Self>> {
        let Some(node) = installed(ODFS_HELIA_NODE)? else {
            return Ok(None);
        };
        let Some(dir) = installed(ODFS_HELIA_DIR)? else {
            return Ok(None);
        };
        Ok(Some(Self { node, dir }))
    }

    /// Works over Kubo's RPC at `url` as programs in JavaScript do; prints what came back, as JSON.
    ///
    /// # Errors
    /// As for [`Helia::fetch`].
    pub fn work_over_rpc(&self, url: &str) -> Outcome<Finished> {
        let mut command = Command::new(&self.node);
        command.current_dir(&self.dir).args(["rpc.mjs", url]);
        run(command, LIMIT)
    }

    /// Fetches `/ipns/NAME/…` or `/ipfs/CID/…` from the peer at `address`, dialling nobody else.
    ///
    /// # Errors
    /// The script cannot be started or does not end. Its exit code is the caller's to look at.
    pub fn fetch(&self, address: &str, path: &str) -> Outcome<Finished> {
        self.fetch_as("Ed25519", address, path)
    }

    /// As [`Helia::fetch`], by a peer whose key is of this type: `Ed25519`, `secp256k1` or `RSA`.
    ///
    /// # Errors
    /// As for [`Helia::fetch`].
    pub fn fetch_as(&self, key: &str, address: &str, path: &str) -> Outcome<Finished> {
        let mut command = Command::new(&self.node);
        command
            .current_dir(&self.dir)
            .args(["fetch.mjs", address, path, NETWORK_MILLISECONDS, key]);
        run(command, LIMIT)
    }
}
