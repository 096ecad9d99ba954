//! A workspace with a peer, and tables to put into it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use odf::dataset::Dataset;
use odf::ingest::source::{Format, Source};
use odf::publish::{Published, publish};
use odf::pull::{Address, PullError, PullListener, PullOptions, Pulled, pull_from};
use odf::workspace::{Growth, Workspace};
use odf_node::fetch::Fetcher;
use odf_node::peer::Node;

pub(crate) struct Site {
    pub(crate) workspace: Workspace,
    pub(crate) node: Node,
    hour: u32,
}

impl Site {
    pub(crate) async fn new(dir: &Path) -> Self {
        let workspace = Workspace::open(dir, Default::default()).unwrap();
        let builder = Node::builder(workspace.store()).unwrap();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let node = builder
            .listen(listen)
            .bootstrap(Vec::new())
            .mdns(false)
            .start()
            .await
            .unwrap();
        Self {
            workspace,
            node,
            hour: 0,
        }
    }

    /// Takes NDJSON rows `{"n": …}` up to `rows` into the dataset `name`; the file grows from call to call.
    pub(crate) fn take(&mut self, name: &str, rows: u32) -> Dataset {
        let table: String = (0..rows)
            .map(|n| format!("{{\"n\":{n},\"word\":\"row {n}\"}}\n"))
            .collect();
        let source = Source::bytes("rows.ndjson", Bytes::from(table), Format::Ndjson, Default::default());
        self.hour += 1;
        let now = format!("2026-06-{:02}T{:02}:00:00Z", 1 + self.hour / 24, self.hour % 24)
            .parse()
            .unwrap();
        let go_on = &mut |_| ControlFlow::Continue(());
        let (dataset, growth) = self
            .workspace
            .take(&name.parse().unwrap(), &source, &Default::default(), now, go_on)
            .unwrap();
        assert!(matches!(growth, Growth::Grown(_)));
        dataset
    }

    pub(crate) async fn publish(&self, dataset: &Dataset) -> Published {
        let key = self.workspace.key_of(&dataset.id()).unwrap();
        publish(self.workspace.local(), &self.node, dataset, &key, false)
            .await
            .unwrap()
    }

    pub(crate) fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.workspace.store().clone(), Some(self.node.exchange().session()))
    }

    pub(crate) async fn pull(&self, address: &Address) -> Result<Pulled, PullError> {
        pull_from(
            self.workspace.local(),
            &self.node,
            &self.fetcher(),
            address,
            PullOptions::default(),
            quiet(),
        )
        .await
    }

    pub(crate) async fn dial(&self, other: &Self) {
        self.node.dial(other.node.listen_addrs().remove(0)).await.unwrap();
    }
}

/// Nobody listens, and nothing is ended.
pub(crate) fn quiet() -> PullListener {
    Arc::new(|_| ControlFlow::Continue(()))
}

/// A dataset made by kamu, as a copy that came from elsewhere.
pub(crate) fn receive(golden: &odf_reference::Golden, workspace: &Workspace) -> Dataset {
    let blocks = golden.blocks();
    let id = odf::chain::ChainState::begin(&blocks[0]).unwrap().dataset_id;
    let incoming = workspace.catalog().receive(id, &golden.name.parse().unwrap()).unwrap();
    for object in odf::dataset::Object::of_all(&blocks) {
        std::fs::copy(golden.object(&object.to_string()), object.path(incoming.dir())).unwrap();
    }
    incoming.install(blocks).unwrap()
}
