//! Where a command runs, and what it leaves to be done.

/// Where a command can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In any process, with no workspace.
    Anywhere,
    /// In any process, on the plain files of the workspace.
    Files,
    /// In the process that owns the workspace.
    Owner,
    /// In the process that owns the workspace, if that stays as long as this goes on; else as that process.
    Staying,
    /// As the process that owns the workspace, for as long as it runs.
    Serving {
        /// A publish has been done and only wants to be served, by this or any other lasting process.
        published: bool,
    },
}

/// What is left to do when a command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Done,
    /// Serve until told to stop.
    Serve {
        /// With the HTTP gateway, if any.
        gateway: Option<Gateway>,
    },
}

/// How the HTTP gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    /// Whether it may get from peers what is not here, as far as the settings say so.
    pub(crate) fetch: bool,
    /// How it is said where everything is.
    pub(crate) greeting: Greeting,
}

/// What a node says when it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// One `key: value` a line.
    Odfs,
    /// What programs wait for that start Kubo's daemon.
    Kubo,
}
