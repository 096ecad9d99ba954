//! What is not answered, and how that is said.

use super::*;

#[tokio::test]
async fn refusals_say_why_and_whether_to_come_back() {
    let mut shelf = Shelf::default();
    let (root, node) = published(&mut shelf);
    shelf.names.insert("k51loop".to_owned(), "/ipns/k51loop".to_owned());
    shelf.names.insert("k51odd".to_owned(), "/somewhere".to_owned());
    shelf.blocks.remove(&node);
    let server = Server::start(shelf).await;
    let missing = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";
    for (method, path, status, reason) in [
        ("GET", "/ipfs/nonsense".to_owned(), 400, "is not a CID"),
        ("GET", format!("/ipfs/{NAME}"), 400, "/ipns/"),
        ("GET", format!("/ipfs/{root}?format=nonsense"), 400, "no format"),
        ("GET", "/ipns/nonsense".to_owned(), 400, "is no name"),
        ("GET", "/ipns/k51unknown/x".to_owned(), 404, "no record of k51unknown"),
        ("GET", format!("/ipfs/{missing}"), 404, "no provider of"),
        ("GET", format!("/ipfs/{root}/head/event"), 404, "no provider of"),
        ("GET", format!("/ipfs/{root}/nope"), 404, "nope"),
        ("GET", format!("/ipfs/{root}/refs/head/below"), 404, "below"),
        ("GET", "/elsewhere".to_owned(), 404, "/ipfs/CID"),
        ("GET", "/ipns/k51loop".to_owned(), 502, "more than 32"),
        ("GET", "/ipns/k51odd".to_owned(), 502, "/somewhere"),
        ("GET", format!("/ipfs/{root}?format=tar"), 406, "x-tar"),
        ("POST", format!("/ipfs/{root}"), 405, "GET and HEAD"),
    ] {
        let answer = server.ask(method, &path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(reason), "{path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    let only_cached = [("Cache-Control", "only-if-cached")];
    assert_eq!(
        server
            .ask("GET", &format!("/ipfs/{missing}"), &only_cached)
            .await
            .status,
        412
    );
    assert_eq!(
        server.ask("GET", &format!("/ipfs/{root}"), &only_cached).await.status,
        200
    );
    assert_eq!(
        server
            .ask("GET", &format!("/ipfs/{root}"), &[("Service-Worker", "script")])
            .await
            .status,
        400
    );
    assert_eq!(server.ask("OPTIONS", &format!("/ipfs/{root}"), &[]).await.status, 204);
}

#[tokio::test]
async fn a_path_leads_through_so_many_names_and_no_more() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"text\n");
    shelf.names.insert("k51n1".to_owned(), format!("/ipfs/{}", file.cid));
    for n in 1..=MAX_NAME_DEPTH {
        shelf.names.insert(format!("k51n{}", n + 1), format!("/ipns/k51n{n}"));
    }
    let server = Server::start(shelf).await;
    let answer = server.get(&format!("/ipns/k51n{MAX_NAME_DEPTH}")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "text\n"));
    let answer = server.get(&format!("/ipns/k51n{}", MAX_NAME_DEPTH + 1)).await;
    assert_eq!(answer.status, 502);
    let words = format!("more than {MAX_NAME_DEPTH}");
    assert!(answer.text().contains(&words), "{}", answer.text());
}

#[tokio::test]
async fn what_takes_too_long_is_a_time_out_and_nothing_else_is() {
    let mut shelf = Shelf {
        delay: Duration::from_secs(600),
        ..Shelf::default()
    };
    let file = shelf.file(b"text\n");
    let options = Options {
        block_limit: Duration::from_millis(20),
        ..Options::default()
    };
    let server = Server::start_with(shelf, options).await;
    let answer = server.get(&format!("/ipfs/{}", file.cid)).await;
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains(&file.cid.to_string()));
}

