//! What happens when, as a seed decides it: who is awake, who adds rows, whose power is cut, where the network is torn.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use odf::disk::crash::{Recorder, Refusal, Unsynced, copy_tree};
use odf_node::Multiaddr;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;

use crate::liar::Liar;
use crate::lockstep;
use crate::machine::{self, Life, Order, PORT};
use crate::task::Task;
use crate::truth::{Machine, Series, Truth};
use simulate::network::Network;
use simulate::network::wire::Wire;

/// The index of the store, in a workspace: sled writes it when it likes, but for the sorted files, which go through the disk.
const INDEX: &str = "store";
const SORTED: &str = "runs";
/// Days after which machines meet every ten days or so, not twice a day.
const MANY_DAYS: u64 = 60;
const DAY: Duration = Duration::from_secs(86_400);
/// How long machines are awake together.
const SHORTEST: u64 = 45;
const LONGEST: u64 = 120;
/// Of the time between two meetings, by how much the next may be off.
const HOUR: u64 = 3_600;
/// How long everybody is awake and in reach after all were told to ask once more.
const AT_LAST: u64 = 120;
/// How long it takes at most until all have heard of new rows, if nothing is in the way.
const HEARD: u64 = 30;
/// How long a machine may take to shut down.
const ENDS: Duration = Duration::from_secs(30);
/// The most calls to the disk of one life after which the power may be cut.
const MAX_CALLS: usize = 250;
/// How far a clock may be off.
const MAX_SKEW: i64 = 3_600 * 1_000_000_000;

/// What kind of machine it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nearly always there, in reach of everybody, known to all.
    Server,
    /// Comes and goes; some are behind routers.
    Laptop { behind_router: bool },
    /// Sleeps for weeks.
    Field,
}

/// The machines, and which series each adds to. Series 2 has two owners.
const MACHINES: [(Kind, &[Series]); 12] = [
    (Kind::Server, &[]),
    (Kind::Server, &[]),
    (Kind::Laptop { behind_router: false }, &[0]),
    (Kind::Laptop { behind_router: true }, &[1]),
    (Kind::Laptop { behind_router: false }, &[2]),
    (Kind::Laptop { behind_router: false }, &[2]),
    (Kind::Laptop { behind_router: false }, &[]),
    (Kind::Laptop { behind_router: true }, &[]),
    (Kind::Laptop { behind_router: true }, &[]),
    (Kind::Laptop { behind_router: false }, &[]),
    (Kind::Field, &[3]),
    (Kind::Field, &[]),
];
/// Where the liar is.
const LIAR: Ipv4Addr = Ipv4Addr::new(120, 40, 7, 9);
/// The series with two owners.
const SHARED: Series = 2;

/// How a life ends.
enum End {
    /// It is shut down.
    Well,
    /// At a call to the disk the program is killed, or the power is cut, with this left of what was not synced.
    Cut(Unsynced, Index),
}

/// What is left of what was not synced when a program is killed: the system has all of it.
const KILLED: Unsynced = Unsynced::Kept;

/// What is left of the index.
#[derive(Clone, Copy)]
enum Index {
    Before,
    Then,
    Gone,
}

/// A machine that is awake.
struct Awake {
    thread: JoinHandle<()>,
    orders: mpsc::Sender<Order>,
    recorder: Arc<Recorder>,
    is_cut: Arc<AtomicBool>,
    end: End,
}

/// What is kept of a machine while it sleeps.
struct Place {
    at: Ipv4Addr,
    dir: PathBuf,
    lives: u32,
    sleeps_until: u64,
}

/// All of it.
pub(crate) struct World {
    random: StdRng,
    network: Network,
    truth: Truth,
    scratch: PathBuf,
    places: Vec<Place>,
    awake: Vec<Option<Awake>>,
    bootstrap: Vec<Multiaddr>,
    task: Task,
    began: Instant,
    liar: Liar,
}

impl World {
    /// Makes the machines, all asleep, in `scratch`.
    ///
    /// # Errors
    /// A directory or a key cannot be made.
    pub(crate) fn new(task: Task, scratch: &Path, truth: Truth) -> Result<Self, String> {
        let mut world = Self {
            random: StdRng::seed_from_u64(task.seed),
            network: Network::new(task.seed.rotate_left(32)),
            truth,
            scratch: scratch.to_owned(),
            places: Vec::new(),
            awake: Vec::new(),
            bootstrap: Vec::new(),
            task,
            began: Instant::now(),
            liar: Liar::new(LIAR),
        };
        for (machine, (kind, _)) in MACHINES.iter().enumerate() {
            // Each in a network of its own, as those of the world are.
            let number = u8::try_from(machine).map_err(|_| "too many machines")?;
            let at = Ipv4Addr::new(80 + 3 * number, 20 + number, 7, 9);
            let dir = scratch.join(format!("{machine}-0"));
            fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
            let peer = machine::identity(&dir)?;
            if *kind == Kind::Server {
                let address = Multiaddr::from(at).with(Protocol::Tcp(PORT)).with(Protocol::P2p(peer));
                world.bootstrap.push(address);
            }
            world.places.push(Place {
                at,
                dir,
                lives: 0,
                sleeps_until: 0,
            });
            world.awake.push(None);
        }
        world.liar.accuse(&world.bootstrap);
        Ok(world)
    }

