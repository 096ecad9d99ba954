//! Datasets by words: in their names, keywords, descriptions, and columns.
//!
//! Kept states say all of it, so a search reads no chain. Whether a letter is a capital one does not matter; all words must be
//! found, each anywhere and as a part of words too.

use odf_metadata::chain::ChainState;
use odf_metadata::{DataField, DataType};

use crate::Summary;
use crate::catalog::{Catalog, CatalogError, Entry};

/// The most words of one search; others are not looked for.
pub const MAX_WORDS: usize = 32;

/// The attribute of a column in which ODF has its description (the core attributes of RFC-014).
const DESCRIPTION: &str = "opendatafabric.org/description";

/// Letters shown on each side of a word that was found in a longer text.
const EXCERPT_LETTERS: usize = 40;

/// Where a word was found, the most telling place first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The name of the dataset.
    Name,
    /// One of its keywords.
    Keyword,
    /// Its description.
    Description,
    /// The name of a column.
    Column,
    /// The description of a column.
    ColumnDescription,
}

/// Why a dataset was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub place: Place,
    /// The column, for the description of one.
    pub column: Option<String>,
    /// The name or keyword, or what stands around the word.
    pub text: String,
}

/// A dataset that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Which.
    pub entry: Entry,
    /// What a listing tells of it, if it can be opened.
    pub summary: Option<Summary>,
    /// Why: the best place for each word, each place once.
    pub found: Vec<Found>,
    /// By what hits are in order.
    rank: (bool, usize),
}

/// The words of a search, in small letters, each once.
#[derive(Debug, Clone, Default)]
pub struct Words(Vec<String>);

