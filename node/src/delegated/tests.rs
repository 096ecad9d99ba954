//! What the server answers about itself, about nonsense, and to too many.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use libp2p::identity::Keypair;
use tower::ServiceExt as _;

use super::*;
use crate::block::Block;
use crate::ipns::record::Contents;
use crate::peer::Node;
use crate::store::{Blocks as _, Store, StoreOptions};

struct Asked {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn ask(router: &Router, client: &str, request: axum::http::request::Builder, body: Vec<u8>) -> Asked {
    let mut request = request.body(Body::from(body)).unwrap();
    let client: SocketAddr = client.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(client));
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Asked {
        status: parts.status,
        headers: parts.headers,
        body: to_bytes(body, 1 << 20).await.unwrap(),
    }
}

async fn get(router: &Router, path: &str, accept: &str) -> Asked {
    let request = Request::get(path).header(header::ACCEPT, accept);
    ask(router, "127.0.0.1:9", request, Vec::new()).await
}

/// A peer that knows nobody, with one block.
async fn alone() -> (Node, Block, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let block = Block::new(RAW, b"here".to_vec()).unwrap();
    store.put(std::slice::from_ref(&block)).unwrap();
    let builder = Node::builder(&store).unwrap();
    let builder = builder.listen(vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]);
    let node = builder.bootstrap(Vec::new()).mdns(false).start().await.unwrap();
    (node, block, dir)
}

fn options() -> Options {
    Options {
        audience: Audience::ThisMachine,
        proxies: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_itself_for_what_it_has_and_nobody_for_what_nobody_has() {
    let (node, block, _dir) = alone().await;
    let router = router(node.clone(), options());
    let path = format!("/routing/v1/providers/{}", block.cid());
    let found = get(&router, &path, JSON).await;
    assert_eq!(
        (found.status, &found.headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &JSON.parse().unwrap())
    );
    let said: serde_json::Value = serde_json::from_slice(&found.body).unwrap();
    let provider = &said["Providers"][0];
    assert_eq!(
        (provider["Schema"].as_str(), provider["ID"].as_str()),
        (Some("peer"), Some(&*node.peer_id().to_string()))
    );
    assert!(
        provider["Addrs"][0]
            .as_str()
            .is_some_and(|address| address.starts_with("/ip4/127.0.0.1/tcp/")),
        "{said}"
    );
    let lines = get(&router, &path, "application/x-ndjson, application/json").await;
    assert_eq!(lines.headers[header::CONTENT_TYPE], NDJSON);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(lines.body.trim_ascii_end()).unwrap(),
        *provider
    );
    let filtered = get(&router, &format!("{path}?filter-addrs=webtransport"), JSON).await;
    assert_eq!(filtered.body, r#"{"Providers":[]}"#);

    let absent = Block::new(RAW, b"absent".to_vec()).unwrap();
    let absent = get(&router, &format!("/routing/v1/providers/{}", absent.cid()), JSON).await;
    assert_eq!(
        (absent.status, &absent.body[..]),
        (StatusCode::OK, &br#"{"Providers":[]}"#[..])
    );
    for path in ["providers/x", "peers/x", "ipns/x", "ipns/example.com"] {
        assert_eq!(
            get(&router, &format!("/routing/v1/{path}"), JSON).await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_put_is_given_to_who_asks_and_a_forged_one_is_not_taken() {
    let (node, _, _dir) = alone().await;
    let router = router(node.clone(), options());
    let (key, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let contents = Contents {
        value: "/ipfs/bafkqaaa",
        sequence: 1,
        ttl: Duration::from_secs(60),
        valid_until: SystemTime::now() + Duration::from_secs(3600),
    };
    let name = Name::from_public_key(&key.public());
    let path = format!("/routing/v1/ipns/{name}");
    let put = |bytes: Vec<u8>| ask(&router, "127.0.0.1:9", Request::put(&path), bytes);
    let forged = Record::create(&other, &contents).unwrap().bytes().to_vec();
    assert_eq!(put(forged).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        put(vec![0; MAX_RECORD_BYTES + 1]).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(get(&router, &path, RECORD).await.status, StatusCode::NOT_FOUND);
    let good = Record::create(&key, &contents).unwrap().bytes().to_vec();
    assert_eq!(put(good.clone()).await.status, StatusCode::OK);
    let given = get(&router, &path, RECORD).await;
    assert_eq!((given.status, given.body.to_vec()), (StatusCode::OK, good));
    assert_eq!(given.headers[header::CONTENT_TYPE], RECORD);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_one_question_too_many_are_sent_away() {
    let (node, block, _dir) = alone().await;
    let server = Arc::new(Server {
        node: node.clone(),
        options: options(),
        searches: Mutex::default(),
    });
    let one = Some(IpAddr::from([192, 0, 2, 1]));
    let turns: Vec<Turn> = (0..MAX_SEARCHES_OF_ONE).map(|_| server.begin(one).unwrap()).collect();
    assert!(server.begin(one).is_none());
    let mut others: Vec<Turn> = (MAX_SEARCHES_OF_ONE..MAX_SEARCHES)
        .map(|n| server.begin(Some(IpAddr::from([198, 51, 100, n as u8]))).unwrap())
        .collect();
    assert!(server.begin(None).is_none());
    others.pop();
    assert!(server.begin(None).is_some());
    drop((turns, others));
    assert!(lock(&server.searches).is_empty());

    let router = router(node.clone(), options());
    let path = format!("/routing/v1/providers/{}", block.cid());
    let stranger = ask(&router, "192.0.2.1:9", Request::get(&path), Vec::new()).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    node.shutdown().await;
}
