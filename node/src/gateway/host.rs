//! Which content the host of a URL stands for.
//!
//! Specs: <https://specs.ipfs.tech/http-gateways/subdomain-gateway/>, <https://specs.ipfs.tech/http-gateways/dnslink-gateway/>.
//! Content at a host of its own has an origin of its own: it may keep things in the browser, and its links may begin with a
//! slash. No answer of another kind comes from such a host.

use axum::http::StatusCode;
use axum::http::request::Parts;
use cid::Cid;
use multibase::Base;

use super::options::Options;
use super::refusal::Refusal;
use super::root::{Root, split};
use crate::block::cid_from_text;
use crate::ipns::Name;
use crate::percent::decode;

/// The longest part of a host name between two dots that DNS has.
const MAX_LABEL: usize = 63;

/// Where in a URL content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    /// The path says which content.
    Path,
    /// The host does: `{root}.ipfs.{gateway}`. Kept is the gateway, with its port.
    Subdomain(String),
    /// The host is a domain whose DNSLink says so.
    Site(String),
}

/// The content that a request is for.
pub(super) struct Place {
    pub(super) mount: Mount,
    /// `/ipfs/…` or `/ipns/…`, percent signs as in the URL.
    pub(super) content_path: String,
}

/// What a host stands for.
enum Host<'a> {
    /// Whatever the path says.
    Any,
    /// The same, on a gateway that gives each root a host of its own.
    Gateway,
    /// One root.
    Root {
        label: &'a str,
        space: &'a str,
        gateway: &'a str,
    },
    /// What the domain stands for.
    Site(&'a str),
}

impl Options {
    /// What a host stands for, with or without a port.
    fn host<'a>(&self, host: &'a str) -> Host<'a> {
        let name = without_port(host);
        if self.subdomains.iter().any(|gateway| gateway.eq_ignore_ascii_case(name)) {
            return Host::Gateway;
        }
        if self.sites.iter().any(|site| site.eq_ignore_ascii_case(name)) {
            return Host::Site(name);
        }
        for (at, _) in host.match_indices('.') {
            let (label, rest) = (&host[..at], &host[at + 1..]);
            let Some((space @ ("ipfs" | "ipns"), gateway)) = rest.split_once('.') else {
                continue;
            };
            let known = without_port(gateway);
            if self
                .subdomains
                .iter()
                .any(|gateway| gateway.eq_ignore_ascii_case(known))
            {
                return Host::Root { label, space, gateway };
            }
        }
        Host::Any
    }

    /// Whether all that a host answers is content.
    pub fn is_content(&self, host: &str) -> bool {
        matches!(self.host(host), Host::Root { .. } | Host::Site(_))
    }
}

impl Place {
    /// # Errors
    /// 400 for a host that stands for nothing; a redirection where the content has a host of its own.
    pub(super) fn of(request: &Parts, options: &Options) -> Result<Self, Refusal> {
        let asked = odf_doors::asked(request, &options.proxies);
        let raw_path = request.uri.path();
        let url = Url {
            scheme: match asked.secure {
                true => "https",
                false => "http",
            },
            query: request.uri.query(),
        };
        match options.host(&asked.name) {
            Host::Any => Ok(Self::at(Mount::Path, raw_path.to_owned())),
            Host::Gateway => match below(raw_path) {
                None => Ok(Self::at(Mount::Path, raw_path.to_owned())),
                Some(rest) => Err(url.on_own_host(raw_path, rest, &asked.name)?),
            },
            Host::Root { label, space, gateway } => {
                let root = match space {
                    "ipfs" => url.content(label, gateway, raw_path)?,
                    _ => url.name(label, gateway, raw_path)?,
                };
                let path = format!("/{space}/{root}{raw_path}");
                Ok(Self::at(Mount::Subdomain(gateway.to_owned()), path))
            }
            Host::Site(name) => {
                let path = format!("/ipns/{}{raw_path}", name.to_ascii_lowercase());
                Ok(Self::at(Mount::Site(asked.name.clone()), path))
            }
        }
    }

    fn at(mount: Mount, content_path: String) -> Self {
        Self { mount, content_path }
    }
}

/// What a URL that is redirected to keeps of the one that was asked for.
struct Url<'a> {
    scheme: &'a str,
    query: Option<&'a str>,
}

