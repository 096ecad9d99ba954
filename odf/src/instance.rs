//! One handle for programs that embed odfs: a workspace, and the peer that publishes and finds for it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use odf_dataset::Dataset;
use odf_ingest::source::{Source, SourceError};
use odf_ipfs::publish::{self, PublishError, Published};
use odf_ipfs::pull::{Address, AddressError, PullError, PullOptions, meet, pull_from};
use odf_ipfs::ticket::{Ticket, TicketError};
use odf_metadata::Timestamp;
use odf_node::fetch::Fetcher;
use odf_node::ipns::Freshness;
use odf_node::peer::{Builder, DialError, Node, StartError};
use odf_node::store::{StoreError, StoreOptions};
use odf_query::select::{Query, SelectError, Session, Settings};

use crate::tables::WorkspaceTables;
use crate::workspace::{TakeError, Workspace, WorkspaceError};

/// Memory for rows that a query has to hold, in bytes, and of temporary files beyond it.
const QUERY_MEMORY: u64 = 1 << 30;
const QUERY_SPILL: u64 = 64 << 30;

/// Why an [`Instance`] could not do what it was asked. Whatever it is, no dataset is half changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The workspace could not be opened.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The block store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Another peer could not be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A name of a dataset is not one.
    #[error(transparent)]
    Name(#[from] odf_dataset::NameError),
    /// An address of a dataset is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A ticket is not one.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// A file cannot be read as a table.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its rows were not taken.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The key that belongs to the dataset is not here, so it cannot be published under its own name.
    #[error("the key of {0} is not in this workspace")]
    NoKey(odf_metadata::DatasetId),
    /// The dataset could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The dataset could not be pulled.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The query cannot be run.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The process is stopping.
    #[error("the query was stopped with the process")]
    Stopped,
    /// The clock of the machine shows a time that no block can have.
    #[error("the clock shows a time that cannot be written")]
    Clock,
}

/// A workspace and its peer. Cheap to clone. One process has a workspace at a time; seeing to that is the caller's part.
#[derive(Clone)]
pub struct Instance {
    workspace: Workspace,
    node: Node,
}

impl Instance {
    /// Opens the workspace in `root`, making it if need be, and starts a peer that joins the public network.
    ///
    /// # Errors
    /// The workspace cannot be opened, or no address be listened on.
    pub async fn open(root: &Path) -> Result<Self, InstanceError> {
        Self::open_with(root, |peer| peer).await
    }

    /// As [`Self::open`], with a peer that `configure` sets up.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(root: &Path, configure: impl FnOnce(Builder) -> Builder) -> Result<Self, InstanceError> {
        let workspace = Workspace::open(root, StoreOptions::default())?;
        let node = configure(Node::builder(workspace.store())?).start().await?;
        Ok(Self { workspace, node })
    }

    /// Takes what is new in a file into the dataset called `name`, which is made the first time, and publishes it under
    /// the name of its own key. The peer serves it from then on.
    ///
    /// # Errors
    /// The rows are not taken, or the dataset not published; rows that were taken stay.
    pub async fn publish(&self, name: &str, file: &Path) -> Result<Published, InstanceError> {
        let source = Source::file(file, None, Default::default())?;
        let now = Timestamp::try_from(chrono::Utc::now()).map_err(|_| InstanceError::Clock)?;
        let go_on = &mut |_| ControlFlow::Continue(());
        let (dataset, _) = self
            .workspace
            .take(&name.parse()?, &source, &Default::default(), now, go_on)?;
        let key = self.workspace.key_of(&dataset.id());
        let key = key.ok_or_else(|| InstanceError::NoKey(dataset.id()))?;
        Ok(publish::publish(self.workspace.local(), &self.node, &dataset, &key, false).await?)
    }

    /// Brings what is new at an address (`ipns://…`, `ipfs://…`, a bare name, `did:odf:…`, a ticket) here, verified, and follows
    /// the name: this peer keeps its record alive. Of a ticket, those whom it names are met first.
    ///
    /// # Errors
    /// See [`PullError`]; the dataset is at its old head then.
    pub async fn pull(&self, address: &str) -> Result<Dataset, InstanceError> {
        let session = self.node.exchange().session();
        let fetcher = Fetcher::new(self.workspace.store().clone(), Some(session));
        let (address, freshness) = match Ticket::is_meant(address) {
            true => {
                let ticket: Ticket = address.parse()?;
                let freshness = match meet(&self.node, &ticket).await {
                    Ok(_) => Freshness::Near,
                    Err(_) => Freshness::Network,
                };
                (ticket.address().clone(), freshness)
            }
            false => (address.parse::<Address>()?, Freshness::Network),
        };
        let options = PullOptions {
            alias: true,
            freshness,
            ..PullOptions::default()
        };
        let go_on = Arc::new(|_| ControlFlow::Continue(()));
        let pulled = pull_from(self.workspace.local(), &self.node, &fetcher, &address, options, go_on).await?;
        Ok(pulled.received.dataset().clone())
    }

    /// The rows that a query gives over the datasets of the workspace, which are its tables by their names; of several
    /// queries, those of each in turn. All of them are held in memory.
    ///
    /// # Errors
    /// The query cannot be understood, or the rows not be read.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, InstanceError> {
        let (workspace, sql) = (self.workspace.clone(), sql.to_owned());
        let rows = tokio::task::spawn_blocking(move || rows_of(&workspace, &sql)).await;
        rows.map_err(|_| InstanceError::Stopped)?
    }

    /// The workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The peer.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Stops the peer.
    pub async fn close(self) {
        self.node.shutdown().await;
    }
}

/// The rows that a query gives over the datasets of a workspace. Blocks.
fn rows_of(workspace: &Workspace, sql: &str) -> Result<Vec<RecordBatch>, InstanceError> {
    let now = Timestamp::try_from(chrono::Utc::now()).map_err(|_| InstanceError::Clock)?;
    let settings = Settings {
        memory: QUERY_MEMORY,
        spill: QUERY_SPILL,
        scratch: workspace.store().root().join("query"),
        now,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let tables = WorkspaceTables {
        workspace: workspace.clone(),
        elsewhere: HashMap::new(),
        by_blocks: false,
    };
    let session = Session::open(Arc::new(tables), settings)?;
    let mut rows = Vec::new();
    for query in Query::all(sql)? {
        let mut answer = session.select(&query)?;
        while let Some(batch) = answer.next(&|_| true)? {
            rows.push(batch);
        }
    }
    Ok(rows)
}
