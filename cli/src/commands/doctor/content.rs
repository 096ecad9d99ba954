//! Whether others find a dataset and get its newest version: the record of its name, those who have the rows, and a fetch by a
//! peer that knows nothing but the network.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use odf::dataset::DatasetName;
use odf::pull::Address;
use odf::ticket::Ticket;
use odf_node::PeerId;
use odf_node::block::{Cid, cid_from_text};
use odf_node::ipns::{self, Asked, Name, NameStatus};
use odf_node::peer::Node;
use odf_node::routing::Provider;
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::super::ticket::address_of;
use super::finding::Finding;
use super::hosts::{self, Host, Joined, Source, Trouble};
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// How long after the first host the others are waited for.
const GRACE: Duration = Duration::from_millis(500);
/// How long neighbours may take to be found by mDNS where no host answers.
const NEIGHBOURS: Duration = Duration::from_secs(4);
/// How long the network is asked for the record.
const RECORD: Duration = Duration::from_secs(5);
/// How long others who have the rows are waited for once one is found.
const MORE: Duration = Duration::from_secs(1);
/// What is left of the time, at least, to dial those who were found.
const LEFT: Duration = Duration::from_secs(3);
/// How many of them are dialled.
const MAX_PROVIDERS: usize = 8;
/// How long the first block may take to come.
const FETCH: Duration = Duration::from_secs(5);
/// A record that ends sooner is told: who sees to it has to come on-line before.
const ENDS_SOON: Duration = Duration::from_secs(3 * 86_400);

/// What is to be found.
#[derive(Debug)]
pub(super) struct Subject {
    label: String,
    /// What it is called here, if it is here.
    dataset: Option<DatasetName>,
    name: Option<Name>,
    /// What was asked for by its content.
    fixed: Option<Cid>,
    /// What is known here of the name.
    status: Option<NameStatus>,
    /// Who has it by the words of a ticket.
    contacts: Vec<Host>,
}

impl Subject {
    /// What `text` means: a dataset here, an address, a ticket, or a CID.
    ///
    /// # Errors
    /// It is none of these; or a dataset that is not published.
    pub(super) fn named(text: &str, session: &Session) -> Result<Self, Failure> {
        let workspace = session.workspace();
        let found = workspace.as_ref().ok().map(|workspace| workspace.catalog().find(text));
        let mut contacts = Vec::new();
        let (address, dataset) = match (found, text.parse::<Ticket>()) {
            (Some(Ok(dataset)), _) => (address_of(&dataset, session)?, Some(dataset.name()?)),
            (_, Ok(ticket)) => {
                contacts.extend(ticket.contacts().iter().map(|contact| Host {
                    source: Source::Ticket,
                    peer: Some(contact.peer),
                    addresses: contact.addresses.clone(),
                }));
                (ticket.address().clone(), None)
            }
            (found, Err(_)) => match (text.parse::<Address>(), cid_from_text(text), found) {
                (Ok(address), ..) => (address, None),
                (_, Ok(cid), _) => (
                    Address::Root {
                        cid,
                        path: String::new(),
                    },
                    None,
                ),
                (_, _, Some(Err(unknown))) => return Err(unknown.into()),
                (Err(error), ..) => return Err(Failure::usage(error)),
            },
        };
        let name = address.name().copied();
        let status = match (name, &workspace) {
            (Some(name), Ok(workspace)) => ipns::status(workspace.store(), &name)?,
            _ => None,
        };
        let fixed = match &address {
            Address::Root { cid, .. } => Some(*cid),
            Address::Name(_) | Address::Dataset { .. } => None,
        };
        Ok(Self {
            label: dataset
                .as_ref()
                .map_or_else(|| address.to_string(), DatasetName::to_string),
            dataset,
            name,
            fixed,
            status,
            contacts,
        })
    }

    /// Those who have it by the words of a ticket.
    pub(super) fn hosts(&self) -> Vec<Host> {
        self.contacts.clone()
    }
}

/// What the second peer saw.
#[derive(Debug)]
pub(super) struct Seen {
    subject: Subject,
    /// This machine's own peer, and whether it runs.
    own: PeerId,
    running: bool,
    private: bool,
    /// Whether there was anybody to ask.
    anybody: bool,
    asked: Option<Asked>,
    root: Option<Cid>,
    /// Who says that they have it, and what is in the way to them.
    providers: Vec<(PeerId, Result<Duration, Trouble>)>,
    /// Everybody was asked who could be.
    all_asked: bool,
    fetched: Option<Result<Duration, String>>,
}

