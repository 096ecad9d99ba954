//! A network in memory: machines with addresses, links with delay, cuts that heal.
//!
//! What libp2p is given is a transport of byte streams at addresses like `/ip4/4.3.2.1/tcp/4001`, so that everything above it,
//! which addresses are told to whom included, is what a real network gets.

mod flow;
mod stream;
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::task::Waker;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use flow::{End, Half, Open};

/// The longest way across the world and back takes twice this.
const MAX_LATENCY: Duration = Duration::from_millis(150);
/// What arrives does so at multiples of so many nanoseconds, as with a card that tells its system of many packets at once.
const TICK: u64 = 20_000_000;
/// What a lost packet costs a stream: TCP sends it again.
const RESENT_AFTER: Duration = Duration::from_millis(220);

/// A connection as it arrives at a listener: where it comes from, and its bytes.
type Arrival = (Ipv4Addr, u16, Half);

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    began: Instant,
    hosts: BTreeMap<Ipv4Addr, Host>,
    /// On which side of a cut each machine is; where two differ, nothing gets through.
    sides: HashMap<Ipv4Addr, u32>,
    /// Of a thousand pieces of data, how many come late.
    lost: u32,
    /// Everybody who waits for bytes, to be woken when a cut heals.
    waiting: Vec<Waker>,
    next_port: u16,
    sent: u64,
    made: u64,
    /// All that was ever connected and has two ends yet, and some of what has none any more.
    connections: Vec<Open>,
    /// With how many of them those are looked for.
    tidy_at: usize,
}

#[derive(Default)]
struct Host {
    listeners: HashMap<u16, mpsc::Sender<Arrival>>,
    /// Grows when its program ends or its power is cut: for it, streams of before are dead.
    life: u64,
    is_on: bool,
    /// Nobody gets in from outside.
    is_behind_router: bool,
}

/// What becomes of an attempt to connect.
enum Attempt {
    /// Nobody answers.
    Silence,
    /// The machine is there, and no program listens.
    Refused(Duration),
    /// After so long.
    Through(Duration, Half),
}

impl Network {
    /// One without machines, on which chance follows `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            began: Instant::now(),
            hosts: BTreeMap::new(),
            sides: HashMap::new(),
            lost: 0,
            waiting: Vec::new(),
            next_port: 20_000,
            sent: 0,
            made: 0,
            connections: Vec::new(),
            tidy_at: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine is switched on.
    pub fn switch_on(&self, at: Ipv4Addr, is_behind_router: bool) {
        let mut state = self.state();
        let host = state.hosts.entry(at).or_default();
        (host.is_on, host.is_behind_router) = (true, is_behind_router);
    }

    /// Its program ended, by itself or not: nobody listens, and its system closes every connection. What was sent before arrives.
    pub fn end_program(&self, at: Ipv4Addr) {
        let mut state = self.state();
        let Some(host) = state.hosts.get_mut(&at) else {
            return;
        };
        host.listeners.clear();
        let ended = (at, host.life);
        // Whatever it would still say or hear is no longer its own.
        host.life += 1;
        let all = std::mem::take(&mut state.connections);
        let (closed, open) = all.into_iter().partition(|open: &Open| open.ends().contains(&ended));
        state.connections = open;
        drop(state);
        closed
            .into_iter()
            .for_each(|open: Open| open.close(ended, |to| self.arrives(at, to)));
    }

    /// Its power is cut: from one moment to the next it says nothing.
    pub fn cut_power(&self, at: Ipv4Addr) {
        if let Some(host) = self.state().hosts.get_mut(&at) {
            host.listeners.clear();
            host.is_on = false;
            host.life += 1;
        }
    }

    /// From now on nothing gets through between those of different numbers; who is not named is on side 0.
    pub fn cut(&self, sides: impl IntoIterator<Item = (Ipv4Addr, u32)>) {
        self.state().sides = sides.into_iter().collect();
        self.wake_all();
    }

    /// Everybody reaches everybody again.
    pub fn heal(&self) {
        self.cut([]);
    }

    /// Of a thousand pieces of data so many come late from now on.
    pub fn lose(&self, of_a_thousand: u32) {
        self.state().lost = of_a_thousand;
    }

    /// How many pieces of data were sent so far.
    pub fn sent(&self) -> u64 {
        self.state().sent
    }

    /// How many connections were made so far.
    pub fn made(&self) -> u64 {
        self.state().made
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut self.state().waiting);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// When a piece of data that leaves now arrives, at the next [`TICK`]. Those of one stream never overtake each other.
    fn arrives(&self, from: Ipv4Addr, to: Ipv4Addr) -> Instant {
        let mut state = self.state();
        state.sent += 1;
        let late = state.lost > 0 && state.random.random_range(0..1000) < state.lost;
        let latency = latency(from, to);
        let latency = if late { latency + RESENT_AFTER } else { latency };
        let arrives = u64::try_from((state.began.elapsed() + latency).as_nanos()).unwrap_or(u64::MAX);
        state.began + Duration::from_nanos(arrives.div_ceil(TICK).saturating_mul(TICK))
    }

