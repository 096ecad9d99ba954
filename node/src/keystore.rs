//! Named private keys on disk, readable by their owner only, in Kubo's file form.
//!
//! One file a key: the libp2p protobuf of the private key, under the name `key_` and the base32 of the key's name, as in
//! a Kubo repository, so keys move both ways by copying. A file appears whole or not at all, and is never overwritten
//! unless that is asked for; a link in its place is not followed. [`mod@format`] knows the forms in which keys leave and
//! enter.

mod error;
pub mod format;
pub mod words;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub use error::{KeystoreError, MAX_KEY_BYTES, MAX_NAME_BYTES, SELF};
use libp2p::PeerId;
pub use libp2p::identity::{Keypair, PublicKey};
use multibase::Base;
use odf_disk::{Access, Disk, PENDING_PREFIX, read_small};

const PREFIX: &str = "key_";
/// Two changes of a directory that are farther apart than this are known by their times, on every file system.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// A directory of keys. Cloning gives another handle on it.
#[derive(Clone, Debug)]
pub struct Keystore {
    disk: Disk,
    dir: PathBuf,
    seen: Arc<Mutex<Seen>>,
    #[cfg(test)]
    reads: Arc<std::sync::atomic::AtomicUsize>,
}

/// What was met when all keys were read.
#[derive(Debug, Default)]
struct Seen {
    /// Under which name a key was found. Whoever uses that reads the key and looks whether it is the one.
    names: HashMap<PeerId, String>,
    /// How the directory looked then, if each of them could be read: until it looks otherwise there are no others.
    all: Option<Look>,
}

/// What a directory looks like from outside: inode, and when names in it were changed last.
type Look = (u64, SystemTime);

