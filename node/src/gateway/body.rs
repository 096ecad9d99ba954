//! Bodies that are made while their client reads.

use std::future::Future;

use axum::body::{Body, Bytes};
use odf_doors::Seat;

use super::refusal::Refusal;

/// What makes a body, a piece at a time.
pub(super) trait Pieces: Send + 'static {
    /// The next bytes, or nothing at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Refusal>> + Send;
}

/// A body of these pieces.
pub(super) fn body(pieces: impl Pieces) -> Body {
    Body::from_stream(futures::stream::try_unfold(pieces, |mut pieces| async move {
        let next = pieces.next().await.map_err(broken_off)?;
        Ok::<_, std::io::Error>(next.map(|bytes| (bytes, pieces)))
    }))
}

/// A body of these pieces, as long as there is room for what is known of it.
pub(super) fn body_within(seat: Seat, pieces: impl Pieces) -> Body {
    Body::from_stream(futures::stream::try_unfold(
        (seat, pieces),
        |(seat, mut pieces)| async move {
            seat.moved();
            let next = tokio::select! {
                biased;
                next = pieces.next() => next.map_err(broken_off)?,
                () = seat.cut() => return Err(std::io::Error::other("others needed the room")),
            };
            seat.waits_for_client();
            Ok(next.map(|bytes| (bytes, (seat, pieces))))
        },
    ))
}

/// The status is out already: a body that ends before its time is how the client learns of it.
fn broken_off(refusal: Refusal) -> std::io::Error {
    tracing::debug!(reason = refusal.reason(), "a body ends early");
    std::io::Error::other(refusal.reason().to_owned())
}
