//! One contract for everything that comes here, whatever place it comes from.

use std::ops::ControlFlow;
use std::path::PathBuf;

use odf::dataset::{Dataset, RemoteAliases, Sharing};
use odf::disk::Disk;
use odf::metadata::{AddData, Checkpoint, MetadataEvent, Multihash, Timestamp};
use odf::pull::{Address, PullError, PullOptions, pull_from};
use odf::receive::{Arrived, Destination, ReceiveError, Received, Source, receive};
use odf::repository::files::{self, FilesSource};
use odf::repository::http::HttpSource;
use odf::repository::server::{PushLog, Repository, Router, Tokens};
use odf::repository::smart::{Endpoint, SmartSource};
use odf::verify::{Depth, verify};
use url::Url;

use crate::world::{Site, quiet};

/// A way by which a dataset comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Ipfs,
    Directory,
    Http,
    Smart,
}

const WAYS: [Way; 4] = [Way::Ipfs, Way::Directory, Way::Http, Way::Smart];

/// Two workspaces; the datasets of the first can be had by every way.
struct Pair {
    here: Site,
    there: Site,
    server: Url,
    dir: tempfile::TempDir,
}

/// What is wanted of a pull.
#[derive(Default)]
struct Wanted {
    dataset: Option<Dataset>,
    name: &'static str,
    force: bool,
}

impl Pair {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = Site::new(&dir.path().join("here")).await;
        let there = Site::new(&dir.path().join("there")).await;
        there.dial(&here).await;
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let datasets = here.workspace.datasets().clone();
        let pushes = PushLog::of(dir.path(), &Disk::new());
        let router = Repository::new(datasets, tokens, pushes, Default::default()).router(Router::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            here,
            there,
            server,
            dir,
        }
    }

    fn dataset(&self, name: &str) -> Dataset {
        self.here.workspace.catalog().find(name).unwrap()
    }

    /// Brings the dataset that is called `remote` in the first workspace into the second.
    async fn bring(&self, way: Way, remote: &str, wanted: Wanted) -> Result<Received, ReceiveError> {
        let dataset = self.dataset(remote);
        dataset.set_sharing(Sharing::Shared).unwrap();
        if way == Way::Ipfs {
            let cid = self.here.publish(&dataset).await.root.cid;
            let address = Address::Root {
                cid,
                path: String::new(),
            };
            let options = PullOptions {
                dataset: wanted.dataset,
                name: Some(wanted.name.parse().unwrap()),
                alias: true,
                force: wanted.force,
                ..PullOptions::default()
            };
            let (local, fetcher) = (self.there.workspace.local(), self.there.fetcher());
            let pulled = pull_from(local, &self.there.node, &fetcher, &address, options, quiet()).await;
            return match pulled {
                Ok(pulled) => Ok(pulled.received),
                Err(PullError::Receive(error)) => Err(error),
                Err(error) => panic!("{error}"),
            };
        }
        let place: PathBuf = self.dir.path().join("exchange").join(remote);
        let url = self.server.join(&format!("{remote}/")).unwrap();
        tokio::task::block_in_place(|| {
            let source: Box<dyn Source> = match way {
                Way::Directory => {
                    files::push(&dataset, &place, true, &|_| ControlFlow::Continue(())).unwrap();
                    Box::new(FilesSource::new(&place))
                }
                Way::Http => Box::new(HttpSource::new(&url, None)),
                Way::Smart => {
                    let endpoint = Endpoint::new(&url, None);
                    let datasets = self.there.workspace.datasets();
                    let open = SmartSource::open(endpoint, datasets, wanted.dataset.as_ref(), wanted.force, &|_| {
                        ControlFlow::Continue(())
                    });
                    Box::new(open?)
                }
                Way::Ipfs => unreachable!(),
            };
            let destination = Destination {
                dataset: wanted.dataset,
                aliases: RemoteAliases {
                    pull_aliases: vec![source.place().to_owned()],
                    push_aliases: Vec::new(),
                },
                force: wanted.force,
                ..Destination::named(wanted.name.parse().unwrap())
            };
            let datasets = self.there.workspace.datasets();
            receive(datasets, &*source, destination, &|_| ControlFlow::Continue(()))
        })
    }

    /// The local copy is the remote dataset, to the last byte, and is laid out.
    fn same(&self, remote: &Dataset) {
        let datasets = self.there.workspace.datasets();
        let copy = datasets.catalog().by_id(&remote.id()).unwrap().unwrap();
        assert_eq!(copy.state(), remote.state());
        verify(&copy, datasets.mirror(), Depth::Rows, &|_| {}).unwrap();
        let laid_out = self.there.workspace.layout().latest_of(&copy).unwrap().unwrap();
        assert_eq!(laid_out.head, *remote.head());
        let root = self.here.workspace.layout().update(remote).unwrap();
        assert_eq!(
            laid_out.cid, root.cid,
            "the same dataset has the same root, however it came"
        );
        let pins = self
            .there
            .workspace
            .store()
            .pins(Some(&remote.id().to_string()))
            .unwrap();
        assert!(pins.iter().any(|pin| pin.cid == root.cid));
        for kind in ["data", "checkpoints"] {
            for entry in std::fs::read_dir(copy.dir().join(kind)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.starts_with('.'), "{name} is left over");
            }
        }
    }
}

