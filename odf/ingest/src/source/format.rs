//! The table formats, and the names people give them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use odf_metadata::ReadStep;

/// A table format that [`Source`](super::Source) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Separated values, one record per row. How values are quoted and whether a header comes first say the
    /// [`ReadOptions`](super::ReadOptions). `.tsv` is the same with tabs.
    Csv,
    /// One JSON object per line, or each behind a record separator (RFC 7464).
    Ndjson,
    /// A JSON document with an array of objects in it.
    Json,
    /// A FeatureCollection: the properties become columns, the geometry a column of JSON text.
    GeoJson,
    /// One GeoJSON Feature per line, or each behind a record separator (RFC 8142).
    NdGeoJson,
    /// Apache Parquet.
    Parquet,
    /// An ESRI shapefile with its attributes, in a zip archive; the geometry becomes a column of GeoJSON text.
    EsriShapefile,
}

impl Format {
    /// Every format, in the order help texts list them.
    pub const ALL: [Format; 7] = [
        Format::Csv,
        Format::Ndjson,
        Format::Json,
        Format::GeoJson,
        Format::NdGeoJson,
        Format::Parquet,
        Format::EsriShapefile,
    ];

    /// The format that the extension of `path` stands for, if any. A `.zip` may hold anything and stands for none.
    pub fn from_path(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" | "tsv" => Some(Format::Csv),
            "ndjson" | "jsonl" | "ldjson" => Some(Format::Ndjson),
            "json" => Some(Format::Json),
            "geojson" => Some(Format::GeoJson),
            "ndgeojson" | "geojsonl" | "geojsons" | "geojsonseq" => Some(Format::NdGeoJson),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// The format that a media type (`Content-Type`, parameters allowed) stands for, if any.
    pub fn from_media_type(text: &str) -> Option<Format> {
        let essence = text.split(';').next()?.trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/csv" | "application/csv" | "text/tab-separated-values" => Some(Format::Csv),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-seq" => {
                Some(Format::Ndjson)
            }
            "application/json" => Some(Format::Json),
            "application/geo+json" => Some(Format::GeoJson),
            "application/x-ndgeojson" | "application/geo+json-seq" => Some(Format::NdGeoJson),
            "application/vnd.apache.parquet" => Some(Format::Parquet),
            "application/vnd.shp" | "x-gis/x-shapefile" => Some(Format::EsriShapefile),
            _ => None,
        }
    }

    /// The format that a source in the chain reads.
    pub fn of_step(step: &ReadStep) -> Format {
        match step {
            ReadStep::Csv(_) => Format::Csv,
            ReadStep::GeoJson { .. } => Format::GeoJson,
            ReadStep::EsriShapefile { .. } => Format::EsriShapefile,
            ReadStep::Parquet { .. } => Format::Parquet,
            ReadStep::Json { .. } => Format::Json,
            ReadStep::NdJson { .. } => Format::Ndjson,
            ReadStep::NdGeoJson { .. } => Format::NdGeoJson,
        }
    }

    /// The name used in options, messages and source states.
    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Ndjson => "ndjson",
            Format::Json => "json",
            Format::GeoJson => "geojson",
            Format::NdGeoJson => "ndgeojson",
            Format::Parquet => "parquet",
            Format::EsriShapefile => "esrishapefile",
        }
    }

    /// Whether a file of this format may grow at its end and keep its earlier rows as they are.
    pub fn grows(self) -> bool {
        matches!(self, Format::Csv | Format::Ndjson | Format::NdGeoJson)
    }

    /// Whether rows are GeoJSON features.
    pub(crate) fn has_features(self) -> bool {
        matches!(self, Format::GeoJson | Format::NdGeoJson)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names are taken in any case, and so are media types.
impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "tsv" => Ok(Format::Csv),
            "jsonl" => Ok(Format::Ndjson),
            "shapefile" | "shp" => Ok(Format::EsriShapefile),
            _ => Format::ALL
                .into_iter()
                .find(|f| f.name() == lower)
                .or_else(|| Format::from_media_type(text))
                .ok_or_else(|| UnknownFormat(text.to_owned())),
        }
    }
}

/// A format name nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a format; use csv, ndjson, json, geojson, ndgeojson, parquet or esrishapefile")]
pub struct UnknownFormat(pub String);
