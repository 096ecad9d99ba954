//! Sources behind `http://` and `https://`.
//!
//! Content codings are not asked for, so that lengths and ETags are those of the data itself. What is downloaded counts
//! only if its length is what the server announced.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use ureq::http::Response;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};
use ureq::{Agent, Body};
use url::Url;

use super::patience::busy_wait;
use super::proxy;
use super::reach::{Guard, Private};
use super::spool::{Content, CopyError, copy};
use super::{
    Consent, FetchPhase, FetchProgress, Fetched, MAX_CONTENT_BYTES, PollError, Spool, State, Surroundings, event_time,
    template,
};
use odf_metadata::{EventTimeSource, RequestHeader, Timestamp};

/// How often a download looks whether it is to stop while it waits for the server.
const STOP_POLL: Duration = Duration::from_millis(100);
/// How much of what a server says instead of data is told.
pub(super) const MAX_EXCERPT_BYTES: u64 = 300;

/// Downloads what is at `url` if it changed since `previous`. Messages name it `name`.
pub(super) fn fetch(
    name: &str,
    url: &Url,
    event_time: Option<&EventTimeSource>,
    headers: Option<&[RequestHeader]>,
    previous: Option<&State>,
    around: &Surroundings<'_>,
) -> Result<Option<Fetched>, PollError> {
    // Before anything is asked for.
    event_time::of_url(event_time, None, around.now)?;
    let surplus = Arc::new(AtomicBool::new(false));
    let agent = agent(url, around, surplus.clone());
    let headers = request_headers(headers, previous, around)?;
    let asking = agent.clone();
    let ask = || {
        let mut request = asking.get(url.as_str());
        for (header, value) in &headers {
            request = request.header(header, value);
        }
        request.call()
    };
    let download = Download {
        name,
        around,
        surplus: &surplus,
    };
    let (finished, running) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let stop = around.stop;
        scope.spawn(move || {
            // Reading from a silent server ends only when its connection is shut down.
            while running.recv_timeout(STOP_POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if stop() {
                    return agent.shutdown();
                }
            }
        });
        let outcome = download.run(&ask, event_time, previous);
        drop(finished);
        // Whatever it says when its connection was shut down, this is why.
        around.check()?;
        outcome
    })
}

fn agent(url: &Url, around: &Surroundings<'_>, surplus: Arc<AtomicBool>) -> Agent {
    let options = around.http;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(options.user_agent.as_str())
        .accept_encoding("identity")
        .max_redirects(options.max_redirects)
        // After a redirect the server may close the connection just when it is used again.
        .max_idle_connections(0)
        .https_only(url.scheme() == "https")
        .proxy(proxy::of_environment(around.environment))
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_per_read(Some(options.stall_timeout))
        .timeout_per_write(Some(options.stall_timeout))
        .build();
    let allowed = matches!(around.consent, Consent::Given { private: true, .. });
    let guard = Guard::new(url, allowed, config.proxy().is_some());
    let connector = guard.chain(DefaultConnector::default()).chain(Watch { surplus });
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// The headers of the source, templates filled in, and the condition that asks for what is new only.
fn request_headers(
    headers: Option<&[RequestHeader]>,
    previous: Option<&State>,
    around: &Surroundings<'_>,
) -> Result<HeaderMap, PollError> {
    let mut map = HeaderMap::new();
    for header in headers.unwrap_or_default() {
        let bad = |reason: String| PollError::Header {
            name: header.name.clone(),
            reason,
        };
        let value = template::expand(&header.value, around.variables)?;
        let name = HeaderName::try_from(&header.name).map_err(|error| bad(error.to_string()))?;
        // The value is not told: it may be a password.
        let value = HeaderValue::try_from(value).map_err(|error| bad(error.to_string()))?;
        map.insert(name, value);
    }
    let condition = match previous {
        None => None,
        Some(State::Etag(etag)) => Some((header::IF_NONE_MATCH, etag.clone())),
        Some(State::LastModified(time)) => Some((
            header::IF_MODIFIED_SINCE,
            time.datetime().format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        )),
    };
    if let Some((name, value)) = condition {
        // A state that no header can hold is as good as none.
        match HeaderValue::try_from(value) {
            Ok(value) => drop(map.insert(name, value)),
            Err(error) => tracing::warn!(%error, "the source state is not sent"),
        }
    }
    Ok(map)
}

struct Download<'a> {
    name: &'a str,
    around: &'a Surroundings<'a>,
    surplus: &'a AtomicBool,
}

