//! Kubo's RPC (`/api/v0`), for programs that speak nothing else: each call is a command line of `ipfs`, and runs as one.
//!
//! The path names the command, the query its flags and arguments, parts of a form the files that the command would read. What
//! a command would print with `--encoding json` is the answer. Only commands that read and write nothing but the workspace
//! and what came with the request can be called: whoever reaches the address is who owns the workspace, as with Kubo, and
//! still no call names a file of this machine.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::form::{self, Sent};
use crate::environment::Environment;
use crate::failure::{Failure, Kind};
use crate::io::{Cancel, Io, Progress, Remote, Terminal};
use crate::session::Session;

/// The most calls that run at once. Each has a thread.
pub(super) const MAX_CALLS: usize = 32;
/// Pieces of an answer that wait for the client.
const QUEUE: usize = 16;
/// The longest query.
const MAX_QUERY_BYTES: usize = 32 << 10;

/// What a call takes beside the query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing.
    Nothing,
    /// One file, which the command reads in place of standard input.
    File,
    /// Files and directories, which the command is given in place of those of this machine.
    Tree,
}

/// What a call gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// One JSON object.
    Object,
    /// JSON objects, one a line.
    Objects,
    /// Bytes.
    Bytes,
    /// A tar archive, or what is compressed.
    Archive,
}

/// What can be called.
const CALLS: &[(&str, Takes, Gives)] = &[
    ("add", Takes::Tree, Gives::Objects),
    ("block/get", Takes::Nothing, Gives::Bytes),
    ("block/put", Takes::File, Gives::Objects),
    ("block/stat", Takes::Nothing, Gives::Object),
    ("bootstrap/add", Takes::Nothing, Gives::Object),
    ("bootstrap/list", Takes::Nothing, Gives::Object),
    ("bootstrap/rm", Takes::Nothing, Gives::Object),
    ("cat", Takes::Nothing, Gives::Bytes),
    ("config/show", Takes::Nothing, Gives::Object),
    ("dag/export", Takes::Nothing, Gives::Bytes),
    ("dag/get", Takes::Nothing, Gives::Bytes),
    ("dag/import", Takes::File, Gives::Objects),
    ("dag/put", Takes::File, Gives::Objects),
    ("dag/resolve", Takes::Nothing, Gives::Object),
    ("dag/stat", Takes::Nothing, Gives::Objects),
    ("files/chcid", Takes::Nothing, Gives::Object),
    ("files/cp", Takes::Nothing, Gives::Object),
    ("files/flush", Takes::Nothing, Gives::Object),
    ("files/ls", Takes::Nothing, Gives::Object),
    ("files/mkdir", Takes::Nothing, Gives::Object),
    ("files/mv", Takes::Nothing, Gives::Object),
    ("files/read", Takes::Nothing, Gives::Bytes),
    ("files/rm", Takes::Nothing, Gives::Objects),
    ("files/stat", Takes::Nothing, Gives::Object),
    ("files/write", Takes::File, Gives::Object),
    ("get", Takes::Nothing, Gives::Archive),
    ("id", Takes::Nothing, Gives::Object),
    ("key/gen", Takes::Nothing, Gives::Object),
    ("key/import", Takes::File, Gives::Object),
    ("key/list", Takes::Nothing, Gives::Object),
    ("key/ls", Takes::Nothing, Gives::Object),
    ("key/rename", Takes::Nothing, Gives::Object),
    ("key/rm", Takes::Nothing, Gives::Object),
    ("ls", Takes::Nothing, Gives::Object),
    ("name/publish", Takes::Nothing, Gives::Object),
    ("name/resolve", Takes::Nothing, Gives::Object),
    ("pin/add", Takes::Nothing, Gives::Object),
    ("pin/ls", Takes::Nothing, Gives::Object),
    ("pin/rm", Takes::Nothing, Gives::Object),
    ("pin/update", Takes::Nothing, Gives::Object),
    ("refs", Takes::Nothing, Gives::Objects),
    ("refs/local", Takes::Nothing, Gives::Objects),
    ("repo/gc", Takes::Nothing, Gives::Objects),
    ("repo/stat", Takes::Nothing, Gives::Object),
    ("repo/verify", Takes::Nothing, Gives::Objects),
    ("repo/version", Takes::Nothing, Gives::Object),
    ("resolve", Takes::Nothing, Gives::Object),
    ("routing/findpeer", Takes::Nothing, Gives::Objects),
    ("routing/findprovs", Takes::Nothing, Gives::Objects),
    ("routing/get", Takes::Nothing, Gives::Objects),
    ("routing/provide", Takes::Nothing, Gives::Objects),
    ("routing/put", Takes::File, Gives::Objects),
    ("shutdown", Takes::Nothing, Gives::Object),
    ("swarm/addrs/listen", Takes::Nothing, Gives::Object),
    ("swarm/addrs/local", Takes::Nothing, Gives::Object),
    ("swarm/connect", Takes::Nothing, Gives::Object),
    ("swarm/disconnect", Takes::Nothing, Gives::Object),
    ("swarm/peers", Takes::Nothing, Gives::Object),
    ("version", Takes::Nothing, Gives::Object),
];

