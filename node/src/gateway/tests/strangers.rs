//! What one client takes does not refuse another, and what is fetched for whom.

use std::net::IpAddr;

use futures::future::join_all;

use super::super::asking::MAX_THROUGH;
use super::body::Pieces as _;
use super::*;

/// A gateway behind a proxy on this machine, so that a request says whose it is.
async fn behind_a_proxy(shelf: Shelf, fetching: Audience) -> Server {
    let options = Options {
        fetching,
        proxies: vec![IpAddr::from([127, 0, 0, 1])],
        ..Options::default()
    };
    Server::start_with(shelf, options).await
}

#[tokio::test]
async fn clients_that_wait_for_what_nobody_has_refuse_nobody_else() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"text\n");
    let other = shelf.file(b"other\n");
    shelf.stuck.insert(file.cid);
    let server = Arc::new(behind_a_proxy(shelf, Audience::Anybody).await);
    let path = format!("/ipfs/{}", file.cid);
    let ask = |client: String| {
        let (server, path) = (Arc::clone(&server), path.clone());
        tokio::spawn(async move { server.ask("GET", &path, &[("X-Forwarded-For", &client)]).await.status })
    };
    let one: Vec<_> = (0..MAX_WAITS_OF_ONE).map(|_| ask("8.8.8.8".to_owned())).collect();
    while server.shelf.running.load(Ordering::SeqCst) < MAX_WAITS_OF_ONE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ask("8.8.8.8".to_owned()).await.unwrap(), 503);
    // Enough others to take all the room there is.
    let networks = MAX_WAITS / MAX_WAITS_OF_ONE;
    let many: Vec<_> = (1..networks)
        .flat_map(|n| (0..MAX_WAITS_OF_ONE).map(move |_| format!("9.{n}.0.1")))
        .map(ask)
        .collect();
    while server.shelf.running.load(Ordering::SeqCst) < MAX_WAITS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let newcomer = [("X-Forwarded-For", "7.7.7.7")];
    let answer = server.ask("GET", &format!("/ipfs/{}", other.cid), &newcomer).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "other\n"));
    for request in one.into_iter().chain(many) {
        request.abort();
    }
}

#[tokio::test]
async fn nothing_is_fetched_for_those_for_whom_it_is_not() {
    for (fetching, local, stranger) in [
        (Audience::Anybody, 200, 200),
        (Audience::ThisMachine, 200, 404),
        (Audience::Nobody, 404, 404),
    ] {
        let mut shelf = Shelf::default();
        let (root, _) = published(&mut shelf);
        let server = behind_a_proxy(shelf, fetching).await;
        for path in [format!("/ipfs/{root}?format=raw"), format!("/ipns/{NAME}?format=raw")] {
            assert_eq!(server.get(&path).await.status, local, "{fetching:?}");
            let answer = server.ask("GET", &path, &[("X-Forwarded-For", "8.8.8.8")]).await;
            assert_eq!(answer.status, stranger, "{fetching:?}");
            assert!(
                stranger == 200 || answer.text().contains("gateway.fetch"),
                "{}",
                answer.text()
            );
        }
        assert_eq!(server.get("/ipfs/bafkqaaa").await.status, 200);
    }
}

