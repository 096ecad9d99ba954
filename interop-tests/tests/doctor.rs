//! `odfs doctor` on set-ups that are broken in one way each: that one thing is named, with the way out, and within its time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use interop_tests::netns::{Internet, Router, Wire};
use interop_tests::process::run;
use interop_tests::trial::LARGE_DISK;
use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::table;
use interop_tests::{Failure, Outcome, Workspace};
use serde_json::Value;

/// What `doctor` may take, with a little for a busy machine.
const WHOLE: Duration = Duration::from_secs(17);
/// Its exit code when something is wrong.
const WRONG: i32 = 18;
/// How long something may take that comes by itself.
const SOON: Duration = Duration::from_secs(40);
/// A peer that nobody is.
const NOBODY: &str = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8";
/// Content that nobody has.
const NOTHING: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

/// What it found, as it is for programs, and its exit code.
fn doctor(workspace: &Workspace, subject: &[&str]) -> Outcome<(Vec<Value>, i32)> {
    let begun = Instant::now();
    let finished = workspace.run([&["doctor", "-o", "json"], subject].concat())?;
    let took = begun.elapsed();
    if took > WHOLE {
        return Err(finished.failure(&format!("took {took:?}")));
    }
    let found = finished.json()?;
    let found = found.as_array().cloned().unwrap_or_default();
    let code = finished.code().unwrap_or(-1);
    // Whatever is wrong comes with a way out.
    for one in &found {
        let has_next = one["Next"].as_str().is_some_and(|next| !next.is_empty());
        if matches!(one["Result"].as_str(), Some("failed" | "warning")) && !has_next {
            return Err(finished.failure("names no way out"));
        }
    }
    Ok((found, code))
}

/// Those of one check that came out as `result` and say `words`.
fn says<'a>(found: &'a [Value], check: &str, result: &str, words: &str) -> Option<&'a Value> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    found.iter().find(|one| {
        let said = format!("{} {} {}", text(one, "Subject"), text(one, "Found"), text(one, "Next"));
        text(one, "Check") == check && text(one, "Result") == result && said.contains(words)
    })
}

/// Runs it and wants one thing to be wrong in these words.
fn names(workspace: &Workspace, subject: &[&str], check: &str, words: &str) -> Outcome {
    let (found, code) = doctor(workspace, subject)?;
    match says(&found, check, "failed", words) {
        Some(_) if code == WRONG => Ok(()),
        _ => Err(Failure::new(format!(
            "no {check} that failed says {words:?}, or it ends with {code}: {}",
            serde_json::to_string_pretty(&found)?
        ))),
    }
}

/// A node that others meet at, and a workspace that knows it.
fn hub() -> Outcome<(Workspace, interop_tests::Node, Workspace)> {
    let (there, here) = (Workspace::new()?, Workspace::new()?);
    let hub = there.node()?;
    here.know(&[&hub.address])?;
    Ok((there, hub, here))
}

