//! `odfs node`, and the serving that a publish goes on with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use clap::Args;
use futures::future::OptionFuture;
use odf::SharedOnly;
use odf::elsewhere;
use odf::pull::id_of;
use odf::receive::Arrived;
use odf::repository::server;
use odf::retention::retain;
use odf::workspace::Workspace;
use odf_doors::{Doors, Entrance, Hosts, raise_descriptors};
use odf_node::delegated;
use odf_node::gateway::{self, Audience, DnsLinks, LocalSource, PeerSource};
use odf_node::peer::Node;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

mod addresses;
mod bind;
mod form;
mod metrics;
mod monitoring;
mod rpc;
pub(super) mod service;
mod tls;

use self::addresses::Addresses;
use self::bind::bind;
pub(crate) use self::rpc::Calls;
use super::dial::dial;
use super::place::{After, Gateway, Greeting};
use super::{batch, follow, ipfs, room, safety};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Progress, Step};
use crate::output;
use crate::session::{Session, spread_dataset};

/// How often the status line is drawn anew.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Messages about what goes on beside that wait to be shown.
const MAX_MESSAGES: usize = 8;
/// How often others are looked for who have what is published here.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Run the peer, the HTTP gateway and the repository until stopped
///
/// Serves the blocks of the workspace to other peers that know them, keeps the names that are published or followed here
/// alive, brings what is new in datasets that are followed (`odfs follow`), and answers `/ipfs/…` and `/ipns/…` on gateway.listen. The same address is an ODF repository: odfs and kamu pull
/// what is shared from `odf+http://ADDRESS/DATASET` (`odfs share`), and the rest, and push there, with a token (`odfs repo
/// token add`). It answers to addresses, to localhost, to the name of this machine and to those of gateway.url and
/// gateway.hosts. What is not here it gets from peers for programs on this machine (gateway.fetch), and keeps some of it in
/// memory for a while. Other odfs commands on this workspace work through it, each with the environment and the settings of
/// whoever runs it.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Address of a peer to connect to, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    /// Let the gateway serve only what is here, whatever gateway.fetch says
    #[arg(long)]
    no_fetch: bool,
    /// Help others to be reached: relay connections between peers behind routers, and tell peers at which addresses they are
    /// seen. For a machine that everybody reaches; docs/how-to/public-node.md says what it may cost
    #[arg(long)]
    public: bool,
    /// Print a systemd unit that runs this node at each start of the machine, and end
    #[arg(long, conflicts_with_all = ["peers", "no_fetch", "public"])]
    service: bool,
}

impl NodeArgs {
    /// Whether nothing is to be run.
    pub(super) fn prints_service(&self) -> bool {
        self.service
    }
}

/// Connects to the peers that were named, before it serves. One that is not there now is only told.
pub(super) fn run(args: &NodeArgs, session: &Session, io: &mut Io) -> Result<After, Failure> {
    if args.public {
        session.set_public();
    }
    let serving = After::Serve {
        gateway: Some(Gateway {
            fetch: !args.no_fetch,
            greeting: Greeting::Odfs,
        }),
    };
    if args.peers.is_empty() {
        return Ok(serving);
    }
    match dial(&args.peers, session, io) {
        Err(failure) if failure.kind() == Kind::Unreachable => {
            io.warn(format_args!("{}; it is served without that peer", failure.message()));
        }
        dialled => {
            dialled?;
        }
    }
    Ok(serving)
}

/// Serves until told to stop.
///
/// # Errors
/// The peer or the gateway cannot start; being told to stop is an interruption.
pub(crate) fn serve(session: &Session, gateway: Option<Gateway>, calls: Calls, io: &mut Io) -> Result<(), Failure> {
    let served = serve_until_stopped(session, gateway, calls, io);
    batch::settle(session);
    served
}

