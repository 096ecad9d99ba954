//! Datasets exchanged with directories, web servers and workspaces of kamu.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox, wait_for};

/// The datasets made by kamu.
fn golden() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let golden = Path::new(&package).join("../interop-tests/reference/golden");
    golden.canonicalize().unwrap()
}

fn names(golden: &Path) -> Vec<String> {
    let entries = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("dataset").is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Files below a directory with their content, without `info`.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut dirs) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => {
                    let name = path.strip_prefix(dir).unwrap().to_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
    }
    files.retain(|name, _| !name.starts_with("info"));
    files
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

fn table(rows: u32) -> String {
    let rows: String = (0..rows).map(|row| format!("{row},word {row}\n")).collect();
    format!("id,word\n{rows}")
}

/// A sandbox with a dataset `t`, pushed to a directory.
fn pushed() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", table(5));
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    let there = sandbox.path().join("there");
    sandbox.run(&["push", "t", "--to", &url(&there)]).ok();
    (sandbox, there)
}

#[test]
fn datasets_of_kamu_come_and_go_byte_for_byte() {
    let golden = golden();
    let sandbox = Sandbox::new();
    let out = sandbox.path().join("out");
    sandbox.run(&["repo", "add", "out", &url(&out)]).ok();
    for name in names(&golden) {
        let dataset = golden.join(&name).join("dataset");
        let head = fs::read_to_string(dataset.join("refs/head")).unwrap();
        let told = sandbox.run(&["pull", &url(&dataset), "--as", &name]).ok();
        assert!(told.starts_with(&format!("Pulled {name} at {head} (")), "{told}");
        assert_eq!(sandbox.run(&["pull", &name]).ok(), format!("{name} is up to date\n"));
        sandbox.run(&["push", &name, "--to", "out"]).ok();
        assert_eq!(tree(&out.join(&name)), tree(&dataset), "{name}");
        let told = sandbox.run(&["push", &name]).ok();
        assert!(
            told.ends_with(&format!("/out/{name}/ is up to date with {name}\n")),
            "{told}"
        );
    }
    let verified = json(sandbox.run(&["verify", "%"]));
    assert_eq!(verified.as_array().unwrap().len(), names(&golden).len());
    // A dataset called like another one that is here already.
    let [first, second] = [0, 1].map(|at| url(&golden.join(&names(&golden)[at]).join("dataset")));
    let other = Sandbox::new();
    other.run(&["pull", &first, "--as", "x"]).ok();
    let error = other.run(&["pull", &second, "--as", "X"]).failed(7);
    assert!(error.contains("the name `X` is taken by did:odf:"), "{error}");
}

#[test]
fn a_workspace_of_kamu_is_taken_over_and_left_alone() {
    let golden = golden();
    let workspace = golden.join("workspace");
    let before = tree(&workspace);
    let sandbox = Sandbox::new();
    let from = workspace.to_str().unwrap();
    let told = sandbox.run(&["pull", "--from-workspace", from, "counter.long"]).ok();
    assert!(told.starts_with("Pulled counter.long at f1620"), "{told}");
    let outcome = sandbox.run(&["pull", "--from-workspace", from]);
    let count = names(&golden).len();
    assert!(
        outcome
            .err
            .contains(&format!("{} dataset(s) updated\n1 dataset(s) up-to-date", count - 1)),
        "{}",
        outcome.err
    );
    assert!(outcome.ok().contains("counter.long is up to date\n"));
    let list = json(sandbox.run(&["list", "--wide"]));
    for (row, name) in list.as_array().unwrap().iter().zip(names(&golden)) {
        let head = fs::read_to_string(golden.join(&name).join("dataset/refs/head")).unwrap();
        assert_eq!(
            (row["Name"].as_str(), row["Head"].as_str()),
            (Some(&*name), Some(&*head))
        );
        assert!(!row["Kind"].as_str().unwrap().contains("Remote"), "{row}");
    }
    sandbox.run(&["verify", "%"]).ok();
    assert_eq!(tree(&workspace), before);
    let error = sandbox.run(&["pull", "--from-workspace", from, "nobody"]).failed(3);
    assert!(error.contains("no dataset `nobody`"), "{error}");
    sandbox.run(&["pull", "--from-workspace", "."]).failed(3);
    sandbox.file(".kamu/version", "6");
    let error = sandbox.run(&["pull", "--from-workspace", "."]).failed(5);
    assert!(
        error.contains("workspace version 6") && error.contains("upgrade-workspace"),
        "{error}"
    );
}

