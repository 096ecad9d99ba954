//! How much a server takes at once, how much it hears, and how long it waits.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::time::Instant;

use axum::extract::ws::WebSocketUpgrade;

use super::pushes::up_to_objects;
use super::*;
use crate::server::push::{End, MAX_UNANSWERED, wait_for_uploads};
use crate::server::request::few_enough;
use crate::server::socket::{MAX_EMPTY_FRAMES, Socket, SocketError, within_limits};
use crate::smart::{MAX_MESSAGE_BYTES, MAX_OBJECT_REQUESTS, MAX_OBJECTS_AT_ONCE, plan};

/// How long a server may take for what it does at once.
const SOON: Duration = Duration::from_secs(10);

/// A client of a server that does `work` with a WebSocket, what comes of that, and the runtime of the server.
fn client_of<T, F>(
    work: impl Fn(Socket) -> F + Clone + Send + Sync + 'static,
) -> (Kamu, mpsc::Receiver<T>, tokio::runtime::Runtime)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let accept = move |upgrade: WebSocketUpgrade| {
        let (work, tell) = (work.clone(), tell.clone());
        async move {
            within_limits(upgrade, MAX_MESSAGE_BYTES).on_upgrade(move |socket| async move {
                // A test that knows enough has gone.
                let _ = tell.send(work(Socket::new(socket)).await);
            })
        }
    };
    let router = Router::new().route("/", get(accept));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, router).await });
    let (socket, _) = tungstenite::connect(format!("ws://{address}/")).unwrap();
    let mut kamu = Kamu(socket);
    stream_of(&mut kamu).set_read_timeout(Some(SOON)).unwrap();
    (kamu, told, runtime)
}

