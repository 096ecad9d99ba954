//! Turns at the server: so many at once in all, so many for strangers, and so many for each of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;
use super::limits::{KEPT_PART, MAX_REQUESTS, MAX_REQUESTS_OF_ONE, MAX_TRANSFERS, MAX_TRANSFERS_OF_ONE};
use super::sender::{Sender, Way};

/// How many turns there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// In all.
    pub(super) all: usize,
    /// For those without a token: the rest stays free for those who have one.
    pub(super) strangers: usize,
    /// For each stranger.
    pub(super) each: usize,
}

/// Turns at plain requests.
pub(super) const REQUESTS: Room = Room::new(MAX_REQUESTS, MAX_REQUESTS_OF_ONE);
/// Turns at transfers by the smart protocol.
pub(super) const TRANSFERS: Room = Room::new(MAX_TRANSFERS, MAX_TRANSFERS_OF_ONE);

impl Room {
    const fn new(all: usize, each: usize) -> Self {
        Self {
            all,
            strangers: all - all / KEPT_PART,
            each,
        }
    }
}

/// Turns at one kind of work.
pub(super) struct Turns {
    /// What they are at, for messages.
    what: &'static str,
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    _permits: [Option<OwnedSemaphorePermit>; 2],
    _own: Option<OwnTurn>,
}

/// A stranger's turn among those of the same address.
struct OwnTurn {
    client: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Turns {
    pub(super) fn new(what: &'static str, room: Room) -> Self {
        Self {
            what,
            all: Arc::new(Semaphore::new(room.all)),
            strangers: Arc::new(Semaphore::new(room.strangers)),
            each: room.each,
            taken: Arc::default(),
        }
    }

    /// A turn now, or the refusal of one.
    pub(super) fn take(&self, sender: &Sender, way: &Way) -> Result<Turn, Refusal> {
        let full = |whose: &str| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("too many {}{whose}; try again in a moment", self.what),
            )
        };
        let permit = |turns: &Arc<Semaphore>| Arc::clone(turns).try_acquire_owned();
        let (own, stranger) = match sender {
            Sender::Holder(_) => (None, None),
            Sender::Anybody => {
                let own = way
                    .from
                    .map(|address| self.one_more(address).ok_or_else(|| full(" from your address")));
                let stranger = permit(&self.strangers).map_err(|_| full(""))?;
                (own.transpose()?, Some(stranger))
            }
        };
        let one = permit(&self.all).map_err(|_| full(""))?;
        Ok(Turn {
            _permits: [Some(one), stranger],
            _own: own,
        })
    }

    /// One more turn for an address, if it has not all of its own.
    fn one_more(&self, address: IpAddr) -> Option<OwnTurn> {
        let client = one_client(address);
        let mut taken = lock(&self.taken);
        let count = taken.entry(client).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(OwnTurn {
            client,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for OwnTurn {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address that stands for a client: in IPv6 whoever has one address has the 2^64 beside it.
fn one_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Way {
        Way {
            from: Some(address.parse().unwrap()),
            secure: false,
        }
    }

    #[test]
    fn nobody_takes_the_turns_of_others() {
        let room = Room {
            all: 4,
            strangers: 3,
            each: 2,
        };
        let turns = Turns::new("requests", room);
        let take = |way: &Way| turns.take(&Sender::Anybody, way);
        let mut held = vec![take(&from("192.0.2.1")).unwrap(), take(&from("192.0.2.1")).unwrap()];
        let refused = take(&from("192.0.2.1")).err().unwrap();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.message.contains("from your address"), "{}", refused.message);
        held.push(take(&from("192.0.2.2")).unwrap());
        // The last turn is kept for those who are known.
        assert!(take(&from("192.0.2.3")).is_err());
        assert!(take(&Way::default()).is_err());
        held.pop();
        drop(take(&from("192.0.2.3")).unwrap());
        held.clear();
        assert!(lock(&turns.taken).is_empty());
        assert_eq!(turns.all.available_permits(), room.all);
        assert_eq!(turns.strangers.available_permits(), room.strangers);
    }

    #[test]
    fn one_turn_too_many_is_refused() {
        for (room, all, each) in [
            (REQUESTS, MAX_REQUESTS, MAX_REQUESTS_OF_ONE),
            (TRANSFERS, MAX_TRANSFERS, MAX_TRANSFERS_OF_ONE),
        ] {
            let turns = Turns::new("requests", room);
            let taken = |ways: &mut dyn Iterator<Item = Way>| -> Vec<Turn> {
                ways.map_while(|way| turns.take(&Sender::Anybody, &way).ok()).collect()
            };
            assert_eq!(taken(&mut (0..=each).map(|_| from("192.0.2.1"))).len(), each);
            let many = &mut (0..=all).map(|n| from(&format!("10.0.{}.{}", n / 250, n % 250)));
            assert_eq!(taken(many).len(), all - all / KEPT_PART);
        }
    }

    #[test]
    fn a_network_of_version_6_is_one_client() {
        let client = |text: &str| one_client(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
