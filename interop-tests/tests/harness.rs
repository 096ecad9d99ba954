//! The harness itself: what the other tests stand on.

use interop_tests::netns::Wire;
use interop_tests::process::run;
use interop_tests::{Helia, Kubo, Outcome, Running, http};
use std::process::Command;
use std::time::{Duration, Instant};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_process_reports_output_and_exit_code() -> Outcome {
    let finished = run(shell("echo out; echo err >&2; exit 3"), SOON)?;
    assert_eq!(
        (finished.text().as_str(), finished.stderr.as_str(), finished.code()),
        ("out", "err\n", Some(3))
    );
    assert!(finished.clone().refusal().is_ok());
    assert!(finished.success().unwrap_err().to_string().contains("err"));
    Ok(())
}

#[test]
fn a_panic_and_a_signal_are_no_refusal() -> Outcome {
    assert!(run(shell("exit 101"), SOON)?.refusal().is_err());
    assert!(run(shell("kill -9 $$"), SOON)?.refusal().is_err());
    assert!(run(shell("true"), SOON)?.refusal().is_err());
    Ok(())
}

#[test]
fn a_process_that_does_not_end_is_killed_with_its_children() -> Outcome {
    let started = Instant::now();
    let mut running = Running::start(shell("sleep 600 & echo $!; wait"))?;
    let child: i32 = running.wait_for(SOON, |said| said.trim().parse().ok())?;
    assert!(
        running
            .finish(Duration::from_millis(50))
            .unwrap_err()
            .to_string()
            .contains("still ran")
    );
    assert!(started.elapsed() < SOON);
    let gone = || std::fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
    while !gone() && started.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(gone(), "the child {child} outlived the process that started it");
    Ok(())
}

#[test]
fn two_namespaces_reach_each_other_and_nothing_else() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let inside = |script: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", wire.left().name(), "sh", "-c", script]);
        run(command, SOON)
    };
    let devices = inside("cat /proc/net/dev")?.success()?.text();
    assert_eq!(
        devices.lines().filter(|line| line.contains(':')).count(),
        2,
        "loopback and the wire: {devices}"
    );
    let neighbours = format!("ip route get {} && ip -o addr", wire.right().address);
    let routes = inside(&neighbours)?.success()?.text();
    assert!(routes.contains(&wire.left().address), "{routes}");
    let name = wire.left().name().to_owned();
    drop(wire);
    let left = run(shell("ip netns list"), SOON)?.text();
    assert!(!left.contains(&name), "{left}");
    Ok(())
}

#[test]
fn kubo_serves_what_helia_and_a_second_kubo_fetch() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let Some(other) = Kubo::daemon()? else { return Ok(()) };
    let Some(helia) = Helia::find()? else { return Ok(()) };
    std::fs::write(kubo.path().join("head"), "f1620\n")?;
    let cid = kubo.add(&kubo.path().join("head"), &["-w", "--cid-version=1"])?;

    other.connect(&kubo.address()?)?;
    other.wait_for_dht_peer(&kubo.peer_id()?, SOON)?;
    assert_eq!(other.ok(["cat", &format!("/ipfs/{cid}/head")])?, "f1620");
    let answer = http::get(&format!("{}/ipfs/{cid}/head", other.gateway()?), &[])?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "f1620\n"));

    let name = kubo.ok(["name", "publish", "-Q", &format!("/ipfs/{cid}")])?;
    let fetched = helia
        .fetch(&kubo.address()?, &format!("/ipns/{name}/head"))?
        .success()?;
    assert_eq!(fetched.text(), "f1620");
    assert!(!helia.fetch(&kubo.address()?, &format!("/ipfs/{cid}/tail"))?.succeeded());
    Ok(())
}
