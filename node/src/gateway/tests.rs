//! A gateway over blocks in memory, asked over a real socket.

mod archives;
mod directories;
mod files;
mod hosts;
mod peers;
mod refusals;
mod strangers;
mod values;

use super::*;
use crate::block::{Block, DAG_CBOR};
use crate::unixfs::{Entry, Profile, UNIXFS_V1_2025, directory as dirs, import, node};
use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Small chunks and narrow nodes, so that small files have deep trees and small directories are sharded.
const TINY: Profile = Profile {
    chunk_bytes: 1000,
    max_links: 3,
    shard_above: 2000,
    ..UNIXFS_V1_2025
};
const NAME: &str = "k51qzi5uqu5dgqj09ikt2befzowhv78qa9bmoyttb02n34blh6wahonsfzmqkp";

/// Blocks in memory, with a count of what was asked for.
#[derive(Default)]
struct Shelf {
    blocks: HashMap<Cid, Block>,
    names: HashMap<String, String>,
    records: HashMap<String, Bytes>,
    /// Blocks that never come.
    stuck: HashSet<Cid>,
    delay: Duration,
    fetched: AtomicUsize,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Source for Arc<Shelf> {
    type Session = ();

    fn session(&self, _: &[String]) {}

    fn id(&self) -> &str {
        "own"
    }

    async fn block(&self, (): &(), cid: &Cid) -> Result<Block, SourceError> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        if self.stuck.contains(cid) {
            std::future::pending::<()>().await;
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.blocks
            .get(cid)
            .cloned()
            .ok_or_else(|| SourceError::NotFound(format!("no provider of {cid}")))
    }

    async fn has(&self, cid: &Cid) -> bool {
        self.blocks.contains_key(cid)
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        match self.names.get(name) {
            Some(path) => Ok(NameValue {
                path: path.clone(),
                max_age: Duration::from_secs(300),
                record: self.records.get(name).cloned(),
            }),
            None if name.starts_with("k51") => Err(SourceError::NotFound(format!("no record of {name}"))),
            None => Err(SourceError::BadName(format!("{name} is no name"))),
        }
    }
}

impl Shelf {
    fn put(&mut self, blocks: impl IntoIterator<Item = Block>) {
        self.blocks
            .extend(blocks.into_iter().map(|block| (*block.cid(), block)));
    }

    fn file(&mut self, content: &[u8]) -> Entry {
        let (entry, blocks) = import::file(&TINY, &Bytes::copy_from_slice(content)).unwrap();
        self.put(blocks);
        entry
    }

    fn directory(&mut self, entries: Vec<(&str, Entry)>) -> Entry {
        let entries = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry));
        let built = dirs::build(&TINY, entries).unwrap();
        self.put(built.blocks);
        built.entry
    }

    fn cbor(&mut self, value: &Ipld) -> Cid {
        let block = Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(value).unwrap()).unwrap();
        let cid = *block.cid();
        self.put([block]);
        cid
    }
}

fn map<const N: usize>(entries: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// Content in which every position looks different from its neighbourhood.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// A gateway on a real socket.
struct Server {
    shelf: Arc<Shelf>,
    address: std::net::SocketAddr,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// Whether the body ended as its header fields said.
    whole: bool,
}

impl Server {
    async fn start(shelf: Shelf) -> Self {
        Self::start_with(shelf, Options::default()).await
    }

    async fn start_with(shelf: Shelf, options: Options) -> Self {
        Self::serve(Arc::new(shelf), |shelf| router(shelf, options)).await
    }

    async fn serve(shelf: Arc<Shelf>, router: impl FnOnce(Arc<Shelf>) -> Router) -> Self {
        odf_doors::raise_descriptors();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(Arc::clone(&shelf));
        tokio::spawn(odf_doors::serve(
            vec![odf_doors::Entrance::plain(listener)],
            router,
            odf_doors::Doors::default(),
            std::future::pending(),
        ));
        Self { shelf, address }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(received[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let body = received[end + 4..].to_vec();
        let length = headers
            .get("content-length")
            .map(|length| length.parse::<usize>().unwrap());
        let whole = length.is_some_and(|length| length == body.len());
        Answer {
            status,
            headers,
            body,
            whole,
        }
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A map that links to directories and to further maps.
fn published(shelf: &mut Shelf) -> (Cid, Cid) {
    let head = shelf.file(b"f1620aabb");
    let refs = shelf.directory(vec![("head", head)]);
    let event = map([("kind", Ipld::String("AddData".to_owned())), ("rows", Ipld::Integer(3))]);
    let node = shelf.cbor(&map([
        ("seq", Ipld::Integer(7)),
        ("event", event),
        ("prev", Ipld::Null),
    ]));
    let root = shelf.cbor(&map([
        ("version", Ipld::Integer(1)),
        ("refs", Ipld::Link(refs.cid)),
        ("head", Ipld::Link(node)),
    ]));
    shelf.names.insert(NAME.to_owned(), format!("/ipfs/{root}"));
    (root, node)
}
