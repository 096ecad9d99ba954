//! Clients of HTTP that go nowhere but where they are sent.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use odf_doors::Authorities;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use url::Url;

use crate::address::is_public;

/// How long an answer may take to begin.
pub(super) const BEGINS_WITHIN: Duration = Duration::from_secs(10);
/// Redirects that are followed.
pub(super) const MAX_REDIRECTS: usize = 3;

/// The clients, each made when it is needed first.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    authorities: OnceLock<Authorities>,
    named: OnceLock<Client>,
    strangers: OnceLock<Client>,
}

impl Clients {
    /// Has them believe these authorities; before the first of them is made.
    pub(crate) fn believe(&self, authorities: Authorities) {
        let _ = self.authorities.set(authorities);
    }

    /// The one for gateways that the owner named. It follows them to hosts of their own.
    pub(crate) fn for_named(&self) -> Result<&Client, String> {
        let redirects = Policy::custom(|attempt| match attempt.previous() {
            [first, ..] if attempt.previous().len() <= MAX_REDIRECTS && is_below(attempt.url(), first) => {
                attempt.follow()
            }
            _ => attempt.stop(),
        });
        self.made(&self.named, |builder| builder.redirect(redirects))
    }

    /// The one for those that strangers announced. Names lead it to the internet alone, and nobody on from there. No proxy stands in
    /// between, which would look names up in its own way.
    pub(super) fn for_strangers(&self) -> Result<&Client, String> {
        self.made(&self.strangers, |builder| {
            builder
                .redirect(Policy::none())
                .referer(false)
                .no_proxy()
                .https_only(true)
                .dns_resolver(OnlyPublic)
        })
    }

    fn made<'a>(
        &self,
        place: &'a OnceLock<Client>,
        change: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<&'a Client, String> {
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let authorities = self.authorities.get_or_init(Authorities::default);
        let tls = authorities.client().map_err(|error| error.to_string())?;
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(BEGINS_WITHIN)
            .user_agent(concat!("odfs/", env!("CARGO_PKG_VERSION")));
        let made = change(builder).build().map_err(|error| error.to_string())?;
        Ok(place.get_or_init(|| made))
    }
}

/// Looks names up with the system, and takes what is on the internet.
#[derive(Debug)]
struct OnlyPublic;

impl Resolve for OnlyPublic {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            only_public(found)
        })
    }
}

fn only_public(found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
    match public.is_empty() {
        true => Err("its name stands for nothing on the internet".into()),
        false => Ok(Box::new(public.into_iter())),
    }
}

/// Whether a redirect stays with the host it came from, or goes to one below it, as gateways with an origin for each root do.
pub(super) fn is_below(to: &Url, from: &Url) -> bool {
    let (Some(host), Some(above)) = (to.host_str(), from.host_str()) else {
        return false;
    };
    let is_of_host = host == above || host.strip_suffix(above).is_some_and(|before| before.ends_with('.'));
    let is_as_safe = to.scheme() == from.scheme() || to.scheme() == "https";
    let is_same_door = to.scheme() != from.scheme() || to.port_or_known_default() == from.port_or_known_default();
    is_of_host && is_as_safe && is_same_door
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_for_an_address_inside_leads_nowhere() {
        let addresses =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let inside = addresses(&[
            "127.0.0.1:0",
            "192.168.1.1:0",
            "169.254.169.254:0",
            "[::1]:0",
            "[fd00::1]:0",
            "[::ffff:10.0.0.1]:0",
        ]);
        assert!(only_public(inside.iter().copied()).is_err());
        let outside = addresses(&["93.184.216.34:0"]);
        let mixed = inside.into_iter().chain(outside.clone());
        assert_eq!(only_public(mixed).unwrap().collect::<Vec<_>>(), outside);
    }
}
