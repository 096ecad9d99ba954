//! Whether this machine may be switched off: what becomes of the names that are published from here and of the rows that
//! they lead to, in a sentence.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use odf::dataset::Dataset;
use odf::elsewhere::{self, Copies};
use odf_node::block::Cid;
use odf_node::ipns::{self, NameStatus};

use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// How long somebody who waits for an answer waits for others to be found who have the rows.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// How long it is waited at first until others are looked for again, and at most.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The same where the process is to end: less than it may take for that.
pub(super) const LOOK_AT_END: Duration = Duration::from_secs(1);

/// Looks for others who have the newest rows of what is published here, for `patience` at most, if a peer runs in this
/// process. `only`: of this name alone. What is found is remembered.
///
/// # Errors
/// The names cannot be read.
pub(super) fn look(only: Option<&ipns::Name>, patience: Duration, session: &Session) -> Result<(), Failure> {
    let (Some(node), workspace) = (session.running_node(), session.workspace()?) else {
        return Ok(());
    };
    let mut names = ipns::kept(workspace.store())?;
    names.retain(|status| only.is_none_or(|name| *name == status.name));
    // Whoever stops the process is told, too, so that this is not for them to stop.
    session
        .runtime()?
        .block_on(elsewhere::look(workspace.local(), node, &names, patience));
    Ok(())
}

/// Whether another machine was lately seen to have the newest rows of a name that is published here.
pub(super) fn is_elsewhere(name: &ipns::Name, session: &Session) -> Result<bool, Failure> {
    let store = session.workspace()?.store();
    let seen = ipns::status(store, name)?
        .map(|status| elsewhere::seen(store, &status, SystemTime::now()))
        .transpose()?;
    Ok(seen.flatten().is_some())
}

/// How many other machines must have a dataset, and how long that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) copies: usize,
    pub(super) timeout: Option<Duration>,
}

impl Demand {
    fn is_granted(&self, copies: &Copies) -> bool {
        copies.are_enough(self.copies)
    }
}

/// Waits until as many other machines as wished have proved that they have `root`, which `name` stands for, and a stranger finds
/// the name without this machine; gives what was found last, when the time is over.
///
/// # Errors
/// The peer cannot be used, or the user wants to stop.
pub(super) fn wait(
    demand: &Demand,
    name: &ipns::Name,
    root: Cid,
    session: &Session,
    io: &mut Io,
) -> Result<Copies, Failure> {
    let (local, node) = (session.workspace()?.local(), session.node()?);
    let stranger = session.stranger()?;
    let progress = io.progress().clone();
    let until = demand.timeout.map(|timeout| Instant::now() + timeout);
    let work = async {
        let mut pause = LOOK_AGAIN[0];
        loop {
            let copies = elsewhere::challenge(local, node, name, root, &stranger).await?;
            let is_over = until.is_some_and(|until| Instant::now() + pause > until);
            if demand.is_granted(&copies) || is_over {
                return Ok::<_, Failure>(copies);
            }
            progress.show(|| Step {
                text: format!(
                    "{} of {} other machine(s) have it; `odfs follow ipns://{name} --mirror` on one makes it one more",
                    copies.holders.len(),
                    demand.copies
                ),
                ..Step::default()
            });
            tokio::time::sleep(pause).await;
            pause = LOOK_AGAIN[1].min(pause * 2);
        }
    };
    session.wait(io, work)
}

/// Says until when this machine may be off, or what there is to do about that it may not.
///
/// # Errors
/// Fewer machines than wished have it.
pub(super) fn say_copies(demand: &Demand, copies: &Copies, dataset: &Dataset, io: &mut Io) -> Result<(), Failure> {
    if let Some(until) = copies.until.filter(|_| demand.is_granted(copies)) {
        io.say(format_args!(
            "You may go off-line until {} UTC: {} other machine(s) have the newest rows and gave what they were asked for.",
            minute(until),
            copies.holders.len(),
        ));
        return Ok(());
    }
    let name = dataset.name()?;
    let message = match copies.holders.len() {
        0 => format!("nobody else has the newest rows of {name} yet"),
        some if some < demand.copies => {
            format!(
                "{some} other machine(s) have the newest rows of {name}, and {} are wanted",
                demand.copies
            )
        }
        _ => format!("others have the newest rows of {name}, but nobody finds its name without this machine"),
    };
    Err(Failure::new(Kind::Unreachable, message).next(
        "the rows are published; on another machine run `odfs follow` with the name and --mirror, and `odfs node` there; keep \
         `odfs node` running here until then",
    ))
}

