//! Bodies of requests and answers on their way between the network and threads that may wait for the disk.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};

use super::answer::Refusal;
use super::limits::{FIRST_WORDS, MAX_DRAINED_BYTES, PATIENCE};
use super::turns::Turn;

/// How many pieces of a body wait to be written.
pub(super) const MAX_PIECES_AHEAD: usize = 8;

/// What `piece` gives of `source`, up to its first empty one, as a body. The next is asked for when the one before is on its
/// way: nobody who is slow keeps a thread.
pub(super) fn in_pieces<T: Send + 'static>(source: T, piece: fn(&mut T) -> io::Result<Vec<u8>>) -> Body {
    Body::from_stream(stream::try_unfold(source, move |mut source| async move {
        let next = tokio::task::spawn_blocking(move || piece(&mut source).map(|piece| (piece, source)));
        let (piece, source) = next.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), source)))
    }))
}

/// A request's body on its way to a thread that may wait for the disk.
pub(super) struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    /// Says that the body was whole; nothing once it has ended.
    whole: Option<oneshot::Receiver<()>>,
    is_broken: bool,
}

impl Read for Incoming {
    /// A body that broke off has no end, whatever has come of it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if let Some(piece) = self.pieces.blocking_recv() {
                self.piece = piece;
                continue;
            }
            if let Some(whole) = self.whole.take() {
                self.is_broken = whole.blocking_recv().is_err();
            }
            return match self.is_broken {
                true => Err(ErrorKind::UnexpectedEof.into()),
                false => Ok(0),
            };
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Has the body of a request, which is called `what`, taken by `work`, in a thread that may wait for the disk.
pub(super) async fn written(
    what: &str,
    body: Body,
    work: impl FnOnce(Incoming) -> Result<(), Refusal> + Send + 'static,
) -> Result<(), Refusal> {
    let (pieces, incoming) = mpsc::channel::<Bytes>(MAX_PIECES_AHEAD);
    let (whole, complete) = oneshot::channel::<()>();
    let mut whole = Some(whole);
    let incoming = Incoming {
        pieces: incoming,
        piece: Bytes::new(),
        whole: Some(complete),
        is_broken: false,
    };
    let writer = tokio::task::spawn_blocking(move || work(incoming));
    let mut body = body.into_data_stream();
    let ended = loop {
        match tokio::time::timeout(PATIENCE, body.next()).await {
            Ok(Some(Ok(piece))) => {
                // The writer has ended, with an error that says why.
                if pieces.send(piece).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => {
                whole.take().map(|whole| whole.send(()));
                break Ok(());
            }
            Ok(Some(Err(error))) => break Err(Refusal::bad_request(format!("{what} broke off: {error}"))),
            Err(_) => {
                break Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!("no byte of {what} came for {} s", PATIENCE.as_secs()),
                ));
            }
        }
    };
    drop(pieces);
    // The writer waits for one or the other: the word that the body is whole, or that nobody will say it.
    drop(whole);
    let written = writer.await.map_err(|error| Refusal::internal(&error))?;
    ended?;
    written
}

/// A body that keeps a turn until it has been sent or dropped. It breaks off when the turn is cut.
pub(super) fn holding(body: Body, turn: Turn) -> Body {
    let mut body = body.into_data_stream();
    Body::from_stream(stream::poll_fn(move |context| {
        if turn.poll_cut(context).is_ready() {
            let reason = "others wanted the turn of a client that had many and took little";
            return Poll::Ready(Some(Err(io::Error::other(reason))));
        }
        turn.moved();
        let piece = ready!(body.poll_next_unpin(context));
        // Until the next is asked for.
        turn.waits_for_client();
        Poll::Ready(piece.map(|piece| piece.map_err(io::Error::other)))
    }))
}

/// The body of a request, beside whoever handles that.
type Shared = Arc<Mutex<BodyDataStream>>;

/// What a handler leaves of the body of a request.
pub(super) struct Rest(Option<Shared>);

/// Keeps what the handler of a request leaves of its body.
pub(super) fn keep_rest(request: Request) -> (Request, Rest) {
    // Who asks before they send are told by the answer itself.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return (request, Rest(None));
    }
    let (head, body) = request.into_parts();
    let kept: Shared = Arc::new(Mutex::new(body.into_data_stream()));
    let given = Arc::clone(&kept);
    let body = Body::from_stream(stream::poll_fn(move |context| lock(&given).poll_next_unpin(context)));
    (Request::from_parts(head, body), Rest(Some(kept)))
}

impl Rest {
    /// Nothing is kept.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Reads it and lets it fall, up to [`MAX_DRAINED_BYTES`] and for [`FIRST_WORDS`] at most. Many a client reads no answer
    /// before it has sent everything, and a connection that is closed while bytes come takes the answer with it.
    pub(super) async fn drain(self) {
        let Some(body) = self.0 else { return };
        let mut pieces = stream::poll_fn(|context| lock(&body).poll_next_unpin(context));
        let reading = async {
            let mut left = MAX_DRAINED_BYTES;
            while let Some(Ok(piece)) = pieces.next().await {
                match left.checked_sub(piece.len()) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        };
        if tokio::time::timeout(FIRST_WORDS, reading).await.is_err() {
            tracing::debug!("a request that is refused still comes");
        }
    }
}

fn lock(body: &Shared) -> MutexGuard<'_, BodyDataStream> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PIECE: usize = 1 << 20;

    /// How many bytes are read of a body of so many pieces whose handler took the first.
    async fn read_of(pieces: usize) -> usize {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&read);
        let body = Body::from_stream(stream::iter(0..pieces).map(move |_| {
            counted.fetch_add(PIECE, Ordering::SeqCst);
            Ok::<_, io::Error>(Bytes::from_static(&[0; PIECE]))
        }));
        let (request, rest) = keep_rest(Request::new(body));
        let mut taken = request.into_body().into_data_stream();
        assert_eq!(taken.next().await.unwrap().unwrap().len(), PIECE);
        drop(taken);
        rest.drain().await;
        read.load(Ordering::SeqCst)
    }

    #[test]
    fn what_is_left_of_a_refused_body_is_read_up_to_a_bound() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let most = MAX_DRAINED_BYTES / PIECE;
        assert_eq!(runtime.block_on(read_of(1 + most)), PIECE + MAX_DRAINED_BYTES);
        // One piece more shows that it is too much.
        assert_eq!(runtime.block_on(read_of(10 + most)), 2 * PIECE + MAX_DRAINED_BYTES);
        let asking = Request::builder().header(header::EXPECT, "100-continue");
        assert!(keep_rest(asking.body(Body::from("x")).unwrap()).1.0.is_none());
        assert!(keep_rest(Request::new(Body::empty())).1.0.is_none());
    }
}
