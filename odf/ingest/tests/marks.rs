//! Large files that are published again and again, with what is remembered of them beside the dataset.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::process::Command;

use odf_ingest::taken::{Change, Check};

use super::*;

/// Bytes of a row of a large file.
const ROW: usize = 64 << 10;
const MIB: u64 = 1 << 20;

/// Row `number` of a large file.
fn large_row(number: usize) -> String {
    let text = "x".repeat(ROW - 10);
    format!("{},{text}\n", 10_000_000 + number)
}

/// A file of so many large rows, and a header.
fn large_file(path: &Path, rows: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(b"a,b\n").unwrap();
    for number in 0..rows {
        file.write_all(large_row(number).as_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn checked(check: Check) -> Options {
    Options {
        check,
        ..Options::default()
    }
}

#[test]
fn a_large_file_that_grew_gets_the_head_that_reading_all_of_it_gives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let rows = 56 * MIB as usize / ROW;
    large_file(&path, rows);
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let (mut quick, mut full) = (World::new(), World::new());
    let mut publish = |check: Check| {
        let world = match check {
            Check::Quick => &mut quick,
            _ => &mut full,
        };
        let update = updated(world.publish(&source, &checked(check)));
        (update.new_head, update.rows)
    };
    assert_eq!(publish(Check::Quick), publish(Check::Full));
    for number in rows..rows + 3 {
        append(&path, &large_row(number));
        let (head, new) = publish(Check::Quick);
        assert_eq!((head, new), publish(Check::Full));
        assert_eq!(new, 1);
    }

    // Places in the new part are those of the whole file, though most of its lines were not read again.
    append(&path, "0,x\nthree,x\n");
    for world in [&mut quick, &mut full] {
        let error = world.publish(&source, &checked(Check::Quick)).unwrap_err().to_string();
        let line = rows + 3 + 3;
        assert!(error.contains(&format!("line {line}, column `a`: `three`")), "{error}");
    }

    // A value is changed in place: the quick check does not see it, the full one does and says where.
    let length = std::fs::metadata(&path).unwrap().len();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - "three,x\n".len() as u64).unwrap();
    file.seek(SeekFrom::Start(20 * MIB)).unwrap();
    file.write_all(b"y").unwrap();
    assert_eq!(updated(quick.publish(&source, &checked(Check::Quick))).rows, 1);
    append(&path, "1,x\n");
    for world in [&mut quick, &mut full] {
        let error = world.publish(&source, &checked(Check::Full)).unwrap_err();
        let wanted = Change::Between(16 * MIB, 32 * MIB);
        assert!(
            matches!(error, IngestError::Changed { change, .. } if change == wanted),
            "{error}"
        );
        let said = "lies between byte 16777216 and byte 33554432";
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// What this process has read so far, from files and the page cache alike.
fn bytes_read() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap();
    let counter = counters.lines().find_map(|line| line.strip_prefix("rchar: "));
    counter.unwrap().parse().unwrap()
}

#[test]
fn one_more_line_of_a_large_file_does_not_cost_the_file() {
    const CHILD: &str = "ODFS_TEST_COUNTS_READS";
    if std::env::var_os(CHILD).is_none() {
        // Reads are counted of a whole process, so this one gets a process to itself.
        let test = "marks::one_more_line_of_a_large_file_does_not_cost_the_file";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", test]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let size = 256 * MIB;
    large_file(&path, size as usize / ROW);
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let mut world = World::new();
    let mut cost = |check: Check| {
        let before = bytes_read();
        let update = updated(world.publish(&source, &checked(check)));
        (update.rows, bytes_read() - before)
    };
    let (_, first) = cost(Check::Quick);
    assert!(first >= 2 * size, "types and rows: {first}");
    for (check, most) in [
        (Check::Quick, 64 * MIB),
        (Check::Full, 2 * size),
        (Check::Quick, 64 * MIB),
        (Check::Touched, 2 * size),
    ] {
        append(&path, "7,one more\n");
        let (rows, cost) = cost(check);
        assert_eq!(rows, 1);
        assert!(cost <= most, "{check:?}: {cost} bytes were read");
        assert_eq!(cost >= size, check != Check::Quick, "{check:?}: {cost} bytes were read");
    }
}

/// Writes over the first byte of the text of a row of a large file, in place.
fn edit(path: &Path, row: usize, byte: u8) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    let at = "a,b\n".len() + row * ROW + "10000000,".len();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

#[test]
fn corrections_in_the_middle_of_a_large_file_of_keyed_rows_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let rows = 50 * MIB as usize / ROW;
    large_file(&path, rows);
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let options = Options {
        check: Check::Quick,
        ..keyed("snapshot", &["a"])
    };
    let mut world = World::new();
    assert_eq!(updated(world.publish(&source, &options)).rows, rows as u64);
    edit(&path, rows / 2, b'y');
    append(&path, &large_row(rows));
    assert_eq!(
        updated(world.publish(&source, &options)).rows,
        3,
        "a correction and a row"
    );
    // Now the file is what it would have been without the first edit.
    edit(&path, rows / 2, b'x');
    assert_eq!(
        updated(world.publish(&source, &options)).rows,
        2,
        "the correction is taken back"
    );
    up_to_date(world.publish(&source, &options));
}

#[test]
fn what_is_remembered_of_a_reading_that_is_thrown_away_is_thrown_away_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    large_file(&path, 20 * MIB as usize / ROW);
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let mut world = World::new();
    updated(world.publish(&source, &checked(Check::Touched)));
    let mut dataset = world.dataset();
    let marks = dataset.dir().join(odf_ingest::taken::MARKS_FILE);
    let before = std::fs::read(&marks).unwrap();
    append(&path, &large_row(1));
    let mut bytes = [b'y', b'x'].into_iter().cycle();
    let progress = &mut |at: odf_ingest::source::Progress| {
        if at.phase == Phase::Checking && at.bytes == 16 * MIB {
            edit(&path, 100, bytes.next().unwrap());
        }
        ControlFlow::Continue(())
    };
    let target = Target::Existing(&mut dataset);
    let all = Options {
        changed: Changed::TakeAll,
        ..checked(Check::Touched)
    };
    let error = ingest(target, &source, &all, hour(9), progress).unwrap_err();
    assert!(matches!(error, IngestError::Unsteady(_)), "{error}");
    assert_eq!(std::fs::read(&marks).unwrap(), before);
    // Of one that is read to the end it is kept.
    updated(world.publish(&source, &all));
    assert_ne!(std::fs::read(&marks).unwrap(), before);
}

#[test]
fn how_long_a_file_has_rested_is_told_by_the_clock_and_not_by_the_time_of_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    large_file(&path, 56 * MIB as usize / ROW);
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let world = World::new();
    // `--system-time`: by that time the file would have been left alone for years, and it was written just now.
    let middle_was_read = |target: Target<'_>, year: u32| {
        let mut read = false;
        let progress = &mut |at: odf_ingest::source::Progress| {
            // Between the beginning of the file and the end of what was taken.
            read |= at.phase == Phase::Checking && at.bytes == 32 * MIB;
            ControlFlow::Continue(())
        };
        let now = format!("{year}-01-01T00:00:00Z").parse().unwrap();
        ingest(target, &source, &checked(Check::Quick), now, progress).unwrap();
        read
    };
    let id = DatasetId::from_public_key([7; 32]);
    let staged = world.catalog.stage(id, &"t".parse().unwrap()).unwrap();
    assert!(middle_was_read(Target::New { staged }, 2300));
    let mut dataset = world.dataset();
    let marks = std::fs::read_to_string(dataset.dir().join(odf_ingest::taken::MARKS_FILE)).unwrap();
    assert!(marks.contains("\"rested\":false"), "{}", &marks[..200]);
    // A change within the tick of the file system's clock would not show: so nothing is believed, whatever the year.
    for year in [1990, 2300, 2301] {
        assert!(middle_was_read(Target::Existing(&mut dataset), year), "{year}");
    }
}
