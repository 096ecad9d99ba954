//! Publish in one process, pull in another: two workspaces, no shared directory, real sockets.

use interop_tests::process::Running;
use interop_tests::workspace::dataset::{number_before, same_dataset, table};
use interop_tests::workspace::{LIMIT, earthquakes};
use interop_tests::{Outcome, Workspace};
use std::fs;
use std::process::Stdio;

/// The first `rows` rows of the example table.
fn first_rows(rows: usize) -> Outcome<String> {
    let all = fs::read_to_string(earthquakes())?;
    let lines: Vec<&str> = all.split_inclusive('\n').take(rows + 1).collect();
    assert_eq!(lines.len(), rows + 1, "the example table has {rows} rows");
    Ok(lines.concat())
}

#[test]
fn a_published_table_is_pulled_and_its_growth_follows() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    let file = here.write("quakes.csv", first_rows(1_500)?)?.display().to_string();

    let published = here.publish(&[&file, "--name", "quakes", "--event-time", "time"])?;
    assert_eq!(here.dataset("quakes")?.records, 1_500);
    assert_eq!(here.dataset("quakes")?.id.len(), "did:odf:fed01".len() + 64);

    // What was printed for others works as it stands, but for the address that loopback peers cannot find.
    let words: Vec<&str> = published.pull.split_whitespace().skip(1).collect();
    let first = there.odfs([&words[..], &["--as", "earthquakes", "--peer", &node.address]].concat())?;
    let first_blocks =
        number_before(&(first.text() + &first.stderr), "block").ok_or_else(|| first.failure("counts no blocks"))?;
    same_dataset((&here, "quakes"), (&there, "earthquakes"))?;

    let again = here.publish(&[&file, "--name", "quakes", "--event-time", "time"])?;
    assert!(
        (again.said.text() + &again.said.stderr)
            .to_lowercase()
            .contains("up to date"),
        "{}",
        again.said.text()
    );
    assert_eq!(again.root, published.root);
    let nothing = there.odfs(["pull", "earthquakes", "--peer", &node.address])?;
    assert!(
        (nothing.text() + &nothing.stderr).to_lowercase().contains("up to date"),
        "{}",
        nothing.text()
    );

    fs::write(&file, first_rows(1_707)?)?;
    let grown = here.publish(&[&file, "--name", "quakes", "--event-time", "time"])?;
    let said = grown.said.text() + &grown.said.stderr;
    assert!(
        said.contains("Updated quakes to") && said.contains("(1 block(s))"),
        "{said}"
    );
    assert_eq!(grown.name, published.name);
    assert_ne!(grown.root, published.root);

    let update = there.odfs(["pull", "earthquakes", "--peer", &node.address])?;
    let update_blocks =
        number_before(&(update.text() + &update.stderr), "block").ok_or_else(|| update.failure("counts no blocks"))?;
    assert!(
        update_blocks < first_blocks,
        "the update fetched {update_blocks} blocks, the first pull {first_blocks}"
    );
    assert_eq!(there.dataset("earthquakes")?.records, 1_707);
    same_dataset((&here, "quakes"), (&there, "earthquakes"))?;

    // Everything is still there when the node is gone.
    node.stop()?;
    same_dataset((&here, "quakes"), (&there, "earthquakes"))
}

#[test]
fn a_name_is_pulled_by_every_form_of_it() -> Outcome {
    let here = Workspace::new()?;
    let node = here.node()?;
    let file = here.write("t.csv", table(10))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;
    let id = here.dataset("t")?.id;
    let forms = [
        format!("ipns://{}", published.name),
        published.name,
        id,
        format!("ipfs://{}", published.root),
    ];
    for (n, form) in forms.iter().enumerate() {
        let there = Workspace::new()?;
        let name = format!("t{n}");
        there.odfs(["pull", form, "--as", &name, "--peer", &node.address])?;
        same_dataset((&here, "t"), (&there, &name))?;
    }
    Ok(())
}

#[test]
fn every_format_of_a_table_is_published() -> Outcome {
    let workspace = Workspace::new()?;
    for (name, content) in [
        ("c.csv", "a,b\n1,x\n2,y\n"),
        ("n.ndjson", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n"),
        ("j.json", "[{\"a\":1,\"b\":\"x\"},{\"a\":2,\"b\":\"y\"}]"),
        (
            "g.geojson",
            "{\"type\":\"FeatureCollection\",\"features\":[\
             {\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]},\"properties\":{\"a\":1}},\
             {\"type\":\"Feature\",\"geometry\":null,\"properties\":{\"a\":2}}]}",
        ),
    ] {
        let file = workspace.write(name, content)?.display().to_string();
        let dataset = name.replace('.', "-");
        workspace.publish(&[&file, "--name", &dataset])?;
        assert_eq!(workspace.dataset(&dataset)?.records, 2, "{name}");
        workspace.odfs(["verify", &dataset])?;
    }
    Ok(())
}

#[test]
fn standard_input_is_published() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(25))?;
    let command = workspace.command(["publish", "-", "--format", "csv", "--name", "t", "--exit"])?;
    Running::start_reading(command, Stdio::from(fs::File::open(file)?))?
        .finish(LIMIT)?
        .success()?;
    assert_eq!(workspace.dataset("t")?.records, 25);
    Ok(())
}

#[test]
fn the_demo_does_the_whole_job_and_ends() -> Outcome {
    let workspace = Workspace::new()?;
    let said = workspace.odfs(["demo", &earthquakes().display().to_string()])?;
    let text = said.text() + &said.stderr;
    for step in ["published", "fetched", "verified", "update arrived", " ms)"] {
        assert!(text.contains(step), "the demo does not speak of {step}:\n{text}");
    }
    Ok(())
}

#[test]
fn local_commands_answer_while_a_node_runs_and_after() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(10))?.display().to_string();
    let node = workspace.node()?;
    workspace.publish(&[&file, "--name", "t"])?;
    let through = [workspace.tail("t", 5)?, workspace.chain("t")?];
    // Several at once, all through the one owner.
    let running: Vec<_> = (0..8)
        .map(|_| workspace.start(["tail", "t", "-n", "5", "--output", "csv"]))
        .collect::<Result<_, _>>()?;
    for one in running {
        assert_eq!(one.finish(LIMIT)?.success()?.text(), through[0]);
    }
    node.process.kill()?;
    assert_eq!([workspace.tail("t", 5)?, workspace.chain("t")?], through);
    workspace.odfs(["rename", "t", "renamed"])?;
    workspace.odfs(["verify", "renamed"])?;
    workspace.odfs(["--yes", "delete", "renamed"])?;
    assert_eq!(workspace.listed("renamed")?, None);
    Ok(())
}
