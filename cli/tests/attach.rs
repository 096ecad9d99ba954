//! Several processes on one workspace.

use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use crate::sandbox::{Sandbox, wait_for};

/// Owns the workspace until its standard input is closed.
const OWNER: &[&str] = &["ipfs", "add", "-n", "-Q", "-"];
const HELLO: &str = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o\n";

#[test]
fn a_second_process_works_through_the_first() {
    let sandbox = Sandbox::new();
    let mut owner = sandbox.start_owner(OWNER);
    sandbox.file("hello.txt", "hello world\n");
    assert_eq!(sandbox.run(&["ipfs", "add", "-n", "-Q", "hello.txt"]).ok(), HELLO);
    owner.stdin().write_all(b"hello world\n").unwrap();
    assert_eq!(owner.end().ok(), HELLO);
    assert!(
        !sandbox.workspace().join("node.sock").exists(),
        "an owner that ends takes its socket away"
    );
}

#[test]
fn streams_and_failures_are_those_of_the_sender() {
    let sandbox = Sandbox::new();
    let input = vec![b'x'; 3_000_000];
    let alone = sandbox.run_with_input(&["ipfs", "add", "-n", "-"], &input).ok();
    let owner = sandbox.start_owner(OWNER);
    assert_eq!(sandbox.run_with_input(&["ipfs", "add", "-n", "-"], &input).ok(), alone);

    // Paths are those of the sender's directory, and so are descriptors.
    let inner = sandbox.file("inner/hello.txt", "hello world\n");
    let outcome = sandbox
        .command(&["ipfs", "add", "-n", "-Q", "hello.txt"])
        .current_dir(inner.parent().unwrap())
        .output();
    assert_eq!(String::from_utf8_lossy(&outcome.unwrap().stdout), HELLO);
    let outcome = sandbox.run_with_input(&["ipfs", "add", "-n", "-Q", "/dev/stdin"], b"hello world\n");
    if cfg!(target_os = "linux") {
        assert_eq!(outcome.ok(), HELLO);
    }

    let err = sandbox.run(&["ipfs", "add", "-n", "missing.txt"]).failed(3);
    assert!(err.contains("missing.txt"), "{err}");
    owner.end().ok();
}

#[test]
fn an_owner_stays_until_others_are_answered() {
    let sandbox = Sandbox::new();
    let mut owner = sandbox.start_owner(OWNER);
    let mut client = sandbox.start(OWNER);
    let mut input = client.stdin();
    // Once the client has been asked for input it is attached for certain.
    input.write_all(b"hello ").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(owner.stdin());
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!owner.has_ended(), "the owner has to wait for the client");
    input.write_all(b"world\n").unwrap();
    drop(input);
    assert_eq!(client.wait().ok(), HELLO);
    owner.wait().ok();
}

#[test]
fn interrupting_a_client_leaves_the_owner_alone() {
    let sandbox = Sandbox::new();
    let mut owner = sandbox.start_owner(OWNER);
    let mut client = sandbox.start(OWNER);
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.signal(Signal::INT);
    assert_eq!(client.wait().code, Some(130));
    owner.stdin().write_all(b"hello world\n").unwrap();
    assert_eq!(owner.end().ok(), HELLO);
}

#[test]
fn a_killed_owner_leaves_nothing_to_clean_up() {
    let sandbox = Sandbox::new();
    let mut owner = sandbox.start_owner(OWNER);
    let client = sandbox.start(OWNER);
    std::thread::sleep(std::time::Duration::from_millis(300));
    owner.signal(Signal::KILL);
    let err = client.wait().failed(15);
    assert!(err.contains("run the command again"), "{err}");
    assert!(
        sandbox.workspace().join("node.sock").exists(),
        "the socket is stale now"
    );
    assert_eq!(sandbox.run_with_input(OWNER, b"hello world\n").ok(), HELLO);
}

#[test]
fn many_at_once_all_succeed() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.txt", "hello world\n");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| sandbox.run(&["ipfs", "add", "-n", "-Q", "hello.txt"]).ok()))
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), HELLO);
        }
    });
}

#[test]
fn a_workspace_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.workspace()).unwrap();
    std::os::unix::fs::chown(sandbox.workspace(), Some(12345), None).unwrap();
    let err = sandbox.run(&["list"]).failed(16);
    assert!(err.contains("belongs to user 12345") && err.contains("Next: "), "{err}");
}

#[test]
fn a_reader_that_goes_away_is_no_error_message() {
    let sandbox = Sandbox::new();
    let owner = sandbox.start_owner(OWNER);
    for attached in [true, false] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let args: &[&str] = if attached {
            &["ipfs", "add", "-n", "hello.txt"]
        } else {
            &["config", "list"]
        };
        sandbox.file("hello.txt", "hello world\n");
        let child = sandbox.command(args).stdout(Stdio::from(writer)).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(141), "attached: {attached}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    owner.end().ok();
}

#[test]
fn two_nodes_on_one_workspace_are_one_too_many() {
    let sandbox = Sandbox::new();
    let mut node = sandbox.start_owner(&["node"]);
    let mut err = String::new();
    wait_for("the node", || {
        let outcome = sandbox.command(&["node"]).output().unwrap();
        err = String::from_utf8_lossy(&outcome.stderr).into_owned();
        outcome.status.code() == Some(15)
    });
    assert!(err.contains("a node already runs") && err.contains("Next: "), "{err}");
    node.signal(Signal::INT);
    node.wait().ok();
}

#[test]
fn a_command_that_only_reads_can_be_interrupted() {
    let sandbox = Sandbox::new();
    let mut owner = sandbox.start_owner(OWNER);
    owner.signal(Signal::INT);
    assert_eq!(owner.wait().code, Some(130));
    assert_eq!(sandbox.run_with_input(OWNER, b"hello world\n").ok(), HELLO);
}

#[test]
fn a_publish_goes_through_a_short_owner_and_then_serves_by_itself() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", "a,b\n1,2\n");
    let owner = sandbox.start_owner(OWNER);
    let mut publish = sandbox.start(&["publish", "t.csv"]);
    wait_for("the name", || {
        sandbox.run(&["status", "-o", "csv"]).ok().contains(",t,published,")
    });
    // From there to the end of the announcement.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!publish.has_ended());
    owner.end().ok();
    wait_for("the publish to serve", || {
        sandbox.run(&["status", "-o", "json"]).ok().contains("\"running\":true")
    });
    publish.signal(Signal::TERM);
    let outcome = publish.wait();
    assert!(outcome.err.contains("waiting for process"), "{}", outcome.err);
    assert!(outcome.ok().starts_with("Created t with 1 row(s)\n"));
}
