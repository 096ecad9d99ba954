//! Sources that are files.

use std::time::SystemTime;

use super::*;
use odf_metadata::SourceOrdering;

fn file_url(path: &Path) -> SetPollingSource {
    url(&format!("file://{}", path.display()))
}

fn glob(pattern: &str, event_time: Option<EventTimeSource>, order: Option<SourceOrdering>) -> SetPollingSource {
    source(FetchStep::FilesGlob {
        path: pattern.to_owned(),
        event_time,
        cache: None,
        order,
    })
}

#[test]
fn a_file_is_read_in_place_when_its_time_changed() {
    let stage = Stage::new();
    let path = stage.file("a b.csv", "x");
    let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_767_225_600_123_600_000);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let source = file_url(Path::new(&path.display().to_string().replace(' ', "%20")));
    let fetched = stage.fetched(&source, None);
    assert_eq!(fetched.path(), path);
    // To the nearest millisecond.
    assert_eq!(
        fetched.state,
        Some(state(KIND_LAST_MODIFIED, "2026-01-01T00:00:00.124Z"))
    );
    assert_eq!(fetched.event_time.to_string(), "2026-01-01T00:00:00.124Z");
    let again = stage.fetch(&source, fetched.state.as_ref()).unwrap();
    assert!(again.is_none());
    // Older counts as changed, too; an ETag is not of this source.
    for other in [state(KIND_LAST_MODIFIED, "2027-01-01T00:00:00Z"), state(KIND_ETAG, "x")] {
        stage.fetched(&source, Some(&other));
    }
    drop(fetched);
    assert!(path.exists());
    assert!(matches!(
        stage.failed(&file_url(&stage.path().join("none"))),
        PollError::NotFound(_)
    ));
    assert!(matches!(
        stage.failed(&file_url(stage.path())),
        PollError::BadFile { .. }
    ));
}

#[test]
fn files_of_a_glob_are_taken_one_by_one_in_the_order_of_their_names() {
    let stage = Stage::new();
    for name in ["in/b/2.csv", "in/a/3.csv", "in/c/1.csv", "in/a/x.txt"] {
        stage.file(name, name);
    }
    fs::create_dir_all(stage.path().join("in/d/0.csv")).unwrap();
    let source = glob("in/**/*.csv", None, Some(SourceOrdering::ByName));
    let mut previous = None;
    let mut seen = Vec::new();
    loop {
        let fetched = stage.fetched(&source, previous.as_ref());
        assert_eq!(fetched.event_time.to_string(), NOW);
        seen.push(fs::read_to_string(fetched.path()).unwrap());
        previous = fetched.state.clone();
        if !fetched.has_more {
            break;
        }
    }
    assert_eq!(seen, ["in/c/1.csv", "in/b/2.csv", "in/a/3.csv"]);
    assert_eq!(previous, Some(state(KIND_ETAG, "3.csv")));
    assert!(stage.fetch(&source, previous.as_ref()).unwrap().is_none());
    // What comes later under a lower name is passed over.
    stage.file("in/0.csv", "");
    assert!(stage.fetch(&source, previous.as_ref()).unwrap().is_none());
    stage.file("in/4.csv", "");
    assert!(!stage.fetched(&source, previous.as_ref()).has_more);
}

#[test]
fn the_name_of_a_file_gives_the_event_time() {
    let stage = Stage::new();
    let path = stage.file("in/trips-2024-03-05.csv", "");
    let pattern = EventTimeSource::FromPath {
        pattern: r"trips-(.*)\.csv".to_owned(),
        timestamp_format: None,
    };
    // An absolute pattern needs no base.
    let absolute = format!("{}/*.csv", path.parent().unwrap().display());
    let fetched = stage.fetched(&glob(&absolute, Some(pattern), None), None);
    assert_eq!(fetched.event_time.to_string(), "2024-03-05T00:00:00Z");
    let from_metadata = glob(&absolute, Some(EventTimeSource::FromMetadata), None);
    assert!(matches!(stage.failed(&from_metadata), PollError::EventTime(_)));
}

#[test]
fn patterns_that_cannot_be_followed_are_told() {
    let stage = Stage::new();
    stage.file("a/x.csv", "");
    stage.file("b/x.csv", "");
    let by_time = glob("*.csv", None, Some(SourceOrdering::ByEventTime));
    assert!(matches!(stage.failed(&by_time), PollError::Order(_)));
    assert!(matches!(
        stage.failed(&glob("a***", None, None)),
        PollError::Glob { .. }
    ));
    assert!(matches!(
        stage.failed(&glob("*.json", None, None)),
        PollError::NotFound(_)
    ));
    assert!(matches!(
        stage.failed(&glob("*/x.csv", None, None)),
        PollError::SameName { .. }
    ));
    // The same name behind what was taken does no harm.
    let taken = state(KIND_ETAG, "x.csv");
    let outcome = stage.fetch(&glob("*/x.csv", None, None), Some(&taken)).unwrap();
    assert!(outcome.is_none());
}
