//! IPNS records of other peers, for the name of a fixed key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use odf_node::ipns::Name;
use odf_node::ipns::record::Record;
use std::time::UNIX_EPOCH;

const NAME: &str = "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8";

fuzz_target!(|data: &[u8]| {
    let name: Name = NAME.parse().expect("a name");
    if let Ok(record) = Record::verify_signature(name, data.to_vec().into()) {
        let _ = record.path();
        let _ = record.is_expired(UNIX_EPOCH);
        let _ = record.compare(&record);
    }
});
