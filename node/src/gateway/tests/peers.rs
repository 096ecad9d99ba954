//! The gateway for other peers: what proves itself, and nothing else.

use super::*;
use crate::denylist::Denylist;

#[tokio::test]
async fn peers_are_given_what_proves_itself_and_nothing_else() {
    let mut shelf = Shelf::default();
    let file = shelf.file(&content(5_000));
    let root = shelf.directory(vec![("a", file)]);
    shelf.names.insert(NAME.to_owned(), format!("/ipfs/{}", root.cid));
    shelf.records.insert(NAME.to_owned(), Bytes::from_static(b"signed"));
    shelf
        .names
        .insert("site.example.org".to_owned(), format!("/ipfs/{}", root.cid));
    let block = shelf.blocks[&root.cid].data().to_vec();
    let server = Server::serve(Arc::new(shelf), |shelf| for_peers(shelf, Denylist::default())).await;
    let root = format!("/ipfs/{}", root.cid);
    let name = format!("/ipns/{NAME}");

    let raw = server.get(&format!("{root}?format=raw")).await;
    assert_eq!((raw.status, raw.body), (200, block));
    let by_type = [("Accept", "application/vnd.ipld.raw")];
    assert_eq!(server.ask("GET", &root, &by_type).await.status, 200);
    for path in [
        format!("{root}?format=car"),
        format!("{root}/a?format=car"),
        format!("{name}?format=ipns-record"),
    ] {
        assert_eq!(server.get(&path).await.status, 200, "{path}");
    }
    for path in [
        root.clone(),
        format!("{root}/"),
        format!("{root}/a"),
        format!("{root}/a?format=raw"),
        format!("{root}?format=tar"),
        format!("{root}?format=dag-json"),
        format!("{root}?format=ipns-record"),
        format!("{name}?format=raw"),
        format!("{name}?format=car"),
        format!("{name}/a?format=ipns-record"),
        name.clone(),
        "/ipns/site.example.org?format=ipns-record".to_owned(),
        "/ipns/site.example.org".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 406, "{path}");
        assert!(answer.text().contains("only trustless requests"), "{}", answer.text());
    }
    assert_eq!(server.get("/metrics").await.status, 404);
    assert_eq!(server.ask("POST", &format!("{root}?format=raw"), &[]).await.status, 405);
}

#[tokio::test]
async fn it_is_said_that_this_is_a_gateway() {
    let server = Server::serve(Arc::default(), |shelf| for_peers(shelf, Denylist::default())).await;
    let path = "/.well-known/libp2p/protocols";
    let answer = server.ask("GET", path, &[("Accept", "application/json")]).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(said["protocols"]["/ipfs/gateway"]["path"], "/");
    assert_eq!(said["/ipfs/gateway"]["path"], "/");
    for (accept, status) in [("*/*", 200), ("text/html", 406)] {
        assert_eq!(server.ask("GET", path, &[("Accept", accept)]).await.status, status);
    }
    assert_eq!(server.get(path).await.status, 200);
    assert_eq!(server.ask("POST", path, &[]).await.status, 405);
}
