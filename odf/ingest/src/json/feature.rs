//! The cells of a row: the members of an object, or the properties and geometry of a feature.

use std::borrow::Cow;

use super::text::{OnCell, Refused, members, reprinted};
use crate::source::{Format, Problem};

/// The column that holds the geometry of a GeoJSON feature.
pub(crate) const GEOMETRY: &str = "geometry";

/// Calls `visit` with every column of a row: the members of an object, or the properties and geometry of a feature.
pub(super) fn cells(format: Format, text: &str, visit: &mut OnCell<'_>) -> Result<(), Refused> {
    if !format.has_features() {
        return members(text, visit);
    }
    let mut properties = None;
    let mut geometry = None;
    members(text, &mut |key, raw| {
        match key.as_ref() {
            "properties" => properties = Some(raw.to_owned()),
            GEOMETRY => geometry = Some(raw.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    match properties.as_deref() {
        Some("null") => {}
        // The geometry hides a property of its name.
        Some(raw) => members(raw, &mut |key, raw| {
            if key == GEOMETRY { Ok(()) } else { visit(key, raw) }
        })?,
        None => {
            return Err((
                None,
                Problem::Syntax("not a GeoJSON feature: it has no `properties`".to_owned()),
            ));
        }
    }
    let geometry = match geometry.as_deref() {
        None | Some("null") => "null".to_owned(),
        Some(raw) => {
            let printed = reprinted(raw).map_err(|problem| (Some(GEOMETRY.to_owned()), problem))?;
            serde_json::Value::from(printed).to_string()
        }
    };
    visit(Cow::Borrowed(GEOMETRY), &geometry)
}
