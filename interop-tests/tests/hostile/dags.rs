//! What strangers give: DAGs that nobody should have to walk through.

use super::Stage;
use interop_tests::process::{Running, run};
use interop_tests::workspace::LIMIT;
use interop_tests::{Outcome, http};
use std::time::{Duration, Instant};

/// What a node may have resident, whatever it is given.
const MEMORY: u64 = 300 << 20;
/// How long somebody who asks for such a thing waits for an answer, or a refusal.
const ANSWERED: Duration = Duration::from_secs(20);

/// Asks the gateway, as a page would, while others are measured; what it says of each root, or nothing if it took too long.
fn ask(gateway: &str, roots: &[String], end: &str, range: &str) -> Outcome<Vec<u16>> {
    let mut statuses = Vec::new();
    for root in roots {
        let began = Instant::now();
        let answer = http::get(&format!("{gateway}/ipfs/{root}{end}"), &[("Range", range)])?;
        let took = began.elapsed();
        assert!(took < ANSWERED, "{root}: {took:?}");
        assert!(answer.body.len() < 64 << 20, "{root}: {} bytes", answer.body.len());
        statuses.push(answer.status);
    }
    Ok(statuses)
}

#[test]
fn directories_and_files_without_an_end_are_walked_no_further_than_one_asks() -> Outcome {
    for (kind, end, range, expected) in [
        ("hamt", "/", "bytes=0-99", 502),
        ("shards", "/", "bytes=0-99", 200),
        ("tower", "", "bytes=0-8", 502),
        ("fan", "", "bytes=999999999999-1000000000098", 206),
    ] {
        for count in [1, 8] {
            let stage = Stage::new()?;
            let attackers = stage.givers(kind, count)?;
            let roots = attackers.1.clone();
            let gateway = stage.node.gateway.clone();
            let asking =
                std::thread::spawn(move || ask(&gateway, &roots, end, range).map_err(|failure| failure.to_string()));
            stage.withstands(&format!("{count} who give: {kind}"))?;
            let statuses = asking.join().map_err(|_| "asking panicked")??;
            assert!(
                statuses.iter().all(|status| *status == expected),
                "{kind}: {statuses:?}"
            );
            let memory = stage.memory()?;
            assert!(memory <= MEMORY, "{kind}: {} MiB", memory >> 20);
        }
    }
    Ok(())
}

#[test]
fn whoever_pins_such_a_thing_has_it_or_is_told_why_not() -> Outcome {
    let stage = Stage::new()?;
    for kind in ["hamt", "shards", "fan", "tower"] {
        let attackers = stage.givers(kind, 1)?;
        let [root] = attackers.1.as_slice() else {
            return Err("one root".into());
        };
        let pinned = run(stage.workspace.command(["ipfs", "pin", "add", root])?, LIMIT)?.success()?;
        interop_tests::peers::note(&format!("pin of {kind}: {:.2} s", pinned.took.as_secs_f64()));
        assert!(stage.memory()? <= MEMORY);
    }
    let attackers = stage.givers("fan", 1)?;
    let [root] = attackers.1.as_slice() else {
        return Err("one root".into());
    };
    let refused = run(stage.workspace.command(["ipfs", "get", root])?, LIMIT)?.refusal()?;
    assert_eq!(refused.code(), Some(12));
    assert!(refused.stderr.contains("are free on its disk"), "{}", refused.stderr);
    stage.withstands("after such things were pinned")
}

impl Stage {
    /// Peers that give a DAG of this kind each, and its root.
    fn givers(&self, kind: &str, count: u8) -> Outcome<(Vec<Running>, Vec<String>)> {
        let (mut givers, mut roots) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let from = format!("127.{}.0.1", 65 + number);
            let mut command = self.program(&["dags", "--kind", kind, "--seed", &number.to_string()]);
            command.args(["--from", &from]);
            let mut giver = Running::start(command)?;
            roots.push(giver.wait_for(LIMIT, |said| {
                Some(said.strip_prefix("ready ")?.split_once('\n')?.0.to_owned())
            })?);
            givers.push(giver);
        }
        Ok((givers, roots))
    }
}
