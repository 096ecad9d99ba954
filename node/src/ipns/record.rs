//! IPNS records: what a key says its name points to, signed, with a sequence number and an end.
//!
//! Spec: <https://specs.ipfs.tech/ipns/ipns-record/>. Records are written with both signatures, as Kubo does, so that
//! old readers take them; only the second one is ever verified. Nothing here looks at a clock or a network.

mod name;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use cid::Cid;
use ipld_core::ipld::Ipld;
use libp2p::identity::{Keypair, PublicKey};

pub use self::name::{Name, NameError};
use crate::protobuf::{Broken, Value, next_field, put_bytes, put_number};

/// The longest record that is read or written, in bytes.
pub const MAX_RECORD_BYTES: usize = 10 << 10;

/// What the second signature is made over, in front of the data.
const SIGNATURE_PREFIX: &[u8] = b"ipns-signature:";
/// The one validity type: the record holds until a time.
const VALID_UNTIL: u64 = 0;
/// That type as the first signature has it.
const VALID_UNTIL_TEXT: &[u8] = b"EOL";

/// A record whose signature was verified against the name it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    name: Name,
    bytes: Bytes,
    value: Vec<u8>,
    sequence: u64,
    ttl: Duration,
    valid_until: SystemTime,
}

/// What a new record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents<'a> {
    /// Usually `/ipfs/` or `/ipns/` and a CID, with or without a path.
    pub value: &'a str,
    /// Above that of every record of the name with another value.
    pub sequence: u64,
    /// Until when the record holds.
    pub valid_until: SystemTime,
    /// How long a resolver may keep the answer before it asks again. Whole nanoseconds up to 2^63.
    pub ttl: Duration,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Longer than [`MAX_RECORD_BYTES`].
    #[error("a record of {len} bytes for {name} exceeds the limit of {MAX_RECORD_BYTES}")]
    TooLarge {
        /// The name asked for.
        name: Name,
        /// Length in bytes.
        len: usize,
    },
    /// Bytes that are not those of a record.
    #[error("the record for {name} is malformed: {reason}")]
    Malformed {
        /// The name asked for.
        name: Name,
        /// What is wrong.
        reason: &'static str,
    },
    /// No signature of the second kind, or no data that it could be over. Records of before 2021 are like this.
    #[error("the record for {name} has no version 2 signature")]
    Unsigned {
        /// The name asked for.
        name: Name,
    },
    /// The public key is neither in the name nor in the record.
    #[error("the record for {name} lacks the public key")]
    NoPublicKey {
        /// The name asked for.
        name: Name,
    },
    /// The public key in the record belongs to another name.
    #[error("the public key in the record is not that of {name}")]
    ForeignKey {
        /// The name asked for.
        name: Name,
    },
    /// A public key of a type that cannot be verified here.
    #[error("the key of {name} is of a type that cannot be verified here")]
    UnsupportedKey {
        /// The name asked for.
        name: Name,
    },
    /// The signature is not by the key of the name.
    #[error("the signature of the record is not by {name}")]
    BadSignature {
        /// The name asked for.
        name: Name,
    },
    /// The fields of the first version differ from the signed data.
    #[error("the record for {name} contradicts itself in {field}")]
    Contradiction {
        /// The name asked for.
        name: Name,
        /// Where.
        field: &'static str,
    },
    /// The record held until a time that has passed.
    #[error("the record for {name} has expired")]
    Expired {
        /// The name asked for.
        name: Name,
        /// Until when it held.
        valid_until: SystemTime,
    },
    /// A time before 1970 or after 9999, or a TTL over 292 years.
    #[error("a record cannot hold a time like that")]
    BadTime,
    /// The key cannot sign.
    #[error("the key of {name} cannot sign")]
    Signing {
        /// The name of the key.
        name: Name,
        /// What the key said.
        #[source]
        source: libp2p::identity::SigningError,
    },
}

/// The protobuf message. Absent and zero are different bytes, so every field is optional.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    value: Option<Vec<u8>>,
    signature_v1: Option<Vec<u8>>,
    validity_type: Option<u64>,
    validity: Option<Vec<u8>>,
    sequence: Option<u64>,
    ttl: Option<u64>,
    pub_key: Option<Vec<u8>>,
    signature_v2: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
}

/// The signed data, as dag-cbor holds it.
struct Signed {
    value: Vec<u8>,
    validity: Vec<u8>,
    validity_type: u64,
    sequence: u64,
    ttl: u64,
}

