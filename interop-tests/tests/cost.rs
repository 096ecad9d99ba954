//! What one command costs, where that can be told without a clock.

/// Where an ELF file says what kind it is, and the kind of one that lies at a fixed place. The loader then has no addresses to
/// put right, of which there are some 270,000: see `cli/build.rs`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_binary_has_a_fixed_place() {
    const KIND: usize = 16;
    const FIXED: [u8; 2] = 2_u16.to_ne_bytes();
    let binary = std::fs::read(interop_tests::peers::odfs_binary().unwrap()).unwrap();
    assert_eq!(binary[KIND..KIND + 2], FIXED);
}
