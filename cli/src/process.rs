//! From the command line to the exit code: own the workspace and run the command, or hand it to the process that does.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use odf::disk::Disk;

use crate::args::{self, Cli};
use crate::attach::{self, Door, Ending};
use crate::commands::node::Calls;
use crate::commands::{self, After, Place};
use crate::failure::{self, Failure, Kind};
use crate::io::{Cancel, Io};
use crate::session::Session;
use crate::settings::{self, Settings};
use crate::workspace::{Claim, Ownership, Places, WorkspaceDir};

/// How long to look for the owner of a workspace that is taken before giving up: it may be starting or ending.
const OWNER_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks.
const OWNER_POLL: Duration = Duration::from_millis(10);
/// Between two looks when another command has to end first.
const WAIT_POLL: Duration = Duration::from_millis(200);
/// How long a command that was told to stop may take before the process ends anyway. Everything on disk is safe then.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// The one exit code of Kubo's `ipfs` for whatever went wrong.
const IPFS_FAILED: u8 = 1;

/// Runs the process; the result is its exit code.
pub(crate) fn run() -> u8 {
    failure::install_panic_hook();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let cli = match args::parse(&argv) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return if args::is_ipfs(&argv) {
                code.min(IPFS_FAILED)
            } else {
                code
            };
        }
    };
    log_to_stderr(cli.verbose);
    let cancel = Cancel::new();
    let mut io = match Io::of_process(cancel.clone()) {
        Ok(io) => io,
        Err(failure) => {
            failure.report(&mut std::io::stderr());
            return failure.exit_code();
        }
    };
    io.assume_yes(cli.yes);
    io.speak_in_terms(cli.verbose > 0);
    io.be_quiet(cli.quiet);
    io.set_system_time(cli.system_time);
    let door = Arc::new(OnceLock::new());
    stop_on_signals(cancel, door.clone(), cli.command.leaves_interrupts());
    // A panic anywhere in the command has been told by the hook; what is left is the exit code.
    let outcome = std::panic::AssertUnwindSafe(|| dispatch(cli, &argv, &door, &mut io));
    let code = match std::panic::catch_unwind(outcome) {
        Ok(Ok(ending)) => ending.code,
        Ok(Err(failure)) => conclude(Err(failure), &mut io).code,
        Err(_) => failure::bug().exit_code(),
    };
    // What is above the codes of kinds says that a signal ended it.
    match args::is_ipfs(&argv) && (1..=Kind::Bug.code()).contains(&code) {
        true => IPFS_FAILED,
        false => code,
    }
}

/// Finds the place where the command runs.
fn dispatch(cli: Cli, argv: &[OsString], door: &OnceLock<Arc<Door>>, io: &mut Io) -> Result<Ending, Failure> {
    let place = cli.command.place();
    if place == Place::Anywhere {
        let result = commands::run_anywhere(cli.command, args::tree(), io);
        return Ok(conclude(result, io));
    }
    let workspace = match args::is_ipfs(argv) {
        true => WorkspaceDir::of_ipfs(io.cwd(), &Places::of_process())?,
        false => WorkspaceDir::discover(io.cwd(), &Places::of_process())?,
    };
    let environment = io.environment().settings()?;
    if let Some(word) = workspace.create()? {
        io.say(word);
    }
    if place == Place::Files {
        let result = commands::run_on_files(cli.command, &Disk::new(), &workspace, environment.as_deref(), io);
        return Ok(conclude(result, io));
    }
    let settings = || settings::load(&workspace.settings_file(), environment.as_deref()).map(|layers| layers.settings);
    let words = in_words(argv);
    let mut search = Search {
        place,
        since: Instant::now(),
        told: false,
    };
    loop {
        io.check()?;
        let note = match workspace.claim(&format!("process {} (`{words}`)", std::process::id()))? {
            Claim::Owned(ownership) => {
                let settings = settings()?;
                return own(workspace, ownership, settings, cli, search.place, &words, door, io);
            }
            Claim::Taken(note) => note,
        };
        match attach::connect(&workspace.socket()) {
            Ok(attached) => {
                if let Some(ending) = search.attach(attached, argv, io)? {
                    return Ok(ending);
                }
            }
            Err(error) if search.since.elapsed() > OWNER_DEADLINE => {
                return Err(Failure::new(
                    Kind::Busy,
                    format!(
                        "{note} owns the workspace {} but does not answer: {error}",
                        workspace.root().display()
                    ),
                )
                .next("stop that process, then run the command again; no file has to be deleted"));
            }
            Err(_) => std::thread::sleep(OWNER_POLL),
        }
    }
}

