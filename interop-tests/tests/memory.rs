//! Memory follows neither how many rows there are nor how long they are, whatever becomes of them: `docs/limitations.md`
//! says within which bound.

use interop_tests::process::{Finished, resident};
use interop_tests::workspace::LIMIT;
use interop_tests::{Outcome, Workspace};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What an odfs process that takes rows may have resident.
const BOUND_BYTES: u64 = 512 << 20;

/// How many long rows there are: several hundred MiB in all.
const N: u64 = 32_000;
const LONG_BYTES: usize = 10_000;
/// What they take from a Parquet file, where they need not be sorted.
const PARQUET_BYTES: u64 = 416 << 20;

/// Short rows: more than fit into what is held, were each of them kept with its key.
const MANY_ROWS: u64 = 4_000_000;
/// What they take, and what it takes when all but one go. Much of it lies in queues between threads, and there is more the
/// busier the machine is: when they go, 180 MiB to 225 MiB were seen. A table of the keys of
/// all rows would take 200 MiB more.
const MANY_BYTES: u64 = 320 << 20;

/// What a follower holds half a minute after it has pulled a thousand slices.
const FOLLOWER_BYTES: u64 = 40 << 20;

const FILE: &str = "table.csv";

/// Text that does not get shorter when it is packed, for as long as it is not repeated within some KiB.
struct Noise(Vec<u8>);

impl Noise {
    fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let letter = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[(state >> 58) as usize]
        };
        Self(std::iter::repeat_with(letter).take(4 << 20).collect())
    }

    /// As many bytes as are asked for, others for each number.
    fn bytes(&self, number: u64, length: usize) -> &[u8] {
        let last = (self.0.len() - length) as u64;
        let at = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % last;
        &self.0[at as usize..at as usize + length]
    }
}

/// Tables that are written row by row.
struct Tables {
    workspace: Workspace,
    noise: Noise,
}

impl Tables {
    fn new() -> Outcome<Self> {
        Ok(Self {
            workspace: Workspace::new()?,
            noise: Noise::new(),
        })
    }

    /// Long rows with these ids, in no order of time. Version 2 of every other row has another text. Of a stream of changes
    /// each row says that it is appended.
    fn write_long(&self, ids: Range<u64>, version: u64, has_operations: bool) -> Outcome {
        let mut file = BufWriter::new(File::create(self.workspace.path().join(FILE))?);
        let operation = if has_operations { ["op,", "0,"] } else { ["", ""] };
        writeln!(file, "{}id,at,text", operation[0])?;
        for id in ids {
            let seconds = id * 7_919 % 86_400;
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            write!(
                file,
                "{}{id},2024-01-02T{hours:02}:{minutes:02}:{seconds:02}Z,",
                operation[1]
            )?;
            let number = if id % 2 == 0 { id } else { id + version * 1_000_000 };
            file.write_all(self.noise.bytes(number, LONG_BYTES))?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }

    /// Short rows with these ids, in the order of none of their columns but `at`.
    fn write_many(&self, ids: Range<u64>) -> Outcome {
        let mut file = BufWriter::new(File::create(self.workspace.path().join(FILE))?);
        file.write_all(b"id,at,value\n")?;
        for id in ids {
            let key = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            writeln!(file, "{key:016x},2024-01-02,{}", id % 1_000)?;
        }
        Ok(file.flush()?)
    }

    /// Publishes the table, within a bound of memory; how many rows there are then.
    fn publish(&self, args: &[&str], bound: u64) -> Outcome<u64> {
        let all = ["publish", FILE, "--name", "t", "--event-time", "at", "--exit", "--yes"];
        within(bound, self.workspace.odfs([&all, args].concat())?)?;
        Ok(self.workspace.dataset("t")?.records)
    }

    /// The longest slice.
    fn slice(&self) -> Outcome<PathBuf> {
        let mut longest = None;
        let mut folders = vec![self.workspace.store()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if path.parent().is_some_and(|parent| parent.ends_with("data")) {
                    longest = longest.max(Some((entry.metadata()?.len(), path)));
                }
            }
        }
        longest.map(|(_, path)| path).ok_or_else(|| "there is no slice".into())
    }
}

fn within(bound: u64, finished: Finished) -> Outcome {
    let mebibytes = finished.peak_memory >> 20;
    match finished.peak_memory {
        0 => Err("the system does not say how much memory a process had".into()),
        peak if peak > bound => Err(finished.failure(&format!("had {mebibytes} MiB of memory"))),
        _ => Ok(()),
    }
}