fn arrived(received: Result<Received, ReceiveError>, way: Way) -> Arrived {
    match received {
        Ok(Received::Updated(arrived)) => arrived,
        other => panic!("{way:?}: {other:?}"),
    }
}

/// Appends a block that names the checkpoint `state`, as engines do also when theirs did not change.
fn with_checkpoint(dataset: &mut Dataset, state: &[u8]) {
    let physical_hash = Multihash::sha3_256(state);
    std::fs::write(dataset.checkpoint_path(&physical_hash), state).unwrap();
    let before = dataset.state().last_added.unwrap();
    let watermark = before.watermark.map_or(0, |time| time.millis());
    let event = AddData {
        prev_checkpoint: before.checkpoint,
        prev_offset: dataset.state().last_offset,
        new_checkpoint: Some(Checkpoint {
            physical_hash,
            size: state.len() as u64,
        }),
        new_watermark: Timestamp::from_millis(watermark + 1),
        ..AddData::default()
    };
    let time = "2026-07-01T00:00:00Z".parse().unwrap();
    dataset
        .append_events(vec![MetadataEvent::AddData(event)], time, None)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_two_blocks_name_comes_once() {
    for way in WAYS {
        let mut pair = Pair::new().await;
        let mut dataset = pair.here.take("counter", 1);
        std::fs::create_dir_all(dataset.dir().join("checkpoints")).unwrap();
        let named = || Wanted {
            name: "copy",
            ..Wanted::default()
        };
        // Twice in what comes first; then once more, in an update, as the only file; then beside another.
        with_checkpoint(&mut dataset, b"state");
        with_checkpoint(&mut dataset, b"state");
        for more in [&[][..], &[b"state"], &[b"other", b"state"]] {
            more.iter()
                .for_each(|state: &&[u8; 5]| with_checkpoint(&mut dataset, *state));
            let update = arrived(pair.bring(way, "counter", named()).await, way);
            assert!(update.blocks >= 1, "{way:?}");
            pair.same(&dataset);
            let checkpoints = std::fs::read_dir(update.dataset.dir().join("checkpoints")).unwrap();
            assert_eq!(checkpoints.count(), if more.len() == 2 { 2 } else { 1 }, "{way:?}");
        }
        // Whoever lays out all of it anew has the same root.
        let root = pair.here.workspace.layout().update(&dataset).unwrap();
        pair.here.workspace.layout().forget(&dataset.id()).unwrap();
        assert_eq!(pair.here.workspace.layout().update(&dataset).unwrap().cid, root.cid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_comes_the_same_by_every_way() {
    for way in WAYS {
        let mut pair = Pair::new().await;
        for rows in 1..=4 {
            pair.here.take("counter", rows);
        }
        let dataset = pair.dataset("counter");
        let named = |name| Wanted {
            name,
            ..Wanted::default()
        };
        let first = arrived(pair.bring(way, "counter", named("copy")).await, way);
        assert_eq!(
            (first.old_head, first.blocks),
            (None, dataset.state().blocks()),
            "{way:?}"
        );
        assert_eq!(first.dataset.name().unwrap().as_str(), "copy");
        let aliases = first.dataset.remote_aliases().unwrap().pull_aliases;
        assert_eq!(aliases.len(), 1, "{way:?}");
        pair.same(&dataset);

        // Whatever it is to be called: it is here.
        let again = pair.bring(way, "counter", named("another")).await;
        assert!(matches!(again, Ok(Received::UpToDate { .. })), "{way:?}: {again:?}");
        assert_eq!(pair.there.workspace.catalog().entries().unwrap().len(), 1);
        pair.here.take("counter", 6);
        let old_head = *dataset.head();
        let dataset = pair.dataset("counter");
        let update = arrived(pair.bring(way, "counter", named("another")).await, way);
        assert_eq!(
            (update.old_head, update.blocks, update.dropped),
            (Some(old_head), 1, 0),
            "{way:?}"
        );
        assert_eq!(update.dataset.name().unwrap().as_str(), "copy");
        let known = update.dataset.remote_aliases().unwrap().pull_aliases;
        assert!(known.starts_with(&aliases), "{way:?}: {known:?}");
        pair.same(&dataset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_are_compared_the_same_by_every_way() {
    for way in WAYS {
        let mut pair = Pair::new().await;
        pair.here.take("counter", 2);
        let named = |name| Wanted {
            name,
            ..Wanted::default()
        };
        arrived(pair.bring(way, "counter", named("copy")).await, way);
        let dataset = pair.dataset("counter");
        let ours = pair.there.take("copy", 5);
        let onto = |force| Wanted {
            dataset: Some(pair.there.workspace.catalog().find("copy").unwrap()),
            name: "copy",
            force,
        };
        for wanted in [onto(false), named("copy")] {
            let ahead = pair.bring(way, "counter", wanted).await;
            assert!(
                matches!(&ahead, Ok(Received::Ahead { by: 1, remote, .. }) if remote == dataset.head()),
                "{way:?}: {ahead:?}"
            );
        }
        let back = arrived(pair.bring(way, "counter", onto(true)).await, way);
        assert_eq!(
            (back.old_head, back.blocks, back.dropped),
            (Some(*ours.head()), 0, 1),
            "{way:?}"
        );
        pair.same(&dataset);

        pair.there.take("copy", 5);
        pair.here.take("counter", 7);
        pair.here.take("counter", 9);
        pair.here.take("other", 3);
        let (dataset, other) = (pair.dataset("counter"), pair.dataset("other"));
        let local = || pair.there.workspace.catalog().find("copy").unwrap();
        let (common, head) = (local().state().blocks() - 1, *local().head());
        let onto = |force| Wanted {
            dataset: Some(local()),
            name: "copy",
            force,
        };
        match pair.bring(way, "counter", onto(false)).await {
            Err(ReceiveError::Diverged {
                local,
                remote,
                common: found,
                ours,
                theirs,
                ..
            }) => {
                assert_eq!((local, remote), (head, *dataset.head()), "{way:?}");
                assert_eq!((found, ours, theirs), (common, 1, 2), "{way:?}");
            }
            other => panic!("{way:?}: {other:?}"),
        }
        assert_eq!(*local().head(), head);
        let taken = arrived(pair.bring(way, "counter", onto(true)).await, way);
        assert_eq!((taken.blocks, taken.dropped), (2, 1), "{way:?}");
        pair.same(&dataset);

        // Another dataset takes no place of this one, not even by force.
        for force in [false, true] {
            let refused = pair.bring(way, "other", onto(force)).await;
            assert!(
                matches!(&refused, Err(ReceiveError::OtherDataset { found, expected, .. })
                    if *found == other.id() && *expected == dataset.id()),
                "{way:?}: {refused:?}"
            );
        }
        assert!(pair.bring(way, "other", named("copy")).await.is_err(), "{way:?}");
        pair.same(&dataset);
    }
}
