//! Peers as a place that damaged datasets are mended from.

use bytes::Bytes;
use odf_dataset::repair::{Supply, SupplyError};
use odf_dataset::{Dataset, INCOMING_PREFIX, Object};
use odf_metadata::{Multihash, codec};
use odf_node::block::Cid;
use odf_node::fetch::Fetcher;
use odf_node::ipns::Freshness;
use odf_node::peer::Node;
use odf_tables::digest;
use tokio::runtime::Handle;

use crate::Local;
use crate::pull::{self, Address, PullError};

/// Everybody who has the DAG of a dataset below some root.
pub struct FromPeers {
    local: Local,
    fetcher: Fetcher,
    root: Cid,
    place: String,
    runtime: Handle,
}

impl FromPeers {
    /// What an address stands for now. `fetcher` looks here first and then asks peers.
    ///
    /// # Errors
    /// The name cannot be resolved, or leads to no root.
    pub async fn at(local: &Local, node: &Node, fetcher: Fetcher, address: &Address) -> Result<Self, PullError> {
        let value = match (address, address.name()) {
            (Address::Root { cid, path }, _) => format!("/ipfs/{cid}/{path}"),
            (_, Some(name)) => node.names().resolve(name, Freshness::Network).await?.value,
            (_, None) => address.to_string(),
        };
        let root = pull::root_of(&fetcher, &value).await?;
        Ok(Self::below(local, fetcher, root, address.to_string()))
    }

    /// A root that is known; `place` is what messages call it. To be called within a runtime, which goes on to be used.
    pub fn below(local: &Local, fetcher: Fetcher, root: Cid, place: String) -> Self {
        Self {
            local: local.clone(),
            fetcher,
            root,
            place,
            runtime: Handle::current(),
        }
    }

    async fn find(&self, path: &str) -> Result<Cid, SupplyError> {
        let found = self.fetcher.resolve(self.root, path).await?;
        if found.remainder.is_empty() {
            Ok(found.cid)
        } else {
            Err(format!("there is no {path}").into())
        }
    }

    /// Leaves into a file of an unfinished name, so that those that are here already, in the damaged file too, are not asked
    /// for; then the hash.
    async fn fetch(&self, object: &Object, dataset: &Dataset) -> Result<(), SupplyError> {
        let cid = self.find(&object.to_string()).await?;
        let store = self.local.store();
        let path = object.path(dataset.dir());
        let unfinished = path.with_file_name(format!("{INCOMING_PREFIX}{}", object.hash));
        let file = store.add_file(unfinished.strip_prefix(store.root())?)?;
        let (size, nodes) = self.fetcher.file(cid, file, object.size).await?;
        let found = digest::physical_hash(&unfinished)?;
        if (size, found) != (object.size, (object.hash, object.size)) {
            store.remove_file(file)?;
            return Err(format!("{object} there is something else").into());
        }
        // Its bytes before its name.
        store.flush()?;
        store.rename_file(file, path.strip_prefix(store.root())?)?;
        store.mark_complete(&nodes)?;
        Ok(store.flush()?)
    }
}

impl Supply for FromPeers {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn head(&self) -> Result<Option<Multihash>, SupplyError> {
        let remote = self.runtime.block_on(pull::open(&self.fetcher, self.root))?;
        Ok(Some(remote.head))
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SupplyError> {
        self.runtime.block_on(async {
            let cid = self.find(&format!("blocks/{hash}")).await?;
            let bytes = pull::small_file(&self.fetcher, cid, codec::MAX_BLOCK_BYTES).await?;
            Ok(bytes
                .map(Bytes::from)
                .ok_or("it is longer than a metadata block can be")?)
        })
    }

    fn object(&self, object: &Object, dataset: &Dataset) -> Result<(), SupplyError> {
        self.runtime.block_on(self.fetch(object, dataset))
    }
}