impl Download<'_> {
    fn run(
        &self,
        ask: &dyn Fn() -> Result<Response<Body>, ureq::Error>,
        event_time: Option<&EventTimeSource>,
        previous: Option<&State>,
    ) -> Result<Option<Fetched>, PollError> {
        let response = self.answer(ask)?;
        // What was on the connections of redirects does not matter.
        self.surplus.store(false, Ordering::Release);
        let (parts, body) = response.into_parts();
        match parts.status.as_u16() {
            200 => {}
            304 if previous.is_some() => return Ok(None),
            404 | 410 => return Err(PollError::NotFound(self.name.to_owned())),
            code => {
                return Err(PollError::Status {
                    url: self.name.to_owned(),
                    code,
                    body: excerpt(body),
                });
            }
        }
        let etag = text_of(&parts.headers, header::ETAG);
        let modified = match etag {
            // As kamu: with an ETag the time does not count, not even as event time.
            Some(_) => None,
            None => text_of(&parts.headers, header::LAST_MODIFIED).and_then(http_time),
        };
        let state = etag.map(State::Etag).or(modified.map(State::LastModified));
        if state.is_some() && state.as_ref() == previous {
            // The server took no notice of the condition. Rows taken twice would be appended twice.
            return Ok(None);
        }
        let event_time = event_time::of_url(event_time, modified, self.around.now)?;
        let spool = self.save(body, announced(&parts.headers))?;
        Ok(Some(Fetched {
            content: Content::Spooled(spool),
            name: self.name.to_owned(),
            event_time,
            state: state.as_ref().map(State::write),
            has_more: false,
            seen: None,
        }))
    }

    /// The answer of the server, which is asked again while it says that it is busy.
    fn answer(&self, ask: &dyn Fn() -> Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, PollError> {
        let mut repeats = 0;
        loop {
            let response = ask().map_err(|error| self.failed(&error))?;
            let status = response.status().as_u16();
            let Some(wait) = busy_wait(status, response.headers(), repeats, chrono::Utc::now()) else {
                return Ok(response);
            };
            tracing::info!(url = self.name, status, ?wait, "the server is busy and is asked again");
            let until = Instant::now() + wait;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                self.around.check()?;
                std::thread::sleep(left.min(STOP_POLL));
            }
            repeats += 1;
        }
    }

    fn save(&self, body: Body, announced: Option<u64>) -> Result<Spool, PollError> {
        let too_large = || PollError::TooLarge {
            name: self.name.to_owned(),
            limit: MAX_CONTENT_BYTES,
            hint: "",
        };
        if announced.is_some_and(|length| length > MAX_CONTENT_BYTES) {
            return Err(too_large());
        }
        let (spool, mut file) = Spool::create(self.around.spool)?;
        let mut received = 0;
        let copied = copy(&mut body.into_reader(), &mut file, MAX_CONTENT_BYTES, |bytes| {
            received = bytes;
            (self.around.progress)(FetchProgress {
                phase: FetchPhase::Fetching,
                bytes,
                total: announced,
            });
            !(self.around.stop)()
        });
        let length = |received| PollError::Length {
            url: self.name.to_owned(),
            announced: announced.unwrap_or_default(),
            received,
        };
        match copied {
            Ok(sum) => match announced {
                Some(announced) if announced != sum => Err(length(sum)),
                Some(announced) if self.surplus.load(Ordering::Acquire) => Err(length(announced + 1)),
                _ => Ok(spool),
            },
            Err(CopyError::TooLarge) => Err(too_large()),
            Err(CopyError::Stopped) => Err(PollError::Stopped),
            Err(CopyError::Write(error)) => Err(PollError::io("write", spool.path(), error)),
            Err(CopyError::Read(error)) => match announced {
                Some(announced) if received < announced && ended_early(&error) => Err(length(received)),
                _ => Err(PollError::Unreachable {
                    url: self.name.to_owned(),
                    reason: format!(
                        "it broke off after {received} bytes: {}",
                        in_words(&ureq::Error::from(error))
                    ),
                }),
            },
        }
    }

    fn failed(&self, error: &ureq::Error) -> PollError {
        let url = self.name.to_owned();
        match error {
            ureq::Error::BadUri(reason) => PollError::Url {
                url,
                reason: reason.clone(),
            },
            ureq::Error::RequireHttpsOnly(_) => PollError::Downgrade { url },
            ureq::Error::Other(error) if error.is::<Private>() => match error.downcast_ref::<Private>() {
                Some(Private {
                    host,
                    address,
                    named: false,
                }) => PollError::LedAstray {
                    url,
                    host: host.clone(),
                    address: address.clone(),
                },
                found => PollError::Private {
                    url,
                    address: found.map(|found| found.address.clone()).unwrap_or_default(),
                },
            },
            error => PollError::Unreachable {
                url,
                reason: in_words(error),
            },
        }
    }
}

fn ended_early(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::TooManyRedirects => "too many redirects, perhaps in a circle".to_owned(),
        ureq::Error::Timeout(_) => "the server did not answer in time".to_owned(),
        ureq::Error::Io(error) if ended_early(error) => "the server ended the connection".to_owned(),
        error => error.to_string(),
    }
}

/// The beginning of what a server says in place of data, on one line.
fn excerpt(body: Body) -> String {
    let mut bytes = Vec::new();
    // Half of it, or none, will do.
    let _ = body.into_reader().take(MAX_EXCERPT_BYTES).read_to_end(&mut bytes);
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(&name)?;
    let text = value.to_str().ok().map(str::to_owned);
    if text.is_none() {
        tracing::warn!(header = %name, "a header that is not ASCII is ignored");
    }
    text
}

/// `Content-Length`, which ureq takes away if it decoded the body.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn http_time(text: String) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc2822(&text).ok();
    let time = time.and_then(|time| Timestamp::try_from(time.to_utc()).ok());
    if time.is_none() {
        tracing::warn!(text, "Last-Modified is no time and is ignored");
    }
    time
}

/// Makes transports that tell when they go away with bytes in them that belong to no answer.
#[derive(Debug)]
struct Watch {
    surplus: Arc<AtomicBool>,
}

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Watched<In>>, ureq::Error> {
        Ok(chained.map(|inner| Watched {
            inner,
            surplus: self.surplus.clone(),
        }))
    }
}

#[derive(Debug)]
struct Watched<T: Transport> {
    inner: T,
    surplus: Arc<AtomicBool>,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T: Transport> Drop for Watched<T> {
    fn drop(&mut self) {
        if !self.inner.buffers().input().is_empty() {
            self.surplus.store(true, Ordering::Release);
        }
    }
}
