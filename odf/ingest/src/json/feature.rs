//! The cells of a row: the members of an object, or what a feature holds.

use std::borrow::Cow;

use super::text::{OnCell, Refused, members, reprinted};
use crate::shape::Shape;
use crate::source::{Problem, Source};

/// The column that holds the geometry of a feature or a shape.
pub(crate) const GEOMETRY: &str = "geometry";
/// The column of a property or attribute that is called as the geometry is.
pub(crate) const PROPERTY_GEOMETRY: &str = "_geometry";
/// The column that holds the `id` of a feature.
const ID: &str = "id";
/// The column of a property of that name, in a feature that has an `id` itself.
const PROPERTY_ID: &str = "_id";

/// Which columns the members of an object, or what a feature holds, stand for.
#[derive(Clone, Copy)]
pub(super) enum Naming {
    /// Each member for one of its name.
    Members,
    /// Each property for one of its name, `id` and `geometry` for columns of those names. A property that is called as one
    /// of them gets a `_` in front.
    Feature,
    /// As kamu does: properties and geometry, which hides a property of its name; an `id` is no column. Both must be there.
    AsKamu,
    /// The source declares columns, and kamu's rule fills them. Where it finds nothing, those that [`Naming::Feature`]
    /// gives are taken.
    Declared {
        /// There is one for a property `id` beside the one for the feature's.
        both_ids: bool,
        /// Whether features may be without properties, or without a geometry. For kamu they may not.
        may_lack: bool,
    },
}

impl Naming {
    /// How a table is read: `shape` has the columns that are wanted, if they are known.
    pub(super) fn of(source: &Source, shape: Option<&Shape>) -> Naming {
        match (source.format().has_features(), source.has_step(), source.declared()) {
            (false, _, _) => Naming::Members,
            (true, false, _) => Naming::Feature,
            (true, true, None) => Naming::AsKamu,
            (true, true, Some(_)) => Naming::Declared {
                both_ids: shape.is_some_and(|shape| shape.position(PROPERTY_ID).is_some()),
                may_lack: source.takes_nulls(),
            },
        }
    }
}

/// What of a feature becomes columns, as JSON text.
#[derive(Default)]
struct Feature {
    kind: Option<String>,
    id: Option<String>,
    properties: Option<String>,
    geometry: Option<String>,
}

impl Feature {
    fn parse(text: &str) -> Result<Feature, Refused> {
        let mut feature = Feature::default();
        members(text, &mut |key, raw| {
            let place = match key.as_ref() {
                "type" => &mut feature.kind,
                "id" => &mut feature.id,
                "properties" => &mut feature.properties,
                "geometry" => &mut feature.geometry,
                _ => return Ok(()),
            };
            match place.replace(raw.to_owned()) {
                None => Ok(()),
                Some(_) => Err((None, Problem::Syntax(format!("the feature has two members `{key}`")))),
            }
        })?;
        feature.id = feature.id.filter(|id| id != "null");
        Ok(feature)
    }

    /// Refuses what kamu refuses: a feature without properties or without a geometry, and in lines one that says it is none.
    fn check(&self, in_lines: bool) -> Result<(), Refused> {
        let is_object = |member: &Option<String>| member.as_ref().is_some_and(|raw| raw.starts_with('{'));
        let reason = match &self.kind {
            kind if in_lines && kind.as_deref() != Some("\"Feature\"") => "its `type` is not `Feature`",
            _ if !is_object(&self.properties) => "it has no `properties`",
            _ if !is_object(&self.geometry) => "it has no `geometry`, and kamu reads none without one",
            _ => return Ok(()),
        };
        Err((None, Problem::Syntax(format!("not a GeoJSON feature: {reason}"))))
    }

    /// Calls `visit` with every property.
    fn properties(&self, visit: &mut OnCell<'_>) -> Result<(), Refused> {
        match self.properties.as_deref() {
            Some("null") => Ok(()),
            Some(raw) => members(raw, visit),
            None => Err((
                None,
                Problem::Syntax("not a GeoJSON feature: it has no `properties`".to_owned()),
            )),
        }
    }

    /// The geometry as text in JSON.
    fn geometry(&self) -> Result<String, Refused> {
        match self.geometry.as_deref() {
            None | Some("null") => Ok("null".to_owned()),
            Some(raw) => {
                let printed = reprinted(raw).map_err(|problem| (Some(GEOMETRY.to_owned()), problem))?;
                Ok(serde_json::Value::from(printed).to_string())
            }
        }
    }
}

/// Calls `visit` with every column of a row and its value. `in_lines` says that it is one of features in lines.
pub(super) fn cells(naming: Naming, in_lines: bool, text: &str, visit: &mut OnCell<'_>) -> Result<(), Refused> {
    if matches!(naming, Naming::Members) {
        return members(text, visit);
    }
    let feature = Feature::parse(text)?;
    if matches!(naming, Naming::AsKamu | Naming::Declared { may_lack: false, .. }) {
        feature.check(in_lines)?;
    }
    match naming {
        Naming::Members | Naming::AsKamu => feature.properties(&mut |key, raw| {
            if key == GEOMETRY { Ok(()) } else { visit(key, raw) }
        })?,
        Naming::Feature => {
            if let Some(id) = &feature.id {
                visit(Cow::Borrowed(ID), id)?;
            }
            feature.properties(&mut |key, raw| match key.as_ref() {
                GEOMETRY => visit(Cow::Borrowed(PROPERTY_GEOMETRY), raw),
                ID if feature.id.is_some() => visit(Cow::Borrowed(PROPERTY_ID), raw),
                _ => visit(key, raw),
            })?;
        }
        Naming::Declared { both_ids, .. } => {
            let (mut property_id, mut property_geometry) = (None, None);
            let (mut has_id, mut has_geometry) = (false, false);
            feature.properties(&mut |key, raw| {
                let held = match key.as_ref() {
                    ID => &mut property_id,
                    GEOMETRY => &mut property_geometry,
                    name => {
                        has_id |= name == PROPERTY_ID;
                        has_geometry |= name == PROPERTY_GEOMETRY;
                        return visit(key, raw);
                    }
                };
                match held.replace(raw.to_owned()) {
                    None => Ok(()),
                    Some(_) => Err((Some(key.to_string()), Problem::Duplicate)),
                }
            })?;
            let (id, property_id) = match (&feature.id, property_id) {
                (Some(id), Some(property)) if both_ids && !has_id => (Some(id.clone()), Some(property)),
                (_, Some(property)) => (Some(property), None),
                (id, None) => (id.clone(), None),
            };
            let property_geometry = property_geometry.filter(|_| !has_geometry);
            for (name, raw) in [
                (ID, id),
                (PROPERTY_ID, property_id),
                (PROPERTY_GEOMETRY, property_geometry),
            ] {
                if let Some(raw) = raw {
                    visit(Cow::Borrowed(name), &raw)?;
                }
            }
        }
    }
    visit(Cow::Borrowed(GEOMETRY), &feature.geometry()?)
}
