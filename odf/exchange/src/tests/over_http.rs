//! The same over HTTP, from a server that can be told to misbehave.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use url::Url;

use super::*;
use crate::http::{HttpSource, MAX_REDIRECTS, REPEATS};

/// What the server does for one path.
#[derive(Clone)]
enum Act {
    /// An answer without a body.
    Status(u16),
    /// Sends the client elsewhere.
    Redirect(String),
    /// Says one length and sends other bytes.
    Lie { length: usize, bytes: Vec<u8> },
    /// Sends without a length until the client has enough.
    Endless,
}

struct Server {
    url: Url,
    asked: Arc<Mutex<Vec<String>>>,
    acts: Arc<Mutex<HashMap<String, Act>>>,
}

impl Server {
    /// Serves the files below `dir` at `/d/`. With a token only to those who bring it.
    fn new(dir: &Path, token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/d/", listener.local_addr().unwrap())).unwrap();
        let (asked, acts) = (Arc::default(), Arc::default());
        let server = Self { url, asked, acts };
        let (dir, asked, acts) = (dir.to_owned(), server.asked.clone(), server.acts.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (dir, asked, acts) = (dir.clone(), asked.clone(), acts.clone());
                thread::spawn(move || answer(&stream.unwrap(), &dir, token, &asked, &acts));
            }
        });
        server
    }

    fn act(&self, file: &str, act: Act) {
        self.acts.lock().unwrap().insert(format!("/d/{file}"), act);
    }

    fn behave(&self) {
        self.acts.lock().unwrap().clear();
    }

    fn source(&self) -> HttpSource {
        HttpSource::new(&self.url, None)
    }
}

fn answer(
    mut stream: &TcpStream,
    dir: &Path,
    token: Option<&str>,
    asked: &Mutex<Vec<String>>,
    acts: &Mutex<HashMap<String, Act>>,
) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(path.clone());
    let allowed = token.is_none_or(|token| {
        let wanted = format!("authorization: bearer {token}");
        headers.iter().any(|line| line.eq_ignore_ascii_case(&wanted))
    });
    let act = acts.lock().unwrap().get(&path).cloned();
    let file = path.strip_prefix("/d/").and_then(|file| fs::read(dir.join(file)).ok());
    let head = |status: u16, rest: &str| format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{rest}\r\n");
    // Whether the client listens to the end is what the tests are about.
    let _ = match (act, file) {
        _ if !allowed => stream.write_all(head(401, "content-length: 0\r\n").as_bytes()),
        (Some(Act::Status(status)), _) => stream.write_all(head(status, "content-length: 0\r\n").as_bytes()),
        (Some(Act::Redirect(to)), _) => {
            stream.write_all(head(302, &format!("location: {to}\r\ncontent-length: 0\r\n")).as_bytes())
        }
        (Some(Act::Lie { length, bytes }), _) => stream
            .write_all(head(200, &format!("content-length: {length}\r\n")).as_bytes())
            .and_then(|()| stream.write_all(&bytes)),
        (Some(Act::Endless), _) => stream.write_all(head(200, "").as_bytes()).and_then(|()| {
            loop {
                stream.write_all(&[b'f'; 4096])?;
            }
        }),
        (None, Some(bytes)) => stream
            .write_all(head(200, &format!("content-length: {}\r\n", bytes.len())).as_bytes())
            .and_then(|()| stream.write_all(&bytes)),
        (None, None) => stream.write_all(head(404, "content-length: 0\r\n").as_bytes()),
    };
    let _ = stream.shutdown(Shutdown::Both);
}

#[test]
fn every_golden_dataset_comes_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    for golden in golden::datasets() {
        let server = Server::new(&golden.dir.join("dataset"), None);
        let outcome = bring_as(&workspace, &server.source(), golden.name, false).unwrap();
        assert_eq!(*outcome.dataset().head(), golden.head());
        let mut asked = server.asked.lock().unwrap().clone();
        // What this server does not have, for which only long chains and many small files are asked.
        asked.retain(|path| path != "/d/chain" && path != "/d/objects");
        assert_eq!(asked.len(), tree(&golden.dir.join("dataset")).len(), "every file once");
        let again = bring_as(&workspace, &server.source(), golden.name, false).unwrap();
        assert!(matches!(again, Received::UpToDate { .. }));
    }
}

