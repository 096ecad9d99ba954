//! What commands read: a file, standard input, or a download. Tables that come as streams are written to a file in the
//! workspace first, because a table is read twice.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use odf::dataset::DatasetName;
use odf::ingest::sheet::{self, Sheet};
use odf::ingest::source::{self, Format, ReadOptions, Source};
use tempfile::NamedTempFile;

use odf::poll::busy_wait;
use odf::repository::http::{agent, ask};

use crate::failure::{Failure, Kind};
use crate::io::{Cancel, Io, Progress, Step};
use crate::output;
use crate::session::Session;

/// The most bytes that are taken from a stream.
const MAX_STREAM_BYTES: u64 = 1 << 40;

/// How long something small, a manifest or a block, may take to arrive.
const SMALL_DEADLINE: Duration = Duration::from_secs(60);

/// What stands for the format of a workbook until a sheet of it is made into CSV.
const UNREAD: Format = Format::Csv;

/// How often a wait looks whether it is to stop.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// What to read, and as what.
#[derive(Args, Debug)]
pub(crate) struct SourceArgs {
    /// The table: a file, `-` for standard input, or an http(s) URL
    #[arg(value_name = "PATH|-|URL")]
    table: String,
    /// Its format: csv, ndjson, json, geojson, ndgeojson, parquet or esrishapefile [default: by the extension]
    #[arg(long)]
    format: Option<Format>,
    /// Field separator of CSV [default: what the dataset's source says; for a new one a tab for .tsv, else what the header
    /// shows of comma, semicolon, tab and |]
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// The first line of CSV is a row: columns are called column_1, column_2, …
    #[arg(long)]
    no_header: bool,
    /// Member of a JSON document that holds the rows, dots between levels [default: what the dataset's source says, else
    /// the only array of objects in it]
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
    /// Sheet of a workbook (.xlsx, .ods) [default: the only one that has anything in it]
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
}

impl SourceArgs {
    /// Whether the table is a sheet of a workbook, by the name of its file or because a sheet is named.
    ///
    /// # Errors
    /// A sheet is named of what has none; or it is a workbook of a kind that is not read.
    fn is_sheet(&self, path: &Path) -> Result<bool, Failure> {
        let is_sheet = is_sheet(&self.table, path, self.sheet.as_deref(), self.format)?;
        if is_sheet && self.separator.is_some() {
            return Err(
                Failure::usage(format!("{} has cells, and nothing separates them", self.table))
                    .next("leave --separator out; it is for CSV"),
            );
        }
        Ok(is_sheet)
    }

    /// The table, as the user called it.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// The field separator, if it was said.
    pub(super) fn separator(&self) -> Option<u8> {
        self.separator
    }

    /// The member of a JSON document, if it was said.
    pub(super) fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }
}

/// A table that is ready to be read.
pub(super) struct Input {
    source: Source,
    /// The file that it is read from.
    content: PathBuf,
    /// A file or URL path, which may give a dataset its name.
    origin: Option<PathBuf>,
    /// What tells it from other files: its canonical path, or its URL.
    place: Option<Vec<u8>>,
    /// The sheet that somebody named, of a workbook that has others, too.
    sheet: Option<String>,
    /// Removed when the input is dropped.
    _spool: Option<NamedTempFile>,
}

impl Input {
    /// Opens what the arguments name, to be read as `options` say, but for what the arguments say themselves.
    ///
    /// # Errors
    /// It is not there, its format is not known, or a stream breaks off.
    pub(super) fn open(
        args: &SourceArgs,
        options: ReadOptions,
        session: &Session,
        io: &mut Io,
    ) -> Result<Self, Failure> {
        let options = ReadOptions {
            separator: args.separator,
            sub_path: args.member.clone(),
            header: !args.no_header,
            ..options
        };
        if args.table.starts_with("http://") || args.table.starts_with("https://") {
            return Self::download(args, options, session, io);
        }
        if args.table == "-" {
            let is_sheet = args.is_sheet(Path::new(""))?;
            let format = args.format.or(is_sheet.then_some(UNREAD)).ok_or_else(|| {
                Failure::usage("the format of standard input is not known")
                    .next("say it with --format csv|ndjson|json|geojson|ndgeojson|parquet|esrishapefile")
            })?;
            let mut input = io.take_input();
            let spooled = Self::spool("standard input", &mut input, format, options.clone(), None, session, io)?;
            return spooled.or_sheet(is_sheet, args, options, session, io);
        }
        let path = io.resolve(Path::new(&args.table));
        let is_sheet = args.is_sheet(&path)?;
        let is_stream = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if is_stream {
            let format = args.format.or_else(|| Format::from_path(&path));
            let format = format
                .or(is_sheet.then_some(UNREAD))
                .ok_or_else(|| unknown_format(&args.table))?;
            let mut file = fs::File::open(&path).map_err(|error| Failure::file(&path, &error))?;
            let spooled = Self::spool(&args.table, &mut file, format, options.clone(), None, session, io)?;
            return spooled.or_sheet(is_sheet, args, options, session, io);
        }
        let format = args.format.or(is_sheet.then_some(UNREAD));
        let source = Source::file(&path, format, options.clone())?;
        let place = fs::canonicalize(&path).ok();
        let input = Self {
            source,
            content: path.clone(),
            origin: Some(path),
            place: place.map(|place| place.into_os_string().into_vec()),
            sheet: None,
            _spool: None,
        };
        input.or_sheet(is_sheet, args, options, session, io)
    }

