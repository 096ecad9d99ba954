//! Errors of manifests and of metadata blocks as files.

use odf::codec::DecodeError;
use odf::schema_text::SchemaTextError;
use odf::snapshot::{Problem, SnapshotError};
use odf::workspace::TakeError;
use odf::yaml::YamlError;

use crate::failure::{Failure, Kind, chain};

impl From<YamlError> for Failure {
    fn from(error: YamlError) -> Self {
        match error {
            YamlError::Empty { .. } => Failure::new(Kind::EmptyInput, &error)
                .next("name a file that holds one; `odfs new DATASET --root` writes a manifest to begin with"),
            YamlError::Unwritable(_) => Failure::new(Kind::General, chain(&error)),
            error => Failure::new(Kind::BadInput, chain(&error)).next("mend the manifest; nothing was changed"),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Refused(ref refused) => {
                let problem = refused.first().map(|refused| &refused.problem);
                match problem {
                    Some(Problem::IdTaken { .. }) => Failure::new(Kind::Refused, &error).next("`odfs list` shows it"),
                    Some(Problem::Dependents(_)) => Failure::new(Kind::Refused, &error)
                        .next("replace those too in the same call, or delete them first"),
                    Some(Problem::Input { .. }) => Failure::new(Kind::NotFound, &error)
                        .next("add or pull the input first, or name its manifest in the same call; `odfs list` shows what is here"),
                    _ => Failure::new(Kind::BadInput, &error).next("mend the manifest; nothing was changed"),
                }
            }
            SnapshotError::OneId(_) => Failure::usage(&error).next("add the one manifest alone"),
            SnapshotError::Catalog(error) => error.into(),
            SnapshotError::Dataset(error) => error.into(),
            SnapshotError::Id(error) => match error.downcast::<TakeError>() {
                Ok(error) => (*error).into(),
                Err(error) => Failure::new(Kind::General, chain(&*error)),
            },
            SnapshotError::Swap(error) => {
                Failure::from(error).about("what was added comes into its place at the next command")
            }
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Failure::new(Kind::BadInput, chain(&error)).next("name a metadata block, the file that is called f1620…")
    }
}

impl From<SchemaTextError> for Failure {
    fn from(error: SchemaTextError) -> Self {
        match error {
            SchemaTextError::Legacy(_) => super::damaged(&error),
            error => Failure::new(Kind::Schema, chain(&error)).next("--output odf-yaml shows every type"),
        }
    }
}
