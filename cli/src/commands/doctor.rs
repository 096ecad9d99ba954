//! `odfs doctor`: what keeps this machine from working with others, and what to do about it.
//!
//! Facts are gathered side by side, each with a deadline; what they mean is decided by functions that only look at the facts.
//! What others see is asked by a second peer in this process: it has a key of its own and nothing else, is known to nobody, and
//! knows of the network what stands in the settings and in the memory of the workspace.

mod clock;
mod content;
mod finding;
mod hosts;
mod inside;
mod machine;

use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::time::Instant;

use self::finding::Finding;
use self::hosts::Host;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{Format, Listing, OutputArgs};
use crate::session::Session;

/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(14);

/// Look for what keeps this machine from working with others, and say what to do about it
///
/// Looks at the disk, the ports, the way to the network, the clock, the peers by which the network is joined, one by one, and
/// whether others get through to this machine. With a dataset or an address also whether a second peer, which knows nothing but
/// the network, finds its newest version and gets it. Works with a running node, which is asked, and without one; takes 15
/// seconds at most, and changes nothing. Ends with 18 if something is wrong.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Also look whether others find this: a dataset here, ipns://K, K, did:odf:…, a ticket, ipfs://CID or CID
    subject: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &DoctorArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let subject = match &args.subject {
        Some(text) => Some(content::Subject::named(text, session)?),
        None => None,
    };
    io.progress().show(|| Step {
        text: "looking at the machine and asking the network".to_owned(),
        done: 0,
        total: None,
    });
    let findings = session.wait(io, async { Ok::<_, Failure>(examine(subject, session, io).await) })?;
    write(&findings, args.output.format(io), io)?;
    let failed = findings.iter().filter(|finding| finding.is_failed()).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            Kind::Unwell,
            match failed {
                1 => "one thing is wrong".to_owned(),
                all => format!("{all} things are wrong"),
            },
        )
        .next("do what stands below each thing that failed, the first one first, and run `odfs doctor` again")),
    }
}

/// Everything that was found, in the order in which causes come before what they cause.
async fn examine(subject: Option<content::Subject>, session: &Session, io: &Io) -> Vec<Finding> {
    let until = Instant::now() + WHOLE;
    let mut findings = machine::look(session);
    let key = match session.network_key() {
        Ok(key) => key,
        Err(failure) => {
            findings.push(Finding::from_failure("key", &failure));
            return findings;
        }
    };
    let inside = match session.running_node() {
        Some(node) => Some(inside::Inside::ask(node).await),
        None => None,
    };
    let mut hosts = match hosts::to_dial(session, key.as_ref(), inside.as_ref()) {
        Ok(hosts) => hosts,
        Err(failure) => {
            findings.push(Finding::from_failure("bootstrap", &failure));
            Vec::new()
        }
    };
    hosts.extend(subject.iter().flat_map(content::Subject::hosts));
    let names = hosts::host_names(&hosts);
    let (stated, routes) = (clock::ask(session, io, until), hosts::routes());
    let (outside, dns, stated) = tokio::join!(
        outside(subject, hosts, session, until),
        hosts::look_up(names, until),
        stated
    );
    let answered = matches!(&outside, Ok((dialled, _)) if dialled.iter().any(|one| one.outcome.is_ok()));
    let connected = inside.as_ref().is_some_and(|inside| !inside.peers.is_empty());
    findings.push(hosts::judge_routes(&routes, answered || connected));
    findings.extend(hosts::judge_dns(&dns));
    findings.extend(clock::judge(&stated, SystemTime::now()));
    let (dialled, seen) = match outside {
        Ok(found) => found,
        Err(failure) => {
            findings.push(Finding::from_failure("network", &failure));
            return findings;
        }
    };
    findings.extend(hosts::judge(&dialled, key.is_some()));
    findings.extend(inside::judge(inside.as_ref(), key.as_ref()));
    findings.extend(seen.map(|seen| content::judge(&seen, connected)).unwrap_or_default());
    findings
}

/// What a second peer finds: whom it reaches, and whether it gets what it is to look for.
async fn outside(
    subject: Option<content::Subject>,
    hosts: Vec<Host>,
    session: &Session,
    until: Instant,
) -> Result<(Vec<hosts::Dialled>, Option<content::Seen>), Failure> {
    let mdns = session.settings().mdns;
    // Each host is dialled by itself, to be told of.
    let stranger = session.stranger()?().bootstrap(Vec::new()).mdns(mdns).start().await?;
    let (progress, joined) = hosts::progress();
    let look = async {
        match subject {
            Some(subject) => Some(content::look(subject, &stranger, mdns, joined, session, until).await),
            None => None,
        }
    };
    Ok(tokio::join!(hosts::dial(hosts, &stranger, &progress, until), look))
}

fn write(findings: &[Finding], format: Format, io: &mut Io) -> Result<(), Failure> {
    if format == Format::Table {
        return findings.iter().try_for_each(|finding| io.line(finding));
    }
    let mut listing = Listing::new(&["Check", "Subject", "Result", "Found", "Next"]);
    findings.iter().for_each(|finding| listing.row(finding.cells()));
    listing.write(format, io)
}
