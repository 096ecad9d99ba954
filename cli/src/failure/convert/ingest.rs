//! Errors on the way of rows into a dataset.

use odf::dataset::DatasetError;
use odf::ingest::{FitError, IngestError, QueryError};

use super::MEND;
use crate::failure::{Failure, Kind, chain};

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Self {
        let failure = |kind| Failure::new(kind, chain(&error));
        match error {
            IngestError::Source(error) => error.into(),
            IngestError::Plan(error) => error.into(),
            IngestError::Fit(error) => error.into(),
            IngestError::Query(error) => error.into(),
            IngestError::Merge(error) => error.into(),
            IngestError::Slice(error) => error.into(),
            IngestError::History(error) => match error.downcast::<DatasetError>() {
                Ok(error) => (*error).into(),
                Err(error) => Failure::new(Kind::General, chain(&*error)),
            },
            IngestError::EventTimeFixed { .. } => {
                failure(Kind::Schema).next("leave --event-time away, or publish under another name")
            }
            IngestError::TypeFixed { .. } => {
                failure(Kind::Schema).next("leave the column out of --schema, or publish under another name")
            }
            IngestError::Declaration(_) => failure(Kind::Schema),
            IngestError::NoPushSource => failure(Kind::Refused)
                .next("give it one with AddPushSource in its manifest, or publish the table with `odfs publish FILE`"),
            IngestError::Preprocessed => failure(Kind::Refused).next("push the rows with `odfs ingest DATASET FILE`"),
            IngestError::NotPushed => failure(Kind::Refused).next("`odfs pull DATASET` asks the source"),
            IngestError::NoPollingSource => failure(Kind::Refused).next("`odfs ingest DATASET FILE` pushes rows into it"),
            IngestError::OtherPushSource { .. } | IngestError::WhichPushSource { .. } => {
                failure(Kind::Usage).next("name one with --source-name")
            }
            IngestError::ColumnsOfQuery => {
                failure(Kind::Refused).next("select the new columns in the query, and say with SetDataSchema that they are there")
            }
            IngestError::ColumnsOpen => failure(Kind::Refused).next(
                "leave --add-columns away; declare the columns in the source, or say with SetDataSchema what the dataset is \
                 to become",
            ),
            IngestError::ColumnReserved(_) => failure(Kind::Usage).next("give the column another name"),
            IngestError::ColumnRequired(_) => failure(Kind::Usage).next("leave NOT NULL away"),
            IngestError::Unsteady(_) => failure(Kind::Busy).next("run the command again when nobody writes the file"),
            IngestError::Link { .. } => failure(Kind::BadInput).next("nothing was taken"),
            IngestError::Derivative => failure(Kind::Refused).next("`odfs pull DATASET` computes it"),
            error => {
                let text = chain(&error);
                match text.split_once(". Ways out: ") {
                    Some((reason, ways)) => Failure::new(Kind::Refused, reason).next(ways),
                    None => Failure::new(Kind::Refused, text),
                }
            }
        }
    }
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        let failure = Failure::new(Kind::Schema, chain(&error));
        match error {
            FitError::Incompatible(_) => failure.next(
                "mend the read step of the source (with a `schema` it reads files as it declares) or its query, or say with \
                 SetDataSchema what the dataset is to become; nothing was taken",
            ),
            FitError::Coded(_) => failure.next(
                "declare the columns in the source's read step (`schema`), or cast this one in its query; \
                 `odfs publish FILE` takes the values as they are. Nothing was taken",
            ),
            // The ways out are in the message.
            FitError::Reserved(_) => failure.next("nothing was taken"),
            _ => failure.next(MEND),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match &error {
            // The ways out are in the message.
            QueryError::Engine(_) => Failure::new(Kind::Refused, &error).next("nothing was taken"),
            QueryError::Engineless(_) => Failure::new(Kind::General, &error),
            _ => Failure::new(Kind::BadInput, &error).next(MEND),
        }
    }
}
