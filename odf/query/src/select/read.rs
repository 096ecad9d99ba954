//! How much queries have read.

use std::sync::atomic::{AtomicU64, Ordering};

/// What queries have read of slices.
#[derive(Debug, Default)]
pub struct Read {
    bytes: AtomicU64,
    wanted: AtomicU64,
}

impl Read {
    /// Bytes of footers and columns that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all slices that the queries might look into.
    pub fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn want(&self, bytes: u64) {
        self.wanted.fetch_add(bytes, Ordering::Relaxed);
    }
}