impl Keystore {
    /// Opens the keys in `dir`, making the directory if need be. It is closed to everybody but its owner (mode 0700).
    ///
    /// # Errors
    /// [`KeystoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, KeystoreError> {
        Self::open_on(Disk::new(), dir)
    }

    /// As [`Keystore::open`], writing through this disk.
    ///
    /// # Errors
    /// [`KeystoreError::Io`].
    pub fn open_on(disk: Disk, dir: &Path) -> Result<Self, KeystoreError> {
        disk.create_dirs(dir, Access::Owner)?;
        let mode = fs::metadata(dir)
            .map_err(|source| failed("read", dir, source))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            let closed = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
            closed.map_err(|source| failed("close to others", dir, source))?;
        }
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            seen: Arc::default(),
            #[cfg(test)]
            reads: Arc::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of all keys, sorted. Files that are no keys are passed over.
    ///
    /// # Errors
    /// [`KeystoreError::Io`].
    pub fn names(&self) -> Result<Vec<String>, KeystoreError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|source| failed("read", &self.dir, source))? {
            let entry = entry.map_err(|source| failed("read", &self.dir, source))?;
            names.extend(entry.file_name().to_str().and_then(name_of_file));
        }
        names.sort();
        Ok(names)
    }

    /// The key of that name, if there is one.
    ///
    /// # Errors
    /// The name is none, or the file cannot be read or holds no key.
    pub fn get(&self, name: &str) -> Result<Option<Keypair>, KeystoreError> {
        let path = self.path(name)?;
        #[cfg(test)]
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // One byte over the limit is no I/O error but no key.
        match read_small(&path, MAX_KEY_BYTES) {
            Err(error) if error.source.kind() == io::ErrorKind::InvalidData => Err(KeystoreError::NotAKey {
                what: path.display().to_string(),
                reason: error.source.to_string(),
            }),
            read => match read? {
                None => Ok(None),
                Some(bytes) => decode(&bytes, &path.display().to_string()).map(Some),
            },
        }
    }

    /// The key whose public half has this peer id. Files that cannot be read are passed over.
    ///
    /// It is looked for under the name that it had last, then under the `likely` ones, and only then under all: that reads
    /// every key, and remembers where each is for as long as this store or a clone of it lives. A key that is not here is not
    /// looked for again until a name in the directory comes or goes.
    pub fn find(&self, id: &PeerId, likely: &[String]) -> Option<Keypair> {
        let get = |name: &String| {
            let key = self.get(name).ok()??;
            (key.public().to_peer_id() == *id).then_some(key)
        };
        let last = self.seen().names.get(id).cloned();
        let known = last.iter().chain(likely).find_map(get);
        if known.is_some() {
            return known;
        }
        let look = self.look();
        {
            let seen = self.seen();
            if look.is_some() && seen.all == look && !seen.names.contains_key(id) {
                return None;
            }
        }
        let (mut found, mut is_all) = (None, true);
        let mut names = HashMap::new();
        for name in self.names().ok()? {
            let Ok(Some(key)) = self.get(&name) else {
                is_all = false;
                continue;
            };
            let key_id = key.public().to_peer_id();
            names.entry(key_id).or_insert(name);
            if key_id == *id {
                found.get_or_insert(key);
            }
        }
        *self.seen() = Seen {
            names,
            all: look.filter(|_| is_all),
        };
        found
    }

    /// What the directory looks like; nothing if it was changed just now, since a second change may look the same.
    fn look(&self) -> Option<Look> {
        let found = fs::metadata(&self.dir).ok()?;
        let changed = found.modified().ok()?;
        let is_settled = changed.elapsed().is_ok_and(|age| age >= SETTLED_AFTER);
        is_settled.then_some((found.ino(), changed))
    }

    /// The key of that name; a fresh ed25519 key under it when there was none.
    ///
    /// # Errors
    /// As [`Keystore::get`] and [`Keystore::insert`].
    pub fn get_or_generate(&self, name: &str) -> Result<Keypair, KeystoreError> {
        loop {
            if let Some(key) = self.get(name)? {
                return Ok(key);
            }
            match self.generate(name) {
                // Somebody else was faster: theirs it is.
                Err(KeystoreError::Exists { .. }) => {}
                made => return made,
            }
        }
    }

    /// Makes a fresh ed25519 key.
    ///
    /// # Errors
    /// As [`Keystore::insert`].
    pub fn generate(&self, name: &str) -> Result<Keypair, KeystoreError> {
        let key = Keypair::generate_ed25519();
        self.insert(name, &key)?;
        Ok(key)
    }

    /// Keeps a key under a name that is free. It survives power loss when this returns.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`]; a name that is none; the file cannot be written.
    pub fn insert(&self, name: &str, key: &Keypair) -> Result<(), KeystoreError> {
        let path = self.path(name)?;
        // With a number, so that two writers do not meet; a crash may leave one behind.
        let fresh = self.dir.join(format!("{PENDING_PREFIX}{:016x}", rand::random::<u64>()));
        let bytes = encode(key)?;
        let write = || {
            let file = self.disk.create_new(&fresh, Access::Owner)?;
            let linked = file
                .write_at(&bytes, 0)
                .and_then(|()| file.sync())
                // Unlike a rename, a link does not replace a key that is there.
                .and_then(|()| self.disk.link(&fresh, &path));
            let removed = self.disk.remove_file(&fresh);
            linked.and(removed)?;
            self.disk.sync_dir(&self.dir)
        };
        write().map_err(|error| match error.source.kind() {
            io::ErrorKind::AlreadyExists => KeystoreError::Exists { name: name.to_owned() },
            _ => error.into(),
        })
    }

    /// Gives the key `from` the name `to`; with `replace` also if a key has it, which is then gone.
    ///
    /// # Errors
    /// [`KeystoreError::NotFound`], [`KeystoreError::Exists`], [`KeystoreError::Reserved`], a name that is none, or the
    /// file cannot be renamed. The keys are as they were.
    pub fn rename(&self, from: &str, to: &str, replace: bool) -> Result<(), KeystoreError> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        if from == SELF || to == SELF {
            return Err(KeystoreError::Reserved);
        }
        if fs::symlink_metadata(&source).is_err() {
            return Err(KeystoreError::NotFound { name: from.to_owned() });
        }
        if from != to && fs::symlink_metadata(&target).is_ok() && !replace {
            return Err(KeystoreError::Exists { name: to.to_owned() });
        }
        self.disk.rename(&source, &target)?;
        Ok(self.disk.sync_dir(&self.dir)?)
    }

    /// Removes the key of that name; whether there was one.
    ///
    /// # Errors
    /// [`KeystoreError::Reserved`], a name that is none, or the file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool, KeystoreError> {
        let path = self.path(name)?;
        if name == SELF {
            return Err(KeystoreError::Reserved);
        }
        match self.disk.remove_file(&path) {
            Err(error) if error.is_not_found() => return Ok(false),
            other => other?,
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(true)
    }

    fn path(&self, name: &str) -> Result<PathBuf, KeystoreError> {
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
        if !fits || name.contains('/') || name.chars().any(char::is_control) {
            return Err(KeystoreError::BadName {
                name: name.chars().take(MAX_NAME_BYTES).collect(),
            });
        }
        Ok(self.dir.join(format!("{PREFIX}{}", Base::Base32Lower.encode(name))))
    }
}

/// The private key in the form of a key file, which is also that of Kubo's `key export`: libp2p's protobuf, not
/// encrypted.
///
/// # Errors
/// [`KeystoreError::NotAKey`] for a kind of key that has no such form here.
pub fn encode(key: &Keypair) -> Result<Vec<u8>, KeystoreError> {
    format::encode(key, format::KeyFormat::Libp2pProtobuf)
}

