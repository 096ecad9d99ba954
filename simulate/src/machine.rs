//! One machine from when it is switched on to when it ends, by itself or not: a workspace, a peer, and what its owner does.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use odf::dataset::Dataset;
use odf::disk::Disk;
use odf::disk::crash::Recorder;
use odf::ingest::Changed;
use odf::ingest::source::Source;
use odf::metadata::Timestamp;
use odf::proof::{self, Proof};
use odf::publish::{PublishError, publish};
use odf::pull::{Address, PullError, PullOptions, name_of, pull_from};
use odf::receive::ReceiveError;
use odf::verify::{Depth, verify};
use odf::workspace::{PEER_KEY, Workspace};
use odf_node::Multiaddr;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Change, Freshness, KeySource, Name};
use odf_node::peer::Node;
use odf_node::store::StoreOptions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::lockstep;
use crate::truth::{Machine, Series, Truth};
use simulate::network::wire::Wire;

/// Where every peer listens.
pub(crate) const PORT: u16 = 4001;
/// How often a follower asks when it hears nothing.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);
/// How often it is looked whether there is more to be followed.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How long what failed is left alone.
const RETRY: Duration = Duration::from_secs(20);
/// How long an owner waits for the network before the first command of a life.
const NEW_HANDS: Duration = Duration::from_secs(5);
/// Memory for the cache of the index of one machine.
const CACHE_BYTES: u64 = 4 << 20;

/// What its owner has a machine do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// So many rows are added to a series and published.
    Append(Series, u64),
    /// What all names stand for is asked for now.
    Ask,
    /// Everything here is checked again.
    Verify,
    /// It is shut down.
    End,
}

/// What a life begins with.
pub(crate) struct Life {
    /// Which machine.
    pub(crate) machine: Machine,
    /// Its address.
    pub(crate) at: Ipv4Addr,
    /// Its workspace.
    pub(crate) dir: PathBuf,
    /// Its disk.
    pub(crate) recorder: Arc<Recorder>,
    /// Set when its power was cut: whatever it says then is of no account.
    pub(crate) is_cut: Arc<AtomicBool>,
    /// Its network.
    pub(crate) wire: Wire,
    /// How wrong its clock is, in nanoseconds.
    pub(crate) skew: i64,
    /// Whom it is told to ask first.
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Whether it helps others to be reached.
    pub(crate) public: bool,
    /// Series that it adds to.
    pub(crate) owns: Vec<Series>,
    /// Those of them that another machine adds to as well.
    pub(crate) shares: Vec<Series>,
    /// What is to be done.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// What really happened.
    pub(crate) truth: Truth,
}