#[test]
fn servers_that_refuse_or_lead_elsewhere_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let Some((there, _)) = copied(&dir) else { return };
    let workspace = workspace(&dir);
    let server = Server::new(&there, None);
    let head = || server.url.join("refs/head").unwrap().to_string();
    for status in [404, 410] {
        server.act("refs/head", Act::Status(status));
        assert!(matches!(
            bring(&workspace, &server.source()),
            Err(ReceiveError::NotFound { .. })
        ));
    }
    for status in [401, 403] {
        server.act("refs/head", Act::Status(status));
        let error = bring(&workspace, &server.source()).unwrap_err();
        assert!(matches!(unread(&error), Some(ReadError::Denied { .. })), "{error}");
    }
    server.act("refs/head", Act::Status(500));
    let error = bring(&workspace, &server.source()).unwrap_err();
    assert!(
        matches!(unread(&error), Some(ReadError::Status { status: 500, url }) if *url == head()),
        "{error}"
    );
    server.act("refs/head", Act::Redirect(head()));
    let error = bring(&workspace, &server.source()).unwrap_err();
    assert!(matches!(unread(&error), Some(ReadError::Unreachable { .. })), "{error}");
    server.behave();
    let elsewhere = Server::new(Path::new("/nowhere"), None);
    for (file, _) in tree(&there) {
        let file = file.to_str().unwrap();
        elsewhere.act(file, Act::Redirect(server.url.join(file).unwrap().to_string()));
    }
    bring(&workspace, &elsewhere.source()).unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = HttpSource::new(&Url::parse(&format!("http://{unused}/")).unwrap(), None);
    let error = bring(&workspace, &nobody).unwrap_err();
    assert!(matches!(unread(&error), Some(ReadError::Unreachable { .. })), "{error}");
}

#[test]
fn so_many_redirects_are_followed_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let hash = Multihash::sha3_256(b"a head");
    fs::write(dir.path().join("end"), hash.to_string()).unwrap();
    let server = Server::new(dir.path(), None);
    for (redirects, arrives) in [(MAX_REDIRECTS, true), (MAX_REDIRECTS + 1, false)] {
        server.behave();
        server.asked.lock().unwrap().clear();
        let file = |left: u32| match left {
            0 => "end".to_owned(),
            left if left == redirects => "refs/head".to_owned(),
            left => format!("{left}"),
        };
        for left in 1..=redirects {
            let next = server.url.join(&file(left - 1)).unwrap();
            server.act(&file(left), Act::Redirect(next.to_string()));
        }
        match server.source().head() {
            Ok(head) => assert_eq!((head, arrives), (Some(hash), true)),
            Err(error) => assert!(!arrives && error.to_string().contains("redirects"), "{error}"),
        }
        assert_eq!(server.asked.lock().unwrap().len(), MAX_REDIRECTS as usize + 1);
    }
}

#[test]
fn a_token_is_sent_and_not_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let Some((there, _)) = copied(&dir) else { return };
    let workspace = workspace(&dir);
    let server = Server::new(&there, Some("s3cret"));
    assert!(bring(&workspace, &server.source()).is_err());
    let source = |token: &str| HttpSource::new(&server.url, Some(token.to_owned()));
    assert!(bring(&workspace, &source("wrong")).is_err());
    // A host of another name is another server, though it leads to the same.
    let other = Server::new(Path::new("/nowhere"), None);
    let as_localhost = server.url.as_str().replace("127.0.0.1", "localhost");
    other.act("refs/head", Act::Redirect(format!("{as_localhost}refs/head")));
    let through = HttpSource::new(&other.url, Some("s3cret".to_owned()));
    let error = bring(&workspace, &through).unwrap_err();
    assert!(
        matches!(
            unread(&error),
            Some(ReadError::Denied { .. } | ReadError::Unreachable { .. })
        ),
        "{error}"
    );
    bring(&workspace, &source("s3cret")).unwrap();
}

#[test]
fn lengths_that_are_lies_are_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let Some((there, objects)) = copied(&dir) else { return };
    let workspace = workspace(&dir);
    let server = Server::new(&there, None);
    let refused = |file: &str, act: Act| {
        server.behave();
        server.act(file, act);
        let error = bring(&workspace, &server.source()).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
        assert!(workspace.catalog().entries().unwrap().is_empty());
        error
    };
    // Metadata blocks first: those that came are not asked for again.
    let block = format!("blocks/{}", server.source().head().unwrap().unwrap());
    refused(&block, Act::Endless);
    let error = refused("refs/head", Act::Endless);
    assert!(error.contains("is longer than 128 bytes"), "{error}");
    let object = objects[1].to_string();
    let bytes = fs::read(objects[1].path(&there)).unwrap();
    let long = [&bytes[..], b"more"].concat();
    // More promised than sent, as when a server dies; more sent than the block says, with and without saying so.
    let error = refused(
        &object,
        Act::Lie {
            length: bytes.len(),
            bytes: bytes[..bytes.len() / 2].to_vec(),
        },
    );
    assert!(error.contains("could not be read to its end"), "{error}");
    refused(
        &object,
        Act::Lie {
            length: bytes.len() / 2,
            bytes: bytes.clone(),
        },
    );
    refused(
        &object,
        Act::Lie {
            length: long.len(),
            bytes: long,
        },
    );
    refused(&object, Act::Endless);
    server.behave();
    // Bytes behind the length that was said belong to nobody.
    server.act(
        &object,
        Act::Lie {
            length: bytes.len(),
            bytes: [&bytes[..], b"more"].concat(),
        },
    );
    bring(&workspace, &server.source()).unwrap();
}

