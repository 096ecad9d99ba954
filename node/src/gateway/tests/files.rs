//! Files, whole and in parts.

use super::*;

#[tokio::test]
async fn a_file_comes_whole_with_all_that_caches_need() {
    let mut shelf = Shelf::default();
    let content = content(25_500);
    let file = shelf.file(&content);
    let root = shelf.directory(vec![("data.parquet", file), ("gr\u{fc}n b#.txt", shelf_text())]);
    shelf.file(b"text\n");
    let server = Server::start(shelf).await;

    let answer = server.get(&format!("/ipfs/{}/data.parquet", root.cid)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.whole && answer.body == content);
    assert_eq!(answer.header("etag"), format!("\"{}\"", file.cid));
    assert_eq!(answer.header("content-type"), "application/vnd.apache.parquet");
    assert_eq!(answer.header("cache-control"), "public, max-age=29030400, immutable");
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("x-ipfs-path"), format!("/ipfs/{}/data.parquet", root.cid));
    assert_eq!(answer.header("x-ipfs-roots"), format!("{},{}", root.cid, file.cid));
    assert_eq!(answer.header("access-control-allow-origin"), "*");

    let path = format!("/ipfs/{}/data.parquet", root.cid);
    let etag = format!("W/\"x\", \"{}\"", file.cid);
    let answer = server.ask("GET", &path, &[("If-None-Match", &etag)]).await;
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    assert_eq!(answer.header("etag"), format!("\"{}\"", file.cid));
    assert_eq!(
        server.ask("GET", &path, &[("If-None-Match", "\"other\"")]).await.status,
        200
    );

    let answer = server
        .get(&format!(
            "/ipfs/{}/gr%C3%BCn%20b%23.txt?download=true&filename=x%22y.txt",
            root.cid
        ))
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "text\n"));
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"x_y.txt\"; filename*=UTF-8''x%22y.txt"
    );
}

fn shelf_text() -> Entry {
    Shelf::default().file(b"text\n")
}

#[tokio::test]
async fn every_range_is_that_part_of_the_file() {
    let mut shelf = Shelf::default();
    let content = content(10_001);
    let file = shelf.file(&content);
    let empty = shelf.file(b"");
    let server = Server::start(shelf).await;
    let path = format!("/ipfs/{}", file.cid);

    for (start, last) in [
        (0, 0),
        (0, 10_000),
        (999, 1000),
        (1000, 1999),
        (1, 9999),
        (2999, 3000),
        (10_000, 10_000),
        (9_000, 99_999),
    ] {
        let answer = server
            .ask("GET", &path, &[("Range", &format!("bytes={start}-{last}"))])
            .await;
        let last = last.min(10_000);
        assert_eq!(answer.status, 206, "{start}-{last}");
        assert!(answer.whole && answer.body == content[start..=last], "{start}-{last}");
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{last}/10001"));
    }
    let answer = server.ask("GET", &path, &[("Range", "bytes=-5")]).await;
    assert_eq!((answer.status, &answer.body[..]), (206, &content[9_996..]));
    let answer = server.ask("GET", &path, &[("Range", "bytes=0-1,9999-,20000-")]).await;
    let kind = answer.header("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, bytes: &[u8]| {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/10001\r\n\r\n"
        );
        [head.as_bytes(), bytes].concat()
    };
    let end = format!("\r\n--{boundary}--\r\n").into_bytes();
    let parts = [part("0-1", &content[..2]), part("9999-10000", &content[9999..]), end].concat();
    assert!(
        answer.status == 206 && answer.whole && answer.body == parts,
        "{}",
        answer.text()
    );
    let raw = server
        .ask(
            "GET",
            "/ipfs/bafkqaddwgevxmmraojswg33smq",
            &[("Range", "bytes=0-0,2-3")],
        )
        .await;
    assert!(
        raw.status == 206 && raw.whole && raw.text().contains("Content-Range: bytes 2-3/12"),
        "{}",
        raw.text()
    );
    let answer = server.ask("GET", &path, &[("Range", "bytes=10001-")]).await;
    assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10001"));
    let answer = server
        .ask("GET", &format!("/ipfs/{}", empty.cid), &[("Range", "bytes=0-")])
        .await;
    assert_eq!((answer.status, answer.header("content-length")), (200, "0"));

    let stale = [("Range", "bytes=0-0"), ("If-Range", "\"other\"")];
    assert_eq!(server.ask("GET", &path, &stale).await.body.len(), 10_001);
    let same = [("Range", "bytes=0-0"), ("If-Range", &format!("\"{}\"", file.cid))];
    assert_eq!(server.ask("GET", &path, &same).await.body.len(), 1);

    let answer = server
        .ask("GET", &format!("{path}?format=raw"), &[("Range", "bytes=0-1")])
        .await;
    assert_eq!((answer.status, answer.body.len()), (206, 2));
}

