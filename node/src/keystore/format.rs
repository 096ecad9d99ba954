//! The forms of Kubo's `key export` and `key import`, both in clear text.

use std::str::FromStr;

use libp2p::identity::Keypair;
use multibase::Base;

use super::{KeystoreError, MAX_KEY_BYTES};

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
const PEM_LINE: usize = 64;
/// PKCS #8 of an ed25519 key up to the seed: version 0, algorithm 1.3.101.112, an octet string in an octet string
/// (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Object identifier of ed25519 in DER, without tag and length.
const ED25519_OID: [u8; 3] = [0x2b, 0x65, 0x70];
const SEED_BYTES: usize = 32;

/// How a private key is written to a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyFormat {
    /// The libp2p protobuf `PrivateKey`: Kubo's default, and the form of the key files themselves.
    #[default]
    Libp2pProtobuf,
    /// PKCS #8 in PEM, which OpenSSL reads and writes.
    PemPkcs8,
}

impl KeyFormat {
    /// Kubo's word for it, as after `--format`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Libp2pProtobuf => "libp2p-protobuf-cleartext",
            Self::PemPkcs8 => "pem-pkcs8-cleartext",
        }
    }

    /// The ending that Kubo gives to exported files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Libp2pProtobuf => "key",
            Self::PemPkcs8 => "pem",
        }
    }
}

impl FromStr for KeyFormat {
    type Err = KeystoreError;

    fn from_str(text: &str) -> Result<Self, KeystoreError> {
        let formats = [Self::Libp2pProtobuf, Self::PemPkcs8];
        let found = formats.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| KeystoreError::UnknownFormat {
            format: text.to_owned(),
        })
    }
}

/// Writes a private key in a form that Kubo imports.
///
/// # Errors
/// [`KeystoreError::UnsupportedKind`] unless it is an ed25519 key.
pub fn encode(key: &Keypair, format: KeyFormat) -> Result<Vec<u8>, KeystoreError> {
    let unsupported = || unsupported("the key", &key.key_type().to_string());
    match format {
        KeyFormat::Libp2pProtobuf => key.to_protobuf_encoding().map_err(|_| unsupported()),
        KeyFormat::PemPkcs8 => {
            let secret = key.clone().try_into_ed25519().map_err(|_| unsupported())?.secret();
            let body = Base::Base64Pad.encode([&PKCS8_HEAD, secret.as_ref()].concat());
            let mut pem = format!("{PEM_BEGIN}\n");
            let mut rest = &body[..];
            while !rest.is_empty() {
                let (line, behind) = rest.split_at(rest.len().min(PEM_LINE));
                pem.push_str(line);
                pem.push('\n');
                rest = behind;
            }
            pem.push_str(PEM_END);
            pem.push('\n');
            Ok(pem.into_bytes())
        }
    }
}

/// Reads a private key that Kubo or OpenSSL exported. Without a format it is told by its looks. `what` says where the
/// bytes are from, for the message.
///
/// # Errors
/// [`KeystoreError::NotAKey`], or [`KeystoreError::UnsupportedKind`] unless it is an ed25519 key.
pub fn decode(bytes: &[u8], format: Option<KeyFormat>, what: &str) -> Result<Keypair, KeystoreError> {
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(refused(what, "it is too long"));
    }
    let looks_like_pem = bytes.trim_ascii_start().starts_with(b"-----BEGIN");
    let by_looks = if looks_like_pem {
        KeyFormat::PemPkcs8
    } else {
        KeyFormat::Libp2pProtobuf
    };
    match format.unwrap_or(by_looks) {
        KeyFormat::Libp2pProtobuf if looks_like_pem => {
            Err(refused(what, "it is PEM; use --format=pem-pkcs8-cleartext"))
        }
        KeyFormat::Libp2pProtobuf => decode_protobuf(bytes, what),
        KeyFormat::PemPkcs8 => decode_pem(bytes, what),
    }
}

