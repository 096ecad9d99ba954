//! The HTTP proxy that the environment of whoever gives a command names.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::sandbox::{Outcome, Running, Sandbox, wait_for};

/// Owns the workspace until its standard input is closed.
const OWNER: &[&str] = &["ipfs", "add", "-n", "-Q", "-"];
/// A host that nobody finds: only a proxy can lead to it.
const HOST: &str = "data.example";
const TABLE: &[u8] = b"id,city\n1,Oslo\n2,Rome\n";
const MANIFEST: &str = "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: polled\n  kind: Root\n  metadata:\n    \
    - kind: SetPollingSource\n      fetch: {kind: Url, url: \"http://data.example/rows.csv\"}\n      \
    read: {kind: Csv, header: true, schema: {fields: [{name: id, type: Int64}, {name: city, type: String}]}}\n      \
    merge: {kind: Append}\n";

/// A web server with a dataset at `/d/` and a table at `/rows.csv`. Asked to lead somewhere it is at the end of that way
/// itself.
struct Server {
    port: u16,
    /// The first line of every request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                // A client that goes away in the middle is no matter.
                std::thread::spawn(move || drop(serve(&stream, &heard)));
            }
        });
        Self { port, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// What it was asked since the last call of this.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Answers one request, and the one behind it if it only asked for a way.
fn serve(stream: &TcpStream, heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (mut reader, mut out) = (BufReader::new(stream), stream);
    let first = head(&mut reader, heard)?;
    let first = match first.starts_with("CONNECT ") {
        true => {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            head(&mut reader, heard)?
        }
        false => first,
    };
    let body = match first.split(' ').nth(1).unwrap_or_default() {
        "/rows.csv" => Some(TABLE.to_vec()),
        path => path
            .strip_prefix("/d/")
            .and_then(|file| std::fs::read(dataset().join(file)).ok()),
    };
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    out.write_all(&[head.as_bytes(), &body].concat())
}

/// Reads the head of a request; its first line.
fn head(reader: &mut BufReader<&TcpStream>, heard: &Mutex<Vec<String>>) -> std::io::Result<String> {
    let mut first = String::new();
    reader.by_ref().take(4096).read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    heard.lock().unwrap().push(first.clone());
    Ok(first)
}

/// A dataset made by kamu.
fn dataset() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop-tests/reference/golden/sensors.push/dataset")
}

fn run(mut command: Command, variables: &[(&str, &str)]) -> Outcome {
    command.envs(variables.iter().copied());
    Running::started(command).end()
}

#[test]
fn the_proxy_of_the_caller_is_asked_whoever_does_the_work() {
    let proxy = Server::start();
    let address = proxy.url("");
    for inside in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.file("dataset.yaml", MANIFEST);
        sandbox.run(&["add", "dataset.yaml"]).ok();
        let owner = inside.then(|| sandbox.start_owner(OWNER));
        let (far, table) = (format!("http://{HOST}/d/"), format!("http://{HOST}/rows.csv"));
        for (variable, args) in [
            ("HTTP_PROXY", &["pull", &far, "--as", "far"][..]),
            ("http_proxy", &["pull", "polled"]),
            ("ALL_PROXY", &["publish", &table, "--exit"]),
        ] {
            run(sandbox.command(args), &[(variable, &address)]).ok();
            let asked = proxy.take();
            let is_way = |line: &&String| line.starts_with(&format!("CONNECT {HOST}:80 "));
            let ways = asked.iter().filter(is_way).count();
            assert!(
                ways > 0 && 2 * ways == asked.len(),
                "{args:?}, inside: {inside}: {asked:?}"
            );
        }
        if let Some(owner) = owner {
            owner.end().ok();
        }
    }
}

#[test]
fn the_proxy_of_a_node_is_not_that_of_its_callers() {
    let (sandbox, proxy, server) = (Sandbox::new(), Server::start(), Server::start());
    let address = proxy.url("");
    let mut owner = sandbox.command(OWNER);
    owner.env("HTTP_PROXY", &address);
    let owner = Running::started(owner);
    let socket = sandbox.workspace().join("node.sock");
    wait_for("the owner's socket", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    let url = server.url("d/");
    sandbox.run(&["pull", &url, "--as", "near"]).ok();
    // Nor is that of a caller who says that this host is not behind it.
    let excepted = [("HTTP_PROXY", &*address), ("NO_PROXY", "127.0.0.1")];
    run(sandbox.command(&["pull", &url, "--as", "near"]), &excepted).ok();
    assert!(proxy.take().is_empty());
    assert!(server.take().len() > 2);
    owner.end().ok();
}
