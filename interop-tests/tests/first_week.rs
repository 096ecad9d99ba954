//! A person's first week with odfs: twelve tasks through the binary, each with all that the person sees, and what odfs
//! answers on the way.
//!
//! What is seen lies beside the tests in `first_week/*.txt`, to be read as the person would. `ODFS_BLESS=1` rewrites them.

mod told;

#[cfg(target_os = "linux")]
mod tasks;
#[cfg(target_os = "linux")]
mod transcript;
