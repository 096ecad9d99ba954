//! What a source may do without consent, with it, and within the bounds of settings.

use super::server::{Server, ok};
use super::*;
use odf_metadata::CompressionFormat;

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

fn glob(path: &str) -> SetPollingSource {
    source(FetchStep::FilesGlob {
        path: path.to_owned(),
        event_time: None,
        cache: None,
        order: None,
    })
}

/// One where nobody has agreed to anything.
fn stranger() -> Stage {
    Stage {
        agreed: None,
        ..Stage::new()
    }
}

#[test]
fn without_consent_nothing_of_this_machine_is_touched() {
    let stage = stranger();
    let secret = stage.file("secret", "id\n1\n");
    let server = Server::one(ok("", "id\n1\n"));
    let touch = PrepStep::Pipe {
        command: vec!["touch".to_owned(), stage.path().join("ran").display().to_string()],
    };
    for source in [
        url(&format!("file://{}", secret.display())),
        glob("sec*"),
        url(&server.url("/")),
        url("https://example.org/?key=${{ env.SECRET }}"),
        url(&format!("${{{{ 'file://{}' }}}}", secret.display())),
        prepared(url("https://example.org/"), vec![touch]),
    ] {
        let error = stage.failed(&source);
        assert!(matches!(error, PollError::NotAgreed(_)), "{error}");
    }
    assert!(!stage.path().join("ran").exists());
}

#[test]
fn a_redirect_to_this_machine_is_followed_only_where_the_source_names_it() {
    let stage = Stage::new();
    let hidden = Server::one(ok("", "id\n1\n"));
    let target = hidden.url("/latest/credentials");
    let server = Server::one(redirect(&target));
    let error = stage.failed(&url(&server.url("/")));
    let PollError::LedAstray { host, address, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((host.as_str(), address.as_str()), ("127.0.0.1", "127.0.0.1"));
    // To another page of the same server it is followed.
    let server = Server::start(vec![
        (redirect("/other").into_bytes(), super::server::Then::Close),
        (ok("", "id\n1\n"), super::server::Then::Close),
    ]);
    let fetched = stage.fetched(&url(&server.url("/")), None);
    assert_eq!(fs::read(fetched.path()).unwrap(), b"id\n1\n");
}

#[test]
fn only_files_that_were_agreed_on_are_read() {
    let mut stage = Stage::new();
    let inside = stage.file("in/a.csv", "id\n1\n");
    let outside = stage.file("out/b.csv", "id\n2\n");
    stage.agreed = Some(vec![stage.path().join("in")]);
    stage.fetched(&glob("in/*.csv"), None);
    stage.fetched(&url(&format!("file://{}", inside.display())), None);
    std::os::unix::fs::symlink(&outside, stage.path().join("in/0.csv")).unwrap();
    for (source, place) in [
        (glob("out/*.csv"), &outside),
        (glob("in/../out/*.csv"), &outside),
        // A link leads out.
        (glob("in/*.csv"), &outside),
        (url(&format!("file://{}", outside.display())), &outside),
    ] {
        let error = stage.failed(&source);
        let found = place.canonicalize().unwrap();
        assert!(
            matches!(&error, PollError::OtherFile { path } if *path == found),
            "{error}"
        );
    }
    // A directory that only begins like it.
    stage.file("in-other/c.csv", "id\n3\n");
    assert!(matches!(
        stage.failed(&glob("in-other/*.csv")),
        PollError::OtherFile { .. }
    ));
}

#[test]
fn settings_bound_what_may_be_agreed_to() {
    let mut stage = Stage::new();
    stage.file("in/a.csv", "id\n1\n");
    stage.bounds.directories = Some(vec![stage.path().join("other")]);
    let error = stage.failed(&glob("in/*.csv"));
    assert!(
        matches!(
            error,
            PollError::OutOfBounds {
                setting: "source.directories",
                ..
            }
        ),
        "{error}"
    );
    stage.bounds.directories = Some(vec![stage.path().join("other"), stage.path().to_owned()]);
    stage.fetched(&glob("in/*.csv"), None);
    stage.bounds.variables = Some(vec!["CITY".to_owned()]);
    let server = Server::one(ok("", "x"));
    let template = url(&server.url("/?key=${{ env.SECRET || 'none' }}"));
    let error = stage.failed(&template);
    assert!(
        matches!(&error, PollError::OutOfBounds { what, setting: "source.variables" } if what.ends_with("SECRET")),
        "{error}"
    );
    stage.bounds.variables = Some(vec!["SECRET".to_owned()]);
    stage.fetched(&template, None);
    assert!(server.request().contains("key=s3cret"));
}

#[test]
fn commands_have_the_environment_of_whoever_asks() {
    let stage = Stage::new();
    let file = stage.file("in.csv", "");
    let env = PrepStep::Pipe {
        command: vec!["env".to_owned()],
    };
    let source = prepared(url(&format!("file://{}", file.display())), vec![env]);
    let fetched = stage.fetched(&source, None);
    let seen = fs::read_to_string(fetched.path()).unwrap();
    let mut seen: Vec<&str> = seen.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, ["PATH=/usr/bin:/bin", "SEEN=yes"]);
}

