//! Physical (SHA3-256) and logical (arrow0-sha3-256) hashes.