/// Looking for a process to work through, or for the moment to own the workspace.
struct Search {
    place: Place,
    since: Instant,
    told: bool,
}

impl Search {
    /// Works through the owner that was found. `None` means to look again: this process has to be an owner that
    /// serves, and the present owner will not stay.
    fn attach(
        &mut self,
        attached: attach::Attached,
        argv: &[OsString],
        io: &mut Io,
    ) -> Result<Option<Ending>, Failure> {
        let welcome = attached.welcome().clone();
        let done = Ok(Some(Ending { code: 0, serve: false }));
        match self.place {
            Place::Serving { published: true } if welcome.lasting => {
                io.say(format_args!(
                    "process {} (`{}`) goes on serving it",
                    welcome.pid, welcome.command
                ));
                return done;
            }
            Place::Serving { published: false } if welcome.lasting => {
                return Err(Failure::new(
                    Kind::Busy,
                    format!(
                        "a node already runs on this workspace: process {} (`{}`)",
                        welcome.pid, welcome.command
                    ),
                )
                .next("use it: every odfs command works through it; or stop it first"));
            }
            Place::Staying if welcome.lasting => {}
            Place::Staying | Place::Serving { .. } => {
                if !self.told {
                    self.told = true;
                    io.say(format_args!(
                        "waiting for process {} (`{}`) to finish with the workspace",
                        welcome.pid, welcome.command
                    ));
                }
                drop(attached);
                self.since = Instant::now();
                std::thread::sleep(WAIT_POLL);
                return Ok(None);
            }
            Place::Owner | Place::Anywhere | Place::Files => {}
        }
        let ending = attached.run(argv, io)?;
        if !ending.serve {
            return Ok(Some(ending));
        }
        self.place = Place::Serving { published: true };
        self.since = Instant::now();
        Ok(None)
    }
}

/// Owns the workspace: runs the command (unless it only has to serve), serves if wanted, and ends when the commands of
/// other processes are answered.
#[allow(clippy::too_many_arguments)]
fn own(
    workspace: WorkspaceDir,
    ownership: Ownership,
    settings: Settings,
    cli: Cli,
    place: Place,
    words: &str,
    slot: &OnceLock<Arc<Door>>,
    io: &mut Io,
) -> Result<Ending, Failure> {
    let socket = workspace.socket();
    let session = Arc::new(Session::new(workspace, settings, Disk::new()));
    let through = session.clone();
    let runner: attach::Runner = Arc::new(move |argv, io| run_attached(&through, argv, io));
    let door = match Door::open(&socket, words, session.staying(), runner) {
        Ok(door) => Some(slot.get_or_init(|| Arc::new(door))),
        // Without room for the socket other processes have to wait, but space can still be made from here.
        Err(failure) if failure.kind() == Kind::DiskFull => None,
        Err(failure) => return Err(failure),
    };

    let result = match place {
        Place::Serving { published: true } => Ok(After::Serve { gateway: None }),
        _ => commands::run(cli.command, &session, io),
    };
    let result = match result {
        Ok(After::Serve { gateway }) => {
            let _ = io.finish();
            commands::node::serve(&session, gateway, CALLS, io).map(|()| After::Done)
        }
        other => other,
    };
    let stopped_serving = session.is_lasting();
    let ending = if stopped_serving {
        conclude_serving(result, io)
    } else {
        conclude(result, io)
    };
    session.ending().set();
    if let Some(door) = door {
        door.close(|count| {
            if io.terminal().messages {
                io.say(format_args!(
                    "waiting for {count} other odfs command(s) that work through this process (Ctrl-C again stops them)"
                ));
            }
        });
    }
    commands::room::after(&session);
    session.close();
    drop(ownership);
    Ok(ending)
}

/// Runs a command line that came through the socket.
fn run_attached(session: &Session, argv: Vec<OsString>, io: &mut Io) -> Ending {
    // The sender has parsed the same words with the same version, so this fails only for a stranger.
    let cli = match args::parse(&argv) {
        Ok(cli) => cli,
        Err(error) => return conclude(Err(Failure::usage(error)), io),
    };
    io.assume_yes(cli.yes);
    io.speak_in_terms(cli.verbose > 0);
    io.be_quiet(cli.quiet);
    io.set_system_time(cli.system_time);
    // As if it ran by itself: by the settings of whoever sent it, as they are now.
    let result = session
        .for_sender(io)
        .and_then(|session| commands::run(cli.command, &session, io));
    conclude(result, io)
}

