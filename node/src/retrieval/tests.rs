//! Gateways that are honest, false, slow, full, and gone.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use tokio::net::TcpListener;

use super::clients::MAX_REDIRECTS;
use super::gateway::{FIRST_STAND_IN_AFTER, MAX_MISSES};
use super::*;
use crate::block::RAW;

mod ahead;

/// What a gateway does about a request, by how many came before.
type Does = fn(&Site, usize, &Uri) -> Answer;

enum Answer {
    Honest,
    Bytes(Vec<u8>),
    Status(StatusCode),
    Elsewhere(String),
    Never,
}

struct Site {
    does: Does,
    blocks: HashMap<String, Bytes>,
    asked: AtomicUsize,
}

impl Site {
    async fn open(blocks: &[Block], does: Does) -> (Url, Arc<Self>) {
        let site = Arc::new(Self {
            does,
            blocks: blocks
                .iter()
                .map(|block| (block.cid().to_string(), block.data().clone()))
                .collect(),
            asked: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().fallback(answer).with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, site)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(Shared(site): Shared<Arc<Site>>, uri: Uri) -> Response {
    let before = site.asked.fetch_add(1, Ordering::Relaxed);
    match (site.does)(&site, before, &uri) {
        Answer::Honest => {
            assert!(
                uri.query() == Some("format=raw") && uri.path().starts_with("/ipfs/"),
                "{uri}"
            );
            match site.blocks.get(&uri.path()["/ipfs/".len()..]) {
                Some(bytes) => bytes.clone().into_response(),
                None => axum::http::StatusCode::NOT_FOUND.into_response(),
            }
        }
        Answer::Bytes(bytes) => bytes.into_response(),
        Answer::Status(status) => axum::http::StatusCode::from_u16(status.as_u16())
            .unwrap()
            .into_response(),
        Answer::Elsewhere(url) => Redirect::temporary(&url).into_response(),
        Answer::Never => std::future::pending().await,
    }
}

fn blocks(count: u32) -> Vec<Block> {
    (0..count)
        .map(|n| Block::new(RAW, n.to_le_bytes().to_vec()).unwrap())
        .collect()
}

async fn all(gateways: &Gateways, blocks: &[Block]) {
    let fetched = blocks.iter().map(|block| gateways.block(block.cid(), None));
    let fetched = futures::future::join_all(fetched).await;
    assert!(
        fetched
            .iter()
            .zip(blocks)
            .all(|(fetched, block)| fetched.as_ref() == Some(block))
    );
}

#[tokio::test]
async fn blocks_come_and_are_counted_until_the_gateway_is_given_up() {
    let blocks = blocks(100);
    let (url, site) = Site::open(&blocks, |_, _, _| Answer::Honest).await;
    let gateways = Gateways::default();
    assert_eq!(gateways.block(blocks[0].cid(), None).await, None);
    let added = gateways.add(&[url.clone(), url.clone()]).unwrap();
    let again = gateways.add(&[url]).unwrap();
    all(&gateways, &blocks).await;
    let [stats] = &gateways.stats()[..] else { panic!("one") };
    assert_eq!((stats.blocks, stats.bytes, stats.failures), (100, 400, 0));
    let absent = Block::new(RAW, b"absent".to_vec()).unwrap();
    assert_eq!(gateways.block(absent.cid(), None).await, None);
    assert_eq!(site.asked(), 101);
    drop((added, again));
    assert_eq!(
        (gateways.count(), gateways.block(blocks[0].cid(), None).await),
        (0, None)
    );
    assert_eq!(site.asked(), 101);
}

#[tokio::test]
async fn one_that_gives_another_block_is_not_asked_again_and_another_stands_in() {
    let blocks = blocks(400);
    let (honest, _) = Site::open(&blocks, |_, _, _| Answer::Honest).await;
    let (false_one, site) = Site::open(&blocks, |_, before, _| match before % 100 {
        7 => Answer::Bytes(b"lie".to_vec()),
        _ => Answer::Honest,
    })
    .await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[false_one.clone(), honest]).unwrap();
    all(&gateways, &blocks).await;
    let stats = gateways.stats();
    let lied = stats
        .iter()
        .find(|stats| stats.url == base(&false_one).unwrap())
        .unwrap();
    assert!(
        lied.refused
            .as_ref()
            .is_some_and(|reason| reason.contains("gave another block"))
    );
    let asked = site.asked();
    all(&gateways, &blocks).await;
    assert_eq!(site.asked(), asked);
}

#[tokio::test]
async fn one_that_does_not_answer_holds_nobody_up_for_long() {
    let blocks = blocks(300);
    let (honest, _) = Site::open(&blocks, |_, _, _| Answer::Honest).await;
    let (silent, site) = Site::open(&blocks, |_, _, _| Answer::Never).await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[silent, honest]).unwrap();
    let begun = Instant::now();
    all(&gateways, &blocks).await;
    assert!(begun.elapsed() < FIRST_STAND_IN_AFTER * 3, "{:?}", begun.elapsed());
    let asked = site.asked();
    all(&gateways, &blocks).await;
    assert_eq!(site.asked(), asked, "it is left out");
}

#[tokio::test]
async fn one_that_lacks_many_blocks_is_asked_for_the_others() {
    let blocks = blocks(200);
    let half: Vec<Block> = blocks.iter().step_by(2).cloned().collect();
    let (partial, site) = Site::open(&half, |_, _, _| Answer::Honest).await;
    let (whole, _) = Site::open(&blocks, |_, _, _| Answer::Honest).await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[partial, whole]).unwrap();
    all(&gateways, &blocks).await;
    assert!(site.asked() > 0 && gateways.is_ready());
    let left_out = |gateway: &Arc<Gateway>| !gateway.may_be_asked(false);
    assert!(!lock(&gateways.inner.gateways).iter().any(left_out));
}

