//! Own and followed names over PubSub: what is heard is checked and kept, what is new is said, and said again.
//!
//! One task, the [`Listener`], decides which names are listened to, in what order others are heard, and when a
//! record is said again. The handle sends it [`Wish`]es.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::gossipsub::{MessageAcceptance, MessageId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Names;
use super::inbox::Heard;
use super::record::{Name, Record};
use super::wish::Wish;
use crate::pubsub::fetch::Answer;
use crate::pubsub::link::{Command, Event, Link};
use crate::threads::blocking;

/// Names that are listened to at the same time; the one used longest ago makes room. All of them are told to each peer that
/// connects, 80 bytes each, and looked after every second.
pub const MAX_TOPICS: usize = 1024;
/// Known names that are looked at after the start to find those, so that the start of a peer with a hundred thousand of its
/// own costs no more. Followed ones have precedence among these.
pub(super) const MAX_LOOKED_AT: usize = 16 * MAX_TOPICS;
/// How soon after the start: commands that end at once listen to nothing but what they publish.
const SETTLED: Duration = Duration::from_secs(1);
/// How often the newest record of each is said again; Kubo's figure.
pub const RESAY_INTERVAL: Duration = Duration::from_secs(600);
/// How long a peer that joins is given to answer when it is asked for its record; Kubo's figure.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);
/// Records fetched at the same time.
const MAX_FETCHES: usize = 16;
/// Peers that have joined a topic and wait to be asked.
const MAX_JOINED: usize = 4096;
/// Questions that are answered at the same time. One more fails.
const MAX_ANSWERS: usize = 64;
/// Events that are looked at in one go.
const AT_ONCE: usize = 64;
/// Between wake-ups when nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// The names that are listened to.
#[derive(Default)]
struct Topics {
    names: HashMap<Name, (u64, Instant)>,
    by_use: BTreeMap<u64, Name>,
    by_due: BTreeSet<(Instant, Name)>,
    uses: u64,
}

/// What adding a name to [`Topics`] means.
#[derive(Debug, PartialEq, Eq)]
struct Added {
    is_new: bool,
    makes_room: Option<Name>,
}

impl Topics {
    /// Adds a name whose record is to be said again at `due`, or notes that it was used.
    fn add(&mut self, name: Name, due: Instant) -> Added {
        let is_new = !self.remove(&name);
        let oldest = (self.names.len() >= MAX_TOPICS).then(|| self.by_use.first_key_value().map(|(_, name)| *name));
        let makes_room = oldest.flatten().filter(|oldest| self.remove(oldest));
        self.uses += 1;
        self.names.insert(name, (self.uses, due));
        self.by_use.insert(self.uses, name);
        self.by_due.insert((due, name));
        Added { is_new, makes_room }
    }

    fn remove(&mut self, name: &Name) -> bool {
        let Some((used, due)) = self.names.remove(name) else {
            return false;
        };
        self.by_use.remove(&used);
        self.by_due.remove(&(due, *name));
        true
    }

    /// Puts off when a name is said again, if it is listened to.
    fn put_off(&mut self, name: &Name, until: Instant) {
        if let Some((_, due)) = self.names.get_mut(name) {
            self.by_due.remove(&(*due, *name));
            *due = until;
            self.by_due.insert((until, *name));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// One name that is due, put off till the next time.
    fn take_due(&mut self, now: Instant) -> Option<Name> {
        let (due, name) = *self.by_due.first()?;
        if due > now {
            return None;
        }
        self.put_off(&name, now + RESAY_INTERVAL);
        Some(name)
    }
}

/// Something heard, with whom to tell what it is worth.
struct Message {
    key: Vec<u8>,
    record: Vec<u8>,
    id: MessageId,
    from: PeerId,
}

/// See the module's words.
pub(crate) struct Listener {
    names: Names,
    link: Link,
    wishes: mpsc::Receiver<Wish>,
    topics: Topics,
    /// Who is to be asked for what, in the order in which they joined.
    joined: VecDeque<(PeerId, Name)>,
    /// The same, and what is being asked.
    wanted: HashSet<(PeerId, Name)>,
    fetches: JoinSet<(PeerId, Name)>,
    answers: JoinSet<()>,
}

impl Listener {
    /// A listener for the names of a peer. Their handle is to have the other end of `wishes`.
    pub(crate) fn new(names: Names, link: Link, wishes: mpsc::Receiver<Wish>) -> Self {
        Self {
            names,
            link,
            wishes,
            topics: Topics::default(),
            joined: VecDeque::new(),
            wanted: HashSet::new(),
            fetches: JoinSet::new(),
            answers: JoinSet::new(),
        }
    }

    /// Listens for as long as the peer runs.
    pub(crate) async fn run(mut self) {
        let settled = Instant::now() + SETTLED;
        let mut settling = true;
        let mut events = Vec::with_capacity(AT_ONCE);
        loop {
            let due = if settling {
                settled
            } else {
                self.topics.next_due().unwrap_or_else(|| Instant::now() + LONG)
            };
            tokio::select! {
                Some(wish) = self.wishes.recv() => self.grant(wish).await,
                count = self.link.events.recv_many(&mut events, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.take(&mut events).await;
                }
                Some(fetched) = self.fetches.join_next() => {
                    if let Ok(fetched) = fetched {
                        self.wanted.remove(&fetched);
                    }
                }
                Some(_) = self.answers.join_next() => {}
                () = sleep_until(due) => {
                    if settling {
                        settling = false;
                        self.hear_kept().await;
                    } else if let Some(name) = self.topics.take_due(Instant::now()) {
                        self.say_again(name).await;
                    }
                }
            }
            self.fetch_from_joined();
        }
    }

    async fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Hear(name) => self.hear(vec![name]).await,
            Wish::Ignore(name) => {
                if self.topics.remove(&name) {
                    self.send(Command::Leave(name.routing_key())).await;
                }
            }
            Wish::Say(record, said) => {
                self.hear(vec![record.name()]).await;
                self.say(&record).await;
                let _ = said.send(());
            }
        }
    }

