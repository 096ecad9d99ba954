//! Small objects that arrive are not read again to be laid out.

use odf_dataset::RemoteAliases;
use odf_dataset::receive::{Arrival, Arrived};

use super::*;

/// A dataset of three slices.
struct Coming {
    id: DatasetId,
    blocks: Vec<EncodedBlock>,
}

impl Coming {
    fn new(key: u8) -> Self {
        let mut blocks = Vec::new();
        for _ in 0..5 {
            blocks.push(next(key, &blocks));
        }
        let id = DatasetId::from_public_key([key; 32]);
        Self { id, blocks }
    }

    fn begin(&self, local: &Local) -> Arrival {
        let name = "coming".parse().unwrap();
        Arrival::begin(local.datasets(), self.id, &name, RemoteAliases::default()).unwrap()
    }

    /// Takes all objects.
    fn take(&self, key: u8, arrival: &Arrival) {
        for block in &self.blocks {
            for object in Object::of(block) {
                let mut sink = arrival.sink(&object).unwrap();
                let bytes = content(key, block.block().sequence_number - 2);
                bytes.chunks(70_000).for_each(|piece| sink.write(piece).unwrap());
                sink.finish().unwrap();
            }
        }
        arrival.settle().unwrap();
    }

    /// As [`Self::take`], and then writes something else of the same length into their files.
    fn take_and_tamper(&self, key: u8, arrival: &Arrival) {
        self.take(key, arrival);
        for object in self.blocks.iter().flat_map(Object::of) {
            fs::write(object.path(arrival.dir()), vec![0; object.size as usize]).unwrap();
        }
    }

    fn commit(&self, arrival: &Arrival) -> Arrived {
        arrival.commit(self.blocks.clone(), false).unwrap()
    }

    /// The root that whoever reads the files makes.
    fn root(&self, key: u8) -> Cid {
        let dir = tempfile::tempdir().unwrap();
        let local = open(dir.path());
        let dataset = make(&local, key, "coming", 3);
        local.layout().update(&dataset).unwrap().cid
    }
}

#[test]
fn what_arrives_is_laid_out_by_the_bytes_that_were_checked() {
    let (dir, coming) = (tempfile::tempdir().unwrap(), Coming::new(SHORT));
    let local = open(dir.path());
    let arrival = coming.begin(&local);
    coming.take_and_tamper(SHORT, &arrival);
    let dataset = coming.commit(&arrival).dataset;
    let root = local.layout().latest(&coming.id).unwrap().unwrap();
    assert_eq!(root.cid, coming.root(SHORT));
    // Whoever asks for a leaf is told the truth all the same.
    let served = local.layout().check(&dataset, &|_| {}).unwrap();
    assert!(served.is_at_head);
    assert_eq!(served.lacking, 3, "{served:?}");
}

#[test]
fn what_an_earlier_arrival_left_is_read() {
    let (dir, coming) = (tempfile::tempdir().unwrap(), Coming::new(SHORT));
    let local = open(dir.path());
    coming.take_and_tamper(SHORT, &coming.begin(&local));
    let dataset = coming.commit(&coming.begin(&local)).dataset;
    let root = local.layout().latest(&coming.id).unwrap().unwrap();
    assert_ne!(root.cid, coming.root(SHORT));
    assert!(local.layout().check(&dataset, &|_| {}).unwrap().is_whole());
}

#[test]
fn larger_ones_are_cut_when_they_are_here() {
    let (dir, coming) = (tempfile::tempdir().unwrap(), Coming::new(CHUNKS));
    let local = open(dir.path());
    let arrival = coming.begin(&local);
    coming.take(CHUNKS, &arrival);
    let dataset = coming.commit(&arrival).dataset;
    let root = local.layout().latest(&coming.id).unwrap().unwrap();
    assert_eq!(root.cid, coming.root(CHUNKS));
    assert!(local.layout().check(&dataset, &|_| {}).unwrap().is_whole());
}
