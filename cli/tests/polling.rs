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
        out.starts_with("cities: updated to f1620") && out.ends_with("(2 block(s), 2 row(s)): 2 added\n"),
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
    assert!(out.starts_with("cities: complete until 2026-02-01T00:00:00Z"), "{out}");
    for earlier in ["2026-02-01T00:00:00Z", "2025-01-01T00:00:00Z"] {
        let outcome = sandbox.run(&["pull", "cities", "--set-watermark", earlier]);
        assert!(outcome.err.contains("1 dataset(s) up-to-date"), "{}", outcome.err);
        assert_eq!(
            outcome.ok(),
            "cities is up to date; it is complete until 2026-02-01T00:00:00Z\n"
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
    // Without the variable nobody knows what it would read, so it waits.
    let err = sandbox.run(&["pull", "secret"]).failed(17);
    assert!(err.contains("NOWHERE") && err.contains("odfs approve secret"), "{err}");
    let err = sandbox.run(&["--yes", "approve", "secret"]).failed(2);
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
fn a_source_runs_only_while_it_is_approved() {
    let sandbox = Sandbox::new();
    sandbox.file("in/a.csv", "id,city\n1,Oslo\n");
    let pipe = "      prepare: [{kind: Pipe, command: [tee, ran]}]\n";
    let fetch = "{kind: FilesGlob, path: \"in/*.csv\"}";
    sandbox.file("dataset.yaml", manifest("cities", fetch, &format!("{pipe}{APPEND}")));
    let added = sandbox.run(&["add", "dataset.yaml"]);
    assert!(
        added.err.contains("runs the command `tee ran`") && added.err.contains("in/*.csv"),
        "{}",
        added.err
    );
    added.ok();
    let listed: Value = serde_json::from_str(&sandbox.run(&["approve", "--list"]).ok()).unwrap();
    let row = &listed[0];
    assert_eq!((&row["Name"], &row["State"]), (&"cities".into(), &"approved".into()));
    assert_eq!(row["Commands"], serde_json::json!([["tee", "ran"]]));
    let inside = sandbox.path().canonicalize().unwrap().join("in");
    assert_eq!(row["Paths"], serde_json::json!([inside.to_str().unwrap()]));

    sandbox.run(&["approve", "--revoke", "cities"]).ok();
    // That every question is answered with yes is no approval.
    for args in [&["pull", "cities"][..], &["--yes", "pull", "cities"]] {
        let err = sandbox.run(args).failed(17);
        assert!(
            err.contains("runs the command `tee ran`") && err.contains("`odfs approve cities`"),
            "{err}"
        );
    }
    let all = sandbox.run(&["pull", "--all"]);
    assert!(
        all.err.contains("cities waits for `odfs approve cities`"),
        "{}",
        all.err
    );
    all.ok();
    assert!(!sandbox.path().join("ran").exists());
    let err = sandbox.run(&["approve", "cities"]).failed(7);
    assert!(err.contains("it runs the command `tee ran`"), "{err}");
    sandbox.run(&["--yes", "approve", "cities"]).ok();
    sandbox.run(&["pull", "cities"]).ok();
    assert!(sandbox.path().join("ran").exists());
    // Somebody who has the workspace compacted or set back has the same source.
    sandbox.file("in/b.csv", "id,city\n2,Rome\n");
    sandbox.run(&["pull", "cities"]).ok();
    sandbox.run(&["--yes", "system", "compact", "--hard", "cities"]).ok();
    sandbox.file("in/c.csv", "id,city\n3,Lima\n");
    sandbox.run(&["pull", "cities"]).ok();
    // The approval is of the directory it was given in.
    sandbox.file("elsewhere/in/d.csv", "id,city\n4,Bonn\n");
    let outcome = {
        let mut command = sandbox.command(&["pull", "cities"]);
        command.current_dir(sandbox.path().join("elsewhere"));
        command.output().unwrap()
    };
    let err = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(17), "{err}");
    assert!(err.contains("in/d.csv") && err.contains("was approved"), "{err}");
}

#[test]
fn settings_bound_what_sources_may_use() {
    let sandbox = Sandbox::new();
    sandbox.file("in/a.csv", "id,city\n1,Oslo\n");
    let fetch = "{kind: FilesGlob, path: \"${{ env.IN || 'in' }}/*.csv\"}";
    add(&sandbox, &manifest("cities", fetch, APPEND));
    sandbox.run(&["config", "set", "source.variables", "CITY"]).ok();
    let err = sandbox.run(&["pull", "cities"]).failed(7);
    assert!(err.contains("source.variables") && err.contains("IN"), "{err}");
    sandbox.run(&["config", "set", "source.variables", "CITY,IN"]).ok();
    sandbox.run(&["config", "set", "source.directories", "/srv/none"]).ok();
    let err = sandbox.run(&["pull", "cities"]).failed(7);
    assert!(err.contains("source.directories"), "{err}");
    sandbox.run(&["config", "set", "source.directories"]).ok();
    sandbox.run(&["pull", "cities"]).ok();
}

#[test]
fn a_command_has_the_environment_of_whoever_runs_it() {
    let sandbox = Sandbox::new();
    for (name, city) in [("one", "Oslo"), ("two", "Rome")] {
        sandbox.file(&format!("{name}/a.csv"), format!("id,city\n1,{city}\n"));
    }
    let steps = "      prepare: [{kind: Pipe, command: [sh, -c, \"cat; echo 2,$MARK\"]}]\n";
    let fetch = "{kind: FilesGlob, path: \"${{ env.IN }}/*.csv\"}";
    sandbox.file("dataset.yaml", manifest("cities", fetch, &format!("{steps}{APPEND}")));
    let with = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = sandbox.command(args);
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            err,
        )
    };
    // A node that was started with other variables, and other settings.
    let mut command = sandbox.command(&["node"]);
    command.env("IN", "one").env("MARK", "node");
    let _node = crate::sandbox::Running::started(command);
    let socket = sandbox.workspace().join("node.sock");
    crate::sandbox::wait_for("the node", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let added = with(&["add", "dataset.yaml"], &[("IN", "two"), ("MARK", "caller")]);
    assert_eq!(added.0, Some(0), "{}", added.2);
    let pulled = with(&["pull", "cities"], &[("IN", "two"), ("MARK", "caller")]);
    assert_eq!(pulled.0, Some(0), "{}", pulled.2);
    let cities: Vec<Value> = rows(&sandbox, "cities").iter().map(|row| row["city"].clone()).collect();
    assert_eq!(cities, ["Rome", "caller"]);
    let settings = "network.bootstrap=[];network.listen=[];network.mdns=false;source.variables=NONE";
    let bounded = with(&["pull", "cities"], &[("IN", "two"), ("ODFS_CONFIG", settings)]);
    assert_eq!(bounded.0, Some(7), "{}", bounded.2);
    assert!(bounded.2.contains("source.variables"), "{}", bounded.2);
    let wrong = with(&["list"], &[("ODFS_CONFIG", "no.such.setting=1")]);
    assert_eq!(wrong.0, Some(2), "{}", wrong.2);
}

#[test]
fn a_dataset_that_was_only_published_here_asks_for_its_name() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "id,city\n1,Oslo\n");
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    let _ = sandbox.run(&["pull", "--all"]).failed(3);
    // Whoever else has its key may have published under its name.
    let asked = sandbox.run(&["pull", "t"]).failed(9);
    assert!(asked.contains("nobody could be asked for news of t"), "{asked}");
    let _ = sandbox.run(&["pull", "x%"]).failed(3);
}
