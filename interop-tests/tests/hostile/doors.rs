//! Clients of the gateway and the repository that leave things undone.

use super::{From, GATEWAY, Stage};
use interop_tests::peers::note;
use interop_tests::{Outcome, Workspace, http};
use std::time::Instant;

/// How long a newcomer may take for a pull of what the stage serves, on a busy machine; quiet it is some 0.2 s.
const PULL: std::time::Duration = std::time::Duration::from_secs(20);

/// The most memory of the node, in MiB: 320 clients that take nothing hold 64 blocks and 64 ahead.
const MOST_MIB: u64 = 400;

impl Stage {
    fn address(&self) -> &str {
        self.node.gateway.trim_start_matches("http://")
    }

    /// The path of the one slice at the gateway, and at the repository.
    fn slice(&self) -> Outcome<(String, String)> {
        let page = http::get(&format!("{}/ipfs/{}/data/", self.node.gateway, self.root), &[])?.text();
        let hash = page
            .split("/data/")
            .find_map(|rest| rest.split('"').next().filter(|name| name.starts_with("f1620")))
            .ok_or("no slice is listed")?
            .to_owned();
        Ok((
            format!("/ipfs/{}/data/{hash}", self.root),
            format!("/readings/data/{hash}"),
        ))
    }

    /// Attackers of one kind, and what others notice: the gateway within its time, and a newcomer who pulls.
    fn at_the_doors(&self, how: &str, path: &str, count: &str, attackers: u8) -> Outcome {
        let args = [
            "http",
            "--gateway",
            self.address(),
            "--how",
            how,
            "--path",
            path,
            "--count",
            count,
        ];
        let _attackers = self.attacked(&args, attackers, From::Many)?;
        let what = format!("{attackers} x {count} clients, {how}");
        self.withstands(&what)?;
        let mib = self.memory()? >> 20;
        if mib > MOST_MIB {
            return Err(format!("{what}: {mib} MiB of memory").into());
        }
        for path in [
            format!("/ipfs/{}/refs/head", self.root),
            "/readings/refs/head".to_owned(),
        ] {
            let started = Instant::now();
            let answer = http::get(&format!("{}{path}", self.node.gateway), &[])?;
            let took = started.elapsed();
            note(&format!("{what}: {path:.16} {:.1} ms", took.as_secs_f64() * 1e3));
            if answer.status != 200 || took > GATEWAY {
                return Err(format!("{what}: {path} took {took:?}, {}: {}", answer.status, answer.text()).into());
            }
        }
        let started = Instant::now();
        let newcomer = Workspace::new()?;
        newcomer.odfs(["pull", &format!("odf+{}/readings", self.node.gateway)])?;
        let took = started.elapsed();
        note(&format!("{what}: a newcomer pulls in {:.2} s", took.as_secs_f64()));
        if took > PULL {
            return Err(format!("{what}: a newcomer pulls in {took:?}").into());
        }
        Ok(())
    }
}

#[test]
fn clients_who_leave_things_undone_are_in_nobodys_way() -> Outcome {
    let stage = Stage::new()?;
    let (gateway, repository) = stage.slice()?;
    for (how, path, one, each) in [
        ("half", "/", "1100", "140"),
        ("trickle", "/", "300", "40"),
        ("deaf", gateway.as_str(), "130", "40"),
        ("deaf", repository.as_str(), "130", "40"),
        ("nobody", "/", "140", "40"),
        ("slow", repository.as_str(), "130", "40"),
        ("socket", "/readings/pull", "40", "10"),
    ] {
        stage.at_the_doors(how, path, one, 1)?;
        stage.at_the_doors(how, path, each, 8)?;
    }
    Ok(())
}