/// Those of them that take a name before the file.
const NAMED_FILES: [&str; 3] = ["files/write", "key/import", "routing/put"];

/// How command lines are read and run: by what is above the commands, of which this serves.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    /// All commands.
    pub(crate) tree: fn() -> clap::Command,
    /// Runs a command line, program name first, in the process that owns the workspace.
    pub(crate) run: fn(&[OsString], &Session, &mut Io) -> Result<(), Failure>,
}

struct Rpc {
    calls: Calls,
    session: Arc<Session>,
    places: Arc<Semaphore>,
}

/// All calls, on a workspace whose node runs in this process.
pub(super) fn router(session: Session, calls: Calls) -> Router {
    let rpc = Rpc {
        calls,
        session: Arc::new(session),
        places: Arc::new(Semaphore::new(MAX_CALLS)),
    };
    Router::new()
        .route("/api/v0/{*command}", any(call))
        .with_state(Arc::new(rpc))
}

/// Kubo's error.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Problem<'a> {
    message: &'a str,
    code: u8,
    r#type: &'static str,
}

/// Commands that fail because of what was asked: Kubo's number for that is another.
const CLIENT_CODE: u8 = 1;

async fn call(State(rpc): State<Arc<Rpc>>, UrlPath(command): UrlPath<String>, request: Request) -> Response {
    if request.method() != Method::POST {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "POST")],
            "405 - Method Not Allowed\n",
        )
            .into_response();
    }
    if !is_own(request.headers()) {
        return (StatusCode::FORBIDDEN, "403 - Forbidden\n").into_response();
    }
    let Some((_, takes, gives)) = CALLS.iter().find(|(known, ..)| *known == command) else {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    };
    let Ok(place) = rpc.places.clone().try_acquire_owned() else {
        let busy = Failure::new(
            Kind::Busy,
            format!("{MAX_CALLS} calls run already; try again in a moment"),
        );
        return problem(StatusCode::SERVICE_UNAVAILABLE, &busy);
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    if query.len() > MAX_QUERY_BYTES {
        return problem(StatusCode::URI_TOO_LONG, &Failure::usage("the query is too long"));
    }
    let spool = rpc.session.spool_dir().and_then(|dir| {
        tempfile::Builder::new()
            .prefix("rpc-")
            .tempdir_in(&dir)
            .map_err(|error| Failure::file(&dir, &error))
    });
    let spool = match spool {
        Ok(spool) => spool,
        Err(failure) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &failure),
    };
    let sent = match takes {
        Takes::Nothing => Sent::default(),
        Takes::File | Takes::Tree => match form::receive(request, spool.path()).await {
            Ok(sent) => sent,
            Err(failure) => return problem(StatusCode::BAD_REQUEST, &failure),
        },
    };
    let known = flags_of(&(rpc.calls.tree)(), &command);
    let words = words(&command, &query, &known, *takes, *gives, &sent);
    let named = sent.paths.first().map(|path| spool.path().join(path));
    let job = Job {
        calls: rpc.calls,
        session: rpc.session.clone(),
        words,
        input: sent.input.or(named.filter(|_| *takes == Takes::File)),
        spool,
    };
    let (out, mut pieces) = mpsc::channel(QUEUE);
    let (told, outcome) = oneshot::channel();
    let cancel = Cancel::new();
    let stop = StopWhenDropped(cancel.clone());
    tokio::task::spawn_blocking(move || {
        let outcome = job.run(Pieces(out), cancel);
        let _ = told.send(outcome);
        drop(place);
    });
    // The status is that of the command until something was written.
    let first = pieces.recv().await;
    if first.is_none() {
        return match outcome.await {
            Ok(Ok(())) => answer(*gives, Body::empty()),
            Ok(Err(failure)) => problem(status(failure.kind()), &failure),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, &crate::failure::bug()),
        };
    }
    let rest = futures::stream::unfold(
        (first, pieces, Some(outcome), stop),
        |(first, mut pieces, mut outcome, stop)| async move {
            let next = match first {
                Some(first) => Some(first),
                None => pieces.recv().await,
            };
            if let Some(piece) = next {
                return Some((Ok(piece), (None, pieces, outcome, stop)));
            }
            // What failed on the way breaks the answer off: a client cannot take it for whole.
            match outcome.take()?.await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some((
                    Err(io::Error::other(failure.message().to_owned())),
                    (None, pieces, None, stop),
                )),
                Err(_) => Some((
                    Err(io::Error::other("the command was lost")),
                    (None, pieces, None, stop),
                )),
            }
        },
    );
    answer(*gives, Body::from_stream(rest))
}

