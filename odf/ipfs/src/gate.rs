//! What a gateway may show of the datasets here: those that are shared.
//!
//! A root says which dataset it stands for, so one look at it decides, however old it is. What lies below a root does not
//! say so; whoever knows the CID of such a part by itself has seen the dataset already.

use ipld_core::ipld::Ipld;
use odf_dataset::catalog::Catalog;
use odf_metadata::DatasetId;
use odf_node::block::{Block, Cid, DAG_CBOR};
use odf_node::dag;
use odf_node::gateway::{NameValue, Source, SourceError};

use crate::pull::blocking;

/// A gateway's source, but for roots of datasets that are here and not shared.
pub struct SharedOnly<S> {
    inner: S,
    catalog: Catalog,
}

impl<S> SharedOnly<S> {
    /// Shows what `inner` has; the datasets of `catalog` only if they are shared.
    pub fn new(inner: S, catalog: Catalog) -> Self {
        Self { inner, catalog }
    }
}

impl<S: Source> Source for SharedOnly<S> {
    type Session = S::Session;

    fn session(&self, through: &[String]) -> S::Session {
        self.inner.session(through)
    }

    fn id(&self) -> &str {
        self.inner.id()
    }

    async fn here(&self, cid: &Cid) -> Result<Option<Block>, SourceError> {
        match self.inner.here(cid).await? {
            Some(block) => self.shown(block).await.map(Some),
            None => Ok(None),
        }
    }

    async fn here_together(&self, cids: &[Cid], most: usize) -> Result<Vec<Block>, SourceError> {
        let mut shown = Vec::new();
        for block in self.inner.here_together(cids, most).await? {
            match self.shown(block).await {
                Ok(block) => shown.push(block),
                // Whoever asks for it by itself is told why.
                Err(_) if !shown.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    async fn block(&self, session: &S::Session, cid: &Cid) -> Result<Block, SourceError> {
        let block = self.inner.block(session, cid).await?;
        self.shown(block).await
    }

    async fn has(&self, cid: &Cid) -> bool {
        self.inner.has(cid).await
    }

    async fn known_name(&self, name: &str) -> Result<Option<NameValue>, SourceError> {
        self.inner.known_name(name).await
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        self.inner.resolve_name(name).await
    }
}

impl<S> SharedOnly<S> {
    /// The block, unless it is the root of a dataset that is here and not shared.
    async fn shown(&self, block: Block) -> Result<Block, SourceError> {
        let Some(id) = dataset_of(&block) else {
            return Ok(block);
        };
        let catalog = self.catalog.clone();
        let hidden = blocking(move || catalog.holds(&id) && !catalog.is_shared(&id)).await;
        match hidden {
            Ok(false) => Ok(block),
            Ok(true) => Err(SourceError::NotFound(format!(
                "{} is of a dataset that is not shared here; its owner shares it with `odfs share`",
                block.cid()
            ))),
            Err(_) => Err(SourceError::Failed("the process is stopping".to_owned())),
        }
    }
}

/// The dataset whose root a block is; nothing if it is none.
fn dataset_of(block: &Block) -> Option<DatasetId> {
    if block.cid().codec() != DAG_CBOR {
        return None;
    }
    match (dag::value_at(block, &["odf"]), dag::value_at(block, &["id"])) {
        (Ok(Ipld::Integer(_)), Ok(Ipld::String(id))) => id.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use odf_dataset::{Medium, Sharing};
    use odf_disk::Disk;
    use odf_metadata::DatasetKind;

    /// Has every block that it is made of, here and elsewhere.
    struct Shelf(Vec<Block>);

    impl Source for Shelf {
        type Session = ();

        fn session(&self, _: &[String]) {}

        async fn here(&self, cid: &Cid) -> Result<Option<Block>, SourceError> {
            Ok(self.0.iter().find(|block| block.cid() == cid).cloned())
        }

        async fn here_together(&self, cids: &[Cid], _: usize) -> Result<Vec<Block>, SourceError> {
            Ok(self
                .0
                .iter()
                .filter(|block| cids.contains(block.cid()))
                .cloned()
                .collect())
        }

        async fn block(&self, (): &(), cid: &Cid) -> Result<Block, SourceError> {
            let found = self.0.iter().find(|block| block.cid() == cid).cloned();
            found.ok_or_else(|| SourceError::NotFound(cid.to_string()))
        }

        async fn has(&self, cid: &Cid) -> bool {
            self.0.iter().any(|block| block.cid() == cid)
        }

        async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
            Ok(NameValue {
                path: name.to_owned(),
                max_age: Duration::ZERO,
                record: None,
            })
        }
    }

    fn map(pairs: &[(&str, Ipld)]) -> Block {
        let map: BTreeMap<String, Ipld> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Ipld::Map(map)).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn roots_of_datasets_that_are_not_shared_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path(), Medium::new(Disk::new())).unwrap();
        let [here, elsewhere] = [1, 2].map(|byte| DatasetId::from_public_key([byte; 32]));
        let time = "2026-01-02T03:04:05Z".parse().unwrap();
        let staged = catalog.stage(here, &"ds".parse().unwrap()).unwrap();
        let (dataset, _) = staged
            .install_events(DatasetKind::Root, Vec::new(), time, None)
            .unwrap();
        let root = |id: DatasetId| map(&[("odf", Ipld::Integer(1)), ("id", Ipld::String(id.to_string()))]);
        let other = map(&[("odf", Ipld::Integer(1)), ("id", Ipld::String("did:odf:x".to_owned()))]);
        let plain = map(&[("id", Ipld::String(here.to_string()))]);
        let blocks = vec![root(here), root(elsewhere), other, plain];
        let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
        let source = SharedOnly::new(Shelf(blocks), catalog);
        let shown = async || {
            let mut shown = Vec::new();
            for cid in &cids {
                let shows = source.block(&(), cid).await.is_ok();
                assert_eq!(source.here(cid).await.is_ok(), shows);
                shown.push(shows);
            }
            shown
        };
        assert_eq!(shown().await, [false, true, true, true]);
        dataset.set_sharing(Sharing::Published).unwrap();
        assert_eq!(shown().await, [true; 4]);
        dataset.set_sharing(Sharing::Stopped).unwrap();
        // Nor are they among others that are read with them.
        assert_eq!(source.here_together(&cids[1..], 1 << 20).await.unwrap().len(), 3);
        assert!(source.here_together(&cids, 1 << 20).await.is_err());
        let error = source.block(&(), &cids[0]).await.unwrap_err();
        assert!(error.to_string().contains("odfs share"), "{error}");
        assert!(source.has(&cids[0]).await && source.resolve_name("x").await.is_ok());
    }
}