/// The connection below a WebSocket.
fn stream_of(kamu: &mut Kamu) -> &mut TcpStream {
    match kamu.0.get_mut() {
        MaybeTlsStream::Plain(stream) => stream,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_request_too_many_is_told_to_come_back() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    let (object, bytes) = &files[0];
    // An upload that does not come is a request for as long as the server waits for it.
    let head = format!(
        "PUT /ds/{object} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\n\r\n",
        served.address,
        bytes.len()
    );
    let mut uploads: Vec<TcpStream> = (0..MAX_REQUESTS)
        .map(|_| {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = [0; 25];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
            stream
        })
        .collect();
    let known = || served.request("GET", "info", Some(&token), None);
    let refused = known();
    assert_eq!(
        (refused.status, refused.text().contains("too many requests")),
        (503, true)
    );
    // Those of others are no matter to strangers.
    assert_eq!(served.get("info").status, 200);
    drop(uploads.pop());
    // The server notices in its own time.
    let since = Instant::now();
    while known().status != 200 {
        assert!(since.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_transfer_too_many_is_told_to_come_back() {
    let served = Served::new().holding("ds", &sample::chain(sample::id(1), 2, 2, ""), &[]);
    let token = served.token();
    let known = || served.connect("ds/pull", Some(&token), Some("1"));
    let mut pulls: Vec<Kamu> = (0..MAX_TRANSFERS).map(|_| known().unwrap()).collect();
    let (status, body) = known().unwrap_err();
    assert_eq!(status, 503, "{body}");
    drop(served.connect("ds/pull", None, Some("1")).unwrap());
    // What is asked for without a transfer is counted by itself.
    assert_eq!(served.get("ds/refs/head").status, 200);
    drop(pulls.pop());
    let since = Instant::now();
    while known().is_err() {
        assert!(since.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn so_many_frames_that_say_nothing_are_passed_over_and_no_more() {
    let served = Served::new().holding("ds", &sample::chain(sample::id(1), 2, 2, ""), &[]);
    let after_pings = |count: usize| {
        let mut kamu = served.pull("ds/pull");
        for _ in 0..count {
            kamu.0.write(Message::Ping(Default::default())).unwrap();
        }
        kamu.say(FROM_THE_START);
        loop {
            match kamu.0.read().unwrap() {
                Message::Pong(_) => {}
                other => return other,
            }
        }
    };
    let answer = after_pings(MAX_EMPTY_FRAMES);
    assert!(answer.is_text(), "{answer:?}");
    match after_pings(MAX_EMPTY_FRAMES + 1) {
        Message::Close(Some(frame)) => assert!(frame.reason.contains("empty frames"), "{frame}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_comes() {
    for (bytes, is_refused) in [(MAX_MESSAGE_BYTES, false), (MAX_MESSAGE_BYTES + 1, true)] {
        let (mut kamu, told, _runtime) = client_of(|mut socket: Socket| async move { socket.receive::<Value>().await });
        // The head of one frame of text with its length in eight bytes and a mask, and nothing after it.
        let head = [&[0x81_u8, 0xff][..], &(bytes as u64).to_be_bytes(), &[0; 4]].concat();
        stream_of(&mut kamu).write_all(&head).unwrap();
        let patience = if is_refused { SOON } else { Duration::from_millis(200) };
        match told.recv_timeout(patience) {
            Ok(received) => assert!(is_refused && received.is_err(), "{received:?}"),
            Err(_) => assert!(!is_refused, "{bytes} bytes are waited for"),
        }
    }
}

#[test]
fn one_object_too_many_at_once_is_refused() {
    let (_, files) = sample::with_files(sample::id(1), 1);
    let files = vec![plan::file(&files[0].0); MAX_OBJECTS_AT_ONCE + 1];
    assert_eq!(few_enough(&files[..MAX_OBJECTS_AT_ONCE]), Ok(()));
    assert!(few_enough(&files).is_err());
}

#[test]
fn so_many_requests_for_objects_are_answered_and_no_more() {
    let served = Served::new().holding("ds", &sample::chain(sample::id(1), 2, 2, ""), &[]);
    let mut kamu = served.pull("ds/pull");
    kamu.say(FROM_THE_START);
    kamu.hear();
    kamu.say("{}");
    kamu.hear();
    let request = br#"{"object_files":[]}"#;
    // All at once, because what takes long is the way there and back: each a frame of text with a mask.
    let head = [0x81, 0x80 | request.len() as u8, 0, 0, 0, 0];
    let requests = [&head[..], request].concat().repeat(MAX_OBJECT_REQUESTS);
    let mut stream = stream_of(&mut kamu).try_clone().unwrap();
    let sending = std::thread::spawn(move || stream.write_all(&requests).unwrap());
    for _ in 0..MAX_OBJECT_REQUESTS {
        assert!(kamu.0.read().unwrap().is_text());
    }
    sending.join().unwrap();
    // The server goes on listening.
    kamu.0.send(Message::Ping(Default::default())).unwrap();
    assert!(matches!(kamu.0.read().unwrap(), Message::Pong(_)));
    kamu.say(r#"{"object_files":[]}"#);
    assert!(kamu.refused().contains("requests for objects"));
}

#[test]
fn a_client_that_answers_no_question_is_given_up() {
    let every = Duration::from_millis(20);
    let wait = move |mut socket: Socket| async move { wait_for_uploads(&mut socket, every).await };
    for answers in [false, true] {
        let (mut kamu, told, _runtime) = client_of(wait);
        let mut asked = 0;
        while let Ok(question) = kamu.0.read() {
            assert_eq!(question, Message::text("{}"));
            asked += 1;
            if answers && asked == 1 {
                kamu.say(r#"{"details":{"Running":{"uploaded_objects_count":1}}}"#);
            }
        }
        let end = told.recv_timeout(SOON).unwrap();
        assert!(matches!(end, Err(End::Socket(SocketError::Silent(_)))), "{end:?}");
        // An answer begins the count anew; a few more may have been under way when it came.
        match answers {
            false => assert_eq!(asked, MAX_UNANSWERED),
            true => assert!(asked > MAX_UNANSWERED, "{asked}"),
        }
    }
}
