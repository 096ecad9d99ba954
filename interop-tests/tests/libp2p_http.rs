//! The gateway over libp2p (`/http/1.1`): asked by Kubo, and beside Kubo's own.

use std::time::{Duration, Instant};

use interop_tests::http::{self, Answer};
use interop_tests::workspace::dataset::table;
use interop_tests::{Failure, Kubo, Outcome, Workspace, content};

/// How long nothing may take that waits for nobody.
const SOON: Duration = Duration::from_secs(5);

/// A Kubo that leads ports of this machine to other peers.
struct Forwarder(Kubo);

impl Forwarder {
    fn start() -> Outcome<Option<Self>> {
        let Some(mut kubo) = Kubo::init()? else { return Ok(None) };
        kubo.ok(["config", "--json", "Experimental.Libp2pStreamMounting", "true"])?;
        kubo.start()?;
        Ok(Some(Self(kubo)))
    }

    /// The URL under which a peer's HTTP over libp2p is found, without a slash at its end.
    fn to(&self, address: &str, peer: &str) -> Outcome<String> {
        self.0.connect(address)?;
        let peer = format!("/p2p/{peer}");
        let forward = [
            "p2p",
            "forward",
            "--allow-custom-protocol",
            "/http/1.1",
            "/ip4/127.0.0.1/tcp/0",
            &peer,
        ];
        self.0.ok(forward)?;
        let listed = self.0.ok(["p2p", "ls"])?;
        let line = listed.lines().find(|line| line.ends_with(&peer));
        let port = line.and_then(|line| line.split_whitespace().nth(1)?.rsplit('/').next());
        let port = port.ok_or_else(|| Failure::new(format!("nothing leads to {peer}: {listed}")))?;
        Ok(format!("http://127.0.0.1:{port}"))
    }
}

/// What is compared of an answer; the texts of errors are each one's own.
fn essence(answer: &Answer) -> String {
    let mut essence = format!("status: {}\n", answer.status);
    // The tag of a CAR is each one's own, too.
    let fields: &[&str] = match answer.status {
        200 => &[
            "connection",
            "content-type",
            "content-disposition",
            "x-ipfs-path",
            "x-ipfs-roots",
        ],
        _ => &["connection"],
    };
    for field in fields {
        essence.push_str(&format!("{field}: {}\n", answer.header(field)));
    }
    if answer.status == 200 {
        essence.push_str(&format!("body: {:?}\n", answer.body));
    }
    essence
}