impl Words {
    /// Those of a text, the first [`MAX_WORDS`] of them.
    pub fn of(text: &str) -> Words {
        let mut words: Vec<String> = Vec::new();
        for word in text.split_whitespace().map(str::to_lowercase) {
            if words.len() < MAX_WORDS && !words.contains(&word) {
                words.push(word);
            }
        }
        Words(words)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The datasets in which all words are found, the best first: those that are called so, then by where the words are, then by
/// name. `go_on` is asked before each dataset is looked at.
///
/// A damaged dataset that cannot be opened is looked for by its name.
///
/// # Errors
/// The directory of datasets cannot be read.
pub fn search(catalog: &Catalog, words: &Words, go_on: &mut dyn FnMut() -> bool) -> Result<Vec<Hit>, CatalogError> {
    let mut hits = Vec::new();
    for entry in catalog.entries()? {
        if !go_on() {
            break;
        }
        let opened = catalog.open_entry(&entry);
        let opened = opened.inspect_err(|error| tracing::warn!(dataset = %entry.id, %error, "is searched by its name"));
        let name = entry.name.as_ref().map(|name| name.as_str().to_owned());
        let Some(found) = look(
            name.as_deref(),
            opened.as_ref().ok().map(|opened| opened.state()),
            words,
        ) else {
            continue;
        };
        let is_called = name.is_some_and(|name| name.to_lowercase() == words.0.join(" "));
        let rank = (!is_called, found.iter().map(|(_, place)| *place as usize).sum());
        let mut reasons: Vec<Found> = Vec::new();
        for (found, _) in found {
            if !reasons.contains(&found) {
                reasons.push(found);
            }
        }
        hits.push(Hit {
            entry,
            summary: opened.ok().map(|opened| opened.summary()),
            found: reasons,
            rank,
        });
    }
    // Those of one rank stay as the listing has them.
    hits.sort_by_key(|hit| hit.rank);
    Ok(hits)
}

/// The best place for each word; nothing if one is nowhere.
fn look(name: Option<&str>, state: Option<&ChainState>, words: &Words) -> Option<Vec<(Found, Place)>> {
    let mut texts: Vec<(Place, Option<String>, String)> = Vec::new();
    texts.extend(name.map(|name| (Place::Name, None, name.to_owned())));
    if let Some(state) = state {
        let info = state.info.as_ref();
        let keywords = info.and_then(|info| info.keywords.as_ref()).into_iter().flatten();
        texts.extend(keywords.map(|keyword| (Place::Keyword, None, keyword.clone())));
        let description = info.and_then(|info| info.description.as_ref());
        texts.extend(description.map(|text| (Place::Description, None, text.clone())));
        // What cannot be read as a schema has no columns to be found by.
        let schema = state
            .schema
            .as_ref()
            .and_then(|schema| schema.declared().ok().flatten());
        if let Some(schema) = schema {
            fields("", &schema.fields, &mut texts);
        }
    }
    // A stable sort: columns first, whichever was met before, then what is said of them.
    texts.sort_by_key(|(place, ..)| *place);
    let small: Vec<String> = texts.iter().map(|(.., text)| text.to_lowercase()).collect();
    let best = |word: &String| {
        let at = small.iter().position(|text| text.contains(word.as_str()))?;
        let (place, column, text) = texts.get(at)?;
        let found = Found {
            place: *place,
            column: column.clone(),
            text: excerpt(text, word),
        };
        Some((found, *place))
    };
    words.0.iter().map(best).collect()
}

/// The columns, with those in them, and what is said of each.
fn fields(above: &str, of: &[DataField], texts: &mut Vec<(Place, Option<String>, String)>) {
    for field in of {
        let path = match above {
            "" => field.name.clone(),
            above => format!("{above}.{}", field.name),
        };
        let described = field.extra.as_ref().and_then(|extra| extra.0.get(DESCRIPTION));
        if let Some(text) = described.and_then(|text| text.as_str()) {
            texts.push((Place::ColumnDescription, Some(path.clone()), text.to_owned()));
        }
        within(&path, &field.data_type, texts);
        texts.push((Place::Column, None, path));
    }
}

fn within(path: &str, data_type: &DataType, texts: &mut Vec<(Place, Option<String>, String)>) {
    match data_type {
        DataType::Option { inner } => within(path, inner, texts),
        DataType::List { item_type, .. } => within(path, item_type, texts),
        DataType::Struct { fields: members } => fields(path, members, texts),
        _ => {}
    }
}

/// What stands around the first place of a word, on one line.
fn excerpt(text: &str, word: &str) -> String {
    let letters: Vec<char> = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    if letters.len() <= 2 * EXCERPT_LETTERS {
        return letters.into_iter().collect();
    }
    // Small letters may be more than the capital one that they stand for, so places differ a little.
    let small = text.to_lowercase();
    let before = small.find(word).map_or(0, |at| small[..at].chars().count());
    let first = before.min(letters.len()).saturating_sub(EXCERPT_LETTERS);
    let end = (before + word.chars().count() + EXCERPT_LETTERS).min(letters.len());
    let inner: String = letters.get(first..end).unwrap_or_default().iter().collect();
    let (open, close) = (
        if first > 0 { "…" } else { "" },
        if end < letters.len() { "…" } else { "" },
    );
    format!("{open}{inner}{close}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tests::{make, open};

    #[test]
    fn all_words_have_to_be_found_each_in_its_best_place() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(dir.path());
        let dataset = make(&catalog);
        let name = dataset.name().unwrap();
        let column = dataset.state().vocabulary().event_time_column;
        let places = |text: &str| -> Option<Vec<Place>> {
            let hits = search(&catalog, &Words::of(text), &mut || true).unwrap();
            let hit = hits.into_iter().next()?;
            Some(hit.found.iter().map(|found| found.place).collect())
        };
        let name = name.as_str().to_uppercase();
        assert_eq!(places(&name), Some(vec![Place::Name]));
        assert_eq!(
            places(&format!("{name} {column}")),
            Some(vec![Place::Name, Place::Column])
        );
        assert_eq!(places(&format!("{name} nowhere")), None);
        assert!(search(&catalog, &Words::of(&name), &mut || false).unwrap().is_empty());
    }

    #[test]
    fn columns_are_found_at_any_depth_and_by_what_is_said_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = make(&open(dir.path())).state().clone();
        let extra =
            odf_metadata::ExtraAttributes::from_json(&format!(r#"{{"{DESCRIPTION}":"Above the sea, in metres"}}"#));
        let height = DataField {
            extra: Some(extra.unwrap()),
            ..DataField::new("height", DataType::Float64)
        };
        let place = DataType::Struct { fields: vec![height] }.optional();
        let schema = odf_metadata::DataSchema {
            fields: vec![DataField::new("place", place)],
            extra: None,
        };
        state.schema = Some(odf_metadata::SetDataSchema {
            raw_arrow_schema: None,
            schema: Some(schema),
        });
        let found = |text: &str| {
            let found = look(None, Some(&state), &Words::of(text))?;
            Some(
                found
                    .into_iter()
                    .map(|(found, place)| (place, found.column, found.text))
                    .collect::<Vec<_>>(),
            )
        };
        let column = (Place::Column, None, "place.height".to_owned());
        assert_eq!(found("HEIGHT"), Some(vec![column]));
        let said = (
            Place::ColumnDescription,
            Some("place.height".to_owned()),
            "Above the sea, in metres".to_owned(),
        );
        assert_eq!(found("sea"), Some(vec![said]));
    }

    #[test]
    fn words_are_bounded_and_counted_once() {
        assert_eq!(Words::of(" A a  b ").0, ["a", "b"]);
        let text: String = (0..=MAX_WORDS).map(|word| format!("w{word} ")).collect();
        assert_eq!(Words::of(&text).0.len(), MAX_WORDS);
    }

    #[test]
    fn of_long_texts_what_is_around_the_word_is_told() {
        let text = format!("{}Ärger mit\nBäumen{}", "é".repeat(200), "ß".repeat(200));
        let found = excerpt(&text, "bäumen");
        assert!(
            found.starts_with('…') && found.ends_with('…') && found.contains("mit Bäumen"),
            "{found}"
        );
        assert_eq!(excerpt("short text", "text"), "short text");
        // The small form of this letter has two.
        assert!(excerpt(&"İ".repeat(100), "i").starts_with('İ'));
    }
}
