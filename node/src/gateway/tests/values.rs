//! Values, raw blocks, and paths through both.

use super::*;

#[tokio::test]
async fn paths_lead_from_a_name_through_values_to_files() {
    let mut shelf = Shelf::default();
    let (root, _) = published(&mut shelf);
    shelf.names.insert("k51second".to_owned(), format!("/ipns/{NAME}/refs"));
    let server = Server::start(shelf).await;
    for path in [
        format!("/ipns/{NAME}/refs/head"),
        format!("/ipfs/{root}/refs/head"),
        "/ipns/k51second/head".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "f1620aabb"), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-ipfs-path"), path);
        let kept = if path.starts_with("/ipns") {
            "public, max-age=300"
        } else {
            "public, max-age=29030400, immutable"
        };
        assert_eq!(answer.header("cache-control"), kept);
    }
    let answer = server.get(&format!("/ipns/{NAME}/refs")).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (301, format!("/ipns/{NAME}/refs/").as_str())
    );
}

#[tokio::test]
async fn values_come_as_they_are_as_json_and_as_a_page() {
    let mut shelf = Shelf::default();
    let (root, node) = published(&mut shelf);
    let server = Server::start(shelf).await;
    let bytes = server.shelf.blocks[&root].data().clone();

    let answer = server.get(&format!("/ipns/{NAME}")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/vnd.ipld.dag-cbor")
    );
    assert_eq!(answer.body, bytes);
    assert_eq!(answer.header("etag"), format!("\"{root}.dag-cbor\""));
    assert!(answer.header("content-disposition").starts_with("attachment"));

    let answer = server.get(&format!("/ipfs/{node}?format=dag-json")).await;
    assert_eq!(answer.header("content-type"), "application/vnd.ipld.dag-json");
    let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(value["event"]["rows"], 3);

    let answer = server
        .ask(
            "GET",
            &format!("/ipfs/{root}/head/event"),
            &[("Accept", "application/json")],
        )
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "{\"kind\":\"AddData\",\"rows\":3}")
    );
    assert_eq!(
        answer.header("content-location"),
        format!("/ipfs/{root}/head/event?format=json")
    );
    let other = server
        .ask(
            "GET",
            &format!("/ipfs/{root}/head/seq"),
            &[("Accept", "application/json")],
        )
        .await;
    assert_eq!(other.text(), "7");
    assert_ne!(answer.header("etag"), other.header("etag"));
    let etag = other.header("etag").to_owned();
    let again = [("Accept", "application/json"), ("If-None-Match", etag.as_str())];
    assert_eq!(
        server
            .ask("GET", &format!("/ipfs/{root}/head/seq"), &again)
            .await
            .status,
        304
    );

    let answer = server.get(&format!("/ipfs/{root}/head/event")).await;
    assert_eq!(answer.status, 501);
    let answer = server
        .ask("GET", &format!("/ipns/{NAME}"), &[("Accept", "text/html,*/*")])
        .await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(
        answer.text().contains(&format!("href=\"/ipns/{NAME}/head\"")),
        "{}",
        answer.text()
    );

    let public = Options {
        convert: false,
        ..Options::default()
    };
    let mut shelf = Shelf::default();
    published(&mut shelf);
    let server = Server::start_with(shelf, public).await;
    assert_eq!(server.get(&format!("/ipfs/{root}?format=dag-json")).await.status, 406);
    assert_eq!(
        server
            .get(&format!("/ipfs/{root}/head/event?format=dag-json"))
            .await
            .status,
        406
    );
    assert_eq!(server.get(&format!("/ipfs/{root}?format=cbor")).await.body, bytes);
}

#[tokio::test]
async fn raw_blocks_come_by_query_and_by_accept() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"{}");
    let root = shelf.directory(vec![("x.json", file)]);
    let server = Server::start(shelf).await;
    let bytes = server.shelf.blocks[&root.cid].data().clone();

    let answer = server.get(&format!("/ipfs/{}?format=raw", root.cid)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/vnd.ipld.raw")
    );
    assert_eq!(answer.body, bytes);
    assert_eq!(answer.header("etag"), format!("\"{}.raw\"", root.cid));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(
        answer
            .header("content-disposition")
            .contains(&format!("{}.bin", root.cid))
    );
    let accept = [("Accept", "application/vnd.ipld.raw;q=1")];
    let answer = server.ask("GET", &format!("/ipfs/{}", root.cid), &accept).await;
    assert_eq!(answer.body, bytes);
    assert_eq!(
        answer.header("content-location"),
        format!("/ipfs/{}?format=raw", root.cid)
    );

    for probe in ["/ipfs/bafkqaaa?format=raw", "/ipfs/bafkqaaa"] {
        for method in ["GET", "HEAD"] {
            let answer = server.ask(method, probe, &[]).await;
            assert_eq!(
                (answer.status, answer.header("content-length")),
                (200, "0"),
                "{method} {probe}"
            );
        }
    }
    // A file that is JSON is served as the file to whoever wants JSON.
    let answer = server
        .ask(
            "GET",
            &format!("/ipfs/{}/x.json", root.cid),
            &[("Accept", "application/json")],
        )
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.header("content-type")),
        (200, "{}", "application/json")
    );
}
