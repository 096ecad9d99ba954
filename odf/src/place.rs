//! Where a dataset is, in the words people type: one type for every way that leads to one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use odf_dataset::DatasetName;
use odf_exchange::with_slash;
use odf_ipfs::pull::Address;
use odf_ipfs::ticket::{Ticket, TicketError};

/// Longest address that is looked at.
pub const MAX_ADDRESS_BYTES: usize = 4096;
/// How much of a wrong address is shown.
const MAX_SHOWN: usize = 200;

/// A place that has a dataset, or, for a repository, many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On IPFS: `ipns://K`, `ipfs://CID`, a bare name `k51…`, `did:odf:…`, or what a ticket `odfs1…` is for.
    Ipfs(Address),
    /// A directory of this machine: `file:///path/`.
    Files(PathBuf),
    /// Files behind a web server, only to be read: `http(s)://host/path/`.
    Http(Url),
    /// A server that speaks the Smart Transfer Protocol: `odf+http(s)://host/path/`. Kept without `odf+`.
    Smart(Url),
}

/// A text that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Nothing that an address looks like.
    #[error(
        "`{0}` is no address of a dataset: use file:///DIRECTORY, http(s)://HOST/PATH, odf+http(s)://HOST/PATH, ipns://NAME, \
         ipfs://CID, a name (k51…), did:odf:… or a ticket (odfs1…)"
    )]
    Unknown(String),
    /// Meant as a ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// A known scheme, and something wrong behind it.
    #[error("`{text}` is no address of a dataset: {reason}")]
    Malformed {
        /// The address, shortened.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A kind of place that kamu knows and odfs does not.
    #[error("`{text}`: storage behind {scheme}:// is not supported")]
    Unsupported {
        /// The address, shortened.
        text: String,
        /// Its scheme.
        scheme: String,
    },
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let shown = || text.chars().take(MAX_SHOWN).collect::<String>();
        let malformed = |reason: &str| PlaceError::Malformed {
            text: shown(),
            reason: reason.to_owned(),
        };
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(malformed("it is too long"));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            if Ticket::is_meant(text) {
                return Ok(Self::Ipfs(text.parse::<Ticket>()?.address().clone()));
            }
            return text.parse().map(Self::Ipfs).map_err(|_| PlaceError::Unknown(shown()));
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "ipns" | "ipfs" => text
                .parse()
                .map(Self::Ipfs)
                .map_err(|_| malformed("behind ipns:// comes an IPNS name, behind ipfs:// a CID")),
            "s3" | "s3+http" | "s3+https" => Err(PlaceError::Unsupported { text: shown(), scheme }),
            "file" => {
                let url = Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
                url.to_file_path()
                    .map(|path| Self::Files(without_slash(&path)))
                    .map_err(|()| {
                        malformed("behind file:// comes a path that begins with a slash, as in file:///srv/data/")
                    })
            }
            "http" | "https" => server(text).map(Self::Http).map_err(|reason| malformed(&reason)),
            "odf+http" | "odf+https" => {
                let transport = text.get("odf+".len()..).unwrap_or_default();
                server(transport).map(Self::Smart).map_err(|reason| malformed(&reason))
            }
            _ => Err(PlaceError::Unknown(shown())),
        }
    }
}

fn server(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a password does not belong into it; give a token with `odfs repo add NAME URL --token`".to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("nothing may follow the path".to_owned());
    }
    Ok(with_slash(&url))
}

fn without_slash(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The form that is remembered: places that are equal have equal texts.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipfs(address) => write!(f, "{address}"),
            Self::Files(path) => match Url::from_directory_path(path) {
                Ok(url) => write!(f, "{url}"),
                // Only paths that are not absolute have no URL, and none is made here.
                Err(()) => write!(f, "file://{}/", path.display()),
            },
            Self::Http(url) => write!(f, "{url}"),
            Self::Smart(url) => write!(f, "odf+{url}"),
        }
    }
}

impl Place {
    /// What a dataset from here is called when nobody says otherwise: the last part of the address, else the host.
    pub fn default_name(&self) -> Option<DatasetName> {
        let text = match self {
            Self::Ipfs(address) => return address.default_name(),
            Self::Files(path) => path.file_name()?.to_str()?.to_owned(),
            Self::Http(url) | Self::Smart(url) => {
                let last = url.path().split('/').rfind(|part| !part.is_empty());
                last.or_else(|| url.host_str())?.to_owned()
            }
        };
        DatasetName::from_text(&text)
    }