fn decode_protobuf(bytes: &[u8], what: &str) -> Result<Keypair, KeystoreError> {
    // Field 1, the kind of key, comes first in every encoder there is.
    match bytes {
        [0x08, 1, ..] => {}
        [0x08, 0, ..] => return Err(unsupported(what, "RSA")),
        [0x08, 2, ..] => return Err(unsupported(what, "secp256k1")),
        [0x08, 3, ..] => return Err(unsupported(what, "ECDSA")),
        _ => return Err(refused(what, "it does not begin as a libp2p key does")),
    }
    // Old keys repeat the public half: 96 bytes for 64.
    let repeated = match bytes {
        [8, 1, 0x12, 96, key @ ..] if key.len() == 96 && key[32..64] == key[64..] => Some(&key[..64]),
        _ => None,
    };
    let parsed = match repeated {
        Some(key) => Keypair::from_protobuf_encoding(&[&[8, 1, 0x12, 64], key].concat()),
        None => Keypair::from_protobuf_encoding(bytes),
    };
    parsed.map_err(|_| refused(what, "its halves are cut or do not belong together"))
}

fn decode_pem(bytes: &[u8], what: &str) -> Result<Keypair, KeystoreError> {
    let text = std::str::from_utf8(bytes).map_err(|_| refused(what, "it is not PEM"))?;
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return Err(refused(what, "it is encrypted; decrypt it first"));
    }
    let body = text
        .split_once(PEM_BEGIN)
        .and_then(|(_, rest)| rest.split_once(PEM_END))
        .map(|(body, _)| body);
    let body = body.ok_or_else(|| refused(what, "it has no PRIVATE KEY section"))?;
    let base64: String = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    let der = Base::Base64Pad
        .decode(base64)
        .map_err(|_| refused(what, "its base64 is broken"))?;
    let seed = pkcs8_seed(&der, what)?;
    Keypair::ed25519_from_bytes(seed).map_err(|_| refused(what, "its secret is not that of an ed25519 key"))
}

/// The seed in a PKCS #8 structure of version 0 or 1. What follows it (attributes, the public key) is not needed.
fn pkcs8_seed(der: &[u8], what: &str) -> Result<[u8; SEED_BYTES], KeystoreError> {
    let broken = || refused(what, "its PKCS #8 structure is broken");
    let (info, _) = der_value(der, 0x30).ok_or_else(broken)?;
    let (version, rest) = der_value(info, 0x02).ok_or_else(broken)?;
    let (algorithm, rest) = der_value(rest, 0x30).ok_or_else(broken)?;
    let (oid, _) = der_value(algorithm, 0x06).ok_or_else(broken)?;
    if oid != ED25519_OID {
        return Err(unsupported(what, oid_name(oid)));
    }
    let (outer, _) = der_value(rest, 0x04).ok_or_else(broken)?;
    let (seed, behind) = der_value(outer, 0x04).ok_or_else(broken)?;
    if !matches!(version, [0 | 1]) || !behind.is_empty() {
        return Err(broken());
    }
    seed.try_into().map_err(|_| broken())
}

/// The content of the value that `der` begins with, if its tag is `tag`, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (len, rest) = rest.split_first()?;
    let (len, rest) = match *len {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (
            usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])),
            &rest[2..],
        ),
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(len)).flatten()
}

fn oid_name(oid: &[u8]) -> &'static str {
    match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1] => "RSA",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => "ECDSA",
        [0x2b, 0x65, 0x6e] => "X25519",
        [0x2b, 0x65, 0x71] => "Ed448",
        _ => "unknown",
    }
}

