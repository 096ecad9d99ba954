//! Pushing: to a server that does as kamu's does, and to some that do not.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::http::MAX_REFUSAL_BYTES;
use crate::together::length_of;
use odf_dataset::ObjectKind;

fn push_to(script: &Script, dataset: &Dataset, force: bool) -> Result<Pushed, PushError> {
    push(dataset, &script.endpoint(), Visibility::Public, force, &QUIET)
}

/// Accepts everything up to the objects; the request for them.
fn accept(server: &mut Server, current_head: Option<&Multihash>, blocks: &[EncodedBlock]) -> Value {
    let request = server.hear();
    let expected = json!({
        "current_head": current_head, "transfer_plan": super::plan::of(blocks),
        "force_update_if_diverged": false, "visibility_for_created_dataset": "Public",
    });
    assert_eq!(request, expected);
    server.say(json!({"Ok": {}}));
    let batch: messages::BlocksBatch = serde_json::from_value(server.hear()["new_blocks"].clone()).unwrap();
    assert_eq!(bundle::unpack(&batch).unwrap(), blocks);
    server.say(json!({"Ok": {}}));
    server.hear()
}

/// Says where the client is to bring its objects: the first is there already.
fn want(server: &mut Server, request: &Value) {
    assert_eq!(request["is_truncated"], false);
    let strategies: Vec<Value> = request["object_files"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let to = json!({"url": server.url(&format!("up/{number}?signature=s")), "headers": [], "expires_at": null});
            match number {
                0 => json!({"object_file": file, "push_strategy": "SkipUpload", "upload_to": null}),
                _ => json!({"object_file": file, "push_strategy": "HttpUpload", "upload_to": to}),
            }
        })
        .collect();
    server.say(json!({"Ok": {"object_transfer_strategies": strategies}}));
}

#[test]
fn a_dataset_is_pushed_to_kamu() {
    let (blocks, files) = sample::with_files(sample::id(1), 2);
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &files);
    let (all, head) = (blocks.clone(), blocks[3].hash().to_string());
    let script = Script::new(&[], move |server| {
        let request = accept(server, None, &all);
        want(server, &request);
        // A question while the uploads go on; its answer may come after the last word about them.
        server.say(json!({}));
        let mut last = server.hear();
        while last != json!({"details": "Complete"}) {
            assert!(last["details"]["Running"]["uploaded_objects_count"].is_u64(), "{last}");
            last = server.hear();
        }
        assert_eq!(server.hear(), json!({}));
        server.set_file("refs/head", head.clone());
        server.say(json!({}));
        server.closed();
    });
    let pushed = push_to(&script, &dataset, false).unwrap();
    assert!(matches!(
        pushed,
        Pushed::Updated {
            old_head: None,
            blocks: 4
        }
    ));
    let plain = script.plain.lock().unwrap();
    assert_eq!(plain.taken.len(), 3);
    for (number, (_, bytes)) in files.iter().enumerate().skip(1) {
        assert_eq!(plain.taken[&format!("up/{number}?signature=s")], *bytes);
    }
    drop(plain);
    assert!(matches!(push_to(&script, &dataset, false).unwrap(), Pushed::UpToDate));
}

#[test]
fn an_object_is_sent_again_when_the_connection_that_waited_was_closed() {
    let (blocks, files) = sample::with_files(sample::id(1), 20);
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &files);
    let (all, head) = (blocks.clone(), blocks.last().unwrap().hash().to_string());
    let script = Script::new(&[], move |server| {
        let request = accept(server, None, &all);
        want(server, &request);
        while server.hear() != json!({"details": "Complete"}) {}
        server.set_file("refs/head", head.clone());
        server.say(json!({}));
        server.closed();
    });
    script.plain.lock().unwrap().waits = true;
    push_to(&script, &dataset, false).unwrap();
    let plain = script.plain.lock().unwrap();
    assert!(plain.closed > 0, "no connection was used twice");
    assert_eq!(plain.taken.len(), files.len() - 1);
    for (number, (_, bytes)) in files.iter().enumerate().skip(1) {
        assert_eq!(plain.taken[&format!("up/{number}?signature=s")], *bytes, "whole");
    }
}

