//! Bitswap 1.2: sessions that fetch, a server that answers, pure state machines inside.
