//! The one place that decides what a person sees when something fails: one message, the next step, an exit code.
//!
//! Commands return [`Failure`]; every library error becomes one through a `From` below (see [`mod@convert`]).

use std::fmt;
use std::io::{self, Write};

use crate::printable::printable;

mod convert;

/// What went wrong, in the kinds a script can tell apart. Each has its own exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None of the others.
    General,
    /// The command line or a setting is wrong.
    Usage,
    /// A file, dataset, key or CID is not here.
    NotFound,
    /// The input has nothing in it.
    EmptyInput,
    /// The input cannot be read as the format it is said to be.
    BadInput,
    /// The input does not fit the schema of the dataset.
    Schema,
    /// The operation would lose or fork something: diverged, already there, changed otherwise.
    Refused,
    /// The network knows no record of the name.
    UnknownName,
    /// Nobody who has the content can be reached.
    Unreachable,
    /// Bytes are not what their hash or the chain rules say.
    Integrity,
    /// Records of the name exist, but each is forged or expired.
    BadRecord,
    /// The disk is full.
    DiskFull,
    /// Reading or writing files failed.
    Storage,
    /// A port or address is in use.
    PortInUse,
    /// Another process works on the workspace and cannot take this command.
    Busy,
    /// The files belong to another user, or permission is missing.
    Permission,
    /// What a stranger may have written would do something here that nobody here has approved.
    NotApproved,
    /// `odfs doctor` found something that is wrong.
    Unwell,
    /// A defect of odfs.
    Bug,
    /// Stopped by Ctrl-C or a signal.
    Interrupted,
    /// The reader of the output went away.
    PipeClosed,
}

impl Kind {
    /// Every kind, in the order of the exit codes.
    const ALL: [Kind; 21] = [
        Kind::General,
        Kind::Usage,
        Kind::NotFound,
        Kind::EmptyInput,
        Kind::BadInput,
        Kind::Schema,
        Kind::Refused,
        Kind::UnknownName,
        Kind::Unreachable,
        Kind::Integrity,
        Kind::BadRecord,
        Kind::DiskFull,
        Kind::Storage,
        Kind::PortInUse,
        Kind::Busy,
        Kind::Permission,
        Kind::NotApproved,
        Kind::Unwell,
        Kind::Bug,
        Kind::Interrupted,
        Kind::PipeClosed,
    ];

    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        self.meaning().0
    }

    /// The exit code and what it stands for.
    const fn meaning(self) -> (u8, &'static str) {
        match self {
            Kind::General => (1, "any other error"),
            Kind::Usage => (2, "wrong arguments or settings"),
            Kind::NotFound => (3, "no such file, dataset, key or block here"),
            Kind::EmptyInput => (4, "the input is empty"),
            Kind::BadInput => (5, "the input is malformed (line and column are named)"),
            Kind::Schema => (6, "the input does not fit the schema of the dataset"),
            Kind::Refused => (7, "refused, to lose nothing: exists, diverged, or changed otherwise"),
            Kind::UnknownName => (8, "the network knows no record of this name"),
            Kind::Unreachable => (9, "nobody who has the content can be reached"),
            Kind::Integrity => (10, "verification failed: bytes are not what they should be"),
            Kind::BadRecord => (11, "the records of this name are forged or expired"),
            Kind::DiskFull => (12, "the disk is full"),
            Kind::Storage => (13, "files could not be read or written"),
            Kind::PortInUse => (14, "an address or port is in use"),
            Kind::Busy => (15, "the workspace is in use and cannot take this command now"),
            Kind::Permission => (16, "the workspace or a file belongs to another user"),
            Kind::NotApproved => (17, "a source waits for your approval: `odfs approve`"),
            Kind::Unwell => (18, "`odfs doctor` found something wrong"),
            Kind::Bug => (70, "a bug in odfs"),
            Kind::Interrupted => (130, "interrupted"),
            Kind::PipeClosed => (141, "the reader of the output went away"),
        }
    }
}

