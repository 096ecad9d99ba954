//! What the commands of one workspace share in the process that owns it. Everything in it starts on first use, so a
//! command pays only for what it needs: `odfs list` starts no peer, `odfs key list` opens no store.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use odf::Local;
use odf::announce::announce_rest;
use odf::catalog::Entry;
use odf::dataset::Dataset;
use odf::disk::{Access, Disk};
use odf::layout::Root;
use odf::metadata::DatasetId;
use odf::registry::Repositories;
use odf::repository::server::{PushLog, Tokens};
use odf::retention::{Retention, retain};
use odf::room::{self, Room};
use odf::workspace::{PEER_KEY, Workspace};
use odf_node::PeerId;
use odf_node::block::Cid;
use odf_node::denylist::Denylist;
use odf_node::exchange;
use odf_node::ipns::{KeySource, Name};
use odf_node::keystore::Keystore;
use odf_node::peer::{Bandwidth, Builder, Node};
use odf_node::routing::Routers;
use odf_node::store::{MemoryStore, StoreOptions};
use tokio::sync::Notify;

use crate::failure::{Failure, Kind};
use crate::io::{Cancel, Io};
use crate::settings::{self, Settings};
use crate::workspace::WorkspaceDir;

pub(crate) mod authorities;
mod batches;
mod bootstrap;
mod contact;
mod denied;
mod followed;
mod lazy;
mod private;
mod turns;

pub(crate) use batches::{Batches, Wanted};
use lazy::Lazy;
pub(crate) use turns::Turn;
use turns::Turns;

/// Connections of a peer on a metered link, unless a number was set.
const LOW_POWER_CONNECTIONS: u32 = 20;
/// How often it is looked whether the turn at the tree of `ipfs files` is free.
const TURN_TICK: Duration = Duration::from_millis(5);
/// How long a fetch waits for the next block before it fails with what was tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// The opened workspace of one owner, with the settings of one command.
pub(crate) struct Session {
    owned: Arc<Owned>,
    settings: Settings,
}

/// What the commands of one owner share.
struct Owned {
    dir: WorkspaceDir,
    disk: Disk,
    public: AtomicBool,
    /// Whether the peer is to speak with nobody.
    offline: AtomicBool,
    /// Whether the index is to be made again when the workspace is opened.
    rebuild: AtomicBool,
    lasting: AtomicBool,
    /// Whether it stays, to serve or for a command that goes on.
    staying: Arc<AtomicBool>,
    /// Set when the process has done what it was started for, and only waits for the commands of others.
    ending: Cancel,
    /// Set when somebody asked the process to stop serving.
    stopping: Cancel,
    /// Told when other names are followed than before.
    follows_changed: Notify,
    runtime: Lazy<tokio::runtime::Runtime>,
    keys: Lazy<Keystore>,
    workspace: Lazy<Workspace>,
    node: Lazy<Node>,
    denylist: Lazy<Denylist>,
    /// What all peers of this process may send and receive together.
    bandwidth: Bandwidth,
    /// Whether the spool directory was made.
    spool: Lazy<()>,
    /// Held while a dataset comes into being.
    making: Mutex<()>,
    /// Held while the tree of `ipfs files` is changed.
    changing_files: Mutex<()>,
    turns: Turns,
    batches: Batches,
    /// Where the HTTP gateway of this process is reached.
    gateway: OnceLock<SocketAddr>,
}

impl Session {
    /// Starts nothing yet. The caller owns the workspace for as long as this lives.
    pub(crate) fn new(dir: WorkspaceDir, settings: Settings, disk: Disk) -> Self {
        let owned = Owned {
            dir,
            disk,
            public: AtomicBool::new(false),
            offline: AtomicBool::new(false),
            rebuild: AtomicBool::new(false),
            lasting: AtomicBool::new(false),
            staying: Arc::default(),
            ending: Cancel::new(),
            stopping: Cancel::new(),
            follows_changed: Notify::new(),
            runtime: Lazy::new(),
            keys: Lazy::new(),
            workspace: Lazy::new(),
            node: Lazy::new(),
            denylist: Lazy::new(),
            bandwidth: Bandwidth::new(settings.bandwidth_up, settings.bandwidth_down),
            spool: Lazy::new(),
            making: Mutex::default(),
            changing_files: Mutex::default(),
            turns: Turns::default(),
            batches: Batches::default(),
            gateway: OnceLock::new(),
        };
        Self {
            owned: Arc::new(owned),
            settings,
        }
    }

