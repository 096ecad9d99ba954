//! Chains of many pages, and the chain as one file.

use std::ops::ControlFlow;

use super::*;
use crate::files::Pushed;
use crate::http::HttpSource;
use crate::smart::{Endpoint, PAGE_BLOCKS, SmartSource, Visibility, push};
use odf_dataset::Dataset;
use odf_dataset::receive::{Destination, Progress, ReceiveError, Received, Source, receive};

/// More blocks than one message of the smart protocol holds as a rule; fewer where every block takes long.
const LONG: u64 = if cfg!(debug_assertions) {
    2 * PAGE_BLOCKS as u64 + 7
} else {
    60_000
};

const QUIET: fn(Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());

fn here() -> (TempDir, Datasets) {
    let dir = tempfile::tempdir().unwrap();
    let datasets = crate::datasets_in(dir.path());
    (dir, datasets)
}

fn take(here: &Datasets, source: &dyn Source, dataset: Option<Dataset>) -> Result<Received, ReceiveError> {
    let destination = Destination {
        dataset,
        ..Destination::named("ds".parse().unwrap())
    };
    receive(here, source, destination, &QUIET)
}

fn over_http(served: &Served) -> HttpSource {
    HttpSource::new(&served.url("ds/").parse().unwrap(), None)
}

fn by_smart_protocol(served: &Served, here: &Datasets, dataset: Option<&Dataset>) -> SmartSource {
    let endpoint = Endpoint::new(&served.url("ds/").parse().unwrap(), None);
    SmartSource::open(endpoint, here, dataset, false, &QUIET).unwrap()
}

#[test]
fn a_chain_of_many_pages_moves_by_either_transport_and_in_both_directions() {
    let blocks = sample::chain(sample::id(1), LONG, LONG, "");
    let head = *blocks.last().unwrap().hash();
    let there = Served::new().holding("ds", &blocks, &[]);
    drop(blocks);
    let (_dir, by_http) = here();
    let received = take(&by_http, &over_http(&there), None).unwrap();
    let pulled = received.dataset();
    assert_eq!((pulled.head(), pulled.state().blocks()), (&head, LONG));

    let (_dir, by_smart) = here();
    let received = take(&by_smart, &by_smart_protocol(&there, &by_smart, None), None).unwrap();
    let pulled = received.dataset();
    assert_eq!((pulled.head(), pulled.state().blocks()), (&head, LONG));

    let other = Served::new();
    let endpoint = Endpoint::new(&other.url("ds").parse().unwrap(), Some(other.token()));
    let pushed = push(pulled, &endpoint, Visibility::Private, false, &QUIET).unwrap();
    let (old_head, blocks) = (None, LONG);
    assert_eq!(pushed, Pushed::Updated { old_head, blocks });
    assert_eq!(other.head("ds"), head.to_string());
    // Each page was a push.
    let log = other.pushes.list().unwrap();
    assert_eq!(log.len() as u64, LONG.div_ceil(PAGE_BLOCKS as u64));
    assert_eq!(log.iter().map(|pushed| pushed.blocks).sum::<u64>(), LONG);
    let again = push(pulled, &endpoint, Visibility::Private, false, &QUIET).unwrap();
    assert_eq!(again, Pushed::UpToDate);
}

#[test]
fn a_page_of_blocks_with_many_files_moves_by_either_transport() {
    // More files than are settled together, or asked for at once.
    let (blocks, files) = sample::with_files(sample::id(1), 600);
    let there = Served::new().holding("ds", &blocks, &files);
    let (_dir, by_http) = here();
    take(&by_http, &over_http(&there), None).unwrap();
    let (_dir, by_smart) = here();
    let received = take(&by_smart, &by_smart_protocol(&there, &by_smart, None), None).unwrap();
    let other = Served::new();
    let endpoint = Endpoint::new(&other.url("ds").parse().unwrap(), Some(other.token()));
    push(received.dataset(), &endpoint, Visibility::Private, false, &QUIET).unwrap();
    for datasets in [&by_http, &by_smart, &other.workspace] {
        let dataset = datasets.catalog().find("ds").unwrap();
        assert_eq!(dataset.head(), blocks.last().unwrap().hash());
        for (object, bytes) in &files {
            assert_eq!(std::fs::read(object.path(dataset.dir())).unwrap(), *bytes);
        }
        for kind in ObjectKind::ALL {
            let names = std::fs::read_dir(dataset.dir().join(kind.directory())).unwrap();
            assert_eq!(names.count(), 600, "nothing else is left");
        }
    }
}