    /// The dataset `name`, of an account if there are several, in this repository.
    ///
    /// # Errors
    /// A name on IPFS stands for one dataset and has nothing below it.
    pub fn dataset(&self, account: Option<&DatasetName>, name: &DatasetName) -> Result<Self, PlaceError> {
        let below = account.map_or_else(|| name.to_string(), |account| format!("{account}/{name}"));
        Ok(match self {
            Self::Ipfs(Address::Root { cid, path }) => Self::Ipfs(Address::Root {
                cid: *cid,
                path: format!("{path}/{below}").trim_matches('/').to_owned(),
            }),
            Self::Ipfs(name @ (Address::Name(_) | Address::Dataset { .. })) => {
                return Err(PlaceError::Malformed {
                    text: name.to_string(),
                    reason: "a name leads to one dataset and cannot be a repository of several".to_owned(),
                });
            }
            Self::Files(path) => Self::Files(path.join(below)),
            Self::Http(url) => Self::Http(under(url, &below)),
            Self::Smart(url) => Self::Smart(under(url, &below)),
        })
    }

    /// The URL of the server, if it is one.
    pub fn server_url(&self) -> Option<&Url> {
        match self {
            Self::Http(url) | Self::Smart(url) => Some(url),
            Self::Ipfs(_) | Self::Files(_) => None,
        }
    }
}

/// `base` ends with a slash; names have no characters that mean something in a path.
fn under(base: &Url, below: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{below}/", base.path()));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn name(text: &str) -> DatasetName {
        text.parse().unwrap()
    }

    #[test]
    fn every_place_is_shown_as_it_is_read() {
        let cid = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";
        let ipfs = format!("ipfs://{cid}/a/b");
        for (text, shown, default) in [
            ("file:///srv/data/x.y", "file:///srv/data/x.y/", "x.y"),
            ("FILE:///srv/a%20b/", "file:///srv/a%20b/", "a-b"),
            ("file://localhost/srv/", "file:///srv/", "srv"),
            ("http://Example.org", "http://example.org/", "example.org"),
            ("https://example.org:8443/a/b", "https://example.org:8443/a/b/", "b"),
            ("odf+http://127.0.0.1:8080/x/", "odf+http://127.0.0.1:8080/x/", "x"),
            ("odf+https://node.example/me/x", "odf+https://node.example/me/x/", "x"),
            (&ipfs, &ipfs, "b"),
        ] {
            let read = place(text);
            assert_eq!(read.to_string(), shown, "{text}");
            assert_eq!(place(shown), read, "{text}");
            assert_eq!(read.default_name(), Some(name(default)), "{text}");
        }
        assert_eq!(place("file:///a/./b//c/../d"), place("file:///a/b/d/"));
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_reason() {
        let long = format!("http://example.org/{}", "a".repeat(MAX_ADDRESS_BYTES));
        for (text, reason) in [
            ("", "is no address"),
            ("weather", "is no address"),
            ("odfs1abzqcjaiaera", "is cut off"),
            ("ODFS7aaaaaaaaaa", "later version"),
            ("repo/weather", "is no address"),
            ("gopher://x", "is no address"),
            ("file://relative/x", "begins with a slash"),
            ("http://", "empty host"),
            ("http://me:secret@example.org/", "password"),
            ("http://example.org/?token=x", "nothing may follow"),
            ("odf+http://example.org/#x", "nothing may follow"),
            ("ipns://x", "IPNS name"),
            ("s3://bucket/x", "not supported"),
            ("s3+https://host/bucket", "not supported"),
            (&long, "too long"),
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn datasets_of_a_repository_are_below_it() {
        let account = name("me");
        for (repository, one, two) in [
            ("file:///srv", "file:///srv/x.y/", "file:///srv/me/x.y/"),
            ("http://h/a", "http://h/a/x.y/", "http://h/a/me/x.y/"),
            ("odf+https://h", "odf+https://h/x.y/", "odf+https://h/me/x.y/"),
        ] {
            let repository = place(repository);
            assert_eq!(repository.dataset(None, &name("x.y")).unwrap().to_string(), one);
            assert_eq!(
                repository.dataset(Some(&account), &name("x.y")).unwrap().to_string(),
                two
            );
        }
        let key = odf_node::keystore::Keypair::generate_ed25519();
        let ipns = format!("ipns://{}", odf_node::ipns::Name::from_public_key(&key.public()));
        assert!(place(&ipns).dataset(None, &name("x")).is_err());
    }
}
