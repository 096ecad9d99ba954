//! A publisher that is gone for good: one follower keeps the name and the data, for as long as the publisher's signature lasts.

use std::time::{Duration, Instant, SystemTime};

use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Clock, Failure, Outcome, Workspace};

const HOUR: Duration = Duration::from_secs(3600);
/// Whoever holds a record of the DHT for others forgets it after 48 hours: a step of the clock is shorter.
const STEP: Duration = Duration::from_secs(44 * 3600);
/// What a node may take to see that the clock has moved, and to put and announce what is due then.
const NOTICED: Duration = Duration::from_secs(30);

#[test]
#[ignore = "takes minutes"]
fn a_publisher_is_gone_and_one_follower_keeps_its_name_and_its_data() -> Outcome {
    let clock = Clock::new()?;
    let workspace = || Ok::<_, Failure>(Workspace::new()?.by(&clock));
    // Whom everybody knows, and who follows nothing.
    let between = workspace()?;
    let known = between.node()?;
    let among = || {
        let workspace = workspace()?;
        workspace.know(&[&known.address])?;
        Ok::<_, Failure>(workspace)
    };

    let owner = among()?;
    let node = owner.node()?;
    let file = owner.write("t.csv", table(5_000))?.display().to_string();
    let published = owner.publish(&[&file])?;
    let name = format!("ipns://{}", published.name);
    let follower = among()?;
    let following = follower.node()?;
    follower.odfs(["follow", &name, "--as", "t", "--mirror"])?;
    let deadline = Instant::now() + NOTICED;
    while follower.listed("t")?.is_none_or(|listed| listed.records != 5_000) {
        if Instant::now() > deadline {
            return Err(Failure::new("the follower did not get the dataset"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let end = SystemTime::now() + 30 * 24 * HOUR - HOUR;
    // The key, the rows and the machine are gone.
    node.process.kill()?;

    let mut ahead = Duration::ZERO;
    for until in [72 * HOUR, 29 * 24 * HOUR] {
        while ahead < until {
            ahead = until.min(ahead + STEP);
            clock.set(ahead)?;
            // Others remember a record for 48 hours, and none beyond its end.
            follower.names_are_safe((SystemTime::now() + ahead + 47 * HOUR).min(end), NOTICED)?;
        }
        let newcomer = among()?;
        newcomer.odfs(["pull", &name, "--as", "t"])?;
        same_dataset((&follower, "t"), (&newcomer, "t"))?;
    }

    // A signature lasts for 30 days; what it was for stays with whoever has it, and is found by its root.
    clock.set(31 * 24 * HOUR)?;
    let late = among()?;
    let refused = late.refused(["pull", &name, "--as", "t"])?;
    assert!(refused.stderr.contains("no record of"), "{}", refused.stderr);
    let told = follower.run(["doctor", "t"])?.refusal()?.text();
    assert!(told.contains("the record of the name expired"), "{told}");
    late.odfs(["pull", &format!("ipfs://{}", published.root), "--as", "t"])?;
    same_dataset((&follower, "t"), (&late, "t"))?;
    assert_eq!(follower.dataset("t")?.records, 5_000);
    following.stop()?;
    known.stop()?;
    Ok(())
}
