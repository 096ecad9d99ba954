//! What is known of the networks just after the start, before anybody is in a table.

/// Where peers may still come from, just after the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) lan: bool,
    pub(crate) wan: bool,
}

/// What is known of the networks before anybody is in a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    /// Somebody on the local network was reached since the start.
    pub(crate) lan: bool,
    /// The same on the internet.
    pub(crate) wan: bool,
    /// All who can be dialled to join the public network have been, none is under way, and all who are connected have said what
    /// they speak: nobody comes by himself.
    pub(crate) given_up: bool,
}