impl Life {
    /// Lives it to its end.
    pub(crate) fn live(self) {
        lockstep::skew(self.skew);
        let (truth, machine, is_cut) = (self.truth.clone(), self.machine, self.is_cut.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(16)
            .build();
        let lived = match &runtime {
            Ok(runtime) => runtime.block_on(self.run()),
            Err(error) => Err(format!("its runtime: {error}")),
        };
        if let (Err(failure), false) = (lived, is_cut.load(Ordering::Acquire)) {
            truth.violated(format_args!("machine {machine}: {failure}"));
        }
        if let Ok(runtime) = runtime {
            // What goes on after a cut meets a disk that takes nothing.
            runtime.shutdown_background();
        }
    }

    async fn run(mut self) -> Result<(), String> {
        let options = StoreOptions {
            disk: Disk::with(self.recorder.clone()),
            cache_bytes: CACHE_BYTES,
            ..StoreOptions::default()
        };
        let workspace = Workspace::open(&self.dir, options).map_err(|error| format!("its workspace: {error}"))?;
        self.look_around(&workspace)?;
        let node = self.start(&workspace).await?;
        let home = Arc::new(Home {
            machine: self.machine,
            workspace,
            node,
            is_cut: self.is_cut.clone(),
            truth: self.truth.clone(),
            dir: self.dir.clone(),
        });
        let mut changes = home.node.names().changes();
        let mut followed: Vec<Followed> = Vec::new();
        let mut work = JoinSet::new();
        let begin = Instant::now() + NEW_HANDS;
        loop {
            self.notice(&mut followed, begin);
            for one in followed
                .iter_mut()
                .filter(|one| !one.running && one.due <= Instant::now())
            {
                one.running = true;
                work.spawn(home.clone().follow(one.series, one.name, one.heard));
                one.heard = false;
            }
            let next = followed.iter().filter(|one| !one.running).map(|one| one.due).min();
            let look = Instant::now() + LOOK_EVERY;
            let next = next.map_or(look, |next| next.min(look));
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Append(series, rows)) => { work.spawn(home.clone().append(series, rows)); }
                    Some(Order::Ask) => followed.iter_mut().for_each(|one| one.due = Instant::now()),
                    Some(Order::Verify) => home.verify()?,
                    Some(Order::End) | None => break,
                },
                Some(done) = work.join_next() => {
                    if let Ok(Some((series, after))) = done
                        && let Some(one) = followed.iter_mut().find(|one| one.series == series)
                    {
                        (one.running, one.due) = (false, Instant::now() + after);
                    }
                }
                Some(change) = changes.next() => {
                    for one in &mut followed {
                        if matches!(change, Change::Many) || matches!(change, Change::Of(name) if name == one.name) {
                            (one.heard, one.due) = (true, Instant::now());
                        }
                    }
                }
                () = sleep_until(next) => {}
            }
            if self.is_cut.load(Ordering::Acquire) {
                return Ok(());
            }
        }
        work.shutdown().await;
        home.node.shutdown().await;
        home.workspace.ends_well().map_err(|error| format!("its end: {error}"))
    }

    /// What was here must still be.
    fn look_around(&self, workspace: &Workspace) -> Result<(), String> {
        for (series, name) in self.truth.names() {
            let dataset = dataset_of(workspace, series, &name)?;
            self.truth.found(series, self.machine, dataset.as_ref());
            if let (Some(dataset), true) = (&dataset, self.owns.contains(&series)) {
                self.truth.committed(series, self.machine, dataset);
            }
        }
        // Begun, and cut off before its owner was told so.
        for series in &self.owns {
            if self.truth.key(*series).is_none()
                && let Some(dataset) = named(workspace, *series)?
            {
                begun(workspace, &self.truth, *series, &dataset)?;
                self.truth.committed(*series, self.machine, &dataset);
            }
        }
        Ok(())
    }

    async fn start(&mut self, workspace: &Workspace) -> Result<Node, String> {
        let keys = workspace.keys().clone();
        let keypair = keys
            .get_or_generate(PEER_KEY)
            .map_err(|error| format!("its key: {error}"))?;
        let wire = std::mem::replace(&mut self.wire, Wire::dead());
        let listen = format!("/ip4/{}/tcp/{PORT}", self.at)
            .parse()
            .map_err(|_| "its address")?;
        let builder = Node::builder(workspace.store()).map_err(|error| format!("its peer: {error}"))?;
        builder
            .keypair(keypair)
            .over(wire.streams())
            .listen(vec![listen])
            .bootstrap(self.bootstrap.clone())
            .public(self.public)
            .mdns(false)
            .port_mapping(false)
            .keys(KeySource::from_fn(move |name| keys.find(&name.peer_id(), &[])))
            .start()
            .await
            .map_err(|error| format!("its peer: {error}"))
    }

    /// Takes note of series that were begun by others.
    fn notice(&self, followed: &mut Vec<Followed>, begin: Instant) {
        for (series, name) in self.truth.names() {
            let is_alone = self.owns.contains(&series) && !self.shares.contains(&series);
            if followed.iter().all(|one| one.series != series) && !is_alone {
                followed.push(Followed {
                    series,
                    name,
                    due: begin,
                    heard: false,
                    running: false,
                });
            }
        }
    }
}

/// A name that is followed.
struct Followed {
    series: Series,
    name: Name,
    due: Instant,
    heard: bool,
    running: bool,
}

/// What the work of one life shares.
struct Home {
    machine: Machine,
    workspace: Workspace,
    node: Node,
    is_cut: Arc<AtomicBool>,
    truth: Truth,
    dir: PathBuf,
}

/// Which series may be asked for again, and after how long.
type Done = Option<(Series, Duration)>;

impl Home {
    fn fault(&self, what: &str, error: impl std::fmt::Display) {
        if !self.is_cut.load(Ordering::Acquire) {
            self.truth
                .violated(format_args!("machine {}: {what}: {error}", self.machine));
        }
    }

