//! Where the peer of a workspace listens, and whom it dials to join the network.

use odf_node::Multiaddr;
use odf_node::address::Protocol;
use odf_node::peer::{BOOTSTRAP_PEERS, DEFAULT_LISTEN, NetworkKey};

use super::{Session, bootstrap};
use crate::failure::Failure;

impl Session {
    /// Where the peer is to listen.
    ///
    /// # Errors
    /// A setting is no address, or none that a private network can use.
    pub(crate) fn listen_addresses(&self, key: Option<&NetworkKey>) -> Result<Vec<Multiaddr>, Failure> {
        let over_udp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Udp(_)));
        let Some(listen) = &self.settings.listen else {
            let mut all = parse_all("network.listen", &DEFAULT_LISTEN.map(str::to_owned))?;
            all.retain(|address| key.is_none() || !over_udp(address));
            return Ok(all);
        };
        let all = parse_all("network.listen", listen)?;
        match all.iter().find(|address| key.is_some() && over_udp(address)) {
            Some(address) => Err(Failure::usage(format!(
                "network.listen has {address}, and a private network is over TCP only"
            ))
            .next("leave it out: `odfs config set network.listen '[\"/ip4/0.0.0.0/tcp/4001\"]'`")),
            None => Ok(all),
        }
    }

    /// Who is dialled to join the network: in a private one nobody but those whom the user named.
    ///
    /// # Errors
    /// A setting is no address.
    pub(crate) fn bootstrap_addresses(&self, key: Option<&NetworkKey>) -> Result<Vec<Multiaddr>, Failure> {
        let well_known = || match key {
            Some(_) => Vec::new(),
            None => BOOTSTRAP_PEERS.map(str::to_owned).to_vec(),
        };
        let listed = self.settings.bootstrap.clone().unwrap_or_else(well_known);
        parse_all("network.bootstrap", &listed)
    }

    /// Who is dialled when none of those answers: the bootstrap peers of a dataset.
    ///
    /// # Errors
    /// The workspace cannot be opened.
    pub(crate) fn later_bootstrap_addresses(&self) -> Result<Vec<Multiaddr>, Failure> {
        let workspace = self.workspace()?;
        let dataset = self.settings.bootstrap_dataset.as_ref();
        Ok(dataset
            .map(|text| bootstrap::peers_of(workspace, text))
            .unwrap_or_default())
    }
}

fn parse_all<T>(setting: &str, texts: &[String]) -> Result<Vec<T>, Failure>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| Failure::usage(format!("{setting} has {text:?}: {error}")))
        })
        .collect()
}
