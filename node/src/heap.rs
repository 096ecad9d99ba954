//! What the allocator does with the memory of blocks.

use std::sync::Once;

/// The length of one allocation, given back at once: more than a message of Bitswap has.
const LARGEST: usize = 5 << 20;

/// Has freed memory kept for the next block, once blocks come or go in numbers.
///
/// glibc maps an allocation of 128 KiB and more by itself, and gives what is free at the end of a heap back to the kernel
/// when it is as much, which then faults in and zeroes each page of the next block again: a fifth of what a transfer costs.
/// It goes by the largest that it saw freed, and keeps twice that (mallopt(3), M_MMAP_THRESHOLD); so it is shown one. Other
/// allocators do not mind. Not at the start, since what programs free then is not needed again.
pub(crate) fn keep_freed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST))));
}
