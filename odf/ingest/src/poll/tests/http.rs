//! HTTP sources.

use std::time::Instant;

use super::server::{Server, Then, ok};
use super::*;
use crate::poll::http::MAX_EXCERPT_BYTES;

fn head(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes()
}

#[test]
fn the_etag_is_the_state_before_the_time() {
    let stage = Stage::new();
    let both = "ETag: \"abc\"\r\nLast-Modified: Sun, 04 Jan 2026 00:00:00 GMT\r\n";
    let server = Server::start(vec![
        (ok(both, "a,b\n1,2\n"), Then::Close),
        (head("304 Not Modified", both), Then::Close),
    ]);
    let source = url(&server.url("/x.csv"));
    let fetched = stage.fetched(&source, None);
    assert_eq!(fs::read(fetched.path()).unwrap(), b"a,b\n1,2\n");
    assert_eq!(fetched.state, Some(state(KIND_ETAG, "\"abc\"")));
    // As kamu: an ETag hides the time, so the rows are of the time of the ingest.
    assert_eq!(fetched.event_time.to_string(), NOW);
    assert!(!fetched.has_more);
    let request = server.request();
    assert!(request.starts_with("get /x.csv http/1.1"), "{request}");
    assert!(request.contains("\r\nuser-agent: odfs/"), "{request}");
    assert!(!request.contains("gzip") && !request.contains("if-"), "{request}");

    assert!(stage.fetch(&source, fetched.state.as_ref()).unwrap().is_none());
    assert!(server.request().contains("\r\nif-none-match: \"abc\"\r\n"));
    drop(fetched);
    stage.assert_empty();
}

#[test]
fn without_an_etag_the_time_is_the_state_and_the_event_time() {
    let stage = Stage::new();
    let server = Server::start(vec![
        (ok("Last-Modified: Sun, 04 Jan 2026 00:00:00 GMT\r\n", "x"), Then::Close),
        (ok("", "y"), Then::Close),
        (ok("Last-Modified: some day\r\n", "z"), Then::Close),
    ]);
    let source = url(&server.url("/"));
    let first = stage.fetched(&source, None);
    assert_eq!(first.state, Some(state(KIND_LAST_MODIFIED, "2026-01-04T00:00:00Z")));
    assert_eq!(first.event_time.to_string(), "2026-01-04T00:00:00Z");
    server.request();
    let second = stage.fetched(&source, first.state.as_ref());
    assert!(
        server
            .request()
            .contains("\r\nif-modified-since: sun, 04 jan 2026 00:00:00 gmt\r\n")
    );
    assert_eq!(
        (second.state.clone(), second.event_time.to_string().as_str()),
        (None, NOW)
    );
    assert_eq!(stage.fetched(&source, None).state, None);
}

#[test]
fn a_server_that_ignores_conditions_gives_nothing_twice() {
    let stage = Stage::new();
    for headers in ["ETag: W/\"1\"\r\n", "Last-Modified: Sun, 04 Jan 2026 00:00:00 GMT\r\n"] {
        let server = Server::start(vec![(ok(headers, "x"), Then::Close); 2]);
        let source = url(&server.url("/"));
        let state = stage.fetched(&source, None).state;
        assert!(stage.fetch(&source, state.as_ref()).unwrap().is_none());
        stage.assert_empty();
    }
}

#[test]
fn templates_and_headers_are_sent_and_secrets_not_told() {
    let stage = Stage::new();
    let server = Server::start(vec![
        (ok("", "x"), Then::Close),
        (head("403 Forbidden", "Content-Length: 3\r\n"), Then::Close),
    ]);
    let source = |value: &str| {
        source(FetchStep::Url {
            url: server.url("/?key=${{ env.SECRET }}"),
            event_time: Some(EventTimeSource::FromSystemTime),
            cache: None,
            headers: Some(vec![RequestHeader {
                name: "X-Key".to_owned(),
                value: value.to_owned(),
            }]),
        })
    };
    let fetched = stage.fetched(&source("${{ env.NONE || env.SECRET }}"), None);
    let request = server.request();
    assert!(request.starts_with("get /?key=s3cret ") && request.contains("\r\nx-key: s3cret\r\n"));
    assert!(!fetched.name.contains("s3cret"), "{}", fetched.name);
    let error = stage.fetch(&source("x"), None).unwrap_err().to_string();
    assert!(error.contains("answered 403") && !error.contains("s3cret"), "{error}");
    assert!(matches!(
        stage.fetch(&source("a\nb"), None).unwrap_err(),
        PollError::Header { .. }
    ));
    assert!(matches!(
        stage.fetch(&source("${{ env.NONE }}"), None).unwrap_err(),
        PollError::Template(_)
    ));
}

