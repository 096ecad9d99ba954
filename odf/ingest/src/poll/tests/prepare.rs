//! Prepare steps.

use std::io::{Cursor, Write as _};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::poll::prepare::archive::MAX_NAMES_TOLD;
use crate::poll::prepare::pipe::MAX_STDERR_BYTES;
use odf_metadata::CompressionFormat;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        if name.ends_with('/') {
            writer.add_directory(*name, SimpleFileOptions::default()).unwrap();
        } else {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

fn unpack(format: CompressionFormat, sub_path: Option<&str>) -> PrepStep {
    PrepStep::Decompress {
        format,
        sub_path: sub_path.map(str::to_owned),
    }
}

fn pipe(command: &[&str]) -> PrepStep {
    PrepStep::Pipe {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// A source that gives these bytes to these steps.
fn of(stage: &Stage, content: impl AsRef<[u8]>, steps: Vec<PrepStep>) -> SetPollingSource {
    let path = stage.file("content", content);
    prepared(url(&format!("file://{}", path.display())), steps)
}

#[track_caller]
fn made(stage: &Stage, content: impl AsRef<[u8]>, steps: Vec<PrepStep>) -> String {
    let fetched = stage.fetched(&of(stage, content, steps), None);
    let text = fs::read_to_string(fetched.path()).unwrap();
    drop(fetched);
    stage.assert_empty();
    text
}

#[test]
fn archives_are_unpacked() {
    let stage = Stage::new();
    let gz = || unpack(CompressionFormat::Gzip, None);
    assert_eq!(made(&stage, gzip(b"hello"), vec![gz()]), "hello");
    assert_eq!(made(&stage, gzip(&gzip(b"twice")), vec![gz(), gz()]), "twice");
    let members = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(made(&stage, &members, vec![gz()]), "one two");
    // Filled up with zeros, as on a tape: more than are read at once, between members too.
    let zeros = vec![0; 100_000];
    let padded = [&gzip(b"one ")[..], &[0, 0], &gzip(b"two"), &zeros].concat();
    assert_eq!(made(&stage, padded, vec![gz()]), "one two");

    let archive = zip(&[("dir/", ""), ("dir/a.csv", "a"), ("b.csv", "b")]);
    let first = unpack(CompressionFormat::Zip, None);
    assert_eq!(made(&stage, &archive, vec![first.clone()]), "a");
    let named = unpack(CompressionFormat::Zip, Some("b.csv"));
    assert_eq!(made(&stage, &archive, vec![named]), "b");
    assert_eq!(made(&stage, gzip(&archive), vec![gz(), first]), "a");
}

#[test]
fn archives_that_are_none_are_told() {
    let stage = Stage::new();
    let failed = |content: &[u8], step| stage.failed(&of(&stage, content, vec![step])).to_string();
    let gz = || unpack(CompressionFormat::Gzip, None);
    let whole = gzip(&b"some text that is long enough".repeat(100));
    for (content, reason) in [
        (&b"plain"[..], "cannot be unpacked"),
        (&b""[..], "ends too early"),
        (&whole[..whole.len() / 2], "ends too early"),
        (&whole[..whole.len() - 1], "ends too early"),
        (&[&whole[..], b"tail"].concat(), "not gzip stands behind"),
        (&[&whole[..], b"\0\0tail"].concat(), "not gzip stands behind"),
        (&[&whole[..], b"\0\x1f\x8b"].concat(), "ends too early"),
        (&[0; 20], "cannot be unpacked"),
    ] {
        let error = failed(content, gz());
        assert!(error.contains(reason), "{error}");
    }
    let archive = zip(&[("a.csv", "a"), ("b.csv", "b")]);
    let error = failed(&archive, unpack(CompressionFormat::Zip, Some("c.csv")));
    assert!(error.contains("it holds no c.csv; it holds a.csv, b.csv"), "{error}");
    for content in [
        &b"plain"[..],
        b"",
        &archive[..archive.len() / 2],
        &zip(&[]),
        &zip(&[("d/", "")]),
    ] {
        assert!(failed(content, unpack(CompressionFormat::Zip, None)).contains("cannot be unpacked"));
    }
    // One wrong bit in the data of the entry.
    let mut bent = zip(&[("a.csv", &"a,b,c\n".repeat(1000))]);
    bent[45] ^= 1;
    assert!(failed(&bent, unpack(CompressionFormat::Zip, None)).contains("cannot be unpacked"));
}

#[test]
fn no_more_names_of_an_archive_are_told_than_the_limit_says() {
    let stage = Stage::new();
    let told = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("{number:03}.csv")).collect();
        let entries: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let step = unpack(CompressionFormat::Zip, Some("other.csv"));
        let error = stage.failed(&of(&stage, zip(&entries), vec![step])).to_string();
        names.iter().filter(|name| error.contains(name.as_str())).count()
    };
    assert_eq!(told(MAX_NAMES_TOLD), MAX_NAMES_TOLD);
    assert_eq!(told(MAX_NAMES_TOLD + 1), MAX_NAMES_TOLD);
}

#[test]
fn what_does_not_fit_on_the_disk_is_not_unpacked() {
    let mut stage = Stage::new();
    let text = "a,b\n".repeat(10_000);
    let (gz, zipped) = (gzip(text.as_bytes()), zip(&[("a.csv", &text)]));
    let steps = || {
        [
            unpack(CompressionFormat::Gzip, None),
            unpack(CompressionFormat::Zip, None),
        ]
    };
    let room = odf_disk::SPARE_BYTES + text.len() as u64;
    stage.free = Some(room);
    for (content, step) in [&gz, &zipped].into_iter().zip(steps()) {
        assert_eq!(made(&stage, content, vec![step]), text);
    }
    stage.free = Some(room - 1);
    for (content, step) in [&gz, &zipped].into_iter().zip(steps()) {
        let error = stage.failed(&of(&stage, content, vec![step]));
        assert!(
            matches!(&error, PollError::NoRoom { free, .. } if *free == room - 1),
            "{error}"
        );
    }
}

#[test]
fn an_archive_that_was_made_to_fill_disks_is_refused_early() {
    let stage = Stage::new();
    // A header that says more than the limit, in front of little.
    let mut archive = zip(&[("a.csv", "a")]);
    let huge = (UNPACK_FLOOR_BYTES as u32 + 1).to_le_bytes();
    for (signature, at) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
        let start = archive.windows(4).position(|window| window == signature).unwrap();
        archive[start + at..start + at + 4].copy_from_slice(&huge);
    }
    let error = stage.failed(&of(&stage, &archive, vec![unpack(CompressionFormat::Zip, None)]));
    assert!(
        matches!(
            &error,
            PollError::TooLarge {
                limit: UNPACK_FLOOR_BYTES,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("source.unpackRatio"), "{error}");
}

#[test]
fn names_that_lead_out_of_an_archive_are_refused() {
    let stage = Stage::new();
    for name in ["../../etc/passwd", "a/../../x", "/etc/passwd", "a\\..\\x", "C:\\x"] {
        // The writer would not write such a name, so it is put in afterwards.
        let placeholder = "x".repeat(name.len());
        let mut archive = zip(&[(&placeholder, "evil")]);
        while let Some(at) = archive
            .windows(name.len())
            .position(|window| window == placeholder.as_bytes())
        {
            archive[at..at + name.len()].copy_from_slice(name.as_bytes());
        }
        for sub_path in [None, Some(name)] {
            let error = stage.failed(&of(&stage, &archive, vec![unpack(CompressionFormat::Zip, sub_path)]));
            assert!(matches!(&error, PollError::Archive { .. }), "{error}");
            assert!(error.to_string().contains("leads out of the archive"), "{error}");
        }
    }
}

#[test]
fn commands_change_the_data() {
    let stage = Stage::new();
    let upper = pipe(&["tr", "a-z", "A-Z"]);
    assert_eq!(made(&stage, "a b\n", vec![upper.clone()]), "A B\n");
    let steps = vec![unpack(CompressionFormat::Gzip, None), upper, pipe(&["rev"])];
    assert_eq!(made(&stage, gzip(b"abc"), steps), "CBA");
    // Not all of the input has to be read.
    let long = "line\n".repeat(1_000_000);
    assert_eq!(made(&stage, long, vec![pipe(&["head", "-n", "1"])]), "line\n");
}

#[test]
fn commands_that_fail_are_told_with_their_last_words() {
    let stage = Stage::new();
    let failed = |command: &[&str]| match stage.failed(&of(&stage, "x", vec![pipe(command)])) {
        PollError::Pipe { failure, stderr, .. } => (failure, stderr),
        other => panic!("{other}"),
    };
    assert_eq!(
        failed(&["sh", "-c", "cat; echo bad row >&2; exit 3"]),
        ("ended with exit code 3".to_owned(), "bad row".to_owned())
    );
    let (_, stderr) = failed(&["sh", "-c", "seq 1 100000 >&2; exit 1"]);
    assert!(stderr.ends_with("100000") && stderr.len() <= 2048, "{stderr}");
    assert_eq!(failed(&["sh", "-c", "kill -9 $$"]).0, "was killed by signal 9");
    assert!(failed(&["/no/such/command"]).0.starts_with("cannot be started"));
    assert_eq!(failed(&[]).0, "is empty");
}

#[test]
fn a_command_that_says_too_much_is_refused_even_if_it_ends_at_once() {
    let stage = Stage::new();
    let say = |bytes: u64| {
        // A file that is made longer without being written to takes no room.
        let script = format!("truncate -s {bytes} /dev/stderr && cat");
        stage.fetch(&of(&stage, "x", vec![pipe(&["sh", "-c", &script])]), None)
    };
    assert!(matches!(say(MAX_STDERR_BYTES), Ok(Some(_))));
    let error = say(MAX_STDERR_BYTES + 1).unwrap_err();
    assert!(
        matches!(
            error,
            PollError::TooLarge {
                limit: MAX_STDERR_BYTES,
                ..
            }
        ),
        "{error}"
    );
    stage.assert_empty();
}

#[test]
fn a_command_is_killed_with_what_it_started() {
    let stage = Stage::new();
    let mark = stage.path().join("mark");
    let script = format!("(sleep 2; touch {}) & echo $$ >&2; sleep 60", mark.display());
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            stage.stop.store(true, Ordering::Relaxed);
        });
        let error = stage.failed(&of(&stage, "x", vec![pipe(&["sh", "-c", &script])]));
        assert!(matches!(error, PollError::Stopped), "{error}");
    });
    assert!(start.elapsed() < Duration::from_secs(30));
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!mark.exists());
}
