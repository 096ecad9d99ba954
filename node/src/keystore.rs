//! Named private keys on disk, readable by their owner only, in Kubo's file form.
//!
//! A key named `n` is the file `key_<base32 of n, lower case, no padding>` that holds a libp2p protobuf `PrivateKey`, so
//! a Kubo keystore directory can be read as it is. Keys travel in the two forms of `ipfs key export`: that protobuf, and
//! PKCS#8 in PEM.
//!
//! # Limitations
//! Keys are not encrypted; whoever can read the file has the key. New keys are ed25519; other kinds that libp2p knows
//! are kept and used, but leave only as protobuf.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub use libp2p::identity::Keypair;
use multibase::Base;

/// What every file name begins with.
const PREFIX: &str = "key_";
/// The longest name of a key, in bytes: its file name has to fit into 255.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest key file that is read; an RSA key of 8192 bits is under 5 KiB.
pub const MAX_KEY_BYTES: u64 = 16 << 10;
/// The name that stands for the peer's own key and cannot be given to another one.
pub const SELF: &str = "self";

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// PKCS#8 version 1 header of an ed25519 key (RFC 8410): the 32 bytes of the seed follow.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// How a key is written outside the keystore; the names are those of `ipfs key export --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `libp2p-protobuf-cleartext`: the bytes of the keystore file.
    Protobuf,
    /// `pem-pkcs8-cleartext`.
    Pem,
}

/// Why a key could not be had, made or kept. Unless a variant says otherwise nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// Not a name for a key.
    #[error("{0:?} cannot be the name of a key: 1 to {MAX_NAME_BYTES} bytes, no slash, not `{SELF}`")]
    BadName(String),
    /// No key has the name.
    #[error("no key by the given name was found: {0}")]
    Unknown(String),
    /// The name is in use.
    #[error("key with name '{0}' already exists")]
    Exists(String),
    /// The bytes are no private key of a known kind.
    #[error("not a private key: {0}")]
    Malformed(String),
    /// The key has no such form.
    #[error("only ed25519 keys can be written as PKCS#8; use the protobuf form")]
    NoPem,
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A directory of keys. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Keystore {
    dir: PathBuf,
}

impl Keystore {
    /// Uses `dir`, which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(dir: &Path) -> Result<Self, KeystoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Names and keys, sorted by name. Files of other names are passed over.
    ///
    /// # Errors
    /// The directory or a key cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Keypair)>, KeystoreError> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("read", &self.dir))? {
            let entry = entry.map_err(failed("read", &self.dir))?;
            if let Some(name) = entry.file_name().to_str().and_then(decode_name) {
                let key = self.read(&name, &entry.path())?;
                keys.push((name, key));
            }
        }
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(keys)
    }

    /// The key of this name.
    ///
    /// # Errors
    /// [`KeystoreError::Unknown`], or it cannot be read.
    pub fn get(&self, name: &str) -> Result<Keypair, KeystoreError> {
        self.read(name, &self.path(name)?)
    }

    /// Whether a key has this name.
    ///
    /// # Errors
    /// [`KeystoreError::BadName`].
    pub fn contains(&self, name: &str) -> Result<bool, KeystoreError> {
        Ok(self.path(name)?.exists())
    }

    /// Makes a new ed25519 key and keeps it.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`], or it cannot be written.
    pub fn generate(&self, name: &str) -> Result<Keypair, KeystoreError> {
        let key = Keypair::generate_ed25519();
        self.insert(name, &key)?;
        Ok(key)
    }

    /// Keeps a key under a new name; it is durable when this returns.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`], or it cannot be written.
    pub fn insert(&self, name: &str, key: &Keypair) -> Result<(), KeystoreError> {
        let path = self.path(name)?;
        if path.exists() {
            return Err(KeystoreError::Exists(name.to_owned()));
        }
        // A name that is no key's, so a crash in between leaves a file that is passed over.
        let pending = self.dir.join(format!(".pending-{}", encode_name(name)));
        let written = write_private(&pending, &protobuf(key)?).and_then(|()| fs::rename(&pending, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&pending);
            return Err(failed("write", &path)(error));
        }
        self.sync()
    }

    /// Gives a key another name, replacing the key of that name if `replace` is set. Says whether one was.
    ///
    /// # Errors
    /// [`KeystoreError::Unknown`], [`KeystoreError::Exists`].
    pub fn rename(&self, from: &str, to: &str, replace: bool) -> Result<bool, KeystoreError> {
        let (old, new) = (self.path(from)?, self.path(to)?);
        if !old.exists() {
            return Err(KeystoreError::Unknown(from.to_owned()));
        }
        let replaced = old != new && new.exists();
        if replaced && !replace {
            return Err(KeystoreError::Exists(to.to_owned()));
        }
        fs::rename(&old, &new).map_err(failed("rename", &old))?;
        self.sync()?;
        Ok(replaced)
    }

    /// Removes a key for good and returns it.
    ///
    /// # Errors
    /// [`KeystoreError::Unknown`], or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Keypair, KeystoreError> {
        let key = self.get(name)?;
        let path = self.path(name)?;
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        self.sync()?;
        Ok(key)
    }

    fn path(&self, name: &str) -> Result<PathBuf, KeystoreError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name == SELF || name.contains(['/', '\0']) {
            return Err(KeystoreError::BadName(name.chars().take(MAX_NAME_BYTES).collect()));
        }
        Ok(self.dir.join(encode_name(name)))
    }

    fn read(&self, name: &str, path: &Path) -> Result<Keypair, KeystoreError> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeystoreError::Unknown(name.to_owned())),
            Err(error) => Err(failed("open", path)(error)),
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
                decode(&bytes)
            }
        }
    }

    fn sync(&self) -> Result<(), KeystoreError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", &self.dir))
    }
}

