//! Files that are looked at again, with marks after so few bytes that small files have many.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use odf_disk::Disk;
use tempfile::TempDir;

use super::*;
use crate::source::ReadOptions;

const CHUNK: u64 = 64;
/// Bytes of a line.
const LINE: u64 = 32;

/// Line `number` of a file: two of them are a chunk.
fn line(number: usize) -> String {
    format!("{number:031}\n")
}

/// Long after whatever the file system says, in milliseconds since 1970.
const LATER: i64 = 1 << 45;
/// Long before.
const EARLIER: i64 = 1 << 38;

/// A file, and what is known of it.
struct Watched {
    dir: TempDir,
    taken: Option<Taken>,
    now: i64,
    lines: usize,
}

/// A look at a file, and how far it was after each reading.
struct Look {
    comparison: Comparison,
    read: Vec<u64>,
}

impl Look {
    /// Whether every byte was read.
    fn is_full(&self, length: u64) -> bool {
        let mut wanted: Vec<u64> = (1..=length / CHUNK).map(|chunk| chunk * CHUNK).collect();
        wanted.push(length);
        wanted.iter().all(|at| self.read.contains(at))
    }

    /// The new part and the state after it.
    fn grew(self) -> (Span, Taken) {
        match self.comparison {
            Comparison::Grew { span, taken } => (span, taken),
            other => panic!("{other:?}"),
        }
    }

    fn changed(self) -> Change {
        match self.comparison {
            Comparison::Changed { change, .. } => change,
            other => panic!("{other:?}"),
        }
    }
}

impl Watched {
    /// A file of so many lines that was taken.
    fn new(lines: usize) -> Watched {
        let mut watched = Watched {
            dir: tempfile::tempdir().unwrap(),
            taken: None,
            now: LATER,
            lines: 0,
        };
        watched.append(lines);
        // Whatever is written from now on has a later time than this.
        watched.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        assert!(watched.take(Check::Quick).is_full(lines as u64 * LINE));
        watched
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("t.csv")
    }

    fn marks(&self) -> PathBuf {
        self.dir.path().join(MARKS_FILE)
    }

    fn append(&mut self, lines: usize) {
        let text: String = (self.lines..self.lines + lines).map(line).collect();
        self.append_text(&text);
        self.lines += lines;
    }

    fn append_text(&self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Writes over the first byte of a line, in place.
    fn edit(&self, number: usize) {
        let mut file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.seek(SeekFrom::Start(number as u64 * LINE)).unwrap();
        file.write_all(b"9").unwrap();
    }

    fn set_modified(&self, time: SystemTime) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.set_modified(time).unwrap();
    }

    fn length(&self) -> u64 {
        fs::metadata(self.path()).unwrap().len()
    }

    /// Looks, and remembers what was seen unless it is refused.
    fn look(&self, check: Check) -> Look {
        let source = Source::file(&self.path(), None, ReadOptions::default()).unwrap();
        let mut read = Vec::new();
        let progress = &mut |at: crate::source::Progress| {
            read.push(at.bytes);
            ControlFlow::Continue(())
        };
        let mut memory = Memory::in_chunks(CHUNK, &self.marks(), check, self.now);
        let comparison = compare(&source, self.taken.as_ref(), Growth::Open, &mut memory, progress).unwrap();
        if !matches!(comparison, Comparison::Changed { .. }) {
            memory.keep(&Disk::new(), &self.marks());
        }
        Look { comparison, read }
    }

    /// Looks, and takes what is new.
    fn take(&mut self, check: Check) -> Look {
        let look = self.look(check);
        match &look.comparison {
            Comparison::Fresh { taken, .. } | Comparison::Grew { taken, .. } => self.taken = Some(taken.clone()),
            Comparison::Same | Comparison::Waits => {}
            Comparison::Changed { .. } | Comparison::WentOn { .. } => panic!("{:?}", look.comparison),
        }
        look
    }

