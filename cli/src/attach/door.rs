//! The owner's side: greet, run, answer; end only when everybody who was greeted has been answered.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::frame::{self, Ending, MAX_PIECE_BYTES, ToOwner, ToTerminal, Welcome};
use super::socket;
use crate::failure::{self, Failure};
use crate::io::{Cancel, Draw, Io, Progress, Remote, Step};

/// The most commands of other processes that run at once; more are kept waiting before their greeting.
const MAX_ATTACHED: usize = 64;
/// How long a greeted process may take to send its command line.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long the end of a process may be held up before its user is told why.
const NOTICE_AFTER: Duration = Duration::from_millis(500);
/// How often a command that waits for input looks whether it should stop.
const CANCEL_POLL: Duration = Duration::from_millis(100);
/// Pieces of input that wait for the command: one, because each was asked for.
const INPUT_QUEUE: usize = 1;

/// Runs one command line on the given streams and says how it ended.
pub(crate) type Runner = Arc<dyn Fn(Vec<OsString>, &mut Io) -> Ending + Send + Sync>;

/// The open socket of the workspace.
pub(crate) struct Door {
    shared: Arc<Shared>,
    socket: PathBuf,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lasting: Arc<AtomicBool>,
    command: String,
    runner: Runner,
}

#[derive(Default)]
struct State {
    attached: usize,
    closed: bool,
}

impl Door {
    /// Listens on `socket` from a thread of its own. `command` says in words what this process runs itself, `lasting`
    /// whether it stays after that.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(crate) fn open(
        socket: &Path,
        command: &str,
        lasting: Arc<AtomicBool>,
        runner: Runner,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::file(socket, &error);
        let listener = socket::bind(socket).map_err(failed)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            lasting,
            command: command.to_owned(),
            runner,
        });
        let door = Self {
            shared: shared.clone(),
            socket: socket.to_owned(),
        };
        std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || listen(&listener, &shared))
            .map_err(failed)?;
        Ok(door)
    }

    /// How many commands of other processes run now.
    pub(crate) fn attached(&self) -> usize {
        self.shared.lock().attached
    }

    /// Waits until no command of another process runs, then closes for good. `notice` is called once if there is a
    /// wait, with the number of commands. Commands that come meanwhile are still served.
    pub(crate) fn close(&self, mut notice: impl FnMut(usize)) {
        let mut state = self.shared.lock();
        let mut wait = NOTICE_AFTER;
        while state.attached > 0 {
            let (next, waited) = self
                .shared
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if waited.timed_out() && wait == NOTICE_AFTER && state.attached > 0 {
                wait = Duration::MAX;
                notice(state.attached);
            }
        }
        state.closed = true;
        // Removed while the lock on the workspace is held, so the next owner's socket cannot be the one removed.
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn welcome(&self) -> Welcome {
        Welcome {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            command: self.command.clone(),
            lasting: self.lasting.load(Ordering::Acquire),
        }
    }
}

/// Counts one attached command for as long as it lives.
struct Slot(Arc<Shared>);

