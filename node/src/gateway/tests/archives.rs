//! CARs and tar archives: which blocks and files are in them, in which order, and what bounds them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::walk::{MAX_DEPTH, MAX_DISTINCT, MAX_KEPT_LINKS, Met, Walk};
use super::*;
use crate::block::RAW;

const CAR: &str = "application/vnd.ipld.car";

/// The CIDs in a CAR, in order, each checked against its bytes.
fn blocks(car: &[u8]) -> Vec<Cid> {
    let mut rest = car;
    let mut section = || {
        if rest.is_empty() {
            return None;
        }
        let (length, after) = unsigned_varint::decode::usize(rest).unwrap();
        let (section, after) = after.split_at(length);
        rest = after;
        Some(section)
    };
    let header: Ipld = serde_ipld_dagcbor::from_slice(section().unwrap()).unwrap();
    assert!(matches!(header, Ipld::Map(map) if map["version"] == Ipld::Integer(1)));
    let mut cids = Vec::new();
    while let Some(section) = section() {
        let mut bytes = section;
        let cid = Cid::read_bytes(&mut bytes).unwrap();
        Block::verify(cid, Bytes::copy_from_slice(bytes)).unwrap();
        cids.push(cid);
    }
    cids
}

impl Server {
    async fn car(&self, path: &str) -> Vec<Cid> {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.header("content-type").starts_with(CAR));
        blocks(&unchunked(&answer))
    }
}

/// A body without the marks of its transfer.
fn unchunked(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    let mut rest = &answer.body[..];
    let mut all = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return all;
        }
        all.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
}

/// The CIDs of a file in the order of a walk.
fn walked(shelf: &Shelf, root: Cid) -> Vec<Cid> {
    let links = crate::dag::links(&shelf.blocks[&root]).unwrap();
    let below = links.into_iter().flat_map(|link| walked(shelf, link));
    [root].into_iter().chain(below).collect()
}

