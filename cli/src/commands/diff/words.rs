//! What is said about a dataset at one point and not at another, in words.

use std::collections::BTreeMap;

use odf::chain::ChainState;
use odf::metadata::SetDataSchema;
use odf::schema_text;

use super::super::inspect::type_in_words;
use crate::failure::Failure;

/// The differences, one a line. Rows are not looked at.
///
/// # Errors
/// A schema cannot be read.
pub(in crate::commands) fn of(then: &ChainState, now: &ChainState) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let (old, new) = (columns(then)?, columns(now)?);
    for (name, kind) in &new {
        match old.get(name) {
            None if old.is_empty() => {}
            None => lines.push(format!("column {name} added: {kind}")),
            Some(before) if before != kind => lines.push(format!("column {name}: {before} → {kind}")),
            Some(_) => {}
        }
    }
    lines.extend(
        old.keys()
            .filter(|name| !new.contains_key(*name))
            .map(|name| format!("column {name} is gone")),
    );
    let info = |state: &ChainState| state.info.clone().unwrap_or_default();
    let (old, new) = (info(then), info(now));
    let mut changed = |what: &str, old: Option<String>, new: Option<String>| {
        if old != new {
            let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            lines.push(format!("{what}: {} → {}", text(old), text(new)));
        }
    };
    changed("description", old.description, new.description);
    let words = |keywords: Option<Vec<String>>| keywords.map(|words| words.join(", "));
    changed("keywords", words(old.keywords), words(new.keywords));
    let license = |state: &ChainState| state.license.as_ref().map(|license| license.name.clone());
    changed("licence", license(then), license(now));
    let event_time = |state: &ChainState| Some(state.vocabulary().event_time_column);
    changed("event time column", event_time(then), event_time(now));
    if then.license != now.license && license(then) == license(now) {
        lines.push("the licence changed in its details".to_owned());
    }
    if then.attachments.map(|at| at.hash) != now.attachments.map(|at| at.hash) {
        lines.push("the attached files changed".to_owned());
    }
    if then.transform != now.transform {
        lines.push("the query that computes it changed".to_owned());
    }
    if then.polling_source != now.polling_source {
        lines.push("the source that is asked for rows changed".to_owned());
    }
    for (name, source) in &now.push_sources {
        match then.push_sources.get(name) {
            None => lines.push(format!("source {name} added, {}", source.merge.kind())),
            Some(before) if before != source => lines.push(format!("source {name} changed, {}", source.merge.kind())),
            Some(_) => {}
        }
    }
    let gone = then.push_sources.keys();
    let gone = gone.filter(|name| !now.push_sources.contains_key(*name));
    lines.extend(gone.map(|name| format!("source {name} is gone")));
    Ok(lines)
}

/// Types by column.
fn columns(state: &ChainState) -> Result<BTreeMap<String, String>, Failure> {
    let declared = state.schema.as_ref().map(SetDataSchema::declared).transpose();
    let declared = declared.map_err(schema_text::SchemaTextError::from)?.flatten();
    let fields = declared.iter().flat_map(|schema| &schema.fields);
    Ok(fields
        .map(|field| {
            let (kind, optional) = type_in_words(field);
            (
                field.name.clone(),
                format!("{kind}{}", if optional { ", optional" } else { "" }),
            )
        })
        .collect())
}