#[test]
fn a_server_that_takes_many_objects_in_one_request_gets_the_small_ones_so() {
    let (blocks, files) = sample::with_files(sample::id(1), 20);
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &files);
    let (all, head) = (blocks.clone(), blocks.last().unwrap().hash().to_string());
    let script = Script::new(&[], move |server| {
        let request = accept(server, None, &all);
        assert_eq!(request["together"], true);
        let to = |path: &str| json!({"url": server.url(path), "headers": [], "expires_at": null});
        let files = request["object_files"].as_array().unwrap();
        let strategies = files.iter().enumerate().map(|(number, file)| {
            let upload_to = to(&format!("up/{number}"));
            json!({"object_file": file, "push_strategy": "HttpUpload", "upload_to": upload_to})
        });
        let strategies: Vec<Value> = strategies.collect();
        let accepted = json!({"object_transfer_strategies": strategies, "together": to("many")});
        server.say(json!({"Ok": accepted}));
        while server.hear() != json!({"details": "Complete"}) {}
        server.set_file("refs/head", head.clone());
        server.say(json!({}));
        server.closed();
    });
    let told = AtomicU64::new(0);
    let listener = |progress| {
        if let Progress::Bytes(bytes) = progress {
            told.fetch_add(bytes, Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    };
    push(&dataset, &script.endpoint(), Visibility::Public, false, &listener).unwrap();
    let plain = script.plain.lock().unwrap();
    let is_small = |file: &&sample::File| file.0.kind == ObjectKind::Checkpoint;
    let together: u64 = files.iter().filter(is_small).map(|(object, _)| length_of(object)).sum();
    assert_eq!(plain.taken["many"].len() as u64, together);
    assert_eq!(plain.taken.len(), 1 + 20);
    for (number, (object, bytes)) in files.iter().enumerate() {
        let alone = plain.taken.get(&format!("up/{number}"));
        assert_eq!(alone, (object.kind == ObjectKind::Slice).then_some(bytes));
    }
    let bytes: u64 = files.iter().map(|(object, _)| object.size).sum();
    assert_eq!(told.into_inner(), bytes, "each byte is told once");
}

#[test]
fn one_block_more_than_a_page_goes_in_a_push_of_its_own() {
    let length = PAGE_BLOCKS as u64 + 1;
    let blocks = sample::chain(sample::id(1), length, length, "");
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &[]);
    let all = blocks.clone();
    let script = Script::new(&[], move |server| {
        let there = server.plain.lock().unwrap().files.get("refs/head").cloned();
        let (current, page) = match there {
            None => (None, &all[..PAGE_BLOCKS]),
            Some(_) => (Some(all[PAGE_BLOCKS - 1].hash()), &all[PAGE_BLOCKS..]),
        };
        let request = accept(server, current, page);
        want(server, &request);
        server.hear();
        server.hear();
        server.set_file("refs/head", page.last().unwrap().hash().to_string());
        server.say(json!({}));
        server.closed();
    });
    let pushed = push_to(&script, &dataset, false).unwrap();
    assert_eq!(
        pushed,
        Pushed::Updated {
            old_head: None,
            blocks: length
        }
    );
    let there = script.plain.lock().unwrap().files["refs/head"].clone();
    assert_eq!(there, dataset.head().to_string().into_bytes());
}

#[test]
fn a_chain_is_replaced_in_one_push_if_a_message_holds_it() {
    let length = PAGE_BLOCKS as u64 + 1;
    let blocks = sample::chain(sample::id(1), length, length, "");
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &[]);
    let (all, head) = (blocks.clone(), blocks.last().unwrap().hash().to_string());
    let other = sample::no_hash().to_string();
    let script = Script::new(&[("refs/head", other.as_bytes())], move |server| {
        assert_eq!(server.hear()["force_update_if_diverged"], true);
        server.say(json!({"Ok": {}}));
        let batch: messages::BlocksBatch = serde_json::from_value(server.hear()["new_blocks"].clone()).unwrap();
        assert_eq!(bundle::unpack(&batch).unwrap(), all);
        server.say(json!({"Ok": {}}));
        let request = server.hear();
        want(server, &request);
        server.hear();
        server.hear();
        server.set_file("refs/head", head.clone());
        server.say(json!({}));
        server.closed();
    });
    push_to(&script, &dataset, true).unwrap();
}