#[tokio::test]
async fn only_the_blocks_of_a_range_are_fetched_and_few_at_a_time() {
    let mut shelf = Shelf {
        delay: Duration::from_millis(5),
        ..Shelf::default()
    };
    let content = content(60_000);
    let file = shelf.file(&content);
    let server = Server::start(shelf).await;
    let path = format!("/ipfs/{}?filename=x.bin", file.cid);

    let answer = server.ask("HEAD", &path, &[]).await;
    assert_eq!(
        (answer.status, answer.header("content-length"), answer.body.len()),
        (200, "60000", 0)
    );
    let head = server.shelf.fetched.swap(0, Ordering::SeqCst);
    assert!(head <= 12, "HEAD fetched {head} blocks of 91");

    let answer = server.ask("GET", &path, &[("Range", "bytes=30000-30001")]).await;
    assert_eq!(answer.body, content[30_000..=30_001]);
    let part = server.shelf.fetched.swap(0, Ordering::SeqCst);
    assert!(part <= 16, "two bytes fetched {part} blocks of 91");

    server.shelf.most_running.store(0, Ordering::SeqCst);
    assert_eq!(server.get(&path).await.body, content);
    let most = server.shelf.most_running.load(Ordering::SeqCst);
    assert!((2..=9).contains(&most), "{most} blocks at once");
}

#[tokio::test]
async fn no_more_blocks_are_fetched_ahead_than_the_limit_says_for_all_requests_together() {
    // All leaves below one node, so that a reader knows at once which come next.
    let wide = Profile { max_links: 30, ..TINY };
    let mut shelf = Shelf::default();
    let (file, blocks) = import::file(&wide, &Bytes::from(content(20_000))).unwrap();
    // 20 leaves and the node. The first leaf comes: before the answer begins it is read in any case.
    assert_eq!(blocks.len(), 21);
    shelf.stuck = blocks[1..20].iter().map(|block| *block.cid()).collect();
    shelf.put(blocks);
    let others: Vec<u8> = content(30_000).into_iter().rev().collect();
    let other = shelf.file(&others);
    let server = Arc::new(Server::start(shelf).await);
    // Each fetches the leaf whose turn it is and, as long as there is room, several more.
    let requests = MAX_BLOCKS_AHEAD / 4;
    for _ in 0..requests {
        let (server, path) = (Arc::clone(&server), format!("/ipfs/{}?filename=x.bin", file.cid));
        tokio::spawn(async move { server.ask("GET", &path, &[("Range", "bytes=1000-")]).await.status });
    }
    let running = || server.shelf.running.load(Ordering::SeqCst);
    // This machine does not have all of the room.
    let most = requests + MAX_BLOCKS_AHEAD / 4 * 3;
    let all_are_here = async {
        while running() < most {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_are_here)
        .await
        .unwrap();
    // Long enough for one more.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(running(), most);
    // Where there is no room ahead, blocks come in their turn.
    let answer = server.get(&format!("/ipfs/{}?filename=x.bin", other.cid)).await;
    assert_eq!(answer.body, others);
}

#[tokio::test]
async fn a_missing_block_in_the_middle_ends_the_body_early() {
    let mut shelf = Shelf::default();
    let content = content(60_000);
    let file = shelf.file(&content);
    let lost = import::hash_leaf(&TINY, &content[40_000..41_000]).unwrap();
    shelf.blocks.remove(&lost.cid);
    let server = Server::start(shelf).await;
    let answer = server.get(&format!("/ipfs/{}", file.cid)).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, "60000"));
    assert!(!answer.whole);
    assert!(answer.body.len() <= 40_000 && content.starts_with(&answer.body));
}
