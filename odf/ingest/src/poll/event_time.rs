//! The event time of rows that have none, as the source wants it.

use chrono::{DateTime, NaiveDate, Utc};
use regex::Regex;

use odf_metadata::{EventTimeSource, Timestamp};

/// How times in paths are written unless the source says otherwise.
const DEFAULT_FORMAT: &str = "%Y-%m-%d";

/// Why no event time was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventTimeError {
    /// This kind of source cannot give the event time in this way.
    #[error("a {source_kind} source cannot take the event time {wanted}; {instead}")]
    Incompatible {
        /// Kind of the source.
        source_kind: &'static str,
        /// What the source says.
        wanted: &'static str,
        /// What it can say.
        instead: &'static str,
    },
    /// The pattern is no regular expression.
    #[error("the pattern `{pattern}` of the event time is no regular expression: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The pattern has no group to take the time from.
    #[error("the pattern `{0}` of the event time has no group; put the part that is the time in parentheses")]
    NoGroup(String),
    /// The file name is not like the pattern.
    #[error("the name `{name}` does not match the pattern `{pattern}` of the event time")]
    NoMatch {
        /// Name of the file.
        name: String,
        /// The pattern.
        pattern: String,
    },
    /// What the pattern found is not a time.
    #[error("`{text}` in the name `{name}` is not a time of the form `{format}`: {reason}")]
    NotATime {
        /// What was found.
        text: String,
        /// In this file name.
        name: String,
        /// The form.
        format: String,
        /// Why not.
        reason: String,
    },
}

/// Of a URL: what the server or the file system says, else the time of the ingest.
pub(super) fn of_url(
    source: Option<&EventTimeSource>,
    metadata: Option<Timestamp>,
    now: Timestamp,
) -> Result<Timestamp, EventTimeError> {
    match source {
        None | Some(EventTimeSource::FromMetadata) => Ok(metadata.unwrap_or(now)),
        Some(EventTimeSource::FromSystemTime) => Ok(now),
        Some(EventTimeSource::FromPath { .. }) => Err(EventTimeError::Incompatible {
            source_kind: "Url",
            wanted: "from the path",
            instead: "use FromMetadata or FromSystemTime",
        }),
    }
}

/// Of a file of a glob: a part of its name, else the time of the ingest.
pub(super) fn of_file_name(
    source: Option<&EventTimeSource>,
    name: &str,
    now: Timestamp,
) -> Result<Timestamp, EventTimeError> {
    match source {
        None | Some(EventTimeSource::FromSystemTime) => Ok(now),
        Some(EventTimeSource::FromPath {
            pattern,
            timestamp_format,
        }) => from_name(name, pattern, timestamp_format.as_deref().unwrap_or(DEFAULT_FORMAT)),
        Some(EventTimeSource::FromMetadata) => Err(EventTimeError::Incompatible {
            source_kind: "FilesGlob",
            wanted: "from metadata",
            instead: "use FromPath or FromSystemTime",
        }),
    }
}

/// The first group of the pattern, in chrono's notation: a time with its offset, else a date, which stands for its
/// midnight in UTC (as in kamu, also if the form has a time without an offset).
fn from_name(name: &str, pattern: &str, format: &str) -> Result<Timestamp, EventTimeError> {
    let regex = Regex::new(pattern).map_err(|error| EventTimeError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    let captures = regex.captures(name).ok_or_else(|| EventTimeError::NoMatch {
        name: name.to_owned(),
        pattern: pattern.to_owned(),
    })?;
    let text = captures
        .get(1)
        .ok_or_else(|| EventTimeError::NoGroup(pattern.to_owned()))?
        .as_str();
    let not_a_time = |reason: String| EventTimeError::NotATime {
        text: text.to_owned(),
        name: name.to_owned(),
        format: format.to_owned(),
        reason,
    };
    let time: DateTime<Utc> = match DateTime::parse_from_str(text, format) {
        Ok(time) => time.to_utc(),
        Err(_) => NaiveDate::parse_from_str(text, format)
            .map_err(|error| not_a_time(error.to_string()))?
            .and_time(chrono::NaiveTime::MIN)
            .and_utc(),
    };
    Timestamp::try_from(time).map_err(|error| not_a_time(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_path(pattern: &str, format: Option<&str>) -> EventTimeSource {
        EventTimeSource::FromPath {
            pattern: pattern.to_owned(),
            timestamp_format: format.map(str::to_owned),
        }
    }

    #[test]
    fn the_first_group_of_the_name_is_the_time() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        for (pattern, format, name, time) in [
            (
                r"(\d{4}-\d{2}-\d{2})",
                None,
                "trips-2024-03-05.csv",
                "2024-03-05T00:00:00Z",
            ),
            (r"_(\d{8})\.", Some("%Y%m%d"), "x_20231231.json", "2023-12-31T00:00:00Z"),
            (
                r"at-(.*)\.csv",
                Some("%Y%m%dT%H%M%S%z"),
                "at-20240102T030405+0200.csv",
                "2024-01-02T01:04:05Z",
            ),
            // Without an offset only the date counts.
            (r"(.*)\.csv", Some("%Y%m%d%H"), "2024010203.csv", "2024-01-02T00:00:00Z"),
        ] {
            let found = of_file_name(Some(&from_path(pattern, format)), name, now).unwrap();
            assert_eq!(found.to_string(), time, "{pattern}");
        }
        for source in [None, Some(EventTimeSource::FromSystemTime)] {
            assert_eq!(of_file_name(source.as_ref(), "x", now).unwrap(), now);
        }
    }

    #[test]
    fn what_cannot_be_found_is_told() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let error = |source, name| of_file_name(Some(&source), name, now).unwrap_err();
        assert!(matches!(
            error(from_path("(", None), "x"),
            EventTimeError::Pattern { .. }
        ));
        assert!(matches!(error(from_path("x", None), "x"), EventTimeError::NoGroup(_)));
        assert!(matches!(
            error(from_path("(y)", None), "x"),
            EventTimeError::NoMatch { .. }
        ));
        assert!(matches!(
            error(from_path("(x)", None), "x"),
            EventTimeError::NotATime { .. }
        ));
        assert!(matches!(
            error(from_path(r"(\d+-1-1)", Some("%Y-%m-%d")), "99999-1-1"),
            EventTimeError::NotATime { .. }
        ));
        assert!(matches!(
            error(EventTimeSource::FromMetadata, "x"),
            EventTimeError::Incompatible { .. }
        ));
        assert!(of_url(Some(&from_path("(x)", None)), None, now).is_err());
    }
}
