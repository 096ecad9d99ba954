//! What one command costs, where that can be told without a clock.

use interop_tests::{Outcome, Workspace};

/// Where an ELF file says what kind it is, and the kind of one that lies at a fixed place. The loader then has no addresses to
/// put right, of which there are some 270,000: see `cli/build.rs`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_binary_has_a_fixed_place() {
    const KIND: usize = 16;
    const FIXED: [u8; 2] = 2_u16.to_ne_bytes();
    let binary = std::fs::read(interop_tests::peers::odfs_binary().unwrap()).unwrap();
    assert_eq!(binary[KIND..KIND + 2], FIXED);
}

/// Other datasets here.
const OTHERS: usize = 20;

#[test]
fn a_command_about_one_dataset_reads_no_other() -> Outcome {
    let workspace = Workspace::new()?;
    let row = workspace.write("row.csv", "n\n1\n")?;
    let row = row.display().to_string();
    let publish = |name: &str| workspace.odfs(["publish", &row, "--name", name, "--append-all", "--exit"]);
    publish("one")?;
    for n in 0..OTHERS {
        publish(&format!("other-{n}"))?;
    }
    workspace.odfs(["log", "one"])?;
    // By hand: whoever reads what the others are called finds every name taken, or meant twice.
    let one = workspace.dataset("one")?.id;
    let mut names = ["one", "new"].into_iter().cycle();
    for entry in std::fs::read_dir(workspace.store().join("datasets"))? {
        let dir = entry?.path();
        let is_one = dir
            .file_name()
            .is_some_and(|name| one.ends_with(&*name.to_string_lossy()));
        if let Some(name) = names.next().filter(|_| !is_one) {
            std::fs::write(dir.join("info/alias"), name)?;
        }
    }
    for command in [
        &["log", "one"][..],
        &["tail", "one"],
        &["ingest", "one", &row],
        &["publish", &row, "--name", "one", "--append-all", "--exit"],
        &["publish", &row, "--name", "new", "--append-all", "--exit"],
        &["log", "new"],
        &["delete", "new", "--yes"],
        &["delete", "one", "--yes"],
    ] {
        workspace.odfs(command.iter().copied())?;
    }
    Ok(())
}
