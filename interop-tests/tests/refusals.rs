//! Wrong input: one clear message, the next step, an exit code of its own, and nothing lost.

use interop_tests::kubo::KAMU_FLAGS;
use interop_tests::process::{Finished, run};
use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::{same_dataset, table, tree};
use interop_tests::{Kubo, Outcome, Workspace};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A peer that has said nothing is given up after a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Exit codes, as `odfs --help` lists them.
mod code {
    pub(super) const USAGE: i32 = 2;
    pub(super) const NOT_FOUND: i32 = 3;
    pub(super) const EMPTY_INPUT: i32 = 4;
    pub(super) const BAD_INPUT: i32 = 5;
    pub(super) const SCHEMA: i32 = 6;
    pub(super) const REFUSED: i32 = 7;
    pub(super) const UNKNOWN_NAME: i32 = 8;
    pub(super) const UNREACHABLE: i32 = 9;
    pub(super) const INTEGRITY: i32 = 10;
    pub(super) const BAD_RECORD: i32 = 11;
    pub(super) const DISK_FULL: i32 = 12;
    pub(super) const PORT_IN_USE: i32 = 14;
    pub(super) const PERMISSION: i32 = 16;
}

/// Fails unless a command was refused with this code and a message that holds all of `words`.
fn says(finished: &Finished, code: i32, words: &[&str]) -> Outcome {
    says_either(finished, &[code], words)
}

/// As [`says`], where it depends on the other side which of several codes is right.
fn says_either(finished: &Finished, codes: &[i32], words: &[&str]) -> Outcome {
    if !finished.code().is_some_and(|code| codes.contains(&code)) {
        return Err(finished.failure(&format!("should have ended with exit code {codes:?}")));
    }
    let message = finished.stderr.to_lowercase();
    let missing: Vec<_> = words
        .iter()
        .filter(|word| !message.contains(&word.to_lowercase()))
        .collect();
    if !missing.is_empty() {
        return Err(finished.failure(&format!("does not speak of {missing:?}")));
    }
    if message.contains("panicked") || message.lines().filter(|line| line.starts_with("error:")).count() != 1 {
        return Err(finished.failure("does not give one clear message"));
    }
    Ok(())
}

/// A workspace with a dataset `t` of 100 rows.
fn workspace() -> Outcome<Workspace> {
    let workspace = Workspace::new()?;
    workspace.write("t.csv", table(100))?;
    workspace.publish(&["t.csv", "--name", "t"])?;
    Ok(workspace)
}

/// Fails unless the dataset `t` is as it was.
fn untouched(workspace: &Workspace, head: &str) -> Outcome {
    let now = workspace.dataset("t")?;
    assert_eq!((now.head.as_str(), now.records), (head, 100));
    workspace.odfs(["verify", "t"]).map(drop)
}

#[test]
fn input_files_that_cannot_be_read() -> Outcome {
    let workspace = workspace()?;
    let head = workspace.dataset("t")?.head;
    for (name, content, code, words) in [
        ("empty.csv", "", code::EMPTY_INPUT, &["empty.csv", "empty"][..]),
        (
            "ragged.csv",
            "id,city\n1,a\n2\n3,c\n",
            code::BAD_INPUT,
            &["ragged.csv", "line 3", "column"],
        ),
        (
            "long.csv",
            "id,city\n1,a\n2,b,c\n",
            code::BAD_INPUT,
            &["long.csv", "line 3"],
        ),
        (
            "bad.ndjson",
            "{\"id\":1}\n{\"id\":\n",
            code::BAD_INPUT,
            &["bad.ndjson", "line 2"],
        ),
        ("bad.json", "[{\"id\":1}", code::BAD_INPUT, &["bad.json"]),
        ("bad.parquet", "PAR1 and no more", code::BAD_INPUT, &["bad.parquet"]),
    ] {
        workspace.write(name, content)?;
        let new = workspace.refused(["publish", name, "--name", "new", "--exit"])?;
        says(&new, code, words)?;
        assert_eq!(workspace.listed("new")?, None, "{name} left a dataset behind");
    }
    says(
        &workspace.refused(["publish", "none.csv", "--name", "t", "--exit"])?,
        code::NOT_FOUND,
        &["none.csv"],
    )?;
    says(
        &workspace.refused(["publish", "t.csv", "--name", "no/name", "--exit"])?,
        code::USAGE,
        &["no/name"],
    )?;
    let no_column = workspace.refused(["publish", "t.csv", "--name", "n", "--event-time", "none", "--exit"])?;
    says_either(&no_column, &[code::USAGE, code::SCHEMA], &["none"])?;
    untouched(&workspace, &head)
}

