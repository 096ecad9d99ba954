//! First contact: who is dialled, and when, until the public network is joined, and again when it is lost.
//!
//! Whom this peer remembers comes first, then the bootstrap list, then the bootstrap peers of a dataset; each a second after the
//! one before, while nobody was reached. Those before go on beside: none of them is waited for. Peers that the user names are
//! dialled when they are named, and neighbours answer mDNS at any time; neither waits for a turn.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long one source is ahead of the next.
const STEP: Duration = Duration::from_secs(1);
/// Handfuls of remembered peers that are dialled in one attempt, at most.
const MAX_HANDFULS: u32 = 5;
/// First wait before the next attempt; doubles up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(20);
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Where addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Peers that answered before: another handful of them.
    Remembered,
    /// The bootstrap list.
    Listed,
    /// The bootstrap peers of a dataset.
    Dataset,
}

#[derive(Debug)]
enum Phase {
    /// An attempt is under way.
    Asking {
        at: Instant,
        left: VecDeque<Source>,
        handfuls: u32,
    },
    /// Nobody was reached; until the next attempt.
    Resting { at: Instant },
    /// The network is joined.
    Joined,
    /// Nobody is ever dialled unasked.
    Never,
}

/// The state of it. Takes the time as it is told.
#[derive(Debug)]
pub(super) struct Contact {
    sources: Vec<Source>,
    phase: Phase,
    wait: Duration,
}

impl Contact {
    /// Begins at `now`. Without a list and without a dataset nobody is dialled, whoever is remembered.
    pub(super) fn new(listed: bool, dataset: bool, now: Instant) -> Self {
        let mut sources = vec![Source::Remembered];
        sources.extend(listed.then_some(Source::Listed));
        sources.extend(dataset.then_some(Source::Dataset));
        let mut contact = Self {
            sources,
            phase: Phase::Never,
            wait: FIRST_WAIT,
        };
        if listed || dataset {
            contact.begin(now);
        }
        contact
    }

    fn begin(&mut self, at: Instant) {
        self.phase = Phase::Asking {
            at,
            left: self.sources.iter().copied().collect(),
            handfuls: 0,
        };
    }

    fn rest(&mut self, now: Instant) {
        self.phase = Phase::Resting { at: now + self.wait };
        self.wait = (self.wait * 2).min(MAX_WAIT);
    }

    /// Ends when [`Self::due`] has something to do, if nothing else happens before.
    pub(super) fn turn(&self) -> impl Future<Output = ()> + use<> {
        let next = self.next();
        async move {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Asking { at, .. } | Phase::Resting { at } => Some(*at),
            Phase::Joined | Phase::Never => None,
        }
    }

