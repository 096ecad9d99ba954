//! Where a node is reached over HTTP, and how that is said.

use std::net::SocketAddr;
use std::path::PathBuf;

use odf::disk::{Access, Disk};
use odf_node::peer::Node;

use crate::commands::ipfs;
use crate::failure::Failure;
use crate::session::Session;

/// The addresses that it listens on.
#[derive(Clone, Copy, Default)]
pub(super) struct Addresses {
    /// The gateway and the repository.
    pub(super) gateway: Option<SocketAddr>,
    /// The same by HTTPS.
    pub(super) secure: Option<SocketAddr>,
    /// Buckets of S3.
    pub(super) s3: Option<SocketAddr>,
    /// Kubo's RPC.
    pub(super) api: Option<SocketAddr>,
}

impl Addresses {
    /// All of it with who the peer is, one `key: value` a line.
    pub(super) fn greeting(self, session: &Session, node: &Node) -> Vec<String> {
        let mut lines = vec![format!("Peer: {}", node.peer_id())];
        lines.extend(node.listen_addrs().iter().map(|address| format!("Address: {address}")));
        if let Some(address) = self.gateway {
            lines.push(format!("Gateway: http://{address}/"));
            lines.extend(self.secure.map(|address| format!("HTTPS: https://{address}/")));
            lines.push(match session.settings().public_url() {
                Some(url) => format!("Repository: odf+{url}"),
                None => format!("Repository: odf+http://{address}/"),
            });
        }
        lines.extend(self.s3.map(|address| format!("S3: http://{address}/")));
        lines.extend(self.api.map(|address| format!("RPC: http://{address}/api/v0")));
        lines
    }

    /// What Kubo's daemon says: programs that start it wait for the last line, or read where the gateway is.
    pub(super) fn kubo_greeting(self, node: &Node) -> Vec<String> {
        let mut lines = vec![ipfs::release(), format!("PeerID: {}", node.peer_id())];
        let swarm = node.listen_addrs();
        lines.extend(swarm.iter().map(|address| format!("Swarm listening on {address}")));
        let servers = [("RPC API", self.api), ("Gateway", self.gateway)];
        lines.extend(servers.into_iter().filter_map(|(name, address)| {
            let address = ipfs::multiaddr_of(&address?.to_string());
            Some(format!("{name} server listening on {address}"))
        }));
        lines.push("Daemon is ready".to_owned());
        lines
    }

    /// Files in the workspace that say so, as those in the repository of Kubo do, for as long as what is returned is kept.
    pub(super) fn tell(self, session: &Session) -> Result<Vec<Told<'_>>, Failure> {
        let gateway = self.gateway.map(|address| ("gateway", format!("http://{address}")));
        let api = self
            .api
            .map(|address| ("api", ipfs::multiaddr_of(&address.to_string())));
        let files = gateway.into_iter().chain(api);
        files
            .map(|(name, text)| {
                let (file, disk) = (session.root().join(name), session.disk());
                disk.replace(&file, text.as_bytes(), Access::Readable)?;
                Ok(Told { file, disk })
            })
            .collect()
    }
}

/// A file that goes when this does.
pub(super) struct Told<'a> {
    file: PathBuf,
    disk: &'a Disk,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove_file(&self.file) {
            tracing::debug!(%error, "a file that said where this node was");
        }
    }
}
