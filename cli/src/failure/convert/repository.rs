//! Errors of repositories: addresses, arrivals, syncs.

use odf::place::PlaceError;
use odf::registry::RegistryError;
use odf::repository::kamu_workspace::KamuWorkspaceError;
use odf::repository::{ArrivalError, ReadError, SyncError};

use super::{damaged, of_io};
use crate::failure::{Failure, Kind, chain};

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        let failure = Failure::usage(&error);
        match error {
            PlaceError::Unknown(_) => failure.next("`odfs list` shows the datasets that are here by their names"),
            PlaceError::Unsupported { .. } => {
                failure.next("mount it, or put a web server before it, and use file:// or http(s)://")
            }
            _ => failure.next("mend the address"),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Unknown(ref name) => Failure::new(Kind::NotFound, &error).next(format!(
                "`odfs repo list` shows those that are known, `odfs repo add {name} URL` adds one"
            )),
            RegistryError::Exists { ref name, .. } => Failure::new(Kind::Refused, &error).next(format!(
                "choose another name, or remove that one with `odfs repo delete {name}`"
            )),
            RegistryError::Name(error) => error.into(),
            RegistryError::Place(error) => error.into(),
            RegistryError::BadToken => Failure::usage(&error).next("give the token as the server gave it"),
            RegistryError::Io { ref source, .. } => of_io(&error, source),
            RegistryError::Damaged { ref path, .. } => Failure::new(Kind::Storage, &error).next(format!(
                "mend {}, or remove it and add the repository again",
                path.display()
            )),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

/// Something wrong that is not ours to mend.
fn theirs(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Integrity, chain(error)).next("nothing of it was taken; tell whoever keeps the dataset there")
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Denied { .. } => Failure::new(Kind::Permission, &error)
                .next("add the server with a token that it knows: odfs repo add NAME URL --token TOKEN"),
            ReadError::Status { .. } | ReadError::Unreachable { .. } => Failure::new(Kind::Unreachable, &error)
                .next("check the address and the connection, then run the command again; what arrived is kept"),
            ReadError::Io { ref source, .. } => of_io(&error, source),
            error => theirs(&error),
        }
    }
}

impl From<ArrivalError> for Failure {
    fn from(error: ArrivalError) -> Self {
        match error {
            ArrivalError::Broken { .. } => {
                Failure::new(Kind::Unreachable, chain(&error)).next("run the command again; what arrived is kept")
            }
            ArrivalError::NotAhead { .. } | ArrivalError::OtherDataset { .. } => Failure::new(Kind::Refused, &error)
                .next("pull it under another name with --as, or delete the local one first"),
            ArrivalError::Busy(_) => Failure::new(Kind::Busy, &error).next("run the command again when that is done"),
            ArrivalError::Dataset(error) => error.into(),
            ArrivalError::Catalog(error) => error.into(),
            ArrivalError::Mirror(error) => error.into(),
            ArrivalError::Io { ref source, .. } => of_io(&error, source),
            error => theirs(&error),
        }
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::NotFound { .. } => {
                Failure::new(Kind::NotFound, &error).next("check the address: refs/head must be directly below it")
            }
            SyncError::Read(error) => error.into(),
            SyncError::Arrival(error) => error.into(),
            SyncError::Smart(error) => error.into(),
            SyncError::Dataset(error) => error.into(),
            SyncError::Diverged { .. } => Failure::new(Kind::Refused, &error)
                .next("--force makes the destination like the source, and drops the blocks that only it has"),
            SyncError::DestinationAhead { .. } => Failure::new(Kind::Refused, &error)
                .next("pull from there first; or --force sets that head back to the local one"),
            SyncError::OtherDataset { .. } => {
                Failure::new(Kind::Refused, &error).next("choose another place, or another name with --as")
            }
            SyncError::HeadMoved { .. } => Failure::new(Kind::Busy, &error).next("run the command again"),
            SyncError::Damaged { .. } => damaged(&error),
            SyncError::Io { ref source, .. } => of_io(&error, source),
            SyncError::Cancelled => Failure::interrupted(),
            error => theirs(&error),
        }
    }
}

impl From<KamuWorkspaceError> for Failure {
    fn from(error: KamuWorkspaceError) -> Self {
        use KamuWorkspaceError as E;
        match error {
            E::NotAWorkspace(_) => Failure::new(Kind::NotFound, &error).next("name the directory that holds `.kamu`"),
            E::Version { .. } => Failure::new(Kind::BadInput, &error)
                .next("bring it up to date with `kamu system upgrade-workspace`, or odfs if it is newer"),
            E::Database { .. } | E::Damaged { .. } => Failure::new(Kind::BadInput, chain(&error))
                .next("stop kamu if it works there, then run the command again"),
            E::Unknown { .. } => Failure::new(Kind::NotFound, &error).next("name it as `kamu list` shows it"),
            E::Io { ref source, .. } => of_io(&error, source),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}
