//! The client against a server that says what kamu says, word for word, and against one that lies.

mod pushes;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::sample::{self, File};
use super::*;
use crate::files::Pushed;
use crate::{PushError, ReadError};
use odf_dataset::receive::{Arrival, Destination, Progress, ReceiveError, Received, receive};
use odf_dataset::{Dataset, Datasets, RemoteAliases};
use odf_metadata::codec::EncodedBlock;

/// What a server answers to a plain request, and what it was sent.
#[derive(Default)]
struct Plain {
    files: HashMap<String, Vec<u8>>,
    taken: HashMap<String, Vec<u8>>,
    /// Status of every PUT, and what is said with it.
    put_status: u16,
    put_answer: Vec<u8>,
    /// Whether a connection waits for a second request, which closes it without an answer.
    waits: bool,
    /// How many connections were closed so.
    closed: usize,
}

/// A server whose side of one WebSocket is written down.
struct Script {
    address: SocketAddr,
    plain: Arc<Mutex<Plain>>,
}

/// The server's side of a WebSocket.
struct Server {
    socket: WebSocket<TcpStream>,
    address: SocketAddr,
    plain: Arc<Mutex<Plain>>,
}

impl Server {
    fn say(&mut self, value: Value) {
        self.socket.send(Message::text(value.to_string())).unwrap();
    }

    fn hear(&mut self) -> Value {
        match self.socket.read().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.socket.close(Some(frame)).unwrap();
        while self.socket.read().is_ok() {}
    }

    /// Waits for the client to close in peace.
    fn closed(&mut self) {
        match self.socket.read() {
            Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 1000),
            other => panic!("{other:?}"),
        }
    }

    fn set_file(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.plain.lock().unwrap().files.insert(path.to_owned(), bytes.into());
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/ds/{path}", self.address)
    }
}

impl Script {
    /// A server that has `files` below `/ds/` and speaks `script` to whoever opens a WebSocket.
    fn new(files: &[(&str, &[u8])], script: impl Fn(&mut Server) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plain = Plain {
            files: files
                .iter()
                .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
                .collect(),
            put_status: 200,
            put_answer: br#"{"message":"no room"}"#.to_vec(),
            ..Plain::default()
        };
        let plain = Arc::new(Mutex::new(plain));
        let shared = Arc::clone(&plain);
        let script = Arc::new(Mutex::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, plain, script) = (stream.unwrap(), Arc::clone(&shared), Arc::clone(&script));
                thread::spawn(move || serve(stream, address, &plain, &script));
            }
        });
        Self { address, plain }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(
            &format!("http://{}/ds", self.address).parse().unwrap(),
            Some("secret".to_owned()),
        )
    }
}

fn serve(mut stream: TcpStream, address: SocketAddr, shared: &Arc<Mutex<Plain>>, script: &Mutex<impl Fn(&mut Server)>) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut peeked = [0; 64];
    while !stream.peek(&mut peeked).is_ok_and(|count| count >= 20) {}
    let first = String::from_utf8_lossy(&peeked).into_owned();
    if first.starts_with("GET /ds/pull ") || first.starts_with("GET /ds/push ") {
        #[allow(clippy::result_large_err, reason = "the library's own type")]
        let check = |request: &tungstenite::handshake::server::Request, response| {
            let fields = request.headers();
            assert_eq!(fields["x-odf-smtp-version"], "1");
            assert_eq!(fields["authorization"], "Bearer secret");
            Ok(response)
        };
        let mut server = Server {
            socket: tungstenite::accept_hdr(stream, check).unwrap(),
            address,
            plain: Arc::clone(shared),
        };
        script.lock().unwrap()(&mut server);
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().trim_start_matches("/ds/").to_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    let mut plain = shared.lock().unwrap();
    let (status, answer) = if head.starts_with("PUT ") {
        plain.taken.insert(path, body);
        (plain.put_status, plain.put_answer.clone())
    } else {
        plain
            .files
            .get(&path)
            .map_or((404, Vec::new()), |bytes| (200, bytes.clone()))
    };
    let (waits, length) = (plain.waits, answer.len());
    drop(plain);
    let (how, answer) = match waits {
        // As servers do that do not know how long it will be: the connection is free when the last, empty part was read.
        true => {
            let size = format!("{length:x}\r\n");
            let some = [size.as_bytes(), &answer, b"\r\n"].concat();
            let chunks = if length > 0 { some } else { Vec::new() };
            (
                "transfer-encoding: chunked".to_owned(),
                [&chunks[..], b"0\r\n\r\n"].concat(),
            )
        }
        false => (format!("content-length: {length}\r\nconnection: close"), answer),
    };
    let head = format!("HTTP/1.1 {status} X\r\n{how}\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), &answer].concat());
    if waits && stream.read(&mut [0]).is_ok_and(|count| count > 0) {
        shared.lock().unwrap().closed += 1;
    }
}

fn workspace() -> (TempDir, Datasets) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = crate::datasets_in(dir.path());
    (dir, workspace)
}