/// Stops a command when nobody waits for what it says.
struct StopWhenDropped(Cancel);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Whether a request is of a program, or of a page of this very address: any page on the web can have a browser send some.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_browser = text(header::USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla"));
    match (
        headers.contains_key(header::ORIGIN),
        text(header::ORIGIN),
        text(header::HOST),
    ) {
        (true, Some(origin), Some(host)) => origin.strip_prefix("http://") == Some(host),
        (true, ..) => false,
        (false, ..) => !is_browser || headers.contains_key(header::REFERER),
    }
}

/// The command line of a call. Flags that the command does not have are left out, as Kubo does.
fn words(command: &str, query: &str, known: &[String], takes: Takes, gives: Gives, sent: &Sent) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["ipfs".into()];
    words.extend(command.split('/').map(OsString::from));
    match gives {
        Gives::Object | Gives::Objects => words.push("--encoding=json".into()),
        Gives::Bytes => {}
        Gives::Archive => words.push("--output=-".into()),
    }
    let mut arguments: Vec<OsString> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "arg" => arguments.push(value.into_owned().into()),
            // What these mean comes with being a call.
            "encoding" | "enc" | "output" => {}
            name if known.iter().any(|flag| flag == name) => words.push(format!("--{name}={value}").into()),
            _ => {}
        }
    }
    // A client gets a tar archive where Kubo's own would unpack it; one file alone may come compressed.
    let value = |flag| words.iter().find_map(|word| word.to_str()?.strip_prefix(flag));
    let is_set = |flag| value(flag).is_some_and(|value| matches!(value, "1" | "t" | "true"));
    if gives == Gives::Archive && !is_set("--compress=") && !is_set("--archive=") {
        words.retain(|word| !word.to_string_lossy().starts_with("--archive="));
        words.push("--archive=true".into());
    }
    match takes {
        Takes::Nothing => {}
        Takes::File => {
            // What comes before the file: the name of a key, or of a record.
            arguments.truncate(usize::from(NAMED_FILES.contains(&command)));
            arguments.push("-".into());
        }
        Takes::Tree => {
            // They would name files of this machine.
            arguments.clear();
            words.extend(["--recursive=true", "--hidden=true"].map(OsString::from));
            arguments.extend(sent.paths.iter().map(|path| path.clone().into_os_string()));
            if sent.input.is_some() {
                arguments.push("-".into());
            }
        }
    }
    words.push("--".into());
    words.extend(arguments);
    words
}

/// The long flags of a command, those that every command has included.
fn flags_of(tree: &clap::Command, command: &str) -> Vec<String> {
    let mut found = tree.find_subcommand("ipfs");
    let mut flags = Vec::new();
    for word in command.split('/').map(Some).chain([None]) {
        let Some(here) = found else { break };
        let is_last = word.is_none();
        for arg in here.get_arguments().filter(|arg| is_last || arg.is_global_set()) {
            flags.extend(arg.get_long().map(str::to_owned));
            flags.extend(arg.get_all_aliases().into_iter().flatten().map(str::to_owned));
        }
        found = word.and_then(|word| here.find_subcommand(word));
    }
    flags
}

/// A call that is to run.
struct Job {
    calls: Calls,
    session: Arc<Session>,
    words: Vec<OsString>,
    input: Option<PathBuf>,
    /// What came with it, until it has run.
    spool: TempDir,
}

