//! `odfs node`, and the serving that a publish goes on with.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use clap::Args;
use odf::SharedOnly;
use odf::elsewhere;
use odf::receive::Arrived;
use odf::repository::server;
use odf::retention::retain;
use odf_node::gateway::{self, PeerSource};
use odf_node::peer::Node;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::dial::dial;
use super::place::After;
use super::{batch, safety};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Progress, Step};
use crate::output;
use crate::session::{Session, spread};

/// How often the status line is drawn anew.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How often others are looked for who have what is published here.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Run the peer, the HTTP gateway and the repository until stopped
///
/// Serves the blocks of the workspace to other peers that know them, keeps the names that are published or followed here
/// alive, and answers `/ipfs/…` and `/ipns/…` on gateway.listen. The same address is an ODF repository: odfs and kamu pull
/// what is shared from `odf+http://ADDRESS/DATASET` (`odfs share`), and the rest, and push there, with a token (`odfs repo
/// token add`). Other odfs commands on this workspace work through it, each with the environment and the settings of
/// whoever runs it.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Address of a peer to connect to, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
}

/// Connects to the peers that were named, before it serves. One that is not there now is only told.
pub(super) fn run(args: &NodeArgs, session: &Session, io: &mut Io) -> Result<After, Failure> {
    if args.peers.is_empty() {
        return Ok(After::Serve { gateway: true });
    }
    match dial(&args.peers, session, io) {
        Err(failure) if failure.kind() == Kind::Unreachable => {
            io.warn(format_args!("{}; it is served without that peer", failure.message()));
        }
        dialled => {
            dialled?;
        }
    }
    Ok(After::Serve { gateway: true })
}

/// Serves until told to stop.
///
/// # Errors
/// The peer or the gateway cannot start; being told to stop is an interruption.
pub(crate) fn serve(session: &Session, with_gateway: bool, io: &mut Io) -> Result<(), Failure> {
    let served = serve_until_stopped(session, with_gateway, io);
    batch::settle(session);
    served
}

fn serve_until_stopped(session: &Session, with_gateway: bool, io: &mut Io) -> Result<(), Failure> {
    let listener = with_gateway.then(|| listen(session)).transpose()?;
    let node = session.node()?;
    // Where everything is, one `key: value` a line.
    let mut lines = vec![format!("Peer: {}", node.peer_id())];
    lines.extend(node.listen_addrs().iter().map(|address| format!("Address: {address}")));
    if let Some((_, address)) = &listener {
        lines.push(format!("Gateway: http://{address}/"));
        lines.push(match &session.settings().gateway_url {
            Some(url) => format!("Repository: odf+{url}"),
            None => format!("Repository: odf+http://{address}/"),
        });
    }
    if let Some((_, address)) = &listener {
        session.set_gateway(*address);
    }
    session.set_lasting();
    for line in lines {
        if with_gateway {
            io.line(line)?;
        } else {
            io.say(line);
        }
    }
    io.finish()?;
    let server = match listener {
        Some((listener, _)) => {
            let workspace = session.workspace()?;
            let source = PeerSource::new(workspace.store().clone(), node);
            let source = SharedOnly::new(source, workspace.catalog().clone());
            let gateway = gateway::router(source, gateway::Options::default());
            let router = repository(session, node, gateway)?;
            let stop = io.cancel().clone();
            Some(
                session
                    .runtime()?
                    .spawn(async move { gateway::serve(listener, router, async move { stop.wait().await }).await }),
            )
        }
        None => None,
    };
    batch::resume(session);
    let progress = io.progress().clone();
    let ended = async {
        match server {
            Some(server) => match server.await {
                Ok(Err(error)) => Err(Failure::from(error).about("the gateway stopped")),
                _ => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    let outcome: Result<(), Failure> = session.wait(io, async {
        tokio::select! {
            ended = ended => ended,
            () = show_status(node, &progress) => Ok(()),
            () = batch::upkeep(session) => Ok(()),
            () = look_elsewhere(session, node) => Ok(()),
        }
    });
    progress.clear();
    // The last chance to be told whether the machine may be switched off.
    match safety::look(None, safety::LOOK_AT_END, session).and_then(|()| safety::of(session)) {
        Ok(Some(sentence)) => io.say(sentence),
        Ok(None) => {}
        Err(failure) => tracing::warn!(reason = failure.message(), "whether the names are safe cannot be told"),
    }
    outcome
}

/// The workspace as a repository; what it does not answer goes to the gateway.
fn repository(session: &Session, node: &Node, gateway: server::Router) -> Result<server::Router, Failure> {
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
            Ok(root) => spread(&node, &runtime, &root.map(|root| root.entities()).unwrap_or_default()),
            Err(error) => tracing::warn!(%error, "a dataset that was pushed here is not announced"),
        }
    };
    let options = server::Options {
        public_url: session.settings().gateway_url.clone(),
        proxies: session.settings().gateway_proxies.clone(),
        on_arrived: Some(Arc::new(on_arrived)),
    };
    Ok(server::router(
        workspace.datasets().clone(),
        session.tokens(),
        session.pushes(),
        options,
        gateway,
    ))
}

fn listen(session: &Session) -> Result<(TcpListener, std::net::SocketAddr), Failure> {
    let address = &session.settings().gateway_listen;
    let bound = session.runtime()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(
            Kind::PortInUse,
            format!("{address}, the address of the gateway, is in use by another program"),
        )
        .next("stop that program, or choose another address: odfs config set gateway.listen 127.0.0.1:8081"),
        _ => Failure::from(error).about(format!("listening on {address}")),
    })
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
