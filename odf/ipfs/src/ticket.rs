//! Tickets: one word that says which dataset is meant and where somebody who has it can be reached, so that two machines
//! which share no DHT, no DNS and no keeper meet.
//!
//! ```text
//! odfs1 base32( length u16 | kind u8, len u8, subject | field* | crc32 u32 )
//! field:   tag u8, len u16, bytes
//!          1  what the dataset is called where the ticket was made
//!          2  a peer: len u8, peer id, then addresses, each len u8, multiaddr
//! ```
//!
//! - Letters and digits only, in either case: nothing to quote in a shell, a double click takes all of it, and a QR code needs
//!   5.5 bits for a character where other text needs 8. Base 32 of RFC 4648, as in CIDs and in the tickets of iroh, has no
//!   `0`, `1`, `8` or `9` to be taken for letters. The checksum of bech32 is made for 90 characters, and these are more.
//! - The checksum (of the whole, from `odfs1` on) is against slips of people. It says nothing of who made a ticket, and need
//!   not: what comes is signed under the name, or hashes to the root.
//! - The length before tells a ticket that is cut off from one that is mistyped.
//! - Tags and kinds of address that are not known are passed over; what older versions must not pass over comes with
//!   another number behind `odfs`.
//!
//! Nothing in here is secret, and nothing is proven by having it.

use std::fmt;
use std::str::FromStr;

use crc32fast::Hasher;
use odf_dataset::DatasetName;
use odf_node::block::Cid;
use odf_node::ipns::Name;
use odf_node::{Multiaddr, PeerId};

use crate::pull::Address;

const PREFIX: &str = "odfs";
const VERSION: char = '1';
/// From this length on a word that begins like a ticket is meant as one.
const LOOKS_LIKE_ONE: usize = 10;
/// Longest ticket that is read, in characters.
pub const MAX_TICKET_CHARS: usize = 1_653;
/// Longest content: what is between the length and the checksum.
const MAX_BODY_BYTES: usize = 1_024;
/// Peers in one ticket.
pub const MAX_PEERS: usize = 4;
/// Addresses of one of them.
pub const MAX_PEER_ADDRESSES: usize = 8;
/// Longest address of a peer.
const MAX_ADDRESS_BYTES: usize = 128;
/// Longest name that a dataset has in a ticket; a longer one is left out.
const MAX_LABEL_BYTES: usize = 64;

const LENGTH_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 4;
/// What the dataset is known by.
const KIND_NAME: u8 = 1;
const KIND_ROOT: u8 = 2;
const TAG_LABEL: u8 = 1;
const TAG_PEER: u8 = 2;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Somebody who has the dataset, and where they can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub peer: PeerId,
    /// Where, without `/p2p/` and the id at the end.
    pub addresses: Vec<Multiaddr>,
}

/// A dataset and who has it. The text of it is what people copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    address: Address,
    label: Option<DatasetName>,
    contacts: Vec<Contact>,
}

/// Why a text is no ticket, or a ticket cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Nothing that a ticket looks like.
    #[error("this is no ticket: one begins with odfs1")]
    NotOne,
    /// The end is missing.
    #[error("the ticket is cut off: {missing} characters are missing at its end, or one at its beginning is wrong")]
    Cut {
        /// How many characters.
        missing: usize,
    },
    /// Not as it was printed.
    #[error("the ticket is mistyped: its checksum does not fit the rest")]
    Mistyped,
    /// A character that no ticket has.
    #[error("the ticket is mistyped: there is no `{character}` in tickets, and one is at place {place}")]
    WrongCharacter {
        /// Which.
        character: char,
        /// Where, counted from 1.
        place: usize,
    },
    /// Made by a version that writes others.
    #[error(
        "the ticket begins with odfs{0}, and this odfs reads odfs1 only: a later version made it, or it is mistyped"
    )]
    Later(char),
    /// It leads to something that is no dataset.
    #[error("the ticket is not for a dataset but for something of kind {0}, which this odfs does not know")]
    OtherKind(u8),
    /// It is intact, and says what no odfs does.
    #[error("the ticket holds what no odfs writes: {0}")]
    Malformed(&'static str),
    /// More than one may hold.
    #[error("a ticket has at most {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many at most.
        limit: usize,
    },
}

