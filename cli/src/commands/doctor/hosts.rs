//! The way to the network: routes, names of hosts, and those by whom the network is joined, each dialled.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::Duration;

use futures::future::join_all;
use odf_node::address::{Protocol, by_peer};
use odf_node::peer::{DialError, NetworkKey, Node};
use odf_node::{Multiaddr, PeerId};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::finding::Finding;
use super::inside::Inside;
use crate::failure::Failure;
use crate::session::Session;

/// How long a host may take to answer: a little more than the peer itself waits.
const DIAL: Duration = Duration::from_secs(9);
/// How long it may take to see whether anything at all answers at a port.
const KNOCK: Duration = Duration::from_millis(1500);
/// How long a name server may take.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Names that are looked up, at most; they are looked up to see whether that works.
const MAX_NAMES: usize = 4;
/// Remembered peers of each network, and connected ones, that are dialled.
const MAX_OTHERS: usize = 8;

/// By what a host is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The settings.
    Listed,
    /// An earlier run, or the running node.
    Remembered,
    /// A ticket.
    Ticket,
}

/// Somebody to dial.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) source: Source,
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
}

impl Host {
    pub(super) fn new(source: Source, peer: Option<PeerId>, addresses: Vec<Multiaddr>) -> Self {
        Self {
            source,
            peer,
            addresses,
        }
    }

    fn label(&self) -> String {
        let first = self.addresses.first().map(ToString::to_string).unwrap_or_default();
        let end = self.peer.map(|peer| format!("/p2p/{peer}")).unwrap_or_default();
        match self.addresses.len() {
            0 | 1 => first + &end,
            all => format!("{first}{end} and {} more", all - 1),
        }
    }
}

/// Why a host was not reached, in kinds that something different can be done about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its name could not be looked up.
    Name,
    /// The machine is there, and nothing listens on the port.
    Refused,
    /// Nothing came back.
    Silent,
    /// This machine knows no way to it.
    NoRoute,
    /// Another peer answers.
    Other(PeerId),
    /// Something answers, and does not speak as peers of this network do.
    Strange,
    /// It has no address that can be dialled.
    NoAddress,
    /// Whatever else was said.
    Said(String),
}

impl Trouble {
    /// What a failed dial means. Of several addresses, the one that got farthest counts.
    fn of(error: &DialError) -> Self {
        match error {
            DialError::OtherPeer { found, .. } => Self::Other(*found),
            DialError::NoAddresses => Self::NoAddress,
            DialError::Unreachable { reason } => {
                let all: Vec<Self> = reason.split("; ").map(Self::of_attempt).collect();
                let order: [fn(&Self) -> bool; 4] = [
                    |trouble| matches!(trouble, Self::Said(_)),
                    |trouble| *trouble == Self::Refused,
                    |trouble| *trouble == Self::Silent,
                    |trouble| *trouble == Self::NoRoute,
                ];
                let best = order
                    .iter()
                    .find_map(|wanted| all.iter().find(|trouble| wanted(trouble)));
                best.cloned().unwrap_or(Self::Name)
            }
            other => Self::Said(other.to_string()),
        }
    }

