//! A pin, and one line of the journal of pins.

use super::super::error::StoreError;
use crate::block::{Cid, cid_from_text, sha2_256};
use crate::percent;

/// The longest name of an owner of pins, in bytes.
pub const MAX_OWNER_BYTES: usize = 256;
/// The longest name of a pin, in bytes; Kubo's figure.
pub const MAX_PIN_NAME_BYTES: usize = 255;
/// Whose pins keep what is here of a DAG, while the rest may never have come: nothing is said of that. The name is that of the
/// command whose tree is kept so.
pub const PARTIAL_OWNER: &str = "ipfs files";
/// Digits of a check: half as many bytes.
const CHECK_DIGITS: usize = 8;

/// A root that is kept, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Whoever wants it kept: a dataset, a command, a user's word for it.
    pub owner: String,
    /// The root.
    pub cid: Cid,
}

/// The line that says that a pin came, or what it is called from now on; an empty name is none.
pub(super) fn came(pin: &Pin, name: &str) -> String {
    let text = format!("+ {} {}", pin.cid, pin.owner);
    match name.is_empty() {
        true => checked(&text),
        false => checked(&format!("{text}\t{}", written(name))),
    }
}

/// The line that says that a pin went.
pub(super) fn went(pin: &Pin) -> String {
    checked(&format!("- {} {}", pin.cid, pin.owner))
}

/// A name without what means something in the journal.
fn written(name: &str) -> String {
    let mut written = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '%' | '\u{7f}' | '\0'..='\u{1f}' => written.push_str(&format!("%{:02x}", u32::from(letter))),
            _ => written.push(letter),
        }
    }
    written
}

/// A line that says this, with its check.
pub(super) fn checked(text: &str) -> String {
    format!("{text}\t{}\n", check(text))
}

/// What a line says that was written with its check.
pub(super) fn unchecked(line: &[u8]) -> Option<&str> {
    let (text, found) = std::str::from_utf8(line).ok()?.rsplit_once('\t')?;
    (found == check(text)).then_some(text)
}

/// The pin of a line, and its name if it came. The lines of the first form had no check.
pub(super) fn change(line: &[u8], has_check: bool) -> Option<(Pin, Option<String>)> {
    let text = match has_check {
        true => unchecked(line)?,
        false => std::str::from_utf8(line).ok()?,
    };
    let (sign, rest) = text.split_once(' ')?;
    let (cid, rest) = rest.split_once(' ')?;
    let (owner, name) = rest.split_once('\t').unwrap_or((rest, ""));
    check_owner(owner).ok()?;
    let pin = Pin {
        owner: owner.to_owned(),
        cid: cid_from_text(cid).ok()?,
    };
    match sign {
        "+" => Some((pin, Some(percent::decode(name)?))),
        "-" if name.is_empty() => Some((pin, None)),
        _ => None,
    }
}

/// One line more: its check stands for it.
pub(super) fn follow(trail: u64, line: &[u8]) -> u64 {
    /// An odd number with bits all over, so that the place of a line counts.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let check = &line[line.len().saturating_sub(CHECK_DIGITS)..];
    check.iter().fold(trail.wrapping_add(1), |trail, byte| {
        (trail ^ u64::from(*byte)).wrapping_mul(FACTOR).rotate_left(23)
    })
}

fn check(text: &str) -> String {
    let digest = sha2_256(text.as_bytes());
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    let bytes = digest.digest()[..CHECK_DIGITS / 2].iter();
    bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(super) fn check_owner(owner: &str) -> Result<(), StoreError> {
    if owner.is_empty() || owner.len() > MAX_OWNER_BYTES || owner.chars().any(char::is_control) {
        return Err(StoreError::BadOwner(owner.chars().take(MAX_OWNER_BYTES).collect()));
    }
    Ok(())
}

pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    match name.len() {
        0..=MAX_PIN_NAME_BYTES => Ok(()),
        bytes => Err(StoreError::PinNameTooLong {
            bytes,
            most: MAX_PIN_NAME_BYTES,
        }),
    }
}
