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
struct Page {
    body: Vec<u8>,
    /// The value of `Last-Modified`, an HTTP date.
    modified: String,
}

type Pages = Arc<Mutex<HashMap<String, Page>>>;

/// A running site. Its thread ends with the process.
pub struct Site {
    pages: Pages,
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
        let pages = Pages::default();
        let served = pages.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let pages = served.clone();
                thread::spawn(move || answer(&client, &pages));
            }
        });
        Ok(Self { pages, address })
    }

    /// Puts a page at `path`, which begins with a slash. `modified` is an HTTP date.
    pub fn put(&self, path: &str, body: Vec<u8>, modified: &str) {
        let modified = modified.to_owned();
        lock(&self.pages).insert(path.to_owned(), Page { body, modified });
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn lock(pages: &Pages) -> MutexGuard<'_, HashMap<String, Page>> {
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request. A client that breaks off is its own test's failure.
fn answer(client: &TcpStream, pages: &Pages) {
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
    let (head, body) = match lock(pages).get(path) {
        None => ("404 Not Found\r\n".to_owned(), Vec::new()),
        Some(page) if since.as_ref() == Some(&page.modified) => (
            format!("304 Not Modified\r\nLast-Modified: {}\r\n", page.modified),
            Vec::new(),
        ),
        Some(page) => (
            format!("200 OK\r\nLast-Modified: {}\r\n", page.modified),
            page.body.clone(),
        ),
    };
    let mut client = client;
    let _ = write!(
        client,
        "HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = client.write_all(&body);
}
