//! From a name to a verified local dataset, resumable.