/// The same for programs.
pub(super) fn in_json(copies: &Copies) -> serde_json::Map<String, serde_json::Value> {
    let holders = copies.holders.iter().map(ToString::to_string);
    let until = copies.until.filter(|_| copies.resolves);
    let until = until.map(|until| output::time(DateTime::<Utc>::from(until)));
    let fields = [
        ("copies", serde_json::Value::from(holders.collect::<Vec<_>>())),
        ("nameResolves", copies.resolves.into()),
        ("offlineUntil", until.into()),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

/// The sentence, by what is remembered.
///
/// # Errors
/// The names cannot be read.
pub(super) fn of(session: &Session) -> Result<Option<String>, Failure> {
    let (store, now) = (session.workspace()?.store(), SystemTime::now());
    let mut names = Vec::new();
    for status in ipns::kept(store)? {
        let seen = elsewhere::seen(store, &status, now)?;
        names.push((status, seen));
    }
    Ok(sentence(&names, now))
}

/// Says until when others find the names that are published here without this machine, whether they get the rows, and what
/// to do where they do not. With each name is when somebody else was last seen to have what it stands for. Nothing if none
/// is published here.
fn sentence(names: &[(NameStatus, Option<SystemTime>)], now: SystemTime) -> Option<String> {
    let own = || names.iter().filter(|(name, _)| name.own);
    let until = |name: &NameStatus| name.safe_until.filter(|until| *until > now);
    let all = own().count();
    let left = own().filter(|(name, _)| until(name).is_none()).count();
    let here_only = own().filter(|(_, seen)| seen.is_none()).count();
    if all == 0 {
        return None;
    }
    if left > 0 {
        return Some(format!(
            "Not safe to switch off: nobody else keeps {}, so nobody finds it while this machine is off. Keep `odfs node` \
             running, connected to others (`odfs node --peer ADDRESS`, or a network with peers), until `odfs status` says that \
             it is safe.",
            match all {
                1 => "the published name".to_owned(),
                all => format!("{left} of {all} published names"),
            },
        ));
    }
    let until = own().filter_map(|(name, _)| until(name)).min().unwrap_or(now);
    let names = match all {
        1 => "its published name".to_owned(),
        all => format!("its {all} published names"),
    };
    if here_only > 0 {
        return Some(format!(
            "Not safe to switch off: others keep {names} findable until {} UTC, but not the rows: nobody else is known to have \
             the newest ones{}. Keep `odfs node` running until somebody has pulled them and runs a node too; `odfs status` says \
             when.",
            minute(until),
            match all {
                1 => String::new(),
                all => format!(" of {here_only} of these {all}"),
            }
        ));
    }
    let seen = own().filter_map(|(_, seen)| *seen).min().unwrap_or(now);
    Some(format!(
        "This machine may be off: others keep {names} findable until {} UTC, and another machine had the newest rows at {} UTC \
         and gave them. Have `odfs node` run again before then.",
        minute(until),
        minute(seen)
    ))
}

fn minute(at: SystemTime) -> impl std::fmt::Display {
    DateTime::<Utc>::from(at).format("%Y-%m-%d %H:%M")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(own: bool, safe_until: Option<SystemTime>) -> NameStatus {
        let key = odf_node::keystore::Keypair::generate_ed25519();
        NameStatus {
            name: odf_node::ipns::Name::from_public_key(&key.public()),
            value: None,
            sequence: None,
            valid_until: None,
            safe_until,
            last_put: None,
            holders: 0,
            confirmed: None,
            own,
            followed: !own,
            withdrawn: false,
            rival: None,
        }
    }

    #[test]
    fn what_is_lost_first_decides() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hours = |hours: u64| Some(now + Duration::from_secs(hours * 3600));
        assert_eq!(sentence(&[(status(false, None), None)], now), None);
        let safe = sentence(
            &[
                (status(true, hours(40)), Some(now)),
                (status(true, hours(30)), Some(now)),
                (status(false, None), None),
            ],
            now,
        )
        .unwrap();
        assert!(
            safe.starts_with(
                "This machine may be off: others keep its 2 published names findable until 2027-01-16 14:00 UTC,"
            ),
            "{safe}"
        );
        // A name that is found leads nowhere if nobody has the rows.
        let here_only = sentence(
            &[(status(true, hours(40)), Some(now)), (status(true, hours(30)), None)],
            now,
        )
        .unwrap();
        assert!(
            here_only.starts_with(
                "Not safe to switch off: others keep its 2 published names findable until 2027-01-16 14:00"
            ) && here_only.contains("the newest ones of 1 of these 2"),
            "{here_only}"
        );
        let unsafe_one = sentence(
            &[(status(true, hours(40)), Some(now)), (status(true, None), Some(now))],
            now,
        )
        .unwrap();
        assert!(
            unsafe_one.starts_with("Not safe to switch off: nobody else keeps 1 of 2 published names"),
            "{unsafe_one}"
        );
        // What was remembered until just now is forgotten.
        assert!(
            sentence(&[(status(true, Some(now)), Some(now))], now)
                .unwrap()
                .starts_with("Not safe")
        );
    }
}
