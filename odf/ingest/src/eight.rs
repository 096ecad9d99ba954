//! Looking for bytes in text, eight at a time.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Where the first byte at `at` or behind it is that `marks` finds; the end of `bytes` if there is none.
///
/// `marks` gets eight bytes, the first as the lowest, and answers as [`equal`] and [`below`] do, or with what several of
/// these say together.
pub(super) fn first(bytes: &[u8], mut at: usize, marks: impl Fn(u64) -> u64) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = marks(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let mut eight = [0; 8];
    for (byte, rest) in eight.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *byte = *rest;
    }
    // What is found behind the end is the end. Where nothing is found there are 64 zeros.
    let found = marks(u64::from_le_bytes(eight));
    (at + (found.trailing_zeros() / 8) as usize).min(bytes.len())
}

/// The highest bit of the lowest of eight bytes that is `byte`, whatever the bits above it; 0 if none is.
pub(super) fn equal(eight: u64, byte: u8) -> u64 {
    below(eight ^ (ONES * u64::from(byte)), 1)
}

/// The highest bit of the lowest of eight bytes that is less than `limit`, which is at most 128; 0 if none is.
pub(super) fn below(eight: u64, limit: u8) -> u64 {
    // What a byte that is less borrows changes only the bytes above it.
    eight.wrapping_sub(ONES * u64::from(limit)) & !eight & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_is_found_is_the_first(
            bytes in prop::collection::vec(prop_oneof![0..=3u8, 0x1f..=0x23u8, 0x7f..=0x82u8, any::<u8>()], 0..30),
            at in 0..30usize,
            wanted in any::<u8>(),
            limit in 0..=128u8,
        ) {
            let at = at.min(bytes.len());
            for byte in [wanted, 0, 0x21, 0x80, 0xff] {
                let found = first(&bytes, at, |eight| equal(eight, byte) | below(eight, limit));
                let is = |each: &u8| *each == byte || *each < limit;
                prop_assert_eq!(found, at + bytes[at..].iter().position(is).unwrap_or(bytes.len() - at));
            }
        }
    }
}