    /// Listens to what is said of `names`, the most important last.
    async fn hear(&mut self, names: Vec<Name>) {
        let now = Instant::now();
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX).max(1);
        let mut keys = Vec::new();
        for (name, number) in names.into_iter().zip(1..) {
            // One after the other and not all at once.
            let added = self.topics.add(name, now + RESAY_INTERVAL * number / count);
            if added.is_new {
                keys.push(name.routing_key());
            }
            if let Some(oldest) = added.makes_room {
                self.send(Command::Leave(oldest.routing_key())).await;
            }
        }
        if !keys.is_empty() {
            self.send(Command::Join(keys)).await;
        }
    }

    /// Listens to what is said of the names that are kept, which nobody has mentioned since the start.
    async fn hear_kept(&mut self) {
        let states = self.names.inner.states.clone();
        match blocking(move || states.some_kept(MAX_LOOKED_AT, MAX_TOPICS)).await {
            Ok(mut kept) => {
                kept.retain(|name| !self.topics.names.contains_key(name));
                kept.drain(
                    ..(kept.len() + self.topics.names.len())
                        .saturating_sub(MAX_TOPICS)
                        .min(kept.len()),
                );
                self.hear(kept).await;
            }
            Err(error) => tracing::warn!(%error, "known names are not heard over PubSub"),
        }
    }

    /// Says a record to everybody who listens.
    async fn say(&mut self, record: &Record) {
        let name = record.name();
        self.topics.put_off(&name, Instant::now() + RESAY_INTERVAL);
        let (reply, said) = oneshot::channel();
        let (key, record) = (name.routing_key(), record.bytes().to_vec());
        self.send(Command::Publish { key, record, reply }).await;
        if let Ok(said) = said.await {
            tracing::debug!(%name, said, "said over PubSub");
        }
    }

    async fn say_again(&mut self, name: Name) {
        match self.names.entry(&name).await.map(|entry| entry.record(&name)) {
            Ok(Some(record)) if !record.is_expired(self.names.inner.clock.now()) => self.say(&record).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%name, %error, "the record is not said again"),
        }
    }

    async fn take(&mut self, events: &mut Vec<Event>) {
        let mut messages = Vec::new();
        for event in events.drain(..) {
            match event {
                Event::Heard { key, record, id, from } => messages.push(Message { key, record, id, from }),
                Event::Joined { peer, key } => {
                    if let Some(name) = Name::from_routing_key(&key)
                        && self.wanted.len() < MAX_JOINED
                        && self.wanted.insert((peer, name))
                    {
                        self.joined.push_back((peer, name));
                    }
                }
                Event::Asked { key, channel } => {
                    if self.answers.len() < MAX_ANSWERS {
                        let (names, commands) = (self.names.clone(), self.link.commands.clone());
                        self.answers.spawn(async move {
                            let answer = names.answer(&key).await;
                            let _ = commands.send(Command::Answer { channel, answer }).await;
                        });
                    } else {
                        let answer = Answer::Failed;
                        self.send(Command::Answer { channel, answer }).await;
                    }
                }
            }
        }
        if !messages.is_empty() {
            self.judge(messages).await;
        }
    }

    /// Checks what was heard, keeps what is better, and tells the swarm what it is worth.
    async fn judge(&mut self, messages: Vec<Message>) {
        let inbox = self.names.inner.inbox.clone();
        let judged = blocking(move || {
            let judge = |message: Message| {
                let heard = inbox.hear(&message.key, &message.record);
                (message, heard)
            };
            messages.into_iter().map(judge).collect::<Vec<_>>()
        });
        for (Message { key, id, from, .. }, heard) in judged.await {
            let verdict = match heard {
                Heard::Better => MessageAcceptance::Accept,
                Heard::Known => MessageAcceptance::Ignore,
                Heard::Invalid => MessageAcceptance::Reject,
            };
            if let (Heard::Better, Some(name)) = (heard, Name::from_routing_key(&key)) {
                tracing::debug!(%name, %from, "a newer record was heard over PubSub");
                // Whoever listens has just heard it.
                self.topics.put_off(&name, Instant::now() + RESAY_INTERVAL);
            }
            self.send(Command::Judge { id, from, verdict }).await;
        }
    }

    /// Asks those who have joined for what was said before this peer was there to hear it.
    fn fetch_from_joined(&mut self) {
        while self.fetches.len() < MAX_FETCHES
            && let Some((peer, name)) = self.joined.pop_front()
        {
            if !self.topics.names.contains_key(&name) {
                self.wanted.remove(&(peer, name));
                continue;
            }
            let (names, commands) = (self.names.clone(), self.link.commands.clone());
            self.fetches.spawn(async move {
                let (reply, answer) = oneshot::channel();
                let key = name.routing_key();
                let fetch = Command::Fetch {
                    peer,
                    key: key.clone(),
                    reply,
                };
                if commands.send(fetch).await.is_ok()
                    && let Ok(Ok(Some(record))) = timeout(FETCH_PATIENCE, answer).await
                {
                    let inbox = names.inner.inbox.clone();
                    let heard = blocking(move || inbox.hear(&key, &record)).await;
                    tracing::debug!(%name, %peer, ?heard, "fetched");
                }
                (peer, name)
            });
        }
    }

    async fn send(&self, command: Command) {
        // When the swarm is gone, this task is about to be.
        let _ = self.link.commands.send(command).await;
    }
}