#[tokio::test]
async fn pages_of_content_have_an_origin_of_their_own() {
    let mut shelf = Shelf::default();
    let text = |shelf: &mut Shelf, text: &str| shelf.file(text.as_bytes());
    let page = text(&mut shelf, "<!DOCTYPE html><script>fetch('/info')</script>");
    let image = text(&mut shelf, "<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>");
    let paper = text(&mut shelf, "%PDF-1.7");
    let root = shelf.directory(vec![("a.html", page), ("b.svg", image), ("c.pdf", paper)]);
    let server = Server::start(shelf).await;
    for (path, is_apart) in [
        ("a.html", true),
        ("b.svg", true),
        ("", true),
        ("none", true),
        ("c.pdf", false),
    ] {
        let answer = server.get(&format!("/ipfs/{}/{path}", root.cid)).await;
        let policy = answer.header("content-security-policy");
        assert_eq!(policy.starts_with("sandbox "), is_apart, "{path}: {policy}");
        assert!(!policy.contains("same-origin"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
    let evil = server.ask("GET", "/ipfs/bafkqaaa", &[("Host", "evil.example")]).await;
    assert_eq!(evil.status, 421);
}

/// Has one block here, and takes a while to read it.
struct Disk {
    block: Block,
    reading: AtomicUsize,
    most: AtomicUsize,
}

impl Source for Arc<Disk> {
    type Session = ();

    fn session(&self, _: &[String]) {}

    async fn here(&self, _: &Cid) -> Result<Option<Block>, SourceError> {
        let reading = self.reading.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(reading, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.reading.fetch_sub(1, Ordering::SeqCst);
        Ok(Some(self.block.clone()))
    }

    async fn block(&self, (): &(), cid: &Cid) -> Result<Block, SourceError> {
        Err(SourceError::NotFound(cid.to_string()))
    }

    async fn has(&self, _: &Cid) -> bool {
        true
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        Err(SourceError::NotFound(name.to_owned()))
    }
}

#[tokio::test]
async fn so_many_blocks_are_read_at_once_and_so_many_ahead_for_one_client() {
    let block = Block::new(crate::block::RAW, vec![7; 200]).unwrap();
    let disk = Arc::new(Disk {
        block: block.clone(),
        reading: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let gateway = Arc::new(Gateway::new(Arc::clone(&disk), Options::default()));
    let asking = |client: &str| Asking::new(&gateway, Some(client.parse().unwrap()), &[]);
    let one = asking("8.8.8.8");
    let blocks = join_all((0..=MAX_READS).map(|_| one.block(block.cid()))).await;
    assert!(blocks.iter().all(|found| *found == Ok(block.clone())));
    assert_eq!(disk.most.load(Ordering::SeqCst), MAX_READS);
    let ahead: Vec<_> = (0..=MAX_BLOCKS_AHEAD_OF_ONE).filter_map(|_| one.ahead()).collect();
    assert_eq!(ahead.len(), MAX_BLOCKS_AHEAD_OF_ONE);
    assert!(asking("9.9.9.9").ahead().is_some());
}

#[tokio::test]
async fn a_block_that_others_needed_the_room_of_is_read_again() {
    let mut shelf = Shelf::default();
    let content = content(1_500_000);
    let (file, blocks) = import::file(&UNIXFS_V1_2025, &Bytes::from(content.clone())).unwrap();
    shelf.put(blocks);
    let gateway = Arc::new(Gateway::new(Arc::new(shelf), Options::default()));
    let asking = Arc::new(Asking::new(&gateway, Some(IpAddr::from([127, 0, 0, 1])), &[]));
    let mut sending = file::Sending::new(&asking, file.cid, 10..1_400_000);
    let mut sent = Vec::new();
    while let Ok(Some(bytes)) = sending.next().await {
        sent.extend_from_slice(&bytes);
        let others: Vec<_> = (0..MAX_HELD)
            .map(|_| gateway.held.lend(Bytes::from_static(b"x")))
            .collect();
        drop(others);
    }
    assert!(sent == content[10..1_400_000]);
}

#[tokio::test]
async fn a_request_that_was_here_before_goes_no_further() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"there");
    let server = Server::start(shelf).await;
    let path = format!("/ipfs/{}?format=raw", file.cid);
    let other = |count: usize| {
        let ids: Vec<String> = (0..count).map(|n| format!("other{n}; v=1")).collect();
        ids.join(", ")
    };
    for (through, status) in [
        (String::new(), 200),
        (other(1), 200),
        (other(MAX_THROUGH), 200),
        (other(MAX_THROUGH + 1), 404),
        ("other, own".to_owned(), 404),
        ("own; v=1".to_owned(), 404),
    ] {
        let answer = server.ask("GET", &path, &[("CDN-Loop", &through)]).await;
        assert_eq!(answer.status, status, "{through}");
    }
}
