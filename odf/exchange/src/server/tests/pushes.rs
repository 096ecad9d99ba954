//! Pushes, well and badly meant.

use serde_json::{Value, json};

use super::{Kamu, Served, Verb};
use crate::smart::sample::{self, File};
use crate::smart::{bundle, plan};
use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;

pub(super) fn initial(current_head: Option<&Multihash>, blocks: &[EncodedBlock], force: bool) -> Value {
    json!({
        "current_head": current_head,
        "transfer_plan": plan::of(blocks),
        "force_update_if_diverged": force,
        "visibility_for_created_dataset": "Private",
    })
}

pub(super) fn metadata(blocks: &[EncodedBlock]) -> Value {
    json!({"new_blocks": bundle::pack(blocks).unwrap()})
}

pub(super) fn files_of(files: &[File]) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(object, _)| serde_json::to_value(plan::file(object)).unwrap())
        .collect();
    json!({"object_files": files, "is_truncated": false})
}

impl Served {
    pub(super) fn push(&self, name: &str, token: &str) -> Kamu {
        self.connect(&format!("{name}/push"), Some(token), Some("1")).unwrap()
    }

    fn put(&self, path: &str, token: Option<&str>, bytes: &[u8]) -> u16 {
        self.request("PUT", path, token, Some(bytes)).status
    }

    fn has(&self, name: &str) -> bool {
        self.workspace.catalog().find(name).is_ok()
    }

    pub(super) fn head(&self, name: &str) -> String {
        self.workspace.catalog().find(name).unwrap().head().to_string()
    }
}

/// Says everything up to the objects.
pub(super) fn up_to_objects(kamu: &mut Kamu, current_head: Option<&Multihash>, blocks: &[EncodedBlock], force: bool) {
    kamu.say(initial(current_head, blocks, force));
    assert_eq!(kamu.hear(), json!({"Ok": {}}));
    kamu.say(metadata(blocks));
    assert_eq!(kamu.hear(), json!({"Ok": {}}));
}

pub(super) const COMPLETE: &str = r#"{"details":"Complete"}"#;

#[test]
fn kamu_pushes_a_new_dataset_and_more_of_it() {
    let (blocks, files) = sample::with_files(sample::id(1), 2);
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("new.ds", &token);
    up_to_objects(&mut kamu, None, &blocks[..3], false);
    assert!(!served.has("new.ds"), "nothing is seen before the end");
    kamu.say(files_of(&files[..2]));
    let answer = kamu.hear();
    let strategies = answer["Ok"]["object_transfer_strategies"].as_array().unwrap();
    assert_eq!(strategies.len(), 2);
    for (strategy, (object, bytes)) in strategies.iter().zip(&files) {
        assert_eq!(strategy["push_strategy"], "HttpUpload");
        let to = &strategy["upload_to"];
        assert_eq!(to["url"], served.url(&format!("new.ds/{object}")));
        let headers = json!([
            {"name": "x-odf-smtp-version", "value": "1"},
            {"name": "authorization", "value": format!("Bearer {token}")},
        ]);
        assert_eq!((&to["headers"], &to["expires_at"]), (&headers, &Value::Null));
        assert_eq!(served.put(&format!("new.ds/{object}"), Some(&token), bytes), 200);
        assert!(!served.has("new.ds"));
    }
    kamu.say(r#"{"details":{"Running":{"uploaded_objects_count":2}}}"#);
    kamu.say(COMPLETE);
    kamu.say("{}");
    assert_eq!(kamu.hear(), json!({}));
    kamu.close();
    assert_eq!(served.head("new.ds"), blocks[2].hash().to_string());

    // More of it. What is there already is not asked for.
    let mut kamu = served.push("new.ds", &token);
    up_to_objects(&mut kamu, Some(blocks[2].hash()), &blocks[3..], false);
    served.put(&format!("new.ds/{}", files[2].0), Some(&token), &files[2].1);
    kamu.say(files_of(&files[2..]));
    let answer = kamu.hear();
    assert_eq!(
        answer["Ok"]["object_transfer_strategies"][0]["push_strategy"],
        "SkipUpload"
    );
    assert_eq!(answer["Ok"]["object_transfer_strategies"][0]["upload_to"], Value::Null);
    assert_eq!(
        served.put(&format!("new.ds/{}", files[3].0), Some(&token), &files[3].1),
        200
    );
    kamu.say(COMPLETE);
    kamu.say("{}");
    assert_eq!(kamu.hear(), json!({}));
    let dataset = served.workspace.catalog().find("new.ds").unwrap();
    let stored: Vec<_> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    assert_eq!(stored, blocks);
}

#[test]
fn nobody_writes_without_a_token() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::new();
    for token in [None, Some("wrong")] {
        let (status, body) = served.connect("ds/push", token, Some("1")).unwrap_err();
        assert_eq!(status, 401, "{body}");
        assert_eq!(served.put(&format!("ds/{}", files[0].0), token, &files[0].1), 401);
    }
    // Nor with one that is not the pusher's, or for what nobody pushes.
    let token = served.token();
    let other = served.token_for("other", "%", &Verb::ALL);
    assert_eq!(
        served.put(&format!("ds/{}", files[0].0), Some(&token), &files[0].1),
        409
    );
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    assert_eq!(
        served.put(&format!("ds/{}", files[0].0), Some(&other), &files[0].1),
        409
    );
    assert_eq!(
        served.put(&format!("ds/data/{}", sample::no_hash()), Some(&token), b"x"),
        409
    );
    // A token that was deleted counts no more, also within a push.
    served.tokens.delete("kamu").unwrap();
    assert_eq!(
        served.put(&format!("ds/{}", files[0].0), Some(&token), &files[0].1),
        401
    );
}

