//! Connections that nobody needs.

use super::{From, Stage};
use interop_tests::Outcome;

#[test]
#[ignore = "shows what is wrong"]
fn idle_strangers_of_one_address_do_not_keep_others_out() -> Outcome {
    let stage = Stage::new()?;
    let _attackers = stage.attacked(&["idle", "--connections", "100"], 1, From::One)?;
    stage.withstands("100 idle connections of one address")
}

#[test]
#[ignore = "shows what is wrong"]
fn idle_strangers_of_many_addresses_do_not_keep_others_out() -> Outcome {
    let stage = Stage::new()?;
    let _attackers = stage.attacked(&["idle", "--connections", "20"], 8, From::Many)?;
    stage.withstands("160 idle connections of eight addresses")
}
