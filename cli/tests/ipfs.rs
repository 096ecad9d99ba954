//! `odfs ipfs`: the words of Kubo 0.43, as seen with `cat -A`.

use std::fs;

use crate::sandbox::Sandbox;

fn tree(sandbox: &Sandbox) {
    sandbox.file("dir/a.txt", "hello world\n");
    sandbox.file("dir/sub/b.txt", "b\n");
    sandbox.file("dir/sub/config", "c\n");
    sandbox.file("dir/.hidden", "h\n");
    sandbox.file("dir/config", "c\n");
    fs::create_dir_all(sandbox.path().join("dir/empty")).unwrap();
    std::os::unix::fs::symlink("a.txt", sandbox.path().join("dir/link")).unwrap();
}

#[test]
fn adding_a_file_prints_what_kubo_prints() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.txt", "hello world\n");
    const CID: &str = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";
    assert_eq!(
        sandbox.run(&["ipfs", "add", "hello.txt"]).ok(),
        format!("added {CID} hello.txt\n")
    );
    assert_eq!(
        sandbox.run(&["ipfs", "add", "-q", "hello.txt"]).ok(),
        format!("{CID}\n")
    );
    assert_eq!(
        sandbox.run(&["ipfs", "add", "-Q", "hello.txt"]).ok(),
        format!("{CID}\n")
    );
    assert_eq!(sandbox.run(&["ipfs", "add", "--silent", "hello.txt"]).ok(), "");
    assert_eq!(
        sandbox.run_with_input(&["ipfs", "add"], b"hello world\n").ok(),
        format!("added {CID} {CID}\n")
    );
    assert_eq!(sandbox.run(&["ipfs", "cat", CID]).ok(), "hello world\n");
    assert_eq!(
        sandbox
            .run(&["ipfs", "cat", "-o", "6", "-l", "3", &format!("/ipfs/{CID}")])
            .ok(),
        "wor"
    );
    assert_eq!(
        sandbox
            .run(&["ipfs", "add", "-Q", "--cid-version", "1", "--raw-leaves", "hello.txt"])
            .ok(),
        "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4\n"
    );
}

#[test]
fn directories_come_after_their_files_and_the_root_last() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    let out = sandbox.run(&["ipfs", "add", "-r", "dir"]).ok();
    let names: Vec<&str> = out.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap()).collect();
    assert_eq!(
        names,
        [
            "dir/a.txt",
            "dir/config",
            "dir/link",
            "dir/sub/b.txt",
            "dir/sub/config",
            "dir/empty",
            "dir/sub",
            "dir"
        ]
    );
    assert!(
        out.contains("added QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn dir/empty\n"),
        "{out}"
    );
    assert!(
        sandbox
            .run(&["ipfs", "add", "-r", "-H", "dir"])
            .ok()
            .contains(" dir/.hidden\n")
    );
    // kamu's flags: a rule compares names at every depth.
    let out = sandbox.run(&["ipfs", "add", "-r", "--ignore", "/config", "dir"]).ok();
    assert!(!out.contains("config"), "{out}");
    let out = sandbox
        .run(&[
            "ipfs",
            "add",
            "-r",
            "--ignore",
            "[a-b].t[xy]t",
            "--ignore",
            "co*[!a-f]",
            "dir",
        ])
        .ok();
    assert!(!out.contains(".txt") && !out.contains("config"), "{out}");
    // A pattern that leaves nothing out is told, and the rest goes on.
    let outcome = sandbox.run(&["ipfs", "add", "-r", "--ignore", "sub/", "--ignore", "[a", "dir"]);
    assert!(
        outcome.err.contains("the pattern `sub/` leaves nothing out")
            && outcome.err.contains("`[a` leaves nothing out"),
        "{}",
        outcome.err
    );
    assert!(outcome.ok().contains(" dir/sub/b.txt\n"));
    let err = sandbox.run(&["ipfs", "add", "dir"]).failed(2);
    assert!(
        err.contains("is a directory, use the '-r' flag to specify directories"),
        "{err}"
    );
}