    /// Of `address: what the system or libp2p said`.
    fn of_attempt(attempt: &str) -> Self {
        let (address, said) = attempt.split_once(": ").unwrap_or(("", attempt));
        let lower = said.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&["refused"]) {
            Self::Refused
        } else if has(&["unreachable", "no route"]) {
            Self::NoRoute
        } else if address.contains("/dns")
            && has(&[
                "record",
                "lookup",
                "look up",
                "resol",
                "proto error",
                "nameserver",
                "request timed out",
            ])
        {
            Self::Name
        } else if has(&["timeout", "timed out"]) {
            Self::Silent
        } else {
            Self::Said(said.to_owned())
        }
    }

    fn words(&self, private: bool) -> String {
        match self {
            Self::Name => "its name cannot be looked up".to_owned(),
            Self::Refused => "the machine is there, but no peer listens on that port".to_owned(),
            Self::Silent => format!("nothing answers there within {} s: it is off, or a firewall is in between", DIAL.as_secs()),
            Self::NoRoute => "this machine knows no way to it".to_owned(),
            Self::Other(found) => format!("another peer answers there: {found}"),
            Self::Strange if private => {
                "something answers there, but not with the key of this private network: it has another key or none".to_owned()
            }
            Self::Strange => {
                "something answers there, but not as a peer of the public network: another program, or a private network, which \
                 has a key"
                    .to_owned()
            }
            Self::NoAddress => "no address of it is known that can be dialled from here".to_owned(),
            Self::Said(said) => said.clone(),
        }
    }

    fn next(&self, private: bool) -> String {
        match self {
            Self::Name => "mend the name server of this machine, or put the IP address in place of the name in network.bootstrap",
            Self::Refused => "start the node there, or take that address out of network.bootstrap",
            Self::Silent => "see whether the machine is on and its firewall lets the port through, or take it out of network.bootstrap",
            Self::NoRoute => "connect this machine to that network: `ip route` shows where it can go",
            Self::Other(_) => "ask whoever runs it for its address of now, which ends in its id, and put that into network.bootstrap",
            Self::Strange if private => {
                "compare the fingerprints that `odfs key swarm` prints here and there; to be in that network, copy its swarm.key \
                 into the workspace here"
            }
            Self::Strange => {
                "check the port in the address; to be in a private network, copy its swarm.key into the workspace here"
            }
            Self::NoAddress | Self::Said(_) => "check the address, and that a node runs there (`odfs status` there)",
        }
        .to_owned()
    }

    /// Both, for a sentence about somebody else than a bootstrap host.
    pub(super) fn said(&self, private: bool) -> String {
        self.words(private)
    }
}

/// A host, and what came of dialling it.
#[derive(Clone, Debug)]
pub(super) struct Dialled {
    pub(super) host: Host,
    pub(super) outcome: Result<Duration, Trouble>,
}

/// Those by whom a peer joins the network here, itself left out.
///
/// # Errors
/// A setting is no address.
pub(super) fn to_dial(
    session: &Session,
    key: Option<&NetworkKey>,
    inside: Option<&Inside>,
) -> Result<Vec<Host>, Failure> {
    // Without room for a key there is no peer of this machine yet.
    let own = session.own_peer_id().ok();
    let mut listed = session.bootstrap_addresses(key)?;
    // Without the store there is no dataset either.
    listed.extend(session.later_bootstrap_addresses().unwrap_or_default());
    let mut hosts: Vec<Host> = by_peer(listed)
        .into_iter()
        .map(|(peer, addresses)| Host::new(Source::Listed, peer, addresses))
        .collect();
    let remembered = session
        .workspace()
        .ok()
        .and_then(|workspace| odf_node::peer::remembered(workspace.store(), key, MAX_OTHERS).ok());
    let connected = inside.into_iter().flat_map(|inside| &inside.peers);
    let connected = connected.filter(|peer| peer.dialled_by_us).take(MAX_OTHERS);
    let others = remembered
        .unwrap_or_default()
        .into_iter()
        .chain(connected.map(|peer| (peer.peer, peer.addresses.clone())));
    for (peer, addresses) in others {
        if hosts.iter().all(|host| host.peer != Some(peer)) {
            hosts.push(Host::new(Source::Remembered, Some(peer), addresses));
        }
    }
    hosts.retain(|host| own.is_none() || host.peer != own);
    Ok(hosts)
}

/// How far dialling has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Joined {
    pub(super) answered: usize,
    pub(super) done: bool,
}

/// Where [`dial`] says how far it is, and where that is read.
pub(super) fn progress() -> (watch::Sender<Joined>, watch::Receiver<Joined>) {
    watch::channel(Joined::default())
}

