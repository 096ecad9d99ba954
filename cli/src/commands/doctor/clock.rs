//! Whether the clock is right. Peers do not say what time it is; web servers do, with every answer (`Date`, RFC 9110 §6.6.1), so
//! those are asked that the user named: repositories and the public gateway. Besides, time does not go back: a clock is wrong
//! that is before what this machine wrote down by it, or before this version was made. A clock that was always ahead is found
//! out by web servers alone.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use futures::future::join_all;
use odf::place::Place;
use odf::repository::http::agent;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::finding::Finding;
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Web servers that are asked, at most.
const MAX_SERVERS: usize = 4;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// By how much a clock may differ before it is told: records of names hold for days, and signed requests for minutes.
const TOLERANCE: Duration = Duration::from_secs(60);
/// When this version was made, in seconds since 1970: 2026-11-28.
const MADE: u64 = 1_795_824_000;
/// What to do about a clock.
const SET: &str = "set the clock, or have it set from the network: `timedatectl set-ntp true`, `chronyc makestep`; a machine without \
                   a battery starts somewhere in the past";

/// What speaks of the time.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What web servers say, or why they do not: by how much this clock is ahead of theirs, in seconds.
    stated: Vec<(String, Result<i64, String>)>,
    /// The newest time that this machine itself wrote down, and where.
    written: Option<(SystemTime, &'static str)>,
}

/// Asks, and reads what was written. What is on disk is read before this returns, the rest when it is awaited.
pub(super) fn ask(session: &Session, io: &Io, until: Instant) -> impl Future<Output = Facts> + use<> {
    let written = [
        (newest_file(session), "a file of the workspace"),
        (newest_name(session), "the record of a name"),
    ];
    let written = written
        .into_iter()
        .filter_map(|(at, what)| Some((at?, what)))
        .max_by_key(|(at, _)| *at);
    let asked: Vec<_> = servers(session)
        .into_iter()
        .map(|url| {
            let (reply, answer) = oneshot::channel();
            let (proxy, to) = (io.environment().proxy(), url.clone());
            let started = thread::Builder::new().name("time".to_owned()).spawn(move || {
                let _ = reply.send(ahead_of(&to, proxy.as_ref()));
            });
            (url, started.is_ok().then_some(answer))
        })
        .collect();
    async move {
        let until = until.min(Instant::now() + PATIENCE);
        let stated = asked.into_iter().map(|(url, answer)| async move {
            let said = match answer {
                Some(answer) => timeout_at(until, answer).await.ok().and_then(Result::ok),
                None => None,
            };
            (url, said.unwrap_or_else(|| Err("no answer in time".to_owned())))
        });
        Facts {
            stated: join_all(stated).await,
            written,
        }
    }
}

/// The web servers that the user named.
fn servers(session: &Session) -> Vec<String> {
    let mut servers: Vec<String> = session.settings().gateway_public.iter().cloned().collect();
    let known = session.repositories().list().unwrap_or_default();
    for repository in known.into_iter().flatten() {
        if let Place::Http(url) | Place::Smart(url) = repository.place {
            servers.push(url.to_string());
        }
    }
    servers.truncate(MAX_SERVERS);
    servers
}

/// By how many seconds this clock is ahead of that of a server. Takes as long as the server does.
fn ahead_of(url: &str, proxy: Option<&ureq::Proxy>) -> Result<i64, String> {
    let begun = SystemTime::now();
    let request = agent(url, proxy)
        .head(url)
        .config()
        .timeout_global(Some(PATIENCE))
        .build();
    let response = request.call().map_err(|error| error.to_string())?;
    let took = SystemTime::now().duration_since(begun).unwrap_or_default();
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    let date = date.ok_or("it says no time")?;
    let theirs = DateTime::parse_from_rfc2822(date).map_err(|_| format!("it says no time: {date:?}"))?;
    let ours = (begun + took / 2).duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(ours.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_sub(theirs.timestamp()))
}

