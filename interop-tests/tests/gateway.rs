//! Our gateway beside Kubo's: the same content, the same requests, the same answers.

use interop_tests::http::{self, Answer};
use interop_tests::workspace::dataset::table;
use interop_tests::{Kubo, Outcome, Workspace, content};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

/// Header fields that both have to agree on. (Kubo's `Content-Type` depends on the tables of the machine.)
const FIELDS: [&str; 8] = [
    "etag",
    "cache-control",
    "content-length",
    "content-range",
    "accept-ranges",
    "location",
    "x-ipfs-path",
    "x-ipfs-roots",
];

/// What is compared of an answer. Pages that a gateway makes up, and the texts of errors and redirects, are its own.
fn essence(answer: &Answer, generated: bool) -> String {
    let mut essence = format!("status: {}\n", answer.status);
    if answer.status >= 400 || generated {
        return essence;
    }
    let content = answer.status < 300;
    for field in FIELDS.iter().filter(|field| content || !field.contains("content-")) {
        essence.push_str(&format!("{field}: {}\n", answer.header(field)));
    }
    if content {
        essence.push_str(&format!("body: {:?}\n", answer.body));
    }
    essence
}

#[test]
fn answers_are_those_of_kubos_gateway() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    let site = workspace.path().join("site");
    fs::create_dir_all(site.join("docs"))?;
    fs::create_dir(site.join("empty"))?;
    fs::write(site.join("docs/index.html"), "<!DOCTYPE html><h1>docs</h1>")?;
    fs::write(site.join("file.bin"), content::bytes(700_000, 5))?;
    fs::write(site.join("empty.txt"), "")?;
    fs::write(site.join("a b#%.txt"), "text\n")?;
    fs::write(site.join("gr\u{fc}n.json"), "{\"a\":1}")?;
    symlink("file.bin", site.join("link"))?;
    let flags = ["--cid-version=1"];
    let root = kubo.add(&site, &flags)?;
    let ours = workspace
        .odfs([&["ipfs", "add", "-Q", "-r"], &flags[..], &["site"]].concat())?
        .text();
    assert_eq!(ours, root);
    let file = kubo
        .ok(["resolve", &format!("/ipfs/{root}/file.bin")])?
        .replace("/ipfs/", "");
    let etag = format!("\"{file}\"");

    let requests: [(String, &[(&str, &str)]); 25] = [
        (format!("/ipfs/{root}"), &[]),
        (format!("/ipfs/{root}/"), &[]),
        (format!("/ipfs/{root}/docs?x=y"), &[]),
        (format!("/ipfs/{root}/docs/"), &[]),
        (format!("/ipfs/{root}/empty/"), &[]),
        (format!("/ipfs/{root}/empty.txt"), &[]),
        (format!("/ipfs/{root}/a%20b%23%25.txt"), &[]),
        (format!("/ipfs/{root}/gr%C3%BCn.json"), &[]),
        (
            format!("/ipfs/{root}/gr%C3%BCn.json"),
            &[("Accept", "application/json")],
        ),
        (format!("/ipfs/{root}/file.bin"), &[]),
        (format!("/ipfs/{root}/file.bin"), &[("Range", "bytes=262143-262145")]),
        (format!("/ipfs/{root}/file.bin"), &[("Range", "bytes=-1")]),
        (format!("/ipfs/{root}/file.bin"), &[("Range", "bytes=699999-")]),
        (format!("/ipfs/{root}/file.bin"), &[("Range", "bytes=700000-")]),
        (format!("/ipfs/{root}/file.bin"), &[("If-None-Match", &etag)]),
        (format!("/ipfs/{root}/file.bin"), &[("If-None-Match", "\"other\"")]),
        (format!("/ipfs/{file}?format=raw"), &[]),
        (format!("/ipfs/{file}"), &[("Accept", "application/vnd.ipld.raw")]),
        (format!("/ipfs/{file}"), &[("Cache-Control", "only-if-cached")]),
        (format!("/ipfs/{root}/none"), &[]),
        (format!("/ipfs/{root}/file.bin/below"), &[]),
        ("/ipfs/nonsense".to_owned(), &[]),
        ("/ipfs/bafkqaaa?format=raw".to_owned(), &[]),
        (
            "/ipfs/bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu".to_owned(),
            &[("Cache-Control", "only-if-cached")],
        ),
        (format!("/ipfs/{root}"), &[("Service-Worker", "script")]),
    ];
    let theirs = kubo.gateway()?;
    let mut different = String::new();
    for (path, headers) in &requests {
        let (ours, theirs) = (format!("{}{path}", node.gateway), format!("{theirs}{path}"));
        let (get, head) = (http::get(&ours, headers)?, http::head(&ours, headers)?);
        let generated = get.header("etag").contains("DirIndex");
        let (a, b) = (
            essence(&get, generated),
            essence(&http::get(&theirs, headers)?, generated),
        );
        if a != b {
            different.push_str(&format!("{path} {headers:?}\nours:\n{a:.700}\nKubo's:\n{b:.700}\n"));
        }
        let fields = |answer: &Answer| {
            (
                answer.status,
                answer.header("etag").to_owned(),
                answer.header("content-type").to_owned(),
            )
        };
        if fields(&get) != fields(&head) || !head.body.is_empty() {
            different.push_str(&format!("{path} {headers:?}: HEAD is not like GET\n"));
        }
    }
    assert!(different.is_empty(), "{different}");
    Ok(())
}