fn held(workspace: &Datasets, blocks: &[EncodedBlock], files: &[File]) -> Dataset {
    let id = odf_metadata::chain::ChainState::begin(&blocks[0]).unwrap().dataset_id;
    let arrival = Arrival::begin(workspace, id, &"ds".parse().unwrap(), RemoteAliases::default()).unwrap();
    for (object, bytes) in files {
        let mut sink = arrival.sink(object).unwrap();
        sink.write(bytes).unwrap();
        sink.finish().unwrap();
    }
    arrival.commit(blocks.to_vec(), false).unwrap().dataset
}

const QUIET: fn(Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());

fn pull_into(
    workspace: &Datasets,
    script: &Script,
    dataset: Option<Dataset>,
    force: bool,
) -> Result<Received, ReceiveError> {
    let source = SmartSource::open(script.endpoint(), workspace, dataset.as_ref(), force, &QUIET)?;
    let destination = Destination {
        dataset,
        force,
        ..Destination::named("pulled".parse().unwrap())
    };
    receive(workspace, &source, destination, &QUIET)
}

/// Why a place could not be read.
fn unread(error: &ReceiveError) -> Option<&ReadError> {
    match error {
        ReceiveError::Source(error) => error.get(),
        _ => None,
    }
}

fn plan(blocks: &[EncodedBlock]) -> Value {
    json!({"Ok": {"transfer_plan": super::plan::of(blocks)}})
}

fn bundled(blocks: &[EncodedBlock]) -> Value {
    json!({"blocks": bundle::pack(blocks).unwrap()})
}

/// Answers a request for objects: each below `/ds/`.
fn say_where(server: &mut Server) -> Value {
    let request = server.hear();
    let strategies: Vec<Value> = request["object_files"].as_array().unwrap().iter().map(|file| {
        let directory = if file["object_type"] == "DataSlice" { "data" } else { "checkpoints" };
        let url = server.url(&format!("{directory}/{}", file["physical_hash"].as_str().unwrap()));
        json!({
            "object_file": file, "pull_strategy": "HttpDownload",
            "download_from": {"url": url, "headers": [{"name": "x-a", "value": "b"}], "expires_at": "2030-01-01T00:00:00Z"},
        })
    }).collect();
    server.say(json!({"object_transfer_strategies": strategies}));
    request
}

#[test]
fn a_dataset_is_pulled_from_kamu() {
    let (blocks, files) = sample::with_files(sample::id(1), 3);
    let paths: Vec<String> = files.iter().map(|(object, _)| object.to_string()).collect();
    let served: Vec<(&str, &[u8])> = paths
        .iter()
        .map(String::as_str)
        .zip(files.iter().map(|(_, bytes)| &bytes[..]))
        .collect();
    let all = blocks.clone();
    let script = Script::new(&served, move |server| {
        let request = server.hear();
        assert_eq!(
            request,
            json!({"begin_after": null, "stop_at": null, "force_update_if_diverged": false, "pages": true})
        );
        server.say(plan(&all));
        assert_eq!(server.hear(), json!({}));
        server.say(bundled(&all));
        let asked = say_where(server);
        assert_eq!(asked["object_files"].as_array().unwrap().len(), 6);
        server.closed();
    });
    let (_dir, workspace) = workspace();
    let outcome = pull_into(&workspace, &script, None, false).unwrap();
    let Received::Updated(arrived) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((arrived.blocks, arrived.old_head), (5, None));
    let stored: Vec<_> = arrived
        .dataset
        .blocks()
        .unwrap()
        .map(|stored| stored.unwrap().block)
        .collect();
    assert_eq!(stored, blocks);
    for (object, bytes) in &files {
        assert_eq!(std::fs::read(object.path(arrived.dataset.dir())).unwrap(), *bytes);
    }
}

