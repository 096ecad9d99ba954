//! Bitswap: wantlists without end, peers that take nothing, and what nobody asked for.

use super::{From, Stage};
use interop_tests::Outcome;

/// What `args` say is borne from one attacker and from eight.
fn borne(stage: &Stage, args: &[&str]) -> Outcome {
    for count in [1, 8] {
        let _attackers = stage.attacked(args, count, From::Many)?;
        stage.withstands(&format!("{count} x {}", args.join(" ")))?;
    }
    Ok(())
}

#[test]
fn wantlists_without_end_do_not_slow_others() -> Outcome {
    let stage = Stage::new()?;
    borne(&stage, &["wants"])?;
    borne(&stage, &["wants", "--full", "1"])?;
    // As many as a ledger takes, so that nothing is cut; and single ones.
    borne(&stage, &["wants", "--entries", "1024", "--full", "1"])?;
    borne(&stage, &["wants", "--entries", "1"])?;
    borne(&stage, &["wants", "--kind", "cancels"])?;
    borne(&stage, &["wants", "--kind", "churn", "--entries", "1000"])
}

#[test]
fn who_takes_nothing_does_not_slow_others() -> Outcome {
    let stage = Stage::new()?;
    let root = stage.root.clone();
    borne(&stage, &["takers", "--root", &root, "--small", "1", "--reads", "0"])?;
    borne(&stage, &["takers", "--root", &root, "--reads", "0"])
}

#[test]
fn who_takes_all_takes_no_more_than_its_turns() -> Outcome {
    let stage = Stage::new()?;
    let root = stage.root.clone();
    for count in [1, 8] {
        let args = ["takers", "--root", &root, "--small", "1"];
        let _takers = stage.attacked(&args, count, From::Many)?;
        stage.withstands_in_turns(&format!("{count} who are served without a pause"), 1 + count)?;
    }
    Ok(())
}

#[test]
fn what_nobody_asked_for_does_not_slow_others() -> Outcome {
    let stage = Stage::new()?;
    for what in ["blocks", "tiny", "large", "frames", "haves"] {
        borne(&stage, &["blocks", "--what", what])?;
    }
    borne(&stage, &["halves"])
}