#[test]
fn a_dataset_is_browsed_by_name() -> Outcome {
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    workspace.write("t.csv", table(100))?;
    let published = workspace.publish(&["t.csv", "--name", "t"])?;
    let base = format!("{}/ipns/{}", node.gateway, published.name);
    let head = http::get(&format!("{base}/refs/head"), &[])?;
    assert_eq!((head.status, head.text()), (200, workspace.dataset("t")?.head));
    let age: u64 = head
        .header("cache-control")
        .trim_start_matches("public, max-age=")
        .parse()
        .map_err(|_| "no max-age")?;
    assert!(age <= 300, "a name may be kept for {age} s");
    let event = http::get(&format!("{base}/head/event"), &[("Accept", "application/json")])?;
    let event: serde_json::Value = serde_json::from_slice(&event.body)?;
    assert_eq!(event["kind"], "AddData", "{event}");
    let page = http::get(&format!("{base}/head"), &[("Accept", "text/html")])?;
    assert!(page.text().contains("AddData"), "{}", page.text());
    let slices = http::get(&format!("{base}/data/"), &[])?.text();
    assert!(slices.contains("f1620"), "{slices}");
    Ok(())
}

/// How long a changed list may take to count.
const REREAD: Duration = Duration::from_secs(20);

#[test]
fn what_a_denylist_denies_is_gone_as_at_kubos_gateway() -> Outcome {
    let Some(mut kubo) = Kubo::init()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let site = workspace.path().join("site");
    fs::create_dir_all(site.join("b"))?;
    for name in ["a.txt", "b/c.txt", "b/cd.txt", "b/e.txt", "hashed.txt", "later.txt"] {
        fs::write(site.join(name), format!("{name}\n"))?;
    }
    let flags = ["--cid-version=1"];
    let root = kubo.add(&site, &flags)?;
    workspace.odfs(["ipfs", "add", "-Q", "-r", "--cid-version=1", "site"])?;
    let cid = |path: &str| {
        let resolved = kubo.ok(["resolve", &format!("/ipfs/{root}/{path}")]);
        resolved.map(|path| path.replace("/ipfs/", ""))
    };
    let (file, hashed, later) = (cid("a.txt")?, cid("hashed.txt")?, cid("later.txt")?);
    // As the specification has it made: the hash of the multihash in base58.
    let multihash = kubo.ok(["cid", "format", "-f", "%M", "-b", "base58btc", &hashed])?;
    workspace.write("multihash", &multihash)?;
    let double = kubo.add(&workspace.path().join("multihash"), &["--cid-version=1", "--only-hash"])?;
    let double = kubo.ok(["cid", "format", "-f", "%M", "-b", "base58btc", &double])?;
    let rules = format!(
        "version: 1\nname: test\n---\n# a comment\n/ipfs/{file}\n/ipfs/{root}/b/c*\n!/ipfs/{root}/b/cd.txt\n//{double}\n\
         /ipns/denied.example\n"
    );
    let lists = kubo.repository().join("denylists");
    fs::create_dir_all(&lists)?;
    fs::write(lists.join("test.deny"), &rules)?;
    let list = workspace.write("test.deny", &rules)?;
    workspace.odfs(["config", "set", "gateway.denylist", &list.display().to_string()])?;
    kubo.start()?;
    let node = workspace.node()?;
    let theirs = kubo.gateway()?;
    for (path, status) in [
        (format!("/ipfs/{file}"), 410),
        (format!("/ipfs/{file}?format=raw"), 410),
        (format!("/ipfs/{root}/a.txt"), 410),
        (format!("/ipfs/{root}/b/c.txt"), 410),
        (format!("/ipfs/{root}/b/cd.txt"), 200),
        (format!("/ipfs/{root}/b/e.txt"), 200),
        (format!("/ipfs/{hashed}"), 410),
        (format!("/ipfs/{root}/hashed.txt"), 410),
        (format!("/ipfs/{root}/"), 200),
        (format!("/ipfs/{later}"), 200),
        ("/ipns/denied.example".to_owned(), 410),
    ] {
        for gateway in [&node.gateway, &theirs] {
            let answer = http::get(&format!("{gateway}{path}"), &[])?;
            assert_eq!(answer.status, status, "{gateway}{path}: {}", answer.text());
        }
    }
    // The block is not in a CAR of what is above it either.
    let car = http::get(&format!("{}/ipfs/{root}?format=car", node.gateway), &[]);
    let has_it = |body: &[u8]| body.windows(6).any(|window| window == b"a.txt\n");
    assert!(!car.is_ok_and(|car| has_it(&car.body)));

    fs::write(&list, format!("{rules}/ipfs/{later}\n"))?;
    let deadline = Instant::now() + REREAD;
    while http::get(&format!("{}/ipfs/{later}", node.gateway), &[])?.status != 410 {
        assert!(Instant::now() < deadline, "the list was not read again");
        std::thread::sleep(Duration::from_millis(100));
    }
    node.stop()?;
    fs::remove_file(&list)?;
    let refused = workspace.refused(["node"])?;
    assert!(refused.stderr.contains("test.deny"), "{}", refused.stderr);
    Ok(())
}
