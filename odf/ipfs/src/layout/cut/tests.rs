use proptest::prelude::*;

use super::*;

const KIB: u64 = 1 << 10;

/// Cuts a file of so many KiB whose chunks lie at these KiB.
fn cut(len: u64, chunks: &[(u64, u64)]) -> Vec<usize> {
    let chunks: Vec<Range<u64>> = chunks.iter().map(|(from, to)| from * KIB..to * KIB).collect();
    let lengths = at_chunks(len * KIB, &chunks);
    assert_eq!(lengths.iter().sum::<usize>() as u64, len * KIB);
    lengths.into_iter().map(|len| len / KIB as usize).collect()
}

#[test]
fn vectors_of_the_documentation() {
    // Chunk by chunk, and the footer.
    assert_eq!(cut(103, &[(0, 20), (20, 60), (60, 100)]), [20, 40, 40, 3]);
    // Short ones go with the next one, and at the end alone.
    assert_eq!(
        cut(103, &[(0, 40), (40, 41), (41, 48), (48, 90), (90, 95)]),
        [40, 8, 42, 5, 8]
    );
    // Long ones in equal parts.
    assert_eq!(cut(1003, &[(0, 600), (600, 1000)]), [200, 200, 200, 200, 200, 3]);
    assert_eq!(cut(520, &[(0, 256), (256, 513)]), [256, 128, 128, 7]);
    // What is between chunks goes with the next one, if it is short.
    assert_eq!(cut(101, &[(0, 30), (31, 60), (80, 100)]), [30, 30, 20, 20, 1]);
    // A long footer.
    assert_eq!(cut(700, &[(0, 100)]), [100, 200, 200, 200]);
}

#[test]
fn the_least_and_the_most_are_what_they_are_said_to_be() {
    let least = LEAST_BYTES;
    assert_eq!(at_chunks(100_000, &[0..least, least..90_000]), [8_192, 81_808, 10_000]);
    assert_eq!(at_chunks(100_000, &[0..least - 1, least - 1..90_000]), [90_000, 10_000]);
    let most = MOST_BYTES;
    assert_eq!(at_chunks(most + 1, &[0..1, 0..most]), [262_144, 1]);
    assert_eq!(at_chunks(most + 2, &[0..1, 0..most + 1]), [131_073, 131_072, 1]);
}

#[test]
fn what_is_short_or_no_parquet_file_is_cut_as_before() {
    for (len, cut) in Cut::ALL
        .into_iter()
        .flat_map(|cut| [(0, cut), (1, cut), (70_000, cut), (3 << 20, cut)])
    {
        assert_eq!(cut.of_bytes(&vec![7; len]).unwrap(), None);
    }
}

proptest! {
    #[test]
    fn leaves_are_the_file_and_neither_short_nor_long(
        edges in prop::collection::vec(0u64..3_000_000, 2..40),
        behind in 0u64..1_000_000,
    ) {
        let chunks: Vec<Range<u64>> = edges.windows(2).map(|two| two[0].min(two[1])..two[0].max(two[1])).collect();
        let last = chunks.iter().map(|chunk| chunk.end).max().unwrap_or(0);
        let lengths = at_chunks(last + behind, &chunks);
        prop_assert_eq!(lengths.iter().sum::<usize>() as u64, last + behind);
        prop_assert!(lengths.iter().all(|len| (1..=MOST_BYTES as usize).contains(len)));
        // Short ones are the one before the footer, and those of the footer.
        let (mut end, mut short) = (0, Vec::new());
        for len in lengths {
            end += len as u64;
            if (len as u64) < LEAST_BYTES {
                short.push(end);
            }
        }
        prop_assert!(short.iter().all(|end| *end >= last));
        // The footer begins a leaf.
        let mut begin = 0;
        let begins: Vec<u64> = at_chunks(last + behind, &chunks).iter().map(|len| { begin += *len as u64; begin }).collect();
        prop_assert!(last == 0 || begins.contains(&last));
    }
}