/// The exit codes as the help shows them.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n    0  done\n");
    for (code, meaning) in Kind::ALL.map(Kind::meaning) {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

/// What libraries put into their messages and tells nothing.
const EMPTY_WORDS: [&str; 4] = ["Parquet error: ", "Arrow error: ", "External error: ", "Parser error: "];

/// A failed command: what happened, what to do next, and how a script can tell.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    next: Option<String>,
}

impl Failure {
    /// A failure with one message, without a full stop at its end.
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        let message = EMPTY_WORDS
            .iter()
            .fold(message.to_string(), |text, words| text.replace(words, ""));
        Self {
            kind,
            message,
            next: None,
        }
    }

    /// Says what the user can do about it.
    #[must_use]
    pub(crate) fn next(mut self, step: impl fmt::Display) -> Self {
        self.next = Some(step.to_string());
        self
    }

    /// Puts what was being done before the message: `context: message`.
    #[must_use]
    pub(crate) fn about(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The command line or a setting is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// A failed operation on the file or directory `path`, with the kind that the operating system's answer means.
    pub(crate) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Self::from_io(error).about(path.display())
    }

    /// The kind of failure.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What went wrong, without the next step.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What the user can do about it.
    pub(crate) fn next_step(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// What the process returns to its parent.
    pub(crate) fn exit_code(&self) -> u8 {
        self.kind.code()
    }

    /// Writes the message and the next step. A closed pipe has nobody to tell, so it stays quiet.
    pub(crate) fn report(&self, to: &mut dyn Write) {
        if self.kind == Kind::PipeClosed {
            return;
        }
        // Values, names and words of servers are in them, which may hold anything.
        let mut text = format!("Error: {}\n", self.message);
        if let Some(next) = &self.next {
            text.push_str(&format!("Next: {next}\n"));
        }
        let _ = to.write_all(printable(&text).as_bytes());
        let _ = to.flush();
    }

    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(Kind::NotFound, "no such file or directory").next("check the path"),
            io::ErrorKind::PermissionDenied => Self::new(Kind::Permission, "permission denied"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::new(Kind::DiskFull, "the disk is full")
                .next("free some space and run the command again; it goes on where this one stopped"),
            io::ErrorKind::AddrInUse => Self::new(Kind::PortInUse, "the address is in use"),
            io::ErrorKind::BrokenPipe => Self::new(Kind::PipeClosed, "the reader of the output went away"),
            _ => Self::new(Kind::Storage, error),
        }
    }
}

/// An error and its causes as one line: `outer: inner: innermost`, without saying the same thing twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Makes a defect of odfs say what it is and where to report it, instead of a backtrace.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let what = info
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let place = info
            .location()
            .map(|l| format!("{}:{}", l.file(), l.line()))
            .unwrap_or_default();
        let _ = writeln!(
            io::stderr(),
            "Error: this is a bug in odfs {}: {what} ({place})\n\
             Next: run the command again, the workspace is safe; please report this line and what you ran",
            env!("CARGO_PKG_VERSION")
        );
    }));
}

/// The failure of a command that panicked; the hook has already told the user.
pub(crate) fn bug() -> Failure {
    Failure::new(Kind::Bug, "the command stopped because of a bug in odfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code() {
        let mut codes: Vec<u8> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
        assert!(codes.is_sorted());
        assert!(!codes.contains(&0));
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let mut text = Vec::new();
        Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).report(&mut text);
        assert!(text.is_empty());
    }

    #[test]
    fn nothing_of_a_file_reaches_the_terminal_as_a_command() {
        let mut text = Vec::new();
        let failure = Failure::new(Kind::BadInput, "`\u{1b}[2J\0\r` is not an Int64").next("mend \u{9b}1m it");
        failure.report(&mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "Error: `\\u001b[2J\\u0000\\u000d` is not an Int64\nNext: mend \\u009b1m it\n"
        );
    }

    #[test]
    fn a_full_disk_is_not_a_general_error() {
        let failure = Failure::file(std::path::Path::new("/x"), &io::Error::from_raw_os_error(28));
        assert_eq!(failure.kind(), Kind::DiskFull);
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open x: {0}")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("bad luck"));
        assert_eq!(chain(&error), "cannot open x: bad luck");
    }
}
