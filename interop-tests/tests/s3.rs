//! What is shared on a node as buckets of S3, asked by plain HTTP and by programs that know nothing of odfs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use interop_tests::http;
use interop_tests::peers::{ODFS_S3_CLIENTS, installed};
use interop_tests::process::run;
use interop_tests::workspace::dataset::table;
use interop_tests::workspace::{Node, field};
use interop_tests::{Failure, Outcome, Workspace};

/// How long a program may take for what it reads.
const LIMIT: Duration = Duration::from_secs(60);

/// Rows of the dataset that is shared.
const ROWS: u64 = 4;

/// A node with a dataset of several slices that is shared, one that is not, and where its buckets are.
fn stage() -> Outcome<(Workspace, Node, String)> {
    let workspace = Workspace::new()?;
    workspace.odfs(["config", "set", "gateway.s3", "127.0.0.1:0"])?;
    workspace.publish_often("weather", ROWS)?;
    workspace.write("s.csv", table(2))?;
    workspace.publish(&["s.csv", "--name", "secret"])?;
    workspace.odfs(["share", "secret", "--stop"])?;
    let node = workspace.node()?;
    let url = field(&node.process.stdout(), "S3").ok_or("the node does not say where its buckets are")?;
    Ok((workspace, node, url))
}

/// The keys of a listing.
fn keys(listing: &str) -> Vec<&str> {
    let parts = listing.split("<Key>").skip(1);
    parts.filter_map(|part| part.split("</Key>").next()).collect()
}

#[test]
fn slices_of_a_dataset_are_listed_and_read() -> Outcome {
    let (workspace, _node, url) = stage()?;
    let dataset = workspace.dataset("weather")?;
    let named = dataset.ipns.clone().ok_or("the dataset has no name")?;
    let exported = workspace.export("weather", "exported")?;
    for bucket in ["weather", "WEATHER", &named] {
        let listing = http::get(&format!("{url}{bucket}?list-type=2&prefix=data/"), &[])?.text();
        let keys = keys(&listing);
        assert!(keys.len() as u64 == ROWS && keys.is_sorted(), "{listing}");
        for key in keys {
            let got = http::get(&format!("{url}{bucket}/{key}"), &[])?;
            let hash = key.split(['-', '.']).nth(1).ok_or("a key has no hash")?;
            let bytes = std::fs::read(exported.join("data").join(hash))?;
            assert!(got.status == 200 && got.body == bytes, "{key}");
            assert_eq!(got.header("etag"), format!("\"{hash}\""));
            let part = http::get(&format!("{url}{bucket}/{key}"), &[("Range", "bytes=-4")])?;
            assert_eq!((part.status, &part.body[..]), (206, &b"PAR1"[..]));
        }
    }
    let head = http::get(&format!("{url}weather/refs/head"), &[])?;
    assert_eq!(head.text(), dataset.head);
    let buckets = http::get(&url, &[])?.text();
    assert!(
        buckets.contains("<Name>weather</Name>") && !buckets.contains("secret"),
        "{buckets}"
    );
    for path in ["secret", "secret/refs/head"] {
        let hidden = http::get(&format!("{url}{path}"), &[])?;
        assert!(
            hidden.status == 404 && hidden.text().contains("<Code>NoSuchBucket</Code>"),
            "{path}"
        );
    }
    // What is new is there at once.
    workspace.write("often.csv", table(ROWS + 1))?;
    workspace.publish(&["often.csv", "--name", "weather"])?;
    let listing = http::get(&format!("{url}weather?prefix=data/"), &[])?.text();
    assert_eq!(keys(&listing).len() as u64, ROWS + 1);
    Ok(())
}

/// The doors are those of the gateway.
#[test]
fn no_web_site_reads_buckets_by_a_name_of_its_own() -> Outcome {
    let (_workspace, _node, url) = stage()?;
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    for (host, status) in [(address.as_str(), "200"), ("localhost", "200"), ("evil.example", "421")] {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(
            stream,
            "GET /weather HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{host}: {answer}");
    }
    Ok(())
}

#[test]
fn duckdb_reads_all_slices_by_one_pattern() -> Outcome {
    let Some(programs) = installed(ODFS_S3_CLIENTS)? else {
        return Ok(());
    };
    let (workspace, _node, url) = stage()?;
    let endpoint = url.trim_start_matches("http://").trim_end_matches('/');
    // Extensions come from the package, not from the network.
    let script = format!(
        "import duckdb, duckdb_extension_httpfs, pathlib\n\
         package = pathlib.Path(duckdb_extension_httpfs.__file__).parent\n\
         at = next(package.rglob('httpfs.duckdb_extension'))\n\
         db = duckdb.connect(config={{'autoinstall_known_extensions': 'false'}})\n\
         db.sql(f\"LOAD '{{at}}'\")\n\
         db.sql(\"CREATE SECRET (TYPE s3, ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false)\")\n\
         print(db.sql(\"SELECT count(*), count(DISTINCT filename) FROM read_parquet('s3://weather/data/*.parquet', filename=true)\").fetchone())\n"
    );
    let mut command = Command::new(programs.join("python"));
    command.args(["-c", &script]).current_dir(workspace.path());
    let said = run(command, LIMIT)?.success()?.text();
    let records = workspace.dataset("weather")?.records;
    let expected = format!("({records}, {ROWS})");
    match said == expected {
        true => Ok(()),
        false => Err(Failure::new(format!("DuckDB counts {said}, not {expected}"))),
    }
}

#[test]
fn rclone_lists_and_copies() -> Outcome {
    let Some(programs) = installed(ODFS_S3_CLIENTS)? else {
        return Ok(());
    };
    let (workspace, _node, url) = stage()?;
    let endpoint = url.trim_end_matches('/');
    let remote = |path: &str| format!(":s3,provider=Other,endpoint='{endpoint}':{path}");
    let rclone = |args: &[&str]| {
        let mut command = Command::new(programs.join("rclone"));
        command.args(args).args(["--retries", "1", "--low-level-retries", "1"]);
        command.current_dir(workspace.path());
        // Nothing of whoever runs the test.
        command.env("RCLONE_CONFIG", workspace.path().join("no-such.conf"));
        run(command, LIMIT)?.success().map(|done| done.text())
    };
    assert_eq!(rclone(&["lsf", &remote("")])?, "weather/");
    assert_eq!(rclone(&["lsf", &remote("weather")])?, "blocks/\ndata/\nrefs/");
    rclone(&["copy", &remote("weather"), "copied"])?;
    let copied = workspace.path().join("copied");
    let head = std::fs::read_to_string(copied.join("refs/head"))?;
    assert_eq!(head, workspace.dataset("weather")?.head);
    assert_eq!(std::fs::read_dir(copied.join("data"))?.count() as u64, ROWS);
    // Nothing is left to be copied, and nothing is taken.
    rclone(&["check", &remote("weather"), "copied", "--download"])?;
    assert!(rclone(&["copy", "copied", &remote("weather/more")]).is_err());
    Ok(())
}