    /// Whether all who can be dialled in this attempt have been.
    pub(super) fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting { .. })
    }

    /// Whom to dial now. `joined`: whether anybody of the public network is known; `remembered`: whether there are remembered
    /// peers that were not tried yet.
    pub(super) fn due(&mut self, now: Instant, joined: bool, remembered: bool) -> Vec<Source> {
        match &mut self.phase {
            Phase::Never => return Vec::new(),
            Phase::Asking { .. } | Phase::Resting { .. } if joined => {
                self.phase = Phase::Joined;
                self.wait = FIRST_WAIT;
                return Vec::new();
            }
            Phase::Joined if joined => return Vec::new(),
            // All whom it knew are gone.
            Phase::Joined => self.begin(now),
            Phase::Resting { at } if now >= *at => self.begin(now),
            Phase::Resting { .. } | Phase::Asking { .. } => {}
        }
        let Phase::Asking { at, left, handfuls } = &mut self.phase else {
            return Vec::new();
        };
        if now < *at {
            return Vec::new();
        }
        let mut sources = Vec::new();
        // What has nothing to offer takes no time.
        if !remembered {
            left.retain(|source| *source != Source::Remembered);
        }
        let mut more = remembered && *handfuls < MAX_HANDFULS;
        match left.pop_front() {
            Some(Source::Remembered) => {}
            Some(other) => sources.push(other),
            None if more => {}
            None => {
                self.rest(now);
                return Vec::new();
            }
        }
        if more {
            *handfuls += 1;
            more = *handfuls < MAX_HANDFULS;
            sources.push(Source::Remembered);
        }
        *at = now + STEP;
        if left.is_empty() && !more {
            self.rest(now);
        }
        sources
    }

    /// A network has come up: those who could not be reached before are tried again at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.is_resting() {
            self.wait = FIRST_WAIT;
            self.begin(now);
        }
    }

    /// Nobody at all is connected any more: the next attempt is soon, though not at once, as whoever hangs up on us may do so again.
    pub(super) fn lost(&mut self, now: Instant) {
        if let Phase::Resting { at } = &mut self.phase {
            *at = (now + FIRST_WAIT).min(*at);
            self.wait = FIRST_WAIT * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is dialled in which second, with `remembered` handfuls of peers.
    fn run(contact: &mut Contact, start: Instant, remembered: u32, seconds: u64) -> Vec<(u64, Source)> {
        let mut handfuls = remembered;
        let mut dialled = Vec::new();
        for second in 0..seconds {
            for source in contact.due(start + Duration::from_secs(second), false, handfuls > 0) {
                if source == Source::Remembered {
                    handfuls -= 1;
                }
                dialled.push((second, source));
            }
        }
        dialled
    }

    #[test]
    fn each_source_is_a_second_after_the_one_before() {
        let start = Instant::now();
        let mut contact = Contact::new(true, true, start);
        assert_eq!(
            run(&mut contact, start, 2, 10),
            [
                (0, Source::Remembered),
                (1, Source::Listed),
                (1, Source::Remembered),
                (2, Source::Dataset)
            ]
        );
        assert!(contact.is_resting());
        // Who has nobody to remember begins with the list.
        let mut contact = Contact::new(true, true, start);
        assert_eq!(
            run(&mut contact, start, 0, 10),
            [(0, Source::Listed), (1, Source::Dataset)]
        );
        let mut contact = Contact::new(false, true, start);
        assert_eq!(run(&mut contact, start, 0, 10), [(0, Source::Dataset)]);
    }

    #[test]
    fn one_attempt_dials_some_of_those_it_remembers_and_the_next_goes_on() {
        let start = Instant::now();
        let mut contact = Contact::new(true, false, start);
        let dialled = run(&mut contact, start, 2 * MAX_HANDFULS, 60);
        let handfuls = |from: u64, to: u64| {
            let of = dialled
                .iter()
                .filter(|(at, source)| (from..to).contains(at) && *source == Source::Remembered);
            u32::try_from(of.count()).unwrap()
        };
        assert_eq!(handfuls(0, 20), MAX_HANDFULS);
        assert_eq!(handfuls(20, 60), MAX_HANDFULS);
    }

    #[test]
    fn attempts_are_ever_rarer_until_somebody_is_reached_or_a_network_comes_up() {
        let start = Instant::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let mut contact = Contact::new(true, false, start);
        let dialled = run(&mut contact, start, 0, 3000);
        let seconds: Vec<u64> = dialled.iter().map(|(at, _)| *at).collect();
        assert_eq!(seconds[..6], [0, 20, 60, 140, 300, 620]);
        assert_eq!(seconds[7] - seconds[6], MAX_WAIT.as_secs());
        contact.hurry(second(3000));
        assert_eq!(contact.due(second(3000), false, false), [Source::Listed]);
        // Under way, it is not begun again.
        let next = contact.next();
        assert!(contact.due(second(3001), true, false).is_empty());
        assert!(next.is_some() && contact.next().is_none());
        assert!(contact.due(second(9000), true, false).is_empty());
        // All are lost.
        assert_eq!(contact.due(second(9001), false, true), [Source::Remembered]);
        assert_eq!(
            contact.due(second(9002), false, true),
            [Source::Listed, Source::Remembered]
        );
    }

    #[test]
    fn who_has_lost_everybody_tries_again_soon() {
        let start = Instant::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let mut contact = Contact::new(true, false, start);
        run(&mut contact, start, 0, 400);
        contact.lost(second(400));
        assert!(contact.due(second(419), false, false).is_empty());
        assert_eq!(contact.due(second(420), false, false), [Source::Listed]);
        contact.lost(second(421));
        assert!(contact.due(second(440), false, false).is_empty());
    }

    #[test]
    fn without_a_list_and_a_dataset_nobody_is_dialled() {
        let start = Instant::now();
        let mut contact = Contact::new(false, false, start);
        assert!(run(&mut contact, start, 5, 100).is_empty());
        assert_eq!(contact.next(), None);
        contact.hurry(start);
        assert_eq!(contact.next(), None);
    }
}
