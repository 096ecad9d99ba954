//! The accept loop.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::client::OverTls;
use crate::connection::{Answered, Answering, Seated};
use crate::descriptors::descriptors;
use crate::hosts::Hosts;
use crate::shares::{Activity, Full, MAX_TAKEN_BACK, Phase, Room, Seat, Shares};
use crate::tls::{Certificates, Handshakes, Version};

/// How long a client may take for the head of a request.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may stay open without a request.
pub const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long a client may take nothing of an answer that is there for it.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// The most connections at once, or a quarter of what this process may have open, if that is less.
pub const MAX_CONNECTIONS: usize = 512;
/// The most connections of one client, which is cut as the whole is. The machine's own address, and a proxy, have half of all.
pub const MAX_CONNECTIONS_OF_ONE: usize = 64;
/// Of the descriptors that this process may have, one in so many is for connections here.
const PART_OF_DESCRIPTORS: u64 = 4;
/// The most bytes of a head that are held.
pub(crate) const MAX_HEAD_BYTES: usize = 64 << 10;
/// The most requests that are answered at the same time on one connection, where that is possible (HTTP/2). In all, and for
/// one client, there are as many as there may be connections.
pub const MAX_STREAMS: u32 = 64;
/// The most streams that a client has closed for breaking the rules; then the connection ends.
const MAX_FAULTS: usize = 64;
/// The most bytes of one answer that are on their way on a shared connection.
const MAX_UNSENT_BYTES: usize = 128 << 10;
/// How long nothing may come from a client that waits for an answer before it is asked whether it is there, and how long that
/// may take.
const IS_THERE_AFTER: Duration = Duration::from_secs(30);
/// How often deadlines are looked at.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long nothing is accepted where the system has no descriptor for it.
const PAUSE: Duration = Duration::from_millis(20);
/// How long running requests may take for their end when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// What is told where there is no room, without a word having been read.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n\
Connection: close\r\nContent-Length: 45\r\n\r\ntoo many connections; try again in a moment.\n";

/// Who is let in.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// The names that are answered to.
    pub hosts: Hosts,
    /// Proxies: connections from them are of many clients.
    pub proxies: Vec<IpAddr>,
    /// What is said where a name is not answered to, after the name.
    pub other_host: String,
}

/// Room for connections of a process that may have so many descriptors.
fn room(descriptors: u64) -> Room {
    let part = usize::try_from(descriptors / PART_OF_DESCRIPTORS).unwrap_or(usize::MAX);
    let all = part.min(MAX_CONNECTIONS);
    let of_all = |count: usize| (count * all / MAX_CONNECTIONS).max(1);
    Room {
        all,
        network: of_all(2 * MAX_CONNECTIONS_OF_ONE),
        one: of_all(MAX_CONNECTIONS_OF_ONE),
        many: (all / 2).max(1),
    }
}

/// Whether a connection has had its time.
pub(crate) fn is_over(activity: &Activity, now: Instant) -> bool {
    let since = now.saturating_duration_since(activity.since);
    let stalled = activity
        .longest_stalled()
        .map(|stalled| now.saturating_duration_since(stalled));
    match activity.phase {
        _ if stalled.is_some_and(|stalled| stalled > STALL_LIMIT) => true,
        Phase::Idle => since > IDLE_LIMIT,
        Phase::Head => since > HEAD_LIMIT,
        Phase::Work => false,
    }
}

/// A socket at which clients come in.
pub struct Entrance {
    listener: TcpListener,
    handshakes: Option<Handshakes>,
}

impl Entrance {
    /// One where HTTP/1.1 is spoken in the clear.
    pub fn plain(listener: TcpListener) -> Self {
        Self {
            listener,
            handshakes: None,
        }
    }

    /// One where TLS is spoken, and HTTP/2 or 1.1 in it.
    ///
    /// # Errors
    /// The versions of TLS that are usual are not there.
    pub fn tls(listener: TcpListener, certificates: &Certificates) -> Result<Self, rustls::Error> {
        Ok(Self {
            listener,
            handshakes: Some(Handshakes::new(certificates)?),
        })
    }
}

/// The next one who comes in, and where. `turn` says who is looked at first.
async fn accept(entrances: &[Entrance], turn: usize) -> (&Entrance, io::Result<(TcpStream, SocketAddr)>) {
    poll_fn(|context| {
        let in_turn = entrances.iter().cycle().skip(turn % entrances.len().max(1));
        for entrance in in_turn.take(entrances.len()) {
            if let Poll::Ready(accepted) = entrance.listener.poll_accept(context) {
                return Poll::Ready((entrance, accepted));
            }
        }
        Poll::Pending
    })
    .await
}

