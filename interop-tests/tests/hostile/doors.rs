//! Clients of the gateway and the repository that leave things undone.

use super::{From, GATEWAY, Stage};
use interop_tests::peers::note;
use interop_tests::{Outcome, Workspace, http};
use std::time::Instant;

/// How long a newcomer may take for a pull of what the stage serves, on a busy machine; quiet it is some 0.2 s.
const PULL: std::time::Duration = std::time::Duration::from_secs(20);

/// How often others may be answered before an honest peer is.
const TURNS: u8 = 8;

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
        self.at_the_host(self.address(), how, path, count, attackers)
    }

    fn at_the_host(&self, host: &str, how: &str, path: &str, count: &str, attackers: u8) -> Outcome {
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
            "--host",
            host,
        ];
        let _attackers = self.attacked(&args, attackers, From::Many)?;
        let what = format!("{attackers} x {count} clients, {how}");
        // Whoever is answered in full takes turns with everybody else.
        let turns = if ["ranges", "asks"].contains(&how) { TURNS } else { 1 };
        self.withstands_in_turns(&what, turns)?;
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

#[test]
fn requests_that_are_dear_are_in_nobodys_way() -> Outcome {
    let stage = Stage::new()?;
    let (slice, _) = stage.slice()?;
    // As many rules as a file may have, of which none fits; the site has an origin of its own, where they are asked.
    let rule = "/:a/:b/:c/:d/:e/:f/:g/:h/:i/*  /x/:splat  301\n";
    let site = stage.workspace.path().join("site");
    std::fs::create_dir(&site)?;
    std::fs::write(site.join("_redirects"), rule.repeat((64 << 10) / rule.len()))?;
    let added = stage
        .workspace
        .odfs(["ipfs", "add", "-Qr", &site.display().to_string()])?;
    let root = added.text().trim().to_owned();
    let at_site = format!("{root}.ipfs.localhost");
    let here = stage.address().to_owned();
    let deep = format!("/{}x", "a/".repeat(500));
    let out = "/ipfs/../../etc/passwd/%2e%2e/%2e%2e/..%2f..%2f";
    for (host, how, path) in [
        (here.as_str(), "head", "/"),
        (here.as_str(), "ranges", slice.as_str()),
        (at_site.as_str(), "asks", deep.as_str()),
        (here.as_str(), "asks", out),
        ("attacker.example", "asks", slice.as_str()),
    ] {
        stage.at_the_host(host, how, path, "40", 1)?;
        stage.at_the_host(host, how, path, "10", 8)?;
    }
    // And this is what they get.
    let gateway = &stage.node.gateway;
    let status = |path: &str, headers: &[(&str, &str)]| -> Outcome<u16> {
        Ok(http::get(&format!("{gateway}{path}"), headers)?.status)
    };
    assert_eq!(status(&slice, &[("Host", "attacker.example")])?, 421);
    assert_eq!(status(&deep, &[("Host", &at_site)])?, 404);
    assert!((400..500).contains(&status("/ipfs/..%2f..%2fetc/passwd", &[])?));
    let parts = format!("bytes=0-1{}", ",0-".repeat(2_000));
    let answer = http::get(&format!("{gateway}{slice}"), &[("Range", &parts)])?;
    let length = http::get(&format!("{gateway}{slice}"), &[])?.body.len();
    assert!(
        answer.body.len() <= 2 * length,
        "{} bytes of {length}",
        answer.body.len()
    );
    Ok(())
}