/// Writes a key for another program.
///
/// # Errors
/// [`KeystoreError::NoPem`] for PKCS#8 of a key that is not ed25519.
pub fn encode(key: &Keypair, format: Format) -> Result<Vec<u8>, KeystoreError> {
    match format {
        Format::Protobuf => protobuf(key),
        Format::Pem => {
            let key = key.clone().try_into_ed25519().map_err(|_| KeystoreError::NoPem)?;
            let mut der = PKCS8_ED25519.to_vec();
            der.extend_from_slice(key.secret().as_ref());
            let text = Base::Base64Pad.encode(&der);
            Ok(format!("{PEM_BEGIN}\n{text}\n{PEM_END}\n").into_bytes())
        }
    }
}

/// Reads a key that another program wrote, in either [`Format`].
///
/// # Errors
/// [`KeystoreError::Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Keypair, KeystoreError> {
    let malformed = |reason: &str| KeystoreError::Malformed(reason.to_owned());
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(malformed("it is too long"));
    }
    let pem = std::str::from_utf8(bytes).ok().map(str::trim).and_then(|text| text.strip_prefix(PEM_BEGIN));
    let Some(pem) = pem else {
        return Keypair::from_protobuf_encoding(bytes).map_err(|error| KeystoreError::Malformed(error.to_string()));
    };
    let body = pem.strip_suffix(PEM_END).ok_or_else(|| malformed("the PEM has no end"))?;
    let body: String = body.split_whitespace().collect();
    let der = Base::Base64Pad.decode(body).map_err(|_| malformed("the PEM is not base64"))?;
    let seed = der.strip_prefix(&PKCS8_ED25519).and_then(|rest| rest.get(..32));
    let mut seed: [u8; 32] =
        seed.and_then(|seed| seed.try_into().ok()).ok_or_else(|| malformed("the PEM holds no ed25519 key"))?;
    Keypair::ed25519_from_bytes(&mut seed).map_err(|error| KeystoreError::Malformed(error.to_string()))
}

fn protobuf(key: &Keypair) -> Result<Vec<u8>, KeystoreError> {
    key.to_protobuf_encoding().map_err(|error| KeystoreError::Malformed(error.to_string()))
}

fn encode_name(name: &str) -> String {
    format!("{PREFIX}{}", Base::Base32Lower.encode(name))
}

fn decode_name(file: &str) -> Option<String> {
    let bytes = Base::Base32Lower.decode(file.strip_prefix(PREFIX)?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Writes a file that nobody else can read, and syncs it.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeystoreError + use<> {
    let path = path.to_owned();
    move |source| KeystoreError::Io { operation, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_come_back_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keystore::open(&dir.path().join("keys")).unwrap();
        let key = keys.generate("my key").unwrap();
        assert_eq!(keys.get("my key").unwrap().public(), key.public());
        assert_eq!(keys.list().unwrap().len(), 1);
        let path = dir.path().join("keys/key_nv4sa23fpe");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(keys.generate("my key"), Err(KeystoreError::Exists(_))));
        assert!(!keys.rename("my key", "other", false).unwrap());
        assert!(matches!(keys.get("my key"), Err(KeystoreError::Unknown(_))));
        keys.remove("other").unwrap();
        assert!(keys.list().unwrap().is_empty());
    }

    #[test]
    fn names_stay_inside_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keystore::open(dir.path()).unwrap();
        for name in ["", "self", "../x", "a/b", &"a".repeat(MAX_NAME_BYTES + 1)] {
            assert!(matches!(keys.generate(name), Err(KeystoreError::BadName(_))), "{name}");
        }
        keys.generate(&"é".repeat(MAX_NAME_BYTES / 2)).unwrap();
    }

    #[test]
    fn both_forms_carry_the_key() {
        let key = Keypair::generate_ed25519();
        for format in [Format::Protobuf, Format::Pem] {
            let written = encode(&key, format).unwrap();
            assert_eq!(decode(&written).unwrap().public(), key.public());
        }
        // RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = decode(pem.as_bytes()).unwrap();
        assert_eq!(encode(&key, Format::Pem).unwrap(), pem.as_bytes());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [&b""[..], b"\x08", b"-----BEGIN PRIVATE KEY-----", &[0xff; 80], &vec![0; 20_000]] {
            assert!(matches!(decode(bytes), Err(KeystoreError::Malformed(_))));
        }
    }
}