/// Looks for it, once somebody was reached by whom the network is joined, and until `until` at most.
pub(super) async fn look(
    subject: Subject,
    stranger: &Node,
    mdns: bool,
    mut joined: watch::Receiver<Joined>,
    session: &Session,
    until: Instant,
) -> Seen {
    // The sender lives until all are dialled, and then has said so.
    let _ = timeout_at(until, joined.wait_for(|joined| joined.answered > 0 || joined.done)).await;
    let _ = timeout(GRACE, joined.wait_for(|joined| joined.done)).await;
    let is_joined = || stranger.routing().table_sizes().target().is_some();
    if mdns && !is_joined() {
        let mut look_again = interval(Duration::from_millis(100));
        let neighbours = async {
            while !is_joined() {
                look_again.tick().await;
            }
        };
        let _ = timeout_at(until.min(Instant::now() + NEIGHBOURS), neighbours).await;
    }
    let mut seen = Seen {
        own: session.own_peer_id().unwrap_or_else(|_| stranger.peer_id()),
        running: session.running_node().is_some() && session.is_lasting(),
        private: matches!(session.network_key(), Ok(Some(_))),
        anybody: is_joined() || joined.borrow().answered > 0,
        asked: None,
        root: subject.fixed,
        providers: Vec::new(),
        all_asked: false,
        fetched: None,
        subject,
    };
    if !seen.anybody {
        return seen;
    }
    if let Some(name) = &seen.subject.name {
        let patience = RECORD.min(until.saturating_duration_since(Instant::now()));
        seen.asked = stranger.names().ask(name, patience).await.ok();
        let best = seen.asked.as_ref().and_then(|asked| asked.best.as_ref());
        let path = best.and_then(|record| record.path().ok());
        // Whether the newest version is there can be asked even if nobody knows the name.
        let path = path.or_else(|| seen.subject.status.as_ref()?.value.clone());
        seen.root = path.and_then(|path| path.strip_prefix("/ipfs/")?.split('/').next()?.parse().ok());
    }
    if let Some(root) = seen.root {
        let (found, all_asked) = providers(&root, stranger, until).await;
        seen.all_asked = all_asked;
        let (dialled, fetched) = get(&root, found, stranger, until).await;
        (seen.providers, seen.fetched) = (dialled, Some(fetched));
    }
    seen
}

/// Those who say that they have a block, and whether everybody was asked who could be.
async fn providers(root: &Cid, stranger: &Node, until: Instant) -> (Vec<Provider>, bool) {
    let mut search = stranger.routing().providers(root);
    let (mut found, mut patience) = (Vec::new(), until.checked_sub(LEFT).unwrap_or(until));
    while found.len() < MAX_PROVIDERS {
        match timeout_at(patience, search.recv()).await {
            Ok(Some(provider)) => {
                found.push(provider);
                patience = patience.min(Instant::now() + MORE);
            }
            Ok(None) => return (found, true),
            Err(_) => break,
        }
    }
    (found, false)
}