    /// The same workspace for a command that another process sent: with the settings in the file as it is now, and what
    /// that process has in its environment.
    ///
    /// # Errors
    /// The settings cannot be read.
    pub(crate) fn for_sender(&self, io: &Io) -> Result<Self, Failure> {
        let environment = io.environment().settings()?;
        let layers = settings::load(&self.owned.dir.settings_file(), environment.as_deref())?;
        Ok(Self {
            owned: self.owned.clone(),
            settings: layers.settings,
        })
    }

    /// The same, for work beside the command.
    pub(crate) fn for_background(&self) -> Self {
        Self {
            owned: self.owned.clone(),
            settings: self.settings.clone(),
        }
    }

    /// The workspace directory.
    pub(crate) fn root(&self) -> &Path {
        self.owned.dir.root()
    }

    /// The workspace as a directory, for what needs no more of it.
    pub(crate) fn dir(&self) -> &WorkspaceDir {
        &self.owned.dir
    }

    /// What everything here is written through.
    pub(crate) fn disk(&self) -> &Disk {
        &self.owned.disk
    }

    /// A directory for streams that have to be read twice. Whatever an earlier process left in it is gone.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn spool_dir(&self) -> Result<PathBuf, Failure> {
        let dir = self.owned.dir.root().join("spool");
        self.owned
            .spool
            .get_or_start(|| {
                self.owned.disk.remove_tree(&dir)?;
                self.owned.disk.create_dir(&dir, Access::Owner)
            })
            .map_err(|error| Failure::file(&error.path, &error.source))?;
        Ok(dir)
    }

    /// A turn at making a dataset, so that two commands with one new name make one dataset.
    pub(crate) fn making(&self) -> MutexGuard<'_, ()> {
        self.owned.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn at changing the tree of `ipfs files`, so that no change of two is lost.
    ///
    /// # Errors
    /// The user does not want to wait any longer: whoever has the turn may read from somebody who types.
    pub(crate) fn changing_files(&self, io: &Io) -> Result<MutexGuard<'_, ()>, Failure> {
        loop {
            match self.owned.changing_files.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            io.check()?;
            std::thread::sleep(TURN_TICK);
        }
    }

    /// Waits for this command's turn at changing the dataset, and opens it anew: whoever was before has moved its head.
    ///
    /// # Errors
    /// Others take too long, the user wants to stop, or the dataset is not there any more.
    pub(crate) fn turn(&self, dataset: &mut Dataset, io: &mut Io) -> Result<Turn, Failure> {
        let (id, name) = (dataset.id(), dataset.name()?);
        let turn = self.owned.turns.take(id, name.as_str(), io)?;
        *dataset = self.workspace()?.catalog().find(&id.to_string())?;
        Ok(turn)
    }

    /// As [`Self::turn`], for work that nobody waits for. Who no longer wants it drops the wait.
    pub(crate) async fn turn_in_background(&self, id: DatasetId) -> Turn {
        self.owned.turns.wait(id).await
    }

    /// Roots that this process makes for several appends at once.
    pub(crate) fn batches(&self) -> &Batches {
        &self.owned.batches
    }

    /// Gives up the older roots of a dataset that changed, as the settings say.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) fn retain(&self, dataset: &Dataset) -> Result<(), Failure> {
        let local = self.workspace()?.local();
        let given_up = retain(local, dataset, &self.retention_of(dataset)?, SystemTime::now())?;
        let withdrawn = given_up.withdraw(local, self.running_node());
        Ok(self.runtime()?.block_on(withdrawn)?)
    }

    /// This process has an HTTP gateway at `address` from now on.
    pub(crate) fn set_gateway(&self, address: SocketAddr) {
        self.owned.gateway.get_or_init(|| address);
    }

    /// The URL of the HTTP gateway of this process, ending in a slash, if it has one.
    pub(crate) fn gateway(&self) -> Option<String> {
        let address = self.owned.gateway.get()?;
        Some(match self.settings.public_url() {
            Some(url) => url.to_string(),
            // Bound to every interface, it is reached at this machine too.
            None if address.ip().is_unspecified() => format!("http://127.0.0.1:{}/", address.port()),
            None => format!("http://{address}/"),
        })
    }

    /// The repositories that are known by name.
    pub(crate) fn repositories(&self) -> Repositories {
        Repositories::of(self.owned.dir.root(), &self.owned.disk)
    }

    /// The tokens of others for this workspace.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens::of(self.owned.dir.root(), &self.owned.disk)
    }

    /// Who pushed what here.
    pub(crate) fn pushes(&self) -> PushLog {
        PushLog::of(self.owned.dir.root(), &self.owned.disk)
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether this process stays and serves until it is stopped.
    pub(crate) fn is_lasting(&self) -> bool {
        self.owned.lasting.load(Ordering::Acquire)
    }

    /// From now on this process stays and serves.
    pub(crate) fn set_lasting(&self) {
        self.owned.lasting.store(true, Ordering::Release);
        self.set_staying();
    }

    /// The peer helps others to be reached, whatever network.public says. For [`Session::node`], before it is called first.
    pub(crate) fn set_public(&self) {
        self.owned.public.store(true, Ordering::Release);
    }

    /// The peer listens nowhere and dials nobody by itself. For [`Session::node`], before it is called first.
    pub(crate) fn set_offline(&self) {
        if self.running_node().is_none() {
            self.owned.offline.store(true, Ordering::Release);
        }
    }

    /// Whether the peer of this process speaks with nobody.
    pub(crate) fn is_offline(&self) -> bool {
        self.owned.offline.load(Ordering::Acquire)
    }

    /// From now on this process stays until it is stopped, and its peer gives others what is here.
    pub(crate) fn set_staying(&self) {
        self.owned.staying.store(true, Ordering::Release);
    }

    /// Set while this process stays until it is stopped: commands that go on for as long can work through it.
    pub(crate) fn staying(&self) -> Arc<AtomicBool> {
        self.owned.staying.clone()
    }

    /// Set once this process has done what it was started for: it ends when the commands of others are done, and those that
    /// would go on for ever end then.
    pub(crate) fn ending(&self) -> &Cancel {
        &self.owned.ending
    }

    /// Set when a command asked the process to stop serving.
    pub(crate) fn stopping(&self) -> &Cancel {
        &self.owned.stopping
    }

    /// The runtime of the peer and everything else that waits for the network.
    ///
    /// # Errors
    /// The system gives no threads or descriptors.
    pub(crate) fn runtime(&self) -> Result<&tokio::runtime::Runtime, Failure> {
        self.owned.runtime.get_or_start(|| {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .thread_name("odfs")
                .build()
                .map_err(|error| Failure::new(Kind::General, error).about("starting the runtime"))
        })
    }

    /// The private keys.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn keys(&self) -> Result<&Keystore, Failure> {
        self.owned.keys.get_or_start(|| {
            Ok(Keystore::open_on(
                self.owned.disk.clone(),
                &self.owned.dir.root().join("keys"),
            )?)
        })
    }

    /// The store and the datasets.
    ///
    /// # Errors
    /// They cannot be opened.
    pub(crate) fn workspace(&self) -> Result<&Workspace, Failure> {
        self.owned.workspace.get_or_start(|| {
            let options = StoreOptions {
                disk: self.owned.disk.clone(),
                max_bytes: self.settings.store_max.map(NonZeroU64::get),
                rebuild: self.owned.rebuild.load(Ordering::Acquire),
                ..StoreOptions::default()
            };
            Ok(Workspace::open(self.owned.dir.root(), options)?)
        })
    }

    /// The index of the store is to be made again from the files when the workspace is opened. False if it is open already.
    pub(crate) fn set_rebuild(&self) -> bool {
        self.owned.rebuild.store(true, Ordering::Release);
        self.owned.workspace.get().is_none()
    }

    /// Makes room in a store that is near its limit. Gives what went, or nothing if there is room enough, or if somebody is at
    /// work for whom it stays as it is.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) fn make_room(&self) -> Result<Option<Room>, Failure> {
        let workspace = self.workspace()?;
        let local = workspace.local();
        let retention = |entry: &Entry| {
            let opened = workspace.catalog().open_entry(entry).map_err(Failure::from);
            // What nobody can tell of a dataset that is damaged takes nothing away.
            let retention = opened.and_then(|dataset| self.retention_of(&dataset));
            retention.unwrap_or(Retention::All)
        };
        match room::make_room(local, &retention, SystemTime::now()) {
            Err(error) if error.is_busy() => Ok(None),
            made => Ok(made?),
        }
    }

    /// The store and the datasets, if a command has needed them yet.
    pub(crate) fn open_workspace(&self) -> Option<&Workspace> {
        self.owned.workspace.get()
    }

    /// The peer, if a command has needed it yet.
    pub(crate) fn running_node(&self) -> Option<&Node> {
        self.owned.node.get()
    }

    /// The peer; starts it when this is the first command that needs it. It stays until the process ends.
    ///
    /// # Errors
    /// An address is in use, a setting is no address, or the store fails.
    pub(crate) fn node(&self) -> Result<&Node, Failure> {
        self.owned.node.get_or_start(|| {
            let Settings {
                listen,
                mdns,
                port_mapping,
                public,
                low_power,
                max_connections,
                pubsub,
                strategy,
                ..
            } = &self.settings;
            let store = self.workspace()?.store();
            let offline = self.is_offline();
            let helps = *public || self.owned.public.load(Ordering::Acquire);
            let keys = self.keys()?.clone();
            let network_key = self.network_key()?;
            let mut builder = Node::builder(store)?
                .keypair(keys.get_or_generate(PEER_KEY)?)
                .listen(match offline {
                    true => Vec::new(),
                    false => self.listen_addresses(network_key.as_ref())?,
                })
                // Somebody else on the usual port is no reason to fail; on a port that was asked for, it is.
                .port_fallback(listen.is_none())
                .bootstrap(match offline {
                    true => Vec::new(),
                    false => self.bootstrap_addresses(network_key.as_ref())?,
                })
                .network_key(network_key)
                .bootstrap_last(match offline {
                    true => Vec::new(),
                    false => self.later_bootstrap_addresses()?,
                })
                .mdns(*mdns && !offline)
                .port_mapping(*port_mapping && !offline)
                .public(helps)
                .serves_dht(!low_power)
                .bandwidth(self.owned.bandwidth.clone())
                .pubsub(*pubsub)
                .strategy(*strategy)
                .routers(match offline {
                    true => Routers::default(),
                    false => Routers::new(&self.settings.routers, self.authorities()?)?,
                })
                .exchange(self.exchange_config()?)
                .keys(KeySource::from_fn(move |name| keys.find(&name.peer_id(), &[])));
            let few = low_power.then_some(LOW_POWER_CONNECTIONS);
            if let Some(limit) = max_connections.or(few) {
                builder = builder.max_connections(limit);
            }
            let node = self.runtime()?.block_on(builder.start())?;
            node.exchange().gateways().believe(self.authorities()?);
            if !offline {
                node.exchange().gateways().add(&self.settings.gateways)?.keep();
            }
            Ok(node)
        })
    }

    /// Who the peer of this workspace is, running or not.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub(crate) fn own_peer_id(&self) -> Result<PeerId, Failure> {
        Ok(self.keys()?.get_or_generate(PEER_KEY)?.public().to_peer_id())
    }

    /// Makes peers that know the network as this one was told it, have a key of their own and nothing here, and are in nobody's way.
    ///
    /// # Errors
    /// A setting is no address, or the key of a private network cannot be read.
    pub(crate) fn stranger(&self) -> Result<impl Fn() -> Builder + use<>, Failure> {
        let key = self.network_key()?;
        let bootstrap = self.bootstrap_addresses(key.as_ref())?;
        let bandwidth = self.owned.bandwidth.clone();
        Ok(move || {
            Node::throwaway(Arc::new(MemoryStore::default()))
                .listen(Vec::new())
                .bootstrap(bootstrap.clone())
                .network_key(key)
                .bandwidth(bandwidth.clone())
                .mdns(false)
                .pubsub(false)
                .exchange(patient())
        })
    }

    /// The IPNS name of the peer's own key.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub(crate) fn peer_name(&self) -> Result<Name, Failure> {
        Ok(Name::from_public_key(&self.keys()?.get_or_generate(PEER_KEY)?.public()))
    }

    /// Tells the running peer of content that was added, so that it goes to peers that wait for it. Without a running
    /// peer there is nobody to tell.
    pub(crate) fn added(&self, roots: &[Cid]) {
        if let (Some(node), Ok(runtime)) = (self.running_node(), self.runtime()) {
            spread(node, runtime.handle(), roots);
        }
    }

    /// Waits for `work`, or for the user's wish to stop; `work` is then dropped.
    ///
    /// # Errors
    /// That of `work`, or interrupted.
    pub(crate) fn wait<T, E: Into<Failure>>(
        &self,
        io: &Io,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let cancel = io.cancel().clone();
        self.runtime()?.block_on(async {
            tokio::select! {
                biased;
                () = cancel.wait() => Err(Failure::interrupted()),
                done = work => done.map_err(Into::into),
            }
        })
    }

    /// Stops the peer and puts everything on disk.
    pub(crate) fn close(&self) {
        let Some(workspace) = self.owned.workspace.get() else {
            return;
        };
        // Commands flush what they change; only the peer leaves something behind.
        if let (Some(node), Some(runtime)) = (self.owned.node.get(), self.owned.runtime.get()) {
            runtime.block_on(node.shutdown());
            if let Err(error) = workspace.store().flush() {
                tracing::warn!(%error, "the last flush of the store failed");
            }
        }
        // The door keeps the session, and so the store, to the very end.
        if let Err(error) = workspace.ends_well() {
            tracing::debug!(%error, "the next opening of the workspace syncs everything");
        }
    }
}

/// A person at a terminal wants a verdict sooner than a library has to give one.
fn patient() -> exchange::Config {
    let mut config = exchange::Config::default();
    config.patience = PATIENCE;
    config
}

/// Tells the running peer of content that was added, so that it goes to peers that wait for it.
pub(crate) fn spread(node: &Node, runtime: &tokio::runtime::Handle, roots: &[Cid]) {
    node.exchange().blocks_added(roots);
    let (node, roots) = (node.clone(), roots.to_vec());
    runtime.spawn(async move {
        if let Err(error) = node.provide(roots).await {
            tracing::warn!(%error, "content that was added is not announced");
        }
    });
}

/// As [`spread`], of a dataset that came from elsewhere than from peers and is everybody's.
pub(crate) fn spread_dataset(
    local: &Local,
    node: &Node,
    runtime: &tokio::runtime::Handle,
    id: &DatasetId,
    root: &Root,
) {
    spread(node, runtime, &root.entities());
    let (local, node, id, root) = (local.clone(), node.clone(), *id, root.clone());
    runtime.spawn(async move {
        if let Err(error) = announce_rest(&local, &node, &id, &root).await {
            tracing::warn!(%error, dataset = %id, "not all of a dataset is announced");
        }
    });
}