#[test]
fn rows_without_a_column_are_not_passed_over() -> Outcome {
    let workspace = Workspace::new()?;
    for (read, file, content, row) in [
        ("Json", "a.json", "[{}, {}]", "[{\"a\": 1}]"),
        ("NdJson", "a.ndjson", "{}\n{}\n", "{\"a\": 1}"),
    ] {
        let name = read.to_lowercase();
        let manifest = format!(
            "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    \
             - {{kind: AddPushSource, sourceName: default, read: {{kind: {read}}}, merge: {{kind: Append}}}}\n"
        );
        workspace.write("m.yaml", manifest)?;
        workspace.odfs(["add", "m.yaml"])?;
        workspace.write(file, content)?;
        let first = workspace.refused(["ingest", &name, file])?;
        says(&first, code::BAD_INPUT, &[file, "no members", "2 row(s)"])?;
        // Nor are those of a later file.
        workspace.write(file, row)?;
        workspace.odfs(["ingest", &name, file])?;
        workspace.write(file, content)?;
        let later = workspace.refused(["ingest", &name, file])?;
        says(&later, code::BAD_INPUT, &[file, "no members"])?;
        assert_eq!(workspace.dataset(&name)?.records, 1);
    }
    Ok(())
}

#[test]
fn input_that_does_not_fit_the_dataset() -> Outcome {
    let workspace = workspace()?;
    let head = workspace.dataset("t")?.head;
    // It grew, but by a row of another type.
    workspace.write("t.csv", table(100) + "x,2024-01-02T00:00:00Z,city,1.0\n")?;
    says(
        &workspace.refused(["publish", "t.csv", "--name", "t", "--exit"])?,
        code::SCHEMA,
        &["id"],
    )?;
    untouched(&workspace, &head)?;
    // Rows that were taken already changed.
    workspace.write("t.csv", table(120).replace("city-1", "town-1"))?;
    let finished = workspace.refused(["publish", "t.csv", "--name", "t", "--exit"])?;
    says(&finished, code::REFUSED, &["t.csv", "changed", "--merge"])?;
    untouched(&workspace, &head)?;
    // Less than before.
    workspace.write("t.csv", table(50))?;
    says(
        &workspace.refused(["publish", "t.csv", "--name", "t", "--exit"])?,
        code::REFUSED,
        &["t.csv"],
    )?;
    untouched(&workspace, &head)
}

#[test]
fn names_and_addresses_that_lead_nowhere() -> Outcome {
    let workspace = workspace()?;
    let head = workspace.dataset("t")?.head;
    let other = Workspace::new()?;
    let node = other.node()?;
    let unknown = "k51qzi5uqu5dgqj09ikt2befzowhv78qa9bmoyttb02n34blh6wahonsfzmqkp";
    let missing = "bafyreiaafix7w35slanrsbcyfjja2i4thid2gqa25zfvj54iqnojt5oj3e";
    let nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWBK7KngNBNmuFX18o5jaYaY5YE39yHRdHnUFW6bAmHyQL";
    let (by_name, by_cid) = (format!("ipns://{unknown}"), format!("ipfs://{missing}"));
    says(
        &refused_pull(&workspace, &by_name, &[&node.address])?,
        code::UNKNOWN_NAME,
        &[unknown],
    )?;
    says(
        &refused_pull(&workspace, &by_cid, &[&node.address])?,
        code::UNREACHABLE,
        &[missing],
    )?;
    says(
        &refused_pull(&workspace, &by_cid, &[nobody])?,
        code::UNREACHABLE,
        &["127.0.0.1"],
    )?;
    for (args, code) in [
        (&["pull", "nothing-of-that-name"][..], code::NOT_FOUND),
        (&["tail", "nothing"], code::NOT_FOUND),
        (&["verify", "nothing"], code::NOT_FOUND),
        (&["pull", "ipns://nonsense"], code::USAGE),
        (&["rename", "t", "no name"], code::USAGE),
    ] {
        let about = args
            .iter()
            .rfind(|arg| arg.starts_with("no") || arg.contains("nonsense"))
            .copied();
        says(&workspace.refused(args)?, code, &[about.unwrap_or_default()])?;
    }
    assert_eq!(workspace.listed("x")?, None);
    untouched(&workspace, &head)
}

/// `odfs pull WHAT --as x`, which must be refused.
fn refused_pull(workspace: &Workspace, what: &str, peers: &[&str]) -> Outcome<Finished> {
    let peers = peers.iter().flat_map(|peer| ["--peer", *peer]);
    let command = workspace.command(["pull", what, "--as", "x"].into_iter().chain(peers))?;
    run(command, PATIENCE)?.refusal()
}

