//! Wantlists without end.

use super::{From, Stage};
use interop_tests::Outcome;

#[test]
#[ignore = "shows what is wrong"]
fn wantlists_without_end_do_not_slow_others() -> Outcome {
    let stage = Stage::new()?;
    for (attackers, full) in [(1, "0"), (8, "0"), (1, "1"), (8, "1")] {
        let _attackers = stage.attacked(&["wants", "--full", full], attackers, From::Many)?;
        stage.withstands(&format!("{attackers} attackers with wantlists, full {full}"))?;
    }
    Ok(())
}