impl Job {
    fn run(self, out: Pieces, cancel: Cancel) -> Result<(), Failure> {
        let input: Box<dyn io::Read + Send> = match &self.input {
            Some(path) => Box::new(std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?),
            None => Box::new(io::empty()),
        };
        let mut io = Io::of_sender(Remote {
            out: Box::new(out),
            messages: Box::new(io::sink()),
            input,
            progress: Progress::quiet(),
            cwd: self.spool.path().to_owned(),
            environment: Environment::of_process(),
            terminal: Terminal {
                input: false,
                output: false,
                messages: false,
                width: 100,
            },
            cancel,
            sender: None,
        });
        let session = self.session.for_sender(&io)?;
        (self.calls.run)(&self.words, &session, &mut io)?;
        io.finish()
    }
}

/// The answer, as it is written.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn answer(gives: Gives, body: Body) -> Response {
    const JSON: (&str, &str) = ("content-type", "application/json");
    match gives {
        Gives::Object => ([JSON], body).into_response(),
        Gives::Objects => ([JSON, ("x-chunked-output", "1")], body).into_response(),
        Gives::Archive => {
            let headers = [("content-type", "application/x-tar"), ("x-stream-output", "1")];
            (headers, body).into_response()
        }
        Gives::Bytes => {
            let headers = [("content-type", "application/octet-stream"), ("x-stream-output", "1")];
            (headers, body).into_response()
        }
    }
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Usage => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn problem(status: StatusCode, failure: &Failure) -> Response {
    let problem = Problem {
        message: failure.message(),
        code: if failure.kind() == Kind::Usage { CLIENT_CODE } else { 0 },
        r#type: "error",
    };
    let text = serde_json::to_string(&problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn each_call_is_a_command() {
        for (command, ..) in CALLS {
            let tree = args::tree();
            let ipfs = tree.find_subcommand("ipfs").unwrap();
            let found = command.split('/').try_fold(ipfs, |at, word| at.find_subcommand(word));
            assert!(found.is_some(), "{command}");
        }
    }

    #[test]
    fn a_query_is_a_command_line_that_names_no_flag_it_has_not() {
        let sent = Sent::default();
        let query = "arg=-x&arg=%2Fipfs%2Fa&offset=3&nonsense=1&encoding=xml&timeout=5s";
        let known = flags_of(&args::tree(), "cat");
        let words = words("cat", query, &known, Takes::Nothing, Gives::Bytes, &sent);
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        assert_eq!(
            words,
            ["ipfs", "cat", "--offset=3", "--timeout=5s", "--", "-x", "/ipfs/a"]
        );
    }

    #[test]
    fn no_argument_is_a_file_where_a_file_is_taken() {
        let sent = Sent {
            paths: vec!["tree/a".into()],
            ..Sent::default()
        };
        let last = |command, query, takes| {
            let words = words(command, query, &[], takes, Gives::Object, &sent);
            let after = words.iter().position(|word| word == "--").unwrap() + 1;
            words.into_iter().skip(after).collect::<Vec<_>>()
        };
        assert_eq!(last("add", "arg=/etc/passwd", Takes::Tree), ["tree/a"]);
        assert_eq!(last("block/put", "arg=/etc/passwd", Takes::File), ["-"]);
        assert_eq!(last("key/import", "arg=k&arg=/etc/passwd", Takes::File), ["k", "-"]);
    }

    #[test]
    fn no_call_writes_a_file_that_it_names() {
        let sent = Sent::default();
        for (command, takes, gives) in CALLS {
            let known = flags_of(&args::tree(), command);
            let words = words(command, "output=elsewhere&o=elsewhere", &known, *takes, *gives, &sent);
            assert!(
                !words.iter().any(|word| word.to_string_lossy().contains("elsewhere")),
                "{words:?}"
            );
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        let asked = |headers: &[(&'static str, &'static str)]| {
            let mut all = HeaderMap::new();
            all.insert("host", HeaderValue::from_static("127.0.0.1:5001"));
            for (name, value) in headers {
                all.insert(*name, HeaderValue::from_static(value));
            }
            is_own(&all)
        };
        assert!(asked(&[]));
        assert!(asked(&[("user-agent", "kubo-rpc-client")]));
        assert!(asked(&[
            ("origin", "http://127.0.0.1:5001"),
            ("user-agent", "Mozilla/5.0")
        ]));
        assert!(!asked(&[("origin", "http://evil.example")]));
        assert!(!asked(&[("origin", "null")]));
        assert!(!asked(&[("user-agent", "Mozilla/5.0")]));
    }
}