/// Dials all of them at once, from a peer that is connected to none of them.
pub(super) async fn dial(
    hosts: Vec<Host>,
    stranger: &Node,
    progress: &watch::Sender<Joined>,
    until: Instant,
) -> Vec<Dialled> {
    let tries = hosts.into_iter().map(|host| async move {
        let outcome = reach(stranger, host.peer, &host.addresses, until).await;
        if outcome.is_ok() {
            progress.send_modify(|joined| joined.answered += 1);
        }
        Dialled { host, outcome }
    });
    let dialled = join_all(tries).await;
    progress.send_modify(|joined| joined.done = true);
    dialled
}

/// Connects to one peer, and says how long that took or what is in the way.
pub(super) async fn reach(
    stranger: &Node,
    peer: Option<PeerId>,
    addresses: &[Multiaddr],
    until: Instant,
) -> Result<Duration, Trouble> {
    let begun = Instant::now();
    let dialling = async {
        match (peer, addresses.first()) {
            (Some(peer), _) => stranger.dial_any(peer, addresses.to_vec()).await,
            (None, Some(address)) => stranger.dial(address.clone()).await,
            (None, None) => Err(DialError::NoAddresses),
        }
    };
    let trouble = match timeout_at(until.min(begun + DIAL), dialling).await {
        Ok(Ok(_)) => return Ok(begun.elapsed()),
        Ok(Err(error)) => Trouble::of(&error),
        Err(_) => Trouble::Silent,
    };
    let unclear = matches!(trouble, Trouble::Silent | Trouble::Said(_));
    match unclear && answers(addresses).await {
        true => Err(Trouble::Strange),
        false => Err(trouble),
    }
}

/// Whether anything takes a connection at one of the addresses.
async fn answers(addresses: &[Multiaddr]) -> bool {
    let knocks = addresses
        .iter()
        .filter_map(socket_address)
        .map(|address| async move { matches!(timeout(KNOCK, TcpStream::connect(address)).await, Ok(Ok(_))) });
    join_all(knocks).await.contains(&true)
}

/// The TCP address that `address` is by itself: none of a name, none through a relay.
fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.any(|part| part == Protocol::P2pCircuit)) {
        (Protocol::Tcp(port), false) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// What dialling means.
pub(super) fn judge(dialled: &[Dialled], private: bool) -> Vec<Finding> {
    let of = |source| dialled.iter().filter(move |one| one.host.source == source);
    let anybody = dialled.iter().any(|one| one.outcome.is_ok());
    let mut findings = Vec::new();
    for (source, check) in [(Source::Listed, "bootstrap"), (Source::Ticket, "ticket")] {
        for one in of(source) {
            let finding = match &one.outcome {
                Ok(took) => Finding::ok(check, format!("answers in {} ms", took.as_millis())),
                Err(trouble) => Finding::failed(check, trouble.words(private), trouble.next(private)),
            };
            let finding = if anybody { finding.harmless() } else { finding };
            findings.push(finding.about(one.host.label()));
        }
    }
    let remembered = of(Source::Remembered).count();
    let well = of(Source::Remembered).filter(|one| one.outcome.is_ok()).count();
    let first = of(Source::Remembered).find_map(|one| one.outcome.as_ref().err());
    match (remembered, well, first) {
        (0, ..) if of(Source::Listed).next().is_none() => findings.push(Finding::skipped(
            "bootstrap",
            "no peer is known here by which the network could be joined: none is in network.bootstrap, and none remembered; \
             those on the local network are found by themselves",
        )),
        (0, ..) => {}
        (all, 0, Some(trouble)) => {
            let finding = Finding::failed(
                "remembered",
                format!("none of {all} peers that are remembered or connected answers; of one: {}", trouble.words(private)),
                trouble.next(private),
            );
            findings.push(if anybody { finding.harmless() } else { finding });
        }
        (all, ..) => findings.push(Finding::ok(
            "remembered",
            format!("{well} of {all} peers that are remembered or connected answer"),
        )),
    }
    findings
}

/// The addresses from which this machine would speak to the internet, over IPv4 and IPv6.
pub(super) fn routes() -> [io::Result<IpAddr>; 2] {
    // Addresses of the documentation: nothing is sent to them, the system only says which way it would go.
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")].map(|(from, to)| {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        Ok(socket.local_addr()?.ip())
    })
}

