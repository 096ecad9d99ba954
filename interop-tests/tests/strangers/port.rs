//! Whoever reaches the port, with a token or without one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use interop_tests::http;
use interop_tests::process::resident;

use super::*;

/// Exit codes, as `odfs --help` lists them.
const NOT_FOUND: i32 = 3;
const PERMISSION: i32 = 16;

#[test]
fn a_token_does_what_it_says_and_no_more() -> Outcome {
    let stage = Stage::new("push,create")?;
    let (owner, guest) = (&stage.owner, &stage.guest);
    let id = published(owner)?;
    let before = owner.dataset("t")?;
    let finished = stage.push_source(&id, "{kind: FilesGlob, path: '*.csv'}", "[]")?;
    says(&finished, REFUSED, &["rewrite t", "\"guest\""])?;
    assert_eq!(owner.dataset("t")?.head, before.head);
    // To bring something new is among its verbs; to read what others brought is not.
    guest.write("g.csv", table(5))?;
    guest.publish(&["g.csv", "--name", "g"])?;
    guest.odfs(["push", "g", "--to", "there"])?;
    let token = |args: &[&str]| {
        owner
            .odfs([&["repo", "token", "add"][..], args].concat())
            .map(|made| made.text())
    };
    let narrow = token(&[
        "narrow",
        "--dataset",
        "other.%",
        "--can",
        "pull,push",
        "--expires",
        "30d",
    ])?;
    let reader = Workspace::new()?;
    reader.odfs(["repo", "add", "there", &stage.url, "--token", &narrow])?;
    says(&reader.run(["pull", "there/g"])?, NOT_FOUND, &[])?;
    let allowed = token(&["reader", "--dataset", "g", "--can", "pull"])?;
    let reader = Workspace::new()?;
    reader.odfs(["repo", "add", "there", &stage.url, "--token", &allowed])?;
    reader.odfs(["pull", "there/g"])?;
    assert_eq!(reader.dataset("g")?.records, 5);
    reader.write("n.csv", table(3))?;
    reader.publish(&["n.csv", "--name", "n"])?;
    says(
        &reader.run(["push", "n", "--to", "there"])?,
        PERMISSION,
        &["create n", "\"reader\""],
    )?;
    let listed = owner.odfs(["repo", "token", "list"])?.json()?;
    assert_eq!(listed[1]["Datasets"], serde_json::json!(["other.%"]));
    assert_eq!(listed[1]["Can"], serde_json::json!(["pull", "push"]));
    assert!(listed[1]["Expires"].is_string() && listed[0]["Expires"].is_string());
    let forever = owner.odfs(["repo", "token", "add", "forever", "--expires", "never"])?;
    assert!(
        forever.stderr.contains("pull, push, create every dataset"),
        "{}",
        forever.stderr
    );
    assert!(owner.odfs(["repo", "token", "list"])?.json()?[3]["Expires"].is_null());
    stage.node.stop().map(drop)
}

