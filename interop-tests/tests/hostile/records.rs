//! Records that nobody needs.

use super::{From, Stage};
use interop_tests::Outcome;
use interop_tests::process::run;
use interop_tests::workspace::LIMIT;
use serde_json::Value;

/// More than the node has at the start, in MiB: its record store when it is full, twice over for what the allocator makes of it.
const MEMORY_MIB: u64 = 80;

impl Stage {
    /// What an honest peer does at the DHT, from an address of its own, and prints.
    fn honest(&self, args: &[&str]) -> Outcome<Value> {
        let mut command = self.program(args);
        command.args(["--from", "127.99.0.1"]);
        let done = run(command, LIMIT)?.success()?;
        Ok(if args.first() == Some(&"provides") {
            Value::Null
        } else {
            done.json()?
        })
    }

    /// Whether a new name that is put now is confirmed if and only if it is there, and that it is.
    fn publishes(&self, what: &str) -> Outcome {
        let said = self.honest(&["publishes"])?;
        if said["confirmed"] != said["kept"] || said["kept"] != true {
            return Err(format!("{what}: a new name was put: {said}").into());
        }
        Ok(())
    }
}

#[test]
fn provider_records_of_strangers_do_not_push_out_others() -> Outcome {
    let stage = Stage::new()?;
    let memory = stage.memory()? >> 20;
    stage.honest(&["provides", "--key", "honest"])?;
    for (count, from) in [(1, From::One), (8, From::Many)] {
        let _attackers = stage.attacked(&["providers", "--count", "4000"], count, from)?;
        let what = format!("{count} attackers with provider records without end");
        stage.withstands(&what)?;
        // Who comes while it lasts is heard as well.
        let late = format!("late{count}");
        stage.honest(&["provides", "--key", &late])?;
        for key in ["honest", &late] {
            let found = stage.honest(&["holders", "--key", key])?;
            assert_eq!(found["holders"], 1, "{what}: {key}");
        }
        stage.publishes(&what)?;
    }
    let grown = (stage.memory()? >> 20) - memory;
    assert!(grown < MEMORY_MIB, "grown by {grown} MiB");
    Ok(())
}

#[test]
fn signed_records_of_fresh_names_do_not_push_out_others() -> Outcome {
    let stage = Stage::new()?;
    stage.publishes("before")?;
    for (count, from) in [(1, From::One), (8, From::Many)] {
        let _attackers = stage.attacked(&["names", "--connections", "2", "--count", "300"], count, from)?;
        let what = format!("{count} attackers with fresh names");
        stage.withstands(&what)?;
        stage.publishes(&what)?;
    }
    Ok(())
}

#[test]
fn lies_about_addresses_huge_keys_and_questions_cost_others_nothing() -> Outcome {
    let stage = Stage::new()?;
    let memory = stage.memory()? >> 20;
    for args in [
        &["providers", "--count", "2000", "--addresses", "1000"][..],
        &["providers", "--count", "2000", "--addresses", "30", "--lies", "1"],
        &["providers", "--count", "500", "--key-bytes", "100000"],
        &["questions", "--count", "4000"],
    ] {
        let _attackers = stage.attacked(args, 2, From::Many)?;
        stage.withstands(&args.join(" "))?;
        stage.publishes(&args.join(" "))?;
    }
    let grown = (stage.memory()? >> 20) - memory;
    assert!(grown < MEMORY_MIB, "grown by {grown} MiB");
    Ok(())
}
