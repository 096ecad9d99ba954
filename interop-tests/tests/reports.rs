//! What commands that do something tell programs: `docs/json.md` lists it.

use std::fs;

use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};

#[test]
fn a_pull_tells_programs_what_came_of_each_dataset() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    let file = here.write("stations.csv", table(3))?.display().to_string();
    let address = format!("ipns://{}", here.publish(&[&file])?.name);
    let pull = ["pull", &address, "--as", "far", "--peer", &node.address, "-o", "json"];
    let finished = there.odfs(pull)?;
    // The words for people are on standard error, all of them.
    assert!(finished.stderr.contains("Pulled far at "), "{}", finished.stderr);
    let told = finished.json()?;
    let far = there.dataset("far")?;
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(
        (&told[0]["dataset"], &told[0]["result"]),
        (&"far".into(), &"pulled".into())
    );
    assert_eq!(
        (&told[0]["head"], &told[0]["id"]),
        (&far.head.clone().into(), &far.id.into())
    );
    assert_eq!(
        (&told[0]["from"], &told[0]["blocks"]),
        (&address.into(), &far.blocks.into())
    );
    assert!(
        told[0]["bytes"].as_u64() > Some(0) && told[0]["oldHead"].is_null(),
        "{told}"
    );

    fs::write(&file, table(4))?;
    here.publish(&[&file])?;
    let again = ["pull", "far", "--peer", &node.address, "-o", "json"];
    let told = there.odfs(again)?.json()?;
    assert_eq!((&told[0]["result"], &told[0]["blocks"]), (&"updated".into(), &1.into()));
    assert_eq!(told[0]["oldHead"], far.head);
    let told = there.odfs(again)?.json()?;
    assert_eq!(
        (&told[0]["result"], &told[0]["blocks"]),
        (&"upToDate".into(), &0.into())
    );
    node.stop()?;

    let offline = there.odfs(["pull", "far", "--offline", "-o", "json"])?.json()?;
    assert_eq!(offline[0]["result"], "notAsked");
    let failed = there.refused(["pull", "far", "-o", "json"])?;
    assert_eq!(failed.code(), Some(9), "{}", failed.stderr);
    let told = failed.json()?;
    assert_eq!(told[0]["result"], "failed");
    assert!(
        told[0]["next"].as_str().is_some_and(|next| next.contains("--offline")),
        "{told}"
    );
    Ok(())
}
