//! The forms of values in the file, each read and shown here.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use odf_doors::Authorities;
use odf_node::gateway::Audience;
use odf_node::peer::Bandwidth;
use odf_node::retrieval::{MAX_GATEWAYS, base};
use odf_node::routing::Routers;
use toml::Value;
use url::Url;

use super::duration::duration_of;
use super::rate::{rate_of, rate_text, size_of, size_text};

/// What is not done.
pub(super) const OFF: &str = "off";
/// For programs on this machine.
const LOCAL: &str = "local";
/// Where an approval alone decides.
pub(super) const APPROVED: &str = "approved";

/// A length of time; the error says what was expected.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    let wanted = || "a time such as 30s, 500ms or 5m is expected".to_owned();
    value.as_str().and_then(duration_of).ok_or_else(wanted)
}

/// Bytes a second, or "off" for any number of them.
pub(super) fn rate(value: &Value) -> Result<Option<NonZeroU64>, String> {
    if value.as_str() == Some(OFF) {
        return Ok(None);
    }
    let rate = value.as_str().and_then(rate_of);
    rate.filter(|rate| *rate >= Bandwidth::LEAST).map(Some).ok_or_else(|| {
        let least = rate_text(Bandwidth::LEAST);
        format!("\"off\" or bytes a second such as 500kB/s or 5MB/s, {least} at least, are expected")
    })
}

/// Bytes of disk, or "off" for as many as there are.
pub(super) fn size(value: &Value, least: NonZeroU64) -> Result<Option<NonZeroU64>, String> {
    if value.as_str() == Some(OFF) {
        return Ok(None);
    }
    let size = value.as_str().and_then(size_of).filter(|size| *size >= least);
    size.map(Some).ok_or_else(|| {
        let least = size_text(least);
        format!("\"off\" or a size such as 10GiB or 500MB, {least} at least, is expected")
    })
}

pub(super) fn size_value(size: Option<NonZeroU64>) -> Value {
    Value::String(size.map_or_else(|| OFF.to_owned(), size_text))
}

pub(super) fn rate_value(rate: Option<NonZeroU64>) -> Value {
    Value::String(rate.map_or_else(|| OFF.to_owned(), rate_text))
}

pub(super) fn audience_value(audience: Audience) -> Value {
    match audience {
        Audience::Anybody => Value::Boolean(true),
        Audience::ThisMachine => Value::String(LOCAL.to_owned()),
        Audience::Nobody => Value::Boolean(false),
    }
}

pub(super) fn audience(value: &Value) -> Result<Audience, String> {
    match (value.as_str(), value.as_bool()) {
        (Some(LOCAL), _) => Ok(Audience::ThisMachine),
        (_, Some(true)) => Ok(Audience::Anybody),
        (_, Some(false)) => Ok(Audience::Nobody),
        _ => Err("true, false or \"local\" is expected".to_owned()),
    }
}

pub(super) fn list_value(list: &[String]) -> Value {
    Value::Array(list.iter().cloned().map(Value::String).collect())
}

pub(super) fn approved() -> Value {
    Value::String(APPROVED.to_owned())
}

pub(super) fn multiaddrs(value: Value) -> Result<Vec<String>, String> {
    const WANTED: &str = "a list of multiaddrs such as [\"/ip4/127.0.0.1/tcp/4001\"] is expected";
    words(value, |word| word.starts_with('/'), WANTED)
}

/// An address to listen on.
pub(super) fn socket_address(value: &Value) -> Result<String, String> {
    let text = value.as_str().filter(|text| text.parse::<SocketAddr>().is_ok());
    let wanted = || "an address such as 127.0.0.1:8080 is expected".to_owned();
    text.map(str::to_owned).ok_or_else(wanted)
}

/// The path of a file.
pub(super) fn file(value: &Value) -> Result<String, String> {
    let path = value.as_str().filter(|path| !path.is_empty());
    path.map(str::to_owned)
        .ok_or_else(|| "the path of a file is expected".to_owned())
}

/// Addresses of gateways.
pub(super) fn gateways(value: Value) -> Result<Vec<Url>, String> {
    const WANTED: &str = "a list of addresses such as [\"https://gateway.example\"] is expected, 16 at most";
    let words = words(value, |word| word.parse().is_ok_and(|url| base(&url).is_ok()), WANTED)?;
    match words.len() {
        0..=MAX_GATEWAYS => Ok(words.iter().filter_map(|word| word.parse().ok()).collect()),
        _ => Err(WANTED.to_owned()),
    }
}

/// Addresses of routers.
pub(super) fn routers(value: Value) -> Result<Vec<Url>, String> {
    const WANTED: &str = "a list of addresses such as [\"https://router.example/routing/v1\"] is expected, 8 at most";
    let words = words(value, |word| word.parse::<Url>().is_ok(), WANTED)?;
    let urls: Vec<Url> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match Routers::new(&urls, Authorities::default()) {
        Ok(_) => Ok(urls),
        Err(_) => Err(WANTED.to_owned()),
    }
}

/// Whether a word has the form of a host's name, without a port.
pub(super) fn is_host(word: &str) -> bool {
    let is_part = |part: &str| {
        let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !part.is_empty() && part.chars().all(is_char)
    };
    word.strip_suffix('.').unwrap_or(word).split('.').all(is_part)
}

/// Whether a word says what a domain stands for.
pub(super) fn is_dnslink(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(domain, path)| is_host(domain) && (path.starts_with("/ipfs/") || path.starts_with("/ipns/")))
}

/// A list as an array, or as words separated by commas, each of them `valid`.
pub(super) fn words(value: Value, valid: fn(&str) -> bool, wanted: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = match value {
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        Value::Array(values) => values
            .into_iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(wanted)?,
        _ => return Err(wanted.to_owned()),
    };
    if words.iter().all(|word| valid(word)) {
        Ok(words)
    } else {
        Err(wanted.to_owned())
    }
}