#[test]
fn heads_are_compared_both_ways() {
    let (sandbox, there) = pushed();
    let address = url(&there);
    let other = Sandbox::new();
    other.run(&["pull", &address, "--as", "t"]).ok();
    sandbox.file("t.csv", table(8));
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    let told = sandbox.run(&["push", "t"]).ok();
    assert!(
        told.starts_with("Pushed t to file:///") && told.ends_with(" (1 block(s))\n"),
        "{told}"
    );
    let told = other.run(&["pull", "t"]).ok();
    assert!(
        told.starts_with("t: updated to f1620") && told.ends_with(" (1 block(s))\n"),
        "{told}"
    );
    assert_eq!(json(other.run(&["tail", "t"])).as_array().unwrap().len(), 8);

    // Ahead of the directory, and behind it.
    let log = json(sandbox.run(&["log", "t"]));
    let head = fs::read_to_string(there.join("refs/head")).unwrap();
    let before = log[1]["Block"]
        .as_str()
        .or_else(|| log[1]["Hash"].as_str())
        .unwrap()
        .to_owned();
    fs::write(there.join("refs/head"), &before).unwrap();
    let told = other.run(&["pull", "t"]).ok();
    assert!(
        told.starts_with("t is up to date; it is 1 block(s) ahead of the remote head"),
        "{told}"
    );
    let old = Sandbox::new();
    old.run(&["pull", &address, "--as", "t"]).ok();
    fs::write(there.join("refs/head"), &head).unwrap();
    let error = old.run(&["push", "t", "--to", &address]).failed(7);
    assert!(
        error.contains("is ahead by 1 block(s)") && error.contains(&head) && error.contains(&before),
        "{error}"
    );
    old.run(&["push", "t", "--to", &address, "--force"]).ok();
    assert_eq!(fs::read_to_string(there.join("refs/head")).unwrap(), before);
    old.run(&["pull", &address]).ok();
    let outcome = other.run(&["pull", "t", "--force", "--yes"]);
    assert!(
        outcome.err.contains("1 local block(s)") && outcome.err.contains(&head),
        "{}",
        outcome.err
    );
    outcome.ok();
    assert_eq!(json(other.run(&["tail", "t"])).as_array().unwrap().len(), 5);
    other.run(&["verify", "t"]).ok();
}