impl Ticket {
    /// The ticket for what `address` stands for. `label` is what it is called here, `contacts` are those who have it.
    ///
    /// # Errors
    /// More peers or addresses than a ticket holds, or a path below a root.
    pub fn new(address: &Address, label: Option<&DatasetName>, contacts: Vec<Contact>) -> Result<Self, TicketError> {
        let address = match address {
            Address::Name(name) | Address::Dataset { name, .. } => Address::Name(*name),
            Address::Root { cid, path } if path.is_empty() => Address::Root {
                cid: *cid,
                path: String::new(),
            },
            Address::Root { .. } => return Err(TicketError::Malformed("a path behind a root")),
        };
        at_most("peers", contacts.len(), MAX_PEERS)?;
        for contact in &contacts {
            at_most("addresses of a peer", contact.addresses.len(), MAX_PEER_ADDRESSES)?;
            for address in &contact.addresses {
                at_most("bytes in an address", address.len(), MAX_ADDRESS_BYTES)?;
            }
        }
        let ticket = Self {
            address,
            label: label.filter(|label| label.as_str().len() <= MAX_LABEL_BYTES).cloned(),
            contacts,
        };
        at_most("bytes", ticket.body().len(), MAX_BODY_BYTES)?;
        Ok(ticket)
    }

    /// Whether a word that somebody typed is meant as a ticket, intact or not.
    pub fn is_meant(text: &str) -> bool {
        let digit = text.get(PREFIX.len()..).and_then(|rest| rest.chars().next());
        text.len() >= LOOKS_LIKE_ONE
            && text
                .get(..PREFIX.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
            && digit.is_some_and(|digit| digit.is_ascii_digit())
            && !text.contains(['/', ':', '%'])
    }

    /// The dataset: a name, or a root without a path.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the dataset is called where the ticket was made.
    pub fn label(&self) -> Option<&DatasetName> {
        self.label.as_ref()
    }

    /// Who has it.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match &self.address {
            Address::Name(name) | Address::Dataset { name, .. } => {
                body.push(KIND_NAME);
                put_short(&mut body, &name.peer_id().to_bytes());
            }
            Address::Root { cid, .. } => {
                body.push(KIND_ROOT);
                put_short(&mut body, &cid.to_bytes());
            }
        }
        if let Some(label) = &self.label {
            put_field(&mut body, TAG_LABEL, label.as_str().as_bytes());
        }
        for Contact { peer, addresses } in &self.contacts {
            let mut field = Vec::new();
            put_short(&mut field, &peer.to_bytes());
            addresses
                .iter()
                .for_each(|address| put_short(&mut field, address.as_ref()));
            put_field(&mut body, TAG_PEER, &field);
        }
        body
    }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), TicketError> {
    match count <= limit {
        true => Ok(()),
        false => Err(TicketError::TooMuch { what, limit }),
    }
}

/// Everything that is put so has a limit below 256 bytes.
fn put_short(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(bytes);
}

/// As [`put_short`], of the whole ticket.
fn put_field(to: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    to.push(tag);
    to.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(bytes);
}

/// The checksum of a ticket with `content` behind its prefix.
fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = Hasher::new();
    hasher.update(PREFIX.as_bytes());
    hasher.update(VERSION.to_string().as_bytes());
    hasher.update(content);
    hasher.finalize().to_be_bytes()
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        let length = u16::try_from(body.len()).map_err(|_| fmt::Error)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(body);
        bytes.extend(checksum(&bytes));
        write!(f, "{PREFIX}{VERSION}{}", base32(&bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        if !Self::is_meant(text) {
            return Err(TicketError::NotOne);
        }
        at_most("characters", text.chars().count(), MAX_TICKET_CHARS)?;
        let mut characters = text.chars().skip(PREFIX.len());
        match characters.next() {
            Some(VERSION) => {}
            Some(other) => return Err(TicketError::Later(other)),
            None => return Err(TicketError::NotOne),
        }
        let mut digits = Vec::new();
        for (character, place) in characters.zip(PREFIX.len() + 2..) {
            let digit = ALPHABET
                .iter()
                .zip(0u8..)
                .find_map(|(letter, digit)| (char::from(*letter) == character.to_ascii_lowercase()).then_some(digit));
            digits.push(digit.ok_or(TicketError::WrongCharacter { character, place })?);
        }
        let content = content(&digits)?;
        of_body(content.get(LENGTH_BYTES..).unwrap_or_default())
    }
}

