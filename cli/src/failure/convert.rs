//! Library errors to kinds and next steps.

use std::io;

use odf::disk::DiskError;

use super::{Failure, Kind, chain};

mod history;
mod ingest;
mod manifests;
mod network;
mod poll;
mod repository;
mod smart;
mod sql;
mod tables;
mod transform;

/// What helps when a source is written wrongly in a manifest.
const MEND: &str = "mend the source in the dataset's manifest; nothing was taken";

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::from_io(&error)
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        of_io(&error, &error.source)
    }
}

/// The kind of a failed operation on a file, and the words for it: `operation path: reason`.
fn of_io(error: &dyn std::error::Error, source: &io::Error) -> Failure {
    let from_io = Failure::from_io(source);
    let failure = Failure {
        message: chain(error),
        ..from_io
    };
    match failure.kind {
        Kind::Permission => failure.next("check who owns the file, or run odfs as that user"),
        Kind::Storage => failure.next("check the disk, then run the command again; nothing was lost"),
        _ => failure,
    }
}

/// A disk without room, in the words of the error that met it.
fn disk_full(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::DiskFull, format!("the disk is full: {}", chain(error)))
        .next("free some space and run the command again; it goes on where this one stopped")
}

/// Something damaged here.
fn damaged(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Integrity, chain(error))
        .next("`odfs repair --all` mends it, from copies elsewhere if need be; `odfs verify` tells what is wrong")
}

/// Something damaged or forged that came from a peer.
fn untrusted(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Integrity, chain(error))
        .next("nothing of it was taken; tell the publisher, or name another peer with --peer")
}
