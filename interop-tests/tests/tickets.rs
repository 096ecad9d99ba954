//! One word is enough for two machines to meet that share no DHT, no name server and no keeper.

use std::time::{Duration, Instant};

use interop_tests::netns::Wire;
use interop_tests::terminal::{self, Messages};
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Outcome, Workspace};

/// A new machine has found its network and pulled within this.
const SOON: Duration = Duration::from_secs(2);

/// Settings of a machine whose every default host is dead: packets to this network are dropped, and no name is answered.
const DEAD_WORLD: &str = r#"
[network]
listen = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"]
bootstrap = [
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/ip4/192.0.2.1/tcp/4001/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
]
mdns = false

[gateway]
listen = "127.0.0.1:0"
"#;

/// What `odfs ticket` printed, which is one word.
fn ticket(workspace: &Workspace, dataset: &str) -> Outcome<String> {
    let told = workspace.odfs(["ticket", dataset])?;
    let text = told.text();
    let ticket = text.trim_end_matches('\n');
    assert!(ticket.starts_with("odfs1"), "{text}");
    assert!(ticket.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
    Ok(ticket.to_owned())
}

/// A node, and the dataset `stations` that it serves.
fn publisher(workspace: &Workspace) -> Outcome<interop_tests::workspace::Node> {
    let node = workspace.node()?;
    let file = workspace.write("stations.csv", table(30))?.display().to_string();
    workspace.publish(&[&file])?;
    Ok(node)
}

#[test]
fn a_new_machine_in_a_dead_world_pulls_by_a_ticket_alone() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::in_namespace(wire.left().name())?;
    let there = Workspace::in_namespace(wire.right().name())?;
    here.configure(DEAD_WORLD)?;
    there.configure(DEAD_WORLD)?;
    let _node = publisher(&here)?;
    let ticket = ticket(&here, "stations")?;

    let started = Instant::now();
    let pulled = there.odfs(["pull", &ticket])?;
    let took = started.elapsed();
    assert!(took < SOON, "{took:?}: {}", pulled.stderr);
    same_dataset((&here, "stations"), (&there, "stations"))
}

#[test]
fn what_a_ticket_brings_is_known_by_its_name_from_then_on() -> Outcome {
    let (here, there, third) = (Workspace::new()?, Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    let file = here.write("stations.csv", table(30))?.display().to_string();
    let published = here.publish(&[&file])?;
    let ticket = ticket(&here, "stations")?;
    let line = format!("  ticket   {ticket}");
    let said = published.said.text();
    assert!(said.lines().any(|said| said == line), "{said}");
    let status = here.odfs(["status", "-o", "table"])?.text();
    let line = format!("Ticket of stations: {ticket}");
    assert!(status.lines().any(|status| status == line), "{status}");
    let told = here.odfs(["ticket", "stations", "-o", "json"])?.json()?;
    assert_eq!(told["ticket"], ticket.as_str());
    assert_eq!(told["from"], format!("ipns://{}", published.name));
    assert_eq!(told["addresses"][0], node.address.as_str());
    let names = here.odfs(["status", "-o", "ndjson"])?.json()?;
    assert_eq!(names["Ticket"], ticket.as_str());

    // As a phone reads it off a screen.
    let pulled = there.odfs(["pull", &ticket.to_uppercase(), "-o", "json"])?;
    let report = pulled.json()?;
    assert_eq!(
        report[0]["from"],
        format!("ipns://{}", published.name),
        "{}",
        pulled.text()
    );
    let aliases = there.odfs(["repo", "alias", "list", "-o", "json"])?.json()?;
    assert_eq!(aliases[0]["Alias"], format!("ipns://{}", published.name));
    assert_eq!(aliases.as_array().map(Vec::len), Some(1), "{aliases}");
    same_dataset((&here, "stations"), (&there, "stations"))?;
    let again = there.odfs(["pull", &ticket])?;
    assert!(again.text().contains("stations is up to date"), "{}", again.text());
    assert!(
        !again.text().contains("odfs1") && !again.stderr.contains("odfs1"),
        "{}",
        again.stderr
    );
    let named = third.odfs(["pull", &ticket, "--as", "levels"])?;
    assert!(named.succeeded());
    assert_eq!(third.dataset("levels")?.records, 30);

    // Who has pulled it can give it on, also when the first is gone, to one who has another `stations`.
    let follower = there.node()?;
    let ticket = self::ticket(&there, "stations")?;
    node.stop()?;
    let fourth = Workspace::new()?;
    let other = fourth.write("stations.csv", table(3))?.display().to_string();
    fourth.publish(&[&other])?;
    fourth.odfs(["pull", &ticket])?;
    same_dataset((&there, "stations"), (&fourth, "stations-2"))?;
    follower.stop()?;
    Ok(())
}

#[test]
fn a_ticket_that_is_none_says_what_is_wrong() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = publisher(&here)?;
    let whole = ticket(&here, "stations")?;
    let at = whole.len() / 2;
    let other = if whole.as_bytes()[at] == b'q' { "x" } else { "q" };
    let mistyped = format!("{}{other}{}", &whole[..at], &whole[at + 1..]);
    let half = &whole[..at];
    for (text, code, reason, next) in [
        (
            half,
            2,
            format!("{} characters are missing", whole.len() - at),
            "copy all of it",
        ),
        (&mistyped, 2, "mistyped".to_owned(), "copy all of it"),
        (&format!("{whole}a"), 2, "mistyped".to_owned(), "copy all of it"),
        (
            &whole.replacen('a', "1", 1),
            2,
            "there is no `1` in tickets".to_owned(),
            "copy all of it",
        ),
        (
            &whole.replacen("odfs1", "odfs2", 1),
            5,
            "a later version".to_owned(),
            "update odfs",
        ),
    ] {
        let refused = there.refused(["pull", text])?;
        assert_eq!(refused.code(), Some(code), "{text}: {}", refused.stderr);
        assert!(refused.stderr.contains(&reason), "{text}: {}", refused.stderr);
        assert!(refused.stderr.contains(next), "{text}: {}", refused.stderr);
    }
    // What is here may be called so.
    let file = there.write("odfs1weather.csv", table(3))?.display().to_string();
    there.publish(&[&file, "--name", "odfs1weather"])?;
    there.odfs(["pull", "odfs1weather", "--offline"])?;

    // Nobody is there any more.
    node.stop()?;
    let alone = there.refused(["pull", &whole])?;
    assert_eq!(alone.code(), Some(9), "{}", alone.stderr);
    assert!(
        alone.stderr.contains("Nobody answers at the addresses in the ticket") && alone.stderr.contains("a new ticket"),
        "{}",
        alone.stderr
    );
    Ok(())
}

