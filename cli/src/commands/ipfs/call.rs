//! What one call of an `ipfs` command comes with, and how it is answered.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use clap::{Args, ValueEnum};
use odf_node::block::{Base, Cid};
use odf_node::peer::Node;
use serde::Serialize;
use tokio::time::Instant;

use super::source::{Source, wait_until};
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// What every command of Kubo takes.
#[derive(Args, Debug)]
pub(super) struct Globals {
    /// Form of the output
    #[arg(long, visible_alias = "enc", global = true, value_enum, default_value_t = Encoding::Text, hide_default_value = true)]
    pub(super) encoding: Encoding,
    /// Multibase of CIDs in the output, such as base32; one of version 0 then has version 1
    #[arg(long, global = true, value_name = "BASE", value_parser = base)]
    cid_base: Option<Base>,
    /// The longest that the command may wait for others, such as 30s
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Ask nobody
    #[arg(long, visible_short_alias = 'L', visible_alias = "local", global = true)]
    offline: bool,
    /// Taken for Kubo's sake: commands find the process that owns the workspace by themselves
    #[arg(long, global = true, value_name = "ADDRESS", hide = true)]
    api: Option<String>,
    /// Taken for Kubo's sake; the workspace is said by IPFS_PATH or ODFS_PATH
    #[arg(short = 'D', long, global = true, hide = true)]
    debug: bool,
}

/// The forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// Lines for people and scripts
    Text,
    /// One JSON object a line
    Json,
}

/// One call.
pub(super) struct Call<'a> {
    /// The workspace.
    pub(super) session: &'a Session,
    offline: bool,
    encoding: Encoding,
    base: Option<Base>,
    deadline: Option<Instant>,
}

impl<'a> Call<'a> {
    /// One without options.
    pub(super) fn plain(session: &'a Session) -> Self {
        Self {
            session,
            offline: false,
            encoding: Encoding::Text,
            base: None,
            deadline: None,
        }
    }

    pub(super) fn new(session: &'a Session, globals: &Globals) -> Self {
        Self {
            session,
            offline: globals.offline,
            encoding: globals.encoding,
            base: globals.cid_base,
            deadline: globals.timeout.and_then(|limit| Instant::now().checked_add(limit)),
        }
    }

    /// Whether nobody else is asked: it was said so, here or to the node that runs.
    pub(super) fn is_offline(&self) -> bool {
        self.offline || self.session.is_offline()
    }

    /// The peer, which asks nobody where that was said.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn node(&self) -> Result<&'a Node, Failure> {
        if self.offline {
            self.session.set_offline();
        }
        self.session.node()
    }

    /// Whether the output is for programs.
    pub(super) fn is_json(&self) -> bool {
        self.encoding == Encoding::Json
    }

    /// One answer: `value` for programs, else the line `text`.
    ///
    /// # Errors
    /// The reader went away.
    pub(super) fn answer(&self, value: &impl Serialize, text: impl Display, io: &mut Io) -> Result<(), Failure> {
        answer(self.encoding, value, text, io)
    }

    /// A CID as the caller wants it written.
    pub(super) fn cid(&self, cid: &Cid) -> String {
        let Some(base) = self.base else {
            return cid.to_string();
        };
        let cid = match cid.into_v1() {
            Ok(upgraded) if base != Base::Base58Btc => upgraded,
            _ => *cid,
        };
        // Version 0 has one form only.
        cid.to_string_of_base(base).unwrap_or_else(|_| cid.to_string())
    }

    /// Waits for `work`, for no longer than the caller wants to.
    ///
    /// # Errors
    /// That of `work`, interrupted, or the time is up.
    pub(super) fn wait<T, E: Into<Failure>>(
        &self,
        io: &Io,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        wait_until(self.deadline, self.session, io, work)
    }

    /// As [`Call::source`], and when `most` has passed nothing is waited for any more.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub(super) fn source_within(&self, most: Duration) -> Result<Source<'a>, Failure> {
        let mut source = Source::new(self.session)?;
        let latest = Instant::now().checked_add(most);
        source.bound(self.is_offline(), self.deadline.or(latest));
        Ok(source)
    }

    /// Blocks for this call.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub(super) fn source(&self) -> Result<Source<'a>, Failure> {
        let mut source = Source::new(self.session)?;
        source.bound(self.is_offline(), self.deadline);
        Ok(source)
    }
}