#[test]
fn what_is_new_of_a_long_chain_is_asked_for_from_where_the_local_one_ends() {
    let trunk = sample::chain(sample::id(1), 200, 200, "");
    let branch = sample::chain(sample::id(1), 200, 5, "another way");
    let there = Served::new().holding("ds", &trunk, &[]);
    for (ours, common) in [(&trunk[..100], 100), (&branch[..], 5)] {
        let (_dir, datasets) = here();
        let name = "ds".parse().unwrap();
        let arrival = Arrival::begin(&datasets, sample::id(1), &name, RemoteAliases::default()).unwrap();
        let local = arrival.commit(ours, false).unwrap().dataset;
        drop(arrival);
        let source = over_http(&there);
        match (take(&datasets, &source, Some(local)), common) {
            (Ok(Received::Updated(arrived)), 100) => {
                assert_eq!(arrived.blocks, 100);
                assert_eq!(arrived.dataset.head(), trunk[199].hash());
                assert!(!source.is_far(), "they came at once");
            }
            (
                Err(ReceiveError::Diverged {
                    common, ours, theirs, ..
                }),
                5,
            ) => {
                assert_eq!((common, ours, theirs), (5, 195, 195));
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_chain_is_a_file_that_can_be_had_from_a_byte_on() {
    let (blocks, files) = sample::with_files(sample::id(1), 2);
    let served = Served::new().holding("ds", &blocks, &files);
    let served = served.hiding("hidden", &sample::chain(sample::id(2), 2, 2, ""), &[]);
    let entry = |block: &EncodedBlock| [&(block.bytes().len() as u32).to_le_bytes()[..], block.bytes()].concat();
    let whole: Vec<u8> = blocks.iter().flat_map(entry).collect();
    let length = whole.len();
    let ask = |range: Option<&str>| {
        let agent = http::agent("", None);
        let mut request = agent.get(served.url("ds/chain"));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let response = request.call().unwrap();
        let range = response.headers().get("content-range");
        let range = range.map(|range| range.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        (status, range, response.into_body().read_to_vec().unwrap())
    };
    assert_eq!(ask(None), (200, None, whole.clone()));
    for from in [0, 1, 7, length - 1] {
        let range = format!("bytes {from}-{}/{length}", length - 1);
        let asked = ask(Some(&format!("bytes={from}-")));
        assert_eq!(asked, (206, Some(range), whole[from..].to_vec()));
    }
    for behind in [length, length + 1] {
        let asked = ask(Some(&format!("bytes={behind}-")));
        assert_eq!(asked, (416, Some(format!("bytes */{length}")), Vec::new()));
    }
    for (asked, from, to) in [("bytes=-5", length - 5, length), ("bytes=1-2", 1, 3)] {
        let range = format!("bytes {from}-{}/{length}", to - 1);
        assert_eq!(ask(Some(asked)), (206, Some(range), whole[from..to].to_vec()));
    }
    for other in ["bytes=x-", "lines=1-"] {
        assert_eq!(ask(Some(other)), (200, None, whole.clone()), "{other}");
    }
    // Whoever may not read is told what is told of a dataset that is not there.
    assert_eq!(served.get("hidden/chain").status, 404);
    assert_eq!(served.get("nothing/chain").status, 404);
    let token = served.token();
    let hidden = served.request("GET", "hidden/chain", Some(&token), None);
    assert_eq!(hidden.status, 200);
}
