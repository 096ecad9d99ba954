//! Content at hosts of its own: subdomains, sites, and what sites say about paths that they do not have.

use super::*;

const SITE: &str = "www.site.localhost";

fn options() -> Options {
    Options {
        subdomains: vec!["gw.localhost".to_owned()],
        sites: vec![SITE.to_owned()],
        proxies: vec![[127, 0, 0, 1].into()],
        ..Options::default()
    }
}

impl Server {
    async fn at(&self, host: &str, path: &str) -> Answer {
        self.ask_host(host, path, &[]).await
    }

    async fn ask_host(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers = [&[("X-Forwarded-Host", host)], headers].concat();
        self.ask("GET", path, &headers).await
    }
}

#[tokio::test]
async fn paths_redirect_to_the_host_of_their_root() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"hello");
    let old = Cid::new_v0(crate::block::sha2_256(b"x")).unwrap();
    let new = Cid::new_v1(crate::block::DAG_PB, *old.hash());
    shelf.names.insert(NAME.to_owned(), format!("/ipfs/{}", file.cid));
    let server = Server::start_with(shelf, options()).await;
    let cid = file.cid;
    for (path, location) in [
        (format!("/ipfs/{cid}"), format!("http://{cid}.ipfs.gw.localhost:80/")),
        (
            format!("/ipfs/{cid}/a%20b/?x=%2f"),
            format!("http://{cid}.ipfs.gw.localhost:80/a%20b/?x=%2f"),
        ),
        (format!("/ipfs/{old}/"), format!("http://{new}.ipfs.gw.localhost:80/")),
        (
            format!("/ipns/{NAME}/a"),
            format!("http://{NAME}.ipns.gw.localhost:80/a"),
        ),
        (
            "/ipns/my-site.example.org".to_owned(),
            "http://my--site-example-org.ipns.gw.localhost:80/".to_owned(),
        ),
        (format!("/ipfs/?uri=ipfs%3A%2F%2F{cid}%2Fa"), format!("/ipfs/{cid}/a")),
    ] {
        let answer = server.at("gw.localhost:80", &path).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (301, location.as_str()),
            "{path}"
        );
    }
    let secure = [("X-Forwarded-Proto", "https")];
    let answer = server.ask_host("gw.localhost", &format!("/ipfs/{cid}"), &secure).await;
    assert_eq!(answer.header("location"), format!("https://{cid}.ipfs.gw.localhost/"));
    let answer = server.at("gw.localhost", "/ipfs/QmInvalid").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("invalid path \"/ipfs/QmInvalid\""));
    // Without the setting, and at other hosts, paths are answered.
    assert_eq!(server.get(&format!("/ipfs/{cid}")).await.text(), "hello");
}

#[tokio::test]
async fn a_host_of_content_answers_that_content_alone() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"hello");
    let ipfs = shelf.directory(vec![("x.txt", file)]);
    let root = shelf.directory(vec![("ipfs", ipfs), ("a b.txt", file)]).cid;
    shelf
        .names
        .insert("my-site.example.org".to_owned(), format!("/ipfs/{root}/ipfs"));
    let server = Server::start_with(shelf, options()).await;
    let host = format!("{root}.ipfs.gw.localhost");
    assert_eq!(server.at(&host, "/ipfs/x.txt").await.text(), "hello");
    assert_eq!(server.at(&host, &format!("/ipfs/{root}/")).await.status, 404);
    let answer = server.at(&host, "/ipfs?q").await;
    assert_eq!((answer.status, answer.header("location")), (301, "/ipfs/?q"));
    let page = server.at(&host, "/").await;
    assert_eq!(page.header("x-ipfs-path"), format!("/ipfs/{root}/"));
    assert!(
        page.text().contains("<a href=\"/a%20b.txt\">a b.txt</a>"),
        "{}",
        page.text()
    );
    assert!(
        page.text()
            .contains(&format!("/ipfs/<a href=\"//gw.localhost/ipfs/{root}\">"))
    );
    // Its origin is its own already.
    assert_eq!(page.header("content-security-policy"), "");
    let at_path = server.get(&format!("/ipfs/{root}/")).await;
    assert!(at_path.header("content-security-policy").starts_with("sandbox"));
    for label in ["my--site-example-org", "my-site.example.org"] {
        assert_eq!(
            server.at(&format!("{label}.ipns.gw.localhost"), "/x.txt").await.text(),
            "hello"
        );
    }
    let base36 = multibase::encode(multibase::Base::Base36Lower, root.to_bytes());
    let answer = server.at(&format!("{base36}.ipfs.gw.localhost"), "/a?b").await;
    assert_eq!(answer.header("location"), format!("http://{host}/a?b"));
    let long = format!("{}.ipfs.gw.localhost", "b".repeat(64));
    let answer = server.at(&long, "/").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("limit of 63"));
    // Whoever is no proxy says nothing about hosts.
    let believes_nobody = Options {
        proxies: Vec::new(),
        ..options()
    };
    let server = Server::start_with(Shelf::default(), believes_nobody).await;
    assert_eq!(server.at(&long, "/").await.status, 404);
}

