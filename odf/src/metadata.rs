//! Metadata blocks, events, schemas and identities as plain types.
