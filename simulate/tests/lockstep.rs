//! Threads under `lockstep.c`: one seed is one run, and another seed is another.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

unsafe extern "C" {
    fn dlsym(library: *mut u8, name: *const u8) -> *mut u8;
}

/// A function of the library, if it is loaded.
fn lockstep<F: Copy>(name: &[u8]) -> Option<F> {
    assert_eq!(name.last(), Some(&0));
    assert_eq!(size_of::<F>(), size_of::<*mut u8>());
    // SAFETY: the name ends with a zero; null is RTLD_DEFAULT; the callers name the functions' types as they are in C.
    unsafe {
        let found = dlsym(std::ptr::null_mut(), name.as_ptr());
        (!found.is_null()).then(|| std::mem::transmute_copy(&found))
    }
}

fn trace() -> u64 {
    lockstep::<extern "C" fn() -> u64>(b"lockstep_trace\0").map_or(0, |trace| trace())
}

fn skew(by: i64) {
    if let Some(skew) = lockstep::<extern "C" fn(i64)>(b"lockstep_skew\0") {
        skew(by);
    }
}

/// What the threads of a program did, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn say(&self, what: std::fmt::Arguments<'_>) {
        let mut text = self.0.lock().unwrap();
        writeln!(text, "{what}").unwrap();
    }
}

fn wall() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn locks(log: &Log) {
    let sum = Arc::new(Mutex::new(0_u64));
    let readers = Arc::new(RwLock::new(0_u64));
    let turn = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let meet = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let (log, sum, readers, turn, meet) =
                (log.clone(), sum.clone(), readers.clone(), turn.clone(), meet.clone());
            thread::spawn(move || {
                for step in 0..50 {
                    let mut sum = sum.lock().unwrap();
                    *sum += 1;
                    if *sum % 7 == 0 {
                        thread::sleep(Duration::from_micros(*sum));
                    }
                    log.say(format_args!("{i} {step} {sum} {}", *readers.read().unwrap()));
                    drop(sum);
                    if step % 5 == 0 {
                        let mut writer = readers.write().unwrap();
                        thread::yield_now();
                        *writer += 1;
                    }
                }
                if meet.wait().is_leader() {
                    log.say(format_args!("{i} leads"));
                }
                let (of, next) = &*turn;
                let mut of = next.wait_while(of.lock().unwrap(), |of| *of != i).unwrap();
                *of += 1;
                next.notify_all();
                log.say(format_args!("turn of {i}"));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*sum.lock().unwrap(), 400);
    assert_eq!(*readers.read().unwrap(), 80);
}

fn channels(log: &Log) {
    let (to, from) = mpsc::sync_channel::<(usize, u32)>(2);
    thread::scope(|scope| {
        for i in 0..5 {
            let to = to.clone();
            scope.spawn(move || {
                for n in 0..20 {
                    to.send((i, n)).unwrap();
                }
            });
        }
        drop(to);
        for (i, n) in &from {
            log.say(format_args!("{n} from {i}"));
        }
    });
    let (_to, from) = mpsc::channel::<()>();
    let start = Instant::now();
    assert_eq!(
        from.recv_timeout(Duration::from_secs(3600)),
        Err(mpsc::RecvTimeoutError::Timeout)
    );
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(3600) && took < Duration::from_secs(3601),
        "{took:?}"
    );
}

fn waits(log: &Log) {
    let start = Instant::now();
    // Nobody wakes it: it is there after its time, and not before.
    thread::park_timeout(Duration::from_secs(86_400));
    assert!(start.elapsed() >= Duration::from_secs(86_400));
    let woken = thread::spawn(|| {
        let start = Instant::now();
        thread::park_timeout(Duration::from_secs(86_400));
        start.elapsed()
    });
    thread::sleep(Duration::from_secs(5));
    woken.thread().unpark();
    let after = woken.join().unwrap();
    assert!(
        after >= Duration::from_secs(4) && after < Duration::from_secs(6),
        "{after:?}"
    );

    // Sleepers wake in the order of their times.
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for i in [5_u64, 1, 4, 2, 3] {
            let order = &order;
            scope.spawn(move || {
                thread::sleep(Duration::from_secs(i));
                order.lock().unwrap().push(i);
            });
        }
    });
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5]);

    // Spinning until a time ends, and so does spinning until another thread has done something.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1) {}
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(1));
            done.store(1, Ordering::SeqCst);
        });
        while done.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
    });
    log.say(format_args!("{:?} {}", start.elapsed(), wall()));
}

