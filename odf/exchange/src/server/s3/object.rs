//! GetObject and HeadObject.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use odf_dataset::{Dataset, ObjectKind};
use odf_metadata::Timestamp;

use super::super::answer;
use super::super::objects::file_answer;
use super::super::range::{self, Wanted};
use super::keys::{self, Content, Entry};
use super::problem::Problem;

/// What a key stands for, with the conditions and the range of the request.
pub(super) fn answer(dataset: &Dataset, key: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let entry = keys::find(dataset, key)?.ok_or_else(|| Problem::no_key(key))?;
    let tag = format!("\"{}\"", entry.hash);
    let mut response = match condition(headers, &tag, entry.time) {
        Condition::Met => content(dataset, &entry, headers)?,
        Condition::NotModified => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        Condition::Failed => {
            let message = "the object is another than the one that was wanted";
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                message,
            ));
        }
    };
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        let message = format!("the object has {} bytes", entry.size);
        let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
        return Ok(range::nothing(problem.into_response(), entry.size));
    }
    let kind = match entry.content {
        Content::File(ObjectKind::Slice) => "application/vnd.apache.parquet",
        Content::File(ObjectKind::Checkpoint) | Content::Block(_) => "application/octet-stream",
        Content::Head => "text/plain",
    };
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for (name, text) in [(header::ETAG, tag), (header::LAST_MODIFIED, date(entry.time))] {
        if let Ok(value) = HeaderValue::try_from(text) {
            fields.insert(name, value);
        }
    }
    Ok(response)
}

fn content(dataset: &Dataset, entry: &Entry, headers: &HeaderMap) -> Result<Response, Problem> {
    let bytes = match entry.content {
        Content::Block(place) => dataset.bytes_at(place)?,
        Content::Head => entry.hash.to_string().into(),
        Content::File(kind) => {
            let path = dataset.dir().join(kind.directory()).join(entry.hash.to_string());
            return match path.metadata() {
                Ok(found) if found.len() == entry.size => Ok(file_answer(&path, entry.size, headers)?),
                _ => {
                    tracing::warn!(path = %path.display(), "a file that is listed is not here, or not of its length");
                    Err(Problem::no_key(&entry.key))
                }
            };
        }
    };
    Ok(match range::wanted(headers, entry.size) {
        Wanted::All => answer::bytes(bytes, entry.size),
        Wanted::Nothing => range::nothing(answer::bytes(Body::empty(), 0), entry.size),
        Wanted::Part(part) => {
            let ends = usize::try_from(part.start).ok().zip(usize::try_from(part.end).ok());
            let cut = ends.and_then(|(start, end)| (end <= bytes.len()).then(|| bytes.slice(start..end)));
            let cut = cut.unwrap_or_default();
            let length = cut.len() as u64;
            range::part(answer::bytes(cut, length), &part, entry.size)
        }
    })
}

/// What comes of the conditions of a request (RFC 9110 §13.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Met,
    NotModified,
    Failed,
}

fn condition(headers: &HeaderMap, tag: &str, time: Timestamp) -> Condition {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let names = |list: &str| {
        let mut tags = list.split(',').map(|named| named.trim());
        // S3 takes tags without quotes, too.
        tags.any(|named| named == "*" || named.trim_start_matches("W/").trim_matches('"') == tag.trim_matches('"'))
    };
    // Times of HTTP have no parts of a second.
    let seconds = time.datetime().timestamp();
    let at = |text: &str| {
        DateTime::parse_from_rfc2822(text)
            .ok()
            .map(|at| at.with_timezone(&Utc).timestamp())
    };
    match (text(header::IF_MATCH), text(header::IF_UNMODIFIED_SINCE).and_then(at)) {
        (Some(list), _) if !names(list) => return Condition::Failed,
        (None, Some(at)) if seconds > at => return Condition::Failed,
        _ => {}
    }
    match (
        text(header::IF_NONE_MATCH),
        text(header::IF_MODIFIED_SINCE).and_then(at),
    ) {
        (Some(list), _) if names(list) => Condition::NotModified,
        (None, Some(at)) if seconds <= at => Condition::NotModified,
        _ => Condition::Met,
    }
}

/// A time as header fields have it.
fn date(time: Timestamp) -> String {
    time.datetime().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