/// When something in the workspace was last changed, by the clock of then.
fn newest_file(session: &Session) -> Option<SystemTime> {
    let entries = fs::read_dir(session.root()).ok()?.flatten();
    entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

/// When a name was last put or asked for, by the clock of then.
fn newest_name(session: &Session) -> Option<SystemTime> {
    let store = session.workspace().ok()?.store();
    let kept = odf_node::ipns::kept(store).ok()?.into_iter();
    kept.flat_map(|name| [name.last_put, name.confirmed]).flatten().max()
}

/// What that means, if it is `now`.
pub(super) fn judge(facts: &Facts, now: SystemTime) -> Vec<Finding> {
    let made = UNIX_EPOCH + Duration::from_secs(MADE);
    if now < made {
        let found = format!(
            "the clock says {}, which is before this version of odfs was made",
            output::time(now.into())
        );
        return vec![Finding::failed("clock", found, SET)];
    }
    if let Some((at, what)) = facts.written
        && at > now + TOLERANCE
    {
        let found = format!(
            "the clock says {}, and {what} here is of {}: it went back, or was ahead then",
            output::time(now.into()),
            output::time(at.into())
        );
        return vec![Finding::failed("clock", found, SET)];
    }
    let differs = |ahead: &i64| ahead.unsigned_abs() > TOLERANCE.as_secs();
    let said = facts
        .stated
        .iter()
        .filter_map(|(url, said)| Some((url, said.as_ref().ok()?)));
    let (wrong, right): (Vec<_>, Vec<_>) = said.partition(|(_, ahead)| differs(ahead));
    match (wrong.first(), right.first()) {
        (None, Some((url, _))) => vec![Finding::ok("clock", format!("agrees with {url}"))],
        (Some((url, ahead)), right) => {
            let by = output::duration(Duration::from_secs(ahead.unsigned_abs()));
            let way = if **ahead > 0 { "ahead of" } else { "behind" };
            match right {
                Some((other, _)) => vec![Finding::warning(
                    "clock",
                    format!("agrees with {other}, but is {by} {way} that of {url}"),
                    "tell whoever runs that server that its clock is wrong",
                )],
                None => vec![Finding::failed("clock", format!("is {by} {way} that of {url}"), SET)],
            }
        }
        (None, None) => {
            let silent = facts.stated.first().map(|(url, said)| {
                let reason = said.as_ref().err().map(String::as_str).unwrap_or_default();
                format!(", {url} among them: {reason}")
            });
            vec![Finding::skipped(
                "clock",
                format!(
                    "says {}; nobody says whether that is right: peers do not tell the time, and web servers in the settings \
                     (`odfs repo add`, gateway.public) do{}",
                    output::time(now.into()),
                    silent.unwrap_or_default()
                ),
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    const DAY: i64 = 86_400;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(MADE + 1000)
    }

    fn stated(all: &[Result<i64, String>]) -> Facts {
        let name = |number| format!("https://{number}.example/");
        Facts {
            stated: all
                .iter()
                .enumerate()
                .map(|(number, said)| (name(number), said.clone()))
                .collect(),
            written: None,
        }
    }

    #[test]
    fn web_servers_say_by_how_much_the_clock_is_off() {
        let judge = |all: &[Result<i64, String>]| judge(&stated(all), now()).remove(0);
        assert_eq!(judge(&[Ok(60)]).state, State::Ok);
        let ahead = judge(&[Ok(DAY)]);
        assert!(ahead.is_failed() && ahead.found.contains("ahead of"), "{ahead}");
        assert!(judge(&[Ok(-DAY)]).found.contains("behind"));
        // Of two, one that agrees is believed.
        assert_eq!(judge(&[Ok(DAY), Ok(0)]).state, State::Warning);
        let silent = judge(&[Err("refused".to_owned())]);
        assert!(
            silent.state == State::Skipped && silent.found.contains("refused"),
            "{silent}"
        );
    }

    #[test]
    fn a_clock_that_went_back_needs_no_server() {
        let before_this_version = UNIX_EPOCH + Duration::from_secs(MADE - 1);
        assert!(judge(&Facts::default(), before_this_version)[0].is_failed());
        let written = |at| Facts {
            written: Some((at, "a file")),
            ..stated(&[Ok(0)])
        };
        assert!(judge(&written(now() + TOLERANCE + Duration::from_secs(1)), now())[0].is_failed());
        assert_eq!(judge(&written(now() + TOLERANCE), now())[0].state, State::Ok);
    }
}