/// Lines of columns as Go's tabwriter aligns them: each as wide as its longest cell and one space. Of the last column only
/// where it ends with a tab, too.
pub(super) fn columns(rows: &[Vec<String>], pads_last: bool) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; count];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if pads_last || index + 1 < row.len() {
                let padding = width + 1 - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

/// Writes one answer in a form of output.
///
/// # Errors
/// The reader went away.
pub(super) fn answer(
    encoding: Encoding,
    value: &impl Serialize,
    text: impl Display,
    io: &mut Io,
) -> Result<(), Failure> {
    match encoding {
        Encoding::Text => io.line(text),
        Encoding::Json => {
            let text = serde_json::to_string(value).map_err(std::io::Error::from)?;
            io.text(&format!("{}\n", as_go(&text)))
        }
    }
}

/// JSON as Go writes it: what HTML would read as markup is escaped. It stands in strings only.
pub(super) fn as_go(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => text.push(other),
        }
    }
    text
}

/// A number of bytes in the words of go-humanize: powers of 1000, with a digit behind the point below 10.
pub(super) fn go_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1000 {
        scale *= 1000;
        unit += 1;
    }
    let tenths = (bytes as f64 / scale as f64 * 10.0 + 0.5).floor() / 10.0;
    let name = UNITS.get(unit).unwrap_or(&"B");
    match tenths < 10.0 {
        true => format!("{tenths:.1} {name}"),
        false => format!("{tenths:.0} {name}"),
    }
}

/// A multibase by its name.
pub(super) fn base(name: &str) -> Result<Base, String> {
    const BASES: [(&str, Base); 9] = [
        ("base16", Base::Base16Lower),
        ("base16upper", Base::Base16Upper),
        ("base32", Base::Base32Lower),
        ("base32upper", Base::Base32Upper),
        ("base36", Base::Base36Lower),
        ("base58btc", Base::Base58Btc),
        ("base64", Base::Base64),
        ("base64url", Base::Base64Url),
        ("base64urlpad", Base::Base64UrlPad),
    ];
    let found = BASES.iter().find(|(known, _)| *known == name);
    found.map(|(_, base)| *base).ok_or_else(|| {
        let names: Vec<&str> = BASES.iter().map(|(name, _)| *name).collect();
        format!("one of {} is expected", names.join(", "))
    })
}

/// A length of time as Go writes it: `1s`, `500ms`, `1.5h`, `48h0m0s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "a time such as 30s, 500ms or 1h30m is expected".to_owned();
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let split = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wanted)?;
        let (number, unit) = rest.split_at(split);
        let end = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let (unit, next) = unit.split_at(end);
        let number: f64 = number.parse().map_err(|_| wanted())?;
        seconds += match unit {
            "ns" => number / 1e9,
            "us" | "µs" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err("the unit must be ns, us, ms, s, m or h".to_owned()),
        };
        rest = next;
    }
    match text {
        "" => Err(wanted()),
        _ => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
    }
}

/// A truth value as Go reads one.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_that_of_go() {
        assert_eq!(as_go(r#"{"a":"<b>&c"}"#), r#"{"a":"\u003cb\u003e\u0026c"}"#);
    }

    #[test]
    fn columns_are_those_of_go() {
        let rows = [["k51", "self"], ["k51", "ab"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows, true), "k51 self \nk51 ab   \n");
        assert_eq!(columns(&rows, false), "k51 self\nk51 ab\n");
        assert_eq!(columns(&[], true), "");
    }

    #[test]
    fn times_are_those_of_go() {
        assert_eq!(duration("1s").unwrap(), Duration::from_secs(1));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("48h0m1s").unwrap(), Duration::from_secs(48 * 3600 + 1));
        for wrong in ["", "5", "-1s", "s", "1x", "1s5", "1e400h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_those_of_go() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (149, "149 B"),
            (39_813, "40 kB"),
            (1_205_751, "1.2 MB"),
            (824_224, "824 kB"),
            (10_000_000_000, "10 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(go_bytes(bytes), text);
        }
    }

    #[test]
    fn truth_is_that_of_go() {
        assert_eq!((boolean("T"), boolean("0")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err());
        assert!(boolean("").is_err());
    }

    #[test]
    fn bases_have_the_names_of_multibase() {
        assert_eq!(base("base36"), Ok(Base::Base36Lower));
        assert!(base("base37").unwrap_err().contains("base32"));
    }
}