#[test]
fn a_pull_goes_on_where_a_page_ends() {
    let (blocks, files) = sample::with_files(sample::id(1), 3);
    let paths: Vec<String> = files.iter().map(|(object, _)| object.to_string()).collect();
    let served: Vec<(&str, &[u8])> = paths
        .iter()
        .map(String::as_str)
        .zip(files.iter().map(|(_, bytes)| &bytes[..]))
        .collect();
    let all = blocks.clone();
    let script = Script::new(&served, move |server| {
        let request = server.hear();
        assert_eq!(request["pages"], true);
        let after = request["begin_after"].as_str();
        let from = after.map_or(0, |after| {
            let last = all.iter().position(|block| block.hash().to_string() == after);
            last.unwrap() + 1
        });
        // Two blocks on a page; the last one has fewer.
        let page = &all[from..all.len().min(from + 2)];
        let more = from + page.len() < all.len();
        let mut accepted = plan(page);
        accepted["Ok"]["more"] = json!(more);
        server.say(accepted);
        server.hear();
        server.say(bundled(page));
        if !more {
            // All objects are asked for in the last transfer.
            assert_eq!(say_where(server)["object_files"].as_array().unwrap().len(), 6);
        }
        server.closed();
    });
    let (_dir, workspace) = workspace();
    let outcome = pull_into(&workspace, &script, None, false).unwrap();
    assert!(
        matches!(&outcome, Received::Updated(arrived) if arrived.blocks == 5),
        "{outcome:?}"
    );
    assert_eq!(outcome.dataset().head(), blocks[4].hash());
}

#[test]
fn a_server_that_says_there_is_more_and_gives_none_ends_a_pull() {
    let chain = sample::chain(sample::id(1), 3, 3, "");
    let (all, head) = (chain.clone(), chain[2].hash().to_string());
    let script = Script::new(&[], move |server| {
        let is_first = server.hear()["begin_after"].is_null();
        let mut accepted = plan(if is_first { &all } else { &[] });
        accepted["Ok"]["more"] = json!(true);
        server.say(accepted);
        if is_first {
            server.hear();
            server.say(bundled(&all));
        }
        let _ = server.socket.read();
    });
    let (_dir, workspace) = workspace();
    let outcome = pull_into(&workspace, &script, None, false).unwrap();
    assert_eq!(outcome.dataset().head().to_string(), head);
}

#[test]
fn what_is_new_is_pulled_and_nothing_else() {
    let blocks = sample::chain(sample::id(1), 5, 5, "");
    let (all, head) = (blocks.clone(), blocks[4].hash().to_string());
    let script = Script::new(&[], move |server| {
        let after = server.hear()["begin_after"].as_str().unwrap().to_owned();
        if after == head {
            server.say(plan(&[]));
        } else {
            server.say(plan(&all[2..]));
            server.hear();
            server.say(bundled(&all[2..]));
        }
        let _ = server.socket.read();
    });
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks[..2], &[]);
    let outcome = pull_into(&workspace, &script, Some(dataset), false).unwrap();
    assert!(
        matches!(&outcome, Received::Updated(arrived) if arrived.blocks == 3),
        "{outcome:?}"
    );
    let dataset = outcome.dataset().clone();
    let again = pull_into(&workspace, &script, Some(dataset), false).unwrap();
    assert!(matches!(again, Received::UpToDate { .. }), "{again:?}");
}