#[test]
fn chains_that_diverged_are_told_apart_and_force_decides() {
    let (sandbox, there) = pushed();
    let address = url(&there);
    // The same key in two places is all that it takes.
    let other = Sandbox::new();
    sandbox.run(&["key", "export", "t", "-o", "t.key"]).ok();
    other.run(&["pull", &address, "--as", "t", "--no-alias"]).ok();
    other
        .run(&["key", "import", "t", sandbox.path().join("t.key").to_str().unwrap()])
        .ok();
    other.file("t.csv", table(7));
    other
        .run(&["publish", "t.csv", "--name", "t", "--exit", "--append-all"])
        .ok();
    sandbox.file("t.csv", table(9));
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    sandbox.run(&["push", "t"]).ok();
    let head = |sandbox: &Sandbox| {
        json(sandbox.run(&["list", "-w"]))[0]["Head"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (mine, theirs) = (head(&other), head(&sandbox));
    for error in [
        other.run(&["pull", &address]).failed(7),
        other.run(&["push", "t", "--to", &address]).failed(7),
    ] {
        assert!(error.contains("diverged after 4 common block(s)"), "{error}");
        assert!(
            error.contains(&mine) && error.contains(&theirs) && error.contains("--force"),
            "{error}"
        );
    }
    assert_eq!((head(&other), head(&sandbox)), (mine, theirs.clone()));
    other.run(&["pull", &address, "--force", "--yes"]).ok();
    assert_eq!(head(&other), theirs);
    other.run(&["verify", "t"]).ok();
    assert_eq!(other.run(&["tail", "t"]).ok(), sandbox.run(&["tail", "t"]).ok());
}

#[test]
fn damage_on_the_way_is_named_and_nothing_is_taken() {
    let (_sandbox, there) = pushed();
    let address = url(&there);
    let other = Sandbox::new();
    let data = fs::read_dir(there.join("data"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = fs::read(&data).unwrap();
    fs::write(&data, &whole[..whole.len() - 1]).unwrap();
    let error = other.run(&["pull", &address]).failed(10);
    assert!(
        error.contains(data.file_name().unwrap().to_str().unwrap()) && error.contains("bytes"),
        "{error}"
    );
    fs::write(&data, &whole).unwrap();
    let head = fs::read_to_string(there.join("refs/head")).unwrap();
    let block = there.join("blocks").join(&head);
    let bytes = fs::read(&block).unwrap();
    fs::write(&block, b"something else").unwrap();
    let error = other.run(&["pull", &address]).failed(10);
    assert!(error.contains(&format!("metadata block {head}")), "{error}");
    fs::write(&block, bytes).unwrap();
    fs::write(there.join("refs/head"), format!("{head}\n")).unwrap();
    let error = other.run(&["pull", &address]).failed(10);
    assert!(error.contains("line end"), "{error}");
    fs::remove_file(there.join("refs/head")).unwrap();
    let error = other.run(&["pull", &address]).failed(3);
    assert!(error.contains("there is no dataset at"), "{error}");
    assert_eq!(other.run(&["list"]).ok(), "[]\n");
    fs::write(there.join("refs/head"), head).unwrap();
    other.run(&["pull", &address]).ok();
}

/// A web server with a directory, for as long as the test runs.
struct Server {
    url: String,
    state: Arc<ServerState>,
}

struct ServerState {
    dir: PathBuf,
    /// Who does not bring it gets nothing.
    token: Option<&'static str>,
    /// The file of which only half is sent, for now.
    stalled: Mutex<Option<String>>,
    /// Every path that was asked for.
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn new(dir: &Path, token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(ServerState {
            dir: dir.to_owned(),
            token,
            stalled: Mutex::default(),
            asked: Mutex::default(),
        });
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), serving.clone());
                std::thread::spawn(move || state.answer(stream));
            }
        });
        Self { url, state }
    }

    fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    fn stall(&self, file: Option<&str>) {
        *self.state.stalled.lock().unwrap() = file.map(str::to_owned);
        self.state.asked.lock().unwrap().clear();
    }
}