#[test]
fn a_walk_that_broke_off_asks_for_no_block_twice() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    let there = dir.path().join("there");
    let blocks = chain(1, &["a", "b", "c", "d", "e"]);
    lay(&there, &blocks);
    let server = Server::new(&there, None);
    let file = |block: &EncodedBlock| format!("blocks/{}", block.hash());
    let asked = || {
        let mut asked = std::mem::take(&mut *server.asked.lock().unwrap());
        asked.retain(|path| path.contains("/blocks/"));
        asked
            .iter()
            .map(|path| path.trim_start_matches("/d/").to_owned())
            .collect::<Vec<_>>()
    };
    // Wrong bytes are not kept.
    let bytes = b"not that block".to_vec();
    let length = bytes.len();
    server.act(&file(&blocks[2]), Act::Lie { length, bytes });
    assert!(matches!(
        bring(&workspace, &server.source()),
        Err(ReceiveError::Block { .. })
    ));
    assert_eq!(asked(), [5, 4, 3, 2].map(|at: usize| file(&blocks[at])));
    server.behave();
    bring(&workspace, &server.source()).unwrap();
    assert_eq!(asked(), [2, 1, 0].map(|at: usize| file(&blocks[at])));
    let cache = &workspace.catalog().medium().cache;
    let place = Multihash::sha3_256(server.source().place().as_bytes()).to_bytes();
    for block in &blocks {
        let key = [&place[..], &block.hash().to_bytes()].concat();
        assert!(cache.get("arriving", &key).is_none(), "what has arrived is not kept");
    }
}

#[test]
fn a_long_chain_is_asked_for_as_one_file_and_block_by_block_where_there_is_none() {
    let names: Vec<String> = (0..99).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let blocks = chain(1, &names);
    let entries = |blocks: &[EncodedBlock]| -> Vec<u8> {
        let entry = |block: &EncodedBlock| [&(block.bytes().len() as u32).to_le_bytes()[..], block.bytes()].concat();
        blocks.iter().flat_map(entry).collect()
    };
    let whole = entries(&blocks);
    let mut forged = whole.clone();
    forged[entries(&blocks[..10]).len() + 20] ^= 1;
    // Without such a file; with it; with a part of it; with one of something else, and one in which a byte is wrong.
    for (file, singly) in [
        (None, 100),
        (Some(whole.clone()), 32),
        (Some(entries(&blocks[50..])), 82),
        (Some(b"<html>nothing of the kind</html>".to_vec()), 100),
        (Some(forged), 33),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (workspace, there) = (workspace(&dir), dir.path().join("there"));
        lay(&there, &blocks);
        if let Some(file) = &file {
            fs::write(there.join("chain"), file).unwrap();
        }
        let server = Server::new(&there, None);
        let outcome = bring(&workspace, &server.source()).unwrap();
        assert_eq!(hashes(outcome.dataset()), hashes_of(&blocks));
        let asked = server.asked.lock().unwrap().clone();
        let count = |part: &str| asked.iter().filter(|path| path.contains(part)).count();
        assert_eq!((count("/d/chain"), count("/d/blocks/")), (1, singly));
        // Nothing that was put aside is left.
        let left = fs::read_dir(workspace.catalog().dir()).unwrap();
        let left = left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn a_server_that_closes_a_waiting_connection_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    let there = dir.path().join("there");
    lay(&there, &chain(1, &["a", "b", "c", "d"]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/d/", listener.local_addr().unwrap())).unwrap();
    let closed = Arc::new(Mutex::new(0));
    thread::spawn({
        let closed = closed.clone();
        move || {
            for stream in listener.incoming() {
                let (there, closed) = (there.clone(), closed.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap())
                        .lines()
                        .map_while(Result::ok);
                    let Some(first) = lines.next() else { return };
                    lines.find(String::is_empty);
                    let path = first.split(' ').nth(1).unwrap().trim_start_matches("/d/");
                    let bytes = fs::read(there.join(path)).unwrap_or_default();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
                    stream.write_all(&[head.as_bytes(), &bytes].concat()).unwrap();
                    // The second request is taken from the connection and not answered.
                    if lines.next().is_some() {
                        *closed.lock().unwrap() += 1;
                    }
                });
            }
        }
    });
    bring(&workspace, &HttpSource::new(&url, None)).unwrap();
    assert!(*closed.lock().unwrap() > 0, "no connection was used twice");
    // One that never answers is not asked for ever.
    let asked = Mutex::new(0);
    let error = crate::http::ask::<()>(|| {
        *asked.lock().unwrap() += 1;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
    });
    assert!(error.is_err());
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn a_server_that_redirects_and_then_closes_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/d/", listener.local_addr().unwrap())).unwrap();
    let connections = Arc::new(Mutex::new(0));
    thread::spawn({
        let connections = connections.clone();
        move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                *connections.lock().unwrap() += 1;
                let mut lines = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map_while(Result::ok);
                lines.find(String::is_empty);
                let _ = stream.write_all(b"HTTP/1.1 302 X\r\nlocation: /d/on\r\ncontent-length: 0\r\n\r\n");
                // The next request is taken from the connection and not answered.
                lines.find(String::is_empty);
            }
        }
    });
    assert!(HttpSource::new(&url, None).head().is_err());
    assert_eq!(*connections.lock().unwrap(), 1 + REPEATS, "once, and so often again");
}
