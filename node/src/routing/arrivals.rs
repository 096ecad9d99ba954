//! The peers that appear just after the start, and how long they are waited for.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Routing, TableSizes};

/// How long after the start the public DHT may take to be joined before it counts as out of reach.
const JOIN_WAN: Duration = Duration::from_secs(10);
/// How long after the start peers on the local network may take to be found. mDNS asks at once, after one and after three
/// seconds, and a question may get lost.
const JOIN_LAN: Duration = Duration::from_secs(5);
/// How long after the start a network counts as silent from which nobody at all answers: longer than a handshake takes over
/// half the world, and than mDNS takes to ask twice.
const SILENCE: Duration = Duration::from_millis(1500);

/// The peers that appear just after the start.
///
/// A command that starts a peer and asks it something right away asks again after each arrival, and so gets its answer
/// instead of "nobody knows" within a millisecond.
pub struct Arrivals {
    known: TableSizes,
    routing: Routing,
    in_silence: bool,
}

impl Routing {
    /// To be taken before a question that perhaps nobody can answer yet.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals {
            known: self.table_sizes(),
            routing: self.clone(),
            in_silence: true,
        }
    }

    /// As [`Self::arrivals`], for who has something to go on with: a network from which nobody at all answers is not waited for.
    pub fn arrivals_unless_silent(&self) -> Arrivals {
        Arrivals {
            in_silence: false,
            ..self.arrivals()
        }
    }
}

impl Arrivals {
    /// Waits until somebody new can be asked. Returns false if nobody is to be expected any more, which is at once for
    /// a peer that has been running for a while.
    pub async fn next(&mut self) -> bool {
        loop {
            let known = std::mem::replace(&mut self.known, self.routing.table_sizes());
            if self.known.lan > known.lan || self.known.wan > known.wan {
                return true;
            }
            let Some(until) = self.until() else {
                return false;
            };
            let routing = &mut self.routing;
            let changed = async {
                tokio::select! {
                    changed = routing.sizes.changed() => changed,
                    changed = routing.signs.changed() => changed,
                }
            };
            if let Ok(Err(_)) = timeout_at(until, changed).await {
                return false;
            }
        }
    }

    /// Until when peers are still expected to appear: only just after the start, and only in a network where nobody is
    /// known yet.
    fn until(&self) -> Option<Instant> {
        let Routing {
            expected,
            signs,
            started,
            ..
        } = &self.routing;
        let (sizes, signs) = (self.known, *signs.borrow());
        let patience = |answered: bool, patience: Duration| match answered || self.in_silence {
            true => patience,
            false => SILENCE,
        };
        let wan = expected.wan && sizes.wan == 0 && !signs.given_up;
        let wan = wan.then(|| *started + patience(signs.wan, JOIN_WAN));
        let lan = expected.lan && sizes.lan == 0;
        let lan = lan.then(|| *started + patience(signs.lan, JOIN_LAN));
        wan.max(lan).filter(|until| *until > Instant::now())
    }
}