/// Has the system get back, a second later, what is free again: otherwise a thread does that with its own, when it next
/// takes some, and those of a node are idle for hours.
fn give_memory_back() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::debug!("the allocator starts no thread of its own: {error}");
    }
}

fn serve_until_stopped(session: &Session, gateway: Option<Gateway>, calls: Calls, io: &mut Io) -> Result<(), Failure> {
    raise_descriptors();
    give_memory_back();
    let settings = session.settings();
    let listener = gateway
        .map(|_| bind(session, &settings.gateway_listen, "gateway.listen"))
        .transpose()?;
    let secure = gateway.map(|_| tls::open(session)).transpose()?.flatten();
    let buckets = gateway.and(settings.gateway_s3.as_ref());
    let buckets = buckets
        .map(|address| bind(session, address, "gateway.s3"))
        .transpose()?;
    let as_kubo = gateway.is_some_and(|gateway| gateway.greeting == Greeting::Kubo);
    let default_api = as_kubo.then_some(ipfs::DEFAULT_API);
    let api = gateway.and(settings.api_listen.or(default_api));
    let api = api
        .map(|address| bind(session, &address.to_string(), "api.listen"))
        .transpose()?;
    let node = session.node()?;
    let at = |listener: &Option<(TcpListener, SocketAddr)>| listener.as_ref().map(|(_, address)| *address);
    let at = Addresses {
        gateway: at(&listener),
        secure: secure.as_ref().map(|(_, address, _)| *address),
        s3: at(&buckets),
        api: at(&api),
    };
    let lines = match as_kubo {
        true => at.kubo_greeting(node),
        false => at.greeting(session, node),
    };
    let _told = at.tell(session)?;
    if let Some(address) = at.gateway {
        session.set_gateway(address);
    }
    session.set_lasting();
    for line in lines {
        if gateway.is_some() {
            io.line(line)?;
        } else {
            io.say(line);
        }
    }
    io.finish()?;
    let (encrypted, secure) = match secure {
        Some((entrance, _, secure)) => (Some(entrance), Some(secure)),
        None => (None, None),
    };
    let server = match listener.zip(gateway) {
        Some(((listener, _), Gateway { fetch, .. })) => {
            let workspace = session.workspace()?;
            let source = PeerSource::new(workspace.store().clone(), node).with_domains(domains(session));
            let source = SharedOnly::new(source, workspace.catalog().clone());
            let peers = settings
                .gateway_libp2p
                .then(|| serve_peers(session, node, workspace, io));
            let peers = peers.transpose()?;
            let monitoring = monitoring::router(session, node)?;
            let routing = delegated::router(node.clone(), routing_options(session));
            let repository = repository(session, node)?;
            let router = gateway::beside(source, options(session, fetch)?, |gateway| {
                repository.router(gateway.merge(monitoring).merge(routing))
            });
            let served = |entrances, router| {
                let (doors, stop) = (doors(session), io.cancel().clone());
                async move { odf_doors::serve(entrances, router, doors, async move { stop.wait().await }).await }
            };
            let entrances = std::iter::once(Entrance::plain(listener)).chain(encrypted).collect();
            let content = served(entrances, router);
            let buckets = buckets.map(|(listener, _)| served(vec![Entrance::plain(listener)], repository.s3()));
            Some(session.runtime()?.spawn(async move {
                tokio::join!(content, OptionFuture::from(buckets), OptionFuture::from(peers));
            }))
        }
        None => None,
    };
    if let Some((listener, _)) = api {
        let router = rpc::router(session.for_sender(io)?, calls);
        let stop = io.cancel().clone();
        let entrances = vec![Entrance::plain(listener)];
        let served = async move {
            odf_doors::serve(entrances, router, Doors::default(), async move { stop.wait().await }).await
        };
        session.runtime()?.spawn(served);
    }
    batch::resume(session);
    let progress = io.progress().clone();
    let ended = async {
        match server {
            Some(server) => match server.await {
                Err(error) if error.is_panic() => Err(Failure::new(Kind::General, "the gateway stopped")),
                _ => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    let denylist = session.denylist()?;
    let (tell, mut told) = mpsc::channel(MAX_MESSAGES);
    let mut work = Box::pin(async {
        tokio::select! {
            ended = ended => ended,
            () = show_status(node, &progress) => Ok(()),
            () = batch::upkeep(session) => Ok(()),
            () = look_elsewhere(session, node) => Ok(()),
            () = follow::upkeep::run(session, node) => Ok(()),
            () = session.stopping().wait() => Ok(()),
            () = denylist.watch() => Ok(()),
            () = room::keep(session) => Ok(()),
            () = keep_certificate(secure, node, tell) => Ok(()),
        }
    });
    let outcome = loop {
        let next = session.wait(io, async {
            tokio::select! {
                outcome = &mut work => outcome.map(|()| None),
                Some(message) = told.recv() => Ok::<_, Failure>(Some(message)),
            }
        });
        match next {
            Ok(Some(message)) => io.warn(message),
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    drop(work);
    progress.clear();
    // The last chance to be told whether the machine may be switched off.
    match safety::look(None, safety::LOOK_AT_END, session).and_then(|()| safety::of(session)) {
        Ok(Some(sentence)) => io.say(sentence),
        Ok(None) => {}
        Err(failure) => tracing::warn!(reason = failure.message(), "whether the names are safe cannot be told"),
    }
    outcome
}

/// Keeps the certificate new, if there is to be one. Never ends.
async fn keep_certificate(secure: Option<tls::Secure>, node: &Node, tell: mpsc::Sender<String>) {
    match secure {
        Some(secure) => secure.keep(node, &tell).await,
        None => std::future::pending().await,
    }
}

/// Answers other peers who speak HTTP, until the process is to stop.
fn serve_peers(
    session: &Session,
    node: &Node,
    workspace: &Workspace,
    io: &Io,
) -> Result<impl Future<Output = ()> + Send + use<>, Failure> {
    let source = LocalSource::new(workspace.store().clone(), node);
    let source = SharedOnly::new(source, workspace.catalog().clone());
    let router = gateway::for_peers(source, session.denylist()?.clone());
    let (streams, stop) = (node.http_streams(), io.cancel().clone());
    Ok(async move { odf_doors::serve_streams(streams, router, async move { stop.wait().await }).await })
}

/// How the gateway behaves by the settings; nobody has it ask peers unless `fetch`.
fn options(session: &Session, fetch: bool) -> Result<gateway::Options, Failure> {
    let settings = session.settings();
    let mut options = gateway::Options::default();
    options.proxies.clone_from(&settings.gateway_proxies);
    options.subdomains.clone_from(&settings.gateway_subdomains);
    options.sites.clone_from(&settings.gateway_sites);
    options.convert = settings.gateway_convert;
    options.denylist = session.denylist()?.clone();
    options.fetching = match fetch {
        true => monitoring::told_apart(settings.gateway_fetch, session),
        false => Audience::Nobody,
    };
    Ok(options)
}

/// For whom the DHTs are looked in, by the settings.
fn routing_options(session: &Session) -> delegated::Options {
    let settings = session.settings();
    delegated::Options {
        audience: monitoring::told_apart(settings.gateway_routing, session),
        proxies: settings.gateway_proxies.clone(),
    }
}

/// What domains stand for, by the settings and by DNS.
fn domains(session: &Session) -> DnsLinks {
    let fixed = session.settings().gateway_dnslinks.iter();
    let fixed = fixed.filter_map(|link| link.split_once('='));
    DnsLinks::system(fixed.map(|(domain, path)| (domain.to_owned(), path.to_owned())))
}

/// Who is let in, and under which names.
fn doors(session: &Session) -> Doors {
    let settings = session.settings();
    // The name of this machine is what its neighbours call it by.
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = machine.trim();
    let nearby = [machine.to_owned(), format!("{machine}.local")];
    let url = settings.public_url();
    let url = url.iter().filter_map(|url| url.host_str());
    let own = url.map(str::to_owned).chain(settings.gateway_domain.clone());
    let names = nearby.into_iter().chain(own);
    let content = settings.gateway_sites.iter().chain(&settings.gateway_subdomains);
    let names = names.chain(settings.gateway_hosts.iter().chain(content).cloned());
    let spaces = settings.gateway_subdomains.iter();
    let spaces = spaces.flat_map(|name| [format!("ipfs.{name}"), format!("ipns.{name}")]);
    Doors {
        hosts: Hosts::new(names).and_below(spaces),
        proxies: settings.gateway_proxies.clone(),
        other_host: "its owner adds names with `odfs config set gateway.hosts NAME,NAME`".to_owned(),
    }
}

/// The workspace as a repository.
fn repository(session: &Session, node: &Node) -> Result<server::Repository, Failure> {
    let workspace = session.workspace()?.clone();
    let (node, runtime) = (node.clone(), session.runtime()?.handle().clone());
    let (retention, pins) = (session.settings().retention.clone(), workspace.clone());
    let on_arrived = move |arrived: &Arrived| {
        match retain(pins.local(), &arrived.dataset, &retention, SystemTime::now()) {
            Ok(given_up) => {
                let (node, local) = (node.clone(), pins.local().clone());
                runtime.spawn(async move {
                    if let Err(error) = given_up.withdraw(&local, Some(&node)).await {
                        tracing::warn!(%error, "what was given up of a dataset is still announced");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "older roots of a dataset that was pushed here stay pinned"),
        }
        if !arrived.dataset.is_shared() {
            return;
        }
        match pins.layout().latest(&arrived.dataset.id()) {
            Ok(Some(root)) => spread_dataset(pins.local(), &node, &runtime, &arrived.dataset.id(), &root),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a dataset that was pushed here is not announced"),
        }
    };
    let options = server::Options {
        public_url: session.settings().public_url(),
        proxies: session.settings().gateway_proxies.clone(),
        on_arrived: Some(Arc::new(on_arrived)),
        dataset_of_key: Some(|name| id_of(&name.parse().ok()?)),
    };
    let datasets = workspace.datasets().clone();
    let (tokens, pushes) = (session.tokens(), session.pushes());
    Ok(server::Repository::new(datasets, tokens, pushes, options))
}

/// Looks from time to time who else has what is published here, so that it is known also where nobody asks. Never ends.
async fn look_elsewhere(session: &Session, node: &Node) {
    let mut tick = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    loop {
        tick.tick().await;
        if let (Ok(workspace), Ok(names)) = (session.workspace(), node.names().list().await) {
            elsewhere::look(workspace.local(), node, &names, safety::LOOK * 10).await;
        }
    }
}

/// Shows peers, what was served, and until when the names are safe. Never ends.
async fn show_status(node: &Node, progress: &Progress) {
    let mut tick = tokio::time::interval(STATUS_EVERY);
    loop {
        tick.tick().await;
        if !progress.is_watched() {
            continue;
        }
        let stats = node.exchange().stats();
        let mut text = format!(
            "{} peers · {} blocks served, {}",
            stats.peers,
            output::count(stats.blocks_sent),
            output::bytes(stats.bytes_sent)
        );
        if let Ok(names) = node.names().list().await {
            let own = || names.iter().filter(|name| name.own);
            let safe = own().map(|name| name.safe_until).min().flatten();
            match safe {
                Some(at) => {
                    let at = DateTime::<Utc>::from(at).format("%Y-%m-%d %H:%M");
                    text.push_str(&format!(" · names findable until {at} without this node"));
                }
                None if own().next().is_some() => text.push_str(" · nobody else keeps the names yet"),
                None => {}
            }
        }
        progress.show(|| Step {
            text,
            ..Step::default()
        });
    }
}
