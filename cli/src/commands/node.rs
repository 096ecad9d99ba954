//! `odfs node`, and the serving that a publish goes on with.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use clap::Args;
use odf::SharedOnly;
use odf::receive::Arrived;
use odf::repository::server;
use odf::retention::retain;
use odf_node::gateway::{self, PeerSource};
use odf_node::peer::Node;
use tokio::net::TcpListener;

use super::{batch, safety};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Progress, Step};
use crate::output;
use crate::session::{Session, spread};

/// How often the status line is drawn anew.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Run the peer, the HTTP gateway and the repository until stopped
///
/// Serves the blocks of the workspace to other peers that know them, keeps the names that are published or followed here
/// alive, and answers `/ipfs/…` and `/ipns/…` on gateway.listen. The same address is an ODF repository: odfs and kamu pull
/// what is shared from `odf+http://ADDRESS/DATASET` (`odfs share`), and the rest, and push there, with a token (`odfs repo
/// token add`). Other odfs commands on this workspace work through it, each with the environment and the settings of
/// whoever runs it.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {}

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
        }
    });
    progress.clear();
    // The last chance to be told whether the machine may be switched off.
    match odf_node::ipns::kept(session.workspace()?.store()) {
        Ok(names) => {
            if let Some(sentence) = safety::sentence(&names, SystemTime::now()) {
                io.say(sentence);
            }
        }
        Err(error) => tracing::warn!(%error, "whether the names are safe cannot be told"),
    }
    outcome
}

/// The workspace as a repository; what it does not answer goes to the gateway.
fn repository(session: &Session, node: &Node, gateway: server::Router) -> Result<server::Router, Failure> {
    let workspace = session.workspace()?.clone();
    let (node, runtime) = (node.clone(), session.runtime()?.handle().clone());
    let (retention, pins) = (session.settings().retention.clone(), workspace.clone());
    let on_arrived = move |arrived: &Arrived| {
        if let Err(error) = retain(pins.local(), &arrived.dataset, &retention, SystemTime::now()) {
            tracing::warn!(%error, "older roots of a dataset that was pushed here stay pinned");
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
                    text.push_str(&format!(" · names safe until {at} without this node"));
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
