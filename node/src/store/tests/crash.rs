//! `kill -9` of a real process in the middle of its work, and a full disk.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::*;

/// Tells a test that it is the process to be killed, and where its store is.
const CHILD: &str = "ODFS_STORE_CHILD";
const KILLS: u32 = 25;

fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &format!("store::tests::crash::{test}"), "--nocapture"])
        .env(CHILD, dir);
    command
}

/// Round `n` of the child's work: blocks in packs, in a new file that is renamed, a pin and a table entry. Says so on
/// stdout once it is flushed.
fn work(store: &Store, round: u32) {
    let hold = store.hold();
    let blocks: Vec<Block> = (0..8)
        .map(|n| block(round * 100 + n, 1000 + (n as usize) * 9000))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| store.put(&blocks[..2]).unwrap());
        scope.spawn(|| {
            blocks[2..4]
                .iter()
                .for_each(|block| store.put(std::slice::from_ref(block)).unwrap())
        });
    });
    let file = store.add_file(Path::new(&format!("parts/{round}"))).unwrap();
    for (n, block) in blocks[4..].iter().enumerate() {
        store.write_leaf(file, n as u64 * 100_000, block).unwrap();
    }
    store.rename_file(file, Path::new(&format!("data/{round}"))).unwrap();
    store.pin("p", blocks[0].cid()).unwrap();
    store.mark_complete(&store.walk(), &[*blocks[7].cid()]).unwrap();
    store.table("t").unwrap().insert(&round.to_be_bytes(), b"done").unwrap();
    store.flush().unwrap();
    drop(hold);
}

fn check(store: &Store, round: u32, flushed: bool) {
    for n in 0..8 {
        let block = block(round * 100 + n, 1000 + (n as usize) * 9000);
        let found = store.get(block.cid()).unwrap();
        if flushed {
            assert_eq!(found, Some(block), "round {round} block {n}");
        } else if let Some(found) = found {
            assert_eq!(found, block);
        }
    }
    if flushed {
        assert!(store.is_complete(block(round * 100 + 7, 64_000).cid()).unwrap());
        assert_eq!(
            store.table("t").unwrap().get(&round.to_be_bytes()).unwrap().as_deref(),
            Some(&b"done"[..])
        );
    }
}

#[test]
fn kill_9_loses_nothing_that_was_flushed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let store = open(Path::new(&dir));
        let first = store.table("t").unwrap().scan_prefix(b"").count() as u32;
        for round in first.. {
            work(&store, round);
            println!("\nround {round}");
            std::io::stdout().flush().unwrap();
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let mut flushed = 0;
    for kill in 0..KILLS {
        let mut running = child("kill_9_loses_nothing_that_was_flushed", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let (tell, told) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let rounds = lines
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix("round ")?.parse::<u32>().ok());
            rounds.inspect(|round| tell.send(*round).unwrap_or(())).max()
        });
        // At another moment each time: while it opens the store, and at work.
        if kill % 3 != 0 {
            told.recv_timeout(Duration::from_secs(30)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(u64::from(kill * 5)));
        running.kill().unwrap();
        running.wait().unwrap();
        flushed = reader.join().unwrap().map_or(flushed, |last| flushed.max(last + 1));

        let store = open(dir.path());
        assert!(!store.rebuilt(), "a kill is no damage");
        for round in 0..flushed {
            check(&store, round, true);
        }
        check(&store, flushed, false);
    }
    assert!(flushed >= KILLS / 2, "the child was killed too early to test anything");
}

/// Makes a tiny file system in a namespace of its own and runs the test there as a child.
#[test]
fn a_full_disk_is_an_error_that_changes_nothing() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return full_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let inner = child("a_full_disk_is_an_error_that_changes_nothing", dir.path());
    let script = format!(
        "mount -t tmpfs -o size=24m none '{}' && exec \"$0\" \"$@\"",
        dir.path().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(CHILD, dir.path());
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no namespaces here");
        return;
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn full_disk(dir: &Path) {
    let options = || StoreOptions {
        min_free_bytes: 3 << 20,
        reserve_bytes: 2 << 20,
        ..options()
    };
    let store = Store::open(dir, options()).unwrap();
    let mut kept = Vec::new();
    let full = loop {
        let block = block(kept.len() as u32, 100_000);
        match store.put(std::slice::from_ref(&block)) {
            Ok(()) => kept.push(block),
            Err(error) => break error,
        }
        assert!(kept.len() < 1000);
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    assert!(full.to_string().contains("no space left"), "{full}");
    assert!(kept.len() > 50);
    let file = store.add_file(Path::new("f"));
    assert!(matches!(file, Err(StoreError::Full { .. })));
    assert!(matches!(
        store.table("t").unwrap().insert(b"k", b"v"),
        Err(StoreError::Full { .. })
    ));
    store.flush().unwrap();

    // Somebody else takes the last byte.
    let mut ballast = fs::File::create(dir.join("ballast")).unwrap();
    while ballast.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
    let all_there = |store: &Store| {
        for block in &kept {
            assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block));
        }
    };
    all_there(&store);
    drop(store);
    let store = Store::open(dir, options()).unwrap();
    assert!(!store.rebuilt());
    all_there(&store);

    // And GC still works.
    let report = store.gc().unwrap();
    assert_eq!(report.removed_blocks, kept.len() as u64);
    assert!(report.freed_bytes > 5_000_000, "{report:?}");
    store.put(&kept[..10]).unwrap();
    store.flush().unwrap();
    drop(store);
    let store = Store::open(dir, options()).unwrap();
    assert_eq!(store.get(kept[9].cid()).unwrap().as_ref(), Some(&kept[9]));
    assert_eq!(store.stats().unwrap().blocks, 10);
}
