//! Files that are the same, longer or others than what was taken of them.

mod remembered;

use std::ops::ControlFlow;

use bytes::Bytes;

use odf_metadata::DEFAULT_SOURCE;

use super::*;
use crate::source::ReadOptions;

fn source(text: &str, format: Format) -> Source {
    Source::bytes(
        "t",
        Bytes::copy_from_slice(text.as_bytes()),
        format,
        ReadOptions::default(),
    )
}

fn nothing() -> Memory {
    Memory::recall(std::path::Path::new("/nowhere/marks"), Check::Quick)
}

fn state_of(text: &str, format: Format) -> Taken {
    match compare(&source(text, format), None, Growth::Open, &mut nothing(), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap()
    {
        Comparison::Fresh { taken, .. } => taken,
        other => panic!("{other:?}"),
    }
}

fn after(old: &str, new: &str, format: Format) -> Comparison {
    seen_after(old, new, format, Growth::Open)
}

fn seen_after(old: &str, new: &str, format: Format, growth: Growth) -> Comparison {
    let taken = state_of(old, format);
    assert_eq!(
        Taken::from_state(&taken.to_state()),
        Some(taken.clone()),
        "the state survives the chain"
    );
    let progress = &mut |_| ControlFlow::Continue(());
    compare(&source(new, format), Some(&taken), growth, &mut nothing(), progress).unwrap()
}

#[test]
fn a_file_is_the_same_longer_or_another() {
    let old = "a\n1\n2\n";
    assert_eq!(after(old, old, Format::Csv), Comparison::Same);
    let Comparison::Grew { span, taken } = after(old, "a\n1\n2\n3\n", Format::Csv) else {
        panic!("it grew")
    };
    assert_eq!(
        span,
        Span {
            start: 6,
            line: 3,
            end: 8
        }
    );
    assert_eq!(taken, state_of("a\n1\n2\n3\n", Format::Csv));
    for changed in ["a\n1\n3\n", "a\n1\n", "b\n1\n2\n3\n", "a"] {
        assert!(
            matches!(after(old, changed, Format::Csv), Comparison::Changed { .. }),
            "{changed:?}"
        );
    }
}

#[test]
fn a_last_line_that_was_taken_may_be_followed_but_not_lengthened() {
    for new in ["a\n1\n2\n", "a\n1\r\n2\r\n", "a\n1\r2\r"] {
        assert!(
            matches!(after("a\n1", new, Format::Csv), Comparison::Grew { .. }),
            "{new:?}"
        );
    }
    for (old, new, format) in [
        ("a\n1", "a\n12\n", Format::Csv),
        ("a\n1", "a\n12", Format::Csv),
        ("{\"a\":1}", "{\"a\":1} {\n", Format::Ndjson),
    ] {
        assert!(matches!(after(old, new, format), Comparison::WentOn { .. }), "{new:?}");
    }
}

/// Where the new part of `new` ends.
fn taken_to(old: &str, new: &str, format: Format, growth: Growth) -> Option<u64> {
    match seen_after(old, new, format, growth) {
        Comparison::Grew { span, taken } => {
            assert_eq!((span.start, span.end), (old.len() as u64, taken.length));
            let until = usize::try_from(taken.length).unwrap();
            assert_eq!(taken, state_of(&new[..until], format));
            Some(span.end)
        }
        Comparison::Waits => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_last_line_waits_for_its_end() {
    let old = "a,b\n1,x\n";
    for (more, ends) in [
        ("2", None),
        ("2,y\n3,", Some(4)),
        ("2,y\r\n3,z", Some(5)),
        ("2,y\r3,z", Some(4)),
        ("2,y\n3,z\n", Some(8)),
        // The line feed is in quotes, so nothing ends the row.
        ("2,\"y\n", None),
        ("2,y\n3,\"z\n4,\"\n5,\"", Some(13)),
    ] {
        let new = format!("{old}{more}");
        let wanted = ends.map(|ends| (old.len() + ends) as u64);
        assert_eq!(taken_to(old, &new, Format::Csv, Growth::Open), wanted, "{more:?}");
        let all = Some(new.len() as u64);
        assert_eq!(taken_to(old, &new, Format::Csv, Growth::Finished), all, "{more:?}");
    }
    // Of a sequence the last text is ended by a line feed, as RFC 7464 has it, and those before it by the next one.
    let old = "\u{1e}{\"a\":1}\n";
    for (more, ends) in [
        ("\u{1e}{\"a\":", None),
        ("\u{1e}{\"a\":2}\n", Some(9)),
        ("\u{1e}{\"a\":2}\n\u{1e}{\"a", Some(9)),
    ] {
        let new = format!("{old}{more}");
        let wanted = ends.map(|ends| (old.len() + ends) as u64);
        assert_eq!(taken_to(old, &new, Format::Ndjson, Growth::Open), wanted, "{more:?}");
    }
    let (old, new) = ("\u{1e}{\"a\":1}", "\u{1e}{\"a\":1}\u{1e}{\"a\":2}\n");
    assert_eq!(taken_to(old, new, Format::Ndjson, Growth::Open), Some(new.len() as u64));
    let old = "{\"a\":1}\n";
    let new = format!("{old}{{\"a\":2}}");
    assert_eq!(taken_to(old, &new, Format::Ndjson, Growth::Open), None);
    assert_eq!(
        taken_to(old, &format!("{new}\n"), Format::Ndjson, Growth::Open),
        Some(16)
    );
}

#[test]
fn a_file_that_was_seen_to_grow_is_taken_up_to_its_last_whole_line() {
    let first = |text: &str, growth| {
        let progress = &mut |_| ControlFlow::Continue(());
        compare(&source(text, Format::Csv), None, growth, &mut nothing(), progress).unwrap()
    };
    let end = |comparison| match comparison {
        Comparison::Fresh { span, taken } => (span.end, taken.length),
        other => panic!("{other:?}"),
    };
    assert_eq!(end(first("a\n1\n2", Growth::Open)), (5, 5));
    assert_eq!(end(first("a\n1\n2", Growth::Going)), (4, 4));
    assert_eq!(first("a", Growth::Going), Comparison::Waits);
}

#[test]
fn lines_are_counted_however_they_end() {
    for (text, lines) in [("a\n1\n", 2), ("a\r\n1\r\n", 2), ("a\r1\r", 2), ("a\r1\r\n\r", 3)] {
        let Comparison::Grew { span, .. } = after(text, &format!("{text}2\n"), Format::Csv) else {
            panic!("{text:?}")
        };
        assert_eq!(span.line, lines, "{text:?}");
    }
}

#[test]
fn only_line_formats_grow() {
    assert!(matches!(
        after("[{}]", "[{}]\n[{}]", Format::Json),
        Comparison::Changed { .. }
    ));
    assert!(matches!(
        after("{}\n", "{}\n{}\n", Format::Ndjson),
        Comparison::Grew { .. }
    ));
}

#[test]
fn states_of_others_are_not_ours() {
    let ours = state_of("a\n1\n", Format::Csv).to_state();
    for (kind, value) in [
        ("odf/etag", ours.value.clone()),
        (STATE_KIND, format!("{} more", ours.value)),
        (STATE_KIND, ours.value.replace("csv", "xls")),
        (STATE_KIND, ours.value.replace("f1220", "f1620")),
        (STATE_KIND, String::new()),
    ] {
        let state = SourceState {
            source_name: DEFAULT_SOURCE.to_owned(),
            kind: kind.to_owned(),
            value,
        };
        assert_eq!(Taken::from_state(&state), None, "{state:?}");
    }
}