    fn download(args: &SourceArgs, options: ReadOptions, session: &Session, io: &mut Io) -> Result<Self, Failure> {
        let url = &args.table;
        let path = url.split(['?', '#']).next().unwrap_or(url);
        // Behind the scheme and host, so that a host's name is not taken for a file's.
        let path = path.splitn(4, '/').nth(3).map(PathBuf::from);
        let is_sheet = args.is_sheet(path.as_deref().unwrap_or(Path::new("")))?;
        let response = get(url, None, io)?;
        let by_type = response
            .headers()
            .get("content-type")
            .and_then(|value| Format::from_media_type(value.to_str().ok()?));
        let format = args.format.or_else(|| Format::from_path(path.as_deref()?)).or(by_type);
        let format = format
            .or(is_sheet.then_some(UNREAD))
            .ok_or_else(|| unknown_format(url))?;
        let mut body = Remote {
            body: response.into_body().into_reader(),
            broken: None,
        };
        let spooled = Self::spool(url, &mut body, format, options.clone(), path, session, io);
        io.check()?;
        match body.broken {
            Some(reason) => Err(broken_off(url, &reason)),
            None => Self {
                place: Some(url.clone().into_bytes()),
                ..spooled?
            }
            .or_sheet(is_sheet, args, options, session, io),
        }
    }

    /// The same, or, where the table is a workbook, the sheet of it that the arguments mean.
    fn or_sheet(
        self,
        is_sheet: bool,
        args: &SourceArgs,
        options: ReadOptions,
        session: &Session,
        io: &Io,
    ) -> Result<Self, Failure> {
        if !is_sheet {
            return Ok(self);
        }
        let named = args.sheet.as_deref();
        let (sheet, file) = open_sheet(self.source.name(), &self.content, named, options, session, io)?;
        // Each sheet is a table of its own.
        let place = self.place.map(|place| [&place, sheet.name.as_bytes()].join(&b'#'));
        Ok(Self {
            source: sheet.source,
            content: file.path().to_owned(),
            origin: self.origin,
            place,
            sheet: args.sheet.clone().filter(|_| !sheet.is_only),
            _spool: Some(file),
        })
    }

    fn spool(
        name: &str,
        reader: &mut dyn Read,
        format: Format,
        options: ReadOptions,
        origin: Option<PathBuf>,
        session: &Session,
        io: &Io,
    ) -> Result<Self, Failure> {
        let file = spool_file(session)?;
        let mut reader = Watched::new(reader, io);
        let source = Source::spool(name, &mut reader, file.path(), MAX_STREAM_BYTES, format, options)?;
        Ok(Self {
            source,
            content: file.path().to_owned(),
            origin,
            place: None,
            sheet: None,
            _spool: Some(file),
        })
    }

    /// The table.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What tells the table from others the next time, if it can come again: its canonical path, or its URL.
    pub(super) fn place(&self) -> Option<&[u8]> {
        self.place.as_deref()
    }

    /// What separates the columns of CSV, in words, if nobody said it and it is no comma.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn found_separator(&self) -> Result<Option<String>, Failure> {
        if self.source.options().separator.is_some() {
            return Ok(None);
        }
        Ok(match self.source.separator()? {
            None | Some(b',') => None,
            Some(b'\t') => Some("tabs".to_owned()),
            Some(other) => Some(format!("`{}`", char::from(other))),
        })
    }

    /// A name for a dataset made of this table.
    ///
    /// # Errors
    /// Nothing about the table suggests one.
    pub(super) fn suggested_name(&self) -> Result<DatasetName, Failure> {
        let origin = self.origin.as_deref();
        let name = origin.and_then(|origin| name_from_path(origin, self.sheet.as_deref()));
        name.ok_or_else(|| {
            Failure::usage(format!(
                "{} does not suggest a name for the dataset",
                self.source.name()
            ))
            .next("say it with --name")
        })
    }
}