#[tokio::test]
async fn a_car_has_the_path_and_what_is_wanted_below_it() {
    let mut shelf = Shelf::default();
    let file = shelf.file(&content(3500));
    let other = shelf.file(b"other");
    let docs = shelf.directory(vec![("a.bin", file), ("b.txt", other)]);
    let root = shelf.directory(vec![("docs", docs)]);
    let of_file = walked(&shelf, file.cid);
    // A root of two links: to a node with three chunks, and to one with the fourth.
    assert_eq!(of_file.len(), 7);
    let server = Server::start(shelf).await;
    let (root, docs) = (root.cid, docs.cid);
    let with_path = |rest: &[Cid]| [&[root, docs], rest].concat();

    let all = server.car(&format!("/ipfs/{root}/docs?format=car")).await;
    assert_eq!(all, [&[root, docs], &of_file[..], &[other.cid]].concat());
    for (query, expected) in [
        ("", with_path(&of_file)),
        ("&dag-scope=all", with_path(&of_file)),
        ("&dag-scope=entity", with_path(&of_file)),
        ("&dag-scope=block", with_path(&of_file[..1])),
        (
            "&entity-bytes=1000:1999",
            with_path(&[of_file[0], of_file[1], of_file[3]]),
        ),
        ("&entity-bytes=-1:*", with_path(&[of_file[0], of_file[5], of_file[6]])),
        ("&entity-bytes=9999:*", with_path(&of_file[..1])),
    ] {
        let path = format!("/ipfs/{root}/docs/a.bin?format=car{query}");
        assert_eq!(server.car(&path).await, expected, "{query}");
    }
    let entity = server
        .car(&format!("/ipfs/{root}/docs?format=car&dag-scope=entity"))
        .await;
    assert_eq!(entity, [root, docs]);
    // Blocks that their CID says are in no CAR.
    assert_eq!(server.car("/ipfs/bafkqaaa?format=car&car-dups=y").await, []);

    let missing = server.get(&format!("/ipfs/{root}/none?format=car")).await;
    assert_eq!(missing.status, 404);
    for query in ["car-version=2", "dag-scope=most", "car-order=bfs", "entity-bytes=x"] {
        let answer = server.get(&format!("/ipfs/{root}?format=car&{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn the_nodes_of_a_sharded_directory_are_its_own_and_its_entries_are_not() {
    let mut shelf = Shelf::default();
    let names: Vec<String> = (0..200).map(|n| format!("n{n:03}")).collect();
    let files: Vec<Entry> = names.iter().map(|name| shelf.file(name.as_bytes())).collect();
    let root = shelf
        .directory(names.iter().map(String::as_str).zip(files.clone()).collect())
        .cid;
    let leaves: HashSet<Cid> = files.iter().map(|file| file.cid).collect();
    let nodes: Vec<Cid> = walked(&shelf, root)
        .into_iter()
        .filter(|cid| !leaves.contains(cid))
        .collect();
    assert!(nodes.len() > 1);
    let server = Server::start(shelf).await;
    assert_eq!(
        server.car(&format!("/ipfs/{root}?format=car&dag-scope=entity")).await,
        nodes
    );
    let of_one = server.car(&format!("/ipfs/{root}/n007?format=car")).await;
    let (last, path) = of_one.split_last().unwrap();
    assert_eq!(*last, files[7].cid);
    assert!(path[0] == root && path.iter().all(|cid| nodes.contains(cid)));
}

#[tokio::test]
async fn a_block_that_occurs_again_is_sent_again_only_on_request() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"same");
    let root = shelf.directory(vec![("a", file), ("b", file)]).cid;
    let server = Server::start(shelf).await;
    let path = format!("/ipfs/{root}");
    let ask = |accept: &'static str| {
        let (server, path) = (&server, &path);
        async move { server.ask("GET", path, &[("Accept", accept)]).await }
    };
    let once = ask("application/vnd.ipld.car; order=unk").await;
    assert_eq!(
        once.header("content-type"),
        "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    );
    assert_eq!(blocks(&unchunked(&once)), [root, file.cid]);
    let twice = ask("application/vnd.ipld.car; version=1; order=dfs; dups=y").await;
    assert_eq!(
        twice.header("content-type"),
        "application/vnd.ipld.car; version=1; order=dfs; dups=y"
    );
    assert_eq!(blocks(&unchunked(&twice)), [root, file.cid, file.cid]);

    assert_eq!(once.header("accept-ranges"), "none");
    assert_eq!(once.header("content-location"), format!("{path}?format=car"));
    let name = format!("attachment; filename=\"{root}.car\"");
    assert!(once.header("content-disposition").starts_with(&name));
    let etag = once.header("etag").to_owned();
    assert!(etag.starts_with(&format!("W/\"{root}.car.")), "{etag}");
    assert_ne!(etag, twice.header("etag"));
    let known = [("Accept", CAR), ("If-None-Match", etag.as_str())];
    assert_eq!(server.ask("GET", &path, &known).await.status, 304);
    let head = server.ask("HEAD", &path, &[("Accept", CAR)]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_car_breaks_off_where_a_block_is_missing() {
    let mut shelf = Shelf::default();
    let (first, second) = (shelf.file(b"first"), shelf.file(b"second"));
    let root = shelf.directory(vec![("a", first), ("b", second)]).cid;
    shelf.blocks.remove(&second.cid);
    let server = Server::start(shelf).await;
    let answer = server.get(&format!("/ipfs/{root}?format=car")).await;
    assert_eq!(answer.status, 200);
    // No end of the body is told, so no client takes it for whole.
    assert!(!answer.body.ends_with(b"0\r\n\r\n"));
    let path = format!("/ipfs/{root}/b?format=car");
    assert_eq!(server.get(&path).await.status, 404);
}

fn walk_of(shelf: Shelf, root: Cid) -> Walk<Arc<Shelf>> {
    let gateway = Arc::new(Gateway::new(Arc::new(shelf), Options::default()));
    let asking = Arc::new(Asking::new(&gateway, Some([127, 0, 0, 1].into()), &[]));
    Walk::new(&asking, root, |block| Ok(crate::dag::links(block)?))
}

#[tokio::test]
async fn a_list_of_any_length_is_walked_and_a_tree_of_one_block_too_deep_is_not() {
    let mut shelf = Shelf::default();
    let leaf = shelf.file(b"x").cid;
    let nested = |shelf: &mut Shelf, depth: usize, beside: bool| {
        (0..depth).fold(leaf, |below, _| {
            let links = [Some(below), beside.then_some(leaf)];
            let links = links.into_iter().flatten().map(Ipld::Link).collect();
            shelf.cbor(&Ipld::List(links))
        })
    };
    let list = nested(&mut shelf, MAX_DEPTH + 5, false);
    let deepest = nested(&mut shelf, MAX_DEPTH, true);
    let over = nested(&mut shelf, MAX_DEPTH + 1, true);
    for (root, expected) in [
        (list, Some(MAX_DEPTH + 6)),
        (deepest, Some(MAX_DEPTH + 1)),
        (over, None),
    ] {
        let mut walk = walk_of(
            Shelf {
                blocks: shelf.blocks.clone(),
                ..Shelf::default()
            },
            root,
        );
        let (mut met, mut count) = (Met::new(false), 0);
        let whole = loop {
            match walk.next(&mut met).await {
                Ok(Some(_)) => count += 1,
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert_eq!(whole.then_some(count), expected);
    }
}

#[tokio::test]
async fn links_that_were_given_up_for_room_are_found_again() {
    let mut shelf = Shelf::default();
    // Three levels, each of so many links that no two are kept together.
    let width = MAX_KEPT_LINKS / 2 + 1;
    let (mut below, mut expected) = (None, 0);
    for level in 0..3_u8 {
        let mut links: Vec<Cid> = (0..width)
            .map(|n| {
                let hash = crate::block::sha2_256(&[&[level][..], &n.to_be_bytes()].concat());
                Cid::new_v1(
                    RAW,
                    multihash::Multihash::wrap(crate::block::IDENTITY, &hash.digest()[..8]).unwrap(),
                )
            })
            .collect();
        if let Some(below) = below {
            links.insert(width / 2, below);
        }
        let end = Block::new(RAW, vec![level]).unwrap();
        links.push(*end.cid());
        shelf.put([end]);
        expected += 2;
        below = Some(shelf.cbor(&Ipld::List(links.into_iter().map(Ipld::Link).collect())));
    }
    let mut walk = walk_of(shelf, below.unwrap());
    let (mut met, mut count) = (Met::new(true), 0);
    while let Ok(Some(_)) = walk.next(&mut met).await {
        count += 1;
    }
    assert_eq!(count, expected);
}

#[test]
fn one_distinct_block_too_many_is_refused() {
    let mut met = Met::new(false);
    let cid = |n: usize| {
        Cid::new_v1(
            RAW,
            multihash::Multihash::wrap(crate::block::IDENTITY, &n.to_be_bytes()).unwrap(),
        )
    };
    let is_new = |met: &mut Met, n| met.is_new(&cid(n)).map_err(|refusal| refusal.status().as_u16());
    for n in 0..MAX_DISTINCT {
        assert_eq!(is_new(&mut met, n), Ok(true));
    }
    assert_eq!(is_new(&mut met, 0), Ok(false));
    assert_eq!(is_new(&mut met, MAX_DISTINCT), Err(501));
    assert_eq!(is_new(&mut Met::new(true), MAX_DISTINCT), Ok(true));
}

#[tokio::test]
async fn so_many_archives_are_made_at_once_for_one_client_and_for_all() {
    let gateway = Arc::new(Gateway::new(Arc::new(Shelf::default()), Options::default()));
    let of = |client: [u8; 4]| Asking::new(&gateway, Some(client.into()), &[]);
    let one: Vec<_> = (0..MAX_ARCHIVES_OF_ONE)
        .map(|_| of([8, 8, 8, 8]).archive().ok().unwrap())
        .collect();
    assert!(of([8, 8, 8, 8]).archive().is_err());
    let networks = u8::try_from(MAX_ARCHIVES / MAX_ARCHIVES_OF_ONE).unwrap();
    let many: Vec<_> = (1..networks)
        .flat_map(|n| (0..MAX_ARCHIVES_OF_ONE).map(move |_| [9, n, 0, 1]))
        .map(|client| of(client).archive().ok().unwrap())
        .collect();
    assert_eq!(one.len() + many.len(), MAX_ARCHIVES);
    // The next takes the place of one of them.
    let newcomer = of([7, 7, 7, 7]).archive();
    assert!(newcomer.is_ok());
    assert_eq!(one.iter().chain(&many).filter(|seat| seat.is_cut()).count(), 1);
}

/// The entries of a tar archive: kind, path, content or target.
fn entries(tar: &[u8]) -> Vec<(u8, String, Vec<u8>)> {
    let (mut at, mut long, mut found) = (0, None, Vec::new());
    let text = |field: &[u8]| String::from_utf8(field.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
    while tar[at] != 0 {
        let header = &tar[at..at + 512];
        let sum: u32 = (0..512)
            .map(|n| {
                if (148..156).contains(&n) {
                    32
                } else {
                    u32::from(header[n])
                }
            })
            .sum();
        assert_eq!(u32::from_str_radix(text(&header[148..155]).trim(), 8).unwrap(), sum);
        let size = usize::from_str_radix(&text(&header[124..136]), 8).unwrap();
        let data = tar[at + 512..at + 512 + size].to_vec();
        at += 512 + size.next_multiple_of(512);
        let (kind, path) = (header[156], text(&header[..100]));
        match kind {
            b'x' => {
                long = String::from_utf8(data)
                    .unwrap()
                    .split_once("path=")
                    .map(|(_, path)| path.trim_end().to_owned())
            }
            b'2' => found.push((kind, path, text(&header[157..257]).into_bytes())),
            _ => found.push((kind, long.take().unwrap_or(path), data)),
        }
    }
    assert_eq!(tar.len(), at + 1024);
    found
}

#[tokio::test]
async fn a_tar_has_all_that_is_below_a_directory() {
    let mut shelf = Shelf::default();
    let big = shelf.file(&content(2500));
    let small = shelf.file(b"text\n");
    let (link, block) = node::symlink(&TINY, "../a.txt").unwrap();
    shelf.put([block]);
    let docs = shelf.directory(vec![("gr\u{fc}n.bin", big), ("link", link)]);
    let root = shelf.directory(vec![("a.txt", small), ("docs", docs)]).cid;
    let server = Server::start(shelf).await;
    let answer = server.get(&format!("/ipfs/{root}?format=tar")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/x-tar")
    );
    assert_eq!(answer.header("etag"), format!("W/\"{root}.x-tar\""));
    let expected = [
        (b'5', format!("{root}/"), Vec::new()),
        (b'0', format!("{root}/a.txt"), b"text\n".to_vec()),
        (b'5', format!("{root}/docs/"), Vec::new()),
        (b'0', format!("{root}/docs/gr\u{fc}n.bin"), content(2500)),
        (b'2', format!("{root}/docs/link"), b"../a.txt".to_vec()),
    ];
    assert_eq!(entries(&unchunked(&answer)), expected);
    let one = server.get(&format!("/ipfs/{}?format=tar", small.cid)).await;
    assert_eq!(
        entries(&unchunked(&one)),
        [(b'0', small.cid.to_string(), b"text\n".to_vec())]
    );
}

#[tokio::test]
async fn no_tar_is_made_of_what_leads_out_of_it_or_is_no_directory() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"x");
    let node = crate::dag::PbNode {
        links: vec![crate::dag::PbLink {
            cid: file.cid,
            name: Bytes::from_static(b"../out"),
            tsize: 1,
        }],
        data: Some(Bytes::from_static(&[8, 1])),
    };
    let evil = Block::new(crate::block::DAG_PB, node.encode()).unwrap();
    let cid = *evil.cid();
    shelf.put([evil]);
    let value = shelf.cbor(&map([]));
    let names: Vec<String> = (0..=tar::MAX_WAITING).map(|n| format!("{n:05}")).collect();
    let wide = shelf
        .directory(names.iter().map(|name| (name.as_str(), file)).collect())
        .cid;
    let server = Server::start(shelf).await;
    for (cid, status) in [(cid, 502), (value, 406), (wide, 501)] {
        let answer = server.get(&format!("/ipfs/{cid}?format=tar")).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

/// Each entry that waits says again in which directories it is.
#[tokio::test]
async fn a_tar_breaks_off_where_more_bytes_of_names_would_wait_than_may() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"x");
    let long = "n".repeat(1 << 20);
    let mut below = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let inner = shelf.directory(names.iter().map(|name| (name.as_str(), file)).collect());
        shelf.directory(vec![(long.as_str(), inner)]).cid
    };
    let most = (tar::MAX_WAITING_BYTES >> 20) - 1;
    let (fits, over) = (below(most), below(most + 1));
    let server = Server::start(shelf).await;
    let whole = server.get(&format!("/ipfs/{fits}?format=tar")).await;
    assert!(whole.body.ends_with(b"0\r\n\r\n"));
    assert_eq!(entries(&unchunked(&whole)).len(), 2 + most);
    // This soon not even the head need have gone out.
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /ipfs/{over}?format=tar HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut cut = Vec::new();
    // The end of the connection may be an error here, too.
    let _ = stream.read_to_end(&mut cut).await;
    assert!(!cut.ends_with(b"0\r\n\r\n") && cut.len() < 10_000, "{}", cut.len());
}

/// Has all blocks here but some, which peers have, and counts how often it is looked for them.
struct Near {
    shelf: Shelf,
    elsewhere: HashSet<Cid>,
    looks: AtomicUsize,
    most: AtomicUsize,
}

impl Near {
    fn find(&self, cid: &Cid) -> Option<Block> {
        (!self.elsewhere.contains(cid)).then(|| self.shelf.blocks.get(cid).cloned())?
    }
}

impl Source for Arc<Near> {
    type Session = ();

    fn session(&self, _: &[String]) {}

    async fn here(&self, cid: &Cid) -> Result<Option<Block>, SourceError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(self.find(cid))
    }

    async fn here_together(&self, cids: &[Cid], most: usize) -> Result<Vec<Block>, SourceError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(cids.len(), Ordering::SeqCst);
        let mut bytes = 0;
        let fits = |block: &Block| {
            bytes += block.data().len();
            bytes <= most
        };
        Ok(cids.iter().map_while(|cid| self.find(cid)).take_while(fits).collect())
    }

    async fn block(&self, (): &(), cid: &Cid) -> Result<Block, SourceError> {
        self.shelf
            .blocks
            .get(cid)
            .cloned()
            .ok_or_else(|| SourceError::NotFound(cid.to_string()))
    }

    async fn has(&self, cid: &Cid) -> bool {
        self.find(cid).is_some()
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        Err(SourceError::NotFound(name.to_owned()))
    }
}

#[tokio::test]
async fn small_blocks_that_are_here_are_read_many_at_once_and_come_in_order() {
    const WIDE: Profile = Profile { max_links: 100, ..TINY };
    const CHUNKS: usize = 3 * WIDE.max_links;
    // A chunk in the middle that comes again and again, and one behind it that is not here.
    let mut content = content(CHUNKS * WIDE.chunk_bytes);
    for at in (80..120).step_by(2) {
        content[at * WIDE.chunk_bytes..(at + 1) * WIDE.chunk_bytes].fill(0);
    }
    let (file, blocks) = import::file(&WIDE, &Bytes::from(content.clone())).unwrap();
    let mut shelf = Shelf::default();
    shelf.put(blocks);
    let order = walked(&shelf, file.cid);
    assert_eq!(order.len(), 1 + 3 + CHUNKS);
    for missing in [None, Some(150)] {
        let near = Arc::new(Near {
            shelf: Shelf {
                blocks: shelf.blocks.clone(),
                ..Shelf::default()
            },
            elsewhere: missing.map(|at: usize| order[at]).into_iter().collect(),
            looks: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let server = Server::serve(Arc::default(), |_| router(Arc::clone(&near), Options::default())).await;
        assert_eq!(
            server.car(&format!("/ipfs/{}?format=car&car-dups=y", file.cid)).await,
            order
        );
        let looks = near.looks.swap(0, Ordering::SeqCst);
        if missing.is_none() {
            assert!(looks <= 40, "{looks} looks for {} blocks", order.len());
        }
        assert_eq!(near.most.load(Ordering::SeqCst), ahead::MAX_LOT);
        let answer = server.get(&format!("/ipfs/{}", file.cid)).await;
        assert!(answer.whole && answer.body == content);
        let mut met = HashSet::new();
        let once: Vec<Cid> = order.iter().filter(|cid| met.insert(**cid)).copied().collect();
        assert_eq!(server.car(&format!("/ipfs/{}?format=car", file.cid)).await, once);
    }
}
