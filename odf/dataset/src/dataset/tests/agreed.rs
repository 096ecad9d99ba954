//! What the owner of the machine agreed to: kept with the dataset, by block, whatever becomes of the rest.

use super::approval::MAX_APPROVAL_FILE_BYTES;
use super::cuts::cut;
use super::sharing::MAX_SHARING_BYTES;
use super::*;
use crate::{Grant, Sharing};
use odf_metadata::{FetchStep, MergeStrategy, ReadStep, ReadStepCsv, SetPollingSource};

fn polling(url: &str) -> MetadataEvent {
    MetadataEvent::SetPollingSource(SetPollingSource {
        fetch: FetchStep::Url {
            url: url.to_owned(),
            event_time: None,
            cache: None,
            headers: None,
        },
        prepare: None,
        read: ReadStep::Csv(ReadStepCsv::default()),
        preprocess: None,
        merge: MergeStrategy::Append,
    })
}

fn paths(path: &str) -> Grant {
    Grant {
        paths: vec![PathBuf::from(path)],
        private: false,
    }
}

#[test]
fn an_approval_is_of_one_block() {
    let dir = scratch();
    let mut dataset = make(&open(dir.path()));
    // Without a source there is nothing to approve.
    dataset.approve(paths("/data"), time(1)).unwrap();
    assert_eq!(dataset.approval().unwrap(), None);
    dataset
        .append_events(vec![polling("http://a/")], time(1), None)
        .unwrap();
    assert_eq!(dataset.approval().unwrap(), None);
    dataset.approve(paths("/data"), time(2)).unwrap();
    let first = *dataset.head();
    let approved = dataset.approval().unwrap().unwrap();
    assert_eq!((approved.block, approved.grant), (first, paths("/data")));
    // Rows and other metadata do not matter.
    dataset.append_events(vec![info("x")], time(3), None).unwrap();
    assert!(dataset.approval().unwrap().is_some());
    // The same source in another block does.
    dataset
        .append_events(vec![polling("http://a/")], time(4), None)
        .unwrap();
    assert_eq!(dataset.approval().unwrap(), None);
    dataset.approve(Grant::default(), time(5)).unwrap();
    // Neither approval is lost, with the cache or without.
    let mut dataset = open(dir.path()).find("d").unwrap();
    assert!(dataset.approval().unwrap().unwrap().grant == Grant::default());
    dataset.approve(paths("/other"), time(6)).unwrap();
    assert_eq!(dataset.approval().unwrap().unwrap().grant, paths("/other"));
    assert!(dataset.revoke_approvals().unwrap());
    assert_eq!(dataset.approval().unwrap(), None);
    assert!(!dataset.revoke_approvals().unwrap());
    dataset.append_events(vec![info("y")], time(7), None).unwrap();
}

#[test]
fn the_oldest_of_too_many_approvals_makes_room_and_damage_approves_nothing() {
    let dir = scratch();
    let mut dataset = make(&open(dir.path()));
    for n in 0..=MAX_APPROVALS as u64 {
        dataset
            .append_events(vec![polling(&format!("http://{n}/"))], time(n), None)
            .unwrap();
        dataset.approve(Grant::default(), time(n)).unwrap();
    }
    let file = dataset.dir().join("approved.json");
    let kept: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept.len(), MAX_APPROVALS);
    assert_eq!(kept[MAX_APPROVALS - 1]["block"], dataset.head().to_string());
    for damaged in ["[{", "null", &" ".repeat(MAX_APPROVAL_FILE_BYTES as usize + 1)] {
        fs::write(&file, damaged).unwrap();
        assert!(matches!(dataset.approval(), Err(DatasetError::Damaged { .. })));
    }
    dataset.approve(Grant::default(), time(100)).unwrap();
    assert!(dataset.approval().unwrap().is_some());
}

#[test]
fn a_dataset_is_shared_once_somebody_says_so() {
    let dir = scratch();
    let catalog = open(dir.path());
    let dataset = make(&catalog);
    assert_eq!((dataset.sharing().unwrap(), dataset.is_shared()), (None, false));
    dataset.set_sharing(Sharing::Followed).unwrap();
    assert!(dataset.is_shared() && catalog.is_shared(&id()));
    dataset.set_sharing(Sharing::Stopped).unwrap();
    // To go on following it does not share it again.
    dataset.set_sharing(Sharing::Followed).unwrap();
    assert_eq!(
        (dataset.sharing().unwrap(), dataset.is_shared()),
        (Some(Sharing::Stopped), false)
    );
    dataset.set_sharing(Sharing::Published).unwrap();
    assert!(catalog.is_shared(&id()));
    for damaged in ["{", &" ".repeat(MAX_SHARING_BYTES as usize + 1)] {
        fs::write(dataset.dir().join("shared.json"), damaged).unwrap();
        assert!(!dataset.is_shared() && dataset.sharing().is_err());
        // It may have said that it is not shared.
        dataset.set_sharing(Sharing::Followed).unwrap();
        assert!(!dataset.is_shared());
    }
    dataset.set_sharing(Sharing::Shared).unwrap();
    assert!(dataset.is_shared());
    assert!(!catalog.is_shared(&DatasetId::from_public_key([77; 32])));
}

#[test]
fn an_approval_is_there_or_not_wherever_the_power_goes() {
    let prepare = |dir: &Path| {
        let mut dataset = make(&open(dir));
        dataset
            .append_events(vec![polling("http://a/")], time(1), None)
            .unwrap();
        dataset.approve(paths("/old"), time(1)).unwrap();
    };
    let change = |catalog: &Catalog| catalog.find("d").unwrap().approve(paths("/new"), time(2)).unwrap();
    cut(prepare, change, |cut| {
        let found = open(cut.dir).find("d").unwrap().approval().unwrap().unwrap();
        let new = found.grant == paths("/new");
        assert!(new || found.grant == paths("/old") && !cut.is_acknowledged(), "{cut}");
    });
}
