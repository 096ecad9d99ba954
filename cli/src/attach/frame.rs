//! What goes over the workspace's socket: `u32 LE length | tag byte | payload`, the length counting tag and payload.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::io::{Step, Terminal};

/// The largest frame that is sent or accepted: a command line and its environment fit (Linux allows both 2 MiB together
/// unless it is told otherwise).
pub(super) const MAX_FRAME_BYTES: usize = 4 << 20;
/// The most bytes of a stream that go into one frame.
pub(super) const MAX_PIECE_BYTES: usize = 64 << 10;

/// What the owner says of itself before anything is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// Version of the owner's odfs. Both sides must be the same, because the command line is parsed twice.
    pub(crate) version: String,
    /// Process id of the owner.
    pub(crate) pid: u32,
    /// The command that the owner itself runs, in words.
    pub(crate) command: String,
    /// The owner stays until it is stopped, and serves: `odfs node`, or a publish that went on to serve.
    pub(crate) lasting: bool,
}

/// A command line, where it was typed, and the environment there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    argv: Vec<Word>,
    cwd: Word,
    environment: Vec<(Word, Word)>,
    /// The terminal that the command talks to.
    pub(super) terminal: Terminal,
}

/// Words of the operating system: text nearly always, and any bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl Word {
    fn new(word: &OsStr) -> Self {
        match word.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(word.as_bytes().to_vec()),
        }
    }

    fn take(self) -> OsString {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

/// What a [`Request`] holds.
pub(super) struct Sent {
    /// The command line, program name first.
    pub(super) argv: Vec<OsString>,
    /// The current directory.
    pub(super) cwd: PathBuf,
    /// The environment.
    pub(super) environment: Environment,
}

impl Request {
    pub(super) fn new(argv: &[OsString], cwd: &Path, environment: &Environment, terminal: Terminal) -> Self {
        let variables = environment.all().iter();
        Self {
            argv: argv.iter().map(|word| Word::new(word)).collect(),
            cwd: Word::new(cwd.as_os_str()),
            environment: variables
                .map(|(name, value)| (Word::new(name), Word::new(value)))
                .collect(),
            terminal,
        }
    }

    pub(super) fn take(self) -> Sent {
        let variables = self.environment.into_iter();
        Sent {
            argv: self.argv.into_iter().map(Word::take).collect(),
            cwd: self.cwd.take().into(),
            environment: Environment::of_sender(variables.map(|(name, value)| (name.take(), value.take())).collect()),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    /// Exit code of the command.
    pub(crate) code: u8,
    /// The command is done but wants its results served, by a process that stays.
    pub(crate) serve: bool,
}

/// From the owner to the terminal.
#[derive(Debug, PartialEq)]
pub(super) enum ToTerminal {
    /// Greeting.
    Welcome(Welcome),
    /// Bytes for standard output.
    Out(Vec<u8>),
    /// Bytes for standard error.
    Messages(Vec<u8>),
    /// Progress to draw, or nothing to take it away.
    Progress(Option<Step>),
    /// The command wants input: one [`ToOwner::Input`] is due.
    WantInput,
    /// The command is done; nothing follows.
    Ending(Ending),
}

/// From the terminal to the owner.
#[derive(Debug, PartialEq)]
pub(super) enum ToOwner {
    /// Runs a command. Exactly one, first.
    Run(Request),
    /// Bytes of standard input; none at its end.
    Input(Vec<u8>),
    /// Ctrl-C.
    Cancel,
}

/// One direction of the protocol.
pub(super) trait Frame: Sized {
    /// Tag and payload.
    fn encode(&self) -> io::Result<(u8, Vec<u8>)>;
    /// The inverse. Fails on an unknown tag or a payload that does not fit it.
    fn decode(tag: u8, payload: Vec<u8>) -> io::Result<Self>;
}

impl Frame for ToTerminal {
    fn encode(&self) -> io::Result<(u8, Vec<u8>)> {
        Ok(match self {
            Self::Welcome(welcome) => (1, json(welcome)?),
            Self::Out(bytes) => (2, bytes.clone()),
            Self::Messages(bytes) => (3, bytes.clone()),
            Self::Progress(step) => (4, json(step)?),
            Self::WantInput => (5, Vec::new()),
            Self::Ending(ending) => (6, json(ending)?),
        })
    }

    fn decode(tag: u8, payload: Vec<u8>) -> io::Result<Self> {
        Ok(match tag {
            1 => Self::Welcome(parse(&payload)?),
            2 => Self::Out(payload),
            3 => Self::Messages(payload),
            4 => Self::Progress(parse(&payload)?),
            5 if payload.is_empty() => Self::WantInput,
            6 => Self::Ending(parse(&payload)?),
            _ => return Err(malformed("unknown frame")),
        })
    }
}

impl Frame for ToOwner {
    fn encode(&self) -> io::Result<(u8, Vec<u8>)> {
        Ok(match self {
            Self::Run(request) => (1, json(request)?),
            Self::Input(bytes) => (2, bytes.clone()),
            Self::Cancel => (3, Vec::new()),
        })
    }

    fn decode(tag: u8, payload: Vec<u8>) -> io::Result<Self> {
        Ok(match tag {
            1 => Self::Run(parse(&payload)?),
            2 => Self::Input(payload),
            3 if payload.is_empty() => Self::Cancel,
            _ => return Err(malformed("unknown frame")),
        })
    }
}

/// Writes one frame in one call, so that a reader never sees half of it after a kill.
pub(super) fn write(to: &mut impl Write, frame: &impl Frame) -> io::Result<()> {
    let (tag, payload) = frame.encode()?;
    let length = payload.len() + 1;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the command line and the environment are too long",
        ));
    }
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.push(tag);
    bytes.extend_from_slice(&payload);
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads one frame, or nothing when the other side closed between two.
pub(super) fn read<F: Frame>(from: &mut impl Read) -> io::Result<Option<F>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_FRAME_BYTES {
        return Err(malformed("frame length out of range"));
    }
    let mut tag = [0];
    from.read_exact(&mut tag)?;
    let mut payload = vec![0; length - 1];
    from.read_exact(&mut payload)?;
    let [tag] = tag;
    F::decode(tag, payload).map(Some)
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(payload)?)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<F: Frame + PartialEq + std::fmt::Debug>(frame: F) {
        let mut bytes = Vec::new();
        write(&mut bytes, &frame).unwrap();
        let mut rest = &bytes[..];
        assert_eq!(read::<F>(&mut rest).unwrap().unwrap(), frame);
        assert!(read::<F>(&mut rest).unwrap().is_none());
    }

    #[test]
    fn frames_survive_the_way() {
        round_trip(ToTerminal::Welcome(Welcome {
            version: "1".into(),
            pid: 7,
            command: "odfs node".into(),
            lasting: true,
        }));
        round_trip(ToTerminal::Out(vec![0xff; MAX_PIECE_BYTES]));
        round_trip(ToTerminal::Progress(None));
        round_trip(ToTerminal::Progress(Some(Step {
            text: "x".into(),
            done: 1,
            total: Some(2),
        })));
        round_trip(ToTerminal::WantInput);
        round_trip(ToTerminal::Ending(Ending { code: 3, serve: false }));
        let terminal = Terminal {
            input: true,
            output: false,
            messages: true,
            width: 80,
        };
        let odd = OsString::from_vec(vec![b'a', 0xff]);
        let variable = (OsString::from("A"), odd.clone());
        let environment = Environment::of_sender(vec![variable.clone()]);
        let request = || Request::new(std::slice::from_ref(&odd), Path::new("/tmp"), &environment, terminal);
        round_trip(ToOwner::Run(request()));
        let sent = request().take();
        assert_eq!((sent.argv, sent.cwd), (vec![odd.clone()], PathBuf::from("/tmp")));
        assert_eq!(sent.environment.all(), [variable]);
        round_trip(ToOwner::Input(Vec::new()));
        round_trip(ToOwner::Cancel);
    }

    #[test]
    fn one_byte_over_the_limit_is_refused_before_it_is_read() {
        let mut bytes = Vec::new();
        write(&mut bytes, &ToOwner::Input(vec![0; MAX_FRAME_BYTES - 1])).unwrap();
        assert!(read::<ToOwner>(&mut &bytes[..]).unwrap().is_some());
        assert!(write(&mut Vec::new(), &ToOwner::Input(vec![0; MAX_FRAME_BYTES])).is_err());
        let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_le_bytes();
        assert_eq!(
            read::<ToOwner>(&mut &length[..]).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            read::<ToOwner>(&mut &[0; 4][..]).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn half_a_frame_and_unknown_tags_are_errors() {
        let mut bytes = Vec::new();
        write(&mut bytes, &ToOwner::Input(vec![1, 2, 3])).unwrap();
        bytes.pop();
        assert!(read::<ToOwner>(&mut &bytes[..]).is_err());
        assert!(read::<ToOwner>(&mut &[1, 0, 0, 0, 9][..]).is_err());
        assert!(read::<ToOwner>(&mut &[2, 0, 0, 0, 1, b'{'][..]).is_err());
    }
}
