//! Things that start on first use, once, however many commands want them at the same time.

use std::sync::{Mutex, OnceLock, PoisonError};

/// A value that is made on first use. A failed start is tried again by the next user.
pub(super) struct Lazy<T> {
    value: OnceLock<T>,
    starting: Mutex<()>,
}

impl<T> Lazy<T> {
    pub(super) const fn new() -> Self {
        Self {
            value: OnceLock::new(),
            starting: Mutex::new(()),
        }
    }

    /// The value, if it was started.
    pub(super) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value; starts it if nobody has. Others who want it meanwhile wait for the same start.
    pub(super) fn get_or_start<E>(&self, start: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = start()?;
        Ok(self.value.get_or_init(|| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_can_be_repeated_and_a_good_one_happens_once() {
        let lazy = Lazy::new();
        assert_eq!(lazy.get_or_start(|| Err::<u8, _>("no")), Err("no"));
        assert_eq!(lazy.get(), None);
        assert_eq!(lazy.get_or_start(|| Ok::<_, &str>(1)), Ok(&1));
        assert_eq!(lazy.get_or_start(|| Ok::<_, &str>(2)), Ok(&1));
    }
}