#[test]
fn a_push_counts_when_the_servers_head_says_so() {
    let blocks = sample::chain(sample::id(1), 3, 3, "");
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &[]);
    type End = fn(&mut Server, String);
    let ends: [(End, Option<&str>); 4] = [
        // What kamu does when its last step fails: its own client takes that for a confirmation.
        (
            |server, _| {
                let phase = json!({"Push": "CompleteRequest"});
                let reason = json!({"Err": {"Internal": {"phase": phase, "error_message": "Internal error"}}});
                server.close(1011, &reason.to_string());
            },
            Some("refused: Internal error"),
        ),
        (
            |server, _| {
                server.say(json!({}));
                server.say(json!({}));
                let _ = server.socket.read();
            },
            Some("confirmed the push, but its head is"),
        ),
        // A question that crossed the client's last word.
        (
            |server, head| {
                server.say(json!({}));
                thread::sleep(Duration::from_millis(300));
                server.set_file("refs/head", head);
                server.say(json!({}));
                server.closed();
            },
            None,
        ),
        (|server, _| server.close(1000, ""), Some("broke off")),
    ];
    for (end, words) in ends {
        let (all, head) = (blocks.clone(), blocks[2].hash().to_string());
        let old_head = blocks[0].hash().to_string();
        let script = Script::new(&[("refs/head", old_head.as_bytes())], move |server| {
            let request = accept(server, Some(all[0].hash()), &all[1..]);
            assert_eq!(request["object_files"], json!([]));
            server.say(json!({"Ok": {"object_transfer_strategies": []}}));
            assert_eq!(server.hear(), json!({"details": "Complete"}));
            assert_eq!(server.hear(), json!({}));
            end(server, head.clone());
        });
        match (push_to(&script, &dataset, false), words) {
            (Ok(Pushed::Updated { blocks: 2, .. }), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error}"),
            (other, words) => panic!("{words:?}: {:?}", other.err()),
        }
    }
}

#[test]
fn every_refusal_of_a_push_is_put_into_words() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &files);
    let refused = |script: &dyn Fn() -> Script| push_to(&script(), &dataset, false).err().unwrap();
    let error = refused(&|| {
        Script::new(&[], |server| {
            server.hear();
            let invalid = json!({"actual_head": null, "expected_head": sample::no_hash().to_string()});
            server.say(json!({"Err": {"InvalidHead": invalid}}));
        })
    });
    assert!(matches!(error, PushError::HeadMoved { actual: Some(_), .. }), "{error}");
    let error = refused(&|| {
        Script::new(&[], |server| {
            server.hear();
            server.say(json!({"Ok": {}}));
            server.hear();
            server.close(1011, r#"{"Err":{"SeedBlockOverwriteRestricted":{}}}"#);
        })
    });
    assert!(
        matches!(error, PushError::Smart(SmartError::OtherDataset { .. })),
        "{error}"
    );
    for (answer, words) in [
        (
            json!({"RefCollision": {"dataset_id": sample::id(2)}}),
            "under another name",
        ),
        (
            json!({"NameCollision": {"dataset_alias": "x/y"}}),
            "another dataset called x/y",
        ),
    ] {
        for as_text in [true, false] {
            let (all, answer) = (blocks.clone(), json!({"Err": answer}));
            let script = Script::new(&[], move |server| {
                accept(server, None, &all);
                match as_text {
                    true => server.say(answer.clone()),
                    false => server.close(1011, &answer.to_string()),
                }
            });
            let error = push_to(&script, &dataset, false).err().unwrap();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    let all = blocks.clone();
    let script = Script::new(&[], move |server| {
        let request = accept(server, None, &all);
        want(server, &request);
        let _ = server.socket.read();
    });
    script.plain.lock().unwrap().put_status = 507;
    let error = push_to(&script, &dataset, false).err().unwrap().to_string();
    assert!(
        error.contains("507: no room") && !error.contains("signature"),
        "{error}"
    );
}

#[test]
fn no_more_of_a_refusal_is_read_than_the_limit_says() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &files);
    let most = usize::try_from(MAX_REFUSAL_BYTES).unwrap();
    for length in [most, most + 1] {
        let all = blocks.clone();
        let script = Script::new(&[], move |server| {
            let request = accept(server, None, &all);
            want(server, &request);
            let _ = server.socket.read();
        });
        let around = json!({"message": "no room", "rest": ""}).to_string().len();
        let answer = json!({"message": "no room", "rest": "x".repeat(length - around)}).to_string();
        assert_eq!(answer.len(), length);
        let mut plain = script.plain.lock().unwrap();
        (plain.put_status, plain.put_answer) = (507, answer.into_bytes());
        drop(plain);
        let error = push_to(&script, &dataset, false).err().unwrap().to_string();
        // What was not read to its end is no JSON, and shown as it is.
        assert_eq!(error.ends_with("507: no room"), length == most, "{error}");
    }
}