/// Has an honest peer put the record of a new name at a node; which name.
fn publishes(at: &str, options: &[&str]) -> Outcome<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostile"));
    command.arg("publishes").args(options).args(["--at", at]);
    let said = run(command, LIMIT)?.success()?.json()?;
    assert_eq!(said["kept"], true, "{said}");
    Ok(said["name"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn where_all_is_well_nothing_is_wrong() -> Outcome {
    let (_there, hub, here) = hub()?;
    let file = here.write("t.csv", table(1_500))?.display().to_string();
    let node = here.node()?;
    let published = here.publish(&[&file, "--name", "t"])?;
    let (found, code) = doctor(&here, &["t"])?;
    assert_eq!(code, 0, "{found:#?}");
    for (check, words) in [
        ("disk", "free under"),
        ("bootstrap", "answers in"),
        ("peers", "1 connected"),
        ("record", "known to 1 other machine"),
        ("providers", "all are reached"),
        ("outside", "got its first block"),
    ] {
        assert!(says(&found, check, "ok", words).is_some(), "{check}: {found:#?}");
    }
    // The same from elsewhere, by name and by content.
    let other = Workspace::new()?;
    other.know(&[&hub.address])?;
    for subject in [published.name.as_str(), &published.root] {
        let (found, code) = doctor(&other, &[subject])?;
        assert_eq!(code, 0, "{found:#?}");
        assert!(
            says(&found, "outside", "ok", "got its first block").is_some(),
            "{found:#?}"
        );
    }
    let told = here.odfs(["doctor", "-o", "table"])?.text();
    assert!(
        told.lines()
            .any(|line| line.starts_with("ok       bootstrap /ip4/127.0.0.1/")),
        "{told}"
    );
    // What it is not for.
    assert_eq!(here.refused(["doctor", "nothing-here"])?.code(), Some(3));
    node.stop()?;
    Ok(())
}

#[test]
fn a_machine_without_a_network() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::in_namespace(wire.left().name())?;
    here.know(&[&format!("/ip4/192.168.77.2/tcp/4001/p2p/{NOBODY}")])?;
    wire.unplug()?;
    names(&here, &[], "network", "no way to the internet")
}

#[test]
fn a_bootstrap_host_that_is_dead() -> Outcome {
    // A port on which nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let here = Workspace::new()?;
    here.know(&[&format!("/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}")])?;
    names(&here, &[], "bootstrap", "no peer listens on that port")?;
    // Somebody else there.
    let there = Workspace::new()?;
    let node = there.node()?;
    let address = node.address.replace(&node.peer_id, NOBODY);
    here.know(&[&address])?;
    names(&here, &[], "bootstrap", "another peer answers there")?;
    // One of two is no harm.
    here.know(&[&address, &node.address])?;
    let (found, code) = doctor(&here, &[])?;
    assert_eq!(code, 0, "{found:#?}");
    assert!(
        says(&found, "bootstrap", "warning", "another peer").is_some(),
        "{found:#?}"
    );
    node.stop()?;
    Ok(())
}

#[test]
fn a_port_that_the_router_keeps_closed() -> Outcome {
    let Some(internet) = Internet::lay(env!("CARGO_BIN_EXE_router"), [Router::Plain; 2])? else {
        return Ok(());
    };
    let server = Workspace::in_namespace(internet.server().name())?;
    let _public = server.node_with(&["--public"])?;
    let status = server.odfs(["status", "--output", "json"])?.json()?;
    let mut addresses = status["addresses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let address = addresses.find(|address| address.contains("/45.1.0.1/tcp/"));
    let home = Workspace::in_namespace(internet.homes()[0].name())?;
    home.know(&[address.ok_or("the server listens nowhere")?])?;
    let _node = home.node()?;
    let begun = Instant::now();
    loop {
        let (found, _) = doctor(&home, &[])?;
        // A relay stands in here, so it is no more than a warning.
        if says(&found, "reach", "warning", "the port is closed").is_some() {
            assert!(
                says(&found, "reach", "warning", "port forwarding").is_some(),
                "{found:#?}"
            );
            return Ok(());
        }
        if begun.elapsed() > SOON {
            return Err(Failure::new(format!("the closed port is not named: {found:#?}")));
        }
    }
}

#[test]
fn a_clock_that_is_off_by_a_day() -> Outcome {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", server.local_addr()?);
    // What time it is there: yesterday's, in the words of HTTP.
    let mut date = Command::new("date");
    date.args(["-u", "-d", "yesterday", "+%a, %d %b %Y %H:%M:%S GMT"])
        .env("LC_ALL", "C");
    let date = run(date, LIMIT)?.success()?.text();
    thread::spawn(move || {
        for client in server.incoming().flatten() {
            let mut lines = BufReader::new(&client).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let answer = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = (&client).write_all(answer.as_bytes());
        }
    });
    let here = Workspace::new()?;
    here.odfs(["repo", "add", "there", &url])?;
    names(&here, &[], "clock", "ahead of")
}

#[test]
fn a_record_that_expired() -> Outcome {
    let (_there, hub, here) = hub()?;
    let mut until = Command::new("date");
    until.args(["-u", "-d", "5 seconds", "+%Y-%m-%dT%H:%M:%SZ"]);
    let until = run(until, LIMIT)?.success()?.text();
    let name = publishes(&hub.address, &["--until", &until])?;
    // Here it was known while it lasted.
    here.odfs(["ipfs", "name", "resolve", &name])?;
    let begun = Instant::now();
    loop {
        let (found, code) = doctor(&here, &[&name])?;
        if says(&found, "record", "failed", "expired at").is_some() {
            assert_eq!(code, WRONG);
            assert!(
                says(&found, "record", "failed", "publish it again").is_some(),
                "{found:#?}"
            );
            return Ok(());
        }
        if begun.elapsed() > SOON {
            return Err(Failure::new(format!("the end of the record is not named: {found:#?}")));
        }
    }
}

#[test]
fn content_that_nobody_has() -> Outcome {
    let (_there, hub, here) = hub()?;
    let name = publishes(&hub.address, &["--value", &format!("/ipfs/{NOTHING}")])?;
    names(&here, &[&name], "providers", "nobody says that they have")?;
    names(&here, &[NOTHING], "providers", "nobody says that they have")
}

#[test]
fn a_provider_that_is_gone() -> Outcome {
    let (_there, hub, here) = hub()?;
    let publisher = Workspace::new()?;
    publisher.know(&[&hub.address])?;
    let node = publisher.node()?;
    let file = publisher.write("t.csv", table(10))?.display().to_string();
    let name = publisher.publish(&[&file, "--name", "t"])?.name;
    let gone = node.peer_id.clone();
    node.process.kill()?;
    names(&here, &[&name], "providers", &gone)?;
    // The owner is told that it is his own node that does not run.
    names(&publisher, &["t"], "providers", "start `odfs node` here")
}

#[test]
fn a_disk_that_is_full() -> Outcome {
    let Some(here) = Workspace::on_small_disk(LARGE_DISK)? else {
        return Ok(());
    };
    let disk = here.disk().ok_or("a disk of its own")?;
    here.odfs(["list"])?;
    disk.resize(disk.used()?)?;
    names(&here, &[], "disk", "is full")
}

#[test]
fn a_port_that_another_program_has() -> Outcome {
    let other = TcpListener::bind("127.0.0.1:0")?;
    let port = other.local_addr()?.port();
    let here = Workspace::new()?;
    let listen = format!("[\"/ip4/127.0.0.1/tcp/{port}\"]");
    here.odfs(["config", "set", "network.listen", &listen])?;
    names(&here, &[], "port", "odfs config set network.listen")?;
    here.odfs(["config", "set", "network.listen", "[]"])?;
    here.odfs(["config", "set", "gateway.listen", &format!("127.0.0.1:{port}")])?;
    names(&here, &[], "port", "odfs config set gateway.listen")
}

#[test]
fn a_key_of_another_private_network() -> Outcome {
    let (there, here) = (Workspace::new()?, Workspace::new()?);
    there.odfs(["key", "swarm"])?;
    here.odfs(["key", "swarm"])?;
    let node = there.node()?;
    here.know(&[&node.address])?;
    names(&here, &[], "bootstrap", "not with the key of this private network")?;
    // Who has none is told that there may be one.
    std::fs::remove_file(here.store().join("swarm.key"))?;
    names(&here, &[], "bootstrap", "a private network, which has a key")?;
    std::fs::copy(there.store().join("swarm.key"), here.store().join("swarm.key"))?;
    let (found, code) = doctor(&here, &[])?;
    assert_eq!(code, 0, "{found:#?}");
    // What is no key keeps it from speaking to anybody.
    std::fs::write(here.store().join("swarm.key"), "secret")?;
    names(&here, &[], "key", "64 hexadecimal digits")?;
    node.stop()?;
    Ok(())
}
