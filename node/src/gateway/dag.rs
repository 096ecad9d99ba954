//! Blocks and values: raw, dag-cbor, and JSON for people.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::Response;
use cid::Cid;
use ipld_core::ipld::Ipld;

use super::answer::Destination;
use super::asking::Asking;
use super::directory::page_answer;
use super::format::Format;
use super::refusal::{Refusal, set};
use super::source::Source;
use super::{file, html};
use crate::block::{Block, DAG_CBOR, DAG_JSON, DAG_PB, RAW, sha2_256};
use crate::dag;
use crate::unixfs::resolve::Resolved;

/// Multicodec of plain CBOR.
const CBOR: u64 = 0x51;
/// Multicodec of plain JSON.
const JSON: u64 = 0x0200;
/// Goes up when the page of a value changes, so that caches fetch the new one.
const PAGE_VERSION: u32 = 1;

/// Answers with the bytes of a block.
///
/// # Errors
/// The block cannot be had, or the path leads on into it.
pub(super) async fn raw<S: Source>(asking: &Arc<Asking<S>>, destination: &Destination) -> Result<Response, Refusal> {
    no_remainder(destination)?;
    let cid = destination.resolved.cid;
    let etag = format!("\"{cid}.raw\"");
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let block = asking.block(&cid).await?;
    let mut response = destination.answer(&etag);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, Format::Raw.media_type());
    destination.disposition(headers, true, Some(&format!("{cid}.bin")));
    destination.content_location(headers);
    file::bytes(asking, destination, response, block.data(), &etag)
}

/// Answers with a value: as it is, as JSON, or as a page for people.
///
/// # Errors
/// The block cannot be had, is malformed, or cannot be shown in the form that was asked for.
pub(super) async fn node<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    wanted: Option<Format>,
) -> Result<Response, Refusal> {
    let cid = destination.resolved.cid;
    let natural = match cid.codec() {
        DAG_CBOR => Some(Format::DagCbor),
        DAG_JSON => Some(Format::DagJson),
        CBOR => Some(Format::Cbor),
        JSON => Some(Format::Json),
        _ => None,
    };
    if wanted.is_none()
        && matches!(natural, Some(Format::DagCbor | Format::DagJson))
        && destination.question.wanted.html
        && !destination.question.download
    {
        return page(asking, destination).await;
    }
    let format = match (wanted, natural) {
        (Some(wanted), _) => wanted,
        (None, Some(natural)) => natural,
        (None, None) => {
            let reason = format!(
                "{cid} has codec 0x{:x}, which is served only with format=raw",
                cid.codec()
            );
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, reason));
        }
    };
    let as_it_is = natural.is_some_and(|natural| {
        natural == format
            || matches!(
                (natural, format),
                (Format::DagCbor, Format::Cbor) | (Format::DagJson, Format::Json)
            )
    });
    let convertible =
        asking.gateway.options.convert && wanted.is_some() && matches!(cid.codec(), DAG_CBOR | DAG_JSON | DAG_PB);
    if !(as_it_is || convertible) {
        let reason = format!(
            "{cid} has codec 0x{:x} and is not shown as {}",
            cid.codec(),
            format.media_type()
        );
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, reason));
    }
    if !convertible {
        no_remainder(destination)?;
    }
    let etag = inner_etag(destination, format.query());
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let block = asking.block(&cid).await?;
    let data = if as_it_is && destination.resolved.remainder.is_empty() {
        checked(&block)?
    } else {
        encoded(&dag::value_at(&block, &destination.resolved.remainder)?, format)?
    };

    let mut response = destination.answer(&etag);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, format.media_type());
    // Browsers show JSON well; CBOR they can only save.
    destination.disposition(
        headers,
        !format.is_json(),
        Some(&format!("{cid}.{}", if format.is_json() { "json" } else { "cbor" })),
    );
    destination.content_location(headers);
    file::bytes(asking, destination, response, &data, &etag)
}

/// The bytes of a block whose codec is read here are checked to be of it before they are passed on as such.
fn checked(block: &Block) -> Result<Bytes, Refusal> {
    if matches!(block.cid().codec(), DAG_CBOR | DAG_JSON) {
        dag::links(block)?;
    }
    Ok(block.data().clone())
}

/// A value with its links, for people.
async fn page<S: Source>(asking: &Arc<Asking<S>>, destination: &Destination) -> Result<Response, Refusal> {
    let cid = destination.resolved.cid;
    let etag = inner_etag(destination, &format!("DagIndex-{PAGE_VERSION}"));
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let block = asking.block(&cid).await?;
    let value = dag::value_at(&block, &destination.resolved.remainder)?;
    let links = links(&value);
    let json = encoded(&value, Format::DagJson)?;
    let pretty =
        serde_json::from_slice::<serde_json::Value>(&json).and_then(|value| serde_json::to_string_pretty(&value));
    let text = pretty.unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned());
    Ok(page_answer(
        asking,
        destination,
        &etag,
        html::value(&destination.question, &cid, &text, &links),
    ))
}

/// The version of one form of a value. A path within the block is in it as a hash, which any header field can hold.
fn inner_etag(destination: &Destination, form: &str) -> String {
    let Resolved { cid, remainder, .. } = &destination.resolved;
    if remainder.is_empty() {
        return format!("\"{cid}.{form}\"");
    }
    let inner = sha2_256(remainder.join("/").as_bytes());
    format!("\"{cid}.{}.{form}\"", Cid::new_v1(RAW, inner))
}

/// The links that a value holds directly.
fn links(value: &Ipld) -> Vec<(String, Cid)> {
    let link = |name: String, value: &Ipld| match value {
        Ipld::Link(target) => Some((name, *target)),
        _ => None,
    };
    match value {
        Ipld::Map(map) => map
            .iter()
            .filter_map(|(name, value)| link(name.clone(), value))
            .collect(),
        Ipld::List(list) => list
            .iter()
            .enumerate()
            .filter_map(|(n, value)| link(n.to_string(), value))
            .collect(),
        _ => Vec::new(),
    }
}

/// A value in a form that it was not stored in.
fn encoded(value: &Ipld, format: Format) -> Result<Bytes, Refusal> {
    let encoded = match format.is_json() {
        true => serde_ipld_dagjson::to_vec(value).map_err(|error| error.to_string()),
        false => serde_ipld_dagcbor::to_vec(value).map_err(|error| error.to_string()),
    };
    encoded.map(Bytes::from).map_err(|error| {
        let reason = format!("the value has no form as {}: {error}", format.media_type());
        Refusal::new(StatusCode::BAD_GATEWAY, reason)
    })
}

pub(super) fn no_remainder(destination: &Destination) -> Result<(), Refusal> {
    let Resolved { cid, remainder, .. } = &destination.resolved;
    if remainder.is_empty() {
        return Ok(());
    }
    let inner = remainder.join("/");
    let reason =
        format!("{inner} is a value within {cid}, not a block: ask for it with format=dag-json, or for /ipfs/{cid}");
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, reason))
}
