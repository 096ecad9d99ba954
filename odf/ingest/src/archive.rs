//! Entries of a zip archive as streams. Nothing is ever unpacked to disk, so an entry's name cannot lead anywhere; one
//! that tries is refused all the same, because nobody means well with it.

use std::io::{self, Read};

use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::source::{Problem, Source, SourceError, shorten};

/// The most entries an archive may have.
pub(super) const MAX_ENTRIES: usize = 65_536;

/// The most bytes that are taken out of one entry. What is packed a thousand times smaller stays a bomb, but one that only
/// takes time: memory does not depend on the length of an entry.
pub(super) const MAX_ENTRY_BYTES: u64 = 64 << 30;

/// A file in an archive.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    deflated: bool,
    /// Where its packed bytes begin in the archive, and how many they are.
    start: u64,
    packed: u64,
    /// CRC-32 of its bytes.
    crc: u32,
}

/// The files of the archive that `source` is.
///
/// # Errors
/// It is not a zip archive, a name leads out of it, or a file is packed or encrypted in a way that is not supported.
pub(super) fn entries(source: &Source) -> Result<Vec<Entry>, SourceError> {
    let refuse = |what: String| source.error(Problem::Syntax(what));
    let unreadable = |error| refuse(format!("not a readable zip archive: {error}"));
    let mut archive = ZipArchive::new(source.open_at(0)?).map_err(unreadable)?;
    if archive.len() > MAX_ENTRIES {
        return Err(source.error(Problem::TooLarge {
            limit: MAX_ENTRIES,
            unit: "entries in an archive",
            hint: "",
        }));
    }
    let mut entries = Vec::new();
    for at in 0..archive.len() {
        let file = archive.by_index_raw(at).map_err(unreadable)?;
        let name = file.name().map_err(unreadable)?.into_owned();
        if leads_out(&name) {
            return Err(refuse(format!(
                "the archive has an entry `{}`, which leads out of it",
                shorten(&name)
            )));
        }
        if !file.is_file() {
            continue;
        }
        let deflated = match file.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => {
                let name = shorten(&name);
                return Err(refuse(format!(
                    "the entry `{name}` of the archive is packed with {other}; use deflate"
                )));
            }
        };
        if file.encrypted() {
            return Err(refuse(format!(
                "the entry `{}` of the archive is encrypted",
                shorten(&name)
            )));
        }
        let start = file
            .data_start()
            .ok_or_else(|| refuse("not a readable zip archive".to_owned()))?;
        entries.push(Entry {
            name,
            deflated,
            start,
            packed: file.compressed_size(),
            crc: file.crc32(),
        });
    }
    Ok(entries)
}

/// Whether an entry has a name that is no place within the archive: nothing is written under it, but such an archive was
/// made to do harm.
pub(crate) fn leads_out(name: &str) -> bool {
    let has_drive = name.as_bytes().get(1) == Some(&b':');
    name.starts_with(['/', '\\']) || has_drive || name.split(['/', '\\']).any(|part| part == "..")
}

/// The bytes of an entry. Reading fails at the end if they are not those that were packed, and beyond
/// [`MAX_ENTRY_BYTES`].
pub(super) fn open(source: &Source, entry: &Entry) -> Result<Box<dyn Read + Send>, SourceError> {
    let packed = source.open_at(entry.start)?.take(entry.packed);
    let bytes: Box<dyn Read + Send> = match entry.deflated {
        true => Box::new(DeflateDecoder::new(packed)),
        false => Box::new(packed),
    };
    Ok(Box::new(Checked::new(bytes, entry)))
}

struct Checked<R> {
    bytes: CrcReader<R>,
    name: String,
    crc: u32,
    left: u64,
}

impl<R: Read> Checked<R> {
    /// The unpacked bytes of an entry, of which none is read yet.
    fn new(bytes: R, entry: &Entry) -> Self {
        Self {
            bytes: CrcReader::new(bytes),
            name: entry.name.clone(),
            crc: entry.crc,
            left: MAX_ENTRY_BYTES,
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buf)?;
        let damaged = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if read == 0 && !buf.is_empty() && self.bytes.crc().sum() != self.crc {
            return damaged(format!("the entry `{}` of the archive is damaged", shorten(&self.name)));
        }
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                return damaged(format!(
                    "the entry `{}` of the archive unpacks without end",
                    shorten(&self.name)
                ));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bytes::Bytes;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::source::{Format, ReadOptions};

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn source(bytes: Vec<u8>) -> Source {
        Source::bytes(
            "t.zip",
            Bytes::from(bytes),
            Format::EsriShapefile,
            ReadOptions::default(),
        )
    }

    #[test]
    fn entries_are_read_and_checked() {
        let bytes = zip(&[("a/b.txt", b"hello hello hello hello"), ("c", b"")]);
        let archive = source(bytes.clone());
        let all = entries(&archive).unwrap();
        assert_eq!(
            all.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
            ["a/b.txt", "c"]
        );
        let mut text = String::new();
        open(&archive, &all[0]).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello hello hello hello");
        let wrong = Entry {
            crc: 1,
            ..all[0].clone()
        };
        let error = open(&archive, &wrong).unwrap().read_to_string(&mut text).unwrap_err();
        assert_eq!(error.to_string(), "the entry `a/b.txt` of the archive is damaged");
        for cut in 0..bytes.len() {
            let _ = entries(&source(bytes[..cut].to_vec()));
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in [
            "../x",
            "a/../../x",
            "/etc/passwd",
            "..\\x",
            "C:\\x",
            "\\\\host\\x",
            "a/..",
        ] {
            assert!(leads_out(name), "{name}");
        }
        for name in ["a..b", "a/b", "...", "a/.hidden"] {
            assert!(!leads_out(name), "{name}");
        }
        // The writer refuses such names, so one is made by hand.
        let mut bytes = zip(&[("aaaaa", b"x")]);
        while let Some(at) = bytes.windows(5).position(|w| w == b"aaaaa") {
            bytes[at..at + 5].copy_from_slice(b"../xx");
        }
        let error = entries(&source(bytes)).unwrap_err().to_string();
        assert_eq!(error, "t.zip: the archive has an entry `../xx`, which leads out of it");
    }

    #[test]
    fn endless_entries_and_too_many_of_them_are_refused() {
        let content = [7_u8; 1000];
        let entry = entries(&source(zip(&[("x", &content)]))).unwrap().remove(0);
        let read_after = |before: u64| {
            let mut checked = Checked::new(&content[..], &entry);
            assert_eq!(checked.left, MAX_ENTRY_BYTES);
            // As if so many bytes had come out already: to unpack them all would take a minute.
            checked.left -= before;
            io::copy(&mut checked, &mut io::sink())
        };
        assert_eq!(read_after(MAX_ENTRY_BYTES - 1000).unwrap(), 1000);
        let error = read_after(MAX_ENTRY_BYTES - 999).unwrap_err();
        assert_eq!(error.to_string(), "the entry `x` of the archive unpacks without end");

        let many = |count: usize| {
            let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
            for at in 0..count {
                writer.start_file(at.to_string(), SimpleFileOptions::default()).unwrap();
            }
            entries(&source(writer.finish().unwrap().into_inner()))
        };
        let error = many(MAX_ENTRIES + 1).unwrap_err().to_string();
        assert_eq!(error, "t.zip: larger than the limit of 65536 entries in an archive");
    }
}
