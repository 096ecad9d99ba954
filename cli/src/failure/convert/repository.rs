//! Errors of datasets that come and go: addresses, receiving, pushing.

use odf::bundle::BundleError;
use odf::follows::FollowsError;
use odf::place::PlaceError;
use odf::proof::ProofError;
use odf::pull::RemoteError;
use odf::receive::{ReceiveError, SourceError};
use odf::registry::RegistryError;
use odf::repository::kamu_workspace::KamuWorkspaceError;
use odf::repository::{PushError, ReadError, SmartError};
use odf::ticket::TicketError;

use super::{damaged, of_io};
use crate::failure::{Failure, Kind, chain};

impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Self {
        let again = "copy all of it once more: `odfs ticket DATASET` prints it on the other machine";
        match error {
            TicketError::NotOne
            | TicketError::Cut { .. }
            | TicketError::Mistyped
            | TicketError::WrongCharacter { .. } => Failure::usage(error).next(again),
            TicketError::Later(_) => Failure::new(Kind::BadInput, error)
                .next("copy all of it once more; if it begins so there too, update odfs"),
            TicketError::OtherKind(_) => Failure::new(Kind::BadInput, error).next("update odfs"),
            error => Failure::new(Kind::BadInput, error)
                .next("ask for another, which `odfs ticket DATASET` prints, or for the name of the dataset"),
        }
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        let failure = Failure::usage(&error);
        match error {
            PlaceError::Ticket(error) => error.into(),
            PlaceError::Unknown(_) => failure.next("`odfs list` shows the datasets that are here by their names"),
            PlaceError::Unsupported { .. } => {
                failure.next("mount it, or put a web server before it, and use file:// or http(s)://")
            }
            _ => failure.next("mend the address"),
        }
    }
}

impl From<FollowsError> for Failure {
    fn from(error: FollowsError) -> Self {
        match error {
            FollowsError::Disk(error) => error.into(),
            FollowsError::Damaged { ref path, .. } => Failure::new(Kind::Storage, &error).next(format!(
                "remove {}, then `odfs follow` what it was about again",
                path.display()
            )),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::NotOne(_) | BundleError::Later(_) => Failure::new(Kind::BadInput, chain(&error)),
            error => Failure::new(Kind::Integrity, chain(&error)),
        }
    }
}

impl From<ProofError> for Failure {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Fetch(error) => error.into(),
            ProofError::Store(error) => error.into(),
            ProofError::Layout(error) => error.into(),
            error => Failure::new(Kind::Integrity, chain(&error)),
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
            // Misdirected: it does not go by the name in the URL.
            ReadError::Denied { status: 421, .. } => Failure::new(Kind::Unreachable, &error).next(
                "use the server's address, or ask its owner to add the name: `odfs config set gateway.hosts NAME`",
            ),
            ReadError::Denied { .. } => Failure::new(Kind::Permission, &error)
                .next(
                    "ask its owner for a token that may do this, and add the server with that one: `odfs repo add NAME URL \
                     --token TOKEN`; where `odfs repo list` has it with another token, `odfs repo delete NAME` goes before",
                ),
            ReadError::Status { .. } | ReadError::Unreachable { .. } => Failure::new(Kind::Unreachable, &error)
                .next("check the address and the connection, then run the command again; what arrived is kept"),
            ReadError::Io { ref source, .. } => of_io(&error, source),
            error => theirs(&error),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let error = match error.take::<ReadError>() {
            Ok(error) => return error.into(),
            Err(error) => error,
        };
        let error = match error.take::<SmartError>() {
            Ok(error) => return error.into(),
            Err(error) => error,
        };
        match error.take::<RemoteError>() {
            Ok(error) => error.into(),
            Err(error) => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::NotFound { .. } => Failure::new(Kind::NotFound, &error).next(
                "check the address: refs/head must be directly below it; a server hides what is not shared from those \
                 without a token for it (`odfs repo add NAME URL --token -`)",
            ),
            ReceiveError::Source(error) => error.into(),
            ReceiveError::Diverged { .. } => Failure::new(Kind::Refused, &error)
                .next(
                    "`odfs pull ADDRESS --as NAME` shows that history beside this one, `odfs pull ADDRESS --rebase` puts what \
                     was done here behind it; --force makes the destination like the source, and drops the blocks that only \
                     it has",
                ),
            ReceiveError::OtherDataset { .. } => Failure::new(Kind::Refused, &error)
                .next("choose another place; a pull can give it another name with --as"),
            ReceiveError::Broken { .. } => {
                Failure::new(Kind::Unreachable, chain(&error)).next("run the command again; what arrived is kept")
            }
            ReceiveError::NotAhead { .. } => Failure::new(Kind::Refused, &error)
                .next("pull it under another name with --as, or delete the local one first"),
            ReceiveError::Busy(_) => Failure::new(Kind::Busy, &error).next("run the command again when that is done"),
            ReceiveError::Dataset(error) => error.into(),
            ReceiveError::Catalog(error) => error.into(),
            ReceiveError::Mirror(error) => error.into(),
            ReceiveError::Io { ref source, .. } => of_io(&error, source),
            ReceiveError::Cancelled(_) => Failure::interrupted(),
            error => theirs(&error),
        }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        match error {
            PushError::NotFound { .. } => {
                Failure::new(Kind::NotFound, &error).next("check the address: refs/head must be directly below it")
            }
            PushError::Compare(error) => error.into(),
            PushError::Smart(error) => error.into(),
            PushError::Dataset(error) => error.into(),
            PushError::DestinationAhead { .. } => Failure::new(Kind::Refused, &error)
                .next("pull from there first; or --force sets that head back to the local one"),
            PushError::HeadMoved { .. } => Failure::new(Kind::Busy, &error).next("run the command again"),
            PushError::Damaged { .. } => damaged(&error),
            PushError::Io { ref source, .. } => of_io(&error, source),
            PushError::Cancelled(_) => Failure::interrupted(),
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
