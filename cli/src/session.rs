//! What the commands of one workspace share in the process that owns it. Everything in it starts on first use, so a
//! command pays only for what it needs: `odfs list` opens no socket, `odfs completions` no store.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::settings::Settings;
use crate::workspace::Workspace;

mod lazy;

use lazy::Lazy;

/// The shared state of one owner.
pub(crate) struct Session {
    workspace: Workspace,
    settings: Settings,
    runtime: Lazy<tokio::runtime::Runtime>,
    lasting: Arc<AtomicBool>,
}

impl Session {
    /// Starts nothing yet. The caller owns the workspace for as long as this lives.
    pub(crate) fn new(workspace: Workspace, settings: Settings) -> Self {
        Self {
            workspace,
            settings,
            runtime: Lazy::new(),
            lasting: Arc::default(),
        }
    }

    /// The workspace directory.
    pub(crate) fn root(&self) -> &Path {
        self.workspace.root()
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether this process stays and serves until it is stopped.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lasting.load(Ordering::Acquire)
    }

    /// From now on this process stays and serves.
    pub(crate) fn set_lasting(&self) {
        self.lasting.store(true, Ordering::Release);
    }

    /// The flag behind [`Session::is_lasting`].
    pub(crate) fn lasting(&self) -> Arc<AtomicBool> {
        self.lasting.clone()
    }

    /// The runtime of the peer and everything else that waits for the network.
    ///
    /// # Errors
    /// The system gives no threads or descriptors.
    pub(crate) fn runtime(&self) -> Result<&tokio::runtime::Runtime, Failure> {
        self.runtime.get_or_start(|| {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .thread_name("odfs")
                .build()
                .map_err(|error| Failure::new(Kind::General, error).about("starting the runtime"))
        })
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

    /// Stops the peer and puts everything on disk. The end of the process does the rest.
    pub(crate) fn close(&self) {}
}
