//! Arrows and circles of small made-up trees.

use super::*;

const MANIFEST: (&str, &str) = (
    "a/Cargo.toml",
    "[package]\nname = \"a-crate\"\n[dependencies]\nb.workspace = true\n",
);

fn arrows(texts: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![MANIFEST];
    all.extend(texts);
    let arrows = Tree::from_texts(&all).arrows().into_iter();
    arrows
        .map(|arrow| {
            let names: Vec<String> = arrow.names.into_iter().collect();
            format!(
                "{} -> {}: {}",
                arrow.from.trim_start_matches("a/src/"),
                arrow.to.trim_start_matches("a/src/"),
                names.join(", ")
            )
        })
        .collect()
}

fn circles(texts: &[(&str, &str)]) -> Vec<Vec<String>> {
    let mut all = vec![MANIFEST];
    all.extend(texts);
    Tree::from_texts(&all)
        .circles()
        .into_iter()
        .map(|circle| circle.files)
        .collect()
}

#[test]
fn a_name_comes_from_the_file_that_defines_it() {
    let lib = "pub mod one;\nmod two;\npub use two::Two;";
    let one = "mod part;\npub use part::{Part, Used};\nuse crate::Two;\nfn f(used: Used) -> Two {}";
    let part = "pub struct Part; pub struct Used;";
    let two = "use super::one::{self, Part};\npub struct Two; fn g() -> one::Used { Part }";
    assert_eq!(
        arrows(&[
            ("a/src/lib.rs", lib),
            ("a/src/one.rs", one),
            ("a/src/one/part.rs", part),
            ("a/src/two.rs", two),
        ]),
        [
            "one.rs -> one/part.rs: Used",
            "one.rs -> two.rs: Two",
            "two.rs -> one/part.rs: Part, Used",
        ]
    );
}

#[test]
fn declaring_and_passing_on_is_no_arrow_but_using_is() {
    let child = "use super::LIMIT;\npub(crate) struct Child([u8; LIMIT]);";
    let passes_on = "mod child;\npub(crate) use child::Child;\npub(crate) const LIMIT: usize = 1;";
    let uses = "mod child;\nuse child::Child;\nconst LIMIT: usize = 1;\nstruct Parent(Child);";
    assert!(circles(&[("a/src/lib.rs", passes_on), ("a/src/child.rs", child)]).is_empty());
    assert_eq!(
        circles(&[("a/src/lib.rs", uses), ("a/src/child.rs", child)]),
        [["a/src/child.rs", "a/src/lib.rs"]]
    );
}

#[test]
fn paths_in_the_code_globs_and_modules_in_place_count() {
    let lib = "mod one;\nmod two;\nmod three;";
    let one = "fn f() { crate::two::g() }\nmod inner { use super::super::three::Three; }";
    let two = "use super::three::*;\npub fn g() -> Three {}";
    let three = "pub struct Three; pub struct Unused;";
    assert_eq!(
        arrows(&[
            ("a/src/lib.rs", lib),
            ("a/src/one.rs", one),
            ("a/src/two.rs", two),
            ("a/src/three.rs", three),
        ]),
        [
            "one.rs -> three.rs: Three",
            "one.rs -> two.rs: g",
            "two.rs -> three.rs: Three"
        ]
    );
}

#[test]
fn tests_draw_no_arrows() {
    let one = "pub struct One;\n#[cfg(test)]\nmod tests { use crate::two::Two; }";
    let two = "use crate::one::One;\npub struct Two(One);";
    assert!(
        circles(&[
            ("a/src/lib.rs", "mod one;\nmod two;"),
            ("a/src/one.rs", one),
            ("a/src/two.rs", two),
        ])
        .is_empty()
    );
}

#[test]
fn crates_are_seen_with_what_they_use() {
    let tree = Tree::from_texts(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"a\", \"b\"]\nexclude = [\"c\"]\n",
        ),
        MANIFEST,
        ("a/src/main.rs", "use b::B;\nfn main() { b::deep::f() }"),
        ("b/Cargo.toml", "[package]\nname = \"b\"\n"),
        ("b/src/lib.rs", "pub mod deep;\npub struct B;"),
        ("b/src/deep.rs", "pub fn f() {}"),
        ("c/Cargo.toml", "[package]\nname = \"c\"\n"),
    ]);
    let folders: Vec<&str> = tree.members.iter().map(|member| member.folder.as_str()).collect();
    assert_eq!(folders, ["a", "b"]);
    assert!(tree.members[0].dependencies.contains("b"));
    let picture = tree.picture();
    assert!(picture.contains("a -> b: 2"), "{picture}");
    assert!(picture.contains("circles of files: none"), "{picture}");
}