#[tokio::test]
async fn nothing_but_content_is_answered_at_hosts_of_content() {
    let mut shelf = Shelf::default();
    let root = shelf.directory(vec![]).cid;
    let with_api = |gateway: Router| gateway.route("/info", axum::routing::get(|| async { "secret" }));
    let server = Server::serve(Arc::new(shelf), |shelf| beside(shelf, options(), with_api)).await;
    assert_eq!(server.get("/info").await.text(), "secret");
    assert_eq!(server.at("gw.localhost", "/info").await.text(), "secret");
    assert_eq!(
        server.at(&format!("{root}.ipfs.gw.localhost"), "/info").await.status,
        404
    );
    assert_ne!(server.at(SITE, "/info").await.text(), "secret");
}

#[tokio::test]
async fn a_site_is_served_to_whoever_asks() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"<p>hello");
    let site = shelf.directory(vec![("index.html", file)]);
    let root = shelf.directory(vec![("site", site)]).cid;
    shelf.names.insert(SITE.to_owned(), format!("/ipfs/{root}/site"));
    shelf
        .names
        .insert("other.example.org".to_owned(), format!("/ipfs/{root}/site"));
    let server = Server::start_with(
        shelf,
        Options {
            fetching: Audience::Anybody,
            ..options()
        },
    )
    .await;
    let answer = server.at(SITE, "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "<p>hello"));
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    assert_eq!(answer.header("ipfs-uri"), format!("ipns://{SITE}/"));
    assert_eq!(server.at("other.example.org", "/").await.status, 404);
}

#[tokio::test]
async fn a_listing_at_a_site_leads_to_no_path_that_the_site_does_not_have() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"hello");
    let root = shelf.directory(vec![("a", file)]).cid;
    shelf.names.insert(SITE.to_owned(), format!("/ipfs/{root}"));
    let server = Server::start_with(
        shelf,
        Options {
            fetching: Audience::Anybody,
            ..options()
        },
    )
    .await;
    let listing = server.at(SITE, "/").await.text();
    let cid = file.cid;
    assert!(!listing.contains("/ipfs/"), "{listing}");
    let inspected =
        format!("href=\"https://cid.ipfs.tech/#{cid}\" target=\"_blank\" rel=\"noreferrer noopener\">{cid}</a>");
    assert!(listing.contains(&inspected), "{listing}");
}

#[tokio::test]
async fn a_site_says_what_stands_for_paths_that_it_does_not_have() {
    let mut shelf = Shelf::default();
    let rules = "/old/:page /new/:page 302\n/gone/* /410.html 410\n/app/* /index.html 200\n/loop /none 200\n";
    let (rules, index) = (shelf.file(rules.as_bytes()), shelf.file(b"<p>index"));
    let gone = shelf.file(b"<p>gone");
    let root = shelf
        .directory(vec![("_redirects", rules), ("index.html", index), ("410.html", gone)])
        .cid;
    let big = shelf.file(&vec![b'#'; usize::try_from(redirects::MAX_FILE_BYTES).unwrap() + 1]);
    let over = shelf.directory(vec![("_redirects", big)]).cid;
    let server = Server::start_with(shelf, options()).await;
    let host = format!("{root}.ipfs.gw.localhost");

    let answer = server.at(&host, "/old/a%20b").await;
    assert_eq!((answer.status, answer.header("location")), (302, "/new/a%20b"));
    let answer = server.at(&host, "/app/x/y").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "<p>index"));
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let etag = answer.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", index.cid));
    let known = [("If-None-Match", etag.as_str())];
    assert_eq!(server.ask_host(&host, "/app/x", &known).await.status, 304);
    let known = [("If-None-Match", "*"), ("Range", "bytes=0-0")];
    let answer = server.ask_host(&host, "/gone/x", &known).await;
    assert_eq!((answer.status, answer.text().as_str()), (410, "<p>gone"));
    assert_eq!(answer.header("cache-control"), "public, max-age=29030400, immutable");
    assert_eq!(server.at(&host, "/loop").await.status, 404);
    assert_eq!(server.at(&host, "/none").await.status, 404);
    // Where content shares its host with others, it says nothing.
    assert_eq!(server.get(&format!("/ipfs/{root}/old/a")).await.status, 404);

    let answer = server.at(&format!("{over}.ipfs.gw.localhost"), "/none").await;
    assert_eq!(answer.status, 500);
    assert!(
        answer.text().contains("redirects file size cannot exceed"),
        "{}",
        answer.text()
    );
}
