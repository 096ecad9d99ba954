//! The part of a file that was taken, as the chain has it.

use odf_metadata::{DEFAULT_SOURCE, Multihash, SourceState};

use super::marks::SHA2_256;
use crate::source::Format;

/// `kind` of the source state.
pub const STATE_KIND: &str = "odfs/prefix";

/// The part of a file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Format the bytes were read as.
    pub format: Format,
    /// How many bytes.
    pub length: u64,
    /// sha2-256 of them.
    pub hash: Multihash,
}

impl Taken {
    /// The form that goes into the chain.
    pub fn to_state(&self) -> SourceState {
        SourceState {
            source_name: DEFAULT_SOURCE.to_owned(),
            kind: STATE_KIND.to_owned(),
            value: format!("{} {} {}", self.format, self.length, self.hash),
        }
    }

    /// Reads a state back; none if it is of another kind or nothing this program wrote.
    pub fn from_state(state: &SourceState) -> Option<Taken> {
        if state.kind != STATE_KIND || state.source_name != DEFAULT_SOURCE {
            return None;
        }
        let mut words = state.value.split(' ');
        let format = Format::ALL
            .into_iter()
            .find(|f| Some(f.name()) == words.clone().next())?;
        words.next();
        let length = words.next()?.parse().ok()?;
        let hash: Multihash = words.next()?.parse().ok()?;
        (words.next().is_none() && hash.code() == SHA2_256).then_some(Taken { format, length, hash })
    }
}
