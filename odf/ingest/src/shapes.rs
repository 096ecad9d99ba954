//! ESRI shapefiles in a zip archive, as a stream of objects: the attributes of each shape (`.dbf`) as members, the geometry
//! (`.shp`) behind them as GeoJSON text.
//!
//! Both files are read from front to back, one record at a time; the index (`.shx`) is not needed. Geometries are flat (Z
//! and M values are left out) and of the kinds that kamu makes of them: Point, MultiPoint, MultiLineString, MultiPolygon.

mod attributes;
mod codepage;
mod geometry;
mod numbers;

use std::io::{BufReader, Read};

use arrow::datatypes::DataType;
use glob::{MatchOptions, Pattern};

use super::archive::{self, Entry};
use super::json::{GEOMETRY, PROPERTY_GEOMETRY};
use super::source::{MAX_ROW_BYTES, Problem, Source, SourceError, shorten};
use attributes::{Attributes, read_full};
use codepage::CodePage;

const BUFFER_BYTES: usize = 256 << 10;
/// Length of the header of a `.shp`.
const HEADER_BYTES: usize = 100;
/// The number that a `.shp` begins with.
const FILE_CODE: u32 = 9994;
/// How many files of an archive a message lists.
const MAX_LISTED: usize = 20;

/// The shapes of an archive.
pub(super) struct Shapes {
    source: Source,
    shapes: BufReader<Box<dyn Read + Send>>,
    attributes: Attributes,
    row: u64,
    consumed: u64,
}

impl Shapes {
    pub(super) fn open(source: &Source) -> Result<Shapes, SourceError> {
        let entries = archive::entries(source)?;
        let shp = find(&entries, source.options().sub_path.as_deref()).map_err(|problem| source.error(problem))?;
        let sibling = |extension: &str| {
            let stem = &shp.name[..shp.name.len() - "shp".len()];
            let wanted = format!("{stem}{extension}");
            entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(&wanted))
        };
        let missing = |extension: &str| {
            let what = format!("the archive has `{}` without its .{extension}", shorten(&shp.name));
            source.error(Problem::Syntax(what))
        };
        let dbf = sibling("dbf").ok_or_else(|| missing("dbf"))?;
        let page = match sibling("cpg") {
            None => None,
            Some(cpg) => {
                let mut name = String::new();
                let read = archive::open(source, cpg)?.take(64).read_to_string(&mut name);
                read.map_err(|error| source.error(Problem::Io(error)))?;
                Some(CodePage::named(&name).map_err(|problem| source.error(problem))?)
            }
        };
        let mut shapes = BufReader::with_capacity(BUFFER_BYTES, archive::open(source, shp)?);
        let mut header = [0; HEADER_BYTES];
        let read = shapes.read_exact(&mut header);
        if read.is_err() || header[..4] != FILE_CODE.to_be_bytes() {
            let what = format!("`{}` is not a shapefile", shorten(&shp.name));
            return Err(source.error(Problem::Syntax(what)));
        }
        let attributes = BufReader::with_capacity(BUFFER_BYTES, archive::open(source, dbf)?);
        let mut attributes = Attributes::open(attributes, page).map_err(|(column, problem)| match column {
            Some(column) => source.column_error(&column, problem),
            None => source.error(problem),
        })?;
        // It would be hidden behind the geometry.
        attributes.rename(GEOMETRY, PROPERTY_GEOMETRY);
        Ok(Shapes {
            source: source.clone(),
            shapes,
            attributes,
            row: 0,
            consumed: 0,
        })
    }

    /// The types of columns that hold every attribute read so far, where the table says more than the values do.
    pub(super) fn types(&self) -> impl Iterator<Item = (&str, DataType)> {
        let types = self
            .attributes
            .types(self.source.has_step(), self.source.options().decimal);
        types.filter_map(|(name, data_type)| Some((name, data_type?)))
    }

    /// Bytes of geometry so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Puts the next shape as a JSON object into `text` and gives its number, from 1.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<u64>, SourceError> {
        loop {
            self.row += 1;
            let row = self.row;
            let in_row = |source: &Source, problem| source.error_in_row(row, None, problem);
            let shape = self.shape().map_err(|problem| in_row(&self.source, problem))?;
            text.clear();
            text.push(b'{');
            let attributes = self
                .attributes
                .next(text)
                .map_err(|(column, problem)| self.source.error_in_row(row, column.as_deref(), problem))?;
            let shape = match (shape, attributes) {
                (None, None) => return Ok(None),
                (Some(_), Some(false)) => continue,
                (Some(shape), Some(true)) => shape,
                (shape, _) => {
                    let (more, less) = if shape.is_some() {
                        ("shapes", "rows of attributes")
                    } else {
                        ("rows of attributes", "shapes")
                    };
                    let problem = Problem::Syntax(format!("there are more {more} than {less}"));
                    return Err(in_row(&self.source, problem));
                }
            };
            let geometry = geometry::to_json(&shape).map_err(|problem| in_row(&self.source, problem))?;
            if text.len() > 1 {
                text.push(b',');
            }
            let member = |error: serde_json::Error| in_row(&self.source, Problem::Syntax(error.to_string()));
            serde_json::to_writer(&mut *text, GEOMETRY).map_err(member)?;
            text.push(b':');
            serde_json::to_writer(&mut *text, &geometry).map_err(member)?;
            text.push(b'}');
            return Ok(Some(row));
        }
    }

    /// The content of the next record of the `.shp`; none at the end.
    fn shape(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut header = [0; 8];
        match read_full(&mut self.shapes, &mut header).map_err(Problem::Io)? {
            0 => return Ok(None),
            8 => {}
            _ => return Err(Problem::Syntax("the .shp ends within a record".to_owned())),
        }
        let [_, _, _, _, a, b, c, d] = header;
        // Counted in words of 16 bits.
        let length = u64::from(u32::from_be_bytes([a, b, c, d])) * 2;
        if length > MAX_ROW_BYTES as u64 {
            return Err(Problem::TooLarge {
                limit: MAX_ROW_BYTES,
                unit: "bytes for one shape",
                hint: "",
            });
        }
        let mut content = Vec::new();
        let read = self
            .shapes
            .by_ref()
            .take(length)
            .read_to_end(&mut content)
            .map_err(Problem::Io)?;
        if read as u64 != length {
            return Err(Problem::Syntax("the .shp ends within a record".to_owned()));
        }
        self.consumed += 8 + length;
        Ok(Some(content))
    }
}

