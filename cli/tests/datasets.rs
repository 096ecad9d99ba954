//! Datasets from their making to their end, and who serves them.

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox, wait_for};

/// `rows` rows of a table that grows at its end.
fn table(rows: u32) -> String {
    let mut text = String::from("id,at,city\n");
    for row in 0..rows {
        text.push_str(&format!(
            "{row},2024-01-01T00:{:02}:{:02}Z,\"city, {row}\"\n",
            row / 60 % 60,
            row % 60
        ));
    }
    text
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

/// A sandbox with a dataset `t` of 20 rows.
fn with_dataset() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", table(20));
    let out = sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    assert!(out.starts_with("Created t with 20 row(s)\n"), "{out}");
    sandbox
}

#[test]
fn every_listing_has_every_form() {
    let sandbox = with_dataset();
    let listings: [&[&str]; 7] = [
        &["list"],
        &["list", "--wide"],
        &["log", "t"],
        &["tail", "t", "-n", "3"],
        &["inspect", "schema", "t"],
        &["verify", "t"],
        &["key", "list"],
    ];
    for listing in listings {
        let form = |form: &str| sandbox.run(&[listing, &["--output", form]].concat()).ok();
        let array: Vec<Value> = serde_json::from_str(&form("json")).unwrap();
        let lines: Vec<Value> = form("ndjson")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(array, lines, "{listing:?}");
        let csv = form("csv");
        let header = csv.lines().next().unwrap();
        let keys: Vec<&String> = array[0].as_object().unwrap().keys().collect();
        assert!(
            keys.iter().all(|key| header.split(',').any(|name| name == *key)),
            "{listing:?}: {header}"
        );
        assert!(form("table").starts_with('┌'), "{listing:?}");
        // Without a terminal, json is the default.
        assert_eq!(
            serde_json::from_str::<Vec<Value>>(&sandbox.run(listing).ok()).unwrap(),
            array
        );
    }
}

#[test]
fn a_log_tells_what_happened() {
    let sandbox = with_dataset();
    let yaml = sandbox.run(&["log", "t", "--output", "yaml"]).ok();
    assert!(
        yaml.starts_with("---\n# Block: f1620") && yaml.contains("\nkind: MetadataBlock\n"),
        "{yaml}"
    );
    assert_eq!(yaml.matches("kind: MetadataBlock").count(), 4);
    let log = json(sandbox.run(&["log", "t"]));
    let events: Vec<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["AddData", "SetDataSchema", "AddPushSource", "Seed"]);
    assert_eq!(log[0]["Content"]["newData"]["offsetInterval"]["end"], 19);
    let data = json(sandbox.run(&["log", "t", "--filter", "data", "--limit", "5"]));
    assert_eq!(data.as_array().unwrap().len(), 1);
}

#[test]
fn tail_shows_the_last_rows_in_order() {
    let sandbox = with_dataset();
    let rows = json(sandbox.run(&["tail", "t", "-n", "2", "-s", "1"]));
    assert_eq!(rows[0]["offset"], 17);
    assert_eq!(rows[1]["offset"], 18);
    assert_eq!(rows[1]["city"], "city, 18");
    let csv = sandbox.run(&["tail", "t", "-n", "1", "-o", "csv"]).ok();
    assert!(csv.contains("\"city, 19\""), "{csv}");
    assert_eq!(sandbox.run(&["tail", "t", "-n", "0"]).ok(), "[]\n");
}

#[test]
fn publishing_again_takes_what_is_new() {
    let sandbox = with_dataset();
    let out = sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    assert!(out.starts_with("t is up to date\n"), "{out}");
    sandbox.file("t.csv", table(25));
    let out = sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    assert!(
        out.starts_with("Updated t to f1620") && out.lines().next().unwrap().ends_with(" (1 block(s))"),
        "{out}"
    );
    let report = json(sandbox.run(&["publish", "t.csv", "--exit", "--output", "json"]));
    assert_eq!(report["rows"], 0);
    assert_eq!(report["dataset"], "t");
    assert!(report["pull"].as_str().unwrap().starts_with("odfs pull ipns://k51"));
    sandbox.file("t.csv", table(25).replace("city, 3\"", "town, 3\""));
    let err = sandbox.run(&["publish", "t.csv", "--exit"]).failed(7);
    assert!(err.contains("--append-all") && err.contains("--name"), "{err}");
}