#[test]
fn wrapping_gives_a_directory_without_a_name() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.txt", "hello world\n");
    let out = sandbox.run(&["ipfs", "add", "-w", "hello.txt"]).ok();
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("added Qm") && last.ends_with(' '), "{last:?}");
    let root = last.split(' ').nth(1).unwrap();
    assert_eq!(
        sandbox.run(&["ipfs", "cat", &format!("{root}/hello.txt")]).ok(),
        "hello world\n"
    );
    assert_eq!(
        sandbox.run(&["ipfs", "ls", root]).ok(),
        "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o 12 hello.txt\n"
    );
    // Bytes behind a CID make it another text, not another way to write it.
    let cid = odf_node::block::Cid::try_from(root).unwrap();
    let v1 = odf_node::block::Cid::new_v1(cid.codec(), *cid.hash());
    let longer = format!("{v1}aaaaaaaa");
    let err = sandbox.run(&["ipfs", "cat", &format!("{longer}/hello.txt")]).failed(2);
    assert!(err.contains("no CID") && err.contains("bytes behind its end"), "{err}");
    let err = sandbox.run(&["ipfs", "cat", root]).failed(5);
    assert!(err.contains("this dag node is a directory"), "{err}");
    sandbox.run(&["ipfs", "cat", &format!("{root}/other.txt")]).failed(3);
}

#[test]
fn what_was_added_comes_back_as_it_was() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    let big: Vec<u8> = (0..3_000_000u32).flat_map(|i| i.to_le_bytes()).collect();
    sandbox.file("dir/big.bin", &big);
    let profiles: [&[&str]; 3] = [
        &[],
        &["--profile", "unixfs-v1-2025"],
        &["--cid-version=1", "--raw-leaves"],
    ];
    for (number, profile) in profiles.into_iter().enumerate() {
        let args = [&["ipfs", "add", "-Q", "-r"], profile, &["dir"]].concat();
        let root = sandbox.run(&args).ok();
        let target = format!("copy{number}");
        assert_eq!(
            sandbox.run(&["ipfs", "get", root.trim(), "-o", &target]).ok(),
            format!("Saving file(s) to {target}\n")
        );
        let copy = sandbox.path().join(&target);
        assert_eq!(fs::read(copy.join("big.bin")).unwrap(), big);
        assert_eq!(fs::read_link(copy.join("link")).unwrap().to_str(), Some("a.txt"));
        assert!(copy.join("empty").is_dir());
        assert_eq!(
            sandbox
                .run(&[&["ipfs", "add", "-Q", "-r"], profile, &[&target]].concat())
                .ok(),
            root
        );
    }
}

#[test]
fn blocks_and_nodes_can_be_looked_at() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.txt", "hello world\n");
    let cid = sandbox.run(&["ipfs", "add", "-Q", "--cid-version=1", "hello.txt"]).ok();
    assert_eq!(
        sandbox.run(&["ipfs", "block", "get", cid.trim()]).bytes,
        b"hello world\n"
    );
    assert_eq!(
        sandbox.run(&["ipfs", "dag", "get", cid.trim()]).ok(),
        r#"{"/":{"bytes":"aGVsbG8gd29ybGQK"}}"#
    );
    let root = sandbox
        .run(&["ipfs", "add", "-Q", "-w", "--cid-version=1", "hello.txt"])
        .ok();
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.run(&["ipfs", "dag", "get", root.trim()]).ok()).unwrap();
    assert_eq!(json["Links"][0]["Name"], "hello.txt");
    assert_eq!(json["Links"][0]["Hash"]["/"], cid.trim());
}

#[test]
fn nonsense_is_refused_with_words() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["ipfs", "cat", "abc"]).failed(2).contains("no CID"));
    assert!(sandbox.run(&["ipfs", "add", "missing"]).failed(3).contains("missing"));
    assert!(
        sandbox
            .run(&["ipfs", "add", "--chunker", "rabin", "x"])
            .failed(2)
            .contains("size-BYTES")
    );
}