/// Text of at most `limit` bytes, from a file, `-` for standard input, or a `file:` or http(s) URL.
///
/// # Errors
/// It is not there, it is longer, or it is not UTF-8.
pub(super) fn read_text(origin: &str, limit: u64, io: &mut Io) -> Result<String, Failure> {
    let bytes = read_bytes(origin, limit, io)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Kind::BadInput, format!("{origin} is not UTF-8 from byte {at} on")).next("save it as UTF-8")
    })
}

/// As [`read_text`], whatever the bytes are.
///
/// # Errors
/// It is not there, or it is longer.
pub(super) fn read_bytes(origin: &str, limit: u64, io: &mut Io) -> Result<Vec<u8>, Failure> {
    let take = |reader: &mut dyn Read, io: &Io| {
        let mut bytes = Vec::new();
        let read = Watched::new(reader, io).take(limit + 1).read_to_end(&mut bytes);
        read.map(|_| bytes)
    };
    let read = if origin == "-" {
        let mut input = io.take_input();
        take(&mut input, io).map_err(Failure::from)
    } else if origin.starts_with("http://") || origin.starts_with("https://") {
        let mut body = get(origin, Some(SMALL_DEADLINE), io)?.into_body().into_reader();
        take(&mut body, io).map_err(|error| broken_off(origin, &error.to_string()))
    } else {
        let path = io.resolve(Path::new(origin.strip_prefix("file://").unwrap_or(origin)));
        let read = fs::File::open(&path).and_then(|mut file| take(&mut file, io));
        read.map_err(|error| Failure::file(&path, &error))
    };
    io.check()?;
    let bytes = read?;
    if bytes.len() as u64 > limit {
        let limit = output::bytes(limit);
        let error = format!("{origin} is longer than the limit of {limit}");
        return Err(Failure::new(Kind::BadInput, error).next("check that it is the file you mean, or split it"));
    }
    Ok(bytes)
}

/// Writes a stream to a file in the workspace, which is removed when it is dropped. `name` stands for the stream in
/// messages.
///
/// # Errors
/// The stream breaks off, or the user wants to stop.
pub(super) fn spool(name: &str, reader: &mut dyn Read, session: &Session, io: &Io) -> Result<NamedTempFile, Failure> {
    let file = spool_file(session)?;
    source::spool(name, &mut Watched::new(reader, io), file.path(), MAX_STREAM_BYTES)?;
    Ok(file)
}

/// An empty file in the workspace, which is removed when it is dropped.
pub(super) fn spool_file(session: &Session) -> Result<NamedTempFile, Failure> {
    let dir = session.spool_dir()?;
    NamedTempFile::new_in(&dir).map_err(|error| Failure::file(&dir, &error))
}

/// Asks an http(s) server for what lies at a URL, and again while it says that it is busy. `whole` is how long all of it
/// may take to arrive.
fn get(url: &str, whole: Option<Duration>, io: &mut Io) -> Result<ureq::http::Response<ureq::Body>, Failure> {
    let agent = agent(url, io.environment().proxy().as_ref());
    let mut repeats = 0;
    loop {
        let answer = ask(|| agent.get(url).config().timeout_recv_body(whole).build().call());
        let response = answer.map_err(|error| download_failed(url, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = busy_wait(status.as_u16(), response.headers(), repeats, chrono::Utc::now());
        let Some(wait) = wait else {
            return Err(download_failed(url, &ureq::Error::StatusCode(status.as_u16())));
        };
        io.say(format_args!(
            "{url} answered {}, trying again in {} s",
            status.as_u16(),
            wait.as_secs()
        ));
        let until = Instant::now() + wait;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            io.check()?;
            std::thread::sleep(left.min(CANCEL_POLL));
        }
        repeats += 1;
    }
}

/// A download, with why it broke off. What is wrong with the file it is written to is something else.
struct Remote<R> {
    body: R,
    broken: Option<String>,
}

impl<R: Read> Read for Remote<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.broken = Some(error.to_string());
            }
        })
    }
}

