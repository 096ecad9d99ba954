//! Buckets, asked over loopback.

use std::collections::BTreeMap;

use odf_dataset::{Object, ObjectKind};

use super::super::tests::Served;
use super::*;
use crate::smart::sample;

/// An answer: status, fields, body.
struct Said(u16, HeaderMap, Vec<u8>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.2.clone()).unwrap()
    }

    fn field(&self, name: &str) -> &str {
        self.1.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What stands between these tags, each time.
    fn all(&self, tag: &str) -> Vec<String> {
        let (text, start, end) = (self.text(), format!("<{tag}>"), format!("</{tag}>"));
        let parts = text.split(start.as_str()).skip(1);
        parts
            .map(|part| part.split(end.as_str()).next().unwrap().to_owned())
            .collect()
    }
}

fn ask(served: &Served, method: &str, path: &str, fields: &[(&str, &str)]) -> Said {
    let url = format!("http://{}/{path}", served.s3);
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = crate::http::agent("", None).run(request.body(()).unwrap()).unwrap();
    let (parts, body) = response.into_parts();
    let body = match method {
        "HEAD" => Vec::new(),
        _ => body.into_with_config().limit(1 << 24).read_to_vec().unwrap(),
    };
    Said(parts.status.as_u16(), parts.headers, body)
}

fn get(served: &Served, path: &str) -> Said {
    ask(served, "GET", path, &[])
}

/// Three slices with a checkpoint each, that everybody may read; and what its keys should be, with what they stand for.
fn served() -> (Served, BTreeMap<String, Vec<u8>>) {
    let id = sample::id(1);
    let (blocks, files) = sample::with_files(id, 3);
    let mut expected = BTreeMap::new();
    for (number, block) in blocks.iter().enumerate() {
        expected.insert(format!("blocks/{number:010}-{}", block.hash()), block.bytes().to_vec());
    }
    for (at, (Object { kind, hash, .. }, bytes)) in files.iter().enumerate() {
        let number = 2 + at / 2;
        let key = match kind {
            ObjectKind::Slice => format!("data/{number:010}-{hash}.parquet"),
            ObjectKind::Checkpoint => format!("checkpoints/{number:010}-{hash}"),
        };
        expected.insert(key, bytes.clone());
    }
    let head = blocks.last().unwrap().hash().to_string();
    expected.insert("refs/head".to_owned(), head.into_bytes());
    (Served::new().holding("open", &blocks, &files), expected)
}

#[test]
fn keys_stand_in_the_order_of_the_chain_for_what_it_names() {
    let (served, expected) = served();
    let listed = get(&served, "open?list-type=2");
    let keys = listed.all("Key");
    assert_eq!(keys, expected.keys().cloned().collect::<Vec<_>>());
    assert!(keys.is_sorted());
    let sizes: Vec<String> = expected.values().map(|bytes| bytes.len().to_string()).collect();
    assert_eq!(listed.all("Size"), sizes);
    for (key, bytes) in &expected {
        let got = get(&served, &format!("open/{key}"));
        assert_eq!((got.0, &got.2), (200, bytes), "{key}");
        let asked = ask(&served, "HEAD", &format!("open/{key}"), &[]);
        assert_eq!(asked.0, 200, "{key}");
        for field in [
            "etag",
            "content-length",
            "content-type",
            "last-modified",
            "accept-ranges",
        ] {
            assert_eq!(got.field(field), asked.field(field), "{key} {field}");
        }
        assert_eq!(got.field("last-modified"), "Fri, 02 Jan 2026 03:04:05 GMT", "{key}");
        assert!(
            key == "refs/head" || key.contains(got.field("etag").trim_matches('"')),
            "{key}"
        );
    }
    // Near to a key is no key.
    let slice = keys.iter().find(|key| key.starts_with("data/")).unwrap();
    for wrong in [
        slice.replace("data/0", "data/"),
        slice.replace("data/", "data/0"),
        slice.replace(".parquet", ""),
        slice.replace("data/0000000002", "data/0000000003"),
        slice.replace("data/0000000002", "data/0000000099"),
        slice.replace("data/", "blocks/"),
        format!("{slice}/x"),
        "data/".to_owned(),
        "data/..%2f..%2finfo%2falias".to_owned(),
        "info/alias".to_owned(),
        "refs/tail".to_owned(),
    ] {
        let got = get(&served, &format!("open/{wrong}"));
        assert_eq!((got.0, got.all("Code")), (404, vec!["NoSuchKey".to_owned()]), "{wrong}");
    }
}

