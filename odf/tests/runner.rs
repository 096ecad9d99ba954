//! Datasets through the public API: laid out, published, pulled between real peers on loopback, exported, verified.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod compaction;
mod layouts;
mod manifests;
mod old_blocks;
mod pulls;
mod queries;
mod receiving;
mod rewrites;
mod rewriting;
mod world;

/// Every file in this folder is a module of this binary.
#[test]
fn every_file_is_listed() {
    let source = include_str!("runner.rs");
    for entry in std::fs::read_dir(odf_reference::repository().join("odf/tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "runner" || source.contains(&format!("mod {module};")),
            "{name} is in no test binary"
        );
    }
}

#[path = "../examples/publish_and_pull.rs"]
mod example;

#[test]
fn the_example_runs() {
    example::main().unwrap();
}
