//! Signed IPNS records, as they go over the network.
//!
//! Spec: <https://specs.ipfs.tech/http-gateways/trustless-gateway/#ipns-record-responses-application-vnd-ipfs-ipns-record>.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use cid::Cid;

use super::answer::disposition;
use super::asking::Asking;
use super::format::Format;
use super::question::Question;
use super::refusal::{Refusal, set};
use super::root::Root;
use super::source::Source;
use crate::block::{RAW, sha2_256};

/// Answers with the record of a name.
///
/// # Errors
/// 400 for what is no name of a key alone; the name is not found.
pub(super) async fn record<S: Source>(asking: &Arc<Asking<S>>, question: &Question) -> Result<Response, Refusal> {
    let name = match &question.root {
        Root::Name(name) if question.inner_path.is_empty() => name,
        _ => {
            return Err(Refusal::bad(
                "a record is of a name alone: /ipns/NAME?format=ipns-record",
            ));
        }
    };
    let value = asking.name(name, "").await?;
    let Some(record) = value.record else {
        let reason = format!("{name} is not the name of a key, so nobody signs what it stands for");
        return Err(Refusal::bad(reason));
    };
    let etag = format!("\"{}\"", Cid::new_v1(RAW, sha2_256(&record)));
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    question.describe(headers);
    set(headers, header::ETAG, &etag);
    let kept = format!("public, max-age={}", value.max_age.as_secs());
    set(headers, header::CACHE_CONTROL, &kept);
    if question.has(&etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(headers, header::CONTENT_TYPE, Format::IpnsRecord.media_type());
    set(headers, header::CONTENT_LENGTH, &record.len().to_string());
    disposition(headers, question, true, Some(&format!("{name}.ipns-record")));
    *response.body_mut() = Body::from(record);
    Ok(response)
}