#[test]
fn a_push_counts_from_what_the_name_stood_for() {
    let sandbox = with_dataset();
    let first = |outcome: Outcome| outcome.ok().lines().next().unwrap_or_default().to_owned();
    assert_eq!(first(sandbox.run(&["push", "t"])), "t is up to date");
    // Rows that are added without being announced.
    for n in [20, 21] {
        sandbox.file("more.csv", format!("id,at,city\n{n},2024-01-01T00:00:00Z,x\n"));
        sandbox.run(&["ingest", "t", "more.csv"]).ok();
    }
    let head = json(sandbox.run(&["list", "-w"]))[0]["Head"]
        .as_str()
        .unwrap()
        .to_owned();
    let report = json(sandbox.run(&["push", "t", "--output", "json"]));
    assert_eq!((&report["blocks"], &report["head"]), (&2.into(), &head.as_str().into()));
    assert_eq!(json(sandbox.run(&["push", "t", "--output", "json"]))["blocks"], 0);
    // A name of its own has all of the chain to catch up with.
    let key = sandbox.run(&["key", "gen", "other"]).ok();
    let name = key
        .split_whitespace()
        .find(|word| word.starts_with("k51"))
        .unwrap()
        .to_owned();
    let place = format!("ipns://{name}");
    assert_eq!(
        first(sandbox.run(&["push", "t", "--to", &place, "--no-alias"])),
        format!("Updated t to {head} (6 block(s))")
    );
    assert_eq!(
        first(sandbox.run(&["push", "t", "--to", &place, "--no-alias"])),
        "t is up to date"
    );
}

