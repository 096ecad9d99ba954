//! The gateway by HTTPS: certificates from files and from an authority, and blocks that others fetch there.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use interop_tests::netns::Cloud;
use interop_tests::pebble::free_port;
use interop_tests::process::run;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Certificate, Kubo, Outcome, Pebble, Workspace};

/// How long what happens by itself may take.
const SOON: Duration = Duration::from_secs(60);

/// What curl says of a request: status and version of HTTP, and the text.
fn ask(url: &str, trusted: &Path) -> Outcome<String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-w", " %{http_code} HTTP/%{http_version}", "--cacert"]);
    command.arg(trusted).arg(url);
    Ok(run(command, SOON)?.success()?.text())
}

/// Waits until something is there.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Outcome<T> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("{what} did not come in {SOON:?}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Has a workspace serve HTTPS at an address with a certificate of its own, and say so to others.
fn secured(here: &Workspace, host: &str, port: u16) -> Outcome<Certificate> {
    let certificate = Certificate::of(host)?;
    certificate.write(&here.store(), "own")?;
    for (setting, value) in [
        (
            "gateway.tls",
            format!("{}:{port}", if host == "localhost" { "127.0.0.1" } else { host }),
        ),
        ("gateway.certificate", "own.pem".to_owned()),
        ("gateway.key", "own.key".to_owned()),
        ("gateway.url", format!("https://{host}:{port}/")),
    ] {
        here.odfs(["config", "set", setting, &value])?;
    }
    Ok(certificate)
}

#[test]
fn a_certificate_is_read_again_when_its_file_changes() -> Outcome {
    let here = Workspace::new()?;
    let port = free_port()?;
    secured(&here, "localhost", port)?;
    let node = here.node()?;
    let url = format!("https://localhost:{port}/ipfs/bafkqaaa?format=raw");
    let file = here.store().join("own.pem");
    assert_eq!(ask(&url, &file)?.trim(), "200 HTTP/2");

    // In between, the two do not go together.
    let other = Certificate::of("localhost")?;
    std::fs::write(here.store().join("own.key"), &other.key)?;
    std::fs::write(&file, &other.pem)?;
    until("the new certificate", || ask(&url, &file).ok())?;
    // What is there without TLS stays there.
    let plain = format!("{}/ipfs/bafkqaaa?format=raw", node.gateway);
    assert_eq!(ask(&plain, &file)?.trim(), "200 HTTP/1.1");
    Ok(())
}