#[tokio::test]
async fn one_that_wants_a_pause_gets_it() {
    let blocks = blocks(2);
    let (full, site) = Site::open(&blocks, |_, _, _| Answer::Status(StatusCode::TOO_MANY_REQUESTS)).await;
    let (honest, _) = Site::open(&blocks, |_, _, _| Answer::Honest).await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[full, honest]).unwrap();
    assert!(gateways.block(blocks[0].cid(), None).await.is_some());
    assert!(gateways.block(blocks[1].cid(), None).await.is_some());
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn more_bytes_than_a_block_has_are_not_read() {
    let largest = Block::new(RAW, vec![1; MAX_BLOCK_BYTES]).unwrap();
    let over = Block::new(RAW, vec![2; 4]).unwrap();
    let (url, _) = Site::open(std::slice::from_ref(&largest), |_, _, _| Answer::Honest).await;
    let (too_long, _) = Site::open(&[], |_, _, _| Answer::Bytes(vec![0; MAX_BLOCK_BYTES + 1])).await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[url]).unwrap();
    assert_eq!(gateways.block(largest.cid(), None).await, Some(largest));
    let gateways = Gateways::default();
    let _added = gateways.add(&[too_long]).unwrap();
    assert_eq!(gateways.block(over.cid(), None).await, None);
    assert!(
        gateways.stats()[0]
            .refused
            .as_ref()
            .is_some_and(|reason| reason.contains("more than"))
    );
}

#[tokio::test]
async fn a_redirect_leads_to_no_other_host() {
    let block = &blocks(1)[0];
    let (inside, visited) = Site::open(std::slice::from_ref(block), |_, _, _| Answer::Honest).await;
    static ELSEWHERE: Mutex<String> = Mutex::new(String::new());
    *lock(&ELSEWHERE) = format!("{inside}ipfs/{}?format=raw", block.cid());
    let (url, _) = Site::open(&[], |_, _, _| Answer::Elsewhere(lock(&ELSEWHERE).clone())).await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[url]).unwrap();
    assert_eq!(gateways.block(block.cid(), None).await, None);
    assert_eq!(visited.asked(), 0);

    let is_below = |to: &str, from: &str| super::clients::is_below(&to.parse().unwrap(), &from.parse().unwrap());
    assert!(is_below("https://b.ipfs.g.example/x", "https://g.example/"));
    assert!(is_below("https://g.example/x", "http://g.example/"));
    assert!(!is_below("http://g.example/x", "https://g.example/"));
    assert!(!is_below("https://notg.example/", "https://g.example/"));
    assert!(!is_below("https://g.example:8443/", "https://g.example/"));
}

#[tokio::test]
async fn redirects_end_and_one_request_too_many_waits_for_its_turn() {
    let block = &blocks(1)[0];
    let fetched = async |does: Does| {
        let (url, _) = Site::open(std::slice::from_ref(block), does).await;
        let gateways = Gateways::default();
        let _added = gateways.add(&[url]).unwrap();
        gateways.block(block.cid(), None).await
    };
    let most = fetched(|_, before, uri| match before < MAX_REDIRECTS {
        true => Answer::Elsewhere(uri.to_string()),
        false => Answer::Honest,
    });
    assert_eq!(most.await.as_ref(), Some(block));
    let over = fetched(|_, before, uri| match before < MAX_REDIRECTS + 1 {
        true => Answer::Elsewhere(uri.to_string()),
        false => Answer::Honest,
    });
    assert_eq!(over.await, None);

    let many = self::blocks(MAX_REQUESTS as u32 + 1);
    let (url, site) = Site::open(&[], |_, _, _| Answer::Never).await;
    let gateways = Gateways::default();
    let _added = gateways.add(&[url]).unwrap();
    let waiting = many.iter().map(|block| gateways.block(block.cid(), None));
    let waiting = futures::future::join_all(waiting);
    assert!(timeout(Duration::from_millis(500), waiting).await.is_err());
    assert_eq!(site.asked(), MAX_REQUESTS);
}