#[test]
fn a_ticket_that_would_lead_to_nobody_is_not_made() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("stations.csv", table(3))?.display().to_string();
    let published = here.publish(&[&file])?;
    assert!(!published.said.text().contains("ticket"), "{}", published.said.text());
    let refused = here.refused(["ticket", "stations"])?;
    assert_eq!(refused.code(), Some(9), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("no node runs here") && refused.stderr.contains("start `odfs node`"),
        "{}",
        refused.stderr
    );
    // A fixed address is known before.
    here.odfs(["config", "set", "network.listen", r#"["/ip4/192.168.77.1/tcp/4001"]"#])?;
    let told = here.odfs(["ticket", "stations"])?;
    assert!(told.text().starts_with("odfs1"), "{}", told.text());
    assert!(
        told.stderr
            .contains("Nobody serves stations until `odfs node` runs here"),
        "{}",
        told.stderr
    );
    here.odfs(["config", "set", "network.listen", r#"["/ip4/127.0.0.1/tcp/0"]"#])?;

    here.odfs(["unpublish", "stations"])?;
    let unpublished = here.refused(["ticket", "stations"])?;
    assert_eq!(unpublished.code(), Some(3), "{}", unpublished.stderr);
    assert!(
        unpublished.stderr.contains("odfs push stations"),
        "{}",
        unpublished.stderr
    );
    assert_eq!(here.refused(["ticket", "nothing"])?.code(), Some(3));
    assert_eq!(
        here.refused(["ticket", "stations", "--qr", "-o", "json"])?.code(),
        Some(2)
    );
    Ok(())
}

#[test]
fn a_ticket_is_drawn_where_it_fits() -> Outcome {
    let here = Workspace::new()?;
    let _node = publisher(&here)?;
    let drawn = here.odfs(["ticket", "stations", "--qr"])?.text();
    let lines: Vec<&str> = drawn.lines().skip(1).collect();
    let side = lines.first().map_or(0, |line| line.chars().count());
    assert!(lines.len() == side.div_ceil(2) && side > 40, "{drawn}");
    if !terminal::is_there()? {
        return Ok(());
    }
    let on =
        |columns: u16| terminal::run(&here, columns, Messages::Apart, &["ticket", "stations", "--qr"], "")?.success();
    let wide = on(80)?.text();
    assert!(wide.contains("\u{1b}[48;5;231m") && wide.contains('▀'), "{wide}");
    let narrow = on(40)?;
    assert!(
        narrow.text().contains("odfs1") && !narrow.text().contains('▀'),
        "{}",
        narrow.text()
    );
    assert!(
        narrow.stderr.contains("columns, and the terminal has 40"),
        "{}",
        narrow.stderr
    );
    Ok(())
}