thread_local! {
    static LAST: Farewell = const { Farewell(OnceLock::new()) };
}

/// Takes a lock when its thread ends, after the thread's function has returned.
struct Farewell(OnceLock<(usize, Log)>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some((i, log)) = self.0.take() {
            thread::sleep(Duration::from_millis(1));
            log.say(format_args!("{i} ends"));
        }
    }
}

fn ends(log: &Log) {
    for i in 0..20 {
        let log = log.clone();
        let ends = thread::spawn(move || LAST.with(|last| last.0.set((i, log)).ok().unwrap()));
        if i % 3 == 0 {
            ends.join().unwrap();
        }
    }
    thread::sleep(Duration::from_secs(1));
    assert_eq!(log.0.lock().unwrap().matches("ends").count(), 20);
}

fn chance(log: &Log) {
    let map: HashMap<_, _> = (0..50).map(|i| (i, i)).collect();
    log.say(format_args!("{:?}", map.keys().collect::<Vec<_>>()));
    let allocated: Vec<_> = (0..8)
        .map(|i| thread::spawn(move || Box::into_raw(Box::new(i)) as usize))
        .collect();
    for address in allocated {
        log.say(format_args!("{:x}", address.join().unwrap()));
    }
    log.say(format_args!("{}", thread::available_parallelism().unwrap()));
}

fn clocks(log: &Log) {
    let right = wall();
    let wrong = thread::spawn(|| {
        skew(3_600_000_000_000);
        let inherited = thread::spawn(wall).join().unwrap();
        (wall(), inherited)
    });
    let (own, inherited) = wrong.join().unwrap();
    assert!(own > right + 3_600_000_000_000 && inherited > right + 3_600_000_000_000);
    assert!(wall() < right + 1_000_000_000);
    log.say(format_args!("{right} {own} {inherited}"));
}

/// The program that the tests start. By itself it does nothing.
#[test]
fn program() {
    let Ok(scene) = env::var("LOCKSTEP_SCENE") else { return };
    let log = Log::default();
    match scene.as_str() {
        "stuck" => thread::park(),
        "short" => [locks, ends, chance].iter().for_each(|scene| scene(&log)),
        _ => {
            for scene in [locks, channels, waits, ends, chance, clocks] {
                scene(&log);
            }
        }
    }
    println!("{}{:016x}", log.0.lock().unwrap(), trace());
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = env::temp_dir().join(format!("lockstep-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let source = folder.join("lockstep.c");
        fs::write(&source, include_str!("../lockstep.c")).unwrap();
        let library = folder.join("lockstep.so");
        let made = Command::new("cc")
            .args([
                "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o",
            ])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(made.unwrap().success());
        library
    })
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(scene: &str, variables: &[(&str, &str)]) -> Ran {
    let path = concat!(module_path!(), "::program");
    let (_, path) = path.split_once("::").unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", path, "--nocapture", "--test-threads=1"])
        .env("LD_PRELOAD", library())
        .env("LOCKSTEP_SCENE", scene)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn one_seed_is_one_run() {
    for order in ["random", "fifo"] {
        let with = |seed| {
            let ran = run(
                "all",
                &[
                    ("LOCKSTEP_SEED", seed),
                    ("LOCKSTEP_ORDER", order),
                    ("LOCKSTEP_CPUS", "1"),
                ],
            );
            assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
            ran.out
        };
        let first = with("1");
        for _ in 0..20 {
            assert_eq!(with("1"), first);
        }
        assert_ne!(with("2"), first);
        assert_ne!(with("2"), with("3"));
    }
}

#[test]
fn who_waits_for_ever_is_told() {
    let ran = run("stuck", &[("LOCKSTEP_SEED", "1")]);
    assert_eq!(ran.code, Some(70), "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains("everybody waits for ever\n  thread 0: futex"),
        "{}",
        ran.err
    );
}

#[test]
fn without_a_seed_it_is_not_there() {
    let ran = run("short", &[("LOCKSTEP_CPUS", "none")]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("\n0000000000000000\n"), "{}", ran.out);
}
