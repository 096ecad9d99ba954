//! Routers that say what they are told to, over loopback.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{Request, Uri};
use axum::response::IntoResponse as _;
use libp2p::identity::Keypair;

use odf_doors::Authorities;

use super::*;

const CID: &str = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";

/// A router that answers all requests with the same.
async fn router(kind: &'static str, body: String) -> Url {
    let app = axum::Router::new().fallback(move |uri: Uri| async move {
        assert!(uri.path().starts_with("/routing/v1/"), "{uri}");
        ([(CONTENT_TYPE.as_str(), kind)], body).into_response()
    });
    serve(app).await
}

async fn serve(app: axum::Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}").parse().unwrap()
}

/// One that takes connections and says nothing.
async fn dead() -> Url {
    let app = axum::Router::new().fallback(|| async {
        std::future::pending::<()>().await;
    });
    serve(app).await
}

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

/// All providers that are said, in the order of their ids.
async fn providers(urls: &[Url]) -> Vec<Provider> {
    let routers = Routers::new(urls, Authorities::default()).unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    routers.providers(&CID.parse().unwrap(), &sender);
    drop(sender);
    let mut found = Vec::new();
    while let Some(provider) = receiver.recv().await {
        found.push(provider);
    }
    found.sort_by_key(|provider| provider.peer.to_string());
    found
}

#[tokio::test]
async fn providers_are_read_in_either_form_and_schema_and_nonsense_is_passed_over() {
    let [one, other, third] = [peer(), peer(), peer()];
    let line = |schema: &str, peer: &PeerId, addresses: &str| {
        format!(
            "{{\"Schema\":\"{schema}\",\"ID\":\"{peer}\",\"Addrs\":{addresses},\"Protocols\":[\"x\"],\"More\":{{}}}}"
        )
    };
    let lines = [
        line(
            "peer",
            &one,
            &format!(
                "[\"/ip4/127.0.0.1/tcp/4001\",\"/ip4/127.0.0.1/tcp/1/p2p/{other}\",\"nonsense\",\"/ip4/0.0.0.0/tcp/1\"]"
            ),
        ),
        line("bitswap", &other, "null"),
        line("unknown", &third, "[]"),
        line("peer", &third, "5"),
        "{\"Schema\":\"peer\",\"ID\":\"nobody\"}".to_owned(),
        "7".to_owned(),
        "{".to_owned(),
    ];
    let mut expected = vec![
        (one, vec!["/ip4/127.0.0.1/tcp/4001".parse::<Multiaddr>().unwrap()]),
        (other, Vec::new()),
    ];
    expected.sort_by_key(|(peer, _)| peer.to_string());
    let stream = router(NDJSON, lines.join("\n")).await;
    let list = router(JSON, format!("{{\"Providers\":[{}]}}", lines[..6].join(","))).await;
    for url in [stream, list] {
        let found = providers(std::slice::from_ref(&url)).await;
        let found: Vec<_> = found.into_iter().map(|found| (found.peer, found.addresses)).collect();
        assert_eq!(found, expected, "{url}");
    }
    for nothing in ["{\"Providers\":null}", "[]", "", "{\"Peers\":[]}"] {
        let url = router(JSON, nothing.to_owned()).await;
        assert!(providers(&[url]).await.is_empty(), "{nothing}");
    }
}

#[tokio::test]
async fn answers_have_an_end_and_addresses_the_reach_of_who_said_them() {
    let line = || format!("{{\"Schema\":\"peer\",\"ID\":\"{}\",\"Addrs\":[]}}\n", peer());
    let lines = |count: usize| (0..count).map(|_| line()).collect::<String>();
    for (count, expected) in [(MAX_PROVIDERS, MAX_PROVIDERS), (MAX_PROVIDERS + 1, MAX_PROVIDERS)] {
        assert_eq!(providers(&[router(NDJSON, lines(count)).await]).await.len(), expected);
    }
    // The last line is behind what is read.
    let padded = |length: usize| format!("{}{}\n{}", line(), " ".repeat(length - 1), line());
    let first = line().len();
    let within = router(NDJSON, padded(MAX_ANSWER_BYTES - 2 * first)).await;
    assert_eq!(providers(&[within]).await.len(), 2);
    let beyond = router(NDJSON, padded(MAX_ANSWER_BYTES - 2 * first + 1)).await;
    assert!(providers(&[beyond]).await.len() < 2);

    let addresses: Vec<String> = (1..=MAX_ADDRESSES + 1)
        .map(|port| format!("/ip4/192.0.2.1/tcp/{port}"))
        .collect();
    let value = serde_json::json!({ "Schema": "peer", "ID": peer().to_string(), "Addrs": addresses });
    let of = |url: &str| {
        Router::new(&url.parse().unwrap())
            .unwrap()
            .provider(value.clone())
            .unwrap()
    };
    assert_eq!(of("http://10.0.0.1/").addresses.len(), MAX_ADDRESSES);
    assert!(of("https://router.example/").addresses.is_empty());
}

#[tokio::test]
async fn a_dead_router_holds_nobody_up() {
    let begun = Instant::now();
    let (name, record) = ("k51name", Bytes::from_static(b"a record"));
    let (bytes, taken) = (record.clone(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&taken);
    let app = axum::Router::new().fallback(move |request: Request<Body>| async move {
        if request.method() == "PUT" {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 16).await.unwrap();
            lock(&noted).push((path, body));
        }
        ([(CONTENT_TYPE.as_str(), RECORD)], bytes).into_response()
    });
    let urls = [dead().await, serve(app).await, "http://127.0.0.1:1/".parse().unwrap()];
    let routers = Routers::new(&urls, Authorities::default()).unwrap();
    assert_eq!(routers.records(name, record.len()).await, std::slice::from_ref(&record));
    assert!(begun.elapsed() < RECORD_WITHIN, "{:?}", begun.elapsed());
    // One that cannot be reached is left out for a while.
    assert_eq!(routers.asked().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(
        Routers::new(&urls[1..], Authorities::default())
            .unwrap()
            .put(name, &record)
            .await,
        1
    );
    assert_eq!(*lock(&taken), [(format!("/routing/v1/ipns/{name}"), record.clone())]);
    let short = Routers::new(&urls[1..2], Authorities::default()).unwrap();
    assert!(short.records(name, record.len() - 1).await.is_empty());

    let most = vec![urls[0].clone(); MAX_ROUTERS + 1];
    assert!(Routers::new(&most[1..], Authorities::default()).is_ok());
    assert_eq!(
        Routers::new(&most, Authorities::default()).unwrap_err(),
        RouterError::TooMany
    );
    assert!(Routers::new(&["ftp://x/".parse().unwrap()], Authorities::default()).is_err());
    for url in ["http://x/routing/v1", "http://x/routing/v1/", "http://x"] {
        assert_eq!(
            Router::new(&url.parse().unwrap()).unwrap().url.as_str(),
            "http://x/routing/v1/"
        );
    }
}