/// Length and body of a ticket that is whole, from its base-32 digits.
fn content(digits: &[u8]) -> Result<Vec<u8>, TicketError> {
    let (mut bytes, rest) = from_base32(digits);
    let length = match bytes.get(..LENGTH_BYTES).and_then(|length| length.try_into().ok()) {
        Some(length) => usize::from(u16::from_be_bytes(length)),
        None => 0,
    };
    at_most("bytes", length, MAX_BODY_BYTES).map_err(|_| TicketError::Mistyped)?;
    let wanted = (LENGTH_BYTES + length + CHECKSUM_BYTES) * 8;
    let missing = wanted.div_ceil(5).saturating_sub(digits.len());
    if missing > 0 {
        return Err(TicketError::Cut { missing });
    }
    let sum = bytes.split_off(bytes.len().min(LENGTH_BYTES + length));
    if digits.len() > wanted.div_ceil(5) || rest != 0 || sum != checksum(&bytes) {
        return Err(TicketError::Mistyped);
    }
    Ok(bytes)
}

fn of_body(mut body: &[u8]) -> Result<Ticket, TicketError> {
    const SHORT: TicketError = TicketError::Malformed("it ends too early");
    let (kind, rest) = body.split_first().ok_or(SHORT)?;
    body = rest;
    let subject = take_short(&mut body).ok_or(SHORT)?;
    let address = match *kind {
        KIND_NAME => PeerId::from_bytes(subject)
            .ok()
            .map(|key| Address::Name(Name::from_peer_id(key))),
        KIND_ROOT => Cid::try_from(subject).ok().map(|cid| Address::Root {
            cid,
            path: String::new(),
        }),
        other => return Err(TicketError::OtherKind(other)),
    };
    let mut ticket = Ticket {
        address: address.ok_or(TicketError::Malformed("neither a name nor a root"))?,
        label: None,
        contacts: Vec::new(),
    };
    while let Some((tag, rest)) = body.split_first() {
        body = rest;
        let length = take(&mut body, LENGTH_BYTES)
            .and_then(|length| length.try_into().ok())
            .ok_or(SHORT)?;
        let field = take(&mut body, usize::from(u16::from_be_bytes(length))).ok_or(SHORT)?;
        match *tag {
            TAG_LABEL => {
                at_most("bytes in a name", field.len(), MAX_LABEL_BYTES)?;
                let label = std::str::from_utf8(field).ok().and_then(|label| label.parse().ok());
                ticket.label = Some(label.ok_or(TicketError::Malformed("a name that no dataset can have"))?);
            }
            TAG_PEER => {
                ticket.contacts.push(contact(field)?);
                at_most("peers", ticket.contacts.len(), MAX_PEERS)?;
            }
            // Of a later version that does without being understood.
            _ => {}
        }
    }
    Ok(ticket)
}

fn contact(mut field: &[u8]) -> Result<Contact, TicketError> {
    const SHORT: TicketError = TicketError::Malformed("a peer ends too early");
    let peer = take_short(&mut field).ok_or(SHORT)?;
    let peer = PeerId::from_bytes(peer).map_err(|_| TicketError::Malformed("a peer without an id"))?;
    let (mut addresses, mut count) = (Vec::new(), 0);
    while !field.is_empty() {
        let address = take_short(&mut field).ok_or(SHORT)?;
        count += 1;
        at_most("addresses of a peer", count, MAX_PEER_ADDRESSES)?;
        at_most("bytes in an address", address.len(), MAX_ADDRESS_BYTES)?;
        // A transport that is not known here; the others do.
        addresses.extend(Multiaddr::try_from(address.to_vec()));
    }
    Ok(Contact { peer, addresses })
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

fn take_short<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first()?;
    *from = rest;
    take(from, usize::from(*length))
}

/// Without padding.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let bits = group.iter().fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte)) << (8 * (5 - group.len()));
        for digit in 0..(group.len() * 8).div_ceil(5) {
            let digit = usize::try_from((bits >> (35 - 5 * digit)) & 31).unwrap_or_default();
            text.extend(ALPHABET.get(digit).copied().map(char::from));
        }
    }
    text
}

/// The whole bytes in digits of five bits, and the bits that are left.
fn from_base32(digits: &[u8]) -> (Vec<u8>, u16) {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u16, 0);
    for digit in digits {
        bits = (bits << 5) | u16::from(*digit);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.extend((bits >> count).to_be_bytes().last());
            bits &= (1 << count) - 1;
        }
    }
    (bytes, bits)
}

#[cfg(test)]
mod tests;
