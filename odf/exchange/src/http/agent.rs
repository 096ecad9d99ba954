//! The HTTP client: how long it waits, and what it asks for a second time.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use ureq::config::{Config, RedirectAuthHeaders};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};
use ureq::{Agent, Error, Proxy};

use odf_dataset::receive::MAX_PARALLEL_TRANSFERS;

/// How long a server may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// How long a server may be silent, before its answer and within it.
const SILENCE_DEADLINE: Duration = Duration::from_secs(60);
/// How many connections to one server wait for the next request: as many as go on at once.
const WAITING: usize = MAX_PARALLEL_TRANSFERS;
/// How often a request is made again, so that a server that redirects and then closes keeps nobody for ever. More than
/// connections wait for one server.
pub(crate) const REPEATS: usize = WAITING + 1;
/// How many redirects are followed for one file.
pub const MAX_REDIRECTS: u32 = 10;

thread_local! {
    /// Whether the last request of this thread went out on a connection that had brought an answer before.
    static USED_AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// A client for what lies at `url`, from servers that may be slow but not silent. A status that is an error is given as an
/// answer, also where a server gives one and takes no more of the body. What is asked for by HTTPS is not taken by plain HTTP,
/// wherever a redirect leads. Connections go through `proxy` and through no other: the environment of the process, which may
/// work for somebody else, is not looked at.
pub fn agent(url: &str, proxy: Option<&Proxy>) -> Agent {
    let secure = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    let config = Config::builder()
        .https_only(secure)
        .proxy(proxy.cloned())
        .timeout_connect(Some(CONNECT_DEADLINE))
        .timeout_recv_response(Some(SILENCE_DEADLINE))
        .timeout_per_read(Some(SILENCE_DEADLINE))
        .max_redirects(MAX_REDIRECTS)
        .max_idle_connections_per_host(WAITING)
        // Of the server, and of one that it sends on to.
        .max_idle_connections(2 * WAITING)
        // A token is for the server that it was given for.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .http_status_as_error(false)
        // Files are compressed already, and their lengths are known.
        .accept_encoding("identity")
        .user_agent(concat!("odfs/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(
        config,
        DefaultConnector::default().chain(Note),
        DefaultResolver::default(),
    )
}

/// Makes a request of an [`agent`], and makes it again if it went out on a connection from before, which ended without an
/// answer: a server may close a connection that waits just when the next request is under way (RFC 9112 §9.3.1). Only for
/// GET and PUT, which may be repeated (RFC 9110 §9.2.2), and for a POST that changes nothing.
///
/// # Errors
/// What the last request ended with.
pub fn ask<T>(mut request: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..REPEATS {
        USED_AGAIN.set(false);
        match request() {
            Err(Error::Io(error)) if USED_AGAIN.get() && ended(&error) => {
                tracing::debug!(%error, "the request is sent again");
            }
            answer => return answer,
        }
    }
    request()
}

fn ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// Makes transports that say whether they are used again, and hear the server out that takes no more.
#[derive(Debug)]
struct Note;

impl<In: Transport> Connector<In> for Note {
    type Out = Noted<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Noted<In>>, Error> {
        Ok(chained.map(|inner| Noted {
            inner,
            answered: false,
            deaf: None,
        }))
    }
}

#[derive(Debug)]
struct Noted<T> {
    inner: T,
    answered: bool,
    /// The server closed while something was sent. What it said before can be read all the same.
    deaf: Option<io::ErrorKind>,
}

impl<T: Transport> Transport for Noted<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        USED_AGAIN.set(self.answered);
        if self.deaf.is_some() {
            return Ok(());
        }
        match self.inner.transmit_output(amount, timeout) {
            // If it gave no answer, that is the error of whoever waits for one.
            Err(Error::Io(error)) if ended(&error) => {
                self.deaf = Some(error.kind());
                Ok(())
            }
            sent => sent,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let came = match (self.inner.await_input(timeout), self.deaf) {
            (Ok(false) | Err(_), Some(kind)) => return Err(Error::Io(kind.into())),
            (came, _) => came?,
        };
        self.answered |= came;
        Ok(came)
    }

    fn is_open(&mut self) -> bool {
        self.deaf.is_none() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// What comes of sending more than any socket holds to a server that reads the head of the request only, says `answer`,
    /// and closes.
    fn sent(answer: &'static str) -> Result<(u16, String), Error> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let response = agent(&url, None).put(&url).send(&vec![0; 64 << 20][..]);
        server.join().unwrap();
        let mut response = response?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    #[test]
    fn a_server_that_takes_no_more_is_heard_out() {
        let answer = "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: 9\r\n\r\nno room!!";
        assert_eq!(sent(answer).unwrap(), (409, "no room!!".to_owned()));
        let error = sent("").unwrap_err();
        assert!(matches!(&error, Error::Io(error) if ended(error)), "{error}");
    }
}