impl Message {
    /// Reads a message. As protobuf asks, unknown fields are skipped and the last of a repeated field counts.
    fn decode(mut bytes: &[u8]) -> Result<Self, Broken> {
        let mut message = Self::default();
        while let Some((field, value)) = next_field(&mut bytes)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => message.value = Some(bytes.into()),
                (2, Value::Bytes(bytes)) => message.signature_v1 = Some(bytes.into()),
                (3, Value::Number(number)) => message.validity_type = Some(number),
                (4, Value::Bytes(bytes)) => message.validity = Some(bytes.into()),
                (5, Value::Number(number)) => message.sequence = Some(number),
                (6, Value::Number(number)) => message.ttl = Some(number),
                (7, Value::Bytes(bytes)) => message.pub_key = Some(bytes.into()),
                (8, Value::Bytes(bytes)) => message.signature_v2 = Some(bytes.into()),
                (9, Value::Bytes(bytes)) => message.data = Some(bytes.into()),
                (1..=9, value) => {
                    let wire_type = value.wire_type();
                    return Err(Broken::WireType { field, wire_type });
                }
                _ => {}
            }
        }
        Ok(message)
    }

    /// The bytes: fields in the order of their numbers.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let bytes = |out: &mut Vec<u8>, field, content: &Option<Vec<u8>>| {
            if let Some(content) = content {
                put_bytes(out, field, content);
            }
        };
        let number = |out: &mut Vec<u8>, field, number: Option<u64>| {
            if let Some(number) = number {
                put_number(out, field, number);
            }
        };
        bytes(&mut out, 1, &self.value);
        bytes(&mut out, 2, &self.signature_v1);
        number(&mut out, 3, self.validity_type);
        bytes(&mut out, 4, &self.validity);
        number(&mut out, 5, self.sequence);
        number(&mut out, 6, self.ttl);
        bytes(&mut out, 7, &self.pub_key);
        bytes(&mut out, 8, &self.signature_v2);
        bytes(&mut out, 9, &self.data);
        out
    }
}

impl Record {
    /// Signs a record for the name of `key`, with both signatures. The public key goes into the record only when the
    /// name does not hold it.
    ///
    /// # Errors
    /// A time or TTL that the format cannot hold, a value that makes the record too long, a key that cannot sign.
    pub fn create(key: &Keypair, contents: &Contents<'_>) -> Result<Self, RecordError> {
        let public = key.public();
        let name = Name::from_public_key(&public);
        let validity = format_time(contents.valid_until).ok_or(RecordError::BadTime)?;
        let ttl = i64::try_from(contents.ttl.as_nanos()).map_err(|_| RecordError::BadTime)?;
        let data = encode_data(contents, validity.as_bytes(), ttl);
        let sign = |message: &[u8]| {
            key.sign(message)
                .map_err(|source| RecordError::Signing { name, source })
        };
        let message = Message {
            value: Some(contents.value.into()),
            signature_v1: Some(sign(
                &[contents.value.as_bytes(), validity.as_bytes(), VALID_UNTIL_TEXT].concat(),
            )?),
            validity_type: Some(VALID_UNTIL),
            validity: Some(validity.clone().into()),
            sequence: Some(contents.sequence),
            ttl: Some(ttl as u64),
            pub_key: name.public_key().is_none().then(|| public.encode_protobuf()),
            signature_v2: Some(sign(&[SIGNATURE_PREFIX, &data].concat())?),
            data: Some(data),
        };
        let bytes = Bytes::from(message.encode());
        check_len(name, &bytes)?;
        Ok(Self {
            name,
            bytes,
            value: contents.value.into(),
            sequence: contents.sequence,
            ttl: contents.ttl,
            valid_until: contents.valid_until,
        })
    }

    /// Takes bytes that somebody says are a record for `name`, and checks that they are and that they hold at `now`.
    ///
    /// # Errors
    /// Those of [`Record::verify_signature`], and [`RecordError::Expired`].
    pub fn verify(name: Name, bytes: Bytes, now: SystemTime) -> Result<Self, RecordError> {
        let record = Self::verify_signature(name, bytes)?;
        if record.is_expired(now) {
            return Err(RecordError::Expired {
                name,
                valid_until: record.valid_until,
            });
        }
        Ok(record)
    }

    /// As [`Record::verify`], whatever the time: for records kept from before, whose age is shown to the user.
    ///
    /// # Errors
    /// Too long, malformed, without the second signature, signed by another key, or contradicting itself.
    pub fn verify_signature(name: Name, bytes: Bytes) -> Result<Self, RecordError> {
        Self::read(name, bytes, true)
    }