impl Slot {
    /// A slot, as soon as there is one; nothing once the door is closed.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let mut state = shared.lock();
        while state.attached >= MAX_ATTACHED && !state.closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.attached += 1;
        Some(Self(shared.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().attached -= 1;
        self.0.changed.notify_all();
    }
}

fn listen(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors or memory: a pause lets commands end and give theirs back.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let Some(slot) = Slot::take(shared) else { return };
        let spawned = std::thread::Builder::new().name("attached".to_owned()).spawn(move || {
            if let Err(error) = serve(stream, &slot.0) {
                tracing::debug!(%error, "an attached command went away");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for an attached command");
        }
    }
}

fn serve(mut stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let sender = socket::check_peer(&stream)?;
    stream.set_read_timeout(Some(REQUEST_DEADLINE))?;
    frame::write(&mut stream, &ToTerminal::Welcome(shared.welcome()))?;
    // A process that only wanted to know who the owner is closes here.
    let Some(ToOwner::Run(request)) = frame::read(&mut stream)? else {
        return Ok(());
    };
    stream.set_read_timeout(None)?;
    let terminal = request.terminal;
    let sent = request.take();

    let cancel = Cancel::new();
    let wire = Wire(Arc::new(Mutex::new(stream.try_clone()?)));
    let (pieces, input) = sync_channel(INPUT_QUEUE);
    let listening = cancel.clone();
    std::thread::spawn(move || hear(stream, &pieces, &listening));

    let progress = if terminal.messages {
        Progress::through(Box::new(wire.clone()))
    } else {
        Progress::quiet()
    };
    let mut io = Io::of_sender(Remote {
        out: Box::new(Stream {
            wire: wire.clone(),
            wrap: ToTerminal::Out,
        }),
        messages: Box::new(Stream {
            wire: wire.clone(),
            wrap: ToTerminal::Messages,
        }),
        input: Box::new(Input {
            wire: wire.clone(),
            pieces: input,
            left: Vec::new(),
            cancel: cancel.clone(),
        }),
        progress,
        cwd: sent.cwd,
        environment: sent.environment,
        terminal,
        cancel: cancel.clone(),
        sender,
    });
    let run = std::panic::AssertUnwindSafe(|| (shared.runner)(sent.argv, &mut io));
    let ending = std::panic::catch_unwind(run).unwrap_or_else(|_| {
        let failure = failure::bug();
        failure.report(io.messages());
        Ending {
            code: failure.exit_code(),
            serve: false,
        }
    });
    wire.send(&ToTerminal::Ending(ending))?;
    wire.0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .shutdown(std::net::Shutdown::Both)
}

/// Hears what the terminal says, until it hangs up; that stops the command.
fn hear(mut stream: UnixStream, pieces: &SyncSender<Vec<u8>>, cancel: &Cancel) {
    loop {
        match frame::read(&mut stream) {
            Ok(Some(ToOwner::Input(piece))) => {
                if pieces.try_send(piece).is_err() {
                    tracing::debug!("input that nobody asked for");
                }
            }
            Ok(Some(ToOwner::Cancel)) => cancel.set(),
            Ok(Some(ToOwner::Run(_)) | None) | Err(_) => break,
        }
    }
    cancel.set();
}

/// The way to the terminal; frames go out whole.
#[derive(Clone)]
struct Wire(Arc<Mutex<UnixStream>>);

impl Wire {
    fn send(&self, frame: &ToTerminal) -> io::Result<()> {
        frame::write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), frame)
    }
}

impl Draw for Wire {
    fn draw(&mut self, step: &Step) {
        let _ = self.send(&ToTerminal::Progress(Some(step.clone())));
    }

    fn clear(&mut self) {
        let _ = self.send(&ToTerminal::Progress(None));
    }
}

/// Standard output or standard error of the terminal.
struct Stream {
    wire: Wire,
    wrap: fn(Vec<u8>) -> ToTerminal,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..MAX_PIECE_BYTES).unwrap_or(bytes);
        if !piece.is_empty() {
            self.wire.send(&(self.wrap)(piece.to_vec()))?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard input of the terminal, asked for piece by piece so that nothing the command does not read is taken.
struct Input {
    wire: Wire,
    pieces: Receiver<Vec<u8>>,
    /// What came and was not read yet, last byte first.
    left: Vec<u8>,
    cancel: Cancel,
}

impl Input {
    fn ask(&mut self) -> io::Result<()> {
        self.wire.send(&ToTerminal::WantInput)?;
        while !self.cancel.is_set() {
            match self.pieces.recv_timeout(CANCEL_POLL) {
                Ok(mut piece) => {
                    piece.reverse();
                    self.left = piece;
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() && !buffer.is_empty() {
            self.ask()?;
        }
        let mut taken = 0;
        for (slot, byte) in buffer.iter_mut().zip(std::iter::from_fn(|| self.left.pop())) {
            *slot = byte;
            taken += 1;
        }
        Ok(taken)
    }
}
