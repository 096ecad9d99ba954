//! `ipfs files`: the tree has the CIDs that Kubo gives it, whatever is done to it, and loses nothing.

use super::{Both, ask_both, form, rpc};
use interop_tests::workspace::LIMIT;
use interop_tests::{Kubo, Outcome, Workspace, content};

/// Files to write from.
fn make(dir: &std::path::Path) -> Outcome {
    std::fs::write(dir.join("h"), "hello\n")?;
    std::fs::write(dir.join("big"), content::bytes(1_000_000, 5))?;
    // More than Kubo writes at once.
    std::fs::write(dir.join("large"), content::bytes(5_000_000, 6))?;
    Ok(())
}

#[test]
fn a_tree_has_the_cids_of_kubo() -> Outcome {
    let Some(both) = Both::new()? else { return Ok(()) };
    make(both.kubo.path())?;
    make(both.shim.path())?;
    let small = both.same(&["add", "-Q", "h"])?;
    let small = format!("/ipfs/{}", small.trim());
    let tree = both.same(&["add", "-Q", "-r", "d"])?;
    let tree = format!("/ipfs/{}", tree.trim());
    let commands: &[&[&str]] = &[
        &["ls"],
        &["ls", "--enc=json"],
        &["stat", "/"],
        &["mkdir", "/a"],
        &["mkdir", "-p", "/x/y/z"],
        &["mkdir", "--cid-version=1", "/v1"],
        &["write", "-e", "/a/h", "h"],
        &["read", "/a/h"],
        &["stat", "/a/h"],
        &["stat", "--enc=json", "/a/h"],
        &["stat", "--size", "/a/h"],
        &["stat", "--format=<hash> <type> <mode>", "/a"],
        &["write", "-e", "--cid-version=1", "/v1/h", "h"],
        &["stat", "/v1"],
        &["write", "-e", "-p", "/p/q/big", "big"],
        &["write", "/p/q/big", "--offset=262140", "h"],
        &["write", "/p/q/big", "--offset=1000000", "big"],
        &["stat", "/p/q/big"],
        &["read", "--offset=262130", "--count=30", "/p/q/big"],
        &["write", "-t", "/p/q/big", "h"],
        &["write", "-e", "--raw-leaves", "/large", "large"],
        &["write", "--offset=5000100", "/large", "large"],
        &["stat", "--hash", "/large"],
        &["write", "-e", "--count=3", "/three", "h"],
        &["cp", "/a/h", "/b"],
        &["cp", "--force", "/v1/h", "/b"],
        &["cp", small.as_str(), "/a/"],
        &["cp", tree.as_str(), "/tree"],
        &["cp", "-p", "/a/h", "/q/w/e"],
        &["ls", "-l", "/"],
        &["ls", "-l", "/tree"],
        &["ls", "-l", "--enc=json", "/tree"],
        &["ls", "/a/h"],
        &["mv", "/b", "/bb"],
        &["mv", "/bb", "/a"],
        &["mv", "/a/bb", "/a/h"],
        &["mv", "/tree/sub", "/moved"],
        &["stat", "--with-local", "/tree"],
        &["stat", small.as_str()],
        &["rm", "-r", "/x"],
        &["rm", "--force", "/nothing"],
        &["rm", "/a/h", "/nothing", "/a"],
        &["chcid", "--cid-version=1", "/p"],
        &["write", "-e", "/p/more", "h"],
        &["stat", "/p"],
        &["flush", "/p"],
        &["ls", "-l"],
        &["stat", "/"],
    ];
    for command in commands {
        let words: Vec<&str> = ["files"].into_iter().chain(command.iter().copied()).collect();
        both.same(&words)?;
        both.same(&["files", "stat", "--hash", "/"])?;
    }
    both.same(&["add", "-Q", "--to-files=/a/added", "big"])?;
    both.same(&["add", "-Q", "--to-files=/a/", "big", "h"])?;
    both.same(&["files", "stat", "/a"])?;
    both.same(&["pin", "ls", "--type=recursive", small.trim_start_matches("/ipfs/")])?;

    for words in [
        &["mkdir", "/a"][..],
        &["mkdir", "/no/where"],
        &["mkdir", "relative"],
        &["mkdir", ""],
        &["mkdir", "/"],
        &["stat", "--hash", "--size", "/a"],
        &["write", "/none", "h"],
        &["write", "-e", "/none/x", "h"],
        &["read", "--offset=5000000000", "/large"],
        &["read", "/a"],
        &["read", "/nothing"],
        &["ls", "/nothing"],
        &["cp", "/large", "/a/added"],
        &["cp", "/a", "/c/"],
        &["cp", "/nothing", "/z"],
        &["cp", "/large", "/none/x"],
        &["mv", "/nothing", "/y"],
        &["rm", "/a"],
        &["rm", "/"],
        &["rm", "--flush=false", "/p"],
        &["chcid", "--cid-version=1", "/"],
        &["stat", "p"],
    ] {
        let words: Vec<&str> = ["files"].into_iter().chain(words.iter().copied()).collect();
        both.same_failure(&words)?;
    }
    both.same(&["files", "stat", "/"])?;
    both.end()
}

