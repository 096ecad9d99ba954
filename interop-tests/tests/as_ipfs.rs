//! odfs, called by the name `ipfs`: what it prints is what Kubo prints, and what programs do that know Kubo only.

mod files;

use interop_tests::process::Finished;
use interop_tests::workspace::dataset::{same_dataset, table, tree};
use interop_tests::{Failure, Helia, Kubo, Outcome, Workspace, content, http};
use std::cell::RefCell;
use std::path::Path;

/// What kamu runs to add the directory of a dataset.
const KAMU_ADD: [&str; 10] = [
    "add",
    "-Q",
    "--cid-version",
    "1",
    "--raw-leaves",
    "-r",
    "--ignore",
    "/config",
    "--ignore",
    "/info",
];

/// Kubo and odfs, each with the same files.
struct Both {
    kubo: Kubo,
    shim: Kubo,
    /// What was not the same.
    differences: RefCell<Vec<String>>,
}

impl Both {
    fn new() -> Outcome<Option<Self>> {
        let Some(kubo) = Kubo::init()? else { return Ok(None) };
        let shim = Kubo::of_odfs()?;
        let both = Self {
            kubo,
            shim,
            differences: RefCell::default(),
        };
        for dir in [both.kubo.path(), both.shim.path()] {
            make_files(dir)?;
        }
        Ok(Some(both))
    }

    /// Both are run with the same words; what they print, and whether they fail, must be the same to the byte. Gives what was
    /// printed.
    fn same(&self, words: &[&str]) -> Outcome<String> {
        let [kubo, shim] = self.run(words)?;
        let said = |finished: &Finished| {
            (
                finished.succeeded(),
                String::from_utf8_lossy(&finished.stdout).into_owned(),
            )
        };
        if said(&kubo) != said(&shim) {
            return Err(Failure::new(format!(
                "ipfs {words:?}\n--- Kubo: {kubo:?}\n--- odfs: {shim:?}"
            )));
        }
        Ok(said(&kubo).1)
    }

    /// As [`Both::same`], where the order of lines is not said.
    fn same_lines(&self, words: &[&str]) -> Outcome {
        let [kubo, shim] = self.run(words)?.map(|finished| {
            let mut lines: Vec<String> = finished.text().lines().map(str::to_owned).collect();
            lines.sort();
            (finished.succeeded(), lines)
        });
        if kubo != shim {
            self.differs(words, &format!("{kubo:?}"), &format!("{shim:?}"));
        }
        Ok(())
    }

    fn differs(&self, words: &[&str], kubo: &str, odfs: &str) {
        let difference = format!("ipfs {words:?}\n  Kubo: {kubo}\n  odfs: {odfs}");
        self.differences.borrow_mut().push(difference);
    }

    /// Says all that was not the same.
    fn end(self) -> Outcome {
        let differences = self.differences.into_inner();
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(differences.join("\n"))),
        }
    }

    /// Both fail, with the same first line on standard error.
    fn same_failure(&self, words: &[&str]) -> Outcome {
        let [kubo, shim] = self.run(words)?;
        let said = |finished: &Finished| finished.stderr.lines().next().unwrap_or_default().to_owned();
        assert!(!kubo.succeeded() && !shim.succeeded(), "{words:?}: {kubo:?} {shim:?}");
        assert_eq!((shim.code(), kubo.code()), (Some(1), Some(1)), "{words:?}");
        if said(&shim) != said(&kubo) {
            self.differs(words, &said(&kubo), &said(&shim));
        }
        Ok(())
    }

    fn run(&self, words: &[&str]) -> Outcome<[Finished; 2]> {
        Ok([self.kubo.run(words)?, self.shim.run(words)?])
    }
}

