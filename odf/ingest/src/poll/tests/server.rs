//! A server that answers each connection with what it was given, word for word.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What to do after an answer.
#[derive(Clone, Copy, PartialEq)]
pub(in super::super) enum Then {
    /// Close the connection.
    Close,
    /// Say nothing more and hold on to the connection.
    Hang,
}

pub(in super::super) struct Server {
    address: SocketAddr,
    requests: Receiver<String>,
}

impl Server {
    /// Serves these answers, one a connection, in turn.
    pub(in super::super) fn start(answers: Vec<(Vec<u8>, Then)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, requests) = channel();
        std::thread::spawn(move || {
            let mut held: Vec<TcpStream> = Vec::new();
            for (answer, then) in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut request = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut request).unwrap_or(0) > 2 {}
                // The client may have gone away already.
                let _ = heard.send(request);
                let _ = stream.write_all(&answer);
                if then == Then::Hang {
                    held.push(stream);
                }
            }
            if !held.is_empty() {
                std::thread::sleep(Duration::from_secs(30));
            }
        });
        Self { address, requests }
    }

    pub(in super::super) fn one(answer: impl AsRef<[u8]>) -> Self {
        Self::start(vec![(answer.as_ref().to_vec(), Then::Close)])
    }

    pub(in super::super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Whether no request has come that was not asked for here.
    pub(in super::super) fn heard_no_more(&self) -> bool {
        self.requests.try_recv().is_err()
    }

    /// The head of the next request, in lower case.
    pub(in super::super) fn request(&self) -> String {
        self.requests
            .recv_timeout(Duration::from_secs(10))
            .unwrap()
            .to_ascii_lowercase()
    }
}

/// An answer with these headers and body, and the length that belongs to it.
pub(in super::super) fn ok(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
