//! Datasets that are brought up to date from their own sources.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::sandbox::Sandbox;

/// What a server has, and how it behaves.
#[derive(Clone, Default)]
struct Page {
    body: Vec<u8>,
    etag: Option<String>,
    modified: Option<String>,
    /// Bytes that it announces beside those it has.
    lie: i64,
}

/// An HTTP server that answers conditional requests.
struct Server {
    port: u16,
    page: Arc<Mutex<Page>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let page: Arc<Mutex<Page>> = Arc::default();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (pages, heard) = (page.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).unwrap_or(0) > 2 {}
                let page = pages.lock().unwrap().clone();
                let answer = page.answer(&head.to_ascii_lowercase());
                heard.lock().unwrap().push(head);
                let _ = stream.write_all(&answer);
            }
        });
        Self { port, page, requests }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/rows.csv", self.port)
    }

    fn set(&self, page: Page) {
        *self.page.lock().unwrap() = page;
    }

    fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Page {
    fn answer(&self, request: &str) -> Vec<u8> {
        let mut headers = String::new();
        let mut current = false;
        if let Some(etag) = &self.etag {
            headers.push_str(&format!("ETag: {etag}\r\n"));
            current |= request.contains(&format!("if-none-match: {etag}\r\n"));
        }
        if let Some(modified) = &self.modified {
            headers.push_str(&format!("Last-Modified: {modified}\r\n"));
            current |= request.contains(&format!("if-modified-since: {modified}\r\n").to_ascii_lowercase());
        }
        if current {
            return format!("HTTP/1.1 304 Not Modified\r\n{headers}\r\n").into_bytes();
        }
        let length = self.body.len() as i64 + self.lie;
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes();
        answer.extend_from_slice(&self.body);
        answer
    }
}

fn manifest(name: &str, fetch: &str, rest: &str) -> String {
    format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    - kind: SetPollingSource\n      \
         fetch: {fetch}\n      read: {{kind: Csv, header: true, schema: {{fields: [{{name: id, type: Int64}}, {{name: city, \
         type: String}}]}}}}\n{rest}\n"
    )
}

const LEDGER: &str = "      merge: {kind: Ledger, primaryKey: [id]}";
const APPEND: &str = "      merge: {kind: Append}";

fn add(sandbox: &Sandbox, manifest: &str) {
    sandbox.file("dataset.yaml", manifest);
    sandbox.run(&["add", "dataset.yaml"]).ok();
}

fn events(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let log: Vec<Value> = serde_json::from_str(&sandbox.run(&["log", name]).ok()).unwrap();
    let mut kinds: Vec<String> = log
        .iter()
        .map(|block| block["Event"].as_str().unwrap().to_owned())
        .collect();
    kinds.reverse();
    kinds
}

fn rows(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    serde_json::from_str(&sandbox.run(&["tail", name, "-n", "1000"]).ok()).unwrap()
}

#[test]
fn a_url_is_asked_for_what_is_new() {
    let sandbox = Sandbox::new();
    let server = Server::start();
    add(
        &sandbox,
        &manifest("cities", &format!("{{kind: Url, url: \"{}\"}}", server.url()), LEDGER),
    );
    server.set(Page {
        body: b"id,city\n1,Oslo\n2,Rome\n".to_vec(),
        modified: Some("Sun, 04 Jan 2026 00:00:00 GMT".to_owned()),
        ..Page::default()
    });
    let first = sandbox.run(&["pull", "cities"]);
    assert!(first.err.contains("1 dataset(s) updated"), "{}", first.err);
    let out = first.ok();
    assert!(
        out.starts_with("cities: updated to f1620") && out.ends_with("(2 block(s), 2 row(s))\n"),
        "{out}"
    );
    assert_eq!(rows(&sandbox, "cities")[0]["event_time"], "2026-01-04T00:00:00Z");

    let again = sandbox.run(&["pull", "cities"]);
    assert!(again.err.contains("1 dataset(s) up-to-date"), "{}", again.err);
    assert_eq!(again.ok(), "cities is up to date\n");
    assert_eq!(server.asked(), 2);

    server.set(Page {
        body: b"id,city\n1,Oslo\n2,Rome\n3,Lima\n".to_vec(),
        etag: Some("\"v3\"".to_owned()),
        ..Page::default()
    });
    assert!(sandbox.run(&["pull", "--all"]).ok().contains("1 row(s)"));
    // Nothing new in it, but its state moved on.
    server.set(Page {
        body: b"id,city\n3,Lima\n".to_vec(),
        etag: Some("\"v4\"".to_owned()),
        ..Page::default()
    });
    assert!(sandbox.run(&["pull", "ci%"]).ok().contains("(1 block(s), 0 row(s))"));
    assert_eq!(rows(&sandbox, "cities").len(), 3);
    assert_eq!(
        events(&sandbox, "cities"),
        [
            "Seed",
            "SetPollingSource",
            "SetDataSchema",
            "AddData",
            "AddData",
            "AddData"
        ]
    );
    sandbox.run(&["verify", "cities"]).ok();
}

