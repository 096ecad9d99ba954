//! Topics of names: one for each, made of what the name is in the DHTs.

use libp2p::gossipsub::IdentTopic;
use multibase::Base;

use crate::routing::records::{MAX_VALUE_BYTES, MAX_VALUE_KEY_BYTES};

/// What the topic of a name begins with.
const PREFIX: &str = "/record/";
/// The longest topic that is looked at: that of the longest key there may be.
pub(super) const MAX_TOPIC_BYTES: usize = PREFIX.len() + MAX_VALUE_KEY_BYTES.div_ceil(3) * 4;
/// Topics that are remembered of one peer besides those that this peer is in: as many as an odfs is in.
pub(super) const MAX_OTHER_TOPICS: usize = 1024;
/// The longest record.
pub(super) const MAX_RECORD_BYTES: usize = MAX_VALUE_BYTES;

/// The topic of the name with this routing key.
pub(super) fn topic(key: &[u8]) -> IdentTopic {
    IdentTopic::new(format!("{PREFIX}{}", Base::Base64Url.encode(key)))
}

/// The routing key of the name that a topic is of.
pub(super) fn key(topic: &str) -> Option<Vec<u8>> {
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
