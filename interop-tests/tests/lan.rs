//! Two machines on one wire that know nothing of each other.

use interop_tests::netns::Wire;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Outcome, Workspace};

#[test]
fn a_dataset_is_found_by_mdns_with_no_address_given() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::in_namespace(wire.left().name())?;
    let there = Workspace::in_namespace(wire.right().name())?;
    let _node = here.node()?;
    let file = here.write("t.csv", table(1_500))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;

    there.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    same_dataset((&here, "t"), (&there, "t"))?;

    here.write("t.csv", table(1_600))?;
    here.publish(&[&file, "--name", "t"])?;
    there.odfs(["pull", "t"])?;
    assert_eq!(there.dataset("t")?.records, 1_600);
    same_dataset((&here, "t"), (&there, "t"))
}
