//! What the preloaded library (`lockstep.c`) gives besides what it takes the place of: the clock of the whole, and of one machine.
#![allow(unsafe_code)]

use std::ffi::CStr;

/// A function of the library, by its name; none if it is not preloaded.
fn symbol(name: &CStr) -> Option<*mut libc::c_void> {
    // SAFETY: the name ends with a zero byte; looking a symbol up has no other condition.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

fn number(name: &CStr) -> u64 {
    symbol(name).map_or(0, |found| {
        // SAFETY: both functions of the library that give a number take nothing and give a uint64_t.
        let function: extern "C" fn() -> u64 = unsafe { std::mem::transmute(found) };
        function()
    })
}

/// Whether this process has the clock, the randomness and the order of threads that a seed decides.
pub(crate) fn is_here() -> bool {
    symbol(c"lockstep_trace").is_some() && std::env::var_os("LOCKSTEP_SEED").is_some()
}

/// Nanoseconds since the beginning.
pub(crate) fn now() -> u64 {
    number(c"lockstep_now")
}

/// A number in which everything is mixed that was decided so far: two runs that are alike have the same.
pub(crate) fn trace() -> u64 {
    number(c"lockstep_trace")
}

/// So much time passes at once: what waits for a time in between wakes once, at its end.
pub(crate) fn jump(nanoseconds: u64) {
    if let Some(found) = symbol(c"lockstep_jump") {
        // SAFETY: the function takes a uint64_t and gives nothing.
        let function: extern "C" fn(u64) = unsafe { std::mem::transmute(found) };
        function(nanoseconds);
    }
}

/// Sets the wall clock of this thread, and of those that it starts later, off by so many nanoseconds.
pub(crate) fn skew(nanoseconds: i64) {
    if let Some(found) = symbol(c"lockstep_skew") {
        // SAFETY: the function takes an int64_t and gives nothing.
        let function: extern "C" fn(i64) = unsafe { std::mem::transmute(found) };
        function(nanoseconds);
    }
}