    /// Whether bytes get to the first end from the other now, which `is_closed` if its system has said that there are no more.
    /// Whoever is told no is woken when that may have changed.
    fn is_open(&self, ends: [End; 2], is_closed: bool, waker: &Waker) -> Passage {
        let mut state = self.state();
        let lives = |(at, life): &End| state.hosts.get(at).is_some_and(|host| host.life == *life);
        let dead = !lives(&ends[0]) || !(is_closed || lives(&ends[1]));
        let side = |at| state.sides.get(at).copied().unwrap_or_default();
        if dead {
            return Passage::Dead;
        }
        if side(&ends[0].0) != side(&ends[1].0) {
            state.waiting.push(waker.clone());
            return Passage::Cut;
        }
        Passage::Open
    }

    /// With `reuse` the connection comes from where the machine listens, if it does, as with TCP of libp2p.
    fn connect(&self, from: Ipv4Addr, to: Ipv4Addr, port: u16, reuse: bool) -> Attempt {
        let mut state = self.state();
        let side = |at| state.sides.get(&at).copied().unwrap_or_default();
        let is_cut = side(from) != side(to);
        let listens = state.hosts.get(&from).and_then(|host| host.listeners.keys().min());
        let own_port = match listens.copied().filter(|_| reuse) {
            Some(port) => port,
            None => {
                let port = state.next_port;
                state.next_port = state.next_port.checked_add(1).unwrap_or(20_000);
                port
            }
        };
        let lives = [from, to].map(|at| state.hosts.get(&at).map_or(0, |host| host.life));
        let Some(host) = state.hosts.get(&to).filter(|host| host.is_on) else {
            return Attempt::Silence;
        };
        if is_cut || (host.is_behind_router && from != to) {
            return Attempt::Silence;
        }
        let round = 2 * latency(from, to);
        let Some(mut listener) = host.listeners.get(&port).cloned() else {
            return Attempt::Refused(round);
        };
        let (near, far) = Half::pair([(from, lives[0]), (to, lives[1])]);
        let open = near.open();
        match listener.try_send((from, own_port, far)) {
            Ok(()) => {
                state.made += 1;
                if state.connections.len() >= state.tidy_at {
                    state.connections.retain(Open::is_held);
                    state.tidy_at = 2 * state.connections.len();
                }
                state.connections.push(open);
                Attempt::Through(round, near)
            }
            // As a full queue of connections that were not taken yet: the first packet is dropped.
            Err(_) => Attempt::Silence,
        }
    }
}

/// Whether bytes get through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    /// Not now.
    Cut,
    /// Never more: an end was switched off.
    Dead,
}

/// How long one byte takes: given by the two addresses, the same both ways.
fn latency(from: Ipv4Addr, to: Ipv4Addr) -> Duration {
    let (low, high) = (from.min(to).to_bits(), from.max(to).to_bits());
    let mixed =
        u64::from(low).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(high).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let share = (mixed >> 40) as f64 / f64::from(1 << 24);
    Duration::from_millis(2) + MAX_LATENCY.mul_f64(share * share)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::stream::Stream;
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(80, 1, 1, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(90, 1, 1, 1);
    /// Longer than anything is on its way between the two.
    const LONG: Duration = Duration::from_secs(1);

    /// A connection between both machines, on which something was sent from there.
    async fn connected(network: &Network) -> (Stream, Stream) {
        let (sender, mut arrivals) = mpsc::channel(1);
        for at in [HERE, THERE] {
            network.switch_on(at, false);
        }
        let listens = |state: &mut State| state.hosts.get_mut(&THERE).unwrap().listeners.insert(1, sender);
        listens(&mut network.state());
        let Attempt::Through(_, near) = network.connect(HERE, THERE, 1, false) else {
            panic!("nobody listens");
        };
        let (_, _, far) = arrivals.try_recv().unwrap();
        let [near, mut far] = [near, far].map(|half| Stream::new(network.clone(), half));
        far.write_all(b"said before").await.unwrap();
        (near, far)
    }

    #[tokio::test]
    async fn the_connections_of_a_program_that_is_killed_are_closed() {
        let network = Network::new(1);
        let (mut near, mut far) = connected(&network).await;
        network.end_program(THERE);
        let mut heard = Vec::new();
        timeout(LONG, near.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, b"said before");
        assert!(near.write_all(b"?").await.is_err());
        assert!(far.write_all(b"said after").await.is_err());
        assert!(matches!(network.connect(HERE, THERE, 1, false), Attempt::Refused(_)));
    }

    #[tokio::test]
    async fn a_machine_without_power_says_nothing_not_even_that_it_ends() {
        let network = Network::new(1);
        let (mut near, _far) = connected(&network).await;
        network.cut_power(THERE);
        assert!(timeout(LONG, near.read(&mut [0; 64])).await.is_err());
        assert!(near.write_all(b"?").await.is_ok());
        assert!(matches!(network.connect(HERE, THERE, 1, false), Attempt::Silence));
    }
}
