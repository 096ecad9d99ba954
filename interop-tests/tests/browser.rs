//! A browser on the same machine: what the pages of other web sites can have the gateway and the repository do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use interop_tests::process::resident;
use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace, content, http};

/// What a gateway keeps of what strangers had it fetch, and as much again for everything on the way.
const BUDGET: u64 = 2 * (64 << 20);
/// Bytes of each file that is asked for.
const FILE: usize = 100 << 20;
/// And so many of them.
const FILES: u64 = 3;

/// The head of the answer to a request with these lines, in lower case.
fn head(gateway: &str, lines: &[&str]) -> Outcome<String> {
    let mut stream = TcpStream::connect(gateway.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
        answer.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&answer).to_lowercase())
}

/// Bytes that a directory takes up on the disk.
fn disk_usage(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => disk_usage(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}

#[test]
fn no_web_site_takes_the_name_of_this_machine() -> Outcome {
    let workspace = Workspace::new()?;
    workspace.write("t.csv", table(10))?;
    let published = workspace.publish(&["t.csv", "--name", "t"])?;
    workspace.odfs(["config", "set", "gateway.hosts", "data.example.org"])?;
    let node = workspace.node()?;
    let port = node.gateway.rsplit(':').next().unwrap_or_default();
    for path in [
        format!("/ipfs/{}?format=raw", published.root),
        "/t/refs/head".to_owned(),
    ] {
        let line = format!("GET {path} HTTP/1.1");
        for (host, status) in [
            ("evil.example".to_owned(), "421"),
            (format!("evil.example:{port}"), "421"),
            (format!("127.0.0.1:{port}"), "200"),
            (format!("localhost:{port}"), "200"),
            (format!("[::1]:{port}"), "200"),
            ("data.example.org".to_owned(), "200"),
        ] {
            let answer = head(&node.gateway, &[&line, &format!("Host: {host}")])?;
            assert!(answer.starts_with(&format!("http/1.1 {status}")), "{host}: {answer}");
        }
    }
    let refused = http::get(&format!("{}/t/refs/head", node.gateway), &[("Host", "evil.example")])?;
    assert!(
        refused.text().contains("odfs config set gateway.hosts"),
        "{}",
        refused.text()
    );
    node.stop().map(drop)
}

#[test]
fn pages_of_other_sites_do_not_use_the_repository_and_content_has_no_share_in_its_origin() -> Outcome {
    let workspace = Workspace::new()?;
    workspace.write("t.csv", table(10))?;
    workspace.publish(&["t.csv", "--name", "t"])?;
    workspace.write("page.html", "<!DOCTYPE html><script>fetch('/t/refs/head')</script>")?;
    let page = workspace.odfs(["ipfs", "add", "-Q", "page.html"])?.text();
    let node = workspace.node()?;
    let shown = http::get(&format!("{}/ipfs/{page}", node.gateway), &[])?;
    assert_eq!(shown.status, 200);
    let policy = shown.header("content-security-policy");
    assert!(
        policy.starts_with("sandbox ") && !policy.contains("same-origin"),
        "{policy}"
    );
    assert_eq!(shown.header("x-content-type-options"), "nosniff");
    let reference = format!("{}/t/refs/head", node.gateway);
    let own = http::get(&reference, &[("Origin", &node.gateway)])?;
    assert_eq!(own.status, 200);
    assert_eq!(own.header("access-control-allow-origin"), "");
    assert_eq!(own.header("cross-origin-resource-policy"), "same-origin");
    // That of a page in a sandbox is "null".
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(http::get(&reference, &[("Origin", origin)])?.status, 403, "{origin}");
        let host = node.gateway.trim_start_matches("http://");
        let answer = head(
            &node.gateway,
            &[
                "GET /t/pull HTTP/1.1",
                &format!("Host: {host}"),
                &format!("Origin: {origin}"),
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-odf-smtp-version: 1",
            ],
        )?;
        assert!(answer.starts_with("http/1.1 403"), "{origin}: {answer}");
    }
    node.stop().map(drop)
}