    /// A record that was verified before it was kept here, to be looked at: only its form is checked again. What goes to
    /// others, or is believed for them, is verified.
    ///
    /// # Errors
    /// Too long, malformed, without the second signature, or contradicting itself.
    pub(super) fn kept(name: Name, bytes: Bytes) -> Result<Self, RecordError> {
        Self::read(name, bytes, false)
    }

    fn read(name: Name, bytes: Bytes, verified: bool) -> Result<Self, RecordError> {
        check_len(name, &bytes)?;
        let malformed = |reason| RecordError::Malformed { name, reason };
        let message = Message::decode(&bytes).map_err(|_| malformed("it is no protobuf message"))?;
        let filled = |field: &Option<Vec<u8>>| field.clone().filter(|bytes| !bytes.is_empty());
        let (Some(signature), Some(data)) = (filled(&message.signature_v2), filled(&message.data)) else {
            return Err(RecordError::Unsigned { name });
        };
        if verified {
            let key = public_key(name, filled(&message.pub_key))?;
            if !key.verify(&[SIGNATURE_PREFIX, &data].concat(), &signature) {
                return Err(RecordError::BadSignature { name });
            }
        }
        let signed = Signed::decode(&data).map_err(malformed)?;
        if filled(&message.signature_v1).is_some() || filled(&message.value).is_some() {
            signed.check_first_version(name, &message)?;
        }
        if signed.validity_type != VALID_UNTIL {
            return Err(malformed("its validity type is not known"));
        }
        let valid_until = parse_time(&signed.validity).ok_or_else(|| malformed("its validity is not a time"))?;
        let ttl = Duration::from_nanos(signed.ttl);
        Ok(Self {
            name,
            bytes,
            value: signed.value,
            sequence: signed.sequence,
            ttl,
            valid_until,
        })
    }

    /// The name that the record is for.
    pub fn name(&self) -> Name {
        self.name
    }

    /// The record as it travels: exactly the bytes that were verified or made.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the name points to, as it is in the record; see [`Record::path`].
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// What the name points to as a content path. An empty value stands for the empty block, and a value without a
    /// slash in front is the bytes of a CID.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when the value is none of these. The record as such is good all the same.
    pub fn path(&self) -> Result<String, RecordError> {
        let malformed = |reason| RecordError::Malformed {
            name: self.name,
            reason,
        };
        match self.value.first() {
            None => Ok("/ipfs/bafkqaaa".to_owned()),
            Some(b'/') => {
                String::from_utf8(self.value.clone()).map_err(|_| malformed("its value is a path that is not UTF-8"))
            }
            Some(_) => Cid::try_from(self.value.as_slice())
                .ok()
                .filter(|cid| cid.encoded_len() == self.value.len())
                .map(|cid| format!("/ipfs/{cid}"))
                .ok_or_else(|| malformed("its value is neither a path nor a CID")),
        }
    }

    /// The number that orders records of a name: more is newer.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How long a resolver may keep the answer before it asks again.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Until when the record holds.
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// Whether the record has ceased to hold at `now`. It does not hold at its last instant.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.valid_until <= now
    }

    /// Which of two records of one name a resolver takes: the greater one. Higher sequence, then later end, then
    /// greater bytes, so that all peers take the same one.
    pub fn compare(&self, other: &Self) -> Ordering {
        let key = |record: &Self| (record.sequence, record.valid_until);
        key(self).cmp(&key(other)).then_with(|| self.bytes.cmp(&other.bytes))
    }
}

impl Signed {
    fn decode(data: &[u8]) -> Result<Self, &'static str> {
        let map: BTreeMap<String, Ipld> =
            serde_ipld_dagcbor::from_slice(data).map_err(|_| "its data is no dag-cbor map")?;
        let bytes = |key| match map.get(key) {
            Some(Ipld::Bytes(bytes)) => Ok(bytes.clone()),
            _ => Err("its data lacks Value or Validity as bytes"),
        };
        let number = |key| match map.get(key) {
            Some(Ipld::Integer(number)) => u64::try_from(*number).map_err(|_| "a number in its data is out of range"),
            None if key == "TTL" => Ok(0),
            _ => Err("its data lacks Sequence or ValidityType as a number"),
        };
        Ok(Self {
            value: bytes("Value")?,
            validity: bytes("Validity")?,
            validity_type: number("ValidityType")?,
            sequence: number("Sequence")?,
            ttl: number("TTL")?,
        })
    }

    /// The unsigned fields of the first version, which old readers use, must say what the signed data says.
    fn check_first_version(&self, name: Name, message: &Message) -> Result<(), RecordError> {
        let same = [
            ("Value", message.value.as_deref().unwrap_or_default() == self.value),
            (
                "Validity",
                message.validity.as_deref().unwrap_or_default() == self.validity,
            ),
            (
                "ValidityType",
                message.validity_type.unwrap_or_default() == self.validity_type,
            ),
            ("Sequence", message.sequence.unwrap_or_default() == self.sequence),
            ("TTL", message.ttl.unwrap_or_default() == self.ttl),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((field, _)) => Err(RecordError::Contradiction { name, field }),
            None => Ok(()),
        }
    }
}

