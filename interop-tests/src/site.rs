//! A web site on loopback that serves what a test puts on it, with `Last-Modified` and `ETag`, and answers conditional
//! requests.

use crate::{Failure, Outcome};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a client may take to say what it wants.
const LIMIT: Duration = Duration::from_secs(10);
/// How often an address that is in use is tried again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest head of a request that is read.
const MAX_HEAD_BYTES: u64 = 64 << 10;

/// One page.
enum Page {
    /// A body, with what tells a later request that it is still the same.
    Body(Vec<u8>, Validators),
    /// Where it is instead.
    Elsewhere(String),
}

/// What a page says about its version, as the values of header fields.
#[derive(Clone, Default)]
struct Validators {
    /// `Last-Modified`, an HTTP date.
    modified: Option<String>,
    /// `ETag`, with its quotes.
    etag: Option<String>,
}

impl Validators {
    /// The lines of the head that carry them.
    fn lines(&self) -> String {
        let line = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}: {value}\r\n"));
        [line("Last-Modified", &self.modified), line("ETag", &self.etag)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Whether whoever asks with these conditions has this version. A tag decides where one is given.
    fn are_met(&self, since: Option<&str>, tag: Option<&str>) -> bool {
        match (tag, since, &self.modified) {
            (Some(tag), ..) => self.etag.as_deref() == Some(tag),
            (None, Some(since), Some(modified)) => {
                instant(since).is_some_and(|since| instant(modified).is_some_and(|modified| since >= modified))
            }
            _ => false,
        }
    }
}

/// An HTTP date in an order that is that of time: year, month, day, time of day.
fn instant(date: &str) -> Option<(u32, usize, u32, &str)> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    Some((year.parse().ok()?, month, day.parse().ok()?, time))
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

    /// As [`Site::at`], once nobody else has the address.
    ///
    /// # Errors
    /// It is still in use after `patience`.
    pub fn when_free(address: &str, patience: Duration) -> Outcome<Self> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::at(address) {
                Err(_) if Instant::now() < deadline => thread::sleep(LOOK_EVERY),
                served => return served,
            }
        }
    }

    /// Puts a page at `path`, which begins with a slash. `modified` is an HTTP date.
    pub fn put(&self, path: &str, body: Vec<u8>, modified: &str) {
        self.put_with(path, body, Some(modified), None);
    }

    /// Puts a page with `Last-Modified`, an HTTP date, and `ETag`, with its quotes, where they are given.
    pub fn put_with(&self, path: &str, body: Vec<u8>, modified: Option<&str>, etag: Option<&str>) {
        let validators = Validators {
            modified: modified.map(str::to_owned),
            etag: etag.map(str::to_owned),
        };
        let page = Page::Body(body, validators);
        lock(&self.state).pages.insert(path.to_owned(), page);
    }

    /// Takes every page away.
    pub fn clear(&self) {
        lock(&self.state).pages.clear();
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
    let (mut since, mut tag) = (None, None);
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "if-modified-since" => since = Some(value.trim().to_owned()),
            "if-none-match" => tag = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (head, body) = {
        let mut state = lock(state);
        state.asked.push(path.to_owned());
        match state.pages.get(path) {
            None => ("404 Not Found\r\n".to_owned(), Vec::new()),
            Some(Page::Elsewhere(to)) => (format!("302 Found\r\nLocation: {to}\r\n"), Vec::new()),
            Some(Page::Body(_, validators)) if validators.are_met(since.as_deref(), tag.as_deref()) => {
                (format!("304 Not Modified\r\n{}", validators.lines()), Vec::new())
            }
            Some(Page::Body(body, validators)) => (format!("200 OK\r\n{}", validators.lines()), body.clone()),
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
