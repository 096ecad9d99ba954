//! What of a DAG goes into a CAR: `dag-scope`, `entity-bytes`, and the order and repetition of blocks.
//!
//! Spec: <https://specs.ipfs.tech/http-gateways/trustless-gateway/#car-request-query-parameters>.

use std::ops::Range;

use super::refusal::Refusal;
use crate::percent::find;

/// What of a DAG is wanted, beside the blocks that prove the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// The block that the path ends at.
    Block,
    /// What makes up one file or one directory, without what the directory links to.
    Entity,
    /// Everything below.
    #[default]
    All,
}

/// Part of a file, from one byte up to and including another. Negative numbers count from the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityBytes {
    from: i64,
    to: Option<i64>,
}

/// What is to be in a CAR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) scope: Scope,
    pub(super) bytes: Option<EntityBytes>,
    /// Whether a block that occurs again is sent again.
    pub(super) dups: bool,
}

impl Selection {
    /// What a query says, and where it does not, the `parameters` of the media type.
    ///
    /// # Errors
    /// 400 for a value that does not exist.
    pub(super) fn read(query: Option<&str>, parameters: &str) -> Result<Self, Refusal> {
        let in_query = |name: &str| {
            query
                .and_then(|query| find(query, name))
                .filter(|value| !value.is_empty())
        };
        let in_type = |name: &str| {
            let mut pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let either = |query: &str, name: &str| in_query(query).or_else(|| in_type(name));
        let unknown = |name: &str, value: &str| Refusal::bad(format!("there is no CAR with {name}={value}"));

        if let Some(version) = either("car-version", "version").filter(|version| version != "1") {
            return Err(unknown("version", &version));
        }
        // The order of a walk is one of those that `unk` allows.
        if let Some(order) = either("car-order", "order").filter(|order| order != "dfs" && order != "unk") {
            return Err(unknown("order", &order));
        }
        let dups = match either("car-dups", "dups").as_deref() {
            None | Some("n") => false,
            Some("y") => true,
            Some(other) => return Err(unknown("dups", other)),
        };
        let bytes = match in_query("entity-bytes") {
            Some(text) => Some(EntityBytes::parse(&text).ok_or_else(|| unknown("entity-bytes", &text))?),
            None => None,
        };
        let scope = match in_query("dag-scope").as_deref() {
            Some("block") => Scope::Block,
            Some("entity") => Scope::Entity,
            // A part is one of an entity.
            None if bytes.is_some() => Scope::Entity,
            None | Some("all") => Scope::All,
            Some(other) => return Err(unknown("dag-scope", other)),
        };
        Ok(Self { scope, bytes, dups })
    }
}

impl EntityBytes {
    /// `from:to`, where `to` may be `*`.
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(':')?;
        let to = match to {
            "*" => None,
            to => Some(to.parse().ok()?),
        };
        Some(Self {
            from: from.parse().ok()?,
            to,
        })
    }

    /// Where in a file of `size` bytes that is; nothing if there is nothing of it in the file.
    pub(super) fn within(self, size: u64) -> Range<u64> {
        let at = |number: i64| match number {
            0.. => number.unsigned_abs(),
            _ => size.saturating_sub(number.unsigned_abs()),
        };
        let start = at(self.from).min(size);
        let end = match self.to {
            None => size,
            Some(to) if to < 0 && to.unsigned_abs() > size => 0,
            Some(to) => at(to).saturating_add(1).min(size),
        };
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_files_are_what_the_specification_says() {
        let within = |text: &str, size| EntityBytes::parse(text).unwrap().within(size);
        for (text, expected) in [
            ("0:*", 0..1026),
            ("512:*", 512..1026),
            ("512:1023", 512..1024),
            ("512:-256", 512..771),
            ("-5:*", 1021..1026),
            ("-9999:*", 0..1026),
            ("-9999:-3", 0..1024),
            ("0:0", 0..1),
            ("2000:*", 1026..1026),
            ("5:2", 5..5),
            ("0:-9999", 0..0),
            ("-9223372036854775808:9223372036854775807", 0..1026),
        ] {
            assert_eq!(within(text, 1026), expected, "{text}");
        }
        for text in ["", "1", "*:1", "a:*", "1:b", "99999999999999999999:*"] {
            assert_eq!(EntityBytes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_query_has_the_last_word_over_the_media_type() {
        let read = |query, parameters| Selection::read(query, parameters).ok();
        let dups = Selection {
            dups: true,
            ..Selection::default()
        };
        assert_eq!(read(None, ""), Some(Selection::default()));
        assert_eq!(read(None, " version=1; order=dfs; dups=y"), Some(dups));
        assert_eq!(read(Some("car-dups=y"), "dups=n"), Some(dups));
        assert_eq!(read(Some("car-order=dfs"), "order=strange"), Some(Selection::default()));
        assert_eq!(read(Some("entity-bytes=0:*"), "").unwrap().scope, Scope::Entity);
        for (query, parameters) in [
            (Some("car-version=2"), ""),
            (None, "version=2"),
            (None, "order=bfs"),
            (None, "dups=maybe"),
            (Some("dag-scope=most"), ""),
            (Some("entity-bytes=x"), ""),
        ] {
            assert_eq!(read(query, parameters), None, "{query:?} {parameters}");
        }
    }
}
