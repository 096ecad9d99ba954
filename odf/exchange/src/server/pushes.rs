//! Who pushed what: a log that its owner reads.
//!
//! A push is written down before the head moves, and counts only then; what fails afterwards is written down too. So every
//! change that came from outside is in it, and now and then one that a crash kept from happening.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use odf_disk::{Access, Disk, DiskError, read_small};
use odf_metadata::{DatasetId, Multihash, Timestamp};
use serde::{Deserialize, Serialize};

use super::tokens::Verb;

/// Name of the log in the workspace, and of the one before it.
const FILES: [&str; 2] = ["pushes.ndjson", "pushes.1.ndjson"];
/// From this length on the log is put aside and a new one begins; the one put aside before is gone then.
pub const MAX_LOG_BYTES: u64 = 8 << 20;

/// A push that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedPush {
    /// When.
    pub time: Timestamp,
    /// Label of the token.
    pub token: String,
    /// From which address it came, as far as that is known.
    pub from: Option<IpAddr>,
    /// Name of the dataset here.
    pub dataset: String,
    /// Its id.
    pub id: DatasetId,
    /// What it was: to create, to push or to rewrite.
    pub verb: Verb,
    /// The head before.
    pub old_head: Option<Multihash>,
    /// The head that was pushed.
    pub head: Multihash,
    /// How many metadata blocks came.
    pub blocks: u64,
    /// Why it came to nothing in the end, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The log of the pushes to one workspace. Cheap to clone; all clones take turns.
#[derive(Debug, Clone)]
pub struct PushLog {
    disk: Disk,
    root: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl PushLog {
    /// The log kept in the workspace directory `root`. Nothing is read or made yet.
    pub fn of(root: &Path, disk: &Disk) -> Self {
        Self {
            disk: disk.clone(),
            root: root.to_owned(),
            turn: Arc::default(),
        }
    }

    /// Writes a push down; it survives power loss when this returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, pushed: &LoggedPush) -> Result<(), DiskError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let [path, before] = FILES.map(|name| self.root.join(name));
        let failed = |error: serde_json::Error| DiskError::new("write", &path, error.into());
        let mut line = serde_json::to_vec(pushed).map_err(failed)?;
        line.push(b'\n');
        let (mut file, mut new) = self.disk.open_or_create(&path, Access::Owner)?;
        let mut length = file.len()?;
        if length > 0 && length.saturating_add(line.len() as u64) > MAX_LOG_BYTES {
            drop(file);
            self.disk.rename(&path, &before)?;
            (file, new) = self.disk.open_or_create(&path, Access::Owner)?;
            length = file.len()?;
        }
        // A line that a cut left half is ended, so that it takes no other with it.
        if length > 0 && last_byte(&path, length) != Some(b'\n') {
            line.insert(0, b'\n');
        }
        file.write_at(&line, length)?;
        file.sync()?;
        match new {
            true => self.disk.sync_dir(&self.root),
            false => Ok(()),
        }
    }

    /// What was written down, oldest first. Lines that are none are passed over.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn list(&self) -> Result<Vec<LoggedPush>, DiskError> {
        let mut pushes = Vec::new();
        for name in FILES.iter().rev() {
            let bytes = read_small(&self.root.join(name), MAX_LOG_BYTES + LINE_ROOM)?.unwrap_or_default();
            let lines = bytes.split(|byte| *byte == b'\n');
            pushes.extend(lines.filter_map(|line| serde_json::from_slice::<LoggedPush>(line).ok()));
        }
        Ok(pushes)
    }
}

/// More than any line has.
const LINE_ROOM: u64 = 64 << 10;

fn last_byte(path: &Path, length: u64) -> Option<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut byte = [0];
    let file = fs::File::open(path).ok()?;
    file.read_exact_at(&mut byte, length - 1).ok()?;
    Some(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(dataset: &str) -> LoggedPush {
        LoggedPush {
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            token: "ci".to_owned(),
            from: Some("192.0.2.1".parse().unwrap()),
            dataset: dataset.to_owned(),
            id: DatasetId::from_public_key([7; 32]),
            verb: Verb::Push,
            old_head: None,
            head: Multihash::sha3_256(b"x"),
            blocks: 3,
            failed: None,
        }
    }

    #[test]
    fn what_was_written_is_read_and_half_a_line_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let log = PushLog::of(dir.path(), &Disk::new());
        assert_eq!(log.list().unwrap(), []);
        log.write(&pushed("a")).unwrap();
        let path = dir.path().join(FILES[0]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        let failed = LoggedPush {
            failed: Some("the disk is full".to_owned()),
            ..pushed("b")
        };
        log.write(&failed).unwrap();
        assert_eq!(log.list().unwrap(), [pushed("a"), failed]);
    }

    #[test]
    fn a_log_that_is_full_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let log = PushLog::of(dir.path(), &Disk::new());
        log.write(&pushed("first")).unwrap();
        let path = dir.path().join(FILES[0]);
        let filled = |bytes: u64| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(bytes).unwrap();
        };
        let line = fs::metadata(&path).unwrap().len();
        // One byte of a line end is added behind what has none.
        filled(MAX_LOG_BYTES - line - 2);
        log.write(&pushed("secon")).unwrap();
        assert!(!dir.path().join(FILES[1]).exists());
        log.write(&pushed("third")).unwrap();
        assert!(dir.path().join(FILES[1]).exists());
        let names: Vec<String> = log.list().unwrap().into_iter().map(|pushed| pushed.dataset).collect();
        assert_eq!(names, ["first", "secon", "third"]);
    }
}
