//! A few of very many peers, by the built program.

use std::process::Command;

#[test]
fn thirty_peers_find_all_there_is_while_a_third_is_lost_and_replaced() {
    let output = Command::new(env!("CARGO_BIN_EXE_scale"))
        .args(["--nodes", "30", "--operations", "20", "--sweep", "500"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    // Fewer than 99 of 100 of one kind are a failure, and of twenty one is.
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text.matches("\"succeeded\":20").count(), 10, "{text}");
    assert!(text.contains("\"keys\":500"), "{text}");
}

#[test]
fn wrong_words_about_scale_are_answered_with_the_right_ones() {
    for words in [&["--nodes"][..], &["--nodes", "1"], &["--never", "3"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_scale")).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--nodes N"));
    }
}