/// Serves `router` at `entrances` until `stop` is done, then lets running requests end, for a few seconds. Requests have the
/// address that they come from as [`ConnectInfo`].
pub async fn serve(entrances: Vec<Entrance>, router: Router, doors: Doors, stop: impl Future<Output = ()> + Send) {
    let seats = Shares::new(room(descriptors()), &doors.proxies);
    let streams = Shares::new(room(descriptors()), &doors.proxies);
    let front = Arc::new(Front { router, doors, streams });
    let (stopping, stopped) = watch::channel(false);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut stop = pin!(stop);
    let mut turn = 0;
    loop {
        turn += 1;
        let (entrance, accepted) = tokio::select! {
            () = &mut stop => break,
            _ = sweep.tick() => {
                let now = Instant::now();
                seats.sweep(|activity| is_over(activity, now));
                continue;
            }
            accepted = accept(&entrances, turn) => accepted,
        };
        match accepted {
            Ok((stream, address)) => match seats.take(address.ip()) {
                Ok(seat) => {
                    let handshakes = entrance.handshakes.clone();
                    tokio::spawn(Arc::clone(&front).connection(stream, handshakes, address, seat, stopped.clone()));
                }
                Err(full) if entrance.handshakes.is_some() => tracing::debug!(%address, ?full, "a connection too many"),
                Err(full) => refuse(&stream, address, full),
            },
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                // Out of descriptors, most likely. One connection less is one more.
                let has_cut = seats.cut_any();
                tracing::warn!(%error, has_cut, "a connection is not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(entrances);
    let _ = stopping.send(true);
    until_empty(&seats).await;
}

/// Done when nobody has a seat any more, or has had the time to end.
pub(crate) async fn until_empty(seats: &Shares) {
    let ended = async {
        while seats.taken() > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL, ended).await;
}

/// Whether an error is of the connection that was to be accepted, and says nothing about others.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Says that there is no room, if that goes at once.
fn refuse(stream: &TcpStream, address: SocketAddr, full: Full) {
    tracing::debug!(%address, ?full, "a connection too many");
    let _ = stream.try_write(NO_ROOM);
}

struct Front {
    router: Router,
    doors: Doors,
    /// Room for requests that share a connection with others.
    streams: Shares,
}

/// How the requests of one connection come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// Through a server that takes this one for a proxy.
    Tunnel,
    Tls(Version),
}

impl Front {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        handshakes: Option<Handshakes>,
        address: SocketAddr,
        seat: Seat,
        mut stopped: watch::Receiver<bool>,
    ) {
        // An answer whose body follows its head would wait for the client to confirm the head, which takes it up to 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection that collects what it sends");
        }
        let seat = Arc::new(seat);
        let socket = Seated::new(stream, Arc::clone(&seat));
        let Some(handshakes) = handshakes else {
            return self
                .requests(TokioIo::new(socket), address, seat, stopped, Way::Plain)
                .await;
        };
        seat.enter(Phase::Head);
        let shaken = tokio::select! {
            shaken = handshakes.shake(socket) => shaken,
            _ = stopped.wait_for(|stopping| *stopping) => return,
        };
        match shaken {
            Ok(Some((socket, version))) => {
                let way = Way::Tls(version);
                self.requests(TokioIo::new(socket), address, seat, stopped, way).await;
            }
            Ok(None) => tracing::debug!(%address, "an authority has the answer to its challenge"),
            Err(error) => tracing::trace!(%error, %address, "a handshake failed"),
        }
    }

    /// Answers the requests that come over a socket, which may be a tunnel itself. Boxed, because one of them may be that it becomes a tunnel for others.
    fn requests(
        self: Arc<Self>,
        socket: impl Read + Write + Unpin + Send + 'static,
        address: SocketAddr,
        seat: Arc<Seat>,
        stopped: watch::Receiver<bool>,
        way: Way,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.until_end(socket, address, seat, stopped, way))
    }

    async fn until_end(
        self: Arc<Self>,
        socket: impl Read + Write + Unpin + Send + 'static,
        address: SocketAddr,
        seat: Arc<Seat>,
        stopped: watch::Receiver<bool>,
        way: Way,
    ) {
        seat.enter(Phase::Head);
        let (seat_of_service, stopped_of_service) = (Arc::clone(&seat), stopped.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, seat, stopped) = (
                Arc::clone(&self),
                Arc::clone(&seat_of_service),
                stopped_of_service.clone(),
            );
            async move {
                // Not within another: each has buffers, and all that goes through it goes through those around it.
                match request.method() == Method::CONNECT && way == Way::Plain {
                    true => Ok(front.tunnel(request, address, seat, stopped)),
                    false => front.answer(request, address, seat, way).await,
                }
            }
        });
        // Deadlines are kept outside: the seat knows in which part of a request its connection is.
        let outcome = if way == Way::Tls(Version::Http2) {
            seat.share();
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
                .max_pending_accept_reset_streams(MAX_TAKEN_BACK)
                .max_local_error_reset_streams(MAX_FAULTS)
                .max_send_buf_size(MAX_UNSENT_BYTES)
                .keep_alive_interval(IS_THERE_AFTER)
                .keep_alive_timeout(IS_THERE_AFTER);
            let connection = builder.serve_connection(socket, service);
            to_its_end(connection, |connection| connection.graceful_shutdown(), &seat, stopped).await
        } else {
            let mut builder = http1::Builder::new();
            builder
                .header_read_timeout(None::<Duration>)
                .max_buf_size(MAX_HEAD_BYTES);
            let connection = builder.serve_connection(socket, service).with_upgrades();
            to_its_end(connection, |connection| connection.graceful_shutdown(), &seat, stopped).await
        };
        if let Err(error) = outcome {
            tracing::trace!(%error, %address, "a connection failed");
        }
    }

    /// Lets a client that takes this server for a proxy send its requests through a tunnel. It ends here: no other server is
    /// reached through this one.
    fn tunnel(
        self: Arc<Self>,
        request: Request<Incoming>,
        address: SocketAddr,
        seat: Arc<Seat>,
        stopped: watch::Receiver<bool>,
    ) -> Response<Body> {
        if let Some(refusal) = self.other_host(&request) {
            return refusal;
        }
        seat.enter(Phase::Work);
        tokio::spawn(async move {
            match hyper::upgrade::on(request).await {
                Ok(socket) => self.requests(socket, address, seat, stopped, Way::Tunnel).await,
                Err(error) => tracing::trace!(%error, %address, "a tunnel failed"),
            }
        });
        Response::new(Body::empty())
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        address: SocketAddr,
        seat: Arc<Seat>,
        way: Way,
    ) -> Result<Response<Body>, Infallible> {
        let room = match way {
            Way::Tls(Version::Http2) => match self.streams.spare(address.ip()) {
                Some(room) => Some(room),
                None => return Ok(too_many_requests()),
            },
            _ => None,
        };
        let answering = Answering::new(seat, room);
        let response = match self.other_host(&request) {
            Some(refusal) => refusal,
            None => {
                request.extensions_mut().insert(ConnectInfo(address));
                if matches!(way, Way::Tls(_)) {
                    request.extensions_mut().insert(OverTls);
                }
                let service = TowerToHyperService::new(self.router.clone());
                service.call(request.map(Body::new)).await?
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // From here on it is whoever took it over that sets deadlines.
            answering.goes_on();
            return Ok(response);
        }
        Ok(response.map(|body| Body::new(Answered::new(body, answering))))
    }

    /// The refusal of a request for a name that is not this server's.
    fn other_host(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let fields = request.headers().get_all(header::HOST).iter();
        let fields = fields.map(|field| field.to_str().unwrap_or_default());
        let mut hosts = fields.chain(request.uri().authority().map(|authority| authority.as_str()));
        let other = hosts.find(|host| !self.doors.hosts.allow(host))?;
        let mut words = format!("{:?} is not a name of this server", cut(other));
        if !self.doors.other_host.is_empty() {
            words.push_str("; ");
            words.push_str(&self.doors.other_host);
        }
        words.push('\n');
        let mut response = Response::new(Body::from(words));
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        let fields = response.headers_mut();
        let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
        fields.insert(header::CONTENT_TYPE, text);
        let nosniff = header::HeaderValue::from_static("nosniff");
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        Some(response)
    }
}

/// Drives a connection until it ends, its seat is cut, or the server stops and its last request is answered.
pub(crate) async fn to_its_end<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    seat: &Seat,
    mut stopped: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut is_stopping = pin!(stopped.wait_for(|stopping| *stopping));
    let mut has_stopped = false;
    poll_fn(|context| {
        if seat.poll_cut(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !has_stopped && is_stopping.as_mut().poll(context).is_ready() {
            has_stopped = true;
            end(connection.as_mut());
        }
        connection.as_mut().poll(context)
    })
    .await
}

/// What is told where there is no room for one more request on a connection that has others.
fn too_many_requests() -> Response<Body> {
    let mut response = Response::new(Body::from("too many requests at once; try again in a moment.\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let after = header::HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
}

/// As much of a name as is worth showing.
fn cut(host: &str) -> &str {
    const SHOWN: usize = 100;
    &host[..host.floor_char_boundary(SHOWN)]
}

#[cfg(test)]
mod tests;
