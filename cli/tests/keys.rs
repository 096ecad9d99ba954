//! `odfs key`

use crate::sandbox::Sandbox;

#[test]
fn keys_move_between_workspaces() {
    let (a, b) = (Sandbox::new(), Sandbox::new());
    let id = a.run(&["key", "gen", "mine"]).ok();
    assert!(id.starts_with("k51"), "{id}");
    a.run(&["key", "export", "mine", "-o", "mine.key"]).ok();
    let bytes = std::fs::read(a.path().join("mine.key")).unwrap();
    assert_eq!(
        &bytes[..4],
        [0x08, 0x01, 0x12, 0x40],
        "libp2p's protobuf of an ed25519 key"
    );
    assert_eq!(b.run_with_input(&["key", "import", "theirs", "-"], &bytes).ok(), id);
    assert_eq!(b.run(&["key", "export", "theirs", "-o", "-"]).bytes, bytes);
    let csv = b.run(&["key", "ls", "-o", "csv"]).ok();
    assert_eq!(csv, format!("Name,ID,Type\ntheirs,{},ed25519\n", id.trim()));
}

#[test]
fn keys_are_not_lost_by_mistake() {
    let sandbox = Sandbox::new();
    sandbox.run(&["key", "gen", "mine"]).ok();
    sandbox.run(&["key", "gen", "mine"]).failed(7);
    sandbox.run(&["key", "gen", "self"]).failed(7);
    let err = sandbox.run(&["key", "rm", "mine"]).failed(7);
    assert!(err.contains("--yes"), "{err}");
    sandbox.run(&["key", "export", "mine"]).ok();
    let err = sandbox.run(&["key", "export", "mine"]).failed(7);
    assert!(err.contains("mine.key is there already"), "{err}");
    sandbox.run(&["--yes", "key", "rm", "mine"]).ok();
    let err = sandbox.run(&["key", "rm", "mine", "-y"]).failed(3);
    assert!(err.contains("odfs key list"), "{err}");
}

#[test]
fn what_is_no_key_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&["key", "import", "x", "missing.key"]).failed(3);
    let err = sandbox.run(&["key", "import", "x"]).failed(2);
    assert!(
        err.contains("odfs key import x FILE") && err.contains("odfs key import x --words"),
        "{err}"
    );
    sandbox.run_with_input(&["key", "import", "x", "-"], b"").failed(4);
    sandbox.run_with_input(&["key", "import", "x", "-"], b"junk").failed(5);
    assert_eq!(sandbox.run(&["key", "list", "-o", "json"]).ok(), "[]\n");
}