/// Dials them, and fetches it from whoever gives it.
async fn get(
    root: &Cid,
    found: Vec<Provider>,
    stranger: &Node,
    until: Instant,
) -> (Vec<(PeerId, Result<Duration, Trouble>)>, Result<Duration, String>) {
    let begun = Instant::now();
    let session = stranger.exchange().session();
    let session_of = &session;
    let dials = found.into_iter().map(|provider| async move {
        let outcome = hosts::reach(stranger, Some(provider.peer), &provider.addresses, until).await;
        if outcome.is_ok() {
            session_of.add_provider(provider.peer);
        }
        (provider.peer, outcome)
    });
    let fetch = async {
        let answer = timeout_at(until.min(Instant::now() + FETCH), session.fetch(root)).await;
        match answer {
            Ok(Ok(_)) => Ok(begun.elapsed()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("nobody gave it in time".to_owned()),
        }
    };
    tokio::join!(join_all(dials), fetch)
}

/// What that means; `connected`: whether the node here is with anybody.
pub(super) fn judge(seen: &Seen, connected: bool) -> Vec<Finding> {
    let about = |finding: Finding| finding.about(&seen.subject.label);
    if !seen.anybody && connected {
        return vec![about(Finding::warning(
            "outside",
            "nobody is known whom a second peer could ask: those with whom the node is connected came in by themselves",
            "name one of them by its address: `odfs config set network.bootstrap ADDRESS`",
        ))];
    }
    if !seen.anybody {
        return vec![about(Finding::failed(
            "outside",
            "nobody could be asked, as no peer of the network is reached",
            "mend what failed above first",
        ))];
    }
    let now = SystemTime::now();
    let record = seen.subject.name.is_some().then(|| judge_record(seen, now));
    let providers = seen.root.map(|_| judge_providers(seen));
    let fetched = seen
        .root
        .and(seen.fetched.as_ref())
        .map(|fetched| judge_fetch(seen, fetched));
    record.into_iter().chain(providers).chain(fetched).map(about).collect()
}

/// How the dataset is published anew by its owner.
fn publish_again(seen: &Seen) -> String {
    let own = seen.subject.status.as_ref().is_some_and(|status| status.own);
    match (&seen.subject.dataset, own) {
        (Some(dataset), true) => {
            format!("`odfs push {dataset}` publishes it again; `odfs node` sees to it from then on")
        }
        _ => "whoever has its key has to publish it again, and to keep a node running".to_owned(),
    }
}

fn judge_record(seen: &Seen, now: SystemTime) -> Finding {
    const CHECK: &str = "record";
    let asked = seen.asked.clone().unwrap_or_default();
    let (status, at) = (seen.subject.status.as_ref(), |time: SystemTime| {
        output::time(time.into())
    });
    let Some(best) = &asked.best else {
        let ended = status
            .and_then(|status| status.valid_until)
            .filter(|until| *until <= now);
        if let Some(ended) = ended {
            return Finding::failed(
                CHECK,
                format!(
                    "the record of the name expired at {}, so nobody finds it any more",
                    at(ended)
                ),
                publish_again(seen),
            );
        }
        if let (1.., Some(refusal)) = (asked.refused, &asked.refusal) {
            return Finding::failed(
                CHECK,
                format!(
                    "{} peer(s) gave a record of the name that does not count: {refusal}",
                    asked.refused
                ),
                publish_again(seen),
            );
        }
        let next = match status.is_some_and(|status| status.own || status.followed) {
            true if seen.running => {
                "the node puts it again by itself; see in a minute, and look at `odfs status`".to_owned()
            }
            true => "`odfs node` here puts it again".to_owned(),
            false => format!("check the name; {}", publish_again(seen)),
        };
        return Finding::failed(
            CHECK,
            format!("none of the {} peers that answered knows the name", asked.without),
            next,
        );
    };
    let others = asked.holders.iter().filter(|peer| **peer != seen.own).count();
    let lacking = asked.behind + asked.without;
    let found = format!(
        "number {}, valid until {}, known to {others} other machine(s) of those that answered{}",
        best.sequence(),
        at(best.valid_until()),
        match lacking {
            0 => String::new(),
            lacking => format!("; {lacking} have an older one or none"),
        },
    );
    let newer_here = status
        .and_then(|status| status.sequence)
        .filter(|here| *here > best.sequence());
    if let Some(here) = newer_here {
        return Finding::warning(
            CHECK,
            format!("{found}; the newest one, number {here}, is here, and nobody else has it"),
            "`odfs node` here puts it to others; so does `odfs push` at once",
        );
    }
    if best.valid_until() < now + ENDS_SOON {
        return Finding::warning(CHECK, format!("{found}: it ends soon"), publish_again(seen));
    }
    if others == 0 {
        return Finding::warning(
            CHECK,
            format!("{found}: while this machine is off, nobody finds it"),
            "keep the node connected to others, which take it within minutes; `odfs status` says when they have",
        );
    }
    Finding::ok(CHECK, found)
}

/// A provider in words.
fn who(peer: &PeerId, seen: &Seen) -> String {
    match *peer == seen.own {
        true => "this machine".to_owned(),
        false => peer.to_string(),
    }
}

fn judge_providers(seen: &Seen) -> Finding {
    const CHECK: &str = "providers";
    let here = seen.subject.dataset.is_some();
    let Some((first, _)) = seen.providers.first() else {
        let next = match (here, seen.running) {
            (true, true) => "the node announces it by itself; see in a minute, and that it is connected to others",
            (true, false) => "start `odfs node` here: it announces what is here, and gives it to others",
            _ => "a machine that has it has to run `odfs node`, or another IPFS node with it pinned",
        };
        return match seen.all_asked {
            true => Finding::failed(CHECK, "nobody says that they have the newest version", next),
            false => Finding::warning(
                CHECK,
                "nobody was found in time who says that they have the newest version",
                next,
            ),
        };
    };
    let failed: Vec<String> = seen
        .providers
        .iter()
        .filter_map(|(peer, outcome)| {
            Some(format!(
                "{}: {}",
                who(peer, seen),
                outcome.as_ref().err()?.said(seen.private)
            ))
        })
        .collect();
    let (all, well) = (seen.providers.len(), seen.providers.len() - failed.len());
    match (well, failed.first()) {
        (0, Some(reason)) => {
            let next = match *first == seen.own {
                true if !seen.running => "start `odfs node` here: others were told that this machine gives it",
                true => {
                    "see what was found of `reach`: others were told addresses at which this machine does not answer"
                }
                false => {
                    "see that the node there runs and that its port is open: `odfs doctor` there says what is in the way"
                }
            };
            Finding::failed(
                CHECK,
                format!("of {all} who say that they have it none is reached; {reason}"),
                next,
            )
        }
        (_, Some(reason)) => Finding::warning(
            CHECK,
            format!("{well} of {all} who say that they have it are reached; {reason}"),
            "none is needed while others give it; who is gone for good is forgotten within two days",
        ),
        (_, None) => Finding::ok(CHECK, format!("{all} who say that they have it, and all are reached")),
    }
}

fn judge_fetch(seen: &Seen, fetched: &Result<Duration, String>) -> Finding {
    const CHECK: &str = "outside";
    match fetched {
        Ok(took) => Finding::ok(
            CHECK,
            format!(
                "a second peer, which knew the network and nothing else, found it and got its first block in {} ms",
                took.as_millis()
            ),
        ),
        Err(reason) => Finding::failed(
            CHECK,
            format!("a second peer, which knew the network and nothing else, did not get it: {reason}"),
            match seen.providers.is_empty() {
                true => "see what was found of providers",
                false => {
                    "see what was found of providers; one that is reached and gives nothing may have lost it: `odfs verify` there"
                }
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn seen() -> Seen {
        let key = odf_node::keystore::Keypair::generate_ed25519();
        Seen {
            subject: Subject {
                label: "t".to_owned(),
                dataset: Some("t".parse().unwrap()),
                name: Some(Name::from_public_key(&key.public())),
                fixed: None,
                status: None,
                contacts: Vec::new(),
            },
            own: PeerId::random(),
            running: false,
            private: false,
            anybody: true,
            asked: Some(Asked::default()),
            root: "bafkqaaa".parse().ok(),
            providers: Vec::new(),
            all_asked: true,
            fetched: Some(Err("no".to_owned())),
        }
    }

    fn status(valid_until: SystemTime) -> NameStatus {
        NameStatus {
            name: seen().subject.name.unwrap(),
            value: None,
            sequence: Some(1),
            valid_until: Some(valid_until),
            safe_until: None,
            last_put: None,
            holders: 0,
            confirmed: None,
            own: true,
            followed: false,
            withdrawn: false,
            rival: None,
        }
    }

    #[test]
    fn a_record_that_nobody_has_is_unknown_or_expired() {
        let now = SystemTime::now();
        let mut seen = seen();
        let unknown = judge_record(&seen, now);
        assert!(
            unknown.is_failed() && unknown.found.contains("knows the name"),
            "{unknown}"
        );
        seen.subject.status = Some(status(now - Duration::from_secs(1)));
        let expired = judge_record(&seen, now);
        assert!(expired.found.contains("expired"), "{expired}");
        assert!(expired.next.as_ref().unwrap().contains("`odfs push t`"), "{expired}");
        seen.subject.status = Some(status(now + ENDS_SOON));
        assert!(judge_record(&seen, now).next.unwrap().contains("`odfs node`"));
        seen.subject.status = None;
        seen.asked = Some(Asked {
            refused: 1,
            refusal: Some("the record has expired".to_owned()),
            ..Asked::default()
        });
        assert!(judge_record(&seen, now).found.contains("has expired"));
    }

    #[test]
    fn who_has_it_and_is_not_reached_is_named() {
        let mut seen = seen();
        let nobody = judge_providers(&seen);
        assert!(
            nobody.is_failed() && nobody.next.as_ref().unwrap().contains("odfs node"),
            "{nobody}"
        );
        let other = PeerId::random();
        seen.providers = vec![(other, Err(Trouble::Refused))];
        let gone = judge_providers(&seen);
        assert!(gone.is_failed() && gone.found.contains(&other.to_string()), "{gone}");
        seen.providers.push((seen.own, Ok(Duration::ZERO)));
        assert_eq!(judge_providers(&seen).state, State::Warning);
        seen.providers = vec![(seen.own, Err(Trouble::Silent))];
        assert!(judge_providers(&seen).found.contains("this machine"));
        seen.anybody = false;
        assert!(judge(&seen, false)[0].is_failed());
        assert_eq!(judge(&seen, true)[0].state, State::Warning);
    }
}
