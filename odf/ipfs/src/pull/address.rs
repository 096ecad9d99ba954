//! Where a dataset can be pulled from, in the words people type.

use std::fmt;
use std::str::FromStr;

use odf_node::block::{Cid, cid_from_text};
use odf_node::ipns::Name;

use odf_dataset::DatasetName;
use odf_metadata::DatasetId;

/// A dataset on IPFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Whatever a name stands for: `ipns://k51…`, `k51…`.
    Name(Name),
    /// What the owner of a dataset publishes under its own key, and nothing but this dataset: `did:odf:…`.
    Dataset {
        /// The dataset.
        id: DatasetId,
        /// The name whose key is the dataset's.
        name: Name,
    },
    /// One fixed root, or a directory below one: `ipfs://CID`, `ipfs://CID/path`.
    Root {
        /// The CID.
        cid: Cid,
        /// What follows it, without slashes at the ends.
        path: String,
    },
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a dataset: use ipns://NAME, ipfs://CID, a name (k51…) or did:odf:…")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(text.chars().take(200).collect());
        if let Some(rest) = text.strip_prefix("ipfs://").or_else(|| text.strip_prefix("/ipfs/")) {
            let (cid, path) = rest.split_once('/').unwrap_or((rest, ""));
            let cid = cid_from_text(cid).map_err(|_| bad())?;
            return Ok(Self::Root {
                cid,
                path: path.trim_matches('/').to_owned(),
            });
        }
        if text.starts_with("did:odf:") {
            let id: DatasetId = text.parse().map_err(|_| bad())?;
            let name = name_of(&id).ok_or_else(bad)?;
            return Ok(Self::Dataset { id, name });
        }
        let name = text
            .strip_prefix("ipns://")
            .or_else(|| text.strip_prefix("/ipns/"))
            .unwrap_or(text);
        name.trim_end_matches('/').parse().map(Self::Name).map_err(|_| bad())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "ipns://{name}"),
            Self::Dataset { id, .. } => id.fmt(f),
            Self::Root { cid, path } if path.is_empty() => write!(f, "ipfs://{cid}"),
            Self::Root { cid, path } => write!(f, "ipfs://{cid}/{path}"),
        }
    }
}

impl Address {
    /// The name to resolve; none for a fixed root.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Name(name) | Self::Dataset { name, .. } => Some(name),
            Self::Root { .. } => None,
        }
    }

    /// The only dataset that may be found there, if the address says which.
    pub fn dataset_id(&self) -> Option<DatasetId> {
        match self {
            Self::Dataset { id, .. } => Some(*id),
            Self::Name(_) | Self::Root { .. } => None,
        }
    }

    /// What a dataset pulled from here is called when nobody says otherwise: the last part of the address.
    pub fn default_name(&self) -> Option<DatasetName> {
        let text = match self {
            Self::Name(name) | Self::Dataset { name, .. } => name.to_string(),
            Self::Root { cid, path } if path.is_empty() => cid.to_string(),
            Self::Root { path, .. } => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        DatasetName::from_text(&text)
    }
}

/// The name under the dataset's own key.
pub fn name_of(id: &DatasetId) -> Option<Name> {
    let key = odf_node::keystore::ed25519_public(id.public_key())?;
    Some(Name::from_public_key(&key))
}

/// The dataset whose own key the name is of, if there is one; the name may stand for another all the same.
pub fn id_of(name: &Name) -> Option<DatasetId> {
    let key = name.public_key()?.try_into_ed25519().ok()?;
    Some(DatasetId::from_public_key(key.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_and_its_name_are_one_key() {
        let key = odf_node::keystore::Keypair::generate_ed25519();
        let name = Name::from_public_key(&key.public());
        let id = id_of(&name).unwrap();
        assert_eq!(
            id.to_string().parse::<Address>().unwrap(),
            Address::Dataset { id, name }
        );
        assert_eq!(Address::Dataset { id, name }.to_string(), id.to_string());
        let forms = [
            name.to_string(),
            format!("ipns://{name}"),
            format!("ipns://{name}/"),
            format!("/ipns/{name}"),
        ];
        for form in forms {
            assert_eq!(form.parse::<Address>().unwrap(), Address::Name(name), "{form}");
        }
    }

    #[test]
    fn roots_keep_their_path() {
        let cid = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";
        let address: Address = format!("ipfs://{cid}/a/b.c/").parse().unwrap();
        assert_eq!(address.to_string(), format!("ipfs://{cid}/a/b.c"));
        assert_eq!(address.default_name().unwrap().as_str(), "b.c");
        for bad in [
            "",
            "ipfs://",
            "ipfs://x",
            "ipns://x",
            "did:odf:fed01",
            "http://example.org",
            "earthquakes",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
