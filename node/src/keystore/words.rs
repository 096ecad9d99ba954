//! Private keys as 24 words, for paper: BIP-39 over the 32 bytes of an ed25519 seed.
//!
//! The words are the seed itself with a checksum of eight bits, in the English list of BIP-39; nothing is derived from
//! them, so any tool that turns BIP-39 words back into their entropy gives the seed.

use bip39::{Language, Mnemonic};
use libp2p::identity::Keypair;

use super::{KeystoreError, MAX_KEY_BYTES};

/// So many words stand for a key.
pub const WORDS: usize = 24;
/// No two words of the list begin with the same so many letters; a word may be cut to them.
const TELLING_LETTERS: usize = 4;

/// The private key as words of the English list, in their order.
///
/// # Errors
/// [`KeystoreError::UnsupportedKind`] unless it is an ed25519 key.
pub fn to_words(key: &Keypair) -> Result<Vec<&'static str>, KeystoreError> {
    let unsupported = |_| KeystoreError::UnsupportedKind {
        what: "the key".to_owned(),
        kind: key.key_type().to_string(),
    };
    let secret = key.clone().try_into_ed25519().map_err(unsupported)?.secret();
    let words = Mnemonic::from_entropy(secret.as_ref()).map_err(|error| refused("the key", error.to_string()))?;
    Ok(words.words().collect())
}

/// The private key that [`to_words`] gave these words for. They stand apart by white space, in upper or lower case, whole
/// or cut to their first four letters; numbers before them (`7.`, `7)`, `7`) are passed over. `what` says where the text
/// is from, for the message.
///
/// # Errors
/// [`KeystoreError::NotAKey`] says which word is none, or that their checksum does not fit.
pub fn from_words(text: &str, what: &str) -> Result<Keypair, KeystoreError> {
    if text.len() as u64 > MAX_KEY_BYTES {
        return Err(refused(what, "it is too long".to_owned()));
    }
    let is_number = |word: &&str| word.trim_end_matches(['.', ')', ':']).parse::<u8>().is_ok();
    let given: Vec<&str> = text.split_whitespace().filter(|word| !is_number(word)).collect();
    let mut words = Vec::with_capacity(WORDS);
    for (at, word) in given.iter().enumerate().take(WORDS) {
        let number = at + 1;
        let found = listed(&word.to_lowercase()).ok_or_else(|| {
            let shown: String = word.chars().take(16).collect();
            refused(what, format!("word {number}, {shown:?}, is not in the list of BIP-39"))
        })?;
        words.push(found);
    }
    if given.len() != WORDS {
        let count = given.len();
        return Err(refused(what, format!("it has {count} words where {WORDS} are needed")));
    }
    let words = Mnemonic::parse_in_normalized(Language::English, &words.join(" ")).map_err(|_| {
        let reason = "the words are all in the list, but do not belong together: one is wrong, or two are exchanged";
        refused(what, reason.to_owned())
    })?;
    let (entropy, len) = words.to_entropy_array();
    let seed: [u8; 32] = entropy[..len]
        .try_into()
        .map_err(|_| refused(what, "it is no key of 32 bytes".to_owned()))?;
    Keypair::ed25519_from_bytes(seed).map_err(|_| refused(what, "its secret is not that of an ed25519 key".to_owned()))
}

/// The word of the list that this is, or begins.
fn listed(word: &str) -> Option<&'static str> {
    let (list, whole) = (Language::English.word_list(), Language::English.find_word(word));
    if let Some(at) = whole {
        return list.get(usize::from(at)).copied();
    }
    let is_cut = word.len() >= TELLING_LETTERS;
    is_cut
        .then(|| list.iter().find(|listed| listed.starts_with(word)).copied())
        .flatten()
}

fn refused(what: &str, reason: String) -> KeystoreError {
    KeystoreError::NotAKey {
        what: what.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        from_words(text, "x").unwrap_err().to_string()
    }

    #[test]
    fn words_are_those_of_the_standard_and_come_back() {
        // Vectors of BIP-39 for 256 bits of entropy.
        let zeros = Keypair::ed25519_from_bytes([0; 32]).unwrap();
        let words = to_words(&zeros).unwrap();
        assert_eq!(words.join(" "), format!("{}art", "abandon ".repeat(23)));
        let sevens = Keypair::ed25519_from_bytes([0x7f; 32]).unwrap();
        let words = to_words(&sevens).unwrap();
        let expected = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth \
                        useful legal winner thank year wave sausage worth title";
        assert_eq!(words.join(" "), expected);
        for seed in 0..=255 {
            let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
            let words = to_words(&key).unwrap().join(" ");
            assert_eq!(from_words(&words, "x").unwrap().public(), key.public());
        }
    }

    #[test]
    fn words_are_read_as_people_write_them() {
        let key = Keypair::ed25519_from_bytes([0x7f; 32]).unwrap();
        let words = to_words(&key).unwrap();
        let numbered: String = (words.iter().enumerate())
            .map(|(at, word)| format!("{:2}. {}\r\n", at + 1, word.to_uppercase()))
            .collect();
        let cut: Vec<&str> = words.iter().map(|word| &word[..word.len().min(4)]).collect();
        for text in [numbered, cut.join("\n")] {
            assert_eq!(from_words(&text, "x").unwrap().public(), key.public(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_words_is_said() {
        let zeros = format!("{}art", "abandon ".repeat(23));
        assert!(refusal("").contains("it has 0 words where 24"));
        assert!(refusal(&zeros[8..]).contains("it has 23 words"));
        assert!(refusal(&format!("{zeros} art")).contains("it has 25 words"));
        let typed = zeros.replacen("abandon", "abandom", 1);
        assert!(refusal(&typed).contains("word 1, \"abandom\""), "{}", refusal(&typed));
        assert!(refusal(&zeros.replace("art", "zoo")).contains("do not belong together"));
        assert!(refusal(&"zoo ".repeat(24)).contains("do not belong together"));
        let too_long = " ".repeat(usize::try_from(MAX_KEY_BYTES).unwrap() + 1);
        assert!(refusal(&too_long).contains("too long"));
        assert!(refusal(&too_long[1..]).contains("it has 0 words"));
        assert!(refusal("äöüäöüäöüäöüäöüäöüäöüäöü").contains("word 1"));
    }

    #[test]
    fn only_ed25519_keys_have_words() {
        let key = Keypair::generate_ecdsa();
        assert!(matches!(to_words(&key), Err(KeystoreError::UnsupportedKind { .. })));
    }
}
