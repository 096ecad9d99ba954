//! The vectors of IPIP-499, and well-known CIDs.
//!
//! Recipe and CIDs: Kubo `test/cli/cid_profiles_test.go`. Content is the ChaCha20 keystream under the SHA-256 of a
//! seed and a nonce of zeros.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use sha2::Digest as _;

use super::*;
use crate::unixfs::import::{FileBuilder, Leaf, file, hash_leaf, leaf};

const ALPHABET: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz01234567890-_";

fn keystream(seed: &str) -> ChaCha20 {
    let key: [u8; 32] = sha2::Sha256::digest(seed).into();
    ChaCha20::new(&key.into(), &[0; 12].into())
}

fn content(seed: &str, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    keystream(seed).apply_keystream(&mut bytes);
    bytes.into()
}

fn file_cid(profile: &Profile, content: Bytes) -> String {
    file(profile, &content).unwrap().0.cid.to_string()
}

/// CIDs of the files of exactly `max_links` chunks, and of one byte more.
///
/// `digests` holds the sha2-256 of the leaf of each chunk, so that the test need not make and hash 1 GiB. They were
/// computed from the keystream; that they are right is what the CIDs of the roots, which are not ours, say.
fn around_max_links(profile: &Profile, seed: &str, digests: &[u8]) -> [String; 2] {
    let form = hash_leaf(profile, &vec![0; profile.chunk_bytes]).unwrap();
    let mut builder = FileBuilder::new(profile);
    let mut blocks = Vec::new();
    for digest in digests.chunks(32) {
        let hash = multihash::Multihash::wrap(crate::block::SHA2_256, digest).unwrap();
        let cid = Cid::new(form.cid.version(), form.cid.codec(), hash).unwrap();
        builder.push(Leaf { cid, ..form }, &mut blocks).unwrap();
    }
    assert!(blocks.is_empty(), "one full node is held back until a leaf follows it");
    let at = builder.clone().finish(&mut blocks).unwrap();
    assert_eq!(at.size, (profile.max_links * profile.chunk_bytes) as u64);
    let mut last = [0];
    let mut stream = keystream(seed);
    stream.seek(at.size);
    stream.apply_keystream(&mut last);
    builder.push(hash_leaf(profile, &last).unwrap(), &mut blocks).unwrap();
    let over = builder.finish(&mut blocks).unwrap();
    [at.cid.to_string(), over.cid.to_string()]
}