fn make_files(dir: &Path) -> Outcome {
    let tree = dir.join("d");
    std::fs::create_dir_all(tree.join("sub/info"))?;
    std::fs::create_dir_all(tree.join("empty"))?;
    std::fs::write(tree.join("a.txt"), "a\n")?;
    std::fs::write(tree.join("b <&> c"), "markup")?;
    std::fs::write(tree.join("config"), "left out")?;
    std::fs::write(tree.join(".hidden"), "left out, too")?;
    std::fs::write(tree.join("sub/info/x"), "left out, too")?;
    std::fs::write(tree.join("sub/large"), content::bytes(1_000_000, 3))?;
    std::os::unix::fs::symlink("../a.txt", tree.join("sub/link"))?;
    std::fs::write(dir.join("value.json"), r#"{"b":[1,{"/":{"bytes":"AQI"}}],"a":"<x>"}"#)?;
    Ok(())
}

#[test]
fn what_is_printed_is_what_kubo_prints() -> Outcome {
    let Some(both) = Both::new()? else { return Ok(()) };
    let kamu: Vec<&str> = KAMU_ADD.into_iter().chain(["d"]).collect();
    let root = both.same(&kamu)?;
    let root = root.trim();
    both.same(&["add", "-r", "d"])?;
    both.same(&["add", "-r", "--cid-version=1", "-q", "d"])?;
    both.same(&["add", "-r", "-w", "--raw-leaves=true", "d"])?;
    both.same(&["add", "--cid-base=base36", "--cid-version=1", "value.json"])?;
    both.same(&["add", "-n", "value.json"])?;
    both.same(&["cat", &format!("{root}/sub/large"), "--offset=17", "--length=100000"])?;
    both.same(&["ls", root])?;
    both.same(&["ls", "--headers", "--size=false", &format!("/ipfs/{root}/sub")])?;
    both.same(&["ls", "--cid-base=base36", root])?;
    both.same(&["refs", root])?;
    both.same(&["refs", "-r", "-e", root])?;
    both.same(&["refs", "-r", "-u", "--format=<src> <dst> <linkname>", root])?;
    both.same(&["refs", "-r", "--max-depth=1", root])?;
    both.same(&["resolve", &format!("/ipfs/{root}/sub/large")])?;
    both.same(&["resolve", &format!("/ipfs/{root}")])?;
    both.same(&["block", "stat", root])?;
    both.same(&["block", "stat", "--enc=json", root])?;
    both.same(&["block", "get", root])?;
    let block = both.same(&["block", "put", "value.json"])?;
    both.same(&["block", "put", "--enc=json", "--cid-codec=dag-json", "value.json"])?;
    both.same(&["block", "put", "--format=v0", "value.json"])?;
    both.same(&["block", "get", block.trim()])?;
    let node = both.same(&["dag", "put", "value.json"])?;
    let node = node.trim();
    both.same(&["dag", "put", "--store-codec=dag-json", "--enc=json", "value.json"])?;
    both.same(&["dag", "get", node])?;
    both.same(&["dag", "get", &format!("{node}/b/0")])?;
    both.same(&["dag", "get", "--output-codec=dag-cbor", node])?;
    both.same(&["dag", "resolve", &format!("{node}/b/0")])?;
    both.same(&["dag", "resolve", "--enc=json", &format!("{root}/sub/large")])?;
    both.same(&["dag", "stat", "--progress=false", root])?;
    both.same(&[
        "dag",
        "stat",
        "--progress=false",
        "--enc=json",
        root,
        &format!("{root}/sub"),
    ])?;
    both.same(&["dag", "export", "--progress=false", root])?;
    both.same_lines(&["pin", "ls", "--type=recursive", "--quiet", root])?;
    both.same(&["pin", "ls", &format!("{root}/sub")])?;
    both.same(&["pin", "rm", root])?;
    both.same(&["pin", "add", root])?;
    both.same(&["pin", "rm", "--enc=json", root])?;
    both.same(&["pin", "add", "--enc=json", root])?;
    let sub = both.same(&["dag", "resolve", &format!("{root}/sub")])?;
    let sub = sub.trim();
    pins_have_names(&both, root, sub)?;
    both.same(&["version"])?;
    both.same(&["version", "--number"])?;
    both.same(&["--version"])?;
    both.same(&["repo", "version"])?;
    both.same(&["bootstrap", "list"])?;
    let peer = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWEZAGgfWiRZDYwmP9v7xFM3KdQHZ9UssS7P9uRiihMAk6";
    both.same(&["bootstrap", "add", peer])?;
    both.same(&["bootstrap", "list", "--enc=json"])?;
    both.same(&["bootstrap", "rm", "--all"])?;
    both.same(&["config", "Addresses.Gateway", "/ip4/127.0.0.1/tcp/33101"])?;
    both.same(&["config", "Addresses.Gateway"])?;
    both.same(&["config", "Discovery.MDNS.Enabled"])?;
    both.same(&["config", "--json", "Discovery.MDNS", "{\"Enabled\":true}"])
        .ok();
    both.same(&["config", "Addresses.Swarm"])?;
    both.same(&["swarm", "peers"])?;
    both.end()
}

/// Names of pins, of a directory and of one in it.
fn pins_have_names(both: &Both, root: &str, sub: &str) -> Outcome {
    both.same(&["pin", "add", "--name", "two words", root])?;
    both.same(&["pin", "ls", "--type=recursive", root])?;
    both.same(&["pin", "ls", "--names", root])?;
    both.same(&["pin", "ls", "--names", "--enc=json", root])?;
    both.same(&["pin", "ls", "--names", "--stream", root])?;
    both.same(&["pin", "ls", "--names", "--stream", "--enc=json", root])?;
    both.same(&["pin", "ls", "--stream", "--enc=json", root])?;
    both.same(&["pin", "ls", "--names", "--quiet", root])?;
    both.same(&["pin", "ls", "--names", sub])?;
    both.same(&["pin", "ls", "--name", "o w"])?;
    both.same(&["pin", "ls", "-n", "o w", "-t", "recursive", "--enc=json"])?;
    both.same(&["pin", "ls", "-n", "o w", "--stream"])?;
    // A path is listed whatever it is called, and upper case is another name.
    both.same(&["pin", "ls", "--name", "other", root])?;
    both.same(&["pin", "ls", "--name", "O W"])?;
    both.same(&["pin", "ls", "--name", "O W", "--enc=json"])?;
    // A new name takes the place of the old one, and none does, too.
    both.same(&["pin", "add", "-n", "a\tb %25\nc", "--enc=json", root])?;
    both.same(&["pin", "ls", "--names", "--enc=json", root])?;
    both.same(&["pin", "ls", "--name", "two"])?;
    both.same(&["pin", "add", root])?;
    both.same(&["pin", "ls", "--names", root])?;
    // What is pinned in place of something has its name.
    both.same(&["pin", "add", "--name=kept", root])?;
    both.same(&["pin", "update", root, sub])?;
    both.same(&["pin", "ls", "--names", "--name=kept"])?;
    both.same(&["pin", "add", "--name=other", root])?;
    both.same_failure(&["pin", "update", root, sub])?;
    both.same(&["pin", "update", root, root])?;
    both.same(&["pin", "rm", sub])?;
    both.same(&["pin", "update", "--unpin=false", root, sub])?;
    both.same_lines(&["pin", "ls", "--name=other"])?;
    both.same(&["pin", "rm", sub])?;
    both.same(&["pin", "rm", root])?;
    both.same(&["pin", "add", root])?;
    both.same(&["pin", "ls", "--names", root])?;
    both.same(&["add", "-Q", "--pin-name=added", "value.json"])?;
    both.same(&["pin", "ls", "--name=added"])?;
    both.same(&["add", "-Q", "value.json"])?;
    both.same(&["pin", "ls", "--name=added"])?;
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    both.same(&["pin", "add", "--name", &longest, root])?;
    both.same(&["pin", "ls", "--name", &longest])?;
    both.same_failure(&["pin", "add", "--name", &longer, root])?;
    both.same_failure(&["pin", "ls", "--name", &longer])?;
    both.same_failure(&["add", "--pin-name", &longer, "value.json"])?;
    both.same_failure(&["add", "--pin=false", "--pin-name=n", "value.json"])?;
    both.same(&["pin", "add", root])?;
    Ok(())
}

#[test]
fn what_fails_fails_in_the_same_words() -> Outcome {
    let Some(both) = Both::new()? else { return Ok(()) };
    let nobody = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    both.same_failure(&["init"])?;
    both.same(&["key", "gen", "self"])?;
    both.same_failure(&["key", "gen", "self"])?;
    both.same_failure(&["key", "rm", "nothing"])?;
    both.same_failure(&["key", "rm", "self"])?;
    both.same_failure(&["key", "rename", "self", "other"])?;
    both.same_failure(&[
        "name",
        "publish",
        "--allow-offline",
        "--resolve=false",
        "--key=nothing",
        &format!("/ipfs/{nobody}"),
    ])?;
    both.same_failure(&["pin", "rm", nobody])?;
    both.same_failure(&["pin", "ls", nobody])?;
    both.same_failure(&["--offline", "block", "get", nobody])?;
    both.same_failure(&["swarm", "peers"])?;
    both.same_failure(&["shutdown"])?;
    both.same_failure(&["routing", "findprovs", "--offline", nobody])?;
    both.end()
}

/// What kamu runs for `kamu push ipns://KEY` and `kamu pull ipns://KEY`, and what it reads through the gateway.
#[test]
fn the_commands_of_kamu_work_on_odfs() -> Outcome {
    let origin = Workspace::new()?;
    let file = origin.write("t.csv", table(1_500))?.display().to_string();
    origin.publish(&[&file, "--name", "t"])?;
    let exported = origin.export("t", "exported")?;

    let mut shim = Kubo::of_odfs()?;
    shim.start()?;
    let key = shim.ok(["key", "gen", "t"])?;
    // The form is kamu's: the id up to the first space.
    let listed = shim.ok(["key", "list", "-l"])?;
    let ids: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(ids.contains(&key.as_str()), "{listed}");
    let unknown = shim.run([
        "name",
        "resolve",
        "--dht-record-count",
        "1",
        "--dht-timeout",
        "1s",
        &format!("/ipns/{key}"),
    ])?;
    assert!(!unknown.succeeded(), "{unknown:?}");
    assert!(
        unknown.stderr.starts_with("Error: could not resolve name"),
        "{unknown:?}"
    );

    let exported_text = exported.display().to_string();
    let add: Vec<&str> = KAMU_ADD.into_iter().chain([exported_text.as_str()]).collect();
    let cid = shim.ok(&add)?;
    let path = format!("/ipfs/{cid}");
    let publish = ["name", "publish", "-Q", "--key", "t", "--resolve=false", &path];
    assert_eq!(shim.ok(publish)?, key);
    let resolve = [
        "name",
        "resolve",
        "--dht-record-count",
        "1",
        "--dht-timeout",
        "1s",
        &format!("/ipns/{key}"),
    ];
    assert_eq!(shim.ok(resolve)?, path);

    let gateway = shim.gateway()?;
    for (path, bytes) in tree(&exported)? {
        if path.starts_with("info") || path.starts_with("config") {
            continue;
        }
        let answer = http::get(&format!("{gateway}/ipns/{key}/{path}"), &[])?;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.body == bytes, "{path}");
    }
    let missing = http::get(&format!("{gateway}/ipns/{key}/refs/nothing"), &[])?;
    assert_eq!(missing.status, 404, "{}", missing.text());

    // odfs pulls it as it pulls what Kubo has.
    let there = Workspace::new()?;
    let address = shim.address()?;
    there.odfs(["pull", &format!("ipns://{key}"), "--as", "t", "--peer", &address])?;
    same_dataset((&origin, "t"), (&there, "t"))?;
    shim.stop()
}