impl Names {
    /// Listens to what is said of a name over PubSub, from now on.
    pub(super) async fn hear(&self, name: &Name) {
        self.wish(Wish::Hear(*name)).await;
    }

    /// Listens no longer.
    pub(super) async fn ignore(&self, name: &Name) {
        self.wish(Wish::Ignore(*name)).await;
    }

    /// Says a record of an own name to connected peers that listen. When this returns it is on its way.
    pub(super) async fn say(&self, record: &Record) {
        let (reply, said) = oneshot::channel();
        self.wish(Wish::Say(record.clone(), reply)).await;
        // Nothing comes without PubSub, or when the peer stops.
        let _ = said.await;
    }

    async fn wish(&self, wish: Wish) {
        if let Some(wishes) = &self.inner.wishes {
            let _ = wishes.send(wish).await;
        }
    }

    /// What a peer that asks for a record is told: only own and followed names are answered for.
    async fn answer(&self, key: &[u8]) -> Answer {
        let Some(name) = Name::from_routing_key(key) else {
            return Answer::NotFound;
        };
        match self.entry(&name).await {
            Ok(entry) if entry.is_kept() => {
                let record = entry.record(&name);
                let valid = record.filter(|record| !record.is_expired(self.inner.clock.now()));
                valid.map_or(Answer::NotFound, |record| Answer::Found(record.bytes().to_vec()))
            }
            Ok(_) => Answer::NotFound,
            Err(error) => {
                tracing::warn!(%name, %error, "the record cannot be read for a peer that asks");
                Answer::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_topic_over_the_limit_makes_room_of_the_one_used_longest_ago() {
        let (mut topics, now) = (Topics::default(), Instant::now());
        let names: Vec<Name> = (0..=MAX_TOPICS).map(|_| Name::from_peer_id(PeerId::random())).collect();
        for name in &names[..MAX_TOPICS] {
            let added = topics.add(*name, now);
            assert!(added.is_new && added.makes_room.is_none());
        }
        let again = topics.add(names[0], now);
        assert!(!again.is_new && again.makes_room.is_none());
        let added = topics.add(names[MAX_TOPICS], now);
        assert_eq!(added.makes_room, Some(names[1]));
        assert_eq!(topics.names.len(), MAX_TOPICS);
        assert_eq!((topics.by_use.len(), topics.by_due.len()), (MAX_TOPICS, MAX_TOPICS));
        // Each is due once, and then again after the interval.
        let due = std::iter::from_fn(|| topics.take_due(now)).count();
        assert_eq!(due, MAX_TOPICS);
        assert_eq!(topics.next_due(), Some(now + RESAY_INTERVAL));
        assert!(topics.remove(&names[0]) && !topics.remove(&names[0]) && !topics.remove(&names[1]));
    }

    #[tokio::test]
    async fn one_who_joins_over_the_limit_is_not_asked() {
        let node = crate::peer::tests::start().await;
        let (link, _swarm) = crate::pubsub::link::pair();
        let (_wishes, granted) = mpsc::channel(1);
        let mut listener = Listener::new(node.names().clone(), link, granted);
        let key = Name::from_peer_id(PeerId::random()).routing_key();
        let joined = |peer| Event::Joined { peer, key: key.clone() };
        let first = PeerId::random();
        let mut events: Vec<Event> = [first, first].map(joined).into();
        events.extend((0..MAX_JOINED).map(|_| joined(PeerId::random())));
        listener.take(&mut events).await;
        // Whoever joins twice is asked once.
        assert_eq!((listener.joined.len(), listener.wanted.len()), (MAX_JOINED, MAX_JOINED));
        assert_eq!(listener.joined[0].0, first);
    }
}