#[test]
fn what_is_in_the_tree_is_kept_and_comes_when_it_is_read() -> Outcome {
    let origin = Workspace::new()?;
    origin.write("file", content::bytes(3_000_000, 9))?;
    let cid = origin.odfs(["ipfs", "add", "-Q", "--cid-version=1", "file"])?.text();
    let cid = cid.trim();
    let node = origin.node()?;
    let here = Workspace::new()?;
    let running = here.node()?;
    here.odfs(["ipfs", "swarm", "connect", &node.address])?;
    here.odfs(["ipfs", "files", "cp", &format!("/ipfs/{cid}"), "/f"])?;
    let size = |dir: &Workspace| -> Outcome<String> { Ok(dir.odfs(["ipfs", "repo", "stat"])?.text()) };
    let before = size(&here)?;
    // The root came, and nothing says that the rest is missing.
    let collected = here.odfs(["gc"])?;
    assert!(!collected.stderr.contains("needs"), "{collected:?}");
    here.odfs(["repo", "verify"])?;
    let stat = here.odfs(["repo", "stat", "--output", "json"])?.json()?;
    assert_eq!(stat["missing"], 0, "{stat}");
    assert!(here.odfs(["ipfs", "files", "read", "/f"])?.stdout == content::bytes(3_000_000, 9));
    assert_ne!(size(&here)?, before);
    node.stop()?;
    here.odfs(["gc"])?;
    let read = here.odfs(["ipfs", "files", "read", "/f"])?;
    assert!(read.stdout == content::bytes(3_000_000, 9), "a collection took it");
    // Power is cut, and the tree is there.
    running.process.kill()?;
    let root = here.odfs(["ipfs", "files", "stat", "--hash", "/"])?.text();
    here.odfs(["ipfs", "files", "rm", "/f"])?;
    here.odfs(["gc"])?;
    let gone = here.run(["ipfs", "--offline", "cat", cid])?;
    assert!(!gone.succeeded(), "what was removed is kept");

    // A root that cannot be read is said, and set anew.
    std::fs::write(here.store().join("files.root"), "nonsense")?;
    let damaged = here.run(["ipfs", "files", "ls"])?;
    assert!(
        damaged.stderr.contains("Next: `ipfs files chroot --confirm"),
        "{damaged:?}"
    );
    let unconfirmed = here.run(["ipfs", "files", "chroot"])?;
    assert_eq!(unconfirmed.code(), Some(2), "{unconfirmed:?}");
    here.odfs(["ipfs", "files", "chroot", "--confirm"])?;
    assert_eq!(here.odfs(["ipfs", "files", "ls"])?.text(), "");
    let unknown = here.run(["ipfs", "files", "chroot", "--confirm", root.trim()])?;
    assert_eq!(unknown.code(), Some(3), "{unknown:?}");
    Ok(())
}

#[test]
fn changes_at_once_are_all_there() -> Outcome {
    let workspace = Workspace::new()?;
    let _node = workspace.node()?;
    let started = (0..8).map(|index| workspace.start(["ipfs", "files", "mkdir", "-p", &format!("/d/{index}")]));
    for running in started.collect::<Outcome<Vec<_>>>()? {
        running.finish(LIMIT)?.success()?;
    }
    let listed = workspace.odfs(["ipfs", "files", "ls", "/d"])?.text();
    assert_eq!(listed.split_whitespace().count(), 8, "{listed}");
    let into_itself = workspace.run(["ipfs", "files", "mv", "/d", "/d/0"])?;
    assert_eq!(into_itself.code(), Some(7), "{into_itself:?}");
    assert!(into_itself.stderr.contains("into itself"), "{into_itself:?}");
    Ok(())
}

