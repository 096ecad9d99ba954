//! The terminal's side: write what the owner sends, until it says how the command ended.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::frame::{self, Ending, MAX_PIECE_BYTES, Request, ToOwner, ToTerminal, Welcome};
use super::socket;
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// How long the owner may take to greet: it does so before anything else, from a thread of its own.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);

/// A connection to the owner, greeted: it will not end before it has answered.
pub(crate) struct Attached {
    stream: UnixStream,
    welcome: Welcome,
}

/// Connects to the owner of the workspace.
///
/// # Errors
/// No owner listens (yet, or any more): try the lock again.
pub(crate) fn connect(socket: &Path) -> io::Result<Attached> {
    let mut stream = socket::connect(socket)?;
    socket::check_peer(&stream)?;
    stream.set_read_timeout(Some(GREETING_DEADLINE))?;
    match frame::read(&mut stream)? {
        Some(ToTerminal::Welcome(welcome)) => {
            stream.set_read_timeout(None)?;
            Ok(Attached { stream, welcome })
        }
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "no greeting")),
        None => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

impl Attached {
    /// Who the owner is.
    pub(crate) fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Runs a command line in the owner, on the streams of `io`.
    ///
    /// # Errors
    /// The owner is of another version, or went away before the command ended; or standard output was closed, and the
    /// owner has then been told to stop.
    pub(crate) fn run(self, argv: &[OsString], io: &mut Io) -> Result<Ending, Failure> {
        if self.welcome.version != env!("CARGO_PKG_VERSION") {
            return Err(Failure::new(
                Kind::Busy,
                format!(
                    "process {} (`{}`, odfs {}) owns the workspace, and this is odfs {}",
                    self.welcome.pid,
                    self.welcome.command,
                    self.welcome.version,
                    env!("CARGO_PKG_VERSION")
                ),
            )
            .next("stop that process, then run the command again"));
        }
        let Self { mut stream, welcome } = self;
        let gone = |_| {
            Failure::new(
                Kind::Busy,
                format!(
                    "process {}, which ran this command, ended before it was done",
                    welcome.pid
                ),
            )
            .next("run the command again; what was done so far is kept")
        };
        let request = Request::new(argv, io.cwd(), io.environment(), io.terminal());
        frame::write(&mut stream, &ToOwner::Run(request)).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Failure::usage(format!("{error} to be handed to process {}", welcome.pid))
                .next("run it with fewer or shorter variables, or stop that process first"),
            _ => gone(error),
        })?;

        // Both this thread (input) and the watcher (Ctrl-C) send, so frames must not mix.
        let sender = Arc::new(Mutex::new(stream.try_clone()?));
        let cancel = io.cancel().clone();
        let canceller = sender.clone();
        std::thread::spawn(move || {
            futures::executor::block_on(cancel.wait());
            let _ = frame::write(
                &mut *canceller.lock().unwrap_or_else(PoisonError::into_inner),
                &ToOwner::Cancel,
            );
        });

        // Input has a thread of its own: whoever waits for a person to type must still see the owner go away.
        let (wants, wanted) = sync_channel(1);
        let input = io.take_input();
        std::thread::spawn(move || send_input(input, &wanted, &sender));

        loop {
            let frame = frame::read(&mut stream)
                .map_err(gone)?
                .ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))?;
            let shown = match frame {
                ToTerminal::Welcome(_) => Ok(()),
                ToTerminal::Out(bytes) => io.out().write_all(&bytes).and_then(|()| io.out().flush()),
                ToTerminal::Messages(bytes) => {
                    let _ = io.out().flush();
                    let _ = io.messages().write_all(&bytes);
                    let _ = io.messages().flush();
                    Ok(())
                }
                ToTerminal::Progress(Some(step)) => {
                    io.progress().show(|| step);
                    Ok(())
                }
                ToTerminal::Progress(None) => {
                    io.progress().clear();
                    Ok(())
                }
                ToTerminal::WantInput => {
                    // A reader that is gone has told the owner so; it will not ask again.
                    let _ = wants.try_send(());
                    Ok(())
                }
                ToTerminal::Ending(ending) => return Ok(ending),
            };
            if let Err(error) = shown {
                let _ = stream.shutdown(Shutdown::Both);
                return Err(error.into());
            }
        }
    }
}

/// Answers each request for input with one piece; an empty one at the end, or when the input cannot be read.
fn send_input(mut input: Box<dyn BufRead + Send>, wanted: &Receiver<()>, sender: &Mutex<UnixStream>) {
    while wanted.recv().is_ok() {
        let mut piece = vec![0; MAX_PIECE_BYTES];
        let got = input.read(&mut piece).unwrap_or(0);
        piece.truncate(got);
        let sent = frame::write(
            &mut *sender.lock().unwrap_or_else(PoisonError::into_inner),
            &ToOwner::Input(piece),
        );
        if sent.is_err() {
            return;
        }
    }
}
