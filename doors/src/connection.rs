//! A connection in a seat: what its client does is noted there, and it ends when the seat is cut.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shares::Seat;

/// The socket of a connection, or what stands for one. The seat is kept for as long as it is open, whoever has it.
pub(crate) struct Seated<S> {
    stream: S,
    seat: Arc<Seat>,
}

impl<S> Seated<S> {
    pub(crate) fn new(stream: S, seat: Arc<Seat>) -> Self {
        Self { stream, seat }
    }

    fn go_on(&self, context: &mut Context<'_>) -> io::Result<()> {
        match self.seat.poll_cut(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Notes what came of writing.
    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Pending => self.seat.waits_for_client(),
            Poll::Ready(Ok(_)) => self.seat.moved(),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Seated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.go_on(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.seat.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seated<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.go_on(context)?;
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.go_on(context)?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The most bytes of an answer that are handed over at once where requests share a connection: only when they are on their way
/// is it seen that the client takes more.
pub(crate) const MAX_PIECE_BYTES: usize = 64 << 10;

/// A request that is being answered. When all of a connection have been, it waits for others.
pub(crate) struct Answering {
    seat: Arc<Seat>,
    id: u64,
    /// Room for one of many on its connection.
    room: Option<Seat>,
    has_answer: bool,
    goes_on: bool,
}

impl Answering {
    pub(crate) fn new(seat: Arc<Seat>, room: Option<Seat>) -> Self {
        let id = seat.begin();
        Self {
            seat,
            id,
            room,
            has_answer: false,
            goes_on: false,
        }
    }

    /// Somebody else has the connection from now on: it waits for no other request.
    pub(crate) fn goes_on(mut self) {
        self.goes_on = true;
    }

    fn is_one_of_many(&self) -> bool {
        self.room.is_some()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.goes_on {
            return;
        }
        self.seat.end(self.id);
        match self.has_answer {
            true => self.seat.answers(),
            false => self.seat.taken_back(),
        }
    }
}

/// The body of an answer.
pub(crate) struct Answered {
    body: Body,
    /// What of the last piece of it was not handed over yet.
    rest: Bytes,
    answering: Answering,
}

impl Answered {
    pub(crate) fn new(body: Body, mut answering: Answering) -> Self {
        answering.has_answer = true;
        if answering.is_one_of_many() {
            // It is not asked for anything before the client has room.
            answering.seat.offers(answering.id);
        }
        Self {
            body,
            rest: Bytes::new(),
            answering,
        }
    }

    fn next_piece(&mut self) -> Bytes {
        let length = self.rest.len().min(MAX_PIECE_BYTES);
        self.rest.split_to(length)
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.answering.is_one_of_many() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        let Answering { seat, id, .. } = &self.answering;
        seat.takes(*id);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = self.next_piece();
        // It is asked for more when the client has room for more.
        let Answering { seat, id, .. } = &self.answering;
        seat.offers(*id);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
