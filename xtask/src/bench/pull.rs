//! First pull of a dataset of many slices.

use super::row::{Beside, Figure, Row, Scale};
use super::scale::{NAME, Strategy, Subject};
use crate::Failure;
use interop_tests::kubo::KAMU_FLAGS;
use interop_tests::{Kubo, Workspace};

/// odfs pulls, verifies and moves the head. Beside it a second Kubo fetches the same directory from the first, into
/// its store and out to files, and verifies nothing but hashes of blocks.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let mut dataset = Subject::new(Strategy::Append)?;
    let mut rows = Vec::new();
    for slices in scale.slices {
        dataset.grow_to((*slices).into())?;
        dataset.append()?;
        rows.push(first(&dataset, *slices)?);
    }
    Ok(rows)
}

fn first(dataset: &Subject, slices: u32) -> Result<Row, Failure> {
    let to = Workspace::new()?;
    let odfs = to
        .odfs([
            "pull",
            &format!("ipns://{}", dataset.name),
            "--peer",
            &dataset.node()?.address,
        ])?
        .took;

    let kubo = (
        Kubo::daemon()?.ok_or("Kubo is required")?,
        Kubo::daemon()?.ok_or("Kubo is required")?,
    );
    let copy = kubo.0.path().join("dataset");
    dataset.workspace.odfs(["export", NAME, &copy.display().to_string()])?;
    let root = kubo.0.add(&copy, &KAMU_FLAGS)?;
    kubo.1.connect(&kubo.0.address()?)?;
    let fetched = kubo.1.run(["get", &root])?.success()?.took;
    let what = format!("first pull of {slices} slices");
    Ok(Row {
        what,
        odfs: Figure::Took(odfs),
        beside: Beside::kubo(Figure::Took(fetched)),
        wanted: "ratio of 1 at least; 0.8 s for 1,000, 5 s for 10,000",
        more: String::new(),
    })
}