impl ServerState {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let allowed = self.token.is_none_or(|token| {
            let wanted = format!("authorization: bearer {token}");
            headers.iter().any(|line| line.eq_ignore_ascii_case(&wanted))
        });
        let path = first.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        self.asked.lock().unwrap().push(path.clone());
        let (status, body) = match fs::read(self.dir.join(&path)) {
            _ if !allowed => (401, Vec::new()),
            Ok(bytes) => (200, bytes),
            Err(_) => (404, Vec::new()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        let is_stalled = || {
            self.stalled
                .lock()
                .unwrap()
                .as_ref()
                .is_some_and(|file| path.ends_with(file))
        };
        let half = if is_stalled() { length / 2 } else { length };
        // The client may have seen enough.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body[..half]));
        while is_stalled() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_pull_that_is_killed_goes_on_where_it_was() {
    let (sandbox, there) = pushed();
    for rows in [6, 7, 8] {
        sandbox.file("t.csv", table(rows));
        sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    }
    sandbox.run(&["push", "t"]).ok();
    let log = json(sandbox.run(&["log", "t", "--filter", "data"]));
    let slices: Vec<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Content"]["newData"]["physicalHash"].as_str().unwrap())
        .collect();
    assert_eq!(slices.len(), 4);
    let server = Server::new(&there, None);
    server.stall(Some(slices[0]));
    let other = Sandbox::new();
    let mut running = other.start(&["pull", &server.url, "--as", "t"]);
    let arrived = || {
        let datasets = fs::read_dir(other.workspace().join("datasets")).into_iter().flatten();
        let dirs: Vec<PathBuf> = datasets.map(|entry| entry.unwrap().path().join("data")).collect();
        slices[1..]
            .iter()
            .all(|slice| dirs.iter().any(|dir| dir.join(slice).is_file()))
            && server.asked().iter().any(|path| path.ends_with(slices[0]))
    };
    wait_for("the other slices", arrived);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, None);
    assert_eq!(other.run(&["list"]).ok(), "[]\n");
    server.stall(None);
    let told = other.run(&["pull", &server.url, "--as", "t"]).ok();
    assert!(told.starts_with("Pulled t at"), "{told}");
    let asked = server.asked();
    let objects: Vec<&String> = asked.iter().filter(|path| path.starts_with("data/")).collect();
    assert_eq!(objects, [&format!("data/{}", slices[0])]);
    other.run(&["verify", "t"]).ok();
    assert_eq!(other.run(&["tail", "t"]).ok(), sandbox.run(&["tail", "t"]).ok());
}

#[test]
fn a_web_server_is_a_repository_to_read_from() {
    let (sandbox, there) = pushed();
    let server = Server::new(there.parent().unwrap(), Some("s3cret")).url;
    let other = Sandbox::new();
    let dataset = format!("{server}there");
    let error = other.run(&["pull", &dataset]).failed(16);
    assert!(error.contains("401") && error.contains("odfs repo add"), "{error}");
    let outcome = other.run_with_input(&["repo", "add", "Web", &server, "--token", "-"], b"s3cret\n");
    assert!(!outcome.err.contains("s3cret"), "{}", outcome.err);
    outcome.ok();
    let listed = other.run(&["repo", "list"]).ok();
    assert!(!listed.contains("s3cret"), "{listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed,
        serde_json::json!([{"Name": "Web", "Url": server, "Token": true}])
    );
    let told = other.run(&["pull", "web/there"]).ok();
    assert!(told.starts_with("Pulled there at"), "{told}");
    let aliases = json(other.run(&["repo", "alias", "list"]));
    assert_eq!(
        aliases,
        serde_json::json!([{"Dataset": "there", "Kind": "Pull", "Alias": "web/there"}])
    );
    // The token goes with the URL too, and the dataset is known under either.
    assert_eq!(
        other
            .run(&["pull", &dataset, "there"])
            .ok()
            .matches("there is up to date")
            .count(),
        2
    );
    assert_eq!(other.run(&["tail", "there"]).ok(), sandbox.run(&["tail", "t"]).ok());
    let error = other.run(&["push", "there", "--to", "web"]).failed(7);
    assert!(
        error.contains("can only be read") && error.contains("odf+http://"),
        "{error}"
    );
    other.run(&["pull", "web/nobody"]).failed(3);
    other.run(&["pull", "wab/there"]).failed(3);
}

#[test]
fn rows_are_taken_into_what_is_pulled_only_if_they_go_back() {
    let (_sandbox, there) = pushed();
    let other = Sandbox::new();
    other.run(&["repo", "add", "all", &url(there.parent().unwrap())]).ok();
    other.run(&["pull", "all/there", "--as", "t"]).ok();
    other.file("more.csv", table(7));
    let error = other.run(&["ingest", "t", "more.csv"]).failed(7);
    assert!(error.contains("odfs repo alias add --push t all/there"), "{error}");
    // Another place to push to is not the one that rows come from.
    other
        .run(&["repo", "alias", "add", "--push", "t", "all/elsewhere"])
        .ok();
    other.run(&["ingest", "t", "more.csv"]).failed(7);
    // The same place in other words.
    other.run(&["repo", "alias", "add", "--push", "t", &url(&there)]).ok();
    other.run(&["ingest", "t", "more.csv"]).ok();
    other.run(&["push", "t", "--to", "all/there"]).ok();
    assert!(other.run(&["pull", "t"]).ok().contains("is up to date"));
}

#[test]
fn repositories_and_aliases_are_kept_and_dropped() {
    let (sandbox, there) = pushed();
    let repo = url(&sandbox.path().join("many"));
    sandbox.run(&["repo", "add", "many", &repo]).ok();
    sandbox.run(&["repo", "add", "many", &repo]).failed(7);
    sandbox.run(&["repo", "add", "Many", &repo]).failed(7);
    for bad in ["s3://bucket", "nowhere", "file://relative", "http://user:pw@host/"] {
        sandbox.run(&["repo", "add", "bad", bad]).failed(2);
    }
    sandbox.run(&["repo", "add", "bad name", &repo]).failed(2);
    sandbox.run(&["repo", "add", "bad", &repo, "--token", "x"]).failed(2);
    sandbox.run(&["repo", "alias", "add", "t", "many/t"]).failed(2);
    sandbox
        .run(&["repo", "alias", "add", "t", "other/t", "--push"])
        .failed(3);
    sandbox
        .run(&["repo", "alias", "add", "t", "many/t", "--push", "--pull"])
        .ok();
    let aliases = || -> Vec<(String, String)> {
        let rows = json(sandbox.run(&["repo", "alias", "list", "t"]));
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| [&row["Kind"], &row["Alias"]].map(|cell| cell.as_str().unwrap().to_owned()))
            .map(|[kind, alias]| (kind, alias))
            .collect()
    };
    let pair = |kind: &str, alias: &str| (kind.to_owned(), alias.to_owned());
    let first = format!("{}/", url(&there));
    assert_eq!(
        aliases(),
        [pair("Pull", "many/t"), pair("Push", &first), pair("Push", "many/t")]
    );
    // Several places: one has to be named.
    let error = sandbox.run(&["push", "t"]).failed(7);
    assert!(error.contains("many/t") && error.contains("--to"), "{error}");
    sandbox.run(&["push", "t", "--to", "many", "--no-alias"]).ok();
    assert_eq!(tree(&sandbox.path().join("many/t")), tree(&there));
    // Its key is here: whoever has it adds rows wherever the dataset was pulled from.
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    sandbox.run(&["repo", "alias", "delete", "t", "many/t", "--pull"]).ok();
    sandbox.run(&["repo", "alias", "delete", "t", &url(&there)]).ok();
    assert_eq!(aliases(), [pair("Push", "many/t")]);
    assert_eq!(sandbox.run(&["push", "t"]).ok().matches("is up to date").count(), 1);
    sandbox.run(&["repo", "delete", "many"]).failed(7);
    sandbox.run(&["-y", "repo", "delete", "many", "other"]).failed(3);
    sandbox.run(&["-y", "repo", "delete", "--all"]).ok();
    assert_eq!(sandbox.run(&["repo", "list"]).ok(), "[]\n");
    sandbox.run(&["push", "t"]).failed(3);
    let outcome = sandbox.run(&["repo", "alias", "delete", "--all"]);
    assert!(outcome.err.contains("Deleted 1 alias(es)"), "{}", outcome.err);
    outcome.ok();
    assert_eq!(aliases(), []);
}
