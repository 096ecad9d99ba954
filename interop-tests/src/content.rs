//! Bytes that do not compress and hold no chunk twice, the same for the same seed.

use crate::Outcome;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// `len` bytes in memory.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut words = words(seed);
    let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
    while bytes.len() < len {
        bytes.extend_from_slice(&words());
    }
    bytes.truncate(len);
    bytes
}

/// A file of `size` bytes.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, size: u64, seed: u64) -> Outcome {
    let mut words = words(seed);
    let mut out = BufWriter::new(File::create(path)?);
    let mut left = size;
    while left > 0 {
        let word = words();
        let taken = if left < 8 { &word[..left as usize] } else { &word[..] };
        out.write_all(taken)?;
        left -= taken.len() as u64;
    }
    Ok(out.flush()?)
}

/// xorshift64*: fast, and good enough for content that only has to differ.
fn words(seed: u64) -> impl FnMut() -> [u8; 8] {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    }
}