#[test]
fn chains_that_differ_are_told_apart_and_one_takes_the_others_place_by_force() {
    let trunk = sample::chain(sample::id(1), 4, 4, "");
    let branch = sample::chain(sample::id(1), 6, 2, "b");
    for (theirs, ahead) in [(trunk[..2].to_vec(), true), (branch, false)] {
        let files: Vec<(String, Vec<u8>)> = theirs
            .iter()
            .map(|block| (format!("blocks/{}", block.hash()), block.bytes().to_vec()))
            .collect();
        let served: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
        let all = theirs.clone();
        let script = Script::new(&served, move |server| {
            let request = server.hear();
            if request["force_update_if_diverged"] == true {
                server.say(plan(&all));
                server.hear();
                server.say(bundled(&all));
            } else {
                let head = all.last().unwrap().hash().to_string();
                server.say(json!({"Err": {"InvalidInterval": {"head": head, "tail": request["begin_after"]}}}));
            }
            let _ = server.socket.read();
        });
        let (_dir, workspace) = workspace();
        let dataset = held(&workspace, &trunk, &[]);
        let outcome = pull_into(&workspace, &script, Some(dataset.clone()), false);
        match (ahead, outcome) {
            (true, Ok(Received::Ahead { by: 2, remote, .. })) => assert_eq!(remote, *theirs[1].hash()),
            (
                false,
                Err(ReceiveError::Diverged {
                    common: 2,
                    ours: 2,
                    theirs: 4,
                    ..
                }),
            ) => {}
            (_, other) => panic!("{other:?}"),
        }
        let outcome = pull_into(&workspace, &script, Some(dataset), true).unwrap();
        assert!(matches!(outcome, Received::Updated(_)), "{outcome:?}");
        assert_eq!(outcome.dataset().head(), theirs.last().unwrap().hash());
    }
}

#[test]
fn a_server_that_lies_is_not_believed() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let (object, bytes) = files[0].clone();
    let mut wrong = bytes.clone();
    wrong[3] ^= 1;
    let path = object.to_string();
    for served in [&wrong[..], &bytes[1..]] {
        let all = blocks.clone();
        let script = Script::new(&[(&path, served)], move |server| {
            server.hear();
            server.say(plan(&all));
            server.hear();
            server.say(bundled(&all));
            say_where(server);
            let _ = server.socket.read();
        });
        let (_dir, workspace) = workspace();
        let error = pull_into(&workspace, &script, None, false).unwrap_err();
        // The slice is wrong, and there is no checkpoint: whichever is met first.
        assert!(
            matches!(error, ReceiveError::Object { .. }) || matches!(unread(&error), Some(ReadError::Missing { .. })),
            "{error}"
        );
        assert!(workspace.catalog().entries().unwrap().is_empty());
    }

    let chain = sample::chain(sample::id(1), 3, 3, "");
    type Lie = fn(&mut Server, &[EncodedBlock]);
    let lies: [(Lie, &str); 6] = [
        (
            |server, chain| server.say(json!({"blocks": bundle::pack(&chain[1..]).unwrap()})),
            "announced",
        ),
        (
            |server, chain| {
                let mut batch = bundle::pack(chain).unwrap();
                batch.payload.truncate(100);
                server.say(json!({"blocks": batch}));
            },
            "damaged",
        ),
        (
            |server, _| server.say(json!({"hello": 1})),
            "does not follow the protocol",
        ),
        (
            |server, _| server.socket.send(Message::binary(vec![1])).unwrap(),
            "binary",
        ),
        (
            |server, _| {
                let phase = json!({"Pull": "MetadataRequest"});
                let reason = json!({"Err": {"Internal": {"phase": phase, "error_message": "Internal error"}}});
                server.close(1011, &reason.to_string());
            },
            "refused: Internal error",
        ),
        (
            |server, _| server.close(1001, "restart"),
            "closed the connection (1001) restart",
        ),
    ];
    for (lie, words) in lies {
        let all = chain.clone();
        let script = Script::new(&[], move |server| {
            server.hear();
            server.say(plan(&all));
            server.hear();
            lie(server, &all);
            let _ = server.socket.read();
        });
        let (_dir, workspace) = workspace();
        let error = pull_into(&workspace, &script, None, false).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(workspace.catalog().entries().unwrap().is_empty());
    }
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_comes() {
    let (_dir, workspace) = workspace();
    for bytes in [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1] {
        let script = Script::new(&[], move |server| {
            server.hear();
            // The head of one frame of text with its length in eight bytes, and nothing after it.
            let head = [&[0x81_u8, 127][..], &(bytes as u64).to_be_bytes()].concat();
            server.socket.get_mut().write_all(&head).unwrap();
        });
        let opened = SmartSource::open(script.endpoint(), &workspace, None, false, &QUIET);
        let error = opened.err().unwrap();
        let words = error.to_string().to_lowercase();
        assert_eq!(words.contains("too long"), bytes > MAX_MESSAGE_BYTES, "{error}");
    }
}

