//! Transports and behaviours composed into one swarm.