    async fn append(self: Arc<Self>, series: Series, rows: u64) -> Done {
        if self.truth.key(series).is_some() && matches!(named(&self.workspace, series), Ok(None)) {
            // A second machine with the key adds to what it has pulled.
            return None;
        }
        if let Err(error) = self.adopt(series) {
            self.fault("a key cannot be kept", error);
            return None;
        }
        let dataset = match self.take(series, rows) {
            Ok(dataset) => dataset,
            Err(error) => {
                self.fault("rows were not taken", error);
                return None;
            }
        };
        self.truth.tell(
            "append",
            format_args!(
                "machine {}, series {series}: block {}",
                self.machine,
                dataset.state().sequence_number
            ),
        );
        let Some(key) = self.workspace.key_of(&dataset.id()) else {
            self.fault("a key is lost", dataset.id());
            return None;
        };
        match publish(self.workspace.local(), &self.node, &dataset, &key, false).await {
            Ok(published) => self.truth.tell(
                "publish",
                format_args!(
                    "machine {}, series {series}: number {}, {} holders",
                    self.machine, published.sequence, published.holders
                ),
            ),
            Err(PublishError::Diverged { .. }) => {
                self.truth.tell(
                    "fork",
                    format_args!("machine {} may not publish series {series}", self.machine),
                );
                self.truth.refused(series, self.machine);
            }
            // Somebody else has moved the name, and who has what it stands for is out of reach.
            Err(error @ (PublishError::Unreadable { .. } | PublishError::Name(_) | PublishError::Routing(_))) => {
                self.truth.tell(
                    "put off",
                    format_args!("machine {}, series {series}: {error}", self.machine),
                );
            }
            Err(error) => self.fault("publishing", error),
        }
        None
    }

    /// Rows that were never there before, durable when this returns.
    fn take(&self, series: Series, rows: u64) -> Result<Dataset, String> {
        let name = name(series).parse().map_err(|_| "a name of a series is none")?;
        let before = named(&self.workspace, series)?.map_or(0, |dataset| dataset.state().sequence_number);
        let path = self.dir.with_extension(format!("{series}-{before}.csv"));
        let mut text = "machine,block,row\n".to_owned();
        (0..rows).for_each(|row| text.push_str(&format!("{},{before},{row}\n", self.machine)));
        fs::write(&path, text).map_err(|error| error.to_string())?;
        let source = Source::file(&path, None, Default::default()).map_err(|error| error.to_string())?;
        let now = Timestamp::try_from(chrono::Utc::now()).map_err(|error| format!("{error:?}"))?;
        // Each time a file of its own, as rows of a sensor come.
        let options = odf::ingest::Options {
            changed: Changed::TakeAll,
            ..Default::default()
        };
        let taken = self
            .workspace
            .take(&name, &source, &options, now, &mut |_| ControlFlow::Continue(()));
        let _ = fs::remove_file(&path);
        let (dataset, _) = taken.map_err(|error| error.to_string())?;
        if !self.is_cut.load(Ordering::Acquire) {
            begun(&self.workspace, &self.truth, series, &dataset)?;
            self.truth.committed(series, self.machine, &dataset);
        }
        Ok(dataset)
    }

    async fn follow(self: Arc<Self>, series: Series, name: Name, heard: bool) -> Done {
        let again = match self.pull(series, name, heard).await {
            Ok(()) => ASK_EVERY,
            Err(PullError::Receive(ReceiveError::Diverged { .. })) => {
                self.truth
                    .tell("fork", format_args!("machine {} refuses series {series}", self.machine));
                self.truth.refused(series, self.machine);
                match self.prove(name).await {
                    Ok(true) => self.truth.proved(series, self.machine),
                    Ok(false) => {}
                    Err(error) => self.truth.tell("no proof", error),
                }
                ASK_EVERY
            }
            Err(PullError::Resolve(error)) => {
                self.truth.tell(
                    "not resolved",
                    format_args!("machine {}, series {series}: {error}", self.machine),
                );
                RETRY
            }
            Err(PullError::Remote(error)) => {
                self.truth.tell(
                    "not fetched",
                    format_args!("machine {}, series {series}: {error}", self.machine),
                );
                RETRY
            }
            Err(PullError::Receive(ReceiveError::Source(error))) => {
                self.truth.tell(
                    "not fetched",
                    format_args!("machine {}, series {series}: {error}", self.machine),
                );
                RETRY
            }
            Err(error) => {
                self.fault("pulling", error);
                RETRY
            }
        };
        Some((series, again))
    }

