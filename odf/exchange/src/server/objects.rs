//! Slices and checkpoints over plain HTTP: read by whoever may read, brought by whoever pushes. And the chain as a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Extension;
use axum::RequestExt as _;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

use super::answer::{self, Refusal};
use super::range::{self, Wanted};
use super::request::{Params, blocking, dataset_in, hash_in};
use super::sender::Sender;
use super::uploads::Upload;
use super::{Server, body};
use odf_dataset::receive::Progress;
use odf_dataset::{DatasetName, Object, ObjectKind};

/// How much of a file is read at a time.
const READ_BYTES: usize = 256 << 10;

/// GET and HEAD: the file, or the part of it that `Range` says.
pub(super) async fn download(
    kind: ObjectKind,
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (name, hash) = (dataset_in(&params)?, hash_in(&params)?);
    blocking(move || {
        let missing = || Refusal::not_found(format!("{name} has no {}/{hash}", kind.directory()));
        let dataset = server.readable(&name, &sender)?;
        let path = dataset.dir().join(kind.directory()).join(hash.to_string());
        match path.metadata() {
            Ok(found) if found.is_file() => file_answer(&path, found.len(), &headers),
            Ok(_) => Err(missing()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(Refusal::internal(&error)),
        }
    })
    .await?
}

/// GET and HEAD: the chain, or the part of it that `Range` says.
pub(super) async fn chain(
    State(server): State<Arc<Server>>,
    Path(params): Params,
    Extension(sender): Extension<Sender>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let name = dataset_in(&params)?;
    blocking(move || {
        let dataset = server.readable(&name, &sender)?;
        file_answer(&dataset.chain_path(), dataset.chain_len(), &headers)
    })
    .await?
}

/// What `headers` want of the first `length` bytes of a file.
pub(super) fn file_answer(path: &FilePath, length: u64, headers: &HeaderMap) -> Result<Response, Refusal> {
    let open = || File::open(path).map_err(|error| Refusal::internal(&error));
    match range::wanted(headers, length) {
        Wanted::All => Ok(answer::bytes(content(open()?, length)?.into_body(), length)),
        Wanted::Part(part) => {
            let (mut file, left) = (open()?, part.end - part.start);
            file.seek(SeekFrom::Start(part.start))
                .map_err(|error| Refusal::internal(&error))?;
            let whole = answer::bytes(content(file, left)?.into_body(), left);
            Ok(range::part(whole, &part, length))
        }
        Wanted::Nothing => Ok(range::nothing(answer::bytes(Body::empty(), 0), length)),
    }
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
            Self::Open(file, length) => body::in_pieces((file, length), next_piece),
        }
    }
}

/// The next bytes of a file that has so many left.
fn next_piece((file, left): &mut (File, u64)) -> io::Result<Vec<u8>> {
    let length = (*left).min(READ_BYTES as u64);
    let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or(READ_BYTES));
    let read = file.take(length).read_to_end(&mut piece)? as u64;
    if read < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    *left -= read;
    Ok(piece)
}

/// The dataset that a request brings something for, and the push to it by its sender, if there is one.
pub(super) async fn pushed(
    server: &Server,
    params: &HashMap<String, String>,
    request: &mut Request,
) -> Result<(DatasetName, Option<Arc<Upload>>), Refusal> {
    let Extension(sender): Extension<Sender> = request
        .extract_parts()
        .await
        .map_err(|error| Refusal::internal(&error))?;
    // What the holder may do was decided when the push began, and is looked at again when it is to count.
    let label = &sender.holder()?.label;
    let name = dataset_in(params)?;
    let upload = server.uploads.of(&name, label);
    Ok((name, upload))
}

/// PUT: the bytes of an object that a push waits for. Answered when they are checked; they are durable when the push is.
pub(super) async fn upload(
    kind: ObjectKind,
    State(server): State<Arc<Server>>,
    Path(params): Params,
    mut request: Request,
) -> Result<(), Refusal> {
    let (name, waiting) = pushed(&server, &params, &mut request).await?;
    let hash = hash_in(&params)?;
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
async fn receive(upload: Arc<Upload>, object: Object, content: Body) -> Result<(), Refusal> {
    body::written(&object.to_string(), content, move |mut body| {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::body::Bytes;
    use futures::{StreamExt as _, stream};

    use super::super::body::MAX_PIECES_AHEAD;
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