/// A directory of `count` files holding "x"; the name of the last one has another length.
fn directory_cid(profile: &Profile, seed: &str, count: usize, name_len: usize, last_len: usize) -> (String, usize) {
    let (x, _) = file(profile, &Bytes::from_static(b"x")).unwrap();
    let mut stream = keystream(seed);
    let entries = (0..count).map(|number| {
        let mut name = vec![0; if number + 1 == count { last_len } else { name_len }];
        stream.apply_keystream(&mut name);
        name.iter_mut()
            .for_each(|byte| *byte = ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        (String::from_utf8(name).unwrap(), x)
    });
    let built = directory::build(profile, entries).unwrap();
    let root = built.blocks.last().unwrap();
    assert_eq!(root.cid(), &built.entry.cid);
    (built.entry.cid.to_string(), root.data().len())
}

#[test]
fn unixfs_v0_2015_small_files() {
    let profile = &UNIXFS_V0_2015;
    assert_eq!(
        file_cid(profile, "hello world".into()),
        "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
    );
    assert_eq!(
        file_cid(profile, Bytes::new()),
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
    );
    let bytes = content("chunk-v0-seed", 262_145);
    assert_eq!(
        file_cid(profile, bytes.slice(..262_144)),
        "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"
    );
    assert_eq!(
        file_cid(profile, bytes),
        "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"
    );
}

#[test]
fn unixfs_v1_2025_small_files() {
    let profile = &UNIXFS_V1_2025;
    assert_eq!(
        file_cid(profile, "hello world".into()),
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    );
    assert_eq!(
        file_cid(profile, Bytes::new()),
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    );
    let bytes = content("chunk-v1-seed", (1 << 20) + 1);
    assert_eq!(
        file_cid(profile, bytes.slice(..1 << 20)),
        "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"
    );
    assert_eq!(
        file_cid(profile, bytes),
        "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"
    );
}

#[test]
fn unixfs_v0_2015_files_around_a_full_node() {
    assert_eq!(
        around_max_links(
            &UNIXFS_V0_2015,
            "v0-seed",
            include_bytes!("../../../testdata/unixfs/v0-seed.sha256")
        ),
        [
            "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2",
            "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW"
        ]
    );
}

#[test]
fn unixfs_v1_2025_files_around_a_full_node() {
    assert_eq!(
        around_max_links(
            &UNIXFS_V1_2025,
            "v1-2025-seed",
            include_bytes!("../../../testdata/unixfs/v1-2025-seed.sha256")
        ),
        [
            "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
            "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"
        ]
    );
}

#[test]
fn unixfs_v0_2015_directories_around_the_threshold() {
    let of = |count, len| directory_cid(&UNIXFS_V0_2015, "hamt-unixfs-v0-2015", count, len, len).0;
    assert_eq!(of(4096, 30), "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN");
    assert_eq!(of(4033, 31), "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP");
}

#[test]
fn unixfs_v1_2025_directories_around_the_threshold() {
    let of = |last_len| directory_cid(&UNIXFS_V1_2025, "hamt-unixfs-v1-2025", 4766, 11, last_len);
    let (at, len) = of(21);
    assert_eq!(at, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4");
    assert_eq!(len, 256 << 10, "the estimate is the length of the block");
    assert_eq!(of(22).0, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu");
}

#[test]
fn empty_directories_and_dag_pb_empty_files_are_the_well_known_ones() {
    let empty = |profile| directory::build(profile, []).unwrap();
    assert_eq!(
        empty(&UNIXFS_V0_2015).entry.cid.to_string(),
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    );
    for profile in [&UNIXFS_V1_2025, &KUBO_CIDV1] {
        let built = empty(profile);
        assert_eq!(
            built.entry.cid.to_string(),
            "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
        );
        assert_eq!(
            (built.entry.tsize, built.blocks[0].data().as_ref()),
            (4, &b"\x0a\x02\x08\x01"[..])
        );
    }
    let wrapped = Profile {
        raw_leaves: false,
        ..UNIXFS_V1_2025
    };
    assert_eq!(
        file_cid(&wrapped, Bytes::new()),
        "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y"
    );
    assert_eq!(
        file_cid(&wrapped, "hello world".into()),
        "bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa"
    );
}

#[test]
fn dag_pb_leaves_say_their_size_twice() {
    let (made, block) = leaf(&UNIXFS_V0_2015, "abc".into()).unwrap();
    assert_eq!(block.data().as_ref(), b"\x0a\x09\x08\x02\x12\x03abc\x18\x03");
    assert_eq!((made.size, made.tsize), (3, 11));
    assert_eq!(hash_leaf(&UNIXFS_V0_2015, b"abc").unwrap(), made);
}

/// No profile of IPIP-499 has another fanout than 256, and no tool writes one. The CIDs are those of a script of its own in
/// Python, made from the specification; Kubo 0.43 and Helia (`ipfs-unixfs-exporter` 16.2) list and look up what they name.
#[test]
fn directories_of_narrow_nodes_are_those_of_another_implementation() {
    let cid_of = |count: u64, buckets: u64| {
        let profile = Profile {
            shard_above: 1024,
            fanout: Fanout::new(buckets).unwrap(),
            ..UNIXFS_V1_2025
        };
        let entries = (0..count).map(|number| {
            let hash = crate::block::sha2_256(&number.to_be_bytes());
            let hex: String = hash.digest().iter().map(|byte| format!("{byte:02x}")).collect();
            let content = Bytes::from(format!("content {number}"));
            (format!("f1620{hex}"), file(&profile, &content).unwrap().0)
        });
        directory::build(&profile, entries).unwrap().entry.cid.to_string()
    };
    for (count, buckets, expected) in [
        (10, 8, "bafybeibdgezhfqsywxeovogibkycvzsh3sv5cl3jgegh5ry7i2nwnbww64"),
        (100, 8, "bafybeigoh4zrw74g3bl4cu5zjkj5hlkupp2hiwfv32aj4w2gkfkmztoesu"),
        (5_000, 8, "bafybeiey62i2r74v5f5vdremkjospywujdmqntpvcuix7ifzxuy5gleslq"),
        (5_000, 16, "bafybeidty7dssgjj4zgqca227ha67hqkonpcofh3vefusvn77pe5xhgsra"),
        (5_000, 32, "bafybeig4r7yheu7bnh6kj5rofeocd4pxahrv5ytcmrqey2j2rskiim5a4u"),
    ] {
        assert_eq!(cid_of(count, buckets), expected, "{count} entries, {buckets} buckets");
    }
}
