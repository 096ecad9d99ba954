//! The server on loopback, and a peer that says what kamu says, word for word.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use super::state::own_address;
use super::*;
use crate::http;
use crate::smart::sample::{self, File};
use crate::smart::{bundle, messages};
use odf_dataset::receive::Arrival;
use odf_dataset::{RemoteAliases, Sharing};
use odf_metadata::codec::EncodedBlock;

mod limits;
mod long;
mod pushes;
mod rights;
mod strangers;
mod together;

/// A server that ends with the test.
pub(super) struct Served {
    _dir: TempDir,
    pub(super) workspace: Datasets,
    pub(super) tokens: Tokens,
    pub(super) pushes: PushLog,
    address: SocketAddr,
    /// Where the buckets are.
    pub(super) s3: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

/// An answer to a plain request.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) length: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Served {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let workspace = crate::datasets_in(dir.path());
        let tokens = Tokens::of(dir.path(), &odf_disk::Disk::new());
        let gateway = Router::new().fallback(async || (StatusCode::IM_A_TEAPOT, "the gateway"));
        let pushes = PushLog::of(dir.path(), &odf_disk::Disk::new());
        let repository = Repository::new(workspace.clone(), tokens.clone(), pushes.clone(), options);
        let router = repository.router(gateway);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let serve = |router: Router| {
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            runtime.spawn(async move { axum::serve(listener, service).await });
            address
        };
        let (address, s3) = (serve(router), serve(repository.s3()));
        Self {
            _dir: dir,
            workspace,
            tokens,
            pushes,
            address,
            s3,
            _runtime: runtime,
        }
    }

    /// Puts a dataset into the workspace that everybody may read.
    pub(super) fn holding(self, name: &str, blocks: &[EncodedBlock], files: &[File]) -> Self {
        let served = self.hiding(name, blocks, files);
        let dataset = served.workspace.catalog().find(name).unwrap();
        dataset.set_sharing(Sharing::Shared).unwrap();
        served
    }

    /// Puts a dataset into the workspace that nobody may read without a token.
    pub(super) fn hiding(self, name: &str, blocks: &[EncodedBlock], files: &[File]) -> Self {
        let id = odf_metadata::chain::ChainState::begin(&blocks[0]).unwrap().dataset_id;
        let name = name.parse().unwrap();
        let arrival = Arrival::begin(&self.workspace, id, &name, RemoteAliases::default()).unwrap();
        arrive(&arrival, blocks, files);
        self
    }

    /// Adds to a dataset of the workspace.
    fn holding_more(self, name: &str, blocks: &[EncodedBlock], files: &[File]) -> Self {
        let dataset = self.workspace.catalog().find(name).unwrap();
        arrive(&Arrival::into(&self.workspace, dataset).unwrap(), blocks, files);
        self
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None, None)
    }

    pub(super) fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&[u8]>) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let agent = http::agent("", None);
        let response = match body {
            Some(body) => agent.run(request.body(body).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        let response = response.unwrap();
        let status = response.status().as_u16();
        let length = response.headers().get("content-length");
        let length = length.map(|length| length.to_str().unwrap().to_owned());
        let body = match method {
            "HEAD" => Vec::new(),
            _ => response.into_body().read_to_vec().unwrap(),
        };
        Answer { status, length, body }
    }

    /// Opens a WebSocket as kamu does; the status and body of a refusal.
    pub(super) fn connect(
        &self,
        path: &str,
        token: Option<&str>,
        version: Option<&str>,
    ) -> Result<Kamu, (u16, String)> {
        let mut request = format!("ws://{}/{path}", self.address).into_client_request().unwrap();
        if let Some(version) = version {
            request
                .headers_mut()
                .insert("x-odf-smtp-version", version.parse().unwrap());
        }
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        match tungstenite::connect(request) {
            Ok((socket, _)) => {
                if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                }
                Ok(Kamu(socket))
            }
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn pull(&self, path: &str) -> Kamu {
        self.connect(path, None, Some("1")).unwrap()
    }

    /// A token for everything.
    pub(super) fn token(&self) -> String {
        self.token_for("kamu", "%", &Verb::ALL)
    }

    pub(super) fn token_for(&self, label: &str, datasets: &str, verbs: &[Verb]) -> String {
        let rights = Rights {
            datasets: vec![datasets.to_owned()],
            verbs: verbs.to_vec(),
            expires: None,
        };
        self.tokens.add(label, rights, sample::time()).unwrap()
    }
}

fn arrive(arrival: &Arrival, blocks: &[EncodedBlock], files: &[File]) {
    for (object, bytes) in files {
        let mut sink = arrival.sink(object).unwrap();
        sink.write(bytes).unwrap();
        sink.finish().unwrap();
    }
    arrival.commit(blocks.to_vec(), false).unwrap();
}

/// The other side of a WebSocket.
#[derive(Debug)]
pub(super) struct Kamu(pub(super) WebSocket<MaybeTlsStream<TcpStream>>);

impl Kamu {
    pub(super) fn say(&mut self, text: impl std::fmt::Display) {
        self.0.send(Message::text(text.to_string())).unwrap();
    }

    pub(super) fn hear(&mut self) -> Value {
        match self.0.read().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The reason of the close frame that comes next.
    pub(super) fn refused(&mut self) -> String {
        match self.0.read().unwrap() {
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), 1011);
                frame.reason.to_string()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn close(mut self) {
        self.0.close(None).unwrap();
        while self.0.read().is_ok() {}
    }
}

fn blocks_in(answer: &Value) -> Vec<EncodedBlock> {
    let batch: messages::BlocksBatch = serde_json::from_value(answer["blocks"].clone()).unwrap();
    bundle::unpack(&batch).unwrap()
}

const FROM_THE_START: &str = r#"{"begin_after":null,"stop_at":null,"force_update_if_diverged":false}"#;

#[test]
fn kamu_pulls_a_dataset() {
    let (blocks, files) = sample::with_files(sample::id(1), 2);
    let served = Served::new().holding("ds.one", &blocks, &files);
    for (path, base) in [("ds.one/pull", "ds.one"), ("ann/ds.one/pull", "ann/ds.one")] {
        let mut kamu = served.pull(path);
        kamu.say(FROM_THE_START);
        let bytes: usize = blocks.iter().map(|block| block.bytes().len()).sum();
        let file_bytes: u64 = files.iter().map(|(object, _)| object.size).sum();
        let plan = json!({
            "num_blocks": 4, "num_objects": 4, "num_records": 20,
            "bytes_in_raw_blocks": bytes, "bytes_in_raw_objects": file_bytes,
        });
        assert_eq!(kamu.hear(), json!({"Ok": {"transfer_plan": plan}}));
        kamu.say("{}");
        let answer = kamu.hear();
        assert_eq!(answer["blocks"]["media_type"], "application/tar+gzip");
        assert_eq!(answer["blocks"]["encoding"], "raw");
        assert_eq!(blocks_in(&answer), blocks);
        let (slice, bytes) = &files[0];
        let file = json!({"object_type": "DataSlice", "physical_hash": slice.hash.to_string(), "size": slice.size});
        kamu.say(json!({"object_files": [file]}));
        let url = served.url(&format!("{base}/data/{}", slice.hash));
        let strategy = json!({
            "object_file": file,
            "pull_strategy": "HttpDownload",
            "download_from": {
                "url": url, "headers": [{"name": "x-odf-smtp-version", "value": "1"}], "expires_at": null,
            },
        });
        assert_eq!(kamu.hear(), json!({"object_transfer_strategies": [strategy]}));
        let got = served.get(&format!("{base}/data/{}", slice.hash));
        assert_eq!((got.status, &got.body), (200, bytes));
        kamu.close();
    }
}

#[test]
fn a_pull_goes_on_from_where_the_client_is_or_says_that_it_cannot() {
    let blocks = sample::chain(sample::id(1), 6, 6, "");
    let served = Served::new().holding("ds", &blocks, &[]);
    let head = blocks[5].hash();
    let ask = |begin_after: &odf_metadata::Multihash, stop_at: Option<&odf_metadata::Multihash>, force: bool| {
        let mut kamu = served.pull("ds/pull");
        kamu.say(json!({"begin_after": begin_after, "stop_at": stop_at, "force_update_if_diverged": force}));
        (kamu.hear(), kamu)
    };
    let (answer, _) = ask(head, None, false);
    assert_eq!(answer["Ok"]["transfer_plan"]["num_blocks"], 0);
    for (stop_at, expected) in [(None, &blocks[3..]), (Some(blocks[4].hash()), &blocks[3..5])] {
        let (answer, mut kamu) = ask(blocks[2].hash(), stop_at, false);
        assert_eq!(answer["Ok"]["transfer_plan"]["num_blocks"], expected.len());
        kamu.say("{}");
        assert_eq!(blocks_in(&kamu.hear()), expected);
    }
    let strange = sample::no_hash();
    let (answer, _) = ask(&strange, None, false);
    let refused = json!({"InvalidInterval": {"head": head.to_string(), "tail": strange.to_string()}});
    assert_eq!(answer, json!({"Err": refused}));
    let (answer, mut kamu) = ask(&strange, None, true);
    assert_eq!(answer["Ok"]["transfer_plan"]["num_blocks"], 6);
    kamu.say("{}");
    assert_eq!(blocks_in(&kamu.hear()), blocks);
}

#[test]
fn what_is_no_message_ends_a_pull_with_words() {
    let served = Served::new().holding("ds", &sample::chain(sample::id(1), 2, 2, ""), &[]);
    let mut kamu = served.pull("ds/pull");
    kamu.say("hello");
    assert!(kamu.refused().starts_with("\"not a message that belongs here"));
    assert_eq!(served.connect("nope/pull", None, Some("1")).unwrap_err().0, 404);
    let (status, body) = served.connect("ds/pull", None, Some("2")).unwrap_err();
    assert_eq!(
        (status, body.as_str()),
        (400, r#"{"message":"Incompatible client version"}"#)
    );
    assert_eq!(served.connect("ds/pull", None, None).unwrap_err().0, 400);
    assert_eq!(served.connect("ds/pull", Some("wrong"), Some("1")).unwrap_err().0, 401);
}

#[test]
fn everybody_reads_by_the_simple_protocol() {
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let blocks = sample::ending_in_version_2(blocks);
    let served = Served::new().holding("Ds", &blocks, &files);
    let head = blocks[2].hash().to_string();
    for base in ["ds", "DS", "ann/ds"] {
        assert_eq!(served.get(&format!("{base}/refs/head")).text(), head);
        for block in &blocks {
            let answer = served.get(&format!("{base}/blocks/{}", block.hash()));
            assert_eq!(answer.body, block.bytes()[..]);
        }
        for (object, bytes) in &files {
            assert_eq!(served.get(&format!("{base}/{object}")).body, *bytes);
            let head = served.request("HEAD", &format!("{base}/{object}"), None, None);
            assert_eq!((head.status, head.length), (200, Some(bytes.len().to_string())));
        }
    }
    let no_hash = sample::no_hash();
    for missing in [
        "no/refs/head".to_owned(),
        "ds/refs/tail".to_owned(),
        format!("ds/blocks/{no_hash}"),
        format!("ds/data/{no_hash}"),
        format!("ds/checkpoints/{}", files[0].0.hash),
    ] {
        assert_eq!(served.get(&missing).status, 404, "{missing}");
    }
    for bad in [
        "ds/blocks/x",
        "ds/data/..%2f..%2frefs%2fhead",
        "%2e%2e/refs/head",
        "a%2fb/refs/head",
        "ds/data/%00",
    ] {
        assert_eq!(served.get(bad).status, 400, "{bad}");
    }
}

#[test]
fn blocks_are_found_after_the_head_moved() {
    let (blocks, files) = sample::with_files(sample::id(1), 2);
    let served = Served::new().holding("ds", &blocks[..3], &files[..2]);
    assert_eq!(served.get(&format!("ds/blocks/{}", blocks[2].hash())).status, 200);
    assert_eq!(served.get(&format!("ds/blocks/{}", blocks[3].hash())).status, 404);
    let served = served.holding_more("ds", &blocks[3..], &files[2..]);
    assert_eq!(served.get("ds/refs/head").text(), blocks[3].hash().to_string());
    assert_eq!(
        served.get(&format!("ds/blocks/{}", blocks[3].hash())).body,
        blocks[3].bytes()[..]
    );
}

#[test]
fn kamu_is_told_what_it_asks_about_a_server() {
    let blocks = sample::chain(sample::id(1), 2, 2, "");
    let served = Served::new().holding("ds", &blocks, &[]);
    assert_eq!(served.get("info").text(), r#"{"isMultiTenant":false}"#);
    let id = sample::id(1).to_string();
    let found: Value = serde_json::from_slice(&served.get(&format!("datasets/{id}")).body).unwrap();
    assert_eq!(found, json!({"id": id, "datasetName": "ds"}));
    assert_eq!(served.get(&format!("datasets/{}", sample::id(2))).status, 404);
    let token = served.token();
    for (path, token, status) in [
        ("platform/token/validate", None, 401),
        ("platform/token/validate", Some("wrong"), 401),
        ("platform/token/validate", Some(token.as_str()), 200),
        ("accounts/me", None, 401),
        ("accounts/me", Some(token.as_str()), 200),
        // Who shows a token wants to know whether it is one.
        ("ds/refs/head", Some("wrong"), 401),
    ] {
        assert_eq!(served.request("GET", path, token, None).status, status, "{path}");
    }
    let me: Value = serde_json::from_slice(&served.request("GET", "accounts/me", Some(&token), None).body).unwrap();
    assert_eq!(me["accountName"], "odfs");
}

#[test]
fn everything_else_is_the_gateways() {
    let served = Served::new().holding("ds", &sample::chain(sample::id(1), 2, 2, ""), &[]);
    for path in [
        "",
        "ipfs/bafy",
        "ipfs/data/x",
        "ipns/refs/head",
        "ipfs/a/b/c/d",
        "favicon.ico",
    ] {
        assert_eq!(served.get(path).text(), "the gateway", "{path}");
    }
    assert_eq!(served.request("PUT", "ds/refs/head", None, Some(b"x")).status, 405);
}

#[test]
fn addresses_given_out_are_those_that_were_used_or_set() {
    let public = Options {
        public_url: Some("https://data.example.org/odf/".parse().unwrap()),
        ..Options::default()
    };
    let (blocks, files) = sample::with_files(sample::id(1), 1);
    let served = Served::with(public).holding("ds", &blocks, &files);
    let mut kamu = served.pull("ds/pull");
    kamu.say(FROM_THE_START);
    kamu.hear();
    kamu.say("{}");
    kamu.hear();
    let (object, _) = &files[0];
    kamu.say(json!({"object_files": [{"object_type": "DataSlice", "physical_hash": object.hash, "size": 1}]}));
    let url = kamu.hear()["object_transfer_strategies"][0]["download_from"]["url"].clone();
    assert_eq!(url, format!("https://data.example.org/odf/ds/data/{}", object.hash));

    for good in ["localhost", "10.0.0.1:8080", "[::1]:80", "a.example"] {
        assert!(own_address(good, false).is_some(), "{good}");
    }
    for bad in ["", "a/b", "a?b", "user@host", "a#b", "a b", ":80"] {
        assert!(own_address(bad, true).is_none(), "{bad}");
    }
}