#[test]
fn kubo_is_given_over_libp2p_what_kubo_gives() -> Outcome {
    let Some(asks) = Forwarder::start()? else { return Ok(()) };
    let Some(mut kubo) = Kubo::init()? else { return Ok(()) };
    kubo.ok(["config", "--json", "Experimental.GatewayOverLibp2p", "true"])?;
    kubo.start()?;
    let here = Workspace::new()?;
    let node = here.node()?;
    let dir = here.path().join("d");
    std::fs::create_dir_all(dir.join("sub"))?;
    std::fs::write(dir.join("a.txt"), "a\n")?;
    std::fs::write(dir.join("sub/large"), content::bytes(3_000_000, 7))?;
    let root = kubo.add(&dir, &["--cid-version=1"])?;
    let added = here.odfs(["ipfs", "add", "-Q", "-r", "--cid-version=1", "d"])?;
    assert_eq!(added.text(), root);
    let absent = asks.0.add(&here.write("absent", "only there")?, &["--cid-version=1"])?;

    let ours = asks.to(&node.address, &node.peer_id)?;
    let theirs = asks.to(&kubo.address()?, &kubo.peer_id()?)?;
    let mut different = String::new();
    for (path, accept) in [
        (format!("/ipfs/{root}?format=raw"), ""),
        (format!("/ipfs/{root}"), "application/vnd.ipld.raw"),
        (format!("/ipfs/{root}"), "application/vnd.ipld.car"),
        (format!("/ipfs/{root}?format=car&dag-scope=block"), ""),
        (format!("/ipfs/{root}/sub/large?format=car"), ""),
        (
            format!("/ipfs/{root}/sub/large?format=car&dag-scope=entity&entity-bytes=500000:500001"),
            "",
        ),
        (format!("/ipfs/{root}"), ""),
        (format!("/ipfs/{root}/"), "text/html"),
        (format!("/ipfs/{root}/a.txt"), ""),
        (format!("/ipfs/{root}/a.txt?format=raw"), ""),
        (format!("/ipfs/{root}?format=tar"), ""),
        (format!("/ipfs/{root}?format=dag-json"), ""),
        (format!("/ipfs/{absent}?format=raw"), ""),
        ("/ipfs/bafkqaaa?format=raw".to_owned(), ""),
        ("/ipfs/nonsense?format=raw".to_owned(), ""),
        ("/nothing".to_owned(), ""),
    ] {
        let headers = [("Accept", accept)];
        let headers = if accept.is_empty() { &[][..] } else { &headers };
        let begun = Instant::now();
        let a = essence(&http::get(&format!("{ours}{path}"), headers)?);
        assert!(begun.elapsed() < SOON, "{path}: {:?}", begun.elapsed());
        let b = essence(&http::get(&format!("{theirs}{path}"), headers)?);
        if a != b {
            different.push_str(&format!("{path} {accept}\nours:\n{a:.900}\nKubo's:\n{b:.900}\n"));
        }
    }
    assert!(different.is_empty(), "{different}");
    let block = here.odfs(["ipfs", "block", "get", &root])?.stdout;
    assert_eq!(http::get(&format!("{ours}/ipfs/{root}?format=raw"), &[])?.body, block);
    for url in [&ours, &theirs] {
        let answer = http::get(&format!("{url}/.well-known/libp2p/protocols"), &[])?;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json")
        );
        let said: serde_json::Value = serde_json::from_slice(&answer.body)?;
        assert_eq!(said["/ipfs/gateway"]["path"], "/", "{said}");
    }
    Ok(())
}

#[test]
fn only_what_is_shared_is_given_over_libp2p() -> Outcome {
    let Some(asks) = Forwarder::start()? else { return Ok(()) };
    let here = Workspace::new()?;
    let node = here.node()?;
    here.write("t.csv", table(50))?;
    let published = here.publish(&["t.csv", "--name", "t"])?;
    let url = asks.to(&node.address, &node.peer_id)?;
    let status = |path: &str| Ok::<_, Failure>(http::get(&format!("{url}{path}"), &[])?.status);

    let name = format!("/ipns/{}?format=ipns-record", published.name);
    let (over_libp2p, over_tcp) = (
        http::get(&format!("{url}{name}"), &[])?,
        http::get(&format!("{}{name}", node.gateway), &[])?,
    );
    assert_eq!((over_libp2p.status, over_libp2p.body), (200, over_tcp.body));
    let root = format!("/ipfs/{}?format=car", published.root);
    assert_eq!(status(&root)?, 200);
    here.odfs(["share", "--stop", "t"])?;
    assert_eq!(status(&root)?, 404);
    assert_eq!(status(&format!("/ipfs/{}?format=raw", published.root))?, 404);

    // Nothing else that the node answers over TCP.
    for path in [
        "/metrics",
        "/healthz",
        "/info",
        "/t/",
        "/routing/v1/providers/bafkqaaa",
        "/api/v0/id",
    ] {
        assert_eq!(status(path)?, 404, "{path}");
    }
    Ok(())
}

#[test]
fn it_is_spoken_unless_the_owner_says_no() -> Outcome {
    let Some(asks) = Forwarder::start()? else { return Ok(()) };
    for spoken in [true, false] {
        let here = Workspace::new()?;
        here.odfs(["config", "set", "gateway.libp2p", &spoken.to_string()])?;
        let node = here.node()?;
        let url = asks.to(&node.address, &node.peer_id)?;
        let answer = http::get(&format!("{url}/ipfs/bafkqaaa?format=raw"), &[]);
        assert_eq!(answer.is_ok_and(|answer| answer.status == 200), spoken);
        let identified = asks.0.ok(["id", &node.peer_id, "--format=<protocols>"])?;
        assert_eq!(
            identified.lines().any(|line| line == "/http/1.1"),
            spoken,
            "{identified}"
        );
    }
    Ok(())
}
