//! IPNS over PubSub on the wire: records of names, told to whoever listens the moment they are new.
//!
//! Each name is a topic of its own, and a message on it is a signed record as it is. libp2p's gossipsub passes messages on;
//! what it lacks is here: a guard before it, and the protocol by which who joins a topic fetches the record that
//! it has missed. All of it is what Kubo does with `Ipns.UsePubsub`. Nothing here knows what a good record is: what was
//! heard goes to [`ipns`](crate::ipns) as an [`Event`], and the verdict comes back as a [`Command`].
//!
//! # Bounds
//! - What one peer may send, in messages, subscriptions and control messages, is a [budget](budget) of its own; what is over
//!   it is dropped before gossipsub remembers anything of it, and who goes on is hung up on.
//! - Messages are taken on topics only that this peer is in, and no longer than a record may be.
//! - Of one peer those topics are remembered that this peer is in too, and [`MAX_OTHER_TOPICS`] others, in case it joins one.
//! - A request to fetch is [`fetch::MAX_WANTED_BYTES`] long, an answer a little more than a record.
//!
//! libp2p's own scores are off: they judge by how much a peer delivers, and here nobody has anything to deliver for hours.

mod budget;
pub(crate) mod fetch;
pub(crate) mod gossip;
pub(crate) mod link;

use libp2p::gossipsub::IdentTopic;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use multibase::Base;

use crate::routing::records::{MAX_VALUE_BYTES, MAX_VALUE_KEY_BYTES};

/// What the topic of a name begins with.
const PREFIX: &str = "/record/";
/// The longest topic that is looked at: that of the longest key there may be.
const MAX_TOPIC_BYTES: usize = PREFIX.len() + MAX_VALUE_KEY_BYTES.div_ceil(3) * 4;
/// Topics that are remembered of one peer besides those that this peer is in: as many as an odfs is in.
const MAX_OTHER_TOPICS: usize = 1024;
/// The longest record.
const MAX_RECORD_BYTES: usize = MAX_VALUE_BYTES;

/// Both protocols.
#[derive(NetworkBehaviour)]
pub(crate) struct PubSub {
    pub(crate) gossip: gossip::Gossip,
    pub(crate) fetch: fetch::Fetch,
}

impl PubSub {
    /// A peer that is in no topic yet and signs its messages with `keypair`. Nothing if libp2p refuses the settings, which
    /// are constants.
    pub(crate) fn new(keypair: Keypair) -> Option<Self> {
        Some(Self {
            gossip: gossip::Gossip::new(keypair)?,
            fetch: fetch::behaviour(),
        })
    }
}

/// The topic of the name with this routing key.
fn topic(key: &[u8]) -> IdentTopic {
    IdentTopic::new(format!("{PREFIX}{}", Base::Base64Url.encode(key)))
}

/// The routing key of the name that a topic is of.
fn key(topic: &str) -> Option<Vec<u8>> {
    let text = topic.strip_prefix(PREFIX).filter(|_| topic.len() <= MAX_TOPIC_BYTES)?;
    Base::Base64Url.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipns::Name;

    #[test]
    fn a_topic_is_that_of_kubo() {
        // As `ipfs name pubsub subs` and `ipfs pubsub ls` of Kubo 0.43 have them.
        let name: Name = "k51qzi5uqu5dlacrsai88zilqe5qyc96ddjr7ygu9zvyc589027ysqnmldvgnl"
            .parse()
            .unwrap();
        let topic = topic(&name.routing_key()).hash().into_string();
        assert_eq!(
            topic,
            "/record/L2lwbnMvACQIARIgzM6bhKAh7NPYQMJ8Zsco_651j8waauvSMEHnpZfgJxE"
        );
        assert_eq!(key(&topic), Some(name.routing_key()));
        assert!(topic.len() <= MAX_TOPIC_BYTES);
        assert_eq!(key("/other/L2lwbnMvACQIARIg"), None);
        assert_eq!(key("/record/!"), None);
        let longest = super::topic(&[7; MAX_VALUE_KEY_BYTES]).hash().into_string();
        assert_eq!(key(&longest), Some(vec![7; MAX_VALUE_KEY_BYTES]));
        let one_over = super::topic(&[7; MAX_VALUE_KEY_BYTES + 3]).hash().into_string();
        assert_eq!(key(&one_over), None);
    }
}
