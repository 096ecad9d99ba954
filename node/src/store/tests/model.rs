//! Histories of the store against its model.

use proptest::prelude::*;

use super::super::model;

/// How many histories are run, unless `ODFS_HISTORIES` says otherwise.
const HISTORIES: u32 = 64;

fn histories() -> u32 {
    let wanted = std::env::var("ODFS_HISTORIES").ok();
    wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(HISTORIES)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: histories(),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_keeps_its_promises(history in proptest::collection::vec(any::<u8>(), 0..160)) {
        model::run(&history);
    }
}

/// Histories that broke a promise once, of the store or of the model.
#[test]
fn histories_that_went_wrong_once() {
    let histories: [&[u8]; 9] = [
        // The first word of a flush could not be written outside the index, and then the index is gone.
        &[
            176, 0, 0, 0, 12, 0, 0, 0, 202, 15, 0, 248, 0, 0, 0, 248, 7, 0, 0, 184, 0, 0, 0, 82, 30, 0, 139, 84, 33,
            81, 129, 37, 125, 11, 234, 14, 80, 125, 43, 227,
        ],
        // A file whose name was lost is no place for a block that is put later.
        &[
            86, 0, 90, 0, 0, 210, 0, 0, 8, 0, 0, 0, 80, 200, 142, 234, 0, 83, 152, 115, 178, 14, 0, 175, 23, 0,
        ],
        // A file comes under a name that another one lost by a rename which only the index of before does not know of.
        &[
            77, 6, 0, 107, 0, 2, 0, 0, 83, 87, 0, 0, 0, 0, 170, 29, 223, 108, 8, 61, 143, 24, 53, 125, 0, 56, 0, 0, 0,
            16, 0, 104, 46,
        ],
        // The same block twice in a file, and only the one that was written last is torn.
        &[
            0, 0, 0, 0, 0, 22, 0, 1, 10, 0, 0, 35, 201, 0, 0, 80, 0, 0, 16, 83, 116, 0, 8, 119, 32, 137, 22, 0, 27, 0,
            125, 88, 0, 0, 56, 89, 2, 108, 76, 60, 16, 120, 120, 208, 151, 1, 57, 69,
        ],
        // A block in a pack that nothing pins comes to lie in a file too, and goes from the pack before the file is synced.
        &[
            0, 0, 0, 0, 11, 0, 163, 94, 0, 0, 102, 237, 210, 5, 0, 8, 32, 0, 9, 19, 0, 1, 7, 0, 104, 21, 0, 0, 55, 0,
            0, 0, 1, 93, 191,
        ],
        // The same block twice in a file; a write over one of them had reached into the other.
        &[
            19, 59, 0, 8, 8, 0, 32, 0, 0, 0, 203, 0, 184, 150, 155, 1, 34, 106, 0, 140, 93, 13, 2, 34, 0, 0, 28, 0, 1,
            215, 227, 0, 254, 33, 218, 75, 141, 80, 241, 101, 31, 99,
        ],
        // A directory is made, and the process ends before the one above it is synced.
        &[
            1, 179, 32, 0, 90, 76, 74, 178, 59, 0, 172, 190, 8, 1, 18, 0, 0, 77, 104, 44, 71, 0, 45, 48, 0, 82, 0,
        ],
        // A pin is taken away, a file takes the place of the one that held its root, and the pin is made again.
        &[
            214, 48, 1, 210, 5, 0, 88, 32, 72, 31, 200, 65, 11, 120, 141, 3, 73, 0, 0, 247, 34, 220, 47, 13, 114, 22,
            181,
        ],
        // A rename is done, and cannot be written down.
        &[
            107, 0, 24, 160, 8, 0, 50, 178, 0, 124, 142, 2, 121, 125, 83, 28, 0, 16, 0, 0, 78, 13, 203, 184,
        ],
    ];
    histories.into_iter().for_each(model::run);
}
