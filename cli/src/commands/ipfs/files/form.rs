//! What decides the CIDs of files and directories that are made.

use clap::Args;
use odf_node::unixfs::{KUBO_CIDV1, Profile, UNIXFS_V0_2015};

/// What decides the CIDs of what is made.
#[derive(Args, Debug)]
pub(crate) struct Form {
    /// Version of the CIDs, 0 or 1
    #[arg(long, visible_alias = "cid-ver", value_parser = clap::value_parser!(u8).range(0..=1), value_name = "VERSION")]
    cid_version: Option<u8>,
    /// Hash function; CIDs have version 1 then
    #[arg(long, value_parser = ["sha2-256"], value_name = "HASH")]
    hash: Option<String>,
}

impl Form {
    /// What was asked for.
    pub(super) fn asked(&self) -> Option<Profile> {
        match (self.cid_version, &self.hash) {
            (None, None) => None,
            (Some(0), None) => Some(UNIXFS_V0_2015),
            _ => Some(KUBO_CIDV1),
        }
    }

    /// What is made where nothing is asked for, too.
    pub(super) fn profile(&self) -> Profile {
        self.asked().unwrap_or(UNIXFS_V0_2015)
    }
}