    /// Lets everything happen, until the last day is over and all have met, or something is that must never be.
    ///
    /// # Errors
    /// The simulation itself cannot go on.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let every = if self.task.days > MANY_DAYS {
            14 * 24 * HOUR
        } else {
            16 * HOUR
        };
        let end = self.task.days * DAY.as_secs();
        while self.seconds() + every < end && self.truth.violation().is_none() {
            self.meet()?;
            let next = self.seconds() + every - self.random.random_range(0..every / 2);
            // What the machines left behind comes to its end; then nothing happens.
            self.pass(self.seconds() + ENDS.as_secs());
            self.sleep(next);
        }
        self.at_last()
    }

    /// Some of the machines are awake at about the same time, and things happen.
    fn meet(&mut self) -> Result<(), String> {
        let until = self.seconds() + self.random.random_range(SHORTEST..LONGEST);
        if self.random.random_bool(0.8) {
            self.liar.switch_on(&self.network, &self.bootstrap)?;
        }
        let mut events = self.plan(until);
        events.sort_by_key(|(at, _)| *at);
        for (at, event) in events {
            self.pass(at);
            self.raise_the_dead()?;
            if self.truth.violation().is_some() {
                break;
            }
            self.happen(event)?;
        }
        self.network.heal();
        self.network.lose(0);
        self.end()
    }

    /// What happens from now until then.
    fn plan(&mut self, until: u64) -> Vec<(u64, Event)> {
        let now = self.seconds();
        let mut events = Vec::new();
        for (machine, (kind, owns)) in MACHINES.iter().enumerate() {
            let share = match kind {
                Kind::Server => 0.9,
                Kind::Laptop { .. } => 0.55,
                Kind::Field => 0.8,
            };
            if self.places[machine].sleeps_until > now || !self.random.random_bool(share) {
                continue;
            }
            if *kind == Kind::Field {
                let weeks = self.random.random_range(1..4) * 7 * DAY.as_secs();
                self.places[machine].sleeps_until = now + weeks;
            }
            let late = if *kind == Kind::Server {
                0
            } else {
                self.random.random_range(0..SHORTEST / 2)
            };
            let on = now + late;
            events.push((on, Event::On(machine)));
            for series in *owns {
                let mut at = on + self.random.random_range(3..25);
                while at < until {
                    events.push((
                        at,
                        Event::Order(machine, Order::Append(*series, self.random.random_range(1..20))),
                    ));
                    at += self.random.random_range(15..90);
                }
            }
            if self.random.random_bool(0.05) {
                events.push((until, Event::Order(machine, Order::Verify)));
            }
            if self.random.random_bool(0.35) {
                let off = self.random.random_range(on..=until);
                events.push((off, Event::Off(machine)));
                if self.random.random_bool(0.5) {
                    events.push((off + 5, Event::On(machine)));
                }
            }
        }
        for share in [0.9, 0.5] {
            if self.random.random_bool(share) {
                let at = self.random.random_range(now..until);
                events.push((at, Event::Cut));
                events.push((at + self.random.random_range(5..60), Event::Heal));
            }
        }
        if self.random.random_bool(0.3) {
            events.push((now, Event::Lose(self.random.random_range(1..150))));
        }
        events.push((until, Event::Heal));
        events.retain(|(at, _)| *at <= until);
        events
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::On(machine) => self.switch_on(machine, true),
            Event::Off(machine) => self.switch_off(machine),
            Event::Order(machine, order) => {
                self.order(machine, order);
                Ok(())
            }
            Event::Cut => {
                let sides: Vec<_> = self.places.iter().map(|place| place.at).collect();
                let sides: Vec<_> = sides
                    .into_iter()
                    .map(|at| (at, self.random.random_range(0..2)))
                    .collect();
                self.truth.tell("cut", format_args!("{sides:?}"));
                self.network.cut(sides);
                Ok(())
            }
            Event::Heal => {
                self.network.heal();
                Ok(())
            }
            Event::Lose(of_a_thousand) => {
                self.network.lose(of_a_thousand);
                Ok(())
            }
        }
    }

    /// Everybody is awake and in reach for long enough: all agree.
    fn at_last(&mut self) -> Result<(), String> {
        if self.truth.violation().is_some() {
            return self.end();
        }
        self.truth.tell("at last", "everybody is awake");
        self.liar.switch_on(&self.network, &self.bootstrap)?;
        for machine in 0..MACHINES.len() {
            self.switch_on(machine, false)?;
        }
        // Whoever was cut off before what it had committed was published publishes it with its next rows.
        for (machine, (_, owns)) in MACHINES.iter().enumerate() {
            for series in *owns {
                self.pass(self.seconds() + HEARD);
                self.order(machine, Order::Append(*series, 1));
            }
        }
        self.pass(self.seconds() + HEARD);
        self.truth.forget_outcomes();
        (0..MACHINES.len()).for_each(|machine| self.order(machine, Order::Ask));
        self.pass(self.seconds() + AT_LAST);
        (0..MACHINES.len()).for_each(|machine| self.order(machine, Order::Verify));
        self.pass(self.seconds() + 10);
        self.end()?;
        if self.truth.violation().is_none() {
            let followers = |series: Series| {
                let owners = move |(_, owns): &(Kind, &[Series])| series == SHARED || !owns.contains(&series);
                MACHINES
                    .iter()
                    .enumerate()
                    .filter(move |(_, machine)| owners(machine))
                    .map(|(machine, _)| machine)
            };
            self.truth.settled(&|series| followers(series).collect());
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        (0..MACHINES.len()).try_for_each(|machine| self.switch_off(machine))?;
        self.liar.switch_off(&self.network)
    }

    fn switch_on(&mut self, machine: Machine, may_be_cut: bool) -> Result<(), String> {
        if self.awake[machine].is_some() {
            return Ok(());
        }
        let (kind, owns) = MACHINES[machine];
        let is_cut = Arc::new(AtomicBool::new(false));
        let end = match self.random.random_bool(0.5) {
            true if may_be_cut => self.some_cut(),
            _ => End::Well,
        };
        let skew = match self.random.random_bool(0.1) {
            true => self.random.random_range(-MAX_SKEW..MAX_SKEW),
            false => 0,
        };
        let place = &mut self.places[machine];
        let recorder = Recorder::new(&place.dir);
        if self.task.forgets_syncs {
            (0..MAX_CALLS).for_each(|sync| recorder.forget_sync(sync));
        }
        if let End::Cut(unsynced, _) = end {
            let before = place.dir.with_extension("before");
            copy_tree(&place.dir, &before).map_err(said(&before))?;
            let calls = self.random.random_range(1..MAX_CALLS);
            recorder.set_refusal(Refusal::From(calls), io::ErrorKind::Other);
            let (network, at, is_cut) = (self.network.clone(), place.at, is_cut.clone());
            let is_killed = unsynced == KILLED;
            recorder.watch(move |call| {
                // The last call that the disk takes.
                if call + 1 >= calls && !is_cut.swap(true, Ordering::AcqRel) {
                    // Whatever it would say from here on is not heard.
                    match is_killed {
                        true => network.end_program(at),
                        false => network.cut_power(at),
                    }
                }
            });
        }
        let is_behind_router = matches!(kind, Kind::Laptop { behind_router: true });
        self.network.switch_on(place.at, is_behind_router);
        let (orders, received) = mpsc::channel(64);
        let life = Life {
            machine,
            at: place.at,
            dir: place.dir.clone(),
            recorder: recorder.clone(),
            is_cut: is_cut.clone(),
            wire: Wire::new(self.network.clone(), place.at),
            skew,
            bootstrap: self.bootstrap.clone(),
            public: kind == Kind::Server,
            owns: owns.to_vec(),
            shares: owns.iter().copied().filter(|series| *series == SHARED).collect(),
            orders: received,
            truth: self.truth.clone(),
        };
        place.lives += 1;
        self.truth.tell("on", format_args!("machine {machine}"));
        let thread = thread::Builder::new().name(format!("machine-{machine}"));
        let thread = thread.spawn(move || life.live()).map_err(|error| error.to_string())?;
        self.awake[machine] = Some(Awake {
            thread,
            orders,
            recorder,
            is_cut,
            end,
        });
        Ok(())
    }

    fn some_cut(&mut self) -> End {
        let unsynced = Unsynced::ALL
            .choose(&mut self.random)
            .copied()
            .unwrap_or(Unsynced::Kept);
        // A program that is killed leaves what the system has; the power takes what it likes.
        let index = match unsynced {
            KILLED => Index::Then,
            _ => *[Index::Before, Index::Then, Index::Gone]
                .choose(&mut self.random)
                .unwrap_or(&Index::Gone),
        };
        End::Cut(unsynced, index)
    }

    /// Takes note of machines that were killed or whose power was cut. Some are on again at once.
    fn raise_the_dead(&mut self) -> Result<(), String> {
        for machine in 0..MACHINES.len() {
            if self.awake[machine]
                .as_ref()
                .is_some_and(|awake| awake.is_cut.load(Ordering::Acquire))
            {
                self.switch_off(machine)?;
                if self.random.random_bool(0.6) {
                    self.switch_on(machine, true)?;
                }
            }
        }
        Ok(())
    }

    fn switch_off(&mut self, machine: Machine) -> Result<(), String> {
        let Some(awake) = self.awake[machine].take() else {
            return Ok(());
        };
        let is_cut = awake.is_cut.load(Ordering::Acquire);
        if !is_cut {
            // One that was to be cut later has come to its end before.
            awake.recorder.set_refusal(Refusal::Never, io::ErrorKind::Other);
        }
        let place = &mut self.places[machine];
        let next = self.scratch.join(format!("{machine}-{}", place.lives));
        if let (true, End::Cut(unsynced, index)) = (is_cut, &awake.end) {
            // Where the directory is is another place in each run.
            let last = awake
                .recorder
                .describe(usize::MAX)
                .replace(&self.scratch.display().to_string(), "");
            let kind = if *unsynced == KILLED { "kill" } else { "power" };
            self.truth
                .tell(kind, format_args!("machine {machine} is cut off after {last}"));
            let before = place.dir.with_extension("before");
            awake
                .recorder
                .image(&before, usize::MAX, *unsynced, &next, &is_sleds)
                .map_err(said(&next))?;
            leave_index(*index, &before, &place.dir, &next).map_err(said(&next))?;
        }
        let _ = awake.orders.try_send(Order::End);
        drop(awake.orders);
        let began = Instant::now();
        if awake.thread.join().is_err() {
            self.truth.violated(format_args!("machine {machine} panicked"));
        }
        if began.elapsed() > ENDS {
            self.truth
                .violated(format_args!("machine {machine} took {:?} to end", began.elapsed()));
        }
        self.network.end_program(place.at);
        self.truth.tell("off", format_args!("machine {machine}"));
        if is_cut {
            let old = std::mem::replace(&mut place.dir, next);
            let _ = fs::remove_dir_all(&old);
        }
        let _ = fs::remove_dir_all(place.dir.with_extension("before"));
        Ok(())
    }

    fn order(&self, machine: Machine, order: Order) {
        if let Some(awake) = &self.awake[machine] {
            let _ = awake.orders.try_send(order);
        }
    }

    /// Time passes.
    fn pass(&self, until: u64) {
        let until = self.began + Duration::from_secs(until);
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    /// All sleep until then.
    fn sleep(&self, until: u64) {
        let until = self.began + Duration::from_secs(until);
        let left = until.saturating_duration_since(Instant::now()).as_nanos();
        lockstep::jump(u64::try_from(left).unwrap_or(u64::MAX));
    }

    fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// What the liar said that is not so.
    pub(crate) fn lies(&self) -> u64 {
        self.liar.told()
    }

    /// Pieces of data that the network carried.
    pub(crate) fn sent(&self) -> u64 {
        self.network.sent()
    }
}

/// Whether a path in a workspace is one of the index that sled writes.
fn is_sleds(path: &Path) -> bool {
    let below = path.strip_prefix(INDEX).ok();
    below.is_some_and(|below| !below.as_os_str().is_empty() && !below.starts_with(SORTED))
}

/// Puts into `next`, which has what went through the disk, what is left of the index.
fn leave_index(index: Index, before: &Path, then: &Path, next: &Path) -> io::Result<()> {
    let to = next.join(INDEX);
    if !matches!(index, Index::Then) {
        match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match index {
        Index::Gone => return Ok(()),
        Index::Before if before.join(INDEX).exists() => return copy_tree(&before.join(INDEX), &to),
        Index::Before => return Ok(()),
        Index::Then if !then.join(INDEX).exists() => return Ok(()),
        Index::Then => {}
    }
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(then.join(INDEX))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_name() == SORTED {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => copy_tree(&entry.path(), &to)?,
            false => fs::copy(entry.path(), to).map(|_| ())?,
        }
    }
    Ok(())
}

/// Something that happens at a time.
enum Event {
    On(Machine),
    Off(Machine),
    Order(Machine, Order),
    Cut,
    Heal,
    Lose(u32),
}

fn said(path: &Path) -> impl Fn(io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}