/// Reads a private key that [`encode`] or Kubo wrote. `what` says where the bytes are from, for the message.
///
/// # Errors
/// [`KeystoreError::NotAKey`], [`KeystoreError::UnsupportedKind`].
pub fn decode(bytes: &[u8], what: &str) -> Result<Keypair, KeystoreError> {
    format::decode(bytes, Some(format::KeyFormat::Libp2pProtobuf), what)
}

/// The ed25519 public key with these bytes, if they are one.
pub fn ed25519_public(bytes: &[u8; 32]) -> Option<PublicKey> {
    libp2p::identity::ed25519::PublicKey::try_from_bytes(bytes)
        .ok()
        .map(PublicKey::from)
}

fn name_of_file(file: &str) -> Option<String> {
    String::from_utf8(Base::Base32Lower.decode(file.strip_prefix(PREFIX)?).ok()?).ok()
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> KeystoreError {
    KeystoreError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Keystore) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keystore::open(&dir.path().join("keys")).unwrap();
        (dir, keys)
    }

    #[test]
    fn keys_come_back_under_their_names() {
        let (_dir, keys) = open();
        let made = keys.generate("second").unwrap();
        keys.generate("first key").unwrap();
        assert_eq!(keys.names().unwrap(), ["first key", "second"]);
        assert_eq!(keys.get("second").unwrap().unwrap().public(), made.public());
        assert_eq!(keys.get_or_generate("second").unwrap().public(), made.public());
        assert!(keys.get("third").unwrap().is_none());
        assert!(keys.remove("second").unwrap());
        assert!(!keys.remove("second").unwrap());
    }

    #[test]
    fn a_key_is_found_by_its_public_half_and_others_are_read_once() {
        let (dir, keys) = open();
        let ids: Vec<PeerId> = (0..20)
            .map(|n| keys.generate(&format!("k{n}")).unwrap().public().to_peer_id())
            .collect();
        fs::write(dir.path().join("keys/key_onswyzq"), b"junk").unwrap();
        let found = |id: &PeerId, likely: &[&str]| {
            let before = keys.reads.load(std::sync::atomic::Ordering::Relaxed);
            let likely: Vec<String> = likely.iter().map(|name| (*name).to_owned()).collect();
            let key = keys.find(id, &likely);
            assert!(key.as_ref().is_none_or(|key| key.public().to_peer_id() == *id));
            let reads = keys.reads.load(std::sync::atomic::Ordering::Relaxed) - before;
            (key.is_some(), reads)
        };
        assert_eq!(found(&ids[3], &["k3"]), (true, 1), "where it is likely to be");
        assert_eq!(found(&ids[3], &["k4", "none"]), (true, 2 + 21), "a guess is no answer");
        for id in &ids {
            assert_eq!(found(id, &[]), (true, 1), "where it was seen");
        }
        // What was seen says nothing of what is there now.
        keys.rename("k5", "k6", true).unwrap();
        assert_eq!(found(&ids[5], &[]), (true, 1 + 20));
        assert!(!found(&ids[6], &[]).0, "another has its name");
        keys.remove("k7").unwrap();
        assert!(!found(&ids[7], &["k7"]).0);
        assert_eq!(found(&ids[8], &[]), (true, 1));
    }

    #[test]
    fn a_key_that_is_not_here_is_looked_for_once_until_names_come_or_go() {
        let (dir, keys) = open();
        (0..5).for_each(|n| drop(keys.generate(&format!("k{n}")).unwrap()));
        let absent = Keypair::generate_ed25519();
        let id = absent.public().to_peer_id();
        let reads = || {
            let before = keys.reads.load(std::sync::atomic::Ordering::Relaxed);
            let found = keys.find(&id, &[]).is_some();
            (found, keys.reads.load(std::sync::atomic::Ordering::Relaxed) - before)
        };
        let age = |age: Duration| {
            let opened = fs::File::open(dir.path().join("keys")).unwrap();
            opened.set_modified(SystemTime::now() - age).unwrap();
        };
        assert_eq!([reads(), reads()], [(false, 5); 2], "changed just now");
        age(2 * SETTLED_AFTER);
        assert_eq!([reads(), reads()], [(false, 5), (false, 0)]);
        keys.insert("new", &absent).unwrap();
        assert!(reads().0);
        keys.remove("new").unwrap();
        age(3 * SETTLED_AFTER);
        assert_eq!([reads().0, reads().0], [false; 2]);
        // By hand, without a word.
        let file = keys.path("by hand").unwrap();
        fs::write(&file, encode(&absent).unwrap()).unwrap();
        assert!(reads().0);
        // One that cannot be read may be any.
        fs::write(&file, b"junk").unwrap();
        age(4 * SETTLED_AFTER);
        assert_eq!([reads(), reads()], [(false, 6 + 1), (false, 6)]);
    }

    #[test]
    fn keys_change_names_but_the_peers_own_does_not() {
        let (_dir, keys) = open();
        let [a, b, own] = ["a", "b", SELF].map(|name| keys.generate(name).unwrap().public());
        let public = |name: &str| keys.get(name).unwrap().map(|key| key.public());
        assert!(matches!(
            keys.rename("x", "y", false),
            Err(KeystoreError::NotFound { .. })
        ));
        assert!(matches!(
            keys.rename("a", "b", false),
            Err(KeystoreError::Exists { .. })
        ));
        assert!(matches!(keys.rename("a", "", true), Err(KeystoreError::BadName { .. })));
        assert_eq!((public("a"), public("b")), (Some(a.clone()), Some(b)));
        keys.rename("a", "a", false).unwrap();
        keys.rename("a", "b", true).unwrap();
        assert_eq!((public("a"), public("b")), (None, Some(a)));
        assert!(matches!(keys.rename(SELF, "c", true), Err(KeystoreError::Reserved)));
        assert!(matches!(keys.rename("b", SELF, true), Err(KeystoreError::Reserved)));
        assert!(matches!(keys.remove(SELF), Err(KeystoreError::Reserved)));
        assert_eq!(public(SELF), Some(own));
    }

    #[test]
    fn files_are_those_of_kubo_and_private() {
        let (dir, keys) = open();
        keys.generate("self").unwrap();
        let file = dir.path().join("keys/key_onswyzq");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(dir.path().join("keys")).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let bytes = fs::read(&file).unwrap();
        // KeyType 1 = Ed25519, then 64 bytes: secret and public part.
        assert_eq!((bytes.len(), &bytes[..4]), (68, &[0x08, 0x01, 0x12, 0x40][..]));
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_dir, keys) = open();
        let made = keys.generate("a").unwrap();
        assert!(matches!(keys.generate("a"), Err(KeystoreError::Exists { .. })));
        assert_eq!(keys.get("a").unwrap().unwrap().public(), made.public());
        assert_eq!(keys.names().unwrap(), ["a"], "nothing unfinished is left");
    }

    #[test]
    fn a_key_that_was_made_survives_a_power_cut_and_one_under_way_leaves_nothing() {
        use odf_disk::crash::{Recorder, Unsynced};
        let (before, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let recorder = Recorder::new(dir.path());
        let keys = Keystore::open_on(Disk::with(recorder.clone()), &dir.path().join("keys")).unwrap();
        let opened = recorder.calls();
        let made = keys.generate("a").unwrap().public();
        let done = recorder.calls();
        keys.rename("a", "b", false).unwrap();
        for calls in opened..=recorder.calls() {
            for unsynced in Unsynced::ALL {
                let image = tempfile::tempdir().unwrap();
                recorder
                    .image(before.path(), calls, unsynced, image.path(), &|_| false)
                    .unwrap();
                let keys = Keystore::open(&image.path().join("keys")).unwrap();
                let names = keys.names().unwrap();
                if calls >= done {
                    assert!(
                        names == ["a"] || names == ["b"],
                        "after {calls} calls, {unsynced:?}: {names:?}"
                    );
                }
                for name in names {
                    assert_eq!(keys.get(&name).unwrap().unwrap().public(), made);
                }
            }
        }
    }

    #[test]
    fn links_are_not_followed() {
        let (dir, keys) = open();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, encode(&Keypair::generate_ed25519()).unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, keys.path("linked").unwrap()).unwrap();
        assert!(matches!(keys.get("linked"), Err(KeystoreError::Io { .. })));
        assert!(matches!(keys.generate("linked"), Err(KeystoreError::Exists { .. })));
    }

    #[test]
    fn many_at_once_agree_on_one_key() {
        let (_dir, keys) = open();
        let made: Vec<_> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| keys.get_or_generate("self").unwrap().public()))
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]));
        assert_eq!(
            fs::read_dir(&keys.dir).unwrap().count(),
            1,
            "nothing unfinished is left"
        );
    }

    #[test]
    fn bad_names_and_bad_files_are_refused() {
        let (dir, keys) = open();
        for name in ["", "../x", "a\nb", &"x".repeat(MAX_NAME_BYTES + 1)] {
            assert!(
                matches!(keys.generate(name), Err(KeystoreError::BadName { .. })),
                "{name:?}"
            );
        }
        keys.generate(&"x".repeat(MAX_NAME_BYTES)).unwrap();
        fs::write(dir.path().join("keys/key_onswyzq"), b"junk").unwrap();
        assert!(matches!(keys.get("self"), Err(KeystoreError::NotAKey { .. })));
        let key = encode(&Keypair::generate_ed25519()).unwrap();
        assert!(decode(&key, "x").is_ok());
        let limit = usize::try_from(MAX_KEY_BYTES).unwrap();
        assert!(matches!(
            decode(&vec![0; limit + 1], "x"),
            Err(KeystoreError::NotAKey { .. })
        ));
    }
}
