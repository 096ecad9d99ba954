//! Directories, plain and sharded.

use super::*;

#[tokio::test]
async fn directories_redirect_list_and_show_their_index() {
    let mut shelf = Shelf::default();
    let (text, page) = (shelf.file(b"text\n"), shelf.file(b"<h1>hello</h1>"));
    let site = shelf.directory(vec![("index.html", page)]);
    let (link, block) = node::symlink(&TINY, "text").unwrap();
    shelf.put([block]);
    let root = shelf.directory(vec![("site", site), ("<b>&\"x\".txt", text), ("link", link)]);
    let server = Server::start(shelf).await;

    let answer = server.get(&format!("/ipfs/{}/site?x=1", root.cid)).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (301, format!("/ipfs/{}/site/?x=1", root.cid).as_str())
    );
    let answer = server.get(&format!("/ipfs/{}/site/?x=1", root.cid)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "<h1>hello</h1>"));
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("etag"), format!("\"{}\"", site.cid));

    let path = format!("/ipfs/{}/", root.cid);
    let answer = server.get(&path).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().contains("&lt;b&gt;&amp;&quot;x&quot;.txt"),
        "{}",
        answer.text()
    );
    assert!(
        answer
            .text()
            .contains(&format!("href=\"/ipfs/{}/%3Cb%3E%26%22x%22.txt\"", root.cid)),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("<b>"));
    let etag = answer.header("etag").to_owned();
    assert_eq!(etag, format!("\"DirIndex-3_CID-{}\"", root.cid));
    assert_eq!(server.ask("GET", &path, &[("If-None-Match", &etag)]).await.status, 304);

    let answer = server.get(&format!("/ipfs/{}/link", root.cid)).await;
    assert_eq!(
        (answer.header("content-type"), answer.text().as_str()),
        ("inode/symlink", "text")
    );
}

#[tokio::test]
async fn sharded_directories_are_walked_and_listed() {
    let mut shelf = Shelf::default();
    let names: Vec<String> = (0..500).map(|n| format!("f1620{n:04}")).collect();
    let files: Vec<Entry> = names.iter().map(|name| shelf.file(name.as_bytes())).collect();
    let root = shelf.directory(names.iter().map(String::as_str).zip(files).collect());
    let server = Server::start(shelf).await;
    for name in ["f16200000", "f16200123", "f16200499"] {
        assert_eq!(server.get(&format!("/ipfs/{}/{name}", root.cid)).await.text(), name);
    }
    let answer = server.get(&format!("/ipfs/{}/f16200500", root.cid)).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("f16200500"), "{}", answer.text());
    let listing = server.get(&format!("/ipfs/{}/", root.cid)).await.text();
    assert!(names.iter().all(|name| listing.contains(&format!("/{name}\""))));
}

#[tokio::test]
async fn one_entry_over_the_limit_is_left_out_and_that_is_said() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"x");
    let names: Vec<String> = (0..=directory::MAX_ROWS).map(|n| format!("n{n:05}")).collect();
    let mut entries: Vec<(&str, Entry)> = names.iter().map(|name| (name.as_str(), file)).collect();
    let over = shelf.directory(entries.clone());
    entries.pop();
    let full = shelf.directory(entries);
    let server = Server::start(shelf).await;
    let rows = |page: &str| page.matches("\">n").count();
    let page = server.get(&format!("/ipfs/{}/", full.cid)).await.text();
    assert_eq!(rows(&page), directory::MAX_ROWS);
    assert!(!page.contains("Only the first"));
    let page = server.get(&format!("/ipfs/{}/", over.cid)).await.text();
    assert_eq!(rows(&page), directory::MAX_ROWS);
    assert!(page.contains("Only the first 10000 entries"));
}

#[tokio::test]
async fn one_byte_of_names_over_the_limit_ends_a_listing() {
    let mut shelf = Shelf::default();
    let file = shelf.file(b"x");
    // Of so many that shards with a few of them each fit into blocks.
    let len = 2048;
    let count = directory::MAX_NAME_BYTES / len;
    let mut names: Vec<String> = (0..count).map(|n| format!("{n:0len$}")).collect();
    let mut listed = |names: &[String]| shelf.directory(names.iter().map(|name| (name.as_str(), file)).collect());
    let full = listed(&names);
    names[0].push('0');
    let over = listed(&names);
    let server = Server::start(shelf).await;
    for (cid, is_cut) in [(full.cid, false), (over.cid, true)] {
        let page = server.get(&format!("/ipfs/{cid}/")).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.text().contains("Only the first"), is_cut);
    }
}
