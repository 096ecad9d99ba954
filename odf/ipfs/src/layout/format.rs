//! The forms that a published DAG has, told apart by the number `odf` in its root (`docs/formats.md`).
//!
//! They differ in their directories alone: chain nodes, leaves and the nodes above leaves are the same in both, so a
//! dataset goes over from one to the other without reading its slices.

use odf_node::unixfs::{Fanout, Profile, UNIXFS_V1_2025};
use serde::{Deserialize, Serialize};

/// UnixFS profile of the files of everything published.
pub const PROFILE: Profile = UNIXFS_V1_2025;

/// The form of a published DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Format {
    /// Directories are those of [`PROFILE`], so that `files` is what adding an export gives. Each append writes directories
    /// of up to 256 KiB anew, or nodes of 256 entries.
    One,
    /// Directories are sharded from a few entries on into nodes of eight, so that an append costs few bytes.
    Two,
}

impl Format {
    /// What is written, unless a root of another form is to be reproduced.
    pub const CURRENT: Self = Self::Two;

    /// The number `odf` in the root.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The format with this number, if it is known here.
    pub fn of_number(number: i128) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    /// UnixFS profile of the directories.
    pub fn directories(self) -> Profile {
        match self {
            Self::One => PROFILE,
            Self::Two => Profile {
                name: "odf-2",
                // Eight entries that are named by a hash fit into one node, nine do not.
                shard_above: 1024,
                fanout: Fanout::EIGHT,
                ..PROFILE
            },
        }
    }

    /// What layouts are that were remembered before there was a second format.
    pub(super) fn first() -> Self {
        Self::One
    }
}

impl From<Format> for u8 {
    fn from(format: Format) -> Self {
        format.number()
    }
}

impl TryFrom<u8> for Format {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::of_number(number.into()).ok_or_else(|| format!("{number} is no format that is known here"))
    }
}