fn headed(value: &str) -> SetPollingSource {
    source(FetchStep::Url {
        url: "https://example.org/x".to_owned(),
        event_time: None,
        cache: None,
        headers: Some(vec![RequestHeader {
            name: "x-key".to_owned(),
            value: value.to_owned(),
        }]),
    })
}

#[test]
fn only_a_public_url_that_is_written_out_needs_no_consent() {
    let unzip = PrepStep::Decompress {
        format: CompressionFormat::Zip,
        sub_path: None,
    };
    for plain in [
        url("https://example.org/x.csv"),
        url("http://8.8.8.8/x.csv"),
        prepared(url("https://example.org/x.zip"), vec![unzip]),
        headed("text/csv"),
    ] {
        assert!(!Needs::of(&plain).ask_for_consent(), "{plain:?}");
    }
    let pipe = PrepStep::Pipe {
        command: vec!["sh".to_owned(), "-c".to_owned(), "id".to_owned()],
    };
    for asking in [
        url("file:///etc/passwd"),
        url("FILE:///etc/passwd"),
        url("http://127.0.0.1/x"),
        url("http://intranet/x"),
        url("https://example.org/?key=${{ env.KEY }}"),
        // No variable, and yet nobody can see what it becomes.
        url("${{ 'file:///etc/passwd' }}"),
        headed("Bearer ${{ env.KEY }}"),
        glob("data/*.csv"),
        prepared(url("https://example.org/x.csv"), vec![pipe]),
    ] {
        assert!(Needs::of(&asking).ask_for_consent(), "{asking:?}");
    }
}

#[test]
fn needs_are_told_in_the_words_of_the_source() {
    let pipe = |words: &[&str]| PrepStep::Pipe {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let source = prepared(
        url("http://10.0.0.1:81/${{ env.B || env.A }}/${{ env.A }}"),
        vec![pipe(&["jq", "."]), pipe(&["sort"])],
    );
    let needs = Needs::of(&source);
    assert_eq!(needs.private.as_deref(), Some("10.0.0.1:81"));
    assert_eq!(needs.variables, ["A", "B"]);
    assert_eq!(needs.commands, [vec!["jq", "."], vec!["sort"]]);
    assert_eq!(needs.files, None);
    assert_eq!(
        Needs::of(&glob("a/${{ env.X }}/*.csv")).files.as_deref(),
        Some("a/${{ env.X }}/*.csv")
    );
}

#[test]
fn nothing_in_a_source_disguises_what_it_does() {
    let hostile = PrepStep::Pipe {
        command: ["sh", "-c", "true\u{1b}[2K\r# it's \u{202e}harmless\n"]
            .map(str::to_owned)
            .to_vec(),
    };
    let lines = Needs::of(&prepared(url("https://example.org/\u{200b}x"), vec![hostile])).lines();
    assert_eq!(
        lines,
        [
            r"asks https://example.org/\u{200b}x",
            r"runs the command `sh -c 'true\u{1b}[2K\r# it'\''s \u{202e}harmless\n'`",
        ]
    );
}

#[test]
fn the_part_before_the_first_wildcard_is_what_is_agreed_to() {
    let stage = Stage::new();
    let base = stage.path().canonicalize().unwrap();
    let nothing = |_: &str| None;
    let path = |pattern: &str| paths(&glob(pattern), stage.path(), &nothing).unwrap().remove(0);
    assert_eq!(path("in/*.csv"), base.join("in"));
    assert_eq!(path("in/a-?.csv"), base.join("in"));
    assert_eq!(path("in/a.csv"), base.join("in/a.csv"));
    assert_eq!(path("*/[a-b].csv"), base);
    assert_eq!(path("none/../other/*.csv"), base.join("other"));
    assert_eq!(path("/nowhere/at/all/*.csv"), Path::new("/nowhere/at/all"));
    std::fs::create_dir(base.join("real")).unwrap();
    std::os::unix::fs::symlink(base.join("real"), base.join("link")).unwrap();
    assert_eq!(path("link/*.csv"), base.join("real"));
    let file = format!("file://{}/x.csv", base.display());
    assert_eq!(
        paths(&url(&file), stage.path(), &nothing).unwrap(),
        [base.join("x.csv")]
    );
    assert!(
        paths(&url("https://example.org/"), stage.path(), &nothing)
            .unwrap()
            .is_empty()
    );
    assert!(paths(&glob("${{ env.X }}/*"), stage.path(), &nothing).is_err());
}