#[test]
fn the_rpc_changes_the_tree_and_gives_archives() -> Outcome {
    let Some(mut both) = Both::new()? else { return Ok(()) };
    both.kubo.start()?;
    both.shim.start()?;
    let urls = [rpc(&both.kubo)?, rpc(&both.shim)?];
    let ask = |call: &str, body: &[u8]| ask_both(&urls, call, body);
    let same = |call: &str, body: &[u8]| -> Outcome<String> {
        let [kubo, shim] = ask(call, body)?;
        assert_eq!((shim.status, shim.text()), (kubo.status, kubo.text()), "{call}");
        Ok(kubo.text())
    };
    let data = form(&[("x", "application/octet-stream", b"some bytes")]);
    same("files/mkdir?arg=/d/e&parents=true&flush=true", b"")?;
    same("files/write?arg=/d/f&create=true&truncate=true&offset=0", &data)?;
    same("files/read?arg=/d/f", b"")?;
    same("files/ls?arg=/d&long=true", b"")?;
    same("files/cp?arg=/d/f&arg=/d/e/f", b"")?;
    same("files/mv?arg=/d/f&arg=/g", b"")?;
    same("files/rm?arg=/d/e&recursive=true", b"")?;
    same("files/flush?arg=/", b"")?;
    let stat: serde_json::Value = serde_json::from_str(&same("files/stat?arg=/", b"")?)?;
    let root = stat["Hash"].as_str().unwrap_or_default();

    // Both archives have the same entries in them.
    let archives = ask(&format!("get?arg=/ipfs/{root}"), b"")?;
    let entries = archives.each_ref().map(|answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/x-tar");
        content_of_tar(&answer.body)
    });
    assert_eq!(entries[0], entries[1]);
    assert!(entries[0].len() >= 3, "{:?}", entries[0]);
    let [kubo, shim] = ask("get?arg=bafkqaaa/x", b"")?;
    assert_eq!(shim.status, kubo.status, "{}", shim.text());
    Ok(())
}

/// Name, kind and content of each entry.
fn content_of_tar(mut archive: &[u8]) -> Vec<(String, u8, Vec<u8>)> {
    let mut entries = Vec::new();
    while let Some((header, rest)) = archive.split_at_checked(512) {
        let text = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        if header[0] == 0 {
            break;
        }
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).unwrap_or(0);
        // Go writes headers of its own before entries that need none here.
        if header[156] != b'x' {
            let name = text(&header[..100]).trim_end_matches('/').to_owned();
            entries.push((name, header[156], rest[..size].to_vec()));
        }
        archive = &rest[size.next_multiple_of(512)..];
    }
    entries
}

#[test]
fn an_archive_is_saved_where_kubo_saves_it() -> Outcome {
    let Some(both) = Both::new()? else { return Ok(()) };
    let root = both.same(&["add", "-Q", "-r", "d"])?;
    let root = root.trim();
    both.same(&["get", "--progress=false", "-a", "-o", "out", root])?;
    let saved = |of: &Kubo, name: &str| std::fs::read(of.path().join(name));
    let entries = content_of_tar(&saved(&both.shim, "out.tar")?);
    assert_eq!(entries, content_of_tar(&saved(&both.kubo, "out.tar")?));
    both.same(&["get", "--progress=false", "-C", "-o", "file", &format!("{root}/a.txt")])?;
    both.same(&["get", "--progress=false", "-a", "-C", "-l=9", "-o", "packed", root])?;
    for dir in [&both.kubo, &both.shim] {
        for name in ["file.gz", "packed.tar.gz"] {
            assert_eq!(saved(dir, name)?.get(..2), Some(&[0x1f, 0x8b][..]), "{name}");
        }
    }
    both.same_failure(&["get", "--progress=false", "-C", "-o", "no", root])?;
    both.end()
}