#[test]
fn what_a_collection_removes_is_named_as_by_kubo() -> Outcome {
    let Some(both) = Both::new()? else { return Ok(()) };
    let root = both.same(&["add", "-Qr", "d/sub"])?;
    // What is there from the beginning is not the same (Kubo keeps an empty directory), nor what `add` leaves beside the DAG.
    both.same(&["repo", "gc", "--silent"])?;
    both.same(&["repo", "gc"])?;
    both.same(&["block", "put", "d/a.txt", "d/config"])?;
    both.same_lines(&["repo", "gc"])?;
    both.same(&["pin", "rm", root.trim()])?;
    both.same_lines(&["repo", "gc", "--quiet"])?;
    both.same(&["block", "put", "d/a.txt", "d/config"])?;
    both.same_lines(&["repo", "gc", "--enc", "json"])?;
    both.end()
}

#[test]
fn a_repository_of_kubo_is_left_alone() -> Outcome {
    let Some(kubo) = Kubo::init()? else { return Ok(()) };
    let shim = Kubo::of_odfs()?;
    let mut command = shim.command(["add", "-Q", "x"]);
    command.env("IPFS_PATH", kubo.repository());
    let refused = interop_tests::process::run(command, std::time::Duration::from_secs(30))?;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("is a repository of Kubo"), "{refused:?}");
    assert!(refused.stderr.contains("Next: set IPFS_PATH"), "{refused:?}");
    Ok(())
}