#[test]
fn a_server_that_is_ahead_or_went_another_way_is_left_alone() {
    let trunk = sample::chain(sample::id(1), 4, 4, "");
    let branch = sample::chain(sample::id(1), 5, 2, "b");
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &trunk[..3], &[]);
    for (theirs, ahead) in [(&trunk, true), (&branch, false)] {
        let head = theirs.last().unwrap().hash().to_string();
        let mut files: Vec<(String, Vec<u8>)> = theirs
            .iter()
            .map(|block| (format!("blocks/{}", block.hash()), block.bytes().to_vec()))
            .collect();
        files.push(("refs/head".to_owned(), head.into_bytes()));
        let served: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
        let script = Script::new(&served, |_| panic!("nothing to say"));
        let error = push_to(&script, &dataset, false).err().unwrap();
        match (ahead, &error) {
            (true, PushError::DestinationAhead { by: 1, .. }) => {}
            (
                false,
                PushError::Compare(ReceiveError::Diverged {
                    common: 2,
                    ours: 1,
                    theirs: 3,
                    ..
                }),
            ) => {}
            _ => panic!("{error}"),
        }
        // A server that writes old blocks anew tells less, and is left alone as well.
        let last = format!("blocks/{}", theirs.last().unwrap().hash());
        script
            .plain
            .lock()
            .unwrap()
            .files
            .insert(last, trunk[0].bytes().to_vec());
        let error = push_to(&script, &dataset, false).err().unwrap();
        assert!(
            matches!(error, PushError::Smart(SmartError::NotAncestor { .. })),
            "{error}"
        );
    }
}

#[test]
fn a_message_longer_than_a_frame_goes_in_pieces() {
    // What does not pack: 4 MiB of noise as a JSON array is longer than a frame.
    let id = sample::id(1);
    let text: String = (0..FRAME_BYTES / 2)
        .map(|_| char::from(rand::random_range(b'0'..=b'z')))
        .collect();
    let mut blocks = sample::chain(id, 1, 1, "");
    for part in text.as_bytes().chunks(1 << 20) {
        let mut longer = sample::chain(id, blocks.len() as u64 + 1, 0, std::str::from_utf8(part).unwrap());
        let block = longer.pop().unwrap().into_block();
        blocks.push(sample::after(blocks.last().unwrap(), block.event));
    }
    let (_dir, workspace) = workspace();
    let dataset = held(&workspace, &blocks, &[]);
    let (all, head) = (blocks.clone(), blocks.last().unwrap().hash().to_string());
    let script = Script::new(&[], move |server| {
        let request = accept(server, None, &all);
        want(server, &request);
        server.hear();
        server.hear();
        server.set_file("refs/head", head.clone());
        server.say(json!({}));
        server.closed();
    });
    push_to(&script, &dataset, false).unwrap();
}
