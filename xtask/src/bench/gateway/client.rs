//! A client of HTTP/1.1 that does as little as it can: one thread and one connection each, bodies read and dropped.
//!
//! It is the same for both sides, and cheap enough that what is measured is the server: a body costs one copy out of the kernel.

use crate::Failure;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may say nothing.
const LIMIT: Duration = Duration::from_secs(60);
/// What is read at once, at most.
const BUFFER: usize = 256 << 10;

/// One GET.
#[derive(Clone)]
pub(super) struct Ask {
    /// Path and query.
    pub(super) target: String,
    /// The bytes that are asked for; all without one.
    pub(super) range: Option<Range<u64>>,
}

/// What came of many.
pub(super) struct Answers {
    /// From the first request to the last byte.
    pub(super) took: Duration,
    /// Bytes of all bodies.
    pub(super) bytes: u64,
    /// What all bodies hash to, in the order in which they were asked for; zero if nobody wants to know.
    pub(super) hash: u64,
}

/// Asks a server for all of `lots`, each lot on a connection of its own, one after the other.
///
/// # Errors
/// The server cannot be reached, says nothing for [`LIMIT`], or has something not.
pub(super) fn ask(at: SocketAddr, lots: &[Vec<Ask>], is_hashed: bool) -> Result<Answers, Failure> {
    // Everybody is connected before the clock starts.
    let start = Barrier::new(lots.len() + 1);
    let (began, answers) = thread::scope(|scope| {
        let asking: Vec<_> = lots
            .iter()
            .map(|lot| {
                let start = &start;
                scope.spawn(move || {
                    let connection = Connection::to(at);
                    start.wait();
                    let mut connection = connection?;
                    let (mut bytes, mut hasher) = (0, is_hashed.then(DefaultHasher::new));
                    for ask in lot {
                        bytes += connection.get(ask, hasher.as_mut())?;
                    }
                    Ok::<_, std::io::Error>((bytes, hasher.map_or(0, |hasher| hasher.finish())))
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let answers: Vec<_> = asking.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (began, answers)
    });
    let mut all = Answers {
        took: began.elapsed(),
        bytes: 0,
        hash: 0,
    };
    for answer in answers {
        let (bytes, hash) = answer.map_err(|_| "a client panicked")??;
        all.bytes += bytes;
        all.hash = all.hash.rotate_left(1) ^ hash;
    }
    Ok(all)
}

struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
    /// What of the buffer has not been taken.
    there: Range<usize>,
}

impl Connection {
    fn to(at: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            stream,
            host: at.to_string(),
            buffer: vec![0; BUFFER],
            there: 0..0,
        })
    }

    /// How many bytes came.
    fn get(&mut self, ask: &Ask, mut hasher: Option<&mut DefaultHasher>) -> std::io::Result<u64> {
        let range = match &ask.range {
            Some(range) => format!("Range: bytes={}-{}\r\n", range.start, range.end - 1),
            None => String::new(),
        };
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{range}\r\n", ask.target, self.host);
        self.stream.write_all(request.as_bytes())?;
        let status = self.line()?;
        let expected = if ask.range.is_some() { " 206 " } else { " 200 " };
        if !status.contains(expected) {
            return Err(std::io::Error::other(format!("{}: {status}", ask.target)));
        }
        let (mut length, mut is_chunked) = (None, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = Some(number(value, 10)?),
                Some(("transfer-encoding", value)) => is_chunked = value.trim() == "chunked",
                Some(_) => {}
                None => break,
            }
        }
        if !is_chunked {
            let length = length.ok_or_else(|| std::io::Error::other("a body without a length"))?;
            self.take(length, &mut hasher)?;
            return Ok(length);
        }
        let mut bytes = 0;
        loop {
            let length = number(&self.line()?, 16)?;
            self.take(length, &mut hasher)?;
            bytes += length;
            if length > 0 {
                self.line()?;
                continue;
            }
            // Trailers, by which a server may say that it could not go on.
            loop {
                match self.line()?.as_str() {
                    "" => return Ok(bytes),
                    trailer if trailer.to_ascii_lowercase().starts_with("x-stream-error") => {
                        return Err(std::io::Error::other(format!("{}: {trailer}", ask.target)));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Reads more if nothing is there.
    fn fill(&mut self) -> std::io::Result<()> {
        if self.there.is_empty() {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.there = 0..read;
        }
        Ok(())
    }

    /// The next line, without its end.
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        loop {
            self.fill()?;
            let there = &self.buffer[self.there.clone()];
            let end = there.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&there[..end.unwrap_or(there.len())]);
            self.there.start += end.map_or(there.len(), |end| end + 1);
            if end.is_some() {
                return Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            }
        }
    }

    fn take(&mut self, length: u64, hasher: &mut Option<&mut DefaultHasher>) -> std::io::Result<()> {
        let mut left = length;
        while left > 0 {
            self.fill()?;
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(self.there.len());
            let end = self.there.start + taken;
            if let Some(hasher) = hasher {
                hasher.write(&self.buffer[self.there.start..end]);
            }
            self.there.start = end;
            left -= taken as u64;
        }
        Ok(())
    }
}

fn number(text: &str, radix: u32) -> std::io::Result<u64> {
    // What may stand behind the length of a chunk is an extension of it.
    let digits = text.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, radix).map_err(|error| std::io::Error::other(format!("{text:?}: {error}")))
}