#[test]
fn a_server_that_lies_or_is_gone_changes_nothing() {
    let sandbox = Sandbox::new();
    let server = Server::start();
    add(
        &sandbox,
        &manifest("cities", &format!("{{kind: Url, url: \"{}\"}}", server.url()), LEDGER),
    );
    let honest = Page {
        body: b"id,city\n1,Oslo\n2,Rome\n".to_vec(),
        ..Page::default()
    };
    for lie in [5, -5] {
        server.set(Page { lie, ..honest.clone() });
        let err = sandbox.run(&["pull", "cities"]).failed(9);
        assert!(err.contains("announced") && err.contains("nothing was taken"), "{err}");
    }
    // A row that ends in the middle, in a body that is as long as announced.
    server.set(Page {
        body: b"id,city\n1,Oslo\n2".to_vec(),
        ..Page::default()
    });
    let err = sandbox.run(&["pull", "cities"]).failed(5);
    assert!(err.contains("line 3"), "{err}");
    assert_eq!(events(&sandbox, "cities"), ["Seed", "SetPollingSource"]);
    // Nothing of all that is left behind.
    let spool = sandbox.workspace().join("spool");
    assert_eq!(std::fs::read_dir(spool).map_or(0, Iterator::count), 0);
    server.set(honest);
    sandbox.run(&["pull", "cities"]).ok();
}

#[test]
fn a_source_without_a_state_is_asked_once_unless_somebody_insists() {
    let sandbox = Sandbox::new();
    let server = Server::start();
    add(
        &sandbox,
        &manifest("cities", &format!("{{kind: Url, url: \"{}\"}}", server.url()), APPEND),
    );
    server.set(Page {
        body: b"id,city\n1,Oslo\n".to_vec(),
        ..Page::default()
    });
    sandbox.run(&["pull", "cities"]).ok();
    let asked = server.asked();
    let skipped = sandbox.run(&["pull", "cities"]);
    assert!(skipped.err.contains("--fetch-uncacheable"), "{}", skipped.err);
    assert_eq!(skipped.ok(), "cities is up to date\n");
    assert_eq!(server.asked(), asked);
    sandbox.run(&["pull", "cities", "--fetch-uncacheable"]).ok();
    assert_eq!(rows(&sandbox, "cities").len(), 2);
}

#[test]
fn a_watermark_is_set_by_hand() {
    let sandbox = Sandbox::new();
    let server = Server::start();
    add(
        &sandbox,
        &manifest("cities", &format!("{{kind: Url, url: \"{}\"}}", server.url()), LEDGER),
    );
    server.set(Page {
        body: b"id,city\n1,Oslo\n".to_vec(),
        modified: Some("Sun, 04 Jan 2026 00:00:00 GMT".to_owned()),
        ..Page::default()
    });
    sandbox.run(&["pull", "cities"]).ok();
    let out = sandbox
        .run(&["pull", "cities", "--set-watermark", "2026-02-01T02:00:00+02:00"])
        .ok();
    assert!(
        out.starts_with("cities: watermark set to 2026-02-01T00:00:00Z"),
        "{out}"
    );
    for earlier in ["2026-02-01T00:00:00Z", "2025-01-01T00:00:00Z"] {
        let outcome = sandbox.run(&["pull", "cities", "--set-watermark", earlier]);
        assert!(outcome.err.contains("1 dataset(s) up-to-date"), "{}", outcome.err);
        assert_eq!(
            outcome.ok(),
            "cities is up to date; its watermark is 2026-02-01T00:00:00Z\n"
        );
    }
    // As in kamu, the state of the source went with it.
    let skipped = sandbox.run(&["pull", "cities"]);
    assert!(skipped.err.contains("--fetch-uncacheable"), "{}", skipped.err);
    for wrong in [
        &["pull", "cities", "--set-watermark", "2026-02-01"][..],
        &["pull", "%", "--set-watermark", "2027-02-01T00:00:00Z"],
        &["pull", "--all", "--set-watermark", "2027-02-01T00:00:00Z"],
        &["pull", "cities", "cities", "--set-watermark", "2027-02-01T00:00:00Z"],
    ] {
        let _ = sandbox.run(wrong).failed(2);
    }
}