#[test]
fn a_listing_is_the_same_however_it_is_cut() {
    let (served, expected) = served();
    for prefix in [
        "",
        "d",
        "data/",
        "data/0000000003",
        "checkpoints",
        "blocks/0000000004-",
        "refs/",
        "refs/head",
        "x",
        "data/~",
    ] {
        for delimiter in ["", "/", "-", "0000000002"] {
            let mut lines: Vec<String> = Vec::new();
            for key in expected.keys().filter(|key| key.starts_with(prefix)) {
                let end = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
                let line = end.map_or(key.as_str(), |end| &key[..prefix.len() + end + delimiter.len()]);
                if lines.last().is_none_or(|last| last != line) {
                    lines.push(line.to_owned());
                }
            }
            for (most, second) in [(1, true), (2, true), (3, false), (1000, false), (1000, true)] {
                let (mut told, mut after) = (Vec::new(), String::new());
                loop {
                    let (kind, place) = match second {
                        true => ("list-type=2&", "continuation-token"),
                        false => ("", "marker"),
                    };
                    let query = format!("{kind}prefix={prefix}&delimiter={delimiter}&max-keys={most}&{place}={after}");
                    let page = get(&served, &format!("open?{query}"));
                    let mut lines = page.all("Key");
                    // The first is that of the question.
                    lines.extend(page.all("Prefix").into_iter().skip(1));
                    lines.sort();
                    assert!(lines.len() <= most, "{query}");
                    told.extend(lines);
                    let next = if second { "NextContinuationToken" } else { "NextMarker" };
                    match page.all(next).pop() {
                        Some(next) => after = next,
                        None => break,
                    }
                    assert_eq!(page.all("IsTruncated"), ["true"]);
                }
                assert_eq!(told, lines, "{prefix:?} {delimiter:?} {most} {second}");
            }
        }
    }
    let after = expected.keys().nth(4).unwrap();
    let rest = get(&served, &format!("open?list-type=2&start-after={after}")).all("Key");
    assert_eq!(rest, expected.keys().skip(5).cloned().collect::<Vec<_>>());
    assert_eq!(get(&served, "open?max-keys=0").all("IsTruncated"), ["false"]);
}

#[test]
fn documents_are_as_s3_has_them() {
    let (served, expected) = served();
    let key = expected.keys().find(|key| key.starts_with("data/")).unwrap();
    let hash = key.split('-').nth(1).unwrap().trim_end_matches(".parquet");
    let size = expected[key].len();
    let listed = get(
        &served,
        "open?list-type=2&prefix=data%2F&max-keys=1&encoding-type=url&start-after=%26",
    );
    assert_eq!(listed.field("content-type"), "application/xml");
    let escaped = key.replace('/', "%2F");
    assert_eq!(
        listed.text(),
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>open</Name>\
             <Prefix>data%2F</Prefix><MaxKeys>1</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <KeyCount>1</KeyCount><StartAfter>%26</StartAfter><NextContinuationToken>{key}</NextContinuationToken>\
             <Contents><Key>{escaped}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>\
             <ETag>&quot;{hash}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>\
             </ListBucketResult>"
        )
    );
    assert_eq!(
        get(&served, "").text(),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>odfs</ID></Owner><Buckets>\
         <Bucket><Name>open</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket></Buckets>\
         </ListAllMyBucketsResult>"
    );
    assert_eq!(get(&served, "open?location").all("Code").len(), 0);
    assert_eq!(
        get(&served, "nobody").text(),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchBucket</Code><Message>there is no dataset nobody that \
         is shared; its owner shares it with `odfs share`</Message></Error>"
    );
}

