//! Named private keys on disk, readable by their owner only, in Kubo's file form.
