//! Sources against servers that lie and die, files that change, archives and commands that misbehave.

mod consent;
mod files;
mod http;
mod prepare;
mod server;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use odf_metadata::{DEFAULT_SOURCE, EventTimeSource, MergeStrategy, PrepStep, ReadStep, ReadStepCsv, RequestHeader};

pub(super) const NOW: &str = "2026-02-03T04:05:06.789Z";

/// A spool directory and what surrounds a fetch.
pub(super) struct Stage {
    pub(super) dir: TempDir,
    pub(super) http: HttpOptions,
    pub(super) stop: AtomicBool,
    /// The files that were agreed on; `None` where nobody has agreed to anything.
    pub(super) agreed: Option<Vec<PathBuf>>,
    pub(super) bounds: Bounds,
    /// What is free on the disk.
    pub(super) free: Option<u64>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        Stage {
            dir,
            http: HttpOptions {
                connect_timeout: Duration::from_secs(5),
                stall_timeout: Duration::from_millis(700),
                ..HttpOptions::default()
            },
            stop: AtomicBool::new(false),
            agreed: Some(vec![PathBuf::from("/")]),
            bounds: Bounds::default(),
            free: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn fetch(
        &self,
        source: &SetPollingSource,
        previous: Option<&SourceState>,
    ) -> Result<Option<Fetched>, PollError> {
        let around = Surroundings {
            spool: &self.path().join("spool"),
            consent: match &self.agreed {
                Some(paths) => Consent::Given { paths, private: true },
                None => Consent::Missing,
            },
            bounds: &self.bounds,
            base: self.path(),
            now: NOW.parse().unwrap(),
            http: &self.http,
            variables: &|name| (name == "SECRET").then(|| "s3cret".to_owned()),
            environment: &[("PATH".into(), "/usr/bin:/bin".into()), ("SEEN".into(), "yes".into())],
            unpack_ratio: UNPACK_RATIO,
            free_bytes: &|_| self.free,
            stop: &|| self.stop.load(Ordering::Relaxed),
            progress: &|_| {},
        };
        fetch(source, previous, &around)
    }

    #[track_caller]
    pub(super) fn fetched(&self, source: &SetPollingSource, previous: Option<&SourceState>) -> Fetched {
        self.fetch(source, previous).unwrap().expect("there is something newer")
    }

    #[track_caller]
    pub(super) fn failed(&self, source: &SetPollingSource) -> PollError {
        let error = self.fetch(source, None).unwrap_err();
        self.assert_empty();
        error
    }

    /// Nothing stays behind.
    #[track_caller]
    pub(super) fn assert_empty(&self) {
        let left: Vec<_> = fs::read_dir(self.path().join("spool")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(super) fn source(fetch: FetchStep) -> SetPollingSource {
    SetPollingSource {
        fetch,
        prepare: None,
        read: ReadStep::Csv(ReadStepCsv::default()),
        preprocess: None,
        merge: MergeStrategy::Append,
    }
}

pub(super) fn url(url: &str) -> SetPollingSource {
    source(FetchStep::Url {
        url: url.to_owned(),
        event_time: None,
        cache: None,
        headers: None,
    })
}

pub(super) fn prepared(mut source: SetPollingSource, steps: Vec<PrepStep>) -> SetPollingSource {
    source.prepare = Some(steps);
    source
}

pub(super) fn state(kind: &str, value: &str) -> SourceState {
    SourceState {
        source_name: DEFAULT_SOURCE.to_owned(),
        kind: kind.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn kinds_that_are_not_fetched_say_what_to_do() {
    let stage = Stage::new();
    let sources = [
        source(FetchStep::Container {
            image: "ghcr.io/x/y".to_owned(),
            command: None,
            args: None,
            env: None,
        }),
        source(FetchStep::Mqtt {
            host: "broker".to_owned(),
            port: 1883,
            username: None,
            password: None,
            topics: Vec::new(),
        }),
        source(FetchStep::EthereumLogs {
            chain_id: Some(1),
            node_url: None,
            filter: None,
            signature: None,
        }),
        url("ftp://host/file"),
    ];
    for source in sources {
        let error = stage.failed(&source);
        assert!(
            matches!(&error, PollError::Unsupported { instead, .. } if !instead.is_empty()),
            "{error}"
        );
    }
    for bad in ["", "data.csv", "gopher://x/", "file://relative/x", "http://"] {
        assert!(matches!(stage.failed(&url(bad)), PollError::Url { .. }), "{bad}");
    }
}

#[test]
fn a_state_of_another_kind_is_none() {
    assert_eq!(State::read(&state("odfs/prefix", "12")), None);
    assert_eq!(State::read(&state(KIND_LAST_MODIFIED, "yesterday")), None);
    for (kind, value) in [(KIND_ETAG, "\"x\""), (KIND_LAST_MODIFIED, "2026-01-01T00:00:00.120Z")] {
        let known = state(kind, value);
        assert_eq!(State::read(&known).unwrap().write(), known);
    }
}

#[test]
fn states_are_those_of_the_golden_chains() {
    // weather.seattle, served with Last-Modified of four days in turn.
    let golden = State::LastModified("2026-01-03T00:00:00Z".parse().unwrap()).write();
    assert_eq!(golden, state("odf/last-modified", "2026-01-03T00:00:00Z"));
}
