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

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(process::run())
}
