//! The one form in which events are stored, of the several in which people write them (odf-facts §5).

use odf_metadata::{DatasetKind, MetadataEvent, SqlQueryStep, Transform, TransformSql};

/// Brings SQL into the form that is stored: `queries` in place of `query`.
///
/// # Errors
/// Both forms are there, or neither; or several queries have no name, so that none is the output.
pub(super) fn normalize_sql(sql: &mut TransformSql) -> Result<(), String> {
    if let Some(query) = sql.query.take() {
        if sql.queries.is_some() {
            return Err("both `query` and `queries` are given; keep one".to_owned());
        }
        sql.queries = Some(vec![SqlQueryStep { alias: None, query }]);
    }
    let Some(queries) = &sql.queries else {
        return Err("neither `query` nor `queries` is given".to_owned());
    };
    if queries.iter().filter(|query| query.alias.is_none()).count() > 1 {
        return Err("several queries have no alias; only the last one, which is the output, has none".to_owned());
    }
    Ok(())
}

/// Checks that a dataset of this kind may begin with the event, and normalizes its SQL.
///
/// # Errors
/// Why the event cannot be in a snapshot.
pub(super) fn admit(event: &mut MetadataEvent, kind: DatasetKind) -> Result<(), String> {
    let only = |allowed: DatasetKind| {
        if kind == allowed {
            Ok(())
        } else {
            Err(format!(
                "only a dataset of kind {allowed} can have it, and this one is of kind {kind}"
            ))
        }
    };
    let sql = match event {
        MetadataEvent::SetPollingSource(source) => {
            only(DatasetKind::Root)?;
            source.preprocess.as_mut()
        }
        MetadataEvent::AddPushSource(source) => {
            only(DatasetKind::Root)?;
            source.preprocess.as_mut()
        }
        MetadataEvent::SetTransform(set) => {
            only(DatasetKind::Derivative)?;
            Some(&mut set.transform)
        }
        MetadataEvent::SetVocab(_)
        | MetadataEvent::SetAttachments(_)
        | MetadataEvent::SetInfo(_)
        | MetadataEvent::SetLicense(_)
        | MetadataEvent::SetDataSchema(_) => None,
        MetadataEvent::Seed(_) => return Err("it is made with the dataset and cannot be written".to_owned()),
        MetadataEvent::AddData(_) | MetadataEvent::ExecuteTransform(_) => {
            return Err("it comes from taking data and cannot be written".to_owned());
        }
        MetadataEvent::DisablePollingSource(_) | MetadataEvent::DisablePushSource(_) => {
            return Err("a new dataset has no source to disable".to_owned());
        }
    };
    match sql {
        Some(Transform::Sql(sql)) => normalize_sql(sql),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(query: Option<&str>, queries: Option<&[(Option<&str>, &str)]>) -> TransformSql {
        let step = |(alias, query): &(Option<&str>, &str)| SqlQueryStep {
            alias: alias.map(str::to_owned),
            query: (*query).to_owned(),
        };
        TransformSql {
            engine: "datafusion".to_owned(),
            version: None,
            query: query.map(str::to_owned),
            queries: queries.map(|queries| queries.iter().map(step).collect()),
            temporal_tables: None,
        }
    }

    #[test]
    fn one_query_becomes_a_list() {
        let mut short = sql(Some("select 1"), None);
        normalize_sql(&mut short).unwrap();
        let long = sql(None, Some(&[(None, "select 1")]));
        assert_eq!(short, long);
        let mut again = long.clone();
        normalize_sql(&mut again).unwrap();
        assert_eq!(again, long);
    }

    #[test]
    fn what_has_no_single_output_is_refused() {
        let mut both = sql(Some("a"), Some(&[(None, "b")]));
        assert!(normalize_sql(&mut both).unwrap_err().contains("both"));
        assert!(normalize_sql(&mut sql(None, None)).unwrap_err().contains("neither"));
        let mut two = sql(None, Some(&[(None, "a"), (None, "b")]));
        assert!(normalize_sql(&mut two).unwrap_err().contains("no alias"));
        normalize_sql(&mut sql(None, Some(&[(Some("a"), "a"), (None, "b")]))).unwrap();
    }
}
