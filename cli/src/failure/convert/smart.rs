//! Errors of the smart transfer protocol and of the tokens of its server.

use odf::repository::server::TokenError;
use odf::repository::smart::{BundleError, SmartError};

use super::of_io;
use crate::failure::{Failure, Kind, chain};

impl From<SmartError> for Failure {
    fn from(error: SmartError) -> Self {
        use SmartError as E;
        match error {
            E::Refused { .. } => Failure::new(Kind::Refused, &error)
                .next("nothing was committed; mend what it says, or ask whoever runs the server"),
            E::Broken { .. } | E::Silent { .. } | E::Upload { .. } => Failure::new(Kind::Unreachable, &error)
                .next("run the command again; what arrived on either side is kept"),
            E::Bundle {
                source: BundleError::TooManyBlocks { .. },
                ..
            }
            | E::TooLong { .. } => Failure::new(Kind::Refused, &error)
                .next("a chain as long as that goes by plain HTTP, a directory or IPFS"),
            E::OtherDataset { .. } | E::NameCollision { .. } => {
                Failure::new(Kind::Refused, &error).next("choose another name for it there or here")
            }
            E::RefCollision { .. } => Failure::new(Kind::Refused, &error).next("push to the name that it has there"),
            E::NotAncestor { .. } => Failure::new(Kind::Refused, &error)
                .next("pull from there to see how the two differ; --force makes it like the local one"),
            E::NotMoved { .. } => Failure::new(Kind::Integrity, &error)
                .next("run the command again; if it goes on, tell whoever runs the server"),
            E::Read(error) => error.into(),
            E::Cancelled(_) => Failure::interrupted(),
            error => Failure::new(Kind::Integrity, chain(&error))
                .next("nothing of it was taken; tell whoever runs the server"),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Io { ref source, .. } => of_io(&error, source),
            TokenError::Damaged { ref path, .. } => Failure::new(Kind::Storage, &error).next(format!(
                "remove {} and make the tokens anew; until then nobody can push here",
                path.display()
            )),
            TokenError::LabelTaken(ref label) => Failure::new(Kind::Refused, &error).next(format!(
                "choose another label, or delete that one first: odfs repo token delete {label:?}"
            )),
            TokenError::Unknown(_) => {
                Failure::new(Kind::NotFound, &error).next("`odfs repo token list` shows them all")
            }
            TokenError::BadPattern(_) | TokenError::NoRights | TokenError::TooManyPatterns => {
                Failure::usage(&error).next("name datasets with --dataset, verbs with --can")
            }
            TokenError::TooMany | TokenError::TooLong => {
                Failure::new(Kind::Refused, &error).next("delete some first: odfs repo token delete LABEL")
            }
            error => Failure::usage(&error),
        }
    }
}
