//! The HTTP proxy that the environment of whoever gives a command names.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::sandbox::{Outcome, Running, Sandbox, wait_for};
use crate::smart::Node;

/// Owns the workspace until its standard input is closed.
const OWNER: &[&str] = &["ipfs", "add", "-n", "-Q", "-"];
/// A host that nobody finds: only a proxy can lead to it.
const HOST: &str = "data.example";
/// Exit code, as `odfs --help` lists it.
const UNREACHABLE: i32 = 9;
const TABLE: &[u8] = b"id,city\n1,Oslo\n2,Rome\n";
const MANIFEST: &str = "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: polled\n  kind: Root\n  metadata:\n    \
    - kind: SetPollingSource\n      fetch: {kind: Url, url: \"http://data.example/rows.csv\"}\n      \
    read: {kind: Csv, header: true, schema: {fields: [{name: id, type: Int64}, {name: city, type: String}]}}\n      \
    merge: {kind: Append}\n";

/// A web server with a dataset at `/d/` and a table at `/rows.csv`. Asked to lead somewhere, by HTTP or SOCKS, it is at the
/// end of that way itself, unless it leads to another.
struct Server {
    port: u16,
    /// The first line of every request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        Self::leading(None)
    }

    /// One whose every way leads to this port of the machine.
    fn leading(to: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                // A client that goes away in the middle is no matter.
                std::thread::spawn(move || drop(serve(stream, &heard, to)));
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
fn serve(stream: TcpStream, heard: &Mutex<Vec<String>>, to: Option<u16>) -> std::io::Result<()> {
    let (mut reader, mut out) = (BufReader::new(stream.try_clone()?), &stream);
    let first = match reader.fill_buf()?.first() {
        Some(5) => socks(&mut reader, out)?,
        _ => head(&mut reader)?,
    };
    heard.lock().unwrap().push(first.clone());
    let is_way = first.starts_with("CONNECT ") || first.starts_with("SOCKS ");
    if first.starts_with("CONNECT ") {
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    if let (true, Some(port)) = (is_way, to) {
        let there = TcpStream::connect(("127.0.0.1", port))?;
        let (mut answers, mut back) = (there.try_clone()?, stream.try_clone()?);
        std::thread::spawn(move || {
            drop(std::io::copy(&mut answers, &mut back));
            drop(back.shutdown(Shutdown::Both));
        });
        std::io::copy(&mut reader, &mut &there)?;
        return there.shutdown(Shutdown::Both);
    }
    let first = match is_way {
        true => {
            let first = head(&mut reader)?;
            heard.lock().unwrap().push(first.clone());
            first
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
fn head(reader: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut first = String::new();
    reader.by_ref().take(4096).read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(first)
}

/// Agrees to lead to a host by SOCKS 5 (RFC 1928).
fn socks(reader: &mut BufReader<TcpStream>, mut out: &TcpStream) -> std::io::Result<String> {
    let mut next = |bytes: usize| {
        let mut part = vec![0; bytes];
        reader.read_exact(&mut part).map(|()| part)
    };
    let methods = next(2)?[1];
    next(methods.into())?;
    out.write_all(&[5, 0])?;
    let length = next(5)?[4];
    let host = next(length.into())?;
    let port = next(2)?;
    out.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    Ok(format!("SOCKS {}:{port} \n", String::from_utf8_lossy(&host)))
}

/// A dataset made by kamu.
fn dataset() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&package).join("../interop-tests/reference/golden/sensors.push/dataset")
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

#[test]
fn a_transfer_by_the_smart_protocol_goes_through_the_proxy_of_the_caller() {
    let node = Node::known_as(HOST);
    let proxy = Server::leading(Some(node.port()));
    let (address, url) = (proxy.url(""), format!("odf+http://{HOST}/"));
    for inside in [false, true] {
        let client = Sandbox::new();
        client.run(&["repo", "add", "there", &url, "--token", &node.token]).ok();
        client.file("t.csv", TABLE);
        let name = format!("inside-{inside}");
        client.run(&["publish", "t.csv", "--name", &name, "--exit"]).ok();
        let owner = inside.then(|| client.start_owner(OWNER));
        let variables = [("HTTP_PROXY", &*address)];
        for args in [
            &["push", &name, "--to", &format!("there/{name}")][..],
            &["pull", &format!("there/{name}"), "--as", "copy", "--no-alias"],
        ] {
            if args[0] == "pull" {
                client.run(&["--yes", "delete", &name]).ok();
            }
            run(client.command(args), &variables).ok();
            let asked = proxy.take();
            let is_way = |line: &String| line.starts_with(&format!("CONNECT {HOST}:80 "));
            assert!(!asked.is_empty() && asked.iter().all(is_way), "{args:?}: {asked:?}");
        }
        // Its exceptions hold for the WebSocket too, and nothing else leads to that host.
        let excepted = [("HTTP_PROXY", &*address), ("NO_PROXY", HOST)];
        let args = ["pull", &format!("there/{name}"), "--as", "copy"];
        run(client.command(&args), &excepted).failed(UNREACHABLE);
        assert_eq!(proxy.take(), [] as [&str; 0]);
        // A proxy that the WebSocket cannot go through is not passed by.
        let secure = [("HTTPS_PROXY", "https://127.0.0.1:1")];
        let refused = run(client.command(&args), &secure).failed(UNREACHABLE);
        assert!(refused.contains(&format!("NO_PROXY={HOST}")), "{refused}");
        if let Some(owner) = owner {
            owner.end().ok();
        }
    }
}

#[test]
fn socks_is_spoken_where_the_environment_names_such_a_proxy() {
    let proxy = Server::start();
    let variables = [("ALL_PROXY", &*format!("socks5h://127.0.0.1:{}", proxy.port))];
    let sandbox = Sandbox::new();
    sandbox.file("dataset.yaml", MANIFEST);
    sandbox.run(&["add", "dataset.yaml"]).ok();
    let (far, table) = (format!("http://{HOST}/d/"), format!("http://{HOST}/rows.csv"));
    for args in [
        &["pull", &far, "--as", "far"][..],
        &["pull", "polled"],
        &["publish", &table, "--exit"],
    ] {
        run(sandbox.command(args), &variables).ok();
        let asked = proxy.take();
        let is_way = |line: &&String| line.starts_with(&format!("SOCKS {HOST}:80 "));
        let ways = asked.iter().filter(is_way).count();
        assert!(ways > 0 && 2 * ways == asked.len(), "{args:?}: {asked:?}");
    }
}