#[tokio::test]
async fn one_request_too_many_that_waits_for_peers_is_told_to_come_back() {
    let mut shelf = Shelf {
        delay: Duration::from_millis(500),
        ..Shelf::default()
    };
    let file = shelf.file(b"text\n");
    let server = Arc::new(Server::start(shelf).await);
    let path = format!("/ipfs/{}", file.cid);
    // This machine has half of the room.
    let most = MAX_WAITS / 2;
    let running: Vec<_> = (0..most)
        .map(|_| {
            let (server, path) = (Arc::clone(&server), path.clone());
            tokio::spawn(async move { server.get(&path).await.status })
        })
        .collect();
    while server.shelf.running.load(Ordering::SeqCst) < most {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let answer = server.get(&path).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert!(answer.text().contains("from your address"), "{}", answer.text());
    // What can be had without waiting is not in their way.
    assert_eq!(server.get("/ipfs/bafkqaaa").await.status, 200);
    for request in running {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(server.get(&path).await.status, 200);
}

#[tokio::test]
async fn malformed_content_is_the_fault_of_its_maker() {
    let mut shelf = Shelf::default();
    let bad = Block::new(DAG_CBOR, &b"\xff\xff"[..]).unwrap();
    let odd = Block::new(DAG_PB, &b"\x12\x00"[..]).unwrap();
    let (bad_cid, odd_cid) = (*bad.cid(), *odd.cid());
    shelf.put([bad, odd]);
    let server = Server::start(shelf).await;
    for path in [
        format!("/ipfs/{bad_cid}"),
        format!("/ipfs/{bad_cid}/x"),
        format!("/ipfs/{odd_cid}"),
        format!("/ipfs/{odd_cid}/x"),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
    }
    assert_eq!(
        server.get(&format!("/ipfs/{bad_cid}?format=raw")).await.body,
        b"\xff\xff"
    );
}

#[tokio::test]
async fn what_is_denied_is_gone_on_every_way_to_it() {
    let mut shelf = Shelf::default();
    let (root, node) = published(&mut shelf);
    let file = shelf.file(b"shown").cid;
    let other = shelf.file(b"denied").cid;
    for (name, path) in [
        ("k51denied", format!("/ipfs/{file}")),
        ("k51leads", format!("/ipfs/{root}")),
    ] {
        shelf.names.insert(name.to_owned(), path);
    }
    shelf.names.insert("k51below".to_owned(), "/ipns/k51denied".to_owned());
    let rules = format!("/ipfs/{other}\n/ipfs/{node}\n/ipfs/{root}/refs/*\n/ipns/k51denied\n");
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("test.deny");
    std::fs::write(&list, rules).unwrap();
    let options = Options {
        denylist: crate::denylist::Denylist::open(&[list]).unwrap(),
        ..Options::default()
    };
    let server = Server::start_with(shelf, options).await;
    for path in [
        format!("/ipfs/{other}"),
        format!("/ipfs/{other}?format=raw"),
        format!("/ipfs/{root}/head/event"),
        format!("/ipfs/{root}/refs/head"),
        format!("/ipfs/{root}/refs?format=car"),
        "/ipns/k51leads/refs/head".to_owned(),
        "/ipns/k51denied".to_owned(),
        "/ipns/k51denied?format=ipns-record".to_owned(),
        "/ipns/k51below/x".to_owned(),
    ] {
        let answer = server.ask("GET", &path, &[]).await;
        assert_eq!(answer.status, 410, "{path}: {}", answer.text());
        assert!(answer.text().contains("is blocked and cannot be provided"), "{path}");
    }
    assert_eq!(server.ask("GET", &format!("/ipfs/{file}"), &[]).await.status, 200);
    // A CAR of all that is below the root ends before what is denied.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /ipfs/{root}?format=car HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut car = Vec::new();
    stream.read_to_end(&mut car).await.unwrap();
    let denied = server.shelf.blocks[&node].data();
    assert!(!car.windows(denied.len()).any(|window| window == &denied[..]));
}