fn check_len(name: Name, bytes: &Bytes) -> Result<(), RecordError> {
    let len = bytes.len();
    if len > MAX_RECORD_BYTES {
        Err(RecordError::TooLarge { name, len })
    } else {
        Ok(())
    }
}

/// The key that the record must be signed with: the one it carries if that is the name's, else the one in the name.
fn public_key(name: Name, carried: Option<Vec<u8>>) -> Result<PublicKey, RecordError> {
    if let Some(carried) = carried {
        if !name.is_of_key(&carried) {
            return Err(RecordError::ForeignKey { name });
        }
        return PublicKey::try_decode_protobuf(&carried).map_err(|_| RecordError::UnsupportedKey { name });
    }
    if !name.holds_key() {
        return Err(RecordError::NoPublicKey { name });
    }
    name.public_key().ok_or(RecordError::UnsupportedKey { name })
}

/// The signed data as canonical dag-cbor: keys by length, then by bytes; integers in their shortest form.
fn encode_data(contents: &Contents<'_>, validity: &[u8], ttl: i64) -> Vec<u8> {
    const UNSIGNED: u8 = 0;
    const BYTES: u8 = 2;
    const TEXT: u8 = 3;
    const MAP: u8 = 5;
    let mut out = Vec::with_capacity(128 + contents.value.len());
    let head = |out: &mut Vec<u8>, major: u8, value: u64| {
        let tag = major << 5;
        match value {
            0..24 => out.push(tag | value as u8),
            24..0x100 => out.extend([tag | 24, value as u8]),
            0x100..0x1_0000 => {
                out.push(tag | 25);
                out.extend((value as u16).to_be_bytes());
            }
            0x1_0000..0x1_0000_0000 => {
                out.push(tag | 26);
                out.extend((value as u32).to_be_bytes());
            }
            _ => {
                out.push(tag | 27);
                out.extend(value.to_be_bytes());
            }
        }
    };
    let key = |out: &mut Vec<u8>, key: &str| {
        head(out, TEXT, key.len() as u64);
        out.extend(key.as_bytes());
    };
    head(&mut out, MAP, 5);
    key(&mut out, "TTL");
    head(&mut out, UNSIGNED, ttl.unsigned_abs());
    key(&mut out, "Value");
    head(&mut out, BYTES, contents.value.len() as u64);
    out.extend(contents.value.as_bytes());
    key(&mut out, "Sequence");
    head(&mut out, UNSIGNED, contents.sequence);
    key(&mut out, "Validity");
    head(&mut out, BYTES, validity.len() as u64);
    out.extend(validity);
    key(&mut out, "ValidityType");
    head(&mut out, UNSIGNED, VALID_UNTIL);
    out
}

/// RFC 3339 in UTC with as many digits behind the second as are not zero, as Go writes it.
fn format_time(time: SystemTime) -> Option<String> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let time = DateTime::from_timestamp(i64::try_from(since.as_secs()).ok()?, since.subsec_nanos())?;
    if time.year() > 9999 {
        return None;
    }
    let text = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let text = text.strip_suffix('Z')?.trim_end_matches('0').trim_end_matches('.');
    Some(format!("{text}Z"))
}

fn parse_time(text: &[u8]) -> Option<SystemTime> {
    let time: DateTime<Utc> = DateTime::parse_from_rfc3339(std::str::from_utf8(text).ok()?)
        .ok()?
        .into();
    let (secs, nanos) = (time.timestamp(), time.timestamp_subsec_nanos());
    let whole = Duration::from_secs(secs.unsigned_abs());
    let second = if secs < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)?
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)?
    };
    second.checked_add(Duration::from_nanos(u64::from(nanos)))
}

#[cfg(test)]
mod tests;