#[test]
fn a_wrong_object_is_refused_and_nothing_is_committed() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    kamu.say(files_of(&files));
    kamu.hear();
    let (object, bytes) = &files[0];
    let mut forged = bytes.clone();
    forged[7] ^= 1;
    let path = format!("ds/{object}");
    for wrong in [forged.as_slice(), &bytes[1..], &[bytes.as_slice(), b"x"].concat()] {
        let answer = served.request("PUT", &path, Some(&token), Some(wrong));
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(&object.to_string()), "{}", answer.text());
    }
    kamu.say(COMPLETE);
    kamu.say("{}");
    let reason = kamu.refused();
    // A string, which kamu cannot take for a confirmation.
    let words: String = serde_json::from_str(&reason).unwrap();
    assert!(words.starts_with("data/f1620"), "{words}");
    assert!(!served.has("ds"));
    assert!(served.workspace.catalog().entries().unwrap().is_empty());
}

#[test]
fn an_object_that_no_block_names_is_not_taken() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    let mut larger = files[0].clone();
    larger.0.size += 1;
    kamu.say(files_of(&[larger]));
    let answer = kamu.hear();
    assert_eq!(answer["Err"]["Internal"]["phase"], json!({"Push": "ObjectsRequest"}));
    assert!(
        answer["Err"]["Internal"]["error_message"]
            .as_str()
            .unwrap()
            .contains(&files[0].0.to_string())
    );
}

#[test]
fn a_wrong_block_is_refused_by_name() {
    let blocks = sample::chain(sample::id(1), 3, 3, "");
    let served = Served::new();
    let token = served.token();
    // Bytes that are not those of the name.
    let mut kamu = served.push("ds", &token);
    kamu.say(initial(None, &blocks, false));
    kamu.hear();
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), Default::default()));
    for (name, block) in [(0, 0), (1, 1), (2, 1)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(blocks[block].bytes().len() as u64);
        let name = blocks[name].hash().to_string();
        archive
            .append_data(&mut header, name, &blocks[block].bytes()[..])
            .unwrap();
    }
    let mut batch = bundle::pack(&blocks).unwrap();
    batch.payload = archive.into_inner().unwrap().finish().unwrap();
    kamu.say(json!({"new_blocks": batch}));
    let reason = kamu.refused();
    assert!(reason.contains(&blocks[2].hash().to_string()), "{reason}");

    // Blocks that do not form a chain; more or fewer than announced.
    let hole = [blocks[0].clone(), blocks[2].clone()];
    for (announced, sent) in [
        (&hole[..], &hole[..]),
        (&blocks[..], &blocks[..2]),
        (&blocks[1..], &blocks[1..]),
    ] {
        let mut kamu = served.push("ds", &token);
        kamu.say(initial(None, announced, false));
        kamu.hear();
        kamu.say(metadata(sent));
        let reason = kamu.refused();
        assert!(reason.starts_with('"') && reason.len() <= 123, "{reason}");
    }
    assert!(!served.has("ds"));
}