#[tokio::test]
async fn what_gateways_give_as_a_record_comes_if_it_is_not_too_long() {
    const MOST: usize = 100;
    let does: [Does; 4] = [
        |_, _, uri| match *uri == "/ipns/k51?format=ipns-record" {
            true => Answer::Bytes(vec![1; MOST]),
            false => Answer::Status(StatusCode::BAD_REQUEST),
        },
        |_, _, _| Answer::Bytes(vec![2; MOST + 1]),
        |_, _, _| Answer::Status(StatusCode::NOT_FOUND),
        |_, _, _| Answer::Bytes(vec![3]),
    ];
    let mut urls = Vec::new();
    for does in does {
        urls.push(Site::open(&[], does).await.0);
    }
    let gateways = Gateways::default();
    let _added = gateways.add(&urls).unwrap();
    assert_eq!(gateways.records("k51", MOST).await, [vec![1; MOST], vec![3]]);
    let failures: Vec<u64> = gateways.stats().iter().map(|stats| stats.failures).collect();
    assert_eq!(failures, [0, 1, 1, 0]);
}

#[test]
fn addresses_that_are_none_of_a_gateway_are_refused_and_one_too_many_is() {
    let parse = |text: &str| base(&text.parse().unwrap()).map(|url| url.to_string());
    assert_eq!(parse("https://g.example").unwrap(), "https://g.example/");
    assert_eq!(
        parse("http://[::1]:8080/gateway").unwrap(),
        "http://[::1]:8080/gateway/"
    );
    for text in [
        "ftp://g.example",
        "https://g.example/?format=raw",
        "https://g.example/#x",
        "data:text",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    let gateways = Gateways::default();
    let urls = |count: usize| (0..count).map(|n| format!("http://127.0.0.1:{}", n + 1).parse().unwrap());
    let most: Vec<Url> = urls(MAX_GATEWAYS).collect();
    let _most = gateways.add(&most).unwrap();
    let over: Vec<Url> = urls(MAX_GATEWAYS + 1).collect();
    assert_eq!(gateways.add(&over).err(), Some(GatewayError::TooMany));
}

#[tokio::test]
async fn strangers_send_nobody_inside_nor_make_anybody_ask_without_end() {
    let block = &blocks(1)[0];
    let (plain, site) = Site::open(std::slice::from_ref(block), |_, _, _| Answer::Honest).await;
    let port = plain.port().unwrap();
    let by_name: Url = format!("https://localhost:{port}/").parse().unwrap();
    let gateways = Gateways::default();
    let mut changes = gateways.changes();
    assert!(gateways.found(&[plain.clone(), by_name]));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(gateways.block(block.cid(), None).await, None);
    assert_eq!(site.asked(), 0);
    let reasons: Vec<String> = gateways
        .stats()
        .into_iter()
        .filter_map(|stats| stats.last_failure)
        .collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("nothing on the internet")),
        "{reasons:?}"
    );

    let many: Vec<Url> = (0..=MAX_FOUND)
        .map(|n| format!("https://{n}.example/").parse().unwrap())
        .collect();
    for url in &many {
        assert!(gateways.found(std::slice::from_ref(url)));
    }
    assert_eq!(gateways.count() as usize, MAX_FOUND);
    assert!(changes.has_changed().unwrap());
    // What is known already is no news.
    changes.mark_unchanged();
    assert!(gateways.found(&many[1..2]));
    assert!(!changes.has_changed().unwrap());
}

#[test]
fn what_strangers_announced_is_forgotten_when_it_gives_nothing() {
    let url: Url = "https://a.example/".parse().unwrap();
    let absent = || Missed::Absent("404".to_owned());
    let (found, named) = (Gateway::new(url.clone(), true), Gateway::new(url, false));
    for _ in 0..MAX_MISSES - 1 {
        found.note(&absent());
    }
    assert!(!found.is_useless());
    found.gave(1, Duration::from_millis(1));
    for _ in 0..MAX_MISSES {
        assert!(!found.is_useless());
        found.note(&absent());
        named.note(&absent());
    }
    assert!(found.is_useless() && !named.is_useless());
}

#[tokio::test]
async fn a_gateway_hears_through_whom_a_request_came_and_nobody_reads_its_password() {
    static HEARD: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(async |headers: axum::http::HeaderMap| {
        let field = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        lock(&HEARD).push((field(THROUGH), field("authorization")));
        axum::http::StatusCode::NOT_FOUND
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let gateways = Gateways::default();
    let url: Url = format!("http://me:secret@{address}/").parse().unwrap();
    let _added = gateways.add(std::slice::from_ref(&url)).unwrap();
    let block = &blocks(1)[0];
    gateways.block(block.cid(), Some("a, b")).await;
    gateways.block(block.cid(), None).await;
    let heard = lock(&HEARD).clone();
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[0].0.as_str(), heard[1].0.as_str()), ("a, b", ""));
    assert!(
        heard.iter().all(|(_, password)| password.starts_with("Basic ")),
        "{heard:?}"
    );
    let shown = gateways.stats()[0].url.to_string();
    assert!(shown.contains("me@") && !shown.contains("secret"), "{shown}");
    let error = base(&format!("{url}?x").parse().unwrap()).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}
