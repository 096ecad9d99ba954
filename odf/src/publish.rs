//! From a head to a pinned root, a signed name and provider records.