/// The `.shp` that `sub_path` stands for: its name, a pattern that fits only it, or the only one there is.
fn find<'e>(entries: &'e [Entry], sub_path: Option<&str>) -> Result<&'e Entry, Problem> {
    let is_shp = |entry: &&Entry| {
        let name = entry.name.as_bytes();
        name.len() > 4 && name[name.len() - 4..].eq_ignore_ascii_case(b".shp") && !entry.name.starts_with("__MACOSX/")
    };
    let all: Vec<&Entry> = entries.iter().filter(is_shp).collect();
    let list = |some: &[&Entry]| {
        let names: Vec<String> = some.iter().take(MAX_LISTED).map(|entry| shorten(&entry.name)).collect();
        names.join(", ")
    };
    let Some(sub_path) = sub_path else {
        return match all.as_slice() {
            [one] => Ok(one),
            [] => Err(Problem::Syntax("the archive has no .shp file".to_owned())),
            several => {
                let what = format!(
                    "the archive has several shapefiles; say with subPath which: {}",
                    list(several)
                );
                Err(Problem::Syntax(what))
            }
        };
    };
    if let Some(exact) = all.iter().find(|entry| entry.name == sub_path) {
        return Ok(exact);
    }
    let shown = shorten(sub_path);
    let pattern = Pattern::new(sub_path).map_err(|error| Problem::Syntax(format!("subPath `{shown}`: {error}")))?;
    let options = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::new()
    };
    let fitting: Vec<&Entry> = all
        .iter()
        .copied()
        .filter(|e| pattern.matches_with(&e.name, options))
        .collect();
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(Problem::Syntax(format!(
            "no .shp of the archive fits subPath `{shown}`; there are: {}",
            list(&all)
        ))),
        several => Err(Problem::Syntax(format!(
            "several .shp of the archive fit subPath `{shown}`: {}",
            list(several)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use bytes::Bytes;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::source::{Format, ReadOptions};

    #[test]
    fn no_more_files_of_an_archive_are_listed_than_the_limit_says() {
        let listed = |count: usize, sub_path: Option<&str>| {
            let names: Vec<String> = (0..count).map(|number| format!("{number:03}.shp")).collect();
            let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
            for name in &names {
                writer.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
            }
            let bytes = Bytes::from(writer.finish().unwrap().into_inner());
            let source = Source::bytes("t.zip", bytes, Format::EsriShapefile, ReadOptions::default());
            let entries = archive::entries(&source).unwrap();
            let words = find(&entries, sub_path).unwrap_err().to_string();
            names.iter().filter(|name| words.contains(name.as_str())).count()
        };
        for sub_path in [None, Some("*.shp"), Some("other.shp")] {
            assert_eq!(listed(MAX_LISTED, sub_path), MAX_LISTED);
            assert_eq!(listed(MAX_LISTED + 1, sub_path), MAX_LISTED);
        }
    }
}
