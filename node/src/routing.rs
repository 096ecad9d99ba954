//! The two Kademlia DHTs, their record store and the provider schedule.
