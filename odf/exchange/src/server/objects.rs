//! Slices and checkpoints over plain HTTP: read by whoever may read, brought by whoever pushes. And the chain as a file.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Extension;
use axum::RequestExt as _;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot};

use super::answer::{self, Refusal};
use super::request::{Params, blocking, dataset_in, hash_in};
use super::sender::Sender;
use super::turns::Turn;
use super::uploads::Upload;
use super::{PATIENCE, Server};
use odf_dataset::receive::Progress;
use odf_dataset::{Object, ObjectKind};

/// How much of a file is read at a time.
const READ_BYTES: usize = 256 << 10;
/// How many pieces of a body wait to be written.
const MAX_PIECES_AHEAD: usize = 8;

/// GET and HEAD: the file.
pub(super) async fn download(
    kind: ObjectKind,
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
) -> Result<Response, Refusal> {
    let (name, hash) = (dataset_in(&params)?, hash_in(&params)?);
    let (length, body) = blocking(move || {
        let missing = || Refusal::not_found(format!("{name} has no {}/{hash}", kind.directory()));
        let dataset = server.readable(&name, &sender)?;
        let path = dataset.dir().join(kind.directory()).join(hash.to_string());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(Refusal::internal(&error)),
        };
        let found = file.metadata().map_err(|error| Refusal::internal(&error))?;
        match found.is_file() {
            true => Ok((found.len(), content(file, found.len())?)),
            false => Err(missing()),
        }
    })
    .await??;
    Ok(answer::bytes(body.into_body(), length))
}

/// GET and HEAD: the chain, all of it or, as `Range` says, from a byte on.
pub(super) async fn chain(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let name = dataset_in(&params)?;
    let from = headers.get(header::RANGE).and_then(first_byte);
    let (length, body) = blocking(move || -> Result<(u64, Option<(u64, Content)>), Refusal> {
        let dataset = server.readable(&name, &sender)?;
        let length = dataset.chain_len();
        let Some(left) = length.checked_sub(from.unwrap_or(0)).filter(|left| *left > 0) else {
            return Ok((length, None));
        };
        let mut file = File::open(dataset.chain_path()).map_err(|error| Refusal::internal(&error))?;
        file.seek(SeekFrom::Start(length - left))
            .map_err(|error| Refusal::internal(&error))?;
        Ok((length, Some((left, content(file, left)?))))
    })
    .await??;
    let Some((left, body)) = body else {
        let mut refused = answer::bytes(Body::empty(), 0);
        *refused.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        return Ok(with_range(refused, format!("bytes */{length}")));
    };
    let mut response = answer::bytes(body.into_body(), left);
    if from.is_none() {
        return Ok(response);
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {}-{}/{length}", length - left, length - 1);
    Ok(with_range(response, range))
}

fn with_range(mut response: Response, range: String) -> Response {
    if let Ok(range) = HeaderValue::try_from(range) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

/// The byte from which on the rest of a file is wanted: `bytes=7-`. Other ranges get the whole file, as RFC 9110 §14.2 has it.
fn first_byte(range: &HeaderValue) -> Option<u64> {
    range
        .to_str()
        .ok()?
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

/// What is sent of a file.
enum Content {
    /// All of it was read: it is short.
    Whole(Vec<u8>),
    /// So many bytes are read as they are sent.
    Open(File, u64),
}

/// The next `length` bytes of a file.
fn content(mut file: File, length: u64) -> Result<Content, Refusal> {
    if length > READ_BYTES as u64 {
        return Ok(Content::Open(file, length));
    }
    // In one piece with the head of the answer, and without another turn of a thread.
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(READ_BYTES)];
    let read = file.read_exact(&mut bytes);
    read.map_err(|error| Refusal::internal(&error))?;
    Ok(Content::Whole(bytes))
}

impl Content {
    fn into_body(self) -> Body {
        match self {
            Self::Whole(bytes) => bytes.into(),
            Self::Open(file, length) => in_pieces(tokio::fs::File::from_std(file), length),
        }
    }
}

fn in_pieces(file: tokio::fs::File, length: u64) -> Body {
    let pieces = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES)];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::from(ErrorKind::UnexpectedEof));
        }
        piece.truncate(read);
        Ok(Some((Bytes::from(piece), (file, left - read as u64))))
    });
    Body::from_stream(pieces)
}

/// PUT: the bytes of an object that a push waits for. Answered when they are checked; they are durable when the push is.
pub(super) async fn upload(
    kind: ObjectKind,
    State(server): State<Arc<Server>>,
    Path(params): Params,
    mut request: Request,
) -> Result<(), Refusal> {
    let Extension(sender): Extension<Sender> = request
        .extract_parts()
        .await
        .map_err(|error| Refusal::internal(&error))?;
    // What the holder may do was decided when the push began, and is looked at again when it is to count.
    let label = &sender.holder()?.label;
    let (name, hash) = (dataset_in(&params)?, hash_in(&params)?);
    let waiting = server.uploads.of(&name, label);
    let Some((upload, object)) = waiting.and_then(|upload| upload.wanted(kind, &hash).map(|object| (upload, object)))
    else {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("no push to {name} waits for {}/{hash}", kind.directory()),
        ));
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length != object.size) {
        return Err(Refusal::bad_request(format!(
            "{object} has {} bytes, not {}",
            object.size,
            announced.unwrap_or_default()
        )));
    }
    receive(upload, object, request.into_body()).await
}

/// Writes a body where it belongs.
async fn receive(upload: Arc<Upload>, object: Object, body: Body) -> Result<(), Refusal> {
    written(&object.to_string(), body, move |mut body| {
        let mut sink = upload.arrival().sink(&object)?;
        sink.fill(&mut body, &go_on)?;
        Ok(sink.finish()?)
    })
    .await
}

/// Nobody is asked whether a request should go on.
pub(super) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
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

/// A body that keeps a turn until it has been sent or dropped.
pub(super) fn holding(body: Body, turn: Turn) -> Body {
    Body::from_stream(body.into_data_stream().map(move |part| {
        let _held = &turn;
        part
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::smart::sample;
    use odf_dataset::RemoteAliases;
    use odf_dataset::receive::Arrival;

    #[test]
    fn no_more_of_a_body_is_taken_than_may_wait_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let (_, files) = sample::with_files(sample::id(1), 1);
        let (object, bytes) = files[0].clone();
        let name = "ds".parse().unwrap();
        let arrival = Arrival::begin(&workspace, sample::id(1), &name, RemoteAliases::default()).unwrap();
        let upload = Arc::new(Upload::new(arrival, "kamu".to_owned(), vec![object]));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        // The only thread that could write waits for something else.
        let (go_on, busy) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || busy.recv());
        let length = bytes.len() / (2 * MAX_PIECES_AHEAD);
        let pieces: Vec<Bytes> = bytes.chunks(length).map(Bytes::copy_from_slice).collect();
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let body = Body::from_stream(stream::iter(pieces).map(move |piece| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(piece)
        }));
        runtime.block_on(async {
            let receiving = tokio::spawn(receive(Arc::clone(&upload), object, body));
            tokio::time::sleep(Duration::from_millis(50)).await;
            // And one for which there is no room yet.
            assert_eq!(taken.load(Ordering::SeqCst), MAX_PIECES_AHEAD + 1);
            go_on.send(()).unwrap();
            receiving.await.unwrap().unwrap();
        });
        assert!(upload.arrival().has(&object));
    }
}
