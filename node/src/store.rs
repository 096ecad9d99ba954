//! Where blocks live: an index in sled and sorted files, bytes in packs and in the files they belong to.
//!
//! Goals, in this order:
//! 1. bytes that are not what their CID says are never given out;
//! 2. what is pinned and was whole stays whole, and what a flush spoke of is there after a crash or a power cut;
//! 3. one damaged item costs that item, never the store;
//! 4. bytes that have a file of their own are not stored twice;
//! 5. speed: an import runs at the speed of hashing, opening costs what was left unflushed.
//!
//! Not goals: large values in sled, many processes on one store, file systems without links or positional writes, and
//! keeping what nobody pinned.
//!
//! **Who owns what.** The files of a workspace are the truth and sled is a cache of it that may be ahead or behind:
//! packs (`packs/*.pack`) have the bytes of blocks without a file, the journal (`packs/pins`) has the pins, the witness
//! (`packs/synced`) has what is known to be on the medium, and registered files belong to whoever registered them, who
//! can register them again. Everything but sled's own files is written through one [`Disk`](odf_disk::Disk), which tests
//! can watch, stop and cut; a sync that fails poisons it, and nothing more is written until the store is opened again.
//!
//! **What may be lost on a sudden stop.** After [`Store::flush`] returned: nothing that was put, written, referred to,
//! pinned, unpinned, marked or set before it was called. Without a flush: blocks put to packs are there if their bytes
//! reached the medium whole, since opening reads what lies behind the last sync of the packs; parts of files likewise, if
//! the index still knows of them; pins and tables are as of some moment since the last flush. A rename of files
//! ([`Store::rename_files`]) and a removal are durable when they return, and a file never has its new name before its
//! content is on the medium.
//!
//! **What a rebuild of the index cannot bring back.** Blocks and pins come back from packs and journal, parts of files
//! when their owner registers them. What lives in tables ([`Store::table`]) does not: names that are followed, the
//! schedule of provider records and of re-publishing, positions of layouts. Whoever keeps something there can do without
//! it or make it again.
//!
//! [`Blocks`] is what the exchange, the gateway and DAG code need of a store. [`Store`] is the durable one, and
//! [`MemoryStore`] the one for tests and throw-away peers; one contract test runs on both. Blocks are keyed by the
//! multihash of their CID, so the same bytes under two codecs are one entry; what a block links to depends on the codec,
//! so pins are followed by CID.
//!
//! The files of this module use each other one way only, each those that come before it: ground (`error`, `place`,
//! `blocks`, `group_commit`, `gate`, `away`, `stats`, `uses`, `handles`, `reserve`, `met`), what stands on the disk (`guard`, `numbers`,
//! `witness`, `table`, `run`, `merged`, `tiers`, `index`, `registered`, `record`, `pack`, `pins`, `due`), the open store
//! (`state`) and one block of it (`content`), then `flush`, `complete`, `files`, `reach`, `budget`, `names`, `compact`, `check`, `gc`, `recover`
//! and `open`.

mod away;
mod blocks;
mod budget;
mod check;
mod compact;
mod complete;
mod content;
mod due;
mod error;
mod files;
mod flush;
mod gate;
mod gc;
mod group_commit;
mod guard;
mod handles;
mod index;
mod memory;
mod merged;
mod met;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod names;
mod numbers;
mod open;
mod pack;
mod pins;
mod place;
mod reach;
mod record;
mod recover;
mod registered;
mod reserve;
mod run;
mod state;
mod stats;
mod table;
mod tiers;
mod uses;
mod witness;

pub use blocks::Blocks;
pub use budget::Survey;
pub use check::{Bad, Checked, MAX_TOLD};
pub use complete::Walk;
pub use error::StoreError;
pub use files::MAX_PATH_BYTES;
pub use gate::Hold;
pub use gc::{GcReport, GivenUp, MAX_REMOVED_NAMED};
pub use memory::MemoryStore;
pub(crate) use met::Visited;
pub use pins::{MAX_OWNER_BYTES, MAX_PIN_NAME_BYTES, PARTIAL_OWNER, Pin};
pub use place::{FileId, Leaf};
pub use reach::{LinksError, Missing};
pub use state::{Skipped, Store, StoreOptions};
pub use stats::StoreStats;
pub use table::{Change, MAX_KEY_BYTES, MAX_VALUE_BYTES, Table};

#[cfg(test)]
mod tests;