/// Shows how much of a stream was read, and ends it when the user wants to stop.
struct Watched<'a> {
    reader: &'a mut dyn Read,
    taken: u64,
    cancel: Cancel,
    progress: Progress,
}

impl<'a> Watched<'a> {
    fn new(reader: &'a mut dyn Read, io: &Io) -> Self {
        Self {
            reader,
            taken: 0,
            cancel: io.cancel().clone(),
            progress: io.progress().clone(),
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::Error::other("interrupted"));
        }
        let count = self.reader.read(buffer)?;
        self.taken += count as u64;
        self.progress.show(|| Step {
            text: format!("reading {}", output::bytes(self.taken)),
            ..Step::default()
        });
        Ok(count)
    }
}

/// Whether the table at `path`, which the user called `table`, is a sheet of a workbook: by its name, or because a sheet is
/// named and nothing says that it is of another format.
///
/// # Errors
/// A sheet is named of what has none; or it is a workbook of a kind that is not read.
pub(super) fn is_sheet(table: &str, path: &Path, sheet: Option<&str>, format: Option<Format>) -> Result<bool, Failure> {
    if format.is_none() && sheet::is_foreign(path) {
        return Err(
            Failure::usage(format!("{table} is a workbook of a kind that is not read"))
                .next("save it as .xlsx, .ods or CSV in the program that it is from"),
        );
    }
    let format = format.or_else(|| Format::from_path(path));
    match (sheet, format) {
        (Some(_), Some(_)) => Err(Failure::usage(format!("{table} has no sheets"))
            .next("leave --sheet out; it is for workbooks, whose names end in .xlsx or .ods")),
        (Some(_), None) => Ok(true),
        (None, format) => Ok(format.is_none() && sheet::is_workbook(path)),
    }
}

/// The sheet that is meant of the workbook in the file `path`, as CSV in a file of its own. `name` stands for the workbook
/// in messages.
///
/// # Errors
/// As [`sheet::open`]; or the user wants to stop.
pub(super) fn open_sheet(
    name: &str,
    path: &Path,
    sheet: Option<&str>,
    options: ReadOptions,
    session: &Session,
    io: &Io,
) -> Result<(Sheet, NamedTempFile), Failure> {
    let file = spool_file(session)?;
    let mut goes_on = |rows| {
        io.progress().show(|| Step {
            text: format!("reading {}, {} rows", name, output::count(rows)),
            ..Step::default()
        });
        !io.cancel().is_set()
    };
    let sheet = sheet::open(name, path, sheet, file.path(), options, &mut goes_on);
    io.check()?;
    Ok((sheet?, file))
}

/// The name of a dataset made of a file's name, without its directory and extension, and of that of the sheet in it.
fn name_from_path(path: &Path, sheet: Option<&str>) -> Option<DatasetName> {
    let stem = path.file_stem()?.to_str()?;
    match sheet {
        Some(sheet) => DatasetName::from_text(&format!("{stem}-{sheet}")),
        None => DatasetName::from_text(stem),
    }
}

fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" | b"tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("one ASCII character is expected, or \\t".to_owned()),
    }
}

fn unknown_format(what: &str) -> Failure {
    Failure::usage(format!("the format of {what} is not clear from its name"))
        .next("say it with --format csv|ndjson|json|geojson|ndgeojson|parquet|esrishapefile")
}

fn broken_off(url: &str, reason: &str) -> Failure {
    Failure::new(Kind::Unreachable, format!("the download of {url} broke off: {reason}"))
        .next("run the command again, or download it and name the file; nothing was taken")
}

fn download_failed(url: &str, error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::StatusCode(404 | 410) => Failure::new(Kind::NotFound, format!("{url} does not exist")),
        ureq::Error::StatusCode(code @ (429 | 503)) => {
            Failure::new(Kind::Unreachable, format!("{url} answered {code}: it is busy"))
                .next("wait a while and run the command again; nothing was taken")
        }
        ureq::Error::StatusCode(code) => Failure::new(Kind::Unreachable, format!("{url} answered {code}")),
        ureq::Error::BadUri(reason) => Failure::usage(format!("{url} is no URL: {reason}")),
        error => Failure::new(Kind::Unreachable, format!("{url} cannot be downloaded: {error}"))
            .next("check the URL and the connection, or download it and name the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_one_character() {
        assert_eq!(separator(";"), Ok(b';'));
        assert_eq!(separator("\\t"), Ok(b'\t'));
        assert!(separator("ab").is_err());
        assert!(separator("é").is_err());
    }
}
