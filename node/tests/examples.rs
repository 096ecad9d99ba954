//! Runs the programs under `examples/` that need no arguments: each checks its own result.

#[path = "../examples/fetch.rs"]
mod fetch;
#[path = "../examples/publish.rs"]
mod publish;

#[test]
fn one_peer_fetches_from_another() {
    fetch::main().unwrap();
}

#[test]
fn a_name_is_published_and_followed() {
    publish::main().unwrap();
}
