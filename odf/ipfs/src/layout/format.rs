//! The forms that a published DAG has, told apart by the number `odf` in its root (`docs/formats.md`).
//!
//! Formats 1 and 2 differ in their directories alone, 2 and 3 in where slices are cut into leaves. A dataset goes over to
//! another one without reading what is cut alike in both.

use super::cut::Cut;
use odf_node::unixfs::{Fanout, Profile, UNIXFS_V1_2025};
use serde::{Deserialize, Serialize};

/// UnixFS profile of the files of everything published. In format 3 the chunks of slices have other lengths.
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
    /// As format 2, and slices are cut at the edges of their column chunks, so that a query can pass over what it does not need.
    Three,
}

impl Format {
    /// What is written, unless a root of another form is to be reproduced.
    pub const CURRENT: Self = Self::Three;

    /// The number `odf` in the root.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    /// The format with this number, if it is known here.
    pub fn of_number(number: i128) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            3 => Some(Self::Three),
            _ => None,
        }
    }

    /// UnixFS profile of the directories.
    pub fn directories(self) -> Profile {
        match self {
            Self::One => PROFILE,
            Self::Two | Self::Three => Profile {
                name: "odf-2",
                // Eight entries that are named by a hash fit into one node, nine do not.
                shard_above: 1024,
                fanout: Fanout::EIGHT,
                ..PROFILE
            },
        }
    }

    /// How slices and checkpoints are cut into leaves.
    pub fn cut(self) -> Cut {
        match self {
            Self::One | Self::Two => Cut::Fixed,
            Self::Three => Cut::Chunks,
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
