//! Peers that mean harm, and an honest one that measures what they do to it. Tests run them beside a node:
//!
//! `hostile ATTACK --at MULTIADDR --from IP [--KEY VALUE]…` says `ready` once the attack is under way and goes on until it is
//! stopped, at most [`LONGEST`]. Each process speaks from one address of the loopback network, so that a test says which
//! attackers share an IP group. `hostile neighbour` fetches as everybody does, prints its times as JSON and ends.

mod blocks;
mod claims;
mod crowd;
mod dags;
mod fill;
mod half;
mod halves;
mod http;
mod identify;
mod idle;
mod kad;
mod neighbour;
mod records;
mod takers;
mod wants;
mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use interop_tests::{Failure, bitswap, protobuf};
use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};

/// However it was left behind, an attack ends after this.
const LONGEST: Duration = Duration::from_secs(120);

/// Whom to attack and how, as typed.
pub(crate) struct Orders {
    /// The node, over TCP.
    pub(crate) at: SocketAddr,
    /// Who it is.
    pub(crate) peer: PeerId,
    /// The address that connections come from.
    pub(crate) from: Ipv4Addr,
    more: HashMap<String, String>,
}

impl Orders {
    fn read(args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut more = HashMap::new();
        let mut args = args.peekable();
        while let Some(key) = args.next() {
            let key = key.strip_prefix("--").ok_or("options begin with --")?.to_owned();
            more.insert(key, args.next().unwrap_or_default());
        }
        let at: Multiaddr = more.get("at").ok_or("--at MULTIADDR")?.parse().map_err(text)?;
        let (mut ip, mut port, mut peer) = (None, None, None);
        for part in &at {
            match part {
                Protocol::Ip4(found) => ip = Some(IpAddr::from(found)),
                Protocol::Tcp(found) => port = Some(found),
                Protocol::P2p(found) => peer = Some(found),
                _ => {}
            }
        }
        let at = SocketAddr::new(ip.ok_or("an IPv4 address")?, port.ok_or("a TCP port")?);
        let from = more.get("from").map_or(Ok(Ipv4Addr::LOCALHOST), |from| from.parse());
        Ok(Self {
            at,
            peer: peer.ok_or("a peer id")?,
            from: from.map_err(text)?,
            more,
        })
    }

    /// What `--key` says.
    pub(crate) fn text(&self, key: &str) -> Result<&str, Failure> {
        let said = self.more.get(key).map(String::as_str);
        said.ok_or_else(|| Failure::new(format!("--{key} is missing")))
    }

    /// The number that `--key` says, or another.
    pub(crate) fn number(&self, key: &str, otherwise: usize) -> Result<usize, Failure> {
        self.more
            .get(key)
            .map_or(Ok(otherwise), |said| said.parse())
            .map_err(text)
    }
}

/// Tells the test that the attack is under way.
#[allow(clippy::print_stdout)] // what a program is asked for
pub(crate) fn ready() {
    println!("ready");
}

pub(crate) fn text(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

async fn run(attack: &str, orders: &Orders) -> Result<(), Failure> {
    match attack {
        "claims" => claims::run(orders).await,
        "dags" => dags::run(orders).await,
        "fill" => fill::run(orders).await,
        "half" => half::run(orders).await,
        "http" => http::run(orders).await,
        "blocks" => blocks::run(orders).await,
        "halves" => halves::run(orders).await,
        "takers" => takers::run(orders).await,
        "idle" => idle::run(orders).await,
        "wants" => wants::run(orders).await,
        "providers" => records::providers(orders).await,
        "names" => records::names(orders).await,
        "questions" => records::questions(orders).await,
        "provides" => records::provides(orders).await,
        "holders" => records::holders(orders).await,
        "publishes" => records::publishes(orders).await,
        "neighbour" => neighbour::run(orders).await,
        other => Err(Failure::new(format!("there is no attack called {other}"))),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let attack = args.next().unwrap_or_default();
    let done = match Orders::read(args) {
        Ok(orders) => tokio::time::timeout(LONGEST, run(&attack, &orders)).await,
        Err(failure) => Ok(Err(failure)),
    };
    match done {
        Ok(Ok(())) | Err(_) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            #[allow(clippy::print_stderr)] // where a program says why it failed
            {
                eprintln!("{attack}: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}