#[test]
fn nobody_there_and_not_let_in_are_told_apart() {
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &sample::chain(sample::id(1), 2, 2, ""), &[]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let endpoint = Endpoint::new(&format!("{scheme}://{closed}/ds").parse().unwrap(), None);
        let error = SmartSource::open(endpoint, &workspace, None, false, &QUIET)
            .err()
            .unwrap();
        assert!(matches!(unread(&error), Some(ReadError::Unreachable { .. })), "{error}");
    }
    // A server without TLS, addressed as one with it.
    let script = Script::new(&[], |_| {});
    let endpoint = Endpoint::new(&format!("https://{}/ds", script.address).parse().unwrap(), None);
    let error = push(&dataset, &endpoint, Visibility::Private, false, &QUIET)
        .err()
        .unwrap();
    assert!(
        matches!(&error, PushError::Compare(error) if matches!(unread(error), Some(ReadError::Unreachable { .. }))),
        "{error}"
    );
    assert!(!format!("{:?}", script.endpoint()).contains("secret"));
}

#[test]
fn a_wish_to_stop_ends_the_wait() {
    let script = Script::new(&[], |server| {
        server.hear();
        thread::sleep(Duration::from_secs(20));
    });
    let (_dir, workspace) = workspace();
    let stop = |_| ControlFlow::Break(());
    let opened = SmartSource::open(script.endpoint(), &workspace, None, false, &stop);
    let error = opened.err().unwrap();
    assert!(matches!(error, ReceiveError::Cancelled(_)), "{error}");
}

#[test]
fn links_do_not_lead_from_https_to_plain_http() {
    use super::source::absolute;
    let base: url::Url = "https://data.example.org/ds/".parse().unwrap();
    for good in [
        "https://store.example.org/x?signature=1",
        "data/x",
        "/x",
        "//other.example.org/x",
    ] {
        let (url, shown) = absolute(&base, good).unwrap();
        assert!(url.scheme() == "https" && !shown.contains("signature"), "{url} {shown}");
    }
    let reason = absolute(&base, "http://data.example.org/ds/data/x").unwrap_err();
    assert!(reason.contains("plain HTTP"), "{reason}");
    for bad in ["file:///etc/passwd", "ftp://x/", "https://"] {
        assert!(absolute(&base, bad).is_err(), "{bad}");
    }
    let plain: url::Url = "http://data.example.org/ds/".parse().unwrap();
    assert!(absolute(&plain, "http://other.example.org/x").is_ok());
}

#[test]
fn an_agent_for_https_asks_nobody_by_plain_http() {
    let agent = crate::http::agent("HTTPS://data.example.org/", None);
    let error = agent.get("http://127.0.0.1:1/").call().unwrap_err();
    assert!(matches!(error, ureq::Error::RequireHttpsOnly(_)), "{error}");
    assert!(crate::http::in_words(&error).contains("plain HTTP"));
    let error = crate::http::agent("http://x/", None)
        .get("http://127.0.0.1:1/")
        .call()
        .unwrap_err();
    assert!(!matches!(error, ureq::Error::RequireHttpsOnly(_)), "{error}");
}
