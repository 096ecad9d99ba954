//! Memory follows neither how many rows there are nor how long they are, whatever becomes of them: `docs/limitations.md`
//! says within which bound.

use interop_tests::process::Finished;
use interop_tests::workspace::LIMIT;
use interop_tests::{Failure, Outcome, Workspace};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;

/// What an odfs process that takes rows may have resident.
const BOUND_BYTES: u64 = 512 << 20;

/// Long rows, several hundred MiB of them in all.
const LONG_ROWS: u64 = 32_000;
const LONG_BYTES: usize = 10_000;

/// Short rows: more than fit into memory, were each of them kept with its key.
const MANY_ROWS: u64 = 4_000_000;

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

/// A table that is written row by row.
struct Table<'w> {
    workspace: &'w Workspace,
    name: &'static str,
    noise: Noise,
}

impl Table<'_> {
    /// Long rows with these ids, in no order of time. Version 2 of every other row has another text. Of a stream of changes
    /// each row says that it is appended.
    fn write_long(&self, ids: Range<u64>, version: u64) -> Outcome {
        let mut file = BufWriter::new(File::create(self.workspace.path().join(self.name))?);
        file.write_all(b"op,id,at,text\n")?;
        for id in ids {
            let seconds = id.wrapping_mul(7_919) % 86_400;
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            write!(file, "0,{id},2024-01-02T{hours:02}:{minutes:02}:{seconds:02}Z,")?;
            let number = if id % 2 == 0 { id } else { id + version * 1_000_000 };
            file.write_all(self.noise.bytes(number, LONG_BYTES))?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }

    /// Short rows with these ids, in the order of none of their columns but `at`.
    fn write_many(&self, ids: Range<u64>) -> Outcome {
        let mut file = BufWriter::new(File::create(self.workspace.path().join(self.name))?);
        file.write_all(b"id,at,value\n")?;
        for id in ids {
            let key = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            writeln!(file, "{key:016x},2024-01-02,{}", id % 1_000)?;
        }
        Ok(file.flush()?)
    }
}

/// Publishes the table and looks at the memory that it took.
fn publish(table: &Table<'_>, merge: &[&str]) -> Outcome<Finished> {
    let args = ["publish", table.name, "--name", "t", "--event-time", "at", "--exit"];
    let finished = table.workspace.odfs([&args, merge].concat())?;
    within_bounds(finished)
}

fn within_bounds(finished: Finished) -> Outcome<Finished> {
    let mebibytes = finished.peak_memory >> 20;
    println!("{mebibytes} MiB, {:.1?}", finished.took);
    match finished.peak_memory {
        0 => Err(Failure::new("the system does not say how much memory a process had")),
        peak if peak > BOUND_BYTES => Err(finished.failure(&format!("had {mebibytes} MiB of memory"))),
        _ => Ok(finished),
    }
}

/// Publishes long rows, and then others of which a part has the same ids; checks how many rows there are after each.
fn long_rows(merge: &[&str], rows: [u64; 2]) -> Outcome {
    let workspace = Workspace::new()?;
    let table = Table {
        workspace: &workspace,
        name: "long.csv",
        noise: Noise::new(),
    };
    table.write_long(0..LONG_ROWS, 1)?;
    publish(&table, merge)?;
    assert_eq!(workspace.dataset("t")?.records, rows[0]);
    table.write_long(LONG_ROWS / 4..LONG_ROWS * 5 / 4, 2)?;
    publish(&table, merge)?;
    assert_eq!(workspace.dataset("t")?.records, rows[1]);
    Ok(())
}

const N: u64 = LONG_ROWS;

#[test]
fn long_rows_are_appended() -> Outcome {
    let workspace = Workspace::new()?;
    let table = Table {
        workspace: &workspace,
        name: "long.csv",
        noise: Noise::new(),
    };
    table.write_long(0..LONG_ROWS, 1)?;
    publish(&table, &[])?;
    assert_eq!(workspace.dataset("t")?.records, LONG_ROWS);
    // They are copied and verified within the same bound.
    within_bounds(workspace.odfs(["verify", "t", "--logical"])?).map(drop)
}

#[test]
fn long_rows_of_a_ledger() -> Outcome {
    long_rows(&["--merge", "ledger", "--primary-key", "id"], [N, N + N / 4])
}

#[test]
fn long_rows_of_a_snapshot() -> Outcome {
    // A quarter goes and another comes; of the rest every other row is corrected, with two rows.
    let second = N / 4 + N / 4 + N * 3 / 4 / 2 * 2;
    long_rows(&["--merge", "snapshot", "--primary-key", "id"], [N, N + second])
}

#[test]
fn long_rows_of_a_changelog() -> Outcome {
    long_rows(&["--merge", "changelog", "--primary-key", "id"], [N, 2 * N])
}

#[test]
fn long_rows_of_an_upsert() -> Outcome {
    let second = N / 4 + N * 3 / 4 / 2 * 2;
    long_rows(&["--merge", "upsert", "--primary-key", "id"], [N, N + second])
}

#[test]
fn many_rows_that_come_and_go() -> Outcome {
    let workspace = Workspace::new()?;
    let table = Table {
        workspace: &workspace,
        name: "many.csv",
        noise: Noise(Vec::new()),
    };
    let merge = ["--merge", "snapshot", "--primary-key", "id"];
    table.write_many(0..MANY_ROWS)?;
    publish(&table, &merge)?;
    table.write_many(MANY_ROWS - 1..MANY_ROWS)?;
    publish(&table, &merge)?;
    assert_eq!(workspace.dataset("t")?.records, 2 * MANY_ROWS - 1);
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
    let args = ["publish", "few.ndjson", "--name", "t", "--exit"];
    within_bounds(interop_tests::process::run(workspace.command(args)?, LIMIT)?.success()?).map(drop)
}
