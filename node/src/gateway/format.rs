//! The forms that content is served in, and which of them a request wants.

use axum::http::{HeaderMap, header};

use super::refusal::Refusal;
use super::scope::Selection;
use crate::percent::find;

/// The forms that a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    DagJson,
    DagCbor,
    Json,
    Cbor,
    Car,
    Tar,
    IpnsRecord,
}

const FORMATS: [(Format, &str, &str); 8] = [
    (Format::Raw, "raw", "application/vnd.ipld.raw"),
    (Format::DagJson, "dag-json", "application/vnd.ipld.dag-json"),
    (Format::DagCbor, "dag-cbor", "application/vnd.ipld.dag-cbor"),
    (Format::Json, "json", "application/json"),
    (Format::Cbor, "cbor", "application/cbor"),
    (Format::Car, "car", "application/vnd.ipld.car"),
    (Format::Tar, "tar", "application/x-tar"),
    (Format::IpnsRecord, "ipns-record", "application/vnd.ipfs.ipns-record"),
];

impl Format {
    fn named(name: &str) -> Option<Self> {
        FORMATS
            .iter()
            .find(|(_, query, _)| *query == name)
            .map(|(format, ..)| *format)
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        FORMATS
            .iter()
            .find(|(.., wanted)| media_type.eq_ignore_ascii_case(wanted))
            .map(|(format, ..)| *format)
    }

    fn row(self) -> &'static (Format, &'static str, &'static str) {
        FORMATS
            .iter()
            .find(|(format, ..)| *format == self)
            .unwrap_or(&FORMATS[0])
    }

    /// The value of `format=`.
    pub(super) fn query(self) -> &'static str {
        self.row().1
    }

    /// The media type.
    pub(super) fn media_type(self) -> &'static str {
        self.row().2
    }

    /// Whether it is a media type that files have, too.
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Self::Json | Self::Cbor)
    }

    /// Whether it is text.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::DagJson | Self::Json)
    }
}

/// The form that a request wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The form that was asked for, if not the natural one.
    pub(super) format: Option<Format>,
    /// Whether the form was chosen by `Accept`, so that the answer has to say where it is found without.
    pub(super) by_accept: bool,
    /// Whether the client reads HTML.
    pub(super) html: bool,
    /// What is to be in a CAR.
    pub(super) selection: Selection,
}

impl Wanted {
    /// What a query and `Accept` say; the query has the last word (IPIP-523).
    ///
    /// # Errors
    /// 400 for a format that does not exist, and for a CAR of an unknown version, order or scope.
    pub(super) fn read(query: Option<&str>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let by_query = match query.and_then(|query| find(query, "format")) {
            Some(name) => {
                Some(Format::named(&name).ok_or_else(|| Refusal::bad(format!("there is no format {name:?}")))?)
            }
            None => None,
        };
        let accepted: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let by_accept = accepted.iter().find_map(|one| Format::of_media_type(split_type(one).0));
        let format = by_query.or(by_accept);
        let selection = match format {
            Some(Format::Car) => {
                let types = accepted.iter().map(|one| split_type(one));
                let mut of_car = types.filter(|(name, _)| Format::of_media_type(name) == Some(Format::Car));
                Selection::read(query, of_car.next().map_or("", |(_, parameters)| parameters))?
            }
            _ => Selection::default(),
        };
        Ok(Self {
            format,
            by_accept: format.is_some() && by_query.is_none(),
            html: accepted.iter().any(|one| one.contains("text/html")),
            selection,
        })
    }
}

/// A media type and its parameters.
fn split_type(accepted: &str) -> (&str, &str) {
    let (name, parameters) = accepted.split_once(';').unwrap_or((accepted, ""));
    (name.trim(), parameters)
}
