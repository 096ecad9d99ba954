//! One task that owns the swarm, and the cloneable handle everything else holds.
