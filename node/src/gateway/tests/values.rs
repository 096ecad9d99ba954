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
async fn values_go_from_each_codec_into_the_others() {
    let mut shelf = Shelf::default();
    let leaf = shelf.file(b"leaf").cid;
    let text = format!("{{\"a\":{{\"/\":\"{leaf}\"}},\"b\":{{\"c\":[1]}}}}");
    let json = Block::new(crate::block::DAG_JSON, text.clone().into_bytes()).unwrap();
    let root = *json.cid();
    shelf.put([json]);
    let value = map([
        ("a", Ipld::Link(leaf)),
        ("b", map([("c", Ipld::List(vec![Ipld::Integer(1)]))])),
    ]);
    let cbor = shelf.cbor(&value);
    let public = Options {
        convert: false,
        ..Options::default()
    };
    let blocks = shelf.blocks.clone();
    let server = Server::start(shelf).await;
    let as_cbor = serde_ipld_dagcbor::to_vec(&value).unwrap();
    for cid in [root, cbor] {
        assert_eq!(server.get(&format!("/ipfs/{cid}?format=dag-json")).await.text(), text);
        assert_eq!(server.get(&format!("/ipfs/{cid}?format=dag-cbor")).await.body, as_cbor);
        assert_eq!(server.get(&format!("/ipfs/{cid}/b/c?format=json")).await.text(), "[1]");
        assert_eq!(server.get(&format!("/ipfs/{cid}/a")).await.text(), "leaf");
        assert_eq!(server.get(&format!("/ipfs/{cid}/none")).await.status, 404);
        let page = server
            .ask("GET", &format!("/ipfs/{cid}"), &[("Accept", "text/html")])
            .await;
        assert!(page.header("etag").contains("DagIndex-") && page.text().contains(&format!("href=\"/ipfs/{cid}/a\"")));
    }
    let server = Server::start_with(
        Shelf {
            blocks,
            ..Shelf::default()
        },
        public,
    )
    .await;
    for (path, status) in [
        (format!("/ipfs/{root}?format=dag-json"), 200),
        (format!("/ipfs/{root}?format=json"), 200),
        (format!("/ipfs/{root}?format=dag-cbor"), 406),
        (format!("/ipfs/{cbor}?format=dag-json"), 406),
        (format!("/ipfs/{cbor}/b?format=dag-cbor"), 501),
    ] {
        assert_eq!(server.get(&path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn the_record_of_a_name_comes_as_it_was_signed() {
    let mut shelf = Shelf::default();
    shelf.names.insert(NAME.to_owned(), "/ipfs/bafkqaaa".to_owned());
    shelf.records.insert(NAME.to_owned(), Bytes::from_static(b"signed"));
    shelf
        .names
        .insert("site.example.org".to_owned(), "/ipfs/bafkqaaa".to_owned());
    let server = Server::start(shelf).await;
    let path = format!("/ipns/{NAME}");
    let answer = server.get(&format!("{path}?format=ipns-record")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "signed"));
    assert_eq!(answer.header("content-type"), "application/vnd.ipfs.ipns-record");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let name = format!("attachment; filename=\"{NAME}.ipns-record\"");
    assert!(answer.header("content-disposition").starts_with(&name));
    let etag = answer.header("etag").to_owned();
    let accept = ("Accept", "application/vnd.ipfs.ipns-record");
    assert_eq!(server.ask("GET", &path, &[accept]).await.text(), "signed");
    let known = [accept, ("If-None-Match", etag.as_str())];
    assert_eq!(server.ask("GET", &path, &known).await.status, 304);
    for path in [
        format!("{path}/a"),
        "/ipfs/bafkqaaa".to_owned(),
        "/ipns/site.example.org".to_owned(),
    ] {
        assert_eq!(
            server.get(&format!("{path}?format=ipns-record")).await.status,
            400,
            "{path}"
        );
    }
    // A name has one spelling in URLs.
    let other: crate::ipns::Name = NAME.parse().unwrap();
    let answer = server.get(&format!("/ipns/{}/a%20b?c", other.peer_id())).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, format!("{path}/a%20b?c").as_str())
    );
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
