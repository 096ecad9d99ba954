//! Private networks: a key that all peers of a network have, without which nothing they say is understood.
//!
//! What Kubo calls a swarm key. Every byte of a connection goes through a stream cipher (XSalsa20) under it, before anything is
//! agreed upon; over that, peers know each other as ever. Only over TCP, as in Kubo: QUIC has no place for it. What a relay
//! carries is enciphered like any connection, once more inside those to the relay.
//!
//! Spec: <https://github.com/libp2p/specs/blob/master/pnet/Private-Networks-PSK-V1.md>.

use std::fmt;

use libp2p::pnet::PreSharedKey;

/// The longest text that is read as a key: one has 95 bytes.
pub const MAX_NETWORK_KEY_BYTES: usize = 1024;
/// Lines of the form, before that of the key.
const FORM: [&str; 2] = ["/key/swarm/psk/1.0.0/", "/base16/"];
const KEY_BYTES: usize = 32;

/// The key of a private network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkKey([u8; KEY_BYTES]);

/// Why a text is no key of a private network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key of a private network is three lines: /key/swarm/psk/1.0.0/, /base16/, and 64 hexadecimal digits; {0}")]
pub struct NetworkKeyError(&'static str);

impl NetworkKey {
    /// A fresh one.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// Reads what [`Self::to_text`] writes, and Kubo's `swarm.key` of the form `/base16/`.
    ///
    /// # Errors
    /// The text has another form.
    pub fn from_text(text: &str) -> Result<Self, NetworkKeyError> {
        if text.len() > MAX_NETWORK_KEY_BYTES {
            return Err(NetworkKeyError("this is longer"));
        }
        let mut lines = text.lines().map(str::trim);
        if FORM.iter().any(|wanted| lines.next() != Some(wanted)) {
            return Err(NetworkKeyError("the first two are not these"));
        }
        let digits = lines.next().unwrap_or_default().as_bytes();
        let mut key = [0; KEY_BYTES];
        if digits.len() != 2 * KEY_BYTES || lines.any(|line| !line.is_empty()) {
            return Err(NetworkKeyError("the third has another length, or something follows"));
        }
        let value = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let [Some(high), Some(low)] = [pair.first(), pair.last()].map(|digit| digit.copied().and_then(value))
            else {
                return Err(NetworkKeyError("the third has something else than these digits"));
            };
            *byte = high << 4 | low;
        }
        Ok(Self(key))
    }

    /// The text of its file, which is Kubo's `swarm.key`: whoever has it can join.
    pub fn to_text(&self) -> String {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}\n{}\n{digits}\n", FORM[0], FORM[1])
    }

    /// What tells two keys apart without giving any of them away, 32 hexadecimal digits; libp2p has the same.
    pub fn fingerprint(&self) -> String {
        self.shared().fingerprint().to_string()
    }

    /// The key as libp2p wants it.
    pub(super) fn shared(&self) -> PreSharedKey {
        PreSharedKey::new(self.0)
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkKey({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_nothing_else_is() {
        let key = NetworkKey::generate();
        let text = key.to_text();
        assert_eq!(NetworkKey::from_text(&text), Ok(key));
        assert_eq!(
            NetworkKey::from_text(text.trim_end()),
            Ok(key),
            "as ipfs-swarm-key-gen writes it"
        );
        assert_eq!(NetworkKey::from_text(&text.replace('\n', "\r\n")), Ok(key));
        let shared: PreSharedKey = text.parse().unwrap();
        assert_eq!(shared.fingerprint().to_string(), key.fingerprint());
        assert_ne!(NetworkKey::generate().fingerprint(), key.fingerprint());

        let digits = "0".repeat(2 * KEY_BYTES);
        for bad in [
            String::new(),
            digits.clone(),
            format!("/key/swarm/psk/1.0.0/\n/base64/\n{digits}"),
            format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}0"),
            format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", &digits[1..]),
            format!("/key/swarm/psk/1.0.0/\n/base16/\n{}g", &digits[1..]),
            format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}\n{digits}"),
            format!("{text}{}", "\n".repeat(MAX_NETWORK_KEY_BYTES + 1 - text.len())),
        ] {
            assert!(NetworkKey::from_text(&bad).is_err(), "{bad:?}");
        }
        let longest = format!("{text}{}", "\n".repeat(MAX_NETWORK_KEY_BYTES - text.len()));
        assert_eq!(NetworkKey::from_text(&longest), Ok(key));
        assert!(!format!("{key:?}").contains(&text.lines().last().unwrap()[..8]));
    }
}
