//! The `odfs` binary: arguments, settings, output. Only this package prints or reads the environment.

mod args;
mod attach;
mod commands;
mod environment;
mod failure;
#[cfg(test)]
mod freezer;
mod io;
mod output;
mod printable;
mod process;
mod session;
mod settings;
mod workspace;

/// See the root `Cargo.toml` for why.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads when it starts (jemalloc(3), TUNING). Memory that is free goes back after a second, where the
/// default is ten, and threads share four arenas, where the default is four for each processor: each arena keeps what its threads
/// took at their busiest. Nor has each thread a cache of its own: those of a node's thirty threads kept as much as the node had
/// in use, and more with every update; without them blocks of 4 KiB move 4 % slower, everything else as fast.
#[expect(unsafe_code, reason = "the allocator looks for a symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 43] = b"narenas:4,dirty_decay_ms:1000,tcache:false\0";

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(process::run())
}