#[test]
fn links_lead_to_gateways_that_are_there() {
    let sandbox = with_dataset();
    let report = json(sandbox.run(&["push", "t", "--output", "json"]));
    assert_eq!(
        (&report["gateway"], &report["publicGateway"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!sandbox.run(&["push", "t"]).ok().contains("gateway"));
    sandbox
        .run(&["config", "set", "gateway.public", "https://example.org/"])
        .ok();
    let mut node = sandbox.start(&["node"]);
    wait_for("the node", || {
        json(sandbox.run(&["status", "--output", "json"]))["running"] == true
    });
    let report = json(sandbox.run(&["push", "t", "--output", "json"]));
    let (name, link) = (report["name"].as_str().unwrap(), report["gateway"].as_str().unwrap());
    assert!(
        link.starts_with("http://127.0.0.1:") && link.ends_with(&format!("/ipns/{name}/")),
        "{link}"
    );
    assert_eq!(report["publicGateway"], format!("https://example.org/ipns/{name}/"));
    // It answers there.
    let host = link.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let request = format!("GET /ipns/{name}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    node.signal(Signal::TERM);
    node.wait().ok();
}

#[test]
fn no_dataset_gets_the_key_of_the_peer() {
    let sandbox = Sandbox::new();
    sandbox.file("self.csv", "id\n1\n");
    let report = json(sandbox.run(&["publish", "self.csv", "--exit", "--output", "json"]));
    assert_eq!(report["dataset"], "self");
    let keys = json(sandbox.run(&["key", "list"]));
    let id = |name: &str| keys.as_array().unwrap().iter().find(|key| key["Name"] == name).unwrap()["ID"].clone();
    assert_eq!(report["name"], id("self-2"));
    assert_ne!(report["name"], id("self"));
}

#[test]
fn what_was_taken_is_checked_as_the_user_wants() {
    let sandbox = with_dataset();
    for check in ["touched", "quick", "full"] {
        let out = sandbox.run(&["publish", "t.csv", "--check", check, "--exit"]).ok();
        assert!(out.starts_with("t is up to date\n"), "{out}");
    }
    let err = sandbox
        .run(&["publish", "t.csv", "--check", "none", "--exit"])
        .failed(2);
    assert!(err.contains("quick") && err.contains("full"), "{err}");
}

#[test]
fn datasets_are_renamed_exported_and_deleted() {
    let sandbox = with_dataset();
    sandbox.run(&["rename", "t", "cities"]).ok();
    sandbox.run(&["tail", "t"]).failed(3);
    sandbox.run(&["export", "cities", "out"]).ok();
    let head = std::fs::read_to_string(sandbox.path().join("out/refs/head")).unwrap();
    let list = json(sandbox.run(&["list", "-w"]));
    assert_eq!(list[0]["Head"], head.as_str());
    sandbox.run(&["export", "cities", "out"]).failed(7);
    let err = sandbox.run(&["delete", "cities"]).failed(7);
    assert!(err.contains("--yes"), "{err}");
    sandbox.run(&["-y", "rm", "c%s"]).ok();
    assert_eq!(sandbox.run(&["list"]).ok(), "[]\n");
    sandbox.run(&["delete", "cities"]).failed(3);
}

#[test]
fn a_publish_serves_until_it_is_stopped() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", table(5));
    let mut publish = sandbox.start(&["publish", "t.csv"]);
    let mut status = Value::Null;
    wait_for("a process that serves", || {
        status = json(sandbox.run(&["status", "--output", "json"]));
        status["running"] == true && status["names"][0]["Dataset"] == "t"
    });
    let address = status["addresses"][0].as_str().unwrap();
    let other = Sandbox::new();
    let name = format!("ipns://{}", status["names"][0]["Name"].as_str().unwrap());
    other.run(&["pull", &name, "--as", "t", "--peer", address]).ok();
    assert_eq!(
        other.run(&["tail", "t", "-o", "csv"]).ok(),
        sandbox.run(&["tail", "t", "-o", "csv"]).ok()
    );
    publish.signal(Signal::INT);
    publish.wait().ok();
    assert_eq!(json(sandbox.run(&["status", "--output", "json"]))["running"], false);
}

#[test]
fn a_publish_hands_over_to_a_running_node() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", table(5));
    let mut node = sandbox.start_owner(&["node"]);
    wait_for("the node", || {
        json(sandbox.run(&["status", "--output", "json"]))["running"] == true
    });
    let outcome = sandbox.run(&["publish", "t.csv"]);
    assert!(
        outcome.err.contains("the node that runs on this workspace serves it"),
        "{}",
        outcome.err
    );
    outcome.ok();
    node.signal(Signal::TERM);
    node.wait().ok();
}

#[test]
fn streams_and_missing_names_are_explained() {
    let sandbox = Sandbox::new();
    let csv = table(3);
    let err = sandbox
        .run_with_input(&["publish", "-", "--name", "t", "--exit"], csv.as_bytes())
        .failed(2);
    assert!(err.contains("--format"), "{err}");
    let err = sandbox
        .run_with_input(&["publish", "-", "--format", "csv", "--exit"], csv.as_bytes())
        .failed(2);
    assert!(err.contains("--name"), "{err}");
    sandbox
        .run_with_input(
            &["publish", "-", "--format", "csv", "--name", "t", "--exit"],
            csv.as_bytes(),
        )
        .ok();
    assert_eq!(json(sandbox.run(&["list"]))[0]["Records"], 3);
    let err = sandbox
        .run(&["publish", "http://127.0.0.1:1/t.csv", "--exit"])
        .failed(9);
    assert!(err.contains("127.0.0.1:1"), "{err}");
}

#[test]
fn a_table_is_published_from_a_url() {
    use std::io::{BufRead, BufReader, Write};
    let sandbox = Sandbox::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let body = table(7);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    let out = sandbox
        .run(&["publish", &format!("http://{address}/data/cities.csv?x=1"), "--exit"])
        .ok();
    assert!(out.starts_with("Created cities with 7 row(s)\n"), "{out}");
    serving.join().unwrap();
    assert_eq!(
        std::fs::read_dir(sandbox.workspace().join("spool")).unwrap().count(),
        0,
        "the download is not kept"
    );
}

/// Serves these answers, one a connection, and gives the address.
fn serve(answers: Vec<Vec<u8>>) -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    use std::io::{BufRead, BufReader, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = server.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(&answer).unwrap();
        }
    });
    (address, serving)
}

