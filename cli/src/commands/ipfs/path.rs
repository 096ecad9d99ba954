//! Paths as people type them: `/ipfs/CID/a/b`, `/ipns/NAME/a`, `CID/a`, `ipfs://CID/a`.

use std::fmt;
use std::str::FromStr;

use odf_node::block::{Cid, cid_from_text};
use odf_node::ipns::Name;

/// What a path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// Content.
    Cid(Cid),
    /// Whatever the name stands for.
    Name(Name),
}

/// A path into content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpfsPath {
    /// Where it begins.
    pub(crate) root: Root,
    /// What follows, segments between slashes.
    pub(crate) rest: String,
    /// As it was typed.
    pub(crate) typed: String,
}

impl IpfsPath {
    /// The last segment, for the name of a file that is saved.
    pub(super) fn last_segment(&self) -> String {
        match self.rest.rsplit('/').find(|segment| !segment.is_empty()) {
            Some(segment) => segment.to_owned(),
            None => match &self.root {
                Root::Cid(cid) => cid.to_string(),
                Root::Name(name) => name.to_string(),
            },
        }
    }
}

impl fmt::Display for IpfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Cid(cid) => write!(f, "/ipfs/{cid}")?,
            Root::Name(name) => write!(f, "/ipns/{name}")?,
        }
        match self.rest.trim_matches('/') {
            "" => Ok(()),
            rest => write!(f, "/{rest}"),
        }
    }
}

impl FromStr for IpfsPath {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let (space, path) = if let Some(path) = strip(typed, &["/ipfs/", "ipfs://"]) {
            (Some(false), path)
        } else if let Some(path) = strip(typed, &["/ipns/", "ipns://"]) {
            (Some(true), path)
        } else {
            (None, typed)
        };
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let name = || {
            first
                .parse()
                .map(Root::Name)
                .map_err(|error| format!("{first:?} is no IPNS name: {error}"))
        };
        let root = match space {
            Some(true) => name()?,
            Some(false) | None => match cid_from_text(first) {
                // A bare key is the name of what it signs, not content.
                Ok(cid) if space.is_none() && cid.codec() == odf_node::block::LIBP2P_KEY => name()?,
                Ok(cid) => Root::Cid(cid),
                Err(error) => return Err(format!("{first:?} is no CID: {error}")),
            },
        };
        Ok(Self {
            root,
            rest: rest.to_owned(),
            typed: typed.to_owned(),
        })
    }
}

fn strip<'a>(text: &'a str, prefixes: &[&str]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";

    #[test]
    fn all_ways_of_writing_mean_the_same() {
        for typed in [
            format!("/ipfs/{CID}/a/b"),
            format!("{CID}/a/b"),
            format!("ipfs://{CID}/a/b"),
        ] {
            let path: IpfsPath = typed.parse().unwrap();
            assert_eq!(path.root, Root::Cid(Cid::try_from(CID).unwrap()));
            assert_eq!(path.rest, "a/b");
            assert_eq!(path.last_segment(), "b");
        }
        assert_eq!(CID.parse::<IpfsPath>().unwrap().last_segment(), CID);
    }

    #[test]
    fn nonsense_is_named() {
        // The same content with bytes behind its CID.
        let longer = format!("{CID}aaaaaaaa").parse::<IpfsPath>().unwrap_err();
        assert!(longer.contains("bytes behind its end"), "{longer}");
        assert!("/ipfs/abc".parse::<IpfsPath>().unwrap_err().contains("\"abc\""));
        assert!("".parse::<IpfsPath>().is_err());
    }
}