#[test]
fn only_what_is_shared_is_read_without_a_token() -> Outcome {
    let owner = Workspace::new()?;
    let manifest = "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: diary\n  kind: Root\n  metadata:\n    - kind: AddPushSource\n      \
                    sourceName: default\n      read: {kind: Csv, header: true, schema: {fields: [{name: id, type: Int64}]}}\n      \
                    merge: {kind: Append}\n";
    owner.write("diary.yaml", manifest)?;
    owner.odfs(["add", "diary.yaml"])?;
    owner.write("rows.csv", "id\n1\n")?;
    owner.odfs(["ingest", "diary", "rows.csv"])?;
    let node = owner.node()?;
    let listed = owner.odfs(["list", "--wide"])?.json()?;
    let name = listed[0]["IPNS"].as_str().unwrap_or_default().to_owned();
    let id = listed[0]["ID"].as_str().unwrap_or_default().to_owned();
    let head = format!("{}/diary/refs/head", node.gateway);
    let other = Workspace::new()?;
    let address = format!("odf+{}/diary", node.gateway);
    for hidden in [&head, &format!("{}/datasets/{id}", node.gateway)] {
        assert_eq!(http::get(hidden, &[])?.status, 404, "{hidden}");
    }
    says(&other.run(["pull", &address])?, NOT_FOUND, &["--token"])?;
    owner.odfs(["share", "diary"])?;
    assert_eq!(http::get(&head, &[])?.status, 200);
    other.odfs(["pull", &address])?;
    owner.odfs(["share", "--stop", "diary"])?;
    assert_eq!(http::get(&head, &[])?.status, 404);
    // Publishing shares; the gateway then shows the root, and no longer when that is stopped.
    owner.odfs(["push", "diary"])?;
    let page = format!("{}/ipns/{name}/refs/head", node.gateway);
    assert_eq!(
        (http::get(&head, &[])?.status, http::get(&page, &[])?.status),
        (200, 200)
    );
    owner.odfs(["share", "--stop", "diary"])?;
    assert_eq!(
        (http::get(&head, &[])?.status, http::get(&page, &[])?.status),
        (404, 404)
    );
    let shared = owner.odfs(["share", "--list"])?.json()?;
    assert_eq!(
        (&shared[0]["Open"], &shared[0]["Why"]),
        (&false.into(), &"stopped".into())
    );
    node.stop().map(drop)
}

/// A WebSocket at a node that has been accepted, raw.
fn web_socket(gateway: &str, path: &str) -> Outcome<TcpStream> {
    let host = gateway.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-odf-smtp-version: 1\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    match &answer {
        b"HTTP/1.1 101" => Ok(stream),
        other => Err(String::from_utf8_lossy(other).into_owned().into()),
    }
}

#[test]
fn strangers_at_the_port_take_neither_memory_nor_everybodys_turns() -> Outcome {
    const SOCKETS: usize = 33;
    const MESSAGE: usize = 60 << 20;
    let owner = Workspace::new()?;
    published(&owner)?;
    let node = owner.node()?;
    let token = owner.odfs(["repo", "token", "add", "friend"])?.text();
    let before = resident(node.process.id(), "VmRSS").ok_or("the node has ended")?;
    let mut accepted = 0;
    let mut open = Vec::new();
    for _ in 0..SOCKETS {
        let Ok(mut socket) = web_socket(&node.gateway, "/t/pull") else {
            continue;
        };
        accepted += 1;
        // Text without its end, masked with zeros, of a length that the frame announces.
        let mut frame = vec![0x01, 0xff];
        frame.extend_from_slice(&(MESSAGE as u64).to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        let _ = socket.write_all(&frame);
        let part = vec![b' '; 1 << 20];
        // The node hangs up long before all of it is sent.
        let sent = (0..MESSAGE >> 20)
            .take_while(|_| socket.write_all(&part).is_ok())
            .count();
        assert!(sent < MESSAGE >> 20, "all of a message of {MESSAGE} bytes was taken");
        open.push(socket);
    }
    assert!(accepted > 0);
    let after = resident(node.process.id(), "VmHWM").ok_or("the node has ended")?;
    assert!(after < before + (32 << 20), "{before} bytes before, {after} at most");
    // And those that say nothing at all: the others go on.
    open.clear();
    let idle: Vec<_> = (0..SOCKETS)
        .filter_map(|_| web_socket(&node.gateway, "/t/pull").ok())
        .collect();
    assert!(
        !idle.is_empty() && idle.len() < SOCKETS / 2,
        "{} of {SOCKETS} have a turn",
        idle.len()
    );
    let friend = Workspace::new()?;
    friend.odfs([
        "repo",
        "add",
        "there",
        &format!("odf+{}/", node.gateway),
        "--token",
        &token,
    ])?;
    friend.odfs(["pull", "there/t"])?;
    drop(idle);
    node.stop().map(drop)
}
