//! Runs the built `odfs` in sealed surroundings: no environment of the caller, no network but loopback.
//!
//! One binary for all tests, so it is linked once. A file in this directory that is not listed here fails a test.

mod attach;
mod ipfs;
mod keys;
mod sandbox;
mod settings;

#[test]
fn every_file_here_is_listed() {
    let source = include_str!("runner.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "runner" || source.contains(&format!("mod {module};")),
            "{name} is not in runner.rs"
        );
    }
}
