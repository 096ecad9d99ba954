//! Errors of queries.

use odf::catalog::CatalogError;
use odf::citation::CitationError;
use odf::dataset::{DatasetError, PointError};
use odf::digest::DigestError;
use odf::select::SelectError;

use crate::failure::{Failure, Kind, chain};

impl From<SelectError> for Failure {
    fn from(error: SelectError) -> Self {
        let failure = |kind| Failure::new(kind, chain(&error));
        match &error {
            SelectError::Invalid { .. } => failure(Kind::Usage)
                .next("`odfs sql 'describe \"NAME\"'` shows the columns of a dataset; names keep their case"),
            SelectError::NoTable(_) => failure(Kind::NotFound).next("`odfs list` shows the datasets that are here"),
            SelectError::NotAQuery => failure(Kind::Usage).next(
                "`odfs publish`, `odfs ingest` and `odfs restore` change datasets; -o writes rows to standard output",
            ),
            SelectError::TooLong => failure(Kind::Usage).next("ask in parts"),
            SelectError::Memory { .. } => failure(Kind::Refused).next(
                "ask for less, or let queries have more: `odfs config set query.memory SIZE`, and free disk space",
            ),
            SelectError::Failed(_) => failure(Kind::BadInput)
                .next("`odfs verify NAME` tells whether a dataset is damaged; else mend the query where it says"),
            SelectError::Scratch(source) => Failure::from_io(source),
            SelectError::Stopped => Failure::interrupted(),
            SelectError::Table(table) => {
                if let Some(error) = table.get::<CatalogError>() {
                    return Failure::new(kind_of_catalog(error), chain(error))
                        .next("`odfs list` shows the datasets that are here");
                }
                if table.get::<PointError>().is_some() {
                    return failure(Kind::NotFound)
                        .next("`odfs log NAME` shows the blocks of a dataset and their times");
                }
                if table.get::<DatasetError>().is_some() {
                    return failure(Kind::Integrity)
                        .next("`odfs verify` tells what is wrong, and `odfs repair` mends it");
                }
                failure(Kind::Storage)
                    .next("`odfs verify` tells whether a dataset is damaged or lacks files, and `odfs repair` mends it")
            }
            _ => failure(Kind::General),
        }
    }
}

fn kind_of_catalog(error: &CatalogError) -> Kind {
    match error {
        CatalogError::Ambiguous { .. } => Kind::Usage,
        CatalogError::Unknown { .. } => Kind::NotFound,
        _ => Kind::General,
    }
}

impl From<CitationError> for Failure {
    fn from(error: CitationError) -> Self {
        match error {
            CitationError::NotOne(_) | CitationError::Later(_) => Failure::new(Kind::BadInput, chain(&error))
                .next("`odfs sql QUERY --cite FILE` writes citations; `odfs import` takes bundles"),
            error => Failure::new(Kind::Integrity, chain(&error))
                .next("do not rely on what was cited; get the file again from who cited it"),
        }
    }
}

impl From<DigestError> for Failure {
    fn from(error: DigestError) -> Self {
        Failure::new(Kind::Refused, chain(&error)).next("cast the column to another type, such as text")
    }
}
