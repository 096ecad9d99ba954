//! Where others see us: the public addresses that enough of them agree on.

use std::collections::{HashMap, VecDeque};

use libp2p::Multiaddr;

use crate::address::IpGroup;

/// Networks that must see us at the same address before it is told to others; Kubo asks for as many.
const MIN_NETWORKS: usize = 4;
/// Addresses that one network is believed to see us at, the newest ones: IPv4 and IPv6, over TCP and over QUIC.
const MAX_PER_NETWORK: usize = 4;
/// Sightings that are remembered, the newest ones.
const MAX_SIGHTINGS: usize = 1024;
/// Addresses that are told to others at the same time, those that most networks agree on.
const MAX_CONFIRMED: usize = 8;

/// Who saw us where. A stranger may claim anything here, as often as it likes and from many connections; one network
/// has one voice for each address, and a voice for few of them.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Newest last, no pair twice.
    sightings: VecDeque<(IpGroup, Multiaddr)>,
    confirmed: Vec<Multiaddr>,
}

/// What a sighting changed in the addresses to be told to others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Confirmed from now on.
    pub(super) new: Vec<Multiaddr>,
    /// No longer.
    pub(super) gone: Vec<Multiaddr>,
}

impl Observed {
    /// Somebody in the network `observer` says that it sees us at `address`.
    pub(super) fn hear(&mut self, observer: IpGroup, address: Multiaddr) -> Change {
        self.sightings
            .retain(|(group, seen)| !(*group == observer && *seen == address));
        self.sightings.push_back((observer, address));
        let of_observer = self.sightings.iter().filter(|(group, _)| *group == observer).count();
        let oldest = |(group, _): &(IpGroup, Multiaddr)| *group == observer;
        if of_observer > MAX_PER_NETWORK
            && let Some(oldest) = self.sightings.iter().position(oldest)
        {
            self.sightings.remove(oldest);
        }
        if self.sightings.len() > MAX_SIGHTINGS {
            self.sightings.pop_front();
        }
        let confirmed = self.agreed();
        let before = std::mem::replace(&mut self.confirmed, confirmed);
        let missing = |from: &[Multiaddr], all: &[Multiaddr]| -> Vec<Multiaddr> {
            let missing = all.iter().filter(|address| !from.contains(address));
            missing.cloned().collect()
        };
        Change {
            new: missing(&before, &self.confirmed),
            gone: missing(&self.confirmed, &before),
        }
    }

    /// Where we most likely are, the likeliest first: to be tried, not to be told.
    pub(super) fn likely(&self) -> Vec<Multiaddr> {
        self.heard_from(1)
    }

    fn agreed(&self) -> Vec<Multiaddr> {
        self.heard_from(MIN_NETWORKS)
    }

    fn heard_from(&self, networks: usize) -> Vec<Multiaddr> {
        let mut voices: HashMap<&Multiaddr, usize> = HashMap::new();
        for (_, address) in &self.sightings {
            *voices.entry(address).or_default() += 1;
        }
        let mut agreed: Vec<_> = voices.into_iter().filter(|(_, count)| *count >= networks).collect();
        agreed.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        agreed.truncate(MAX_CONFIRMED);
        agreed.into_iter().map(|(address, _)| address.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ip_group;

    fn network(number: usize) -> IpGroup {
        let [a, b] = [number / 200 + 20, number % 200];
        ip_group(&format!("/ip4/{a}.{b}.0.1").parse().unwrap()).unwrap()
    }

    fn at(port: usize) -> Multiaddr {
        format!("/ip4/93.184.216.34/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn one_network_has_one_voice_however_often_it_speaks() {
        let mut observed = Observed::default();
        for round in 0..100 {
            for network_number in 0..MIN_NETWORKS - 1 {
                assert_eq!(
                    observed.hear(network(network_number), at(1)),
                    Change::default(),
                    "{round}"
                );
            }
        }
        let change = observed.hear(network(99), at(1));
        assert_eq!((change.new, change.gone), (vec![at(1)], vec![]));
        assert_eq!(observed.hear(network(100), at(1)), Change::default());
    }

    #[test]
    fn lies_do_not_push_out_what_others_agree_on() {
        let mut observed = Observed::default();
        for honest in 0..MIN_NETWORKS + 1 {
            observed.hear(network(honest), at(4001));
        }
        // As many networks as it takes, each with more addresses than it has voices.
        for lie in 0..MAX_PER_NETWORK * 5 {
            for liar in 100..100 + MIN_NETWORKS {
                assert!(!observed.hear(network(liar), at(5000 + lie)).gone.contains(&at(4001)));
            }
        }
        assert!(observed.confirmed.contains(&at(4001)));
        assert!(
            observed.confirmed.len() <= MAX_PER_NETWORK + 1,
            "{:?}",
            observed.confirmed
        );
    }

    #[test]
    fn an_address_that_nobody_sees_any_more_is_taken_back() {
        let mut observed = Observed::default();
        (0..MIN_NETWORKS).for_each(|honest| drop(observed.hear(network(honest), at(1))));
        // The router gave another address; each of them sees that one now, and others after it.
        let mut gone = Vec::new();
        for moved in 2..2 + MAX_PER_NETWORK {
            (0..MIN_NETWORKS).for_each(|honest| gone.extend(observed.hear(network(honest), at(moved)).gone));
        }
        assert_eq!(gone, [at(1)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut observed = Observed::default();
        for number in 0..MAX_SIGHTINGS + 1 {
            observed.hear(network(number), at(number));
        }
        assert_eq!(observed.sightings.len(), MAX_SIGHTINGS);
        for address in 0..MAX_CONFIRMED + 1 {
            (0..MIN_NETWORKS)
                .for_each(|base| drop(observed.hear(network(base + address * MIN_NETWORKS), at(9000 + address))));
        }
        assert_eq!(observed.confirmed.len(), MAX_CONFIRMED);
    }
}
