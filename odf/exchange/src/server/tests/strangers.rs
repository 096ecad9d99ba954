//! Clients that take more than they should: turns, memory, time, and the word of a proxy.

use std::io::{Read as _, Write as _};

use super::*;
use crate::smart::MAX_MESSAGE_BYTES;

/// A WebSocket frame that begins a message and does not end it: `length` is what it announces.
fn beginning(length: u64) -> Vec<u8> {
    // Text, without FIN; masked with zeros, which changes nothing.
    let mut frame = vec![0x01, 0x80 | 127];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame
}

#[test]
fn a_stranger_cannot_fill_memory_with_a_first_message() {
    let (blocks, files) = sample::with_files(sample::id(1), 2);
    let served = Served::new().holding("ds", &blocks, &files);
    let longest = MAX_FIRST_BYTES + 4 * super::super::limits::OBJECT_BYTES;
    for (length, taken) in [(longest, true), (longest + 1, false), (MAX_MESSAGE_BYTES, false)] {
        let kamu = served.pull("ds/pull");
        let MaybeTlsStream::Plain(stream) = kamu.0.get_ref() else {
            panic!("it is not plain");
        };
        let mut stream: &TcpStream = stream;
        stream.write_all(&beginning(length as u64)).unwrap();
        // As much as fits is taken in; of the rest no byte is waited for.
        let sent = stream.write_all(&vec![b' '; length.min(64 << 10)]);
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut byte = [0];
        let read = stream.read(&mut byte);
        let waits = matches!(&read, Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        assert_eq!(waits, taken, "{length}: {sent:?} {read:?}");
    }
}

#[test]
fn one_client_does_not_take_the_turns_of_all() {
    let blocks = sample::chain(sample::id(1), 2, 2, "");
    let served = Served::with(Options {
        proxies: vec!["127.0.0.1".parse().unwrap()],
        ..Options::default()
    });
    let served = served.holding("ds", &blocks, &[]);
    let mut held: Vec<Kamu> = (0..MAX_TRANSFERS_OF_ONE).map(|_| served.pull("ds/pull")).collect();
    let (status, body) = served.connect("ds/pull", None, Some("1")).unwrap_err();
    assert!(status == 503 && body.contains("from your address"), "{body}");
    // Another client has its own, and a holder too.
    let mut request = format!("ws://{}/ds/pull", served.address)
        .into_client_request()
        .unwrap();
    request.headers_mut().insert("x-odf-smtp-version", "1".parse().unwrap());
    // The last word is the proxy's own: what it was told before may name anybody.
    for claimed in ["192.0.2.8", "10.0.0.9, 192.0.2.7"] {
        request
            .headers_mut()
            .append("x-forwarded-for", claimed.parse().unwrap());
    }
    for _ in 0..MAX_TRANSFERS_OF_ONE {
        held.push(Kamu(tungstenite::connect(request.clone()).unwrap().0));
    }
    tungstenite::connect(request).unwrap_err();
    let token = served.token();
    held.push(served.connect("ds/pull", Some(&token), Some("1")).unwrap());
    held.clear();
    let since = std::time::Instant::now();
    while served.connect("ds/pull", None, Some("1")).is_err() {
        assert!(since.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn whoever_says_nothing_is_not_waited_for() {
    let served = Served::new().holding("ds", &sample::chain(sample::id(1), 2, 2, ""), &[]);
    let since = std::time::Instant::now();
    let mut kamu = served.pull("ds/pull");
    let reason = kamu.refused();
    assert!(
        reason.contains(&format!("nothing came for {} s", FIRST_WORDS.as_secs())),
        "{reason}"
    );
    assert!(since.elapsed() < PULL_PATIENCE);
}

/// The link to an object and the headers for it, for a request with these fields.
fn link(served: &Served, token: &str, fields: &[(&'static str, &str)], files: &[File]) -> (String, Vec<String>) {
    let mut request = format!("ws://{}/ds/pull", served.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("x-odf-smtp-version", "1".parse().unwrap());
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("host", "data.example.org".parse().unwrap());
    for (name, value) in fields {
        headers.insert(*name, value.parse().unwrap());
    }
    let mut kamu = Kamu(tungstenite::connect(request).unwrap().0);
    kamu.say(FROM_THE_START);
    kamu.hear();
    kamu.say("{}");
    kamu.hear();
    let (object, _) = &files[0];
    kamu.say(json!({"object_files": [{"object_type": "DataSlice", "physical_hash": object.hash, "size": 1}]}));
    let link = kamu.hear()["object_transfer_strategies"][0]["download_from"].clone();
    let headers = link["headers"].as_array().unwrap().iter();
    let names = headers
        .map(|header| header["name"].as_str().unwrap().to_owned())
        .collect();
    let url: url::Url = link["url"].as_str().unwrap().parse().unwrap();
    (format!("{}://{}", url.scheme(), url.host_str().unwrap()), names)
}

#[test]
fn a_token_that_came_encrypted_does_not_go_out_in_the_clear() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = |proxies: &[&str]| {
        let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let options = Options {
            proxies,
            ..Options::default()
        };
        Served::with(options).holding("ds", &blocks, &files)
    };
    let https = [("x-forwarded-proto", "https")];
    let with_token = ["x-odf-smtp-version", "authorization"];
    // A proxy that is trusted says that it was encrypted: so are the links.
    let trusting = served(&["127.0.0.1"]);
    let token = trusting.token();
    assert_eq!(
        link(&trusting, &token, &https, &files),
        (
            "https://data.example.org".to_owned(),
            with_token.map(str::to_owned).to_vec()
        )
    );
    assert_eq!(link(&trusting, &token, &[], &files).0, "http://data.example.org");
    // Somebody else says so: it is not believed, and the token stays out of links that would show it.
    let alone = served(&["192.0.2.1"]);
    let token = alone.token();
    assert_eq!(
        link(&alone, &token, &https, &files),
        ("http://data.example.org".to_owned(), vec![with_token[0].to_owned()])
    );
    assert_eq!(link(&alone, &token, &[], &files).1, with_token);
}
