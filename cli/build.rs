//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Position-independent, the binary has 270,000 addresses that the loader puts right at every start, in 4.6 MiB of pages that
    // are then its own: 5 ms of each command, and 11 MiB of a node's memory with the list of them. Linked to a fixed place, as
    // programs in Go are, it has none. Heap, stacks and shared libraries still lie where the system puts them.
    let is = |key, value: &str| std::env::var(key).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bin=odfs=-no-pie");
    }
}
