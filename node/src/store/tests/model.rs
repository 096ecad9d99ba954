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
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_keeps_its_promises(history in proptest::collection::vec(any::<u8>(), 0..160)) {
        model::run(&history);
    }
}