/// Publishes long rows, and then others of which a part has the same ids; there are so many rows after each.
fn long_rows(merge: &str, again: &[&str], rows: [u64; 2]) -> Outcome {
    let tables = Tables::new()?;
    let has_operations = merge == "changelog";
    let args = ["--merge", merge, "--primary-key", "id"];
    tables.write_long(0..N, 1, has_operations)?;
    let first = tables.publish(&args, BOUND_BYTES)?;
    tables.write_long(N / 4..N * 5 / 4, 2, has_operations)?;
    let second = tables.publish(&[&args, again].concat(), BOUND_BYTES)?;
    assert_eq!([first, second], rows);
    Ok(())
}

#[test]
fn long_rows_of_a_ledger() -> Outcome {
    long_rows("ledger", &[], [N, N + N / 4])
}

#[test]
fn long_rows_of_a_snapshot() -> Outcome {
    // A quarter goes and another comes; of the rest every other row is corrected, with two rows.
    long_rows("snapshot", &[], [N, N + N / 4 + N / 4 + N * 3 / 4])
}

#[test]
fn long_rows_of_a_changelog() -> Outcome {
    long_rows("changelog", &["--append-all"], [N, 2 * N])
}

#[test]
fn long_rows_of_an_upsert() -> Outcome {
    long_rows("upsert", &[], [N, N + N / 4 + N * 3 / 4])
}

#[test]
fn long_rows_are_appended_verified_and_taken_from_parquet() -> Outcome {
    let tables = Tables::new()?;
    tables.write_long(0..N, 1, false)?;
    assert_eq!(tables.publish(&[], BOUND_BYTES)?, N);
    let workspace = &tables.workspace;
    within(BOUND_BYTES, workspace.odfs(["verify", "t", "--logical"])?)?;

    let read = "{kind: Parquet, ddlSchema: [id BIGINT, at TIMESTAMP, text STRING]}";
    let manifest = format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: p\n  kind: Root\n  metadata:\n    \
         - {{kind: AddPushSource, sourceName: default, read: {read}, merge: {{kind: Append}}}}\n    \
         - {{kind: SetVocab, eventTimeColumn: at}}\n"
    );
    workspace.write("p.yaml", manifest)?;
    workspace.odfs(["add", "p.yaml"])?;
    let slice = tables.slice()?.display().to_string();
    within(PARQUET_BYTES, workspace.odfs(["ingest", "p", &slice])?)?;
    assert_eq!(workspace.dataset("p")?.records, N);
    Ok(())
}

#[test]
fn many_rows_that_come_and_go() -> Outcome {
    let tables = Tables::new()?;
    let merge = ["--merge", "snapshot", "--primary-key", "id"];
    tables.write_many(0..MANY_ROWS)?;
    assert_eq!(tables.publish(&merge, MANY_BYTES)?, MANY_ROWS);
    tables.write_many(MANY_ROWS - 1..MANY_ROWS)?;
    assert_eq!(tables.publish(&merge, MANY_BYTES)?, 2 * MANY_ROWS - 1);
    Ok(())
}

#[test]
fn a_follower_gives_back_what_its_first_pull_took() -> Outcome {
    const SLICES: usize = 1_000;
    let publisher = Workspace::new()?;
    let slices: Vec<String> = (0..SLICES).map(|number| format!("{number}.csv")).collect();
    for (number, file) in slices.iter().enumerate() {
        publisher.write(file, format!("id,at\n{number},2024-01-02\n"))?;
    }
    let published = publisher.publish(&[&slices[0], "--name", "t", "--event-time", "at"])?;
    publisher.odfs(
        ["ingest", "t"]
            .into_iter()
            .chain(slices[1..].iter().map(String::as_str)),
    )?;
    let known = publisher.node()?;
    publisher.odfs(["push", "t"])?;
    let follower = Workspace::new()?;
    let node = follower.node_with(&["--peer", &known.address])?;
    follower.odfs(["follow", &published.name, "--as", "t"])?;
    let held = || resident(node.process.id(), "RssAnon").ok_or("the node has ended");
    let pulled = Instant::now();
    while follower.dataset("t")?.records < SLICES as u64 || held()? > FOLLOWER_BYTES {
        if pulled.elapsed() > LIMIT {
            return Err(format!("the follower holds {} MiB", held()? >> 20).into());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

#[test]
fn rows_of_many_columns_with_few_values() -> Outcome {
    const COLUMNS: u64 = 2_000;
    let workspace = Workspace::new()?;
    let mut file = BufWriter::new(File::create(workspace.path().join("few.ndjson"))?);
    for id in 0..40_000u64 {
        writeln!(file, "{{\"c{}\":{id}}}", id * 31 % COLUMNS)?;
    }
    file.flush()?;
    let published = workspace.odfs(["publish", "few.ndjson", "--name", "t", "--exit"])?;
    within(BOUND_BYTES, published)
}