/// What is done to an export before Kubo gets it.
type Change = dyn Fn(&Path) -> Outcome;

/// A Kubo that holds an export of `t` after `change` was made to it, and the root.
fn published_by_kubo(origin: &Workspace, change: impl Fn(&Path) -> Outcome) -> Outcome<Option<(Kubo, String)>> {
    let Some(kubo) = Kubo::daemon()? else { return Ok(None) };
    let exported = origin.export("t", "exported")?;
    change(&exported)?;
    let root = kubo.add(&exported, &KAMU_FLAGS)?;
    Ok(Some((kubo, root)))
}

/// Flips one bit in the middle of the only file of a folder.
fn flip(folder: &Path) -> Outcome {
    let file = fs::read_dir(folder)?.next().ok_or("an empty folder")??.path();
    let mut bytes = fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(fs::write(&file, bytes)?)
}

#[test]
fn a_dataset_that_was_tampered_with() -> Outcome {
    let origin = workspace()?;
    let victim = workspace()?;
    let head = victim.dataset("t")?.head;
    let block_of_head = format!("blocks/{}", origin.dataset("t")?.head);
    let changes: [(&str, Box<Change>); 4] = [
        ("a slice", Box::new(|export| flip(&export.join("data")))),
        (
            "the newest metadata block",
            Box::new(move |export| {
                let file = export.join(&block_of_head);
                let mut bytes = fs::read(&file)?;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                Ok(fs::write(file, bytes)?)
            }),
        ),
        (
            "the head",
            Box::new(|export| {
                Ok(fs::write(
                    export.join("refs/head"),
                    format!("f1620{}", "ab".repeat(32)),
                )?)
            }),
        ),
        (
            "a missing slice",
            Box::new(|export| {
                let file = fs::read_dir(export.join("data"))?.next().ok_or("no data")??.path();
                Ok(fs::remove_file(file)?)
            }),
        ),
    ];
    for (what, change) in changes {
        let Some((kubo, root)) = published_by_kubo(&origin, change)? else {
            return Ok(());
        };
        let finished = refused_pull(&victim, &format!("ipfs://{root}"), &[&kubo.address()?])?;
        says(&finished, code::INTEGRITY, &[]).map_err(|failure| failure.during(what))?;
        assert_eq!(victim.listed("x")?, None, "{what}: something was made visible");
        fs::remove_dir_all(origin.path().join("exported"))?;
    }
    untouched(&victim, &head)
}

#[test]
fn a_peer_that_sends_wrong_bytes() -> Outcome {
    let origin = workspace()?;
    let Some((mut kubo, root)) = published_by_kubo(&origin, |_| Ok(()))? else {
        return Ok(());
    };
    // Kubo does not hash what it reads, so damage on its disk goes out over Bitswap.
    kubo.stop()?;
    let mut damaged = 0;
    for (name, mut bytes) in tree(&kubo.repository().join("blocks"))? {
        if bytes.starts_with(b"PAR1") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(kubo.repository().join("blocks").join(&name), bytes)?;
            damaged += 1;
        }
    }
    assert!(damaged > 0, "a slice was damaged");
    kubo.start()?;
    let there = Workspace::new()?;
    let address = kubo.address()?;
    let finished = refused_pull(&there, &format!("ipfs://{root}"), &[&address])?;
    says_either(&finished, &[code::INTEGRITY, code::UNREACHABLE], &["bafkrei"])?;
    assert_eq!(there.listed("x")?, None);
    // A peer with the right bytes beside it makes up for it.
    let node = origin.node()?;
    let name = origin.publish(&["t.csv", "--name", "t"])?.name;
    there.odfs([
        "pull",
        &format!("ipns://{name}"),
        "--as",
        "x",
        "--peer",
        &address,
        "--peer",
        &node.address,
    ])?;
    same_dataset((&origin, "t"), (&there, "x"))
}

#[test]
fn a_record_that_has_expired() -> Outcome {
    let origin = workspace()?;
    let Some((kubo, root)) = published_by_kubo(&origin, |_| Ok(()))? else {
        return Ok(());
    };
    let key = kubo.ok(["key", "gen", "short"])?;
    let publish = [
        "name",
        "publish",
        "-Q",
        "--key",
        "short",
        "--lifetime",
        "1s",
        "--allow-offline",
        "--resolve=false",
    ];
    kubo.ok([&publish[..], &[&format!("/ipfs/{root}")]].concat())?;
    std::thread::sleep(Duration::from_secs(2));
    let there = Workspace::new()?;
    let finished = refused_pull(&there, &format!("ipns://{key}"), &[&kubo.address()?])?;
    // Kubo itself does not hand out what has expired; a peer that does is told from one that has nothing.
    says_either(&finished, &[code::UNKNOWN_NAME, code::BAD_RECORD], &[&key])?;
    assert_eq!(there.listed("x")?, None);
    Ok(())
}