#[test]
fn files_of_a_pattern_are_taken_in_the_order_of_their_names() {
    let sandbox = Sandbox::new();
    let fetch = "{kind: FilesGlob, path: \"in/*.csv\", order: ByName, eventTime: {kind: FromPath, pattern: '(\\d+-\\d+-\\d+)'}}";
    add(&sandbox, &manifest("cities", fetch, APPEND));
    let _ = sandbox.run(&["pull", "cities"]).failed(3);
    sandbox.file("in/2024-02-01.csv", "id,city\n2,Rome\n");
    sandbox.file("in/2024-01-01.csv", "id,city\n1,Oslo\n");
    let out = sandbox.run(&["pull", "cities"]).ok();
    assert!(out.contains("(3 block(s), 2 row(s))"), "{out}");
    sandbox.file("in/2024-03-01.csv", "id,city\n3,Lima\n");
    assert!(sandbox.run(&["pull", "cities"]).ok().contains("(1 block(s), 1 row(s))"));
    assert_eq!(sandbox.run(&["pull", "cities"]).ok(), "cities is up to date\n");
    let rows: Vec<(Value, Value)> = rows(&sandbox, "cities")
        .into_iter()
        .map(|row| (row["city"].clone(), row["event_time"].clone()))
        .collect();
    let expected = ["Oslo", "Rome", "Lima"]
        .iter()
        .zip(1..)
        .map(|(city, month)| (Value::from(*city), Value::from(format!("2024-0{month}-01T00:00:00Z"))));
    assert_eq!(rows, expected.collect::<Vec<_>>());
    // What was taken before a bad file stays.
    sandbox.file("in/2024-04-01.csv", "id,city\n4,Bonn\n");
    sandbox.file("in/2024-05-01.csv", "id,city\nfive,Bern\n");
    let outcome = sandbox.run(&["pull", "cities"]);
    assert!(outcome.out.contains("(1 block(s), 1 row(s))"), "{}", outcome.out);
    let err = outcome.failed(6);
    assert!(err.contains("2024-05-01.csv") && err.contains("five"), "{err}");
}

#[test]
fn data_is_prepared_by_commands_and_variables() {
    let sandbox = Sandbox::new();
    sandbox.file("in/a.csv", "1;Oslo\n2;Rome\n");
    let fetch = "{kind: FilesGlob, path: \"${{ env.IN || 'in' }}/*.csv\"}";
    let steps = "      prepare: [{kind: Pipe, command: [sh, -c, \"echo 'id;city'; cat\"]}, {kind: Pipe, command: [tr, ';', ',']}]\n";
    add(&sandbox, &manifest("cities", fetch, &format!("{steps}{APPEND}")));
    sandbox.run(&["pull", "cities"]).ok();
    assert_eq!(rows(&sandbox, "cities").len(), 2);

    let fetch = "{kind: FilesGlob, path: \"${{ env.NOWHERE }}/*.csv\"}";
    add(&sandbox, &manifest("secret", fetch, APPEND));
    let err = sandbox.run(&["pull", "secret"]).failed(2);
    assert!(
        err.contains("env.NOWHERE") && err.contains("set NOWHERE in the environment"),
        "{err}"
    );

    let failing = "      prepare: [{kind: Pipe, command: [sh, -c, \"echo no such luck >&2; exit 7\"]}]\n";
    add(
        &sandbox,
        &manifest(
            "failing",
            "{kind: FilesGlob, path: \"in/*.csv\"}",
            &format!("{failing}{APPEND}"),
        ),
    );
    let outcome = sandbox.run(&["pull", "failing", "cities"]);
    assert!(outcome.err.contains("exit code 7: no such luck"), "{}", outcome.err);
    assert!(outcome.err.contains("1 dataset(s) up-to-date"), "{}", outcome.err);
    let _ = outcome.failed(5);
}

#[test]
fn commands_of_others_are_run_only_when_allowed() {
    let sandbox = Sandbox::new();
    sandbox.file("in/a.csv", "id,city\n1,Oslo\n");
    let pipe = "      prepare: [{kind: Pipe, command: [tee, ran]}]\n";
    sandbox.file(
        "dataset.yaml",
        manifest(
            "cities",
            "{kind: FilesGlob, path: \"in/*.csv\"}",
            &format!("{pipe}{APPEND}"),
        ),
    );
    // A dataset whose key is elsewhere.
    let id = "did:odf:fed01000000000000000000000000000000000000000000000000000000000000000a";
    sandbox.run(&["add", "dataset.yaml", "--dataset-id", id]).ok();
    let err = sandbox.run(&["pull", "cities"]).failed(7);
    assert!(err.contains("not confirmed"), "{err}");
    assert!(!sandbox.path().join("ran").exists());
    sandbox.run(&["pull", "cities", "--yes"]).ok();
    assert!(sandbox.path().join("ran").exists());
}

#[test]
fn a_dataset_without_a_way_has_nothing_to_pull() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id,city\n1,Oslo\n");
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    let outcome = sandbox.run(&["pull", "t"]);
    assert!(outcome.err.contains("t has no source"), "{}", outcome.err);
    outcome.ok();
    let _ = sandbox.run(&["pull", "--all"]).failed(3);
    let _ = sandbox.run(&["pull", "x%"]).failed(3);
}