    async fn pull(&self, series: Series, name: Name, heard: bool) -> Result<(), PullError> {
        let local = self.workspace.local();
        let fetcher = Fetcher::new(self.workspace.store().clone(), Some(self.node.exchange().session()));
        let options = PullOptions {
            name: self::name(series).parse().ok(),
            alias: true,
            freshness: if heard { Freshness::Cached } else { Freshness::Network },
            ..PullOptions::default()
        };
        let go_on = Arc::new(|_| ControlFlow::Continue(()));
        let pulled = pull_from(local, &self.node, &fetcher, &Address::Name(name), options, go_on).await?;
        let dataset = pulled.received.dataset();
        if self.is_cut.load(Ordering::Acquire) {
            return Ok(());
        }
        self.truth.pulled(series, self.machine, dataset);
        self.truth.tell(
            "pull",
            format_args!(
                "machine {}, series {series}: block {}",
                self.machine,
                dataset.state().sequence_number
            ),
        );
        if let Ok(resolved) = self.node.names().resolve(&name, Freshness::Cached).await
            && let Err(error) = proof::remember(local, dataset, &resolved.record)
        {
            self.fault("what was signed is not remembered", error);
        }
        Ok(())
    }

    /// Whether there is a proof of what was refused, that holds.
    async fn prove(&self, name: Name) -> Result<bool, String> {
        let local = self.workspace.local();
        let Some(before) = proof::taken(local, &name).map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        let now = self
            .node
            .names()
            .resolve(&name, Freshness::Cached)
            .await
            .map_err(|error| error.to_string())?;
        let fetcher = Fetcher::new(self.workspace.store().clone(), Some(self.node.exchange().session()));
        let gathered = Proof::gather(&fetcher, name, before, now.record)
            .await
            .map_err(|error| error.to_string())?;
        let read = Proof::from_json(&gathered.to_json()).map_err(|error| error.to_string())?;
        read.check().map(|_| true).map_err(|error| error.to_string())
    }

    /// This machine gets a copy of the key, as one does who wants to publish from two.
    fn adopt(&self, series: Series) -> Result<(), String> {
        let Some((_, key)) = self.truth.key(series) else {
            return Ok(());
        };
        let keys = self.workspace.keys();
        match keys.get(&name(series)) {
            Ok(Some(_)) => Ok(()),
            _ => keys.insert(&name(series), &key).map_err(|error| error.to_string()),
        }
    }

    /// Every byte of every dataset is what its chain says.
    fn verify(&self) -> Result<(), String> {
        let entries = self.workspace.catalog().entries().map_err(|error| error.to_string())?;
        for entry in entries {
            let dataset = self
                .workspace
                .catalog()
                .open_entry(&entry)
                .map_err(|error| error.to_string())?;
            verify(&dataset, self.workspace.datasets().mirror(), Depth::Rows, &|_| {})
                .map_err(|error| format!("a dataset does not verify: {error}"))?;
            self.truth.tell(
                "verify",
                format_args!("machine {}: {} blocks", self.machine, dataset.chain_len()),
            );
        }
        Ok(())
    }
}

/// The first rows of a series are durable.
fn begun(workspace: &Workspace, truth: &Truth, series: Series, dataset: &Dataset) -> Result<(), String> {
    let name = name_of(&dataset.id()).ok_or("a dataset has no name")?;
    let key = workspace.key_of(&dataset.id()).ok_or("the key of a dataset is lost")?;
    truth.begun(series, name, key);
    Ok(())
}

fn dataset_of(workspace: &Workspace, series: Series, name: &Name) -> Result<Option<Dataset>, String> {
    match odf::pull::id_of(name) {
        Some(id) => workspace
            .catalog()
            .by_id(&id)
            .map_err(|error| format!("series {series}: {error}")),
        None => Ok(None),
    }
}

fn named(workspace: &Workspace, series: Series) -> Result<Option<Dataset>, String> {
    let name = name(series).parse().map_err(|_| "a name of a series is none")?;
    let entry = workspace.catalog().named(&name).map_err(|error| error.to_string())?;
    let opened = entry.map(|entry| workspace.catalog().open_entry(&entry)).transpose();
    opened.map_err(|error| error.to_string())
}

/// What a series is called everywhere.
fn name(series: Series) -> String {
    format!("series-{series}")
}

/// The peer id of the machine whose workspace is in `dir`, which is made.
pub(crate) fn identity(dir: &Path) -> Result<odf_node::PeerId, String> {
    let keys = odf_node::keystore::Keystore::open(&dir.join("keys")).map_err(|error| error.to_string())?;
    let key = keys.get_or_generate(PEER_KEY).map_err(|error| error.to_string())?;
    Ok(key.public().to_peer_id())
}