/// Calls of the RPC that a node serves.
const CALLS: Calls = Calls {
    tree: args::tree,
    run: run_call,
};

/// Runs a command line that came over HTTP.
fn run_call(words: &[OsString], session: &Session, io: &mut Io) -> Result<(), Failure> {
    let cli = args::parse(words).map_err(|error| {
        // What is wrong is the first paragraph; how it is typed comes after.
        let text = error.render().to_string();
        let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
        let what = lines.collect::<Vec<_>>().join(" ");
        Failure::usage(what.strip_prefix("error: ").unwrap_or(&what))
    })?;
    match cli.command.place() {
        Place::Anywhere => commands::run_anywhere(cli.command, args::tree(), io).map(drop),
        Place::Files => {
            let environment = io.environment().settings()?;
            let (disk, dir) = (session.disk(), session.dir());
            commands::run_on_files(cli.command, disk, dir, environment.as_deref(), io).map(drop)
        }
        _ => commands::run(cli.command, session, io).map(drop),
    }
}

/// Hands over what is still in buffers, tells a failure, and gives the exit code.
fn conclude(result: Result<After, Failure>, io: &mut Io) -> Ending {
    let result = match result {
        // Whatever a command says after it was told to stop, this is why.
        Err(failure) if io.cancel().is_set() && failure.kind() != Kind::PipeClosed => Err(Failure::interrupted()),
        other => other,
    };
    let result = result.and_then(|after| io.finish().map(|()| after));
    match result {
        Ok(after) => Ending {
            code: 0,
            serve: matches!(after, After::Serve { .. }),
        },
        Err(failure) => {
            let _ = io.finish();
            failure.report(io.messages());
            Ending {
                code: failure.exit_code(),
                serve: false,
            }
        }
    }
}

/// As [`conclude`], for a process that served: being told to stop is how that ends well.
fn conclude_serving(result: Result<After, Failure>, io: &mut Io) -> Ending {
    match result {
        Err(failure) if failure.kind() == Kind::Interrupted => conclude(Ok(After::Done), io),
        other => conclude(other, io),
    }
}

/// The first Ctrl-C or SIGTERM asks the command to stop; a second one, or a command that does not listen, ends the
/// process. Commands of other processes are only cut off by a second Ctrl-C, or by SIGTERM. With `leaves_interrupts` Ctrl-C
/// is for programs that this one started.
fn stop_on_signals(cancel: Cancel, door: Arc<OnceLock<Arc<Door>>>, leaves_interrupts: bool) {
    // Without a runtime or a thread Ctrl-C still ends the process, only less politely.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    // The handlers are in place when this returns: whoever sees this process do anything can already stop it.
    let handlers = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    };
    let (Ok(mut interrupt), Ok(mut terminate)) = handlers else {
        return;
    };
    let listen = async move {
        while leaves_interrupts
            && tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => std::process::exit(i32::from(Failure::interrupted().exit_code())),
            }
        {}
        let polite = tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => false,
        };
        cancel.set();
        let attached = || polite && door.get().is_some_and(|door| door.attached() > 0);
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = tokio::time::sleep(STOP_GRACE) => if !attached() { break },
            }
        }
        std::process::exit(i32::from(Failure::interrupted().exit_code()));
    };
    let _ = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(listen));
}

/// The command line as other processes are told of it.
fn in_words(argv: &[OsString]) -> String {
    const MAX_WORDS_CHARS: usize = 120;
    let words: Vec<_> = argv.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let text = format!("odfs {}", words.join(" "));
    match text.char_indices().nth(MAX_WORDS_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(&text)),
        None => text,
    }
}

fn log_to_stderr(verbose: u8) {
    let filter = match (std::env::var("ODFS_LOG"), verbose) {
        (Ok(filter), _) => filter,
        (Err(_), 0) => return,
        (Err(_), 1) => "warn,odfs=info,odf=info,odfs_node=info".to_owned(),
        (Err(_), _) => "info,odfs=debug,odf=debug,odfs_node=debug".to_owned(),
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .try_init();
}
