//! Ids, hashes, names, times and addresses as people write them: what is read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use odf_dataset::DatasetName;
use odf_metadata::{DatasetId, Multihash, Timestamp};
use odf_ipfs::pull::Address;
use odf_ipfs::ticket::Ticket;
use odf_node::ipns::Name;
use std::fmt::{Debug, Display};
use std::str::FromStr;

fn round<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Debug,
{
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("its own text"), value);
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = Multihash::from_bytes(data);
    let _ = DatasetId::from_bytes(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    round::<Multihash>(text);
    round::<DatasetId>(text);
    round::<Timestamp>(text);
    round::<DatasetName>(text);
    round::<Address>(text);
    round::<Ticket>(text);
    round::<Name>(text);
});
