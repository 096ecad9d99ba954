//! Errors of derivative datasets.

use odf::ingest::source::{Problem, SourceError};
use odf::pull::name_of;
use odf::transform::TransformError;
use odf::transform::replay::{Difference, ReplayError};

use crate::failure::{Failure, Kind, chain};

impl From<TransformError> for Failure {
    fn from(error: TransformError) -> Self {
        let failure = |kind| Failure::new(kind, chain(&error));
        match error {
            TransformError::Engine(_) => {
                failure(Kind::Refused).next("compute it with kamu, and pull the result from there with odfs")
            }
            TransformError::NoInput { id, .. } => {
                failure(Kind::NotFound).next(format!("add or pull the dataset {id}, then pull again"))
            }
            TransformError::Diverged { .. } => failure(Kind::Refused)
                .next("--reset-derivatives-on-diverged-input drops what was computed and computes it anew"),
            TransformError::Gathers(_) => failure(Kind::Refused).next(
                "change the transform so that each row of the result comes from one row of an input (SELECT, WHERE, UNION ALL), \
                 or compute the dataset elsewhere with an engine that keeps what it has seen, such as flink in kamu, and pull \
                 it from there; nothing was changed",
            ),
            TransformError::LegacySchema(_) => {
                failure(Kind::Refused).next("let kamu write its SetDataSchema anew first")
            }
            TransformError::Source(SourceError {
                problem: Problem::Query(_),
                ..
            }) => failure(Kind::BadInput)
                .next("mend the transform in the dataset's manifest, or the rows it reads; nothing was changed"),
            TransformError::Source(error) => error.into(),
            TransformError::Slice(error) => error.into(),
            TransformError::Dataset(error) => error.into(),
            TransformError::Query(_)
            | TransformError::Fit(_)
            | TransformError::NoTransform
            | TransformError::Unresolved(_)
            | TransformError::Reserved(_)
            | TransformError::NoEventTime { .. }
            | TransformError::NoCounterpart(_) => {
                failure(Kind::Schema).next("mend the transform in the dataset's manifest; nothing was changed")
            }
            TransformError::Moved => failure(Kind::Busy).next("run the command again"),
            TransformError::Stopped => Failure::interrupted(),
            _ => failure(Kind::Refused),
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let message = chain(&error);
        match error {
            ReplayError::Differs { what, .. } => {
                let failure = Failure::new(Kind::Integrity, message);
                match *what {
                    Difference::Interval { .. } => failure.next(
                        "if the history of the input was written again since, \
                         `odfs pull --reset-derivatives-on-diverged-input` computes the dataset anew",
                    ),
                    _ => failure.next(
                        "do not rely on its rows: ask who made it, or add a dataset with the same SetTransform (`odfs inspect query` \
                         shows it) and compute it here",
                    ),
                }
            }
            ReplayError::Failed { source, .. } => Failure {
                message,
                ..Failure::from(source)
            }
            .next("nothing is wrong with its files; ask who made it, and with which version of which engine"),
            ReplayError::Transform(TransformError::NoInput { id, .. }) => {
                let failure = Failure::new(Kind::NotFound, message);
                match name_of(&id) {
                    Some(name) => failure.next(format!("`odfs pull ipns://{name}` brings it here, then verify again")),
                    None => failure,
                }
            }
            ReplayError::Transform(error) => error.into(),
            ReplayError::Dataset(error) => error.into(),
            error => Failure::new(Kind::Integrity, chain(&error)),
        }
    }
}