pub(super) fn judge_routes(routes: &[io::Result<IpAddr>; 2], reached: bool) -> Finding {
    let of = |route: &io::Result<IpAddr>, what: &str| match route {
        Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => Ok(format!("{what} from {ip}")),
        Ok(_) => Err(format!("{what}: no address but those of this machine alone")),
        Err(error) => Err(format!("{what}: {error}")),
    };
    let [v4, v6] = routes;
    match (of(v4, "IPv4"), of(v6, "IPv6")) {
        (Ok(v4), Ok(v6)) => Finding::ok("network", format!("{v4}, {v6}")),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Finding::ok("network", one),
        (Err(v4), Err(v6)) => {
            let finding = Finding::failed(
                "network",
                format!("this machine has no way to the internet ({v4}; {v6})"),
                "plug in the cable or join the Wi-Fi; `ip addr` and `ip route` show what the machine has",
            );
            if reached { finding.harmless() } else { finding }
        }
    }
}

/// The names in addresses of hosts that are looked up to see whether that works.
pub(super) fn host_names(hosts: &[Host]) -> Vec<String> {
    let mut seen = HashSet::new();
    let parts = hosts.iter().flat_map(|host| &host.addresses).flat_map(Multiaddr::iter);
    let names = parts.filter_map(|part| match part {
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) | Protocol::Dnsaddr(name) => {
            Some(name.into_owned())
        }
        _ => None,
    });
    names.filter(|name| seen.insert(name.clone())).take(MAX_NAMES).collect()
}

/// A name, and whether a name server said anything of it, were it that there is no such name.
pub(super) type LookedUp = (String, Result<(), String>);

/// Has the system look names up.
pub(super) async fn look_up(names: Vec<String>, until: Instant) -> Vec<LookedUp> {
    let until = until.min(Instant::now() + LOOK_UP);
    let asked = names.into_iter().map(|name| async move {
        let (reply, answer) = oneshot::channel();
        let text = name.clone();
        // A thread of its own: the system may take half a minute, and nobody can stop it.
        let started = thread::Builder::new().name("names".to_owned()).spawn(move || {
            let _ = reply.send((text.as_str(), 0).to_socket_addrs().map(drop));
        });
        let said = match (started, timeout_at(until, answer).await) {
            (Ok(_), Ok(Ok(answer))) => answer.map_err(|error| error.to_string()),
            _ => Err(format!("no answer within {} s", LOOK_UP.as_secs())),
        };
        (
            name,
            said.or_else(|said| if is_an_answer(&said) { Ok(()) } else { Err(said) }),
        )
    });
    join_all(asked).await
}

/// Whether the system says that there is no such name, as opposed to that nobody could be asked.
fn is_an_answer(said: &str) -> bool {
    !said.contains("Temporary failure") && !said.contains("no answer") && !said.contains("System error")
}

