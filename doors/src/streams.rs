//! Clients that come in over streams of some other connection than one of their own: one request on each.
//!
//! They are not told apart by an address, which many of them may share or which nobody knows, but by whatever stands for each,
//! written as one. No name is asked for: no page of a web site reaches such a stream.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::connection::{Answered, Answering, Seated};
use crate::network::Network;
use crate::serve::{MAX_HEAD_BYTES, SWEEP_EVERY, is_over, to_its_end, until_empty};
use crate::shares::{Phase, Room, Seat, Shares};

/// The most streams that are answered at once, of all clients together.
pub const MAX_ARRIVALS: usize = 64;
/// The most of them of one client. When all are taken, whoever has most makes room, as for connections.
pub const MAX_ARRIVALS_OF_ONE: usize = 8;

const ROOM: Room = Room {
    all: MAX_ARRIVALS,
    network: 2 * MAX_ARRIVALS_OF_ONE,
    one: MAX_ARRIVALS_OF_ONE,
    many: MAX_ARRIVALS_OF_ONE,
};

/// A stream that came in.
#[derive(Debug)]
pub struct Arrival<S> {
    /// The stream.
    pub stream: S,
    /// What stands for the client: an address that no other has.
    pub client: IpAddr,
    /// Whose network it comes from.
    pub network: Network,
}

/// Serves `router` on streams until there are no more, or `stop` is done; then running requests may end, for a few seconds. A
/// request has what stands for its client as [`ConnectInfo`]. The deadlines are those of [`serve`](crate::serve()); a stream for
/// which there is no room is dropped.
pub async fn serve_streams<S>(
    mut arrivals: mpsc::Receiver<Arrival<S>>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let seats = Shares::new(ROOM, &[]);
    let (stopping, stopped) = watch::channel(false);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = sweep.tick() => {
                let now = Instant::now();
                seats.sweep(|activity| is_over(activity, now));
            }
            arrival = arrivals.recv() => {
                let Some(Arrival { stream, client, network }) = arrival else { break };
                match seats.take_in(client, network) {
                    Ok(seat) => {
                        tokio::spawn(answer(stream, router.clone(), client, seat, stopped.clone()));
                    }
                    Err(full) => tracing::debug!(%client, ?full, "a stream too many"),
                }
            }
        }
    }
    drop(arrivals);
    let _ = stopping.send(true);
    until_empty(&seats).await;
}

/// Answers the one request of a stream.
async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    client: IpAddr,
    seat: Seat,
    stopped: watch::Receiver<bool>,
) {
    let seat = Arc::new(seat);
    seat.enter(Phase::Head);
    let of_service = Arc::clone(&seat);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, answering) = (router.clone(), Answering::new(Arc::clone(&of_service), None));
        async move {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
            let response = TowerToHyperService::new(router).call(request.map(Body::new)).await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Answered::new(body, answering))))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None::<Duration>)
        .max_buf_size(MAX_HEAD_BYTES)
        // A client may close its half of the stream behind the request, and go-libp2p does.
        .half_close(true)
        .keep_alive(false);
    let socket = TokioIo::new(Seated::new(stream, Arc::clone(&seat)));
    let connection = builder.serve_connection(socket, service);
    let ended = to_its_end(connection, |connection| connection.graceful_shutdown(), &seat, stopped).await;
    if let Err(error) = ended {
        tracing::trace!(%error, %client, "a stream failed");
    }
}

#[cfg(test)]
mod tests;