/// The peer as it once was: files none of which could be understood or tested without the others.
#[test]
fn a_large_circle_is_found_with_what_ties_it() {
    let files = [
        (
            "a/src/lib.rs",
            "pub mod ipns;\npub mod peer;\npub mod routing;\nmod swarm;",
        ),
        (
            "a/src/ipns.rs",
            "mod inbox;\npub(crate) use inbox::Inbox;\nuse crate::peer::{Clock, StartError};\nuse crate::routing::Routing;\n\
             pub struct Names { routing: Routing, clock: Clock }\n\
             impl Names { fn open() -> Result<Inbox, StartError> { Ok(Inbox::new()) } }",
        ),
        (
            "a/src/ipns/inbox.rs",
            "use crate::peer::clock::to_unix;\npub(crate) struct Inbox;",
        ),
        (
            "a/src/peer.rs",
            "pub(crate) mod clock;\npub(crate) mod driver;\nmod search;\nmod start;\npub use clock::Clock;\n\
             pub use start::{Builder, StartError};\nuse crate::ipns::Names;\nuse driver::Command;\n\
             pub struct Node { names: Names }\npub enum DialError {}\nfn builder() -> Builder {}",
        ),
        ("a/src/peer/clock.rs", "pub struct Clock;\npub(crate) fn to_unix() {}"),
        (
            "a/src/peer/driver.rs",
            "use super::DialError;\nuse super::search::Search;\nuse crate::ipns::Inbox;\nuse crate::swarm::Behaviour;\n\
             pub(crate) enum Command {}\nstruct Driver { inbox: Inbox, swarm: Behaviour }",
        ),
        (
            "a/src/peer/search.rs",
            "use crate::routing::Routing;\npub(super) struct Search { routing: Routing }",
        ),
        (
            "a/src/peer/start.rs",
            "use super::Node;\nuse super::driver::Driver;\nuse crate::ipns::Names;\nuse crate::swarm;\n\
             pub struct Builder;\npub enum StartError {}\nfn start() { swarm::build() }",
        ),
        (
            "a/src/routing.rs",
            "use crate::peer::DialError;\nuse crate::peer::driver::Command;\npub struct Routing { commands: Command }",
        ),
        (
            "a/src/swarm.rs",
            "use crate::peer::StartError;\npub(crate) struct Behaviour;\npub(crate) fn build() -> Result<(), StartError> {}",
        ),
    ];
    let mut all = vec![MANIFEST];
    all.extend(files);
    let circles = Tree::from_texts(&all).circles();
    // The clock uses nobody, and the inbox only the clock.
    let expected = [
        "a/src/ipns.rs",
        "a/src/peer.rs",
        "a/src/peer/driver.rs",
        "a/src/peer/search.rs",
        "a/src/peer/start.rs",
        "a/src/routing.rs",
        "a/src/swarm.rs",
    ];
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].files, expected);
    let shown = circles[0].to_string();
    assert!(
        shown.contains("a/src/swarm.rs -> a/src/peer/start.rs: StartError"),
        "{shown}"
    );
    assert!(
        shown.contains("a/src/routing.rs -> a/src/peer/driver.rs: Command"),
        "{shown}"
    );
}

#[test]
fn code_goes_on_behind_tests_in_a_file_of_their_own() {
    let source = |text: &str| Source {
        path: "a/src/lib.rs".to_owned(),
        text: text.to_owned(),
        is_test: false,
    };
    let code = "#[cfg(test)]\nmod tests;\n\nconst MAX_ROWS: usize = 1;\n";
    let declares = source(code);
    assert_eq!(declares.tests(), "");
    assert!(declares.lines().any(|found| found == (4, "const MAX_ROWS: usize = 1;")));
    let holds = source(&format!("{code}#[cfg(test)]\nmod more {{\n    fn f() {{}}\n}}\n"));
    assert!(
        holds.tests().starts_with("#[cfg(test)]\nmod more {"),
        "{}",
        holds.tests()
    );
    assert_eq!(holds.lines().last(), Some((4, "const MAX_ROWS: usize = 1;")));
}