#[test]
fn what_is_asked_for_at_the_gateway_leaves_nothing_on_the_disk() -> Outcome {
    let far = Workspace::new()?;
    let mut files = Vec::new();
    for seed in 0..FILES {
        far.write("big", content::bytes(FILE, seed))?;
        files.push(far.odfs(["ipfs", "add", "-Q", "--cid-version", "1", "big"])?.text());
    }
    let far_node = far.node()?;
    let near = Workspace::new()?;
    near.know(&[&far_node.address])?;
    let node = near.node()?;
    let before = disk_usage(&near.store())?;
    for file in &files {
        let answer = http::get(&format!("{}/ipfs/{file}", node.gateway), &[])?;
        assert_eq!((answer.status, answer.body.len()), (200, FILE));
    }
    let after = disk_usage(&near.store())?;
    assert!(after < before + (8 << 20), "{before} bytes before, {after} after");
    let memory = resident(node.process.id(), "VmRSS").ok_or("the node has ended")?;
    interop_tests::peers::note(&format!(
        "{} MiB asked for: {} KiB on the disk, {} MiB resident",
        (FILES * FILE as u64) >> 20,
        after.saturating_sub(before) >> 10,
        memory >> 20
    ));
    assert!(memory < BUDGET + (128 << 20), "{memory} bytes");
    // The last of it is in memory still, whoever has gone.
    let last = files.last().ok_or("no file")?;
    let tail = || http::get(&format!("{}/ipfs/{last}", node.gateway), &[("Range", "bytes=-100000")]);
    assert_eq!(tail()?.status, 206);
    far_node.stop()?;
    assert_eq!(tail()?.status, 206);
    node.stop().map(drop)
}

#[test]
fn a_gateway_that_is_not_to_fetch_serves_what_is_here_and_says_why_nothing_else() -> Outcome {
    let far = Workspace::new()?;
    far.write("far.txt", "far")?;
    let there = far.odfs(["ipfs", "add", "-Q", "far.txt"])?.text();
    let far_node = far.node()?;
    let near = Workspace::new()?;
    near.know(&[&far_node.address])?;
    near.write("near.txt", "near")?;
    let here = near.odfs(["ipfs", "add", "-Q", "near.txt"])?.text();
    let asked = |gateway: &str, cid: &str, from: &str| {
        let fields = [("X-Forwarded-For", from)];
        http::get(
            &format!("{gateway}/ipfs/{cid}"),
            if from.is_empty() { &[] } else { &fields },
        )
    };
    let with = |args: &[&str]| -> Outcome<_> {
        let mut process = near.start([&["node"], args].concat())?;
        let gateway = process.wait_for(interop_tests::workspace::LIMIT, |said| {
            let url = said.lines().find_map(|line| line.strip_prefix("Gateway: "))?;
            Some(url.trim_end_matches('/').to_owned())
        })?;
        Ok((process, gateway))
    };
    let (process, gateway) = with(&["--no-fetch"])?;
    assert_eq!(asked(&gateway, &here, "")?.text(), "near");
    let refused = asked(&gateway, &there, "")?;
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("gateway.fetch"), "{}", refused.text());
    drop(process.kill());
    // By itself it fetches for this machine, and for nobody whom a proxy asks for.
    let (process, gateway) = with(&[])?;
    assert_eq!(asked(&gateway, &there, "")?.text(), "far");
    let other = far.write("other.txt", "other")?.display().to_string();
    let other = far.odfs(["ipfs", "add", "-Q", &other])?.text();
    assert_eq!(asked(&gateway, &other, "8.8.8.8")?.status, 404);
    drop(process.kill());
    near.odfs(["config", "set", "gateway.fetch", "true"])?;
    let (process, gateway) = with(&[])?;
    assert_eq!(asked(&gateway, &other, "8.8.8.8")?.text(), "other");
    drop(process.kill());
    far_node.stop().map(drop)
}
