//! What is said over PubSub, passed between the swarm and those who judge it.

use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::request_response;
use tokio::time::Instant;

use super::Driver;
use crate::pubsub::PubSubEvent;
use crate::pubsub::fetch::{Answer, Wanted};
use crate::pubsub::gossip::key_of;
use crate::pubsub::link::{Command, Event};

impl Driver {
    pub(super) fn on_pubsub_command(&mut self, command: Command) {
        let Some(pubsub) = self.swarm.behaviour_mut().pubsub.as_mut() else {
            return;
        };
        match command {
            Command::Join(keys) => {
                for (peer, key) in pubsub.gossip.join(&keys) {
                    self.tell(Event::Joined { peer, key });
                }
            }
            Command::Leave(key) => pubsub.gossip.leave(&key),
            Command::Publish { key, record, reply } => {
                let said = pubsub.gossip.publish(&key, record);
                // Who is connected may be about to tell that it listens.
                if said || !self.state.peers.is_empty() {
                    self.state.announced_at = Some(Instant::now());
                }
                let _ = reply.send(said);
            }
            Command::Judge { id, from, verdict } => pubsub.gossip.judge(&id, &from, verdict),
            Command::Fetch { peer, key, reply } => {
                // It would be dialled; who is gone has nothing to say.
                if pubsub.fetch.is_connected(&peer) {
                    let id = pubsub.fetch.send_request(&peer, Wanted(key));
                    self.state.fetches.insert(id, reply);
                }
            }
            Command::Answer { channel, answer } => {
                let _ = pubsub.fetch.send_response(channel, answer);
            }
        }
    }

    pub(super) fn on_pubsub(&mut self, event: PubSubEvent) {
        match event {
            PubSubEvent::Gossip(gossipsub::Event::Message {
                propagation_source: from,
                message_id: id,
                message,
            }) => {
                let heard = key_of(&message.topic).map(|key| Event::Heard {
                    key,
                    record: message.data,
                    id: id.clone(),
                    from,
                });
                if !heard.is_some_and(|heard| self.tell(heard)) {
                    // More than can be judged: it will be said again.
                    self.on_pubsub_command(Command::Judge {
                        id,
                        from,
                        verdict: MessageAcceptance::Ignore,
                    });
                }
            }
            PubSubEvent::Gossip(gossipsub::Event::Subscribed { peer_id: peer, topic }) => {
                if let Some(pubsub) = self.swarm.behaviour_mut().pubsub.as_mut()
                    && pubsub.gossip.is_in(&topic)
                    && let Some(key) = key_of(&topic)
                {
                    if pubsub.gossip.publish_unsaid(&topic) {
                        self.state.announced_at = Some(Instant::now());
                    }
                    self.tell(Event::Joined { peer, key });
                }
            }
            PubSubEvent::Gossip(_) => {}
            PubSubEvent::Fetch(event) => self.on_fetch(event),
        }
    }

    fn on_fetch(&mut self, event: request_response::Event<Wanted, Answer>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request { request, channel, .. } => self.on_asked(&peer, request, channel),
                request_response::Message::Response { request_id, response } => {
                    let record = match response {
                        Answer::Found(record) => Some(record),
                        Answer::NotFound | Answer::Failed => None,
                    };
                    if let Some(reply) = self.state.fetches.remove(&request_id) {
                        let _ = reply.send(record);
                    }
                }
            },
            request_response::Event::OutboundFailure { request_id, .. } => {
                self.state.fetches.remove(&request_id);
            }
            request_response::Event::InboundFailure { .. } | request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_asked(&mut self, peer: &PeerId, wanted: Wanted, channel: request_response::ResponseChannel<Answer>) {
        let pubsub = self.swarm.behaviour_mut().pubsub.as_mut();
        let may_ask = pubsub.is_some_and(|pubsub| pubsub.gossip.may_ask(peer));
        let asked = Event::Asked { key: wanted.0, channel };
        let refused = if may_ask {
            self.heard.try_send(asked).err().map(|full| full.into_inner())
        } else {
            Some(asked)
        };
        if let Some(Event::Asked { channel, .. }) = refused {
            let answer = Answer::Failed;
            self.on_pubsub_command(Command::Answer { channel, answer });
        }
    }

    /// Whether there was room for it.
    fn tell(&self, event: Event) -> bool {
        self.heard.try_send(event).is_ok()
    }
}
