//! Manifests as people write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use odf_metadata::yaml;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for snapshot in yaml::read_snapshots(text).unwrap_or_default() {
        let written = yaml::write_snapshot(&snapshot).expect("what was read can be written");
        let read = yaml::read_snapshots(&written).expect("what was written can be read");
        assert_eq!(read, [snapshot]);
    }
    let _ = yaml::read_events(text);
    let _ = yaml::read_blocks(text);
});