#[test]
fn heads_that_differ_are_told_apart() {
    let trunk = sample::chain(sample::id(1), 4, 4, "");
    let served = Served::new().holding("ds", &trunk, &[]);
    let token = served.token();
    // The client does not know the server's head.
    let mut kamu = served.push("ds", &token);
    kamu.say(initial(Some(trunk[2].hash()), &trunk[3..], false));
    let refused = json!({"InvalidHead": {
        "actual_head": trunk[2].hash().to_string(), "expected_head": trunk[3].hash().to_string(),
    }});
    assert_eq!(kamu.hear(), json!({"Err": refused}));
    // It knows it, but its chain went another way.
    let branch = sample::chain(sample::id(1), 6, 2, "b");
    let mut kamu = served.push("ds", &token);
    kamu.say(initial(Some(trunk[3].hash()), &branch[2..], false));
    kamu.hear();
    kamu.say(metadata(&branch[2..]));
    assert!(kamu.refused().contains("follow"));
    assert_eq!(served.get("ds/refs/head").text(), trunk[3].hash().to_string());
    // And means it.
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, Some(trunk[3].hash()), &branch, true);
    kamu.say(files_of(&[]));
    assert_eq!(kamu.hear(), json!({"Ok": {"object_transfer_strategies": []}}));
    kamu.say(COMPLETE);
    kamu.say("{}");
    assert_eq!(kamu.hear(), json!({}));
    assert_eq!(served.get("ds/refs/head").text(), branch[5].hash().to_string());
}

#[test]
fn another_dataset_does_not_take_a_name() {
    let ours = sample::chain(sample::id(1), 3, 3, "");
    let theirs = sample::chain(sample::id(2), 3, 3, "");
    let served = Served::new().holding("ds", &ours, &[]);
    let token = served.token();
    for force in [false, true] {
        let mut kamu = served.push("ds", &token);
        kamu.say(initial(Some(ours[2].hash()), &theirs, force));
        kamu.hear();
        kamu.say(metadata(&theirs));
        assert_eq!(kamu.hear(), json!({"Err": {"SeedBlockOverwriteRestricted": {}}}));
    }
    // The same dataset under a second name.
    let mut kamu = served.push("again", &token);
    up_to_objects(&mut kamu, None, &ours, false);
    kamu.say(files_of(&[]));
    let id = sample::id(1).to_string();
    assert_eq!(kamu.hear(), json!({"Err": {"RefCollision": {"dataset_id": id}}}));
    // Two that are pushed to one new name at the same time.
    let mut first = served.push("both", &token);
    let mut second = served.push("both", &token);
    up_to_objects(&mut first, None, &theirs, false);
    let other = sample::chain(sample::id(3), 2, 2, "");
    second.say(initial(None, &other, false));
    second.hear();
    second.say(metadata(&other));
    assert_eq!(second.refused(), "\"another push to both is under way\"");
    // Names that are addresses of something else.
    assert_eq!(served.connect("ipfs/push", Some(&token), Some("1")).unwrap_err().0, 418);
    assert_eq!(served.connect("info/push", Some(&token), Some("1")).unwrap_err().0, 400);
}

#[test]
fn an_abandoned_push_leaves_what_arrived_for_the_next() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    kamu.say(files_of(&files));
    kamu.hear();
    assert_eq!(
        served.put(&format!("ds/{}", files[0].0), Some(&token), &files[0].1),
        200
    );
    drop(kamu);
    // The server notices in its own time.
    let mut again = loop {
        let mut kamu = served.push("ds", &token);
        kamu.say(initial(None, &blocks, false));
        kamu.hear();
        kamu.say(metadata(&blocks));
        match kamu.0.read().unwrap() {
            tungstenite::Message::Text(_) => break kamu,
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    again.say(files_of(&files));
    let answer = again.hear();
    let strategies = &answer["Ok"]["object_transfer_strategies"];
    assert_eq!(strategies[0]["push_strategy"], "SkipUpload");
    assert_eq!(strategies[1]["push_strategy"], "HttpUpload");
    assert_eq!(
        served.put(&format!("ds/{}", files[1].0), Some(&token), &files[1].1),
        200
    );
    again.say(COMPLETE);
    again.say("{}");
    assert_eq!(again.hear(), json!({}));
    assert!(served.has("ds"));
}

#[test]
fn a_client_that_leaves_after_its_last_word_has_pushed() {
    let blocks = sample::chain(sample::id(1), 3, 3, "");
    let served = Served::new();
    let token = served.token();
    let mut kamu = served.push("ds", &token);
    up_to_objects(&mut kamu, None, &blocks, false);
    kamu.say(files_of(&[]));
    kamu.hear();
    kamu.say(COMPLETE);
    kamu.say("{}");
    drop(kamu);
    while !served.has("ds") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