fn refused(what: &str, reason: &str) -> KeystoreError {
    KeystoreError::NotAKey {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

fn unsupported(what: &str, kind: &str) -> KeystoreError {
    KeystoreError::UnsupportedKind {
        what: what.to_owned(),
        kind: kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ipfs key gen demo` and both exports of it, by Kubo 0.43; the key is used nowhere.
    const KUBO_ID: &str = "k51qzi5uqu5dhp48afu8lreo3pty2wmn3gxc2z35ok7k7nun5ga0x57en7df90";
    const KUBO_KEY: &str = "080112408e803a471829eba5449750810b4476fd608b0fecd6286915bd113da7\
                            4ed632233cc5939bff9cdfc00488c9549127c66eb763e36523a355842a79014fb4915174";
    const KUBO_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                            MC4CAQAwBQYDK2VwBCIEII6AOkcYKeulRJdQgQtEdv1giw/s1ihpFb0RPadO1jIj\n\
                            -----END PRIVATE KEY-----\n";

    #[test]
    fn kubos_exports_are_read_and_written_byte_for_byte() {
        let protobuf = Base::Base16Lower.decode(KUBO_KEY).unwrap();
        let key = decode(&protobuf, None, "x").unwrap();
        let id = cid::Cid::new_v1(crate::block::LIBP2P_KEY, *key.public().to_peer_id().as_ref());
        assert_eq!(multibase::encode(Base::Base36Lower, id.to_bytes()), KUBO_ID);
        assert_eq!(encode(&key, KeyFormat::Libp2pProtobuf).unwrap(), protobuf);
        assert_eq!(encode(&key, KeyFormat::PemPkcs8).unwrap(), KUBO_PEM.as_bytes());
        for format in [None, Some("pem-pkcs8-cleartext".parse().unwrap())] {
            assert_eq!(decode(KUBO_PEM.as_bytes(), format, "x").unwrap().public(), key.public());
        }
        let with_crlf = KUBO_PEM.replace('\n', "\r\n");
        assert_eq!(decode(with_crlf.as_bytes(), None, "x").unwrap().public(), key.public());
    }

    fn pem(der: &[u8]) -> Vec<u8> {
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", Base::Base64Pad.encode(der)).into_bytes()
    }

    #[test]
    fn older_and_longer_forms_are_read() {
        let seed = [7; SEED_BYTES];
        let expected = Keypair::ed25519_from_bytes(seed).unwrap();
        // Version 1 with the public key behind the seed, as OpenSSL can write it.
        let mut with_public = vec![0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        with_public.extend_from_slice(&seed);
        with_public.extend_from_slice(&[0x81, 0x21, 0]);
        with_public.extend_from_slice(&[9; 32]);
        assert_eq!(
            decode(&pem(&with_public), None, "x").unwrap().public(),
            expected.public()
        );
        // 96 bytes: the public half twice.
        let plain = expected.to_protobuf_encoding().unwrap();
        let old = [&[8, 1, 0x12, 96], &plain[4..], &plain[36..]].concat();
        assert_eq!(decode(&old, None, "x").unwrap().public(), expected.public());
    }

    #[test]
    fn other_kinds_and_broken_keys_are_told_apart() {
        let whole = [&PKCS8_HEAD[..], &[7; SEED_BYTES]].concat();
        let mut x25519 = whole.clone();
        x25519[11] = 0x6e;
        let kinds = [
            (pem(&x25519), "X25519"),
            (vec![8, 0, 0x12, 1, 0], "RSA"),
            (vec![8, 2, 0x12, 0], "secp256k1"),
        ];
        for (bytes, kind) in kinds {
            let error = decode(&bytes, None, "FILE").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("FILE is an {kind} key; only ed25519 keys are supported")
            );
        }
        let plain = Keypair::ed25519_from_bytes([7; SEED_BYTES])
            .unwrap()
            .to_protobuf_encoding()
            .unwrap();
        let mut halves = plain.clone();
        halves[50] ^= 1;
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n".to_vec();
        let long = vec![8; usize::try_from(MAX_KEY_BYTES).unwrap() + 1];
        let mut wrong = vec![
            vec![],
            plain[..40].to_vec(),
            halves,
            encrypted,
            long,
            pem(&[0x30, 0x84, 1, 1, 1, 1]),
        ];
        wrong.extend((0..whole.len()).map(|len| pem(&whole[..len])));
        for bytes in wrong {
            assert!(
                matches!(decode(&bytes, None, "x"), Err(KeystoreError::NotAKey { .. })),
                "{bytes:?}"
            );
        }
        let error = decode(KUBO_PEM.as_bytes(), Some(KeyFormat::Libp2pProtobuf), "x").unwrap_err();
        assert!(error.to_string().contains("--format=pem-pkcs8-cleartext"), "{error}");
        assert!(
            "pkcs1"
                .parse::<KeyFormat>()
                .unwrap_err()
                .to_string()
                .contains("libp2p-protobuf-cleartext")
        );
    }
}
