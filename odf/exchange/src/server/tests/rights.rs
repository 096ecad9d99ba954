//! What a token lets its holder do, and what is written down of it.

use serde_json::json;

use super::pushes::{COMPLETE, files_of, initial, up_to_objects};
use super::*;
use crate::server::LoggedPush;

/// Pushes blocks that name no files to the end; the reason if that is refused within the transfer.
fn push(served: &Served, name: &str, token: &str, blocks: &[EncodedBlock], force: bool) -> Result<(), String> {
    let head = served
        .workspace
        .catalog()
        .find(name)
        .ok()
        .map(|dataset| *dataset.head());
    let mut kamu = served.push(name, token);
    kamu.say(initial(head.as_ref(), blocks, force));
    let answer = kamu.hear();
    if answer != json!({"Ok": {}}) {
        return Err(answer["Err"]["Internal"]["error_message"].as_str().unwrap().to_owned());
    }
    kamu.say(super::pushes::metadata(blocks));
    assert_eq!(kamu.hear(), json!({"Ok": {}}));
    kamu.say(files_of(&[]));
    kamu.hear();
    kamu.say(COMPLETE);
    kamu.say("{}");
    assert_eq!(kamu.hear(), json!({}));
    kamu.close();
    Ok(())
}

#[test]
fn a_token_is_for_its_datasets_and_verbs() {
    let blocks = sample::chain(sample::id(1), 4, 4, "");
    let served = Served::new();
    let create = served.token_for("create", "made.%", &[Verb::Create]);
    let add = served.token_for("add", "made.%", &[Verb::Push]);
    let refused = |name: &str, token: &str| {
        served
            .connect(&format!("{name}/push"), Some(token), Some("1"))
            .unwrap_err()
    };
    // Not for names that it does not match, and nothing else than it says.
    assert_eq!(refused("other", &create).0, 403);
    let (status, body) = refused("made.here", &add);
    assert!(
        status == 403 && body.contains("\\\"add\\\"") && body.contains("create made.here"),
        "{body}"
    );
    // What is new replaces nothing, whatever the pusher says of force; what is here under another name is not new.
    push(
        &served,
        "made.new",
        &create,
        &sample::chain(sample::id(2), 2, 2, ""),
        true,
    )
    .unwrap();
    push(&served, "made.here", &create, &blocks[..2], false).unwrap();
    let mut kamu = served.push("made.again", &create);
    kamu.say(initial(None, &blocks, true));
    assert_eq!(kamu.hear(), json!({"Ok": {}}));
    kamu.say(super::pushes::metadata(&blocks));
    kamu.hear();
    kamu.say(files_of(&[]));
    let answer = kamu.hear();
    assert!(answer["Err"]["RefCollision"].is_object(), "{answer}");
    assert_eq!(served.head("made.here"), blocks[1].hash().to_string());
    assert_eq!(refused("made.here", &create).0, 403);
    push(&served, "made.here", &add, &blocks[2..3], false).unwrap();
    // To rewrite is a verb of its own, whatever would be rewritten.
    let branch = sample::chain(sample::id(1), 4, 2, "b");
    let error = push(&served, "made.here", &add, &branch, true).unwrap_err();
    assert!(error.contains("rewrite made.here"), "{error}");
    assert_eq!(served.head("made.here"), blocks[2].hash().to_string());
    let rewrite = served.token_for("rewrite", "%", &[Verb::Push, Verb::Rewrite]);
    push(&served, "made.here", &rewrite, &branch, true).unwrap();
    assert_eq!(served.head("made.here"), branch[3].hash().to_string());

    let written: Vec<(String, Verb, u64)> = served
        .pushes
        .list()
        .unwrap()
        .into_iter()
        .filter(|pushed| pushed.dataset == "made.here")
        .map(|pushed: LoggedPush| {
            assert_eq!(
                (pushed.dataset.as_str(), pushed.id, pushed.failed),
                ("made.here", sample::id(1), None)
            );
            assert!(pushed.from.unwrap().is_loopback());
            (pushed.token, pushed.verb, pushed.blocks)
        })
        .collect();
    let expected = [
        ("create", Verb::Create, 2),
        ("add", Verb::Push, 1),
        ("rewrite", Verb::Rewrite, 4),
    ];
    assert_eq!(
        written,
        expected.map(|(label, verb, blocks)| (label.to_owned(), verb, blocks))
    );
}

#[test]
fn what_is_not_shared_is_as_if_it_were_not_there() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::new().hiding("hidden", &blocks, &files);
    let (pull, push, other) = (
        served.token_for("pull", "hid%", &[Verb::Pull]),
        // Whoever may do more reads, too.
        served.token_for("push", "hidden", &[Verb::Push]),
        served.token_for("other", "other", &Verb::ALL),
    );
    let paths = [
        "hidden/refs/head".to_owned(),
        "ann/hidden/refs/head".to_owned(),
        format!("hidden/blocks/{}", blocks[0].hash()),
        format!("hidden/{}", files[0].0),
        format!("datasets/{}", sample::id(1)),
    ];
    for path in &paths {
        for (token, status) in [(None, 404), (Some(&other), 404), (Some(&pull), 200), (Some(&push), 200)] {
            let token = token.map(String::as_str);
            assert_eq!(
                served.request("GET", path, token, None).status,
                status,
                "{path} {token:?}"
            );
        }
    }
    let nothing = served.get("nothing/refs/head");
    let hidden = served.get("hidden/refs/head");
    assert_eq!(nothing.text().replace("nothing", "hidden"), hidden.text());
    assert!(hidden.text().contains("odfs share"), "{}", hidden.text());
    assert_eq!(served.connect("hidden/pull", None, Some("1")).unwrap_err().0, 404);
    assert_eq!(
        served.connect("hidden/pull", Some(&other), Some("1")).unwrap_err().0,
        404
    );
    served.connect("hidden/pull", Some(&pull), Some("1")).unwrap().close();
    let dataset = served.workspace.catalog().find("hidden").unwrap();
    dataset.set_sharing(Sharing::Published).unwrap();
    assert!(paths.iter().all(|path| served.get(path).status == 200));
    dataset.set_sharing(Sharing::Stopped).unwrap();
    assert!(paths.iter().all(|path| served.get(path).status == 404));
}

#[test]
fn a_token_that_has_expired_or_was_deleted_counts_no_more() {
    let blocks = sample::chain(sample::id(1), 3, 3, "");
    let served = Served::new();
    let rights = Rights {
        datasets: vec!["%".to_owned()],
        verbs: Verb::ALL.to_vec(),
        expires: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    };
    let expired = served.tokens.add("old", rights, sample::time()).unwrap();
    let answer = served.request("GET", "platform/token/validate", Some(&expired), None);
    assert!(
        answer.status == 401 && answer.text().contains("has expired"),
        "{}",
        answer.text()
    );
    // Also in the middle of a push.
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    kamu.say(files_of(&[]));
    kamu.hear();
    served.tokens.delete("kamu").unwrap();
    kamu.say(COMPLETE);
    kamu.say("{}");
    let reason = kamu.refused();
    assert!(reason.contains("was deleted"), "{reason}");
    assert!(served.workspace.catalog().find("ds").is_err());
    assert_eq!(served.pushes.list().unwrap(), []);
}