#[test]
fn a_download_that_breaks_off_is_not_the_fault_of_the_disk() {
    let sandbox = Sandbox::new();
    let body = table(7);
    for head in [
        format!("Content-Length: {}", body.len() + 1),
        "Transfer-Encoding: chunked".to_owned(),
    ] {
        let body = match head.starts_with('T') {
            true => format!("{:x}\r\n{body}\r\n", body.len()),
            false => body.clone(),
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        let (address, serving) = serve(vec![answer.into_bytes()]);
        let url = format!("http://{address}/t.csv");
        let err = sandbox.run(&["publish", &url, "--exit"]).failed(9);
        assert!(err.contains(&format!("the download of {url} broke off")), "{err}");
        assert!(!err.contains("disk"), "{err}");
        serving.join().unwrap();
    }
    assert_eq!(json(sandbox.run(&["list"])), Value::Array(Vec::new()));
    assert_eq!(
        std::fs::read_dir(sandbox.workspace().join("spool")).unwrap().count(),
        0,
        "nothing is left of it"
    );
}

#[test]
fn a_busy_server_is_asked_again() {
    let busy = |status: &str, wait: u32| {
        format!("HTTP/1.1 {status}\r\nRetry-After: {wait}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .into_bytes()
    };
    let body = table(7);
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let sandbox = Sandbox::new();
    let (address, serving) = serve(vec![
        busy("429 Too Many Requests", 0),
        busy("503 Service Unavailable", 1),
        whole.into_bytes(),
    ]);
    let out = sandbox
        .run(&["publish", &format!("http://{address}/cities.csv"), "--exit"])
        .ok();
    assert!(out.starts_with("Created cities with 7 row(s)\n"), "{out}");
    serving.join().unwrap();
    let (address, serving) = serve(vec![busy("429 Too Many Requests", 3600)]);
    let err = sandbox
        .run(&["publish", &format!("http://{address}/x.csv"), "--exit"])
        .failed(9);
    assert!(err.contains("answered 429: it is busy"), "{err}");
    serving.join().unwrap();
}

#[test]
fn a_pulled_dataset_is_not_published_into() {
    let origin = Sandbox::new();
    origin.file("t.csv", table(5));
    let mut node = origin.start_owner(&["node"]);
    let mut status = Value::Null;
    wait_for("the node", || {
        status = json(origin.run(&["status", "--output", "json"]));
        status["running"] == true
    });
    let report = json(origin.run(&["publish", "t.csv", "--exit", "-o", "json"]));
    let there = Sandbox::new();
    there.file("t.csv", table(5));
    let name = report["name"].as_str().unwrap();
    there
        .run(&[
            "pull",
            name,
            "--as",
            "t",
            "--peer",
            status["addresses"][0].as_str().unwrap(),
        ])
        .ok();
    let err = there.run(&["publish", "t.csv", "--exit"]).failed(7);
    assert!(err.contains("is pulled from ipns://"), "{err}");
    let err = there.run(&["push", "t"]).failed(7);
    assert!(err.contains("key"), "{err}");
    let key = there.run(&["key", "gen", "mine"]).ok();
    let to = format!("ipns://{}", key.trim());
    assert!(there.run(&["push", "t", "--to", &to]).ok().contains(&to));
    assert!(there.run(&["push", "t"]).ok().contains(&to), "the place is remembered");
    there.run(&["push", "t", "--to", &format!("ipns://{name}")]).failed(3);
    node.signal(Signal::INT);
    node.wait().ok();
}

#[test]
fn older_roots_stay_as_long_as_the_setting_says() {
    let sandbox = Sandbox::new();
    sandbox.run(&["config", "set", "retention", "1"]).ok();
    let mut roots = Vec::new();
    for rows in [5, 6, 7] {
        sandbox.file("t.csv", table(rows));
        let report = json(sandbox.run(&["publish", "t.csv", "--exit", "-o", "json"]));
        roots.push(report["root"].as_str().unwrap().to_owned());
    }
    let pins = sandbox.run(&["ipfs", "pin", "ls", "--type=recursive"]).ok();
    assert!(
        !pins.contains(&roots[0]) && pins.contains(&roots[1]) && pins.contains(&roots[2]),
        "{pins}"
    );
    assert!(sandbox.run(&["ipfs", "repo", "gc"]).ok().starts_with("removed "));
    let head = |root: &str| sandbox.run(&["ipfs", "cat", &format!("/ipfs/{root}/refs/head")]);
    head(&roots[1]).ok();
    head(&roots[2]).ok();
    sandbox.run(&["verify", "t"]).ok();
    sandbox.run(&["ipfs", "dag", "get", &roots[0]]).failed(9);
}
