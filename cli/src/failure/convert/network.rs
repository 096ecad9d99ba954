//! Errors of the peer: blocks, store, exchange, names.

use odf::room::RoomError;
use odf_node::add::AddError;
use odf_node::block::BlockError;
use odf_node::dag::DagError;
use odf_node::denylist::DenylistError;
use odf_node::exchange;
use odf_node::fetch::FetchError;
use odf_node::ipns::{PublishError, ResolveError};
use odf_node::keystore::KeystoreError;
use odf_node::peer::{DialError, StartError};
use odf_node::retrieval::GatewayError;
use odf_node::routing::{RouterError, RoutingError};
use odf_node::store::StoreError;
use odf_node::unixfs::directory::{DirectoryError, LoadError};
use odf_node::unixfs::export::ExportError;
use odf_node::unixfs::node::NodeError;
use odf_node::unixfs::resolve;

use super::{disk_full, of_io};
use crate::failure::{Failure, Kind, chain};

/// What to do about a store that is at its limit.
const LIMITED: &str = "run the command again, since what nobody needs has gone meanwhile; else `odfs repo stat` shows what holds it: \
                       give up pins (`odfs pin rm`), older versions (`odfs config set retention`) or datasets (`odfs delete`), or \
                       raise the limit: `odfs config set store.max SIZE`, and start a node that runs again";

impl From<RoomError> for Failure {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Collect(error) => error.into(),
            RoomError::Store(error) => error.into(),
            RoomError::Layout(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Failure::usage(error).next("such an address is that of a site which serves /ipfs/: https://gateway.example")
    }
}

impl From<RouterError> for Failure {
    fn from(error: RouterError) -> Self {
        Failure::usage(error).next("such an address is that of a site which serves /routing/v1: https://router.example")
    }
}

impl From<DenylistError> for Failure {
    fn from(error: DenylistError) -> Self {
        Failure::new(Kind::BadInput, &error).about("gateway.denylist").next(
            "nothing is served without it; put the file there, or take it out of the list: odfs config set gateway.denylist FILE,FILE",
        )
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Full { .. } => disk_full(&error),
            StoreError::OverLimit { .. } => Failure::new(Kind::DiskFull, format!("{error} (store.max)")).next(LIMITED),
            StoreError::Io { source, .. } => of_io(&error, source),
            StoreError::Index(_) | StoreError::IndexDamaged => Failure::new(Kind::Storage, chain(&error))
                .next("run the command again: the index is made anew from the files"),
            StoreError::Busy | StoreError::GcRefused { .. } => Failure::new(Kind::Busy, chain(&error)),
            StoreError::PinNameTooLong { .. } => Failure::usage(&error),
            _ => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<KeystoreError> for Failure {
    fn from(error: KeystoreError) -> Self {
        match &error {
            KeystoreError::Io { source, .. } => of_io(&error, source),
            KeystoreError::Exists { .. } => {
                Failure::new(Kind::Refused, &error).next("choose another name; `odfs key list` shows those taken")
            }
            KeystoreError::BadName { .. } => Failure::usage(&error),
            KeystoreError::NotAKey { .. } => Failure::new(Kind::BadInput, chain(&error))
                .next("use a file that `odfs key export KEY` or `ipfs key export` wrote"),
            _ => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        Failure::new(Kind::BadInput, chain(&error))
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Failure::new(Kind::BadInput, chain(&error)).next("`odfs ipfs dag get PATH` shows nodes that are no files")
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Failure::new(Kind::BadInput, chain(&error))
    }
}

impl From<LoadError<Failure>> for Failure {
    fn from(error: LoadError<Failure>) -> Self {
        match error {
            LoadError::Load(failure) => failure,
            LoadError::Directory(error) => error.into(),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Failure::new(Kind::BadInput, chain(&error))
    }
}

impl From<DagError> for Failure {
    fn from(error: DagError) -> Self {
        let kind = if matches!(error, DagError::NoSuchValue { .. }) {
            Kind::NotFound
        } else {
            Kind::BadInput
        };
        Failure::new(kind, chain(&error))
    }
}

impl From<resolve::ResolveError> for Failure {
    fn from(error: resolve::ResolveError) -> Self {
        use resolve::ResolveError as E;
        let kind = match &error {
            E::NotFound { .. } | E::NothingBelow { .. } => Kind::NotFound,
            _ => Kind::BadInput,
        };
        Failure::new(kind, chain(&error))
    }
}

impl From<exchange::FetchError> for Failure {
    fn from(error: exchange::FetchError) -> Self {
        use exchange::FetchError as E;
        match &error {
            E::NotFound { .. } => Failure::new(Kind::Unreachable, chain(&error)).next(
                "check the CID and the connection; name a peer that has it with --peer, where the command takes it",
            ),
            E::Stalled { .. } => {
                Failure::new(Kind::Unreachable, chain(&error)).next("run the command again later; what arrived is kept")
            }
            E::Unverifiable { .. } => Failure::new(Kind::BadInput, chain(&error)),
            _ => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Exchange(error) => error.into(),
            FetchError::Store(error) => error.into(),
            FetchError::Directory(error) => error.into(),
            FetchError::File(error) => error.into(),
            FetchError::Dag(error) => error.into(),
            FetchError::Path(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<AddError> for Failure {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Read { ref source, .. } => of_io(&error, source),
            AddError::Special { .. } | AddError::Name { .. } | AddError::TooDeep { .. } => {
                Failure::new(Kind::BadInput, &error).next("leave it out with --ignore")
            }
            AddError::Store(error) => error.into(),
            AddError::Stopped => Failure::interrupted(),
            error => Failure::new(Kind::BadInput, chain(&error)),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::AddressInUse { .. } => Failure::new(Kind::PortInUse, &error)
                .next("stop that program, or choose another address: odfs config set network.listen default"),
            StartError::Listen { .. } => {
                Failure::usage(&error).next("choose another address with `odfs config set network.listen ADDRESS`")
            }
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match &error {
            DialError::Myself => Failure::usage(&error).next("name the address of the other peer"),
            _ => Failure::new(Kind::Unreachable, chain(&error))
                .next("check that a node runs there (`odfs status`), and what `odfs doctor` finds here and there"),
        }
    }
}

impl From<RoutingError> for Failure {
    fn from(error: RoutingError) -> Self {
        match error {
            RoutingError::Store(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NobodyToAsk { .. } => Failure::new(Kind::Unreachable, &error)
                .next("see what `odfs doctor` finds, or name a peer with --peer, where the command takes it"),
            ResolveError::NotFound { .. } | ResolveError::NotCached { .. } => Failure::new(Kind::UnknownName, &error)
                .next("check the name; its publisher has to be on-line once for others to know it"),
            ResolveError::Refused { .. } => Failure::new(Kind::BadRecord, &error)
                .next("the publisher has to publish again; do not trust another name given in its place"),
            ResolveError::Store(error) => error.into(),
            ResolveError::Routing(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Superseded { .. } => {
                Failure::new(Kind::Refused, &error).next("pull it first, or publish over it with --force")
            }
            PublishError::Store(error) => error.into(),
            PublishError::Routing(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}