    /// What somebody would take who sees the file for the first time.
    fn whole(&self) -> Taken {
        let source = Source::file(&self.path(), None, ReadOptions::default()).unwrap();
        let mut memory = Memory::recall(&self.dir.path().join("none"), Check::Full);
        match compare(&source, None, Growth::Open, &mut memory, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
        {
            Comparison::Fresh { taken, .. } => taken,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_grew_is_taken_without_reading_its_middle_and_comes_out_the_same() {
    let mut watched = Watched::new(20);
    for lines in [1, 2, 1, 7, 1] {
        let (line, start) = (watched.lines as u64, watched.length());
        watched.append(lines);
        let end = watched.length();
        let look = watched.take(Check::Quick);
        // The first chunk, and from the last that was whole on.
        let whole = start / CHUNK * CHUNK;
        assert_eq!(look.read[0], CHUNK);
        assert!(
            look.read[1..].iter().all(|at| *at >= whole && *at <= end),
            "{:?}",
            look.read
        );
        let (span, taken) = look.grew();
        assert_eq!(span, Span { start, line, end });
        assert_eq!(taken, watched.whole());
    }
    let look = watched.take(Check::Full);
    assert!(look.is_full(watched.length()));
    assert_eq!(look.comparison, Comparison::Same);
}

#[test]
fn nothing_new_is_seen_without_reading_the_middle() {
    let mut watched = Watched::new(21);
    let look = watched.take(Check::Quick);
    assert_eq!((look.comparison, look.read), (Comparison::Same, vec![64, 640, 672]));
    watched.append(1);
    // Formats that do not grow have changed. All of their rows are taken, so the state is of all that is there.
    let taken = Taken {
        format: Format::Json,
        ..watched.taken.clone().unwrap()
    };
    watched.taken = Some(taken);
    watched.edit(7);
    let look = watched.look(Check::Quick);
    assert!(look.is_full(watched.length()));
    let whole = watched.whole();
    assert!(matches!(look.comparison, Comparison::Changed { taken, .. } if taken == whole));
}

#[test]
fn a_change_in_the_middle_of_a_file_that_grew_is_seen_by_the_full_check_only() {
    let mut watched = Watched::new(20);
    watched.edit(7);
    for _ in 0..3 {
        watched.append(1);
        watched.take(Check::Quick).grew();
    }
    let look = watched.look(Check::Full);
    assert!(look.is_full(watched.length()));
    // Line 7 is the second of the chunk that begins at line 6.
    assert_eq!(look.changed(), Change::Between(192, 256));
}

#[test]
fn a_file_that_was_touched_is_read_whole_unless_somebody_vouches_for_it() {
    let mut watched = Watched::new(20);
    assert!(!watched.take(Check::Touched).is_full(640));
    watched.append(1);
    let look = watched.take(Check::Touched);
    assert!(look.is_full(watched.length()));
    look.grew();
    assert!(!watched.take(Check::Touched).is_full(watched.length()));
    // What the quick check took for granted, nobody has read, however often it is looked at.
    watched.append(1);
    watched.take(Check::Quick).grew();
    assert!(!watched.take(Check::Quick).is_full(watched.length()));
    assert!(watched.take(Check::Touched).is_full(watched.length()));
    assert!(!watched.take(Check::Touched).is_full(watched.length()));

    watched.edit(7);
    watched.append(1);
    watched.take(Check::Quick).grew();
    let look = watched.look(Check::Touched);
    assert!(look.is_full(watched.length()));
    assert_eq!(look.changed(), Change::Between(192, 256));
}

#[test]
fn a_file_that_is_written_anew_in_place_is_read_whole() {
    // As exports do it each night (`> t.csv`, `cp`, `cp -p`): the same inode, later times, more rows, the same beginning
    // and end, and one value corrected.
    for keep_times in [false, true] {
        let mut watched = Watched::new(20);
        let other = Watched::new(21);
        other.edit(7);
        fs::write(watched.path(), fs::read(other.path()).unwrap()).unwrap();
        if keep_times {
            watched.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001));
        }
        let look = watched.look(Check::Touched);
        assert!(look.is_full(672));
        assert_eq!(look.changed(), Change::Between(192, 256));
        // Nothing that the file system says tells it from one that grew.
        watched.take(Check::Quick).grew();
    }
}

#[test]
fn marks_are_of_what_was_taken_and_not_of_what_waits() {
    let mut watched = Watched::new(21);
    // Three chunks of a line that nothing ends.
    watched.append_text(&"7".repeat(200));
    for check in [Check::Quick, Check::Touched, Check::Quick] {
        let look = watched.take(check);
        assert_eq!(look.comparison, Comparison::Waits);
        let marks = marks::Marks::read(&watched.marks()).unwrap();
        assert_eq!(
            (marks.marks.len(), marks.taken),
            (10, watched.taken.clone().unwrap().to_state().value)
        );
    }
    watched.append_text("\n8");
    let (start, length) = (672, 672 + 201);
    let look = watched.take(Check::Quick);
    assert!(!look.is_full(length));
    let (span, taken) = look.grew();
    assert_eq!(
        (span.start, span.line, span.end, taken.length),
        (start, 21, length, length)
    );
    watched.append_text("8\n");
    let (span, taken) = watched.take(Check::Quick).grew();
    assert_eq!((span.start, span.line, taken), (length, 22, watched.whole()));
}

#[test]
fn what_is_taken_whole_is_hashed_whole() {
    let mut watched = Watched::new(20);
    watched.append_text("12");
    watched.taken = None;
    watched.take(Check::Full);
    // The last line that was taken goes on, and so does nothing that is believed of the middle.
    watched.edit(7);
    watched.append_text("3\n");
    let look = watched.look(Check::Quick);
    assert!(look.is_full(watched.length()));
    let whole = watched.whole();
    assert_eq!(look.comparison, Comparison::WentOn { taken: whole });
}

#[test]
fn lines_are_counted_on_from_a_mark_within_a_line_break() {
    let mut watched = Watched::new(2);
    let text = |lines| (0..lines).map(|number| format!("{number:031}\r\n")).collect::<String>();
    fs::write(watched.path(), text(35)).unwrap();
    watched.taken = None;
    watched.take(Check::Full);
    let marks = marks::Marks::read(&watched.marks()).unwrap();
    assert_eq!((marks.marks.len(), marks.marks[16].last), (18, b'\r'));
    watched.append_text(&text(36)[35 * 33..]);
    let look = watched.take(Check::Quick);
    assert!(!look.is_full(watched.length()));
    let (span, taken) = look.grew();
    assert_eq!((span.line, taken), (35, watched.whole()));
}

#[test]
fn a_look_right_after_another_goes_on_from_it() {
    let mut watched = Watched::new(20);
    let source = Source::file(&watched.path(), None, ReadOptions::default()).unwrap();
    for (check, full) in [(Check::Quick, false), (Check::Touched, true), (Check::Full, true)] {
        let mut memory = Memory::in_chunks(CHUNK, &watched.marks(), check, LATER);
        let progress = &mut |_| ControlFlow::Continue(());
        compare(&source, watched.taken.as_ref(), Growth::Open, &mut memory, progress).unwrap();
        watched.append(1);
        let mut read = Vec::new();
        let progress = &mut |at: crate::source::Progress| {
            read.push(at.bytes);
            ControlFlow::Continue(())
        };
        let earlier = watched.taken.as_ref();
        let comparison = compare(&source, earlier, Growth::Open, &mut memory.again(), progress).unwrap();
        let look = Look { comparison, read };
        assert_eq!(look.is_full(watched.length()), full, "{check:?}");
        look.grew();
    }
}

#[test]
fn a_change_that_keeps_the_length_is_seen() {
    let watched = Watched::new(20);
    watched.edit(7);
    let look = watched.look(Check::Quick);
    assert!(look.is_full(640));
    assert_eq!(look.changed(), Change::Between(192, 256));

    // Also where the time is put back: that is a change of the inode.
    let watched = Watched::new(20);
    std::thread::sleep(Duration::from_millis(50));
    watched.edit(7);
    watched.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    assert_eq!(watched.look(Check::Quick).changed(), Change::Between(192, 256));
}

#[test]
fn a_file_that_was_written_to_just_now_is_not_believed_to_be_as_it_was() {
    let mut watched = Watched::new(20);
    // As if all of this were within one tick of the clock.
    watched.now = EARLIER;
    fs::remove_file(watched.marks()).unwrap();
    for _ in 0..2 {
        let look = watched.take(Check::Quick);
        assert!(look.is_full(640), "{:?}", look.read);
        assert_eq!(look.comparison, Comparison::Same);
    }
    watched.now = LATER;
    assert!(watched.take(Check::Quick).is_full(640));
    assert!(!watched.take(Check::Quick).is_full(640));
    // One that grew is known to have been written to.
    watched.now = EARLIER;
    watched.append(1);
    let look = watched.take(Check::Quick);
    assert!(!look.is_full(watched.length()));
    look.grew();
}

#[test]
fn a_change_at_the_beginning_or_the_end_is_seen_and_placed() {
    // Line 20 lies behind the last whole chunk.
    for (edited, change) in [
        (0, Change::Between(0, 64)),
        (1, Change::Between(0, 64)),
        (18, Change::Between(576, 640)),
        (19, Change::Between(576, 640)),
        (20, Change::Between(640, 672)),
    ] {
        let mut watched = Watched::new(21);
        watched.edit(edited);
        watched.append(1);
        assert_eq!(watched.look(Check::Quick).changed(), change, "line {edited}");
        fs::remove_file(watched.marks()).unwrap();
        assert_eq!(watched.look(Check::Quick).changed(), Change::Somewhere);
    }
}

#[test]
fn a_file_that_was_cut_is_seen() {
    let watched = Watched::new(20);
    let file = OpenOptions::new().write(true).open(watched.path()).unwrap();
    file.set_len(500).unwrap();
    assert_eq!(watched.look(Check::Quick).changed(), Change::Shorter(500));
    // And when it has grown beyond its old length with other rows, as logs do.
    file.set_len(0).unwrap();
    let mut other = Watched { lines: 100, ..watched };
    other.append(30);
    assert_eq!(other.look(Check::Quick).changed(), Change::Between(0, 64));
    // With the same rows it is the same file.
    file.set_len(0).unwrap();
    other.lines = 0;
    other.append(30);
    other.take(Check::Quick).grew();
}

#[test]
fn a_file_in_its_place_is_read_whole_once() {
    let mut watched = Watched::new(20);
    for lines in [0, 1] {
        // As editors and rsync do it.
        let copy = watched.dir.path().join("copy");
        fs::copy(watched.path(), &copy).unwrap();
        fs::rename(&copy, watched.path()).unwrap();
        watched.append(lines);
        let look = watched.take(Check::Quick);
        assert!(look.is_full(watched.length()), "{:?}", look.read);
        let look = watched.take(Check::Quick);
        assert!(!look.is_full(watched.length()), "{:?}", look.read);
        assert_eq!(look.comparison, Comparison::Same);
        assert_eq!(watched.taken, Some(watched.whole()));
    }
    // A change in the middle of the copy, which the same inode would hide.
    let mut text = fs::read(watched.path()).unwrap();
    text[7 * 32] = b'9';
    let copy = watched.dir.path().join("copy");
    fs::write(&copy, text).unwrap();
    fs::rename(&copy, watched.path()).unwrap();
    watched.append(1);
    assert_eq!(watched.look(Check::Quick).changed(), Change::Between(192, 256));
}

#[test]
fn a_file_of_an_earlier_time_is_read_whole() {
    let mut watched = Watched::new(20);
    watched.append(1);
    watched.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    let look = watched.take(Check::Quick);
    assert!(look.is_full(watched.length()));
    look.grew();
}

#[test]
fn marks_that_are_lost_torn_or_of_another_file_cost_a_reading_and_nothing_else() {
    let mut other = Watched::new(30);
    other.edit(3);
    other.taken = None;
    other.take(Check::Full);
    let other = fs::read(other.marks()).unwrap();

    let mut watched = Watched::new(20);
    watched.append(1);
    let whole = watched.whole();
    let good = fs::read(watched.marks()).unwrap();
    let mut damages = vec![Some(other), Some(Vec::new()), Some(vec![0; good.len()]), None];
    damages.extend((0..good.len()).step_by(97).map(|cut| Some(good[..cut].to_vec())));
    for damage in damages {
        match &damage {
            Some(bytes) => fs::write(watched.marks(), bytes).unwrap(),
            None => fs::remove_file(watched.marks()).unwrap(),
        }
        let look = watched.look(Check::Quick);
        assert!(look.is_full(watched.length()));
        let (span, taken) = look.grew();
        assert_eq!((span.start, span.line, span.end), (640, 20, 672));
        assert_eq!(taken, whole);
        // They are there again.
        assert!(!watched.look(Check::Quick).is_full(watched.length()));
    }
}

#[test]
fn marks_that_lead_elsewhere_than_the_chain_are_not_believed() {
    let mut watched = Watched::new(20);
    // As if the commit that was to follow had failed.
    let earlier = watched.taken.clone();
    watched.append(5);
    watched.take(Check::Quick).grew();
    watched.taken = earlier;
    let look = watched.take(Check::Quick);
    assert!(!look.is_full(watched.length()));
    assert_eq!(look.grew().1, watched.whole());

    // The marks are of this very file, but the chain is of other bytes.
    let mut watched = Watched::new(20);
    let mut other = watched.taken.clone().unwrap();
    other.hash = Watched::new(1).whole().hash;
    watched.taken = Some(other);
    let look = watched.look(Check::Quick);
    assert!(look.is_full(640));
    assert_eq!(look.changed(), Change::Somewhere);
}

#[test]
fn marks_that_end_early_save_what_they_can() {
    let mut watched = Watched::new(20);
    let early = fs::read(watched.marks()).unwrap();
    watched.append(10);
    watched.take(Check::Quick).grew();
    fs::write(watched.marks(), early).unwrap();
    watched.append(1);
    let look = watched.take(Check::Quick);
    assert_eq!(look.read, [64, 640, 704, 768, 832, 896, 960, 992]);
    assert_eq!(
        look.grew(),
        (
            Span {
                start: 960,
                line: 30,
                end: 992
            },
            watched.whole()
        )
    );
}

#[test]
fn small_files_leave_no_marks() {
    let watched = Watched::new(1);
    assert!(!watched.marks().exists());
    assert!(Watched::new(2).marks().exists());
}

#[test]
fn a_stream_is_another_file_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..20).map(line).collect();
    let (spool, marks) = (dir.path().join("spool"), dir.path().join(MARKS_FILE));
    let options = ReadOptions::default();
    let source = Source::spool("t", &mut text.as_bytes(), &spool, 1 << 20, Format::Csv, options).unwrap();
    let mut memory = Memory::in_chunks(CHUNK, &marks, Check::Quick, LATER);
    compare(&source, None, Growth::Open, &mut memory, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    memory.keep(&Disk::new(), &marks);
    assert!(!marks.exists());
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_refused() {
    for check in [Check::Quick, Check::Full] {
        let mut watched = Watched::new(40);
        watched.append(1);
        let source = Source::file(&watched.path(), None, ReadOptions::default()).unwrap();
        let path = watched.path();
        let progress = &mut |_| {
            let file: File = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(100).unwrap();
            ControlFlow::Continue(())
        };
        let before = fs::read(watched.marks()).unwrap();
        let mut memory = Memory::in_chunks(CHUNK, &watched.marks(), check, LATER);
        let error = compare(&source, watched.taken.as_ref(), Growth::Open, &mut memory, progress).unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
        memory.keep(&Disk::new(), &watched.marks());
        assert_eq!(fs::read(watched.marks()).unwrap(), before);
    }
}
