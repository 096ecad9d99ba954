//! A web site on loopback that serves what a test puts on it, with `Last-Modified`, and answers conditional requests.

use crate::{Failure, Outcome};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a client may take to say what it wants.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest head of a request that is read.
const MAX_HEAD_BYTES: u64 = 64 << 10;

/// One page.
enum Page {
    /// A body, and the value of `Last-Modified`, an HTTP date.
    Body(Vec<u8>, String),
    /// Where it is instead.
    Elsewhere(String),
}

/// What a site has, and what it was asked for.
#[derive(Default)]
struct State {
    pages: HashMap<String, Page>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<State>>;

/// A running site. Its thread ends with the process.
pub struct Site {
    state: Shared,
    address: String,
}

impl Site {
    /// Serves at `address`, such as `127.0.0.1:0`.
    ///
    /// # Errors
    /// The address is in use.
    pub fn at(address: &str) -> Outcome<Self> {
        let listener = TcpListener::bind(address).map_err(|error| Failure::new(format!("{address}: {error}")))?;
        let address = listener.local_addr()?.to_string();
        let state = Shared::default();
        let served = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = served.clone();
                thread::spawn(move || answer(&client, &state));
            }
        });
        Ok(Self { state, address })
    }

    /// Puts a page at `path`, which begins with a slash. `modified` is an HTTP date.
    pub fn put(&self, path: &str, body: Vec<u8>, modified: &str) {
        let page = Page::Body(body, modified.to_owned());
        lock(&self.state).pages.insert(path.to_owned(), page);
    }

    /// Sends whoever asks for `path` to the URL `to`.
    pub fn redirect(&self, path: &str, to: &str) {
        let page = Page::Elsewhere(to.to_owned());
        lock(&self.state).pages.insert(path.to_owned(), page);
    }

    /// What it was asked for so far: paths, with their queries.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request. A client that breaks off is its own test's failure.
fn answer(client: &TcpStream, state: &Shared) {
    let _ = client.set_read_timeout(Some(LIMIT));
    let mut lines = BufReader::new(client.take(MAX_HEAD_BYTES)).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let since = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("if-modified-since")
                .then(|| value.trim().to_owned())
        });
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (head, body) = {
        let mut state = lock(state);
        state.asked.push(path.to_owned());
        match state.pages.get(path) {
            None => ("404 Not Found\r\n".to_owned(), Vec::new()),
            Some(Page::Elsewhere(to)) => (format!("302 Found\r\nLocation: {to}\r\n"), Vec::new()),
            Some(Page::Body(_, modified)) if since.as_ref() == Some(modified) => {
                (format!("304 Not Modified\r\nLast-Modified: {modified}\r\n"), Vec::new())
            }
            Some(Page::Body(body, modified)) => (format!("200 OK\r\nLast-Modified: {modified}\r\n"), body.clone()),
        }
    };
    let mut client = client;
    let _ = write!(
        client,
        "HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = client.write_all(&body);
}