#[test]
fn a_server_that_lies_about_length_is_caught() {
    let stage = Stage::new();
    let long = "row\n".repeat(200_000);
    for (announced, body) in [
        (10, "short"),
        (3, "longer"),
        (1 << 20, long.as_str()),
        (70_000, long.as_str()),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n{body}");
        let server = Server::one(answer);
        let error = stage.failed(&url(&server.url("/")));
        assert!(
            matches!(&error, PollError::Length { announced: said, received, .. }
                if *said == announced && (*received > announced) == (body.len() as u64 > announced)),
            "{announced}: {error}"
        );
    }
    let server = Server::one(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        MAX_CONTENT_BYTES + 1
    ));
    assert!(matches!(
        stage.failed(&url(&server.url("/"))),
        PollError::TooLarge {
            limit: MAX_CONTENT_BYTES,
            ..
        }
    ));
}

#[test]
fn a_server_that_dies_half_way_gives_nothing() {
    let stage = Stage::new();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let server = Server::one(chunked);
    let error = stage.failed(&url(&server.url("/")));
    assert!(
        matches!(&error, PollError::Unreachable { reason, .. } if reason.contains("5 bytes")),
        "{error}"
    );
    let server = Server::one("HTTP/1.1 200 OK\r\nContent-Le");
    assert!(matches!(
        stage.failed(&url(&server.url("/"))),
        PollError::Unreachable { .. }
    ));
    let server = Server::one("SSH-2.0-OpenSSH_9\r\n");
    assert!(matches!(
        stage.failed(&url(&server.url("/"))),
        PollError::Unreachable { .. }
    ));
    // Whole, in chunks.
    let server = Server::one(format!("{chunked}0\r\n\r\n"));
    let fetched = stage.fetched(&url(&server.url("/")), None);
    assert_eq!(fs::read(fetched.path()).unwrap(), b"hello");
}

