//! Physical hashes of several files side by side.

use std::io::{self, Read};

use odf_metadata::Multihash;

use super::keccak::{self, Sponge};

/// How much of each file is read at a time: all of them together stay in a core's own cache.
const READ_BYTES: u64 = 64 << 10;

struct Lane<K, R> {
    key: K,
    reader: R,
    sponge: Sponge,
    size: u64,
}

/// Reads each that `next` gives to its end, and tells `done` its key, physical hash and length in bytes, in the order in which
/// they end. As many are read at a time as the processor hashes in little more than the time of one, and what was given is
/// read to the end even if `next` gives no more.
pub fn physical_hashes<K, R: Read>(
    mut next: impl FnMut() -> Option<(K, R)>,
    mut done: impl FnMut(K, io::Result<(Multihash, u64)>),
) {
    let mut lanes: Vec<Lane<K, R>> = Vec::new();
    let mut ended: Vec<Lane<K, R>> = Vec::new();
    loop {
        while lanes.len() < keccak::side_by_side() {
            let Some((key, reader)) = next() else { break };
            lanes.push(Lane {
                key,
                reader,
                sponge: Sponge::default(),
                size: 0,
            });
        }
        if lanes.is_empty() {
            return;
        }
        let mut at = 0;
        while let Some(lane) = lanes.get_mut(at) {
            let read = lane.reader.by_ref().take(READ_BYTES).read_to_end(lane.sponge.waiting());
            match read {
                Ok(0) => ended.push(lanes.swap_remove(at)),
                Ok(read) => {
                    lane.size += read as u64;
                    at += 1;
                }
                Err(error) => {
                    let lane = lanes.swap_remove(at);
                    done(lane.key, Err(error));
                }
            }
        }
        keccak::absorb(lanes.iter_mut().map(|lane| &mut lane.sponge));
        let sponges = ended.iter_mut().map(|lane| std::mem::take(&mut lane.sponge)).collect();
        for (lane, hash) in ended.drain(..).zip(keccak::finish(sponges)) {
            done(lane.key, Ok((Multihash::from_sha3_256(hash), lane.size)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::physical_hash_of;

    /// Gives its bytes some at a time, then fails if it is told to.
    struct Piecemeal<'a>(&'a [u8], bool);

    impl Read for Piecemeal<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() && self.1 {
                return Err(io::Error::other("torn"));
            }
            let most = buffer.len().min(1000);
            self.0.read(buffer.get_mut(..most).unwrap_or_default())
        }
    }

    #[test]
    fn each_has_the_hash_that_it_has_alone() {
        let lengths = [
            0, 1, 135, 136, 137, 999, 65_536, 65_537, 300_000, 5, 200_000, 64, 70_000,
        ];
        let files: Vec<Vec<u8>> = (0_u8..)
            .zip(lengths)
            .map(|(seed, length)| (0..length).map(|at| seed.wrapping_add((at % 251) as u8)).collect())
            .collect();
        let mut given = files.iter().enumerate();
        let mut seen = 0;
        physical_hashes(
            || given.next().map(|(at, bytes)| (at, Piecemeal(bytes, at == 8))),
            |at, found| {
                seen += 1;
                match found {
                    Ok(found) => assert_eq!(found, physical_hash_of(&files[at][..]).unwrap(), "{at}"),
                    Err(error) => assert_eq!((at, error.to_string().as_str()), (8, "torn")),
                }
            },
        );
        assert_eq!(seen, files.len());
    }
}