pub(super) fn judge_dns(looked_up: &[LookedUp]) -> Option<Finding> {
    let (name, said) = looked_up.iter().find(|(_, said)| said.is_err()).or(looked_up.first())?;
    Some(match said {
        Ok(()) => Finding::ok("names", "a name server answers"),
        Err(reason) => Finding::warning(
            "names",
            format!("no name server answers, asked for {name}: {reason}"),
            "see /etc/resolv.conf and the router; hosts with IP addresses in network.bootstrap are found without",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn unreachable(reason: &str) -> Trouble {
        Trouble::of(&DialError::Unreachable {
            reason: reason.to_owned(),
        })
    }

    fn listed(outcome: Result<Duration, Trouble>) -> Dialled {
        Dialled {
            host: Host {
                source: Source::Listed,
                peer: None,
                addresses: vec!["/ip4/192.0.2.7/tcp/4001".parse().unwrap()],
            },
            outcome,
        }
    }

    #[test]
    fn what_was_said_of_a_dial_becomes_a_kind_of_trouble() {
        assert_eq!(
            unreachable("/ip4/1.2.3.4/tcp/1: Connection refused (os error 111)"),
            Trouble::Refused
        );
        assert_eq!(
            unreachable("/ip4/1.2.3.4/tcp/1: Timeout has been reached"),
            Trouble::Silent
        );
        assert_eq!(
            unreachable("/ip4/1.2.3.4/tcp/1: Network is unreachable (os error 101)"),
            Trouble::NoRoute
        );
        assert_eq!(
            unreachable("/dns4/a.example/tcp/1: no records found for Query"),
            Trouble::Name
        );
        assert_eq!(unreachable("/dns4/a.example/tcp/1: request timed out"), Trouble::Name);
        // The one that got farthest.
        assert_eq!(
            unreachable("/dnsaddr/a.example: request timed out; /ip4/1.2.3.4/tcp/1: Connection refused (os error 111)"),
            Trouble::Refused
        );
        assert!(matches!(
            unreachable("/ip4/1.2.3.4/tcp/1: end of file"),
            Trouble::Said(_)
        ));
        let found = PeerId::random();
        let address = "/ip4/1.2.3.4/tcp/1".parse().unwrap();
        assert_eq!(
            Trouble::of(&DialError::OtherPeer { found, address }),
            Trouble::Other(found)
        );
    }

    #[test]
    fn a_dead_host_is_wrong_only_if_nobody_else_answers() {
        let dead = || listed(Err(Trouble::Refused));
        let alone = judge(&[dead()], false);
        assert!(alone[0].is_failed() && alone[0].next.is_some(), "{}", alone[0]);
        let beside = judge(&[dead(), listed(Ok(Duration::from_millis(3)))], false);
        assert_eq!(
            beside.iter().map(|one| one.state).collect::<Vec<_>>(),
            [State::Warning, State::Ok]
        );
        assert_eq!(judge(&[], false)[0].state, State::Skipped);
        let mut remembered = dead();
        remembered.host.source = Source::Remembered;
        assert!(judge(&[remembered], false)[0].is_failed());
    }

    #[test]
    fn another_key_is_told_by_each_side_as_it_sees_it() {
        let strange = [listed(Err(Trouble::Strange))];
        let private = judge(&strange, true).remove(0);
        assert!(
            private.found.contains("not with the key of this private network"),
            "{private}"
        );
        assert!(private.next.unwrap().contains("odfs key swarm"));
        let public = judge(&strange, false).remove(0);
        assert!(public.found.contains("a private network, which has a key"), "{public}");
    }

    #[test]
    fn no_way_out_is_wrong_unless_somebody_near_answers() {
        let none = || {
            [
                Err(io::Error::other("unreachable")),
                Err(io::Error::other("unreachable")),
            ]
        };
        assert!(judge_routes(&none(), false).is_failed());
        assert_eq!(judge_routes(&none(), true).state, State::Warning);
        let one = [Ok("10.0.0.2".parse().unwrap()), Err(io::Error::other("unreachable"))];
        assert_eq!(judge_routes(&one, false), Finding::ok("network", "IPv4 from 10.0.0.2"));
    }

    #[test]
    fn a_name_that_is_not_there_is_an_answer_of_a_name_server() {
        assert!(is_an_answer(
            "failed to lookup address information: Name or service not known"
        ));
        assert!(!is_an_answer(
            "failed to lookup address information: Temporary failure in name resolution"
        ));
        assert_eq!(judge_dns(&[]), None);
        let dead = ("a.example".to_owned(), Err("no answer within 5 s".to_owned()));
        assert_eq!(judge_dns(&[dead]).unwrap().state, State::Warning);
        let hosts = [
            listed(Ok(Duration::ZERO)).host,
            Host {
                source: Source::Listed,
                peer: None,
                addresses: vec![
                    "/dns4/a.example/tcp/1".parse().unwrap(),
                    "/dnsaddr/b.example".parse().unwrap(),
                ],
            },
        ];
        assert_eq!(host_names(&hosts), ["a.example", "b.example"]);
    }
}