#[test]
fn a_silent_server_is_given_up() {
    let stage = Stage::new();
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"] {
        let server = Server::start(vec![(answer.into(), Then::Hang)]);
        let start = Instant::now();
        let error = stage.failed(&url(&server.url("/")));
        assert!(
            matches!(&error, PollError::Unreachable { reason, .. } if reason.contains("in time")),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_download_ends_when_it_is_told_to() {
    let mut stage = Stage::new();
    stage.http.stall_timeout = Duration::from_secs(60);
    let server = Server::start(vec![("HTTP/1.1 200 OK\r\n".into(), Then::Hang)]);
    let start = Instant::now();
    let (source, stop) = (url(&server.url("/")), &stage.stop);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            server.request();
            stop.store(true, Ordering::Relaxed);
        });
        assert!(matches!(stage.failed(&source), PollError::Stopped));
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn other_answers_are_errors_with_what_the_server_said() {
    let stage = Stage::new();
    for (status, body, code) in [
        ("500 Oops", "the\r\ndatabase  is\tdown", 500),
        ("204 No Content", "", 204),
        ("304 Not Modified", "", 304),
        ("206 Partial Content", "x", 206),
    ] {
        let length = if code == 304 || code == 204 {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let server = Server::one(format!("HTTP/1.1 {status}\r\n{length}\r\n{body}"));
        let error = stage.failed(&url(&server.url("/")));
        assert!(
            matches!(&error, PollError::Status { code: found, .. } if *found == code),
            "{error}"
        );
        if code == 500 {
            assert!(
                error.to_string().ends_with("answered 500: the database is down"),
                "{error}"
            );
        }
    }
    let server = Server::one(head("404 Not Found", "Content-Length: 0\r\n"));
    assert!(matches!(stage.failed(&url(&server.url("/"))), PollError::NotFound(_)));
    let gone = TcpGone::new();
    assert!(matches!(stage.failed(&url(&gone.0)), PollError::Unreachable { .. }));
}

#[test]
fn a_busy_server_is_asked_again() {
    let stage = Stage::new();
    let busy = |status: &str, headers: &str| head(status, &format!("{headers}Content-Length: 0\r\n"));
    let server = Server::start(vec![
        (busy("429 Too Many Requests", "Retry-After: 0\r\n"), Then::Close),
        (busy("503 Service Unavailable", "Retry-After: 1\r\n"), Then::Close),
        (ok("ETag: \"abc\"\r\n", "x"), Then::Close),
    ]);
    let start = Instant::now();
    let before = state(KIND_ETAG, "\"old\"");
    let fetched = stage.fetched(&url(&server.url("/x.csv")), Some(&before));
    assert_eq!(fs::read(fetched.path()).unwrap(), b"x");
    assert!(start.elapsed() >= Duration::from_secs(1));
    // With everything that it was asked the first time.
    for _ in 0..3 {
        let request = server.request();
        assert!(
            request.starts_with("get /x.csv ") && request.contains("if-none-match: \"old\""),
            "{request}"
        );
    }
    drop(fetched);

    // It stays busy, or asks for too much.
    let repeats = usize::try_from(MAX_BUSY_REPEATS).unwrap();
    let server = Server::start(vec![(busy("503 No", "Retry-After: 0\r\n"), Then::Close); repeats + 2]);
    assert!(matches!(
        stage.failed(&url(&server.url("/"))),
        PollError::Status { code: 503, .. }
    ));
    for _ in 0..=repeats {
        server.request();
    }
    assert!(server.heard_no_more());
    let too_long = format!("Retry-After: {}\r\n", MAX_BUSY_WAIT.as_secs() + 1);
    let server = Server::one(busy("429 No", &too_long));
    let error = stage.failed(&url(&server.url("/")));
    assert!(matches!(error, PollError::Status { code: 429, .. }), "{error}");
}

#[test]
fn waiting_for_a_busy_server_ends_when_it_is_told_to() {
    let stage = Stage::new();
    let server = Server::one(head("503 No", "Retry-After: 50\r\nContent-Length: 0\r\n"));
    let start = Instant::now();
    let (source, stop) = (url(&server.url("/")), &stage.stop);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            server.request();
            stop.store(true, Ordering::Relaxed);
        });
        assert!(matches!(stage.failed(&source), PollError::Stopped));
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn no_more_of_what_a_server_says_is_told_than_the_limit_says() {
    let stage = Stage::new();
    let most = usize::try_from(MAX_EXCERPT_BYTES).unwrap();
    for length in [most, most + 1] {
        let page = "x".repeat(length);
        let server = Server::one(format!("HTTP/1.1 500 X\r\nContent-Length: {length}\r\n\r\n{page}"));
        match stage.failed(&url(&server.url("/"))) {
            PollError::Status { body, .. } => assert_eq!(body, page[..most]),
            error => panic!("{error}"),
        }
    }
}

/// The URL of a port where nobody listens.
struct TcpGone(String);

impl TcpGone {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self(format!("http://{}/", listener.local_addr().unwrap()))
    }
}

#[test]
fn redirects_are_followed_so_far_and_not_in_circles() {
    let stage = Stage::new();
    let redirect = |to: &str| head("302 Found", &format!("Location: {to}\r\nContent-Length: 5\r\n"));
    // With a body that nobody reads.
    let mut first = redirect("/there");
    first.extend_from_slice(b"moved");
    let server = Server::start(vec![(first, Then::Hang), (ok("", "x"), Then::Close)]);
    let fetched = stage.fetched(&url(&server.url("/here")), None);
    assert_eq!(fs::read(fetched.path()).unwrap(), b"x");
    assert!(server.request().starts_with("get /here "));
    assert!(server.request().starts_with("get /there "));
    drop(fetched);

    // The connection stands open and nothing more is said on it: each request needs its own.
    let circle = vec![(head("302 Found", "Location: /\r\nContent-Length: 0\r\n"), Then::Hang); 11];
    let server = Server::start(circle);
    let error = stage.failed(&url(&server.url("/")));
    assert!(
        matches!(&error, PollError::Unreachable { reason, .. } if reason.contains("redirects")),
        "{error}"
    );
    let server = Server::one(head(
        "302 Found",
        "Location: file:///etc/passwd\r\nContent-Length: 0\r\n",
    ));
    assert!(!matches!(stage.failed(&url(&server.url("/"))), PollError::NotFound(_)));
}