impl Url<'_> {
    /// The root that a label of `ipfs` stands for, if it is written in the one way.
    fn content(&self, label: &str, gateway: &str, path: &str) -> Result<String, Refusal> {
        fits(label)?;
        let cid = cid_from_text(label)
            .map_err(|error| Refusal::bad(format!("{label:?}, before .ipfs.{gateway}, is not a CID: {error}")))?;
        let canonical = label_of(&cid)?;
        if canonical == label {
            return Ok(canonical);
        }
        Err(self.to(&canonical, "ipfs", gateway, path))
    }

    /// The name that a label of `ipns` stands for: a key, written in the one way, or a domain, its dots perhaps inlined.
    fn name(&self, label: &str, gateway: &str, path: &str) -> Result<String, Refusal> {
        let Some(name) = key(label) else {
            return Ok(match label.contains('.') {
                true => label.to_owned(),
                false => outlined(label),
            });
        };
        let canonical = name.to_string();
        if canonical == label {
            return Ok(canonical);
        }
        Err(self.to(&canonical, "ipns", gateway, path))
    }

    /// Where content that a path names is on a gateway that gives each root a host of its own.
    fn on_own_host(&self, raw_path: &str, rest: &str, gateway: &str) -> Result<Refusal, Refusal> {
        let path = decode(raw_path).ok_or_else(|| Refusal::bad("the path is not UTF-8"))?;
        let (label, space) = match split(&path)?.0 {
            Root::Cid(cid) => (label_of(&cid)?, "ipfs"),
            Root::Name(name) => {
                let label = key(&name).map_or_else(|| inlined(&name), |key| key.to_string());
                fits(&label)?;
                (label, "ipns")
            }
        };
        Ok(self.to(&label, space, gateway, rest))
    }

    fn to(&self, label: &str, space: &str, gateway: &str, path: &str) -> Refusal {
        let query = self.query.map_or(String::new(), |query| format!("?{query}"));
        let location = format!("{}://{label}.{space}.{gateway}{path}{query}", self.scheme);
        Refusal::elsewhere(StatusCode::MOVED_PERMANENTLY, &location)
    }
}

/// What of a path comes after its root, if it has one; with the slash.
fn below(raw_path: &str) -> Option<&str> {
    let rest = raw_path
        .strip_prefix("/ipfs/")
        .or_else(|| raw_path.strip_prefix("/ipns/"))?;
    if rest.is_empty() {
        return None;
    }
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A CID as one label: in base 32, or in base 36 if that is too long.
fn label_of(cid: &Cid) -> Result<String, Refusal> {
    let cid = Cid::new_v1(cid.codec(), *cid.hash());
    let label = cid.to_string();
    if label.len() <= MAX_LABEL {
        return Ok(label);
    }
    let label = multibase::encode(Base::Base36Lower, cid.to_bytes());
    fits(&label)?;
    Ok(label)
}

fn fits(label: &str) -> Result<(), Refusal> {
    if label.len() <= MAX_LABEL {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "CID incompatible with DNS label length limit of {MAX_LABEL}: {label}"
    )))
}

/// The key that a text names, also where it is written as a CID of another codec.
fn key(text: &str) -> Option<Name> {
    let of_cid = || {
        let cid = cid_from_text(text).ok()?;
        Name::try_from(&Cid::new_v1(crate::block::LIBP2P_KEY, *cid.hash())).ok()
    };
    text.parse().ok().or_else(of_cid)
}

/// A domain as one label, as certificates for `*.ipns.{gateway}` need it.
fn inlined(domain: &str) -> String {
    domain.replace('-', "--").replace('.', "-")
}

/// The domain that was inlined.
fn outlined(label: &str) -> String {
    label
        .split("--")
        .map(|part| part.replace('-', "."))
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_fit_into_a_label_and_come_out_again() {
        for (domain, label) in [
            ("example.org", "example-org"),
            ("my-site.example.org", "my--site-example-org"),
            ("a--b.c", "a----b-c"),
        ] {
            assert_eq!(inlined(domain), label);
            assert_eq!(outlined(label), domain);
        }
    }

    #[test]
    fn labels_are_as_long_as_dns_allows_and_no_longer() {
        assert!(fits(&"b".repeat(MAX_LABEL)).is_ok());
        let refusal = fits(&"b".repeat(MAX_LABEL + 1)).unwrap_err();
        assert!(refusal.reason().contains("limit of 63"), "{}", refusal.reason());
        let long = Cid::new_v1(0x55, multihash::Multihash::wrap(0x13, &[7; 64]).unwrap());
        assert_eq!(label_of(&long).unwrap_err().status(), 400);
    }

    #[test]
    fn hosts_of_content_are_told_from_all_others() {
        let options = Options {
            subdomains: vec!["localhost".to_owned()],
            sites: vec!["site.example".to_owned()],
            ..Options::default()
        };
        for host in [
            "b.ipfs.localhost",
            "B.ipns.LocalHost:8080",
            "a.b.ipns.localhost",
            "Site.example:80",
        ] {
            assert!(options.is_content(host), "{host}");
        }
        for host in [
            "localhost:8080",
            "ipfs.localhost",
            "b.localhost",
            "b.ipfs.other",
            "www.site.example",
            "127.0.0.1",
        ] {
            assert!(!options.is_content(host), "{host}");
        }
        assert!(!Options::default().is_content("b.ipfs.localhost"));
    }
}