#[test]
fn a_full_disk() -> Outcome {
    /// Room for the workspace and a small dataset, not for a large one.
    const DISK: u64 = 24 << 20;
    let Some(workspace) = Workspace::on_small_disk(DISK)? else {
        return Ok(());
    };
    workspace.write("t.csv", table(100))?;
    workspace.publish(&["t.csv", "--name", "t"])?;
    let head = workspace.dataset("t")?.head;

    let outside = tempfile::tempdir()?;
    let large = outside.path().join("large.ndjson");
    let mut text = String::new();
    for row in interop_tests::content::bytes(40 << 20, 3).chunks_exact(1 << 10) {
        let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{{\"noise\":\"{hex}\"}}\n"));
    }
    fs::write(&large, text)?;
    let finished = workspace.refused(["publish", &large.display().to_string(), "--name", "large", "--exit"])?;
    says(&finished, code::DISK_FULL, &["disk", "full"])?;
    assert_eq!(workspace.listed("large")?, None);
    untouched(&workspace, &head)?;
    // With what was tried cleared away, there is room again.
    workspace.write("more.csv", table(100))?;
    workspace.publish(&["more.csv", "--name", "more"])?;
    workspace.odfs(["verify", "more"]).map(drop)
}

#[test]
fn ports_that_are_in_use() -> Outcome {
    let workspace = workspace()?;
    let head = workspace.dataset("t")?.head;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let settings = |listen: u16, gateway: u16| {
        format!(
            "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/{listen}\"]\nbootstrap = []\nmdns = false\n\
             [gateway]\nlisten = \"127.0.0.1:{gateway}\"\n"
        )
    };
    for (listen, gateway) in [(0, port), (port, 0)] {
        workspace.configure(&settings(listen, gateway))?;
        says(&workspace.refused(["node"])?, code::PORT_IN_USE, &[&port.to_string()])?;
    }
    untouched(&workspace, &head)
}

#[test]
fn settings_that_are_wrong() -> Outcome {
    let workspace = workspace()?;
    workspace.configure("[network]\nbootstrapp = []\n")?;
    says(
        &workspace.refused(["list"])?,
        code::USAGE,
        &["bootstrapp", "network.bootstrap"],
    )?;
    workspace.configure("[network\n")?;
    says(&workspace.refused(["list"])?, code::USAGE, &["config.toml"])?;
    workspace.configure("[network]\nbootstrap = []\n")?;
    says(
        &workspace.refused(["config", "set", "network.mdns", "perhaps"])?,
        code::USAGE,
        &["network.mdns"],
    )?;
    assert_eq!(workspace.refused(["no-such-command"])?.code(), Some(code::USAGE));
    Ok(())
}

#[test]
fn a_workspace_of_another_user() -> Outcome {
    let workspace = workspace()?;
    let head = workspace.dataset("t")?.head;
    let Some(mut command) = as_nobody(&workspace)? else {
        return Ok(());
    };
    command.args(["list"]);
    says(&run(command, LIMIT)?.refusal()?, code::PERMISSION, &[".odfs"])?;
    untouched(&workspace, &head)
}

/// odfs in the directory of `workspace` as a user who may enter it but owns nothing there; nothing when this process
/// cannot become another user and need not.
fn as_nobody(workspace: &Workspace) -> Outcome<Option<Command>> {
    use std::os::unix::fs::PermissionsExt as _;
    if !rustix::process::geteuid().is_root() {
        if interop_tests::peers::required() {
            return Err("a test needs to run a command as another user: run as root".into());
        }
        interop_tests::peers::skip("only root can run a command as another user");
        return Ok(None);
    }
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for folder in [
        workspace.path().parent().ok_or("no parent")?.to_path_buf(),
        workspace.path(),
    ] {
        open(&folder, 0o755)?;
    }
    // The binary may lie in a home that others cannot enter.
    let binary = workspace.path().join("odfs-of-all");
    fs::copy(interop_tests::peers::odfs_binary()?, &binary)?;
    open(&binary, 0o755)?;
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(binary);
    command
        .current_dir(workspace.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Ok(Some(command))
}
