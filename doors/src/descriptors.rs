//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is not asked for: programs that a command starts inherit the limit, and some go through all of it.
const MAX_DESCRIPTORS: u64 = 1 << 16;
/// What is assumed where the system does not say.
const ASSUMED: u64 = 256;

/// Raises the limit as far as the system lets anybody. Returns what it is then.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted(current, maximum);
    if current.is_some_and(|current| current < wanted) {
        let new = Rlimit {
            current: Some(wanted),
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, new) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
    descriptors()
}

/// How many descriptors this process may have now.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile)
        .current
        .unwrap_or(MAX_DESCRIPTORS)
        .max(ASSUMED)
}

/// The limit that is asked for: never less than it is.
fn wanted(current: Option<u64>, maximum: Option<u64>) -> u64 {
    let most = maximum.unwrap_or(u64::MAX).min(MAX_DESCRIPTORS);
    most.max(current.unwrap_or(MAX_DESCRIPTORS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_allowed_and_never_lowered() {
        assert_eq!(wanted(Some(1024), Some(4096)), 4096);
        assert_eq!(wanted(Some(1024), Some(MAX_DESCRIPTORS + 1)), MAX_DESCRIPTORS);
        assert_eq!(wanted(Some(1024), None), MAX_DESCRIPTORS);
        assert_eq!(wanted(Some(MAX_DESCRIPTORS + 1), None), MAX_DESCRIPTORS + 1);
        assert!(raise_descriptors() >= ASSUMED);
    }
}