#[test]
fn parts_and_conditions_are_those_of_http() {
    let (served, expected) = served();
    for (key, bytes) in &expected {
        let length = bytes.len();
        let path = format!("open/{key}");
        let part = |range: &str| ask(&served, "GET", &path, &[("range", range)]);
        for (range, from, to) in [
            ("bytes=1-3", 1, 4),
            ("bytes=-2", length - 2, length),
            ("bytes=5-", 5, length),
        ] {
            let got = part(range);
            assert_eq!((got.0, &got.2[..]), (206, &bytes[from..to]), "{key} {range}");
            let expected = format!("bytes {from}-{}/{length}", to - 1);
            assert_eq!(got.field("content-range"), expected);
            assert_eq!(got.field("content-length"), (to - from).to_string());
        }
        let beyond = part(&format!("bytes={length}-"));
        assert_eq!((beyond.0, beyond.all("Code")), (416, vec!["InvalidRange".to_owned()]));
        assert_eq!(beyond.field("content-range"), format!("bytes */{length}"));
        assert_eq!(part("bytes=0-1,3-4").0, 200);
        let tag = get(&served, &path).field("etag").to_owned();
        let (other, early, late) = (
            "\"other\"",
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "Fri, 02 Jan 2026 03:04:05 GMT",
        );
        for (name, value, status) in [
            ("if-none-match", tag.as_str(), 304),
            ("if-none-match", "*", 304),
            ("if-none-match", other, 200),
            ("if-match", tag.trim_matches('"'), 200),
            ("if-match", other, 412),
            ("if-modified-since", late, 304),
            ("if-modified-since", early, 200),
            ("if-unmodified-since", early, 412),
            ("if-unmodified-since", late, 200),
            ("if-unmodified-since", "nonsense", 200),
        ] {
            let got = ask(&served, "GET", &path, &[(name, value)]);
            assert_eq!(got.0, status, "{key} {name}: {value}");
        }
    }
}

#[test]
fn what_is_not_shared_is_not_there_and_nothing_is_written() {
    let blocks = sample::chain(sample::id(2), 3, 3, "");
    let (served, _) = served();
    let served = served.hiding("secret", &blocks, &[]);
    let token = format!("Bearer {}", served.token());
    for path in [
        "secret",
        "secret?location",
        "secret/refs/head",
        "no%20name",
        "other/refs/head",
    ] {
        for fields in [&[][..], &[("authorization", token.as_str())]] {
            let got = ask(&served, "GET", path, fields);
            assert_eq!(
                (got.0, got.all("Code")),
                (404, vec!["NoSuchBucket".to_owned()]),
                "{path}"
            );
        }
        assert_eq!(ask(&served, "HEAD", path, &[]).0, 404, "{path}");
    }
    assert_eq!(get(&served, "").all("Name"), ["open"]);
    // Whatever a request is signed with.
    let signed = [(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request",
    )];
    assert_eq!(ask(&served, "GET", "open/refs/head", &signed).0, 200);
    assert_eq!(
        ask(&served, "HEAD", "open", &[]).field("x-amz-bucket-region"),
        "us-east-1"
    );
    for (method, path) in [
        ("PUT", "open/x"),
        ("DELETE", "open/refs/head"),
        ("POST", "open?delete"),
        ("PUT", "new"),
    ] {
        let got = ask(&served, method, path, &[]);
        assert_eq!(
            (got.0, got.all("Code")),
            (405, vec!["MethodNotAllowed".to_owned()]),
            "{method} {path}"
        );
    }
    for path in ["open?acl", "open?uploads", "open/refs/head?tagging", "open?versions"] {
        let got = get(&served, path);
        assert_eq!(
            (got.0, got.all("Code")),
            (501, vec!["NotImplemented".to_owned()]),
            "{path}"
        );
    }
    for path in [
        "open?list-type=3",
        "open?max-keys=x",
        "open?max-keys=-1",
        "open?encoding-type=b",
        "?max-buckets=x",
    ] {
        let got = get(&served, path);
        assert_eq!(
            (got.0, got.all("Code")),
            (400, vec!["InvalidArgument".to_owned()]),
            "{path}"
        );
    }
    assert_eq!(get(&served, "open/%ff").0, 400);
    let page = [("origin", "https://evil.example")];
    assert_eq!(ask(&served, "GET", "open/refs/head", &page).0, 403);
    let long = format!("open?prefix={}", "x".repeat(MAX_QUERY_BYTES));
    assert_eq!(get(&served, &long).0, 400);
}