/// One boundary for all forms.
const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=odfs-test");

/// A form with these parts: name, kind, content.
fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, kind, content) in parts {
        let head = format!(
            "--odfs-test\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--odfs-test--\r\n");
    body
}

/// The same call of both.
fn ask_both(urls: &[String; 2], call: &str, body: &[u8]) -> Outcome<[http::Answer; 2]> {
    let headers: &[_] = if body.is_empty() { &[] } else { &[FORM] };
    let ask = |url: &str| http::post(&format!("{url}/{call}"), headers, body);
    Ok([ask(&urls[0])?, ask(&urls[1])?])
}

/// The URL of a daemon's RPC, without a slash at the end.
fn rpc(of: &Kubo) -> Outcome<String> {
    let address = of.api()?;
    let mut parts = address.split('/').skip(2).step_by(2);
    match (parts.next(), parts.next()) {
        (Some(ip), Some(port)) => Ok(format!("http://{ip}:{port}/api/v0")),
        _ => Err(Failure::new(format!("{address} is no address of an RPC"))),
    }
}

#[test]
fn the_rpc_answers_as_that_of_kubo() -> Outcome {
    let Some(mut both) = Both::new()? else { return Ok(()) };
    both.kubo.start()?;
    both.shim.start()?;
    let urls = [rpc(&both.kubo)?, rpc(&both.shim)?];
    let ask = |call: &str, body: &[u8]| ask_both(&urls, call, body);
    let differences = RefCell::new(Vec::new());
    let same = |call: &str, body: &[u8]| -> Outcome<String> {
        let [kubo, shim] = ask(call, body)?;
        let told = |answer: &http::Answer| {
            let streams = ["x-chunked-output", "x-stream-output"].map(|name| answer.header(name) == "1");
            (answer.status, streams, answer.text())
        };
        if told(&shim) != told(&kubo) {
            differences
                .borrow_mut()
                .push(format!("{call}\n  Kubo: {:?}\n  odfs: {:?}", told(&kubo), told(&shim)));
        }
        Ok(kubo.text())
    };
    let tree = form(&[
        ("top", "application/x-directory", b""),
        ("top%2Fa%20b", "application/octet-stream", b"hello"),
        ("top%2Fsub%2Flink", "application/symlink", b"../a b"),
    ]);
    let added = same("add?cid-version=1&progress=false&nonsense=1", &tree)?;
    let last: serde_json::Value = serde_json::from_str(added.lines().last().unwrap_or_default())?;
    let root = last["Hash"].as_str().unwrap_or_default();
    assert!(!root.is_empty(), "{added}");
    same(
        "add?progress=false",
        &form(&[("", "application/octet-stream", b"without a name")]),
    )?;
    same(&format!("cat?arg={root}%2Fa%20b&offset=1"), b"")?;
    same(&format!("ls?arg={root}"), b"")?;
    same(&format!("block/stat?arg={root}"), b"")?;
    same(&format!("block/get?arg={root}"), b"")?;
    same("block/put", &form(&[("x", "application/octet-stream", b"a block")]))?;
    same(
        "dag/put",
        &form(&[("x", "application/octet-stream", br#"{"a":[1,2]}"#)]),
    )?;
    same(&format!("dag/get?arg={root}"), b"")?;
    same(&format!("dag/resolve?arg={root}%2Fsub"), b"")?;
    same(&format!("dag/stat?arg={root}&progress=false"), b"")?;
    same(&format!("refs?arg={root}&recursive=true"), b"")?;
    same(&format!("pin/rm?arg={root}"), b"")?;
    same(&format!("pin/add?arg={root}"), b"")?;
    same(&format!("pin/ls?arg={root}"), b"")?;
    same("repo/version", b"")?;
    same("bootstrap/list", b"")?;
    same("swarm/peers", b"")?;
    let exported = ask(&format!("dag/export?arg={root}&progress=false"), b"")?;
    assert!(exported[0].body == exported[1].body, "the CARs differ");
    let car = form(&[("x.car", "application/octet-stream", &exported[0].body)]);
    same("dag/import?stats=true", &car)?;

    let differences = differences.into_inner();
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    // Keys are of each their own.
    for url in &urls {
        let made = http::post(&format!("{url}/key/gen?arg=k"), &[], b"")?.text();
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let listed = http::post(&format!("{url}/key/list"), &[], b"")?.text();
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        assert_eq!(
            (&listed["Keys"][0]["Name"], &listed["Keys"][1]),
            (&"self".into(), &made),
            "{url}"
        );
        let path = format!("{url}/name/publish?arg=/ipfs/{root}&key=k&allow-offline=true&resolve=false");
        let published: serde_json::Value = serde_json::from_str(&http::post(&path, &[], b"")?.text())?;
        assert_eq!(published["Name"], made["Id"], "{url}");
        assert_eq!(published["Value"], format!("/ipfs/{root}"), "{url}");
        let id: serde_json::Value = serde_json::from_str(&http::post(&format!("{url}/id"), &[], b"")?.text())?;
        assert!(id["ID"].is_string() && id["Addresses"].is_array(), "{url}: {id}");
    }

    // What fails has the same status and the same form.
    for call in [
        "nothing",
        "block/get",
        "pin/rm?arg=bafkqaaa",
        "key/gen?arg=self",
        "key/export?arg=k",
    ] {
        let [kubo, shim] = ask(call, b"")?;
        assert_eq!(shim.status, kubo.status, "{call}: {} {}", shim.text(), kubo.text());
    }
    let url = &urls[1];
    assert_eq!(http::get(&format!("{url}/version"), &[])?.status, 405);
    // A query that is as long as one may be, and one over.
    for (length, status) in [(32 << 10, 200), ((32 << 10) + 1, 414)] {
        let query = "x".repeat(length);
        assert_eq!(
            http::post(&format!("{url}/version?{query}"), &[], b"")?.status,
            status,
            "{length}"
        );
    }
    for header in [
        ("Origin", "http://evil.example"),
        ("User-Agent", "Mozilla/5.0"),
        ("Host", "evil.example"),
    ] {
        let refused = http::post(&format!("{url}/version"), &[header], b"")?;
        assert!([403, 421].contains(&refused.status), "{header:?}: {}", refused.status);
    }
    Ok(())
}

/// Nothing that comes over the RPC names a file of this machine, and no form leads out of the place that it is put in.
#[test]
fn the_rpc_touches_no_file_of_the_machine() -> Outcome {
    let mut shim = Kubo::of_odfs()?;
    shim.start()?;
    let url = rpc(&shim)?;
    let victim = shim.path().join("victim");
    std::fs::create_dir(&victim)?;
    std::fs::write(victim.join("secret"), "secret")?;
    let target = victim.display().to_string();
    let through = form(&[
        ("link", "application/symlink", target.as_bytes()),
        ("link%2Fnew", "application/octet-stream", b"written through a link"),
    ]);
    let out = |name: &str| form(&[(name, "application/octet-stream", b"out")]);
    for body in [
        through,
        out("..%2F..%2Fnew"),
        out("%2Ftmp%2Fnew"),
        out("a%2F%2Fb"),
        out("."),
    ] {
        let refused = http::post(&format!("{url}/add"), &[FORM], &body)?;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("\"Type\":\"error\""), "{}", refused.text());
    }
    assert_eq!(std::fs::read_dir(&victim)?.count(), 1);
    let secret = victim.join("secret").display().to_string();
    for call in [
        format!("add?arg={secret}"),
        format!("block/put?arg={secret}"),
        format!("key/import?arg=k&arg={secret}"),
        format!("dag/import?arg={secret}"),
    ] {
        let refused = http::post(&format!("{url}/{call}"), &[], b"")?;
        assert_eq!(refused.status, 400, "{call}: {}", refused.text());
        assert!(!refused.text().contains("Hash"), "{call}: {}", refused.text());
    }
    // With a form, an argument is not taken for a file either.
    let both = http::post(&format!("{url}/add?arg={secret}"), &[FORM], &out("x"))?;
    assert!(!both.text().contains("secret"), "{}", both.text());
    Ok(())
}

/// The same program, over the RPC of each.
#[test]
fn a_client_in_javascript_works_on_both() -> Outcome {
    let (Some(mut kubo), Some(helia)) = (Kubo::init()?, Helia::find()?) else {
        return Ok(());
    };
    let mut shim = Kubo::of_odfs()?;
    let mut seen = Vec::new();
    for daemon in [&mut kubo, &mut shim] {
        daemon.start()?;
        let url = rpc(daemon)?;
        let finished = helia.work_over_rpc(url.trim_end_matches("/api/v0"))?.success()?;
        let mut told: serde_json::Value = serde_json::from_str(&finished.text())?;
        assert_eq!(told["id"], daemon.peer_id()?);
        // Whose it is, and what each had before.
        told["id"] = serde_json::Value::Null;
        seen.push(told);
    }
    assert_eq!(seen[1], seen[0]);
    Ok(())
}
