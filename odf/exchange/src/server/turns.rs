//! Turns at the server: so many at once for those with a token, so many for strangers, and so many for each of them.

use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll};

use axum::http::StatusCode;
use odf_doors::{Full, Room, Seat, Shares};

use super::answer::Refusal;
use super::limits::{KEPT_PART, MAX_REQUESTS, MAX_REQUESTS_OF_ONE, MAX_TRANSFERS, MAX_TRANSFERS_OF_ONE};
use super::sender::{Sender, Way};

/// How many turns there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// For those who have a token. Strangers have three quarters as many, of their own.
    pub(super) all: usize,
    /// For each stranger.
    pub(super) each: usize,
}

/// Turns at plain requests.
pub(super) const REQUESTS: Parts = Parts {
    all: MAX_REQUESTS,
    each: MAX_REQUESTS_OF_ONE,
};
/// Turns at transfers by the smart protocol.
pub(super) const TRANSFERS: Parts = Parts {
    all: MAX_TRANSFERS,
    each: MAX_TRANSFERS_OF_ONE,
};

impl Parts {
    fn of_strangers(self) -> Room {
        Room {
            all: self.all - self.all / KEPT_PART,
            network: self.each + self.each / 2,
            one: self.each,
            many: self.each,
        }
    }

    /// Whoever has a token is known, and may have all.
    fn of_holders(self) -> Room {
        Room {
            all: self.all,
            network: self.all,
            one: self.all,
            many: self.all,
        }
    }
}

/// Turns at one kind of work.
pub(super) struct Turns {
    /// What they are at, for messages.
    what: &'static str,
    strangers: Shares,
    holders: Shares,
}

/// A turn, until it is dropped. It can be cut, for somebody else's: whoever has it is to end then.
pub(super) struct Turn(Seat);

impl Turns {
    pub(super) fn new(what: &'static str, parts: Parts) -> Self {
        Self {
            what,
            strangers: Shares::new(parts.of_strangers(), &[]),
            holders: Shares::new(parts.of_holders(), &[]),
        }
    }

    /// A turn now, or the refusal of one.
    pub(super) fn take(&self, sender: &Sender, way: &Way) -> Result<Turn, Refusal> {
        let turns = match sender {
            Sender::Holder(_) => &self.holders,
            Sender::Anybody => &self.strangers,
        };
        // Those of whom no address is known are one client.
        let client = way.from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        turns.take(client).map(Turn).map_err(|full| {
            let whose = match full {
                Full::Own => " from your address",
                Full::All => "",
            };
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("too many {}{whose}; try again in a moment", self.what),
            )
        })
    }
}

impl Turn {
    /// From now on it is the client that is waited for.
    pub(super) fn waits_for_client(&self) {
        self.0.waits_for_client();
    }

    /// The client did something.
    pub(super) fn moved(&self) {
        self.0.moved();
    }

    /// Ready when the turn was cut.
    pub(super) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_cut(context)
    }

    /// Done when the turn is cut.
    pub(super) async fn cut(&self) {
        self.0.cut().await;
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
        let turns = Turns::new("requests", Parts { all: 8, each: 2 });
        let take = |way: &Way| turns.take(&Sender::Anybody, way);
        let mut held = vec![take(&from("192.0.2.1")).unwrap(), take(&from("192.0.2.1")).unwrap()];
        let refused = take(&from("192.0.2.1")).err().unwrap();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.message.contains("from your address"), "{}", refused.message);
        // Another of the same network has what is left of the network's.
        held.push(take(&from("192.0.2.2")).unwrap());
        assert!(take(&from("192.0.2.3")).is_err());
        // Others have theirs, and the last two are kept for those who are known.
        held.push(take(&Way::default()).unwrap());
        held.push(take(&from("10.0.0.1")).unwrap());
        held.push(take(&from("10.0.0.2")).unwrap());
        assert_eq!((turns.strangers.taken(), turns.holders.taken()), (6, 0));
        // A newcomer has a turn of those who have most.
        let newcomer = take(&from("10.0.0.3")).unwrap();
        assert_eq!(turns.strangers.taken(), 6);
        drop((held, newcomer));
        assert_eq!(turns.strangers.taken(), 0);
    }

    #[test]
    fn one_turn_too_many_is_refused() {
        for (parts, all, each) in [
            (REQUESTS, MAX_REQUESTS, MAX_REQUESTS_OF_ONE),
            (TRANSFERS, MAX_TRANSFERS, MAX_TRANSFERS_OF_ONE),
        ] {
            let turns = Turns::new("requests", parts);
            let taken = |ways: &mut dyn Iterator<Item = Way>| -> Vec<Turn> {
                ways.map_while(|way| turns.take(&Sender::Anybody, &way).ok()).collect()
            };
            assert_eq!(taken(&mut (0..=each).map(|_| from("192.0.2.1"))).len(), each);
            let many = &mut (0..=all).map(|n| from(&format!("10.0.{}.{}", n / 250, n % 250)));
            assert_eq!(taken(many).len(), all - all / KEPT_PART);
        }
    }
}