#[test]
fn a_certificate_that_cannot_be_shown_is_said_before_anything_is_served() -> Outcome {
    let here = Workspace::new()?;
    secured(&here, "localhost", free_port()?)?;
    std::fs::write(here.store().join("own.key"), Certificate::of("localhost")?.key)?;
    let refused = here.refused(["node"])?;
    assert!(
        refused.stderr.contains("does not go with the certificate"),
        "{}",
        refused.stderr
    );
    here.odfs(["config", "set", "gateway.key"])?;
    let refused = here.refused(["node"])?;
    assert!(refused.stderr.contains("go together"), "{}", refused.stderr);
    here.odfs(["config", "set", "gateway.certificate"])?;
    let refused = here.refused(["node"])?;
    assert!(refused.stderr.contains("gateway.domain"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn a_node_gets_its_certificate_by_itself_and_a_new_one_in_time() -> Outcome {
    // A third of that is left when it is renewed.
    let Some(mut pebble) = Pebble::init(15)? else {
        return Ok(());
    };
    let here = Workspace::new()?;
    for (setting, value) in [
        ("gateway.domain", "localhost".to_owned()),
        ("gateway.tls", format!("127.0.0.1:{}", pebble.looks_at)),
        ("gateway.acme", pebble.directory()),
        ("gateway.acmeContact", "me@example.org".to_owned()),
        ("network.authorities", pebble.authority().display().to_string()),
    ] {
        here.odfs(["config", "set", setting, &value])?;
    }
    // Nobody is there who signs one: it is said, and the rest is served.
    let mut node = here.node()?;
    node.process.wait_for(SOON, |said| {
        (said.contains("no certificate") && said.contains("gateway.acme")).then_some(())
    })?;
    here.odfs(["list"])?;
    drop(node);

    pebble.start()?;
    let mut node = here.node()?;
    let file = here.store().join("tls/localhost.pem");
    let read = || std::fs::read(&file).ok();
    let first = until("a certificate", read)?;
    until("another certificate", || read().filter(|now| *now != first))?;
    use std::os::unix::fs::PermissionsExt as _;
    for kept in ["tls/localhost.pem", "tls/account.json"] {
        let mode = std::fs::metadata(here.store().join(kept))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{kept}");
    }
    let version = Command::new("curl")
        .args(["-ksS", "-o", "/dev/null", "-w", "%{http_version}"])
        .arg(format!(
            "https://localhost:{}/ipfs/bafkqaaa?format=raw",
            pebble.looks_at
        ))
        .output()?;
    assert_eq!(String::from_utf8_lossy(&version.stdout), "2");
    assert!(!node.process.has_ended()?);
    Ok(())
}

#[test]
fn kubo_fetches_what_a_node_has_over_https_alone() -> Outcome {
    let Some(mut kubo) = Kubo::init()? else { return Ok(()) };
    let here = Workspace::new()?;
    let port = free_port()?;
    secured(&here, "localhost", port)?;
    // Nobody can speak libp2p with it.
    here.odfs(["config", "set", "network.listen", "[]"])?;
    let mut node = here.start(["node"])?;
    let gateway = node.wait_for(SOON, |said| {
        let at = said.lines().find_map(|line| line.strip_prefix("Gateway: "))?;
        said.contains("HTTPS: ")
            .then(|| at.trim().trim_end_matches('/').to_owned())
    })?;
    let file = here.write("t.csv", table(20_000))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;

    kubo.ok(["config", "Routing.Type", "delegated"])?;
    let routers = format!("[\"{gateway}/routing/v1/providers\"]");
    for (setting, value) in [
        ("Routing.DelegatedRouters", routers.as_str()),
        ("Provide.Enabled", "false"),
        ("Bitswap.ServerEnabled", "false"),
        ("HTTPRetrieval.Enabled", "true"),
        ("HTTPRetrieval.TLSInsecureSkipVerify", "true"),
    ] {
        kubo.ok(["config", "--json", setting, value])?;
    }
    kubo.start()?;
    kubo.ok(["pin", "add", &published.root])?;
    assert_eq!(
        kubo.ok(["cat", &format!("{}/refs/head", published.root)])?,
        here.dataset("t")?.head
    );
    assert_eq!(kubo.ok(["swarm", "peers"])?, "");
    assert!(!node.has_ended()?);
    Ok(())
}

#[test]
fn a_dataset_comes_from_somebody_whom_others_know_to_speak_https_alone() -> Outcome {
    let Some(cloud) = Cloud::lay(3)? else { return Ok(()) };
    let [far, near, between] = cloud.machines() else {
        return Err("three machines were asked for".into());
    };
    let there = Workspace::in_namespace(between.name())?;
    let node_between = there.node()?;
    let known = node_between.address.replace("127.0.0.1", &between.address);

    // Nobody can dial either of the two: they only know the one in between.
    let here = Workspace::in_namespace(far.name())?;
    let certificate = secured(&here, &far.address, 443)?;
    here.odfs(["config", "set", "network.listen", "[]"])?;
    let mut node = here.start(["node", "--peer", &known])?;
    node.wait_for(SOON, |said| said.contains("HTTPS: ").then_some(()))?;
    let file = here.write("t.csv", table(3_000))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;

    let beside = Workspace::in_namespace(near.name())?;
    beside.odfs(["config", "set", "network.listen", "[]"])?;
    let root = format!("ipfs://{}", published.root);
    // Whoever does not believe its certificate gets nothing.
    let refused = beside.refused(["pull", &root, "--as", "t", "--peer", &known])?;
    assert!(refused.code() == Some(9), "{}", refused.stderr);
    std::fs::write(beside.store().join("believed.pem"), certificate.pem)?;
    beside.odfs(["config", "set", "network.authorities", "believed.pem"])?;
    beside.odfs(["pull", &root, "--as", "t", "--peer", &known])?;
    same_dataset((&here, "t"), (&beside, "t"))
}
