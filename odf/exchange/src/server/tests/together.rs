//! Many small objects in one request.

use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;

use super::pushes::{files_of, up_to_objects};
use super::*;
use crate::http::HttpSource;
use crate::server::limits::MAX_DRAINED_BYTES;
use crate::together::{Body, MAX_LIST_BYTES, MAX_TOGETHER, list};
use odf_dataset::Object;

/// Bytes of a body of these files.
fn body_of(files: &[File]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for kind in ObjectKind::ALL {
        std::fs::create_dir(dir.path().join(kind.directory())).unwrap();
    }
    for (object, bytes) in files {
        std::fs::write(object.path(dir.path()), bytes).unwrap();
    }
    let names = files.iter().map(|(object, _)| (object.kind, object.hash)).collect();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut Body::new(dir.path(), names), &mut bytes).unwrap();
    bytes
}

fn objects_of(files: &[File]) -> Vec<Object> {
    files.iter().map(|(object, _)| *object).collect()
}

#[test]
fn who_may_read_gets_many_objects_in_one_answer() {
    let (blocks, files) = sample::with_files(sample::id(1), 3);
    let (hidden, theirs) = sample::with_files(sample::id(2), 1);
    let served = Served::new()
        .holding("ds", &blocks, &files)
        .hiding("hidden", &hidden, &theirs);
    let ask = |path: &str, token: Option<&str>, list: &str| served.request("POST", path, token, Some(list.as_bytes()));
    // What another dataset has is passed over like what nobody has.
    let names = list(&objects_of(&[&files[..], &theirs].concat()));
    let answer = ask("ds/objects", None, &names);
    assert_eq!((answer.status, answer.body), (200, body_of(&files)));
    let names = list(&objects_of(&theirs));
    for path in ["hidden/objects", "nothing/objects"] {
        assert_eq!(ask(path, None, &names).status, 404);
    }
    let answer = ask("hidden/objects", Some(&served.token()), &names);
    assert_eq!((answer.status, answer.body), (200, body_of(&theirs)));
    let line = format!("{}\n", files[1].0);
    assert_eq!(ask("ds/objects", None, &line.repeat(MAX_TOGETHER)).status, 200);
    for bad in ["data/../refs/head", "refs/head", &line.repeat(MAX_TOGETHER + 1)] {
        assert_eq!(ask("ds/objects", None, bad).status, 400);
    }
    assert_eq!(ask("ds/objects", None, &"\n".repeat(MAX_LIST_BYTES + 1)).status, 400);
}

#[test]
fn the_client_leaves_only_large_objects_to_requests_of_their_own() {
    let (blocks, files) = sample::with_files(sample::id(1), 300);
    let served = Served::new().holding("ds", &blocks, &files);
    let here = tempfile::tempdir().unwrap();
    let datasets = crate::datasets_in(here.path());
    let arrival = Arrival::begin(
        &datasets,
        sample::id(1),
        &"ds".parse().unwrap(),
        RemoteAliases::default(),
    )
    .unwrap();
    let source = HttpSource::new(&served.url("ds/").parse().unwrap(), None);
    let objects = objects_of(&files);
    let left = source
        .together(&objects, &arrival, &|_| ControlFlow::Continue(()))
        .unwrap();
    let slices: Vec<Object> = objects
        .iter()
        .filter(|object| object.kind == ObjectKind::Slice)
        .copied()
        .collect();
    assert_eq!(left, slices);
    let checkpoints = objects.iter().filter(|object| object.kind == ObjectKind::Checkpoint);
    assert!(
        checkpoints
            .map(|object| object.path(arrival.dir()))
            .all(|path| path.is_file())
    );
    let stopped = source.together(&objects, &arrival, &|_| ControlFlow::Break(()));
    assert!(stopped.is_err());
}

#[test]
fn a_push_takes_many_objects_in_one_request_from_its_own_holder_only() {
    let (blocks, files) = sample::with_files(sample::id(1), 20);
    let served = Served::new();
    let (token, other) = (served.token(), served.token_for("other", "%", &Verb::ALL));
    let put = |token: Option<&str>, body: &[u8]| served.request("PUT", "ds/objects", token, Some(body)).status;
    let body = body_of(&files);
    assert_eq!(put(Some(&token), &body), 409, "nothing waits for it");
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    let mut request = files_of(&files);
    request["together"] = json!(true);
    kamu.say(&request);
    let answer = kamu.hear();
    assert_eq!(answer["Ok"]["together"]["url"], served.url("ds/objects"));
    assert_eq!(put(None, &body), 401);
    assert_eq!(put(Some(&other), &body), 409);
    let (_, foreign) = sample::with_files(sample::id(2), 1);
    assert_eq!(put(Some(&token), &body_of(&foreign)), 400);
    assert_eq!(put(Some(&token), &body[..body.len() - 1]), 400);
    assert_eq!(put(Some(&token), &body), 200);
    kamu.say(pushes::COMPLETE);
    kamu.say("{}");
    assert_eq!(kamu.hear(), json!({}));
    kamu.close();
    let dataset = served.workspace.catalog().find("ds").unwrap();
    for (object, bytes) in &files {
        assert_eq!(std::fs::read(object.path(dataset.dir())).unwrap(), *bytes);
    }
    // kamu does not ask for it and is told nothing of it.
    let mut kamu = served.push("other", &token);
    let (blocks, files) = sample::with_files(sample::id(3), 1);
    up_to_objects(&mut kamu, None, &blocks, false);
    kamu.say(files_of(&files));
    assert!(kamu.hear()["Ok"].get("together").is_none());
}

#[test]
fn whoever_sends_too_much_hears_why_it_is_refused() {
    let (blocks, files) = sample::with_files(sample::id(1), 20);
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    kamu.say(files_of(&files));
    kamu.hear();
    let (_, foreign) = sample::with_files(sample::id(2), 1);
    // Nobody waits for the first of what is in it, and what comes then is more than sockets hold.
    let mut body = body_of(&foreign);
    body.resize(MAX_DRAINED_BYTES, 0);
    for (dataset, status) in [("ds", "400"), ("other", "409")] {
        let mut stream = TcpStream::connect(served.address).unwrap();
        let head = format!(
            "PUT /{dataset}/objects HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // This client does not look for an answer before.
        stream.write_all(&body).unwrap();
        let mut answer = [0; 64];
        stream.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    kamu.close();
}
