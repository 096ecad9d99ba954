//! The moment from which on a change of a file shows in its times.
//!
//! File systems take the time of a change from a clock that stands still for some milliseconds, so a file that is changed twice
//! within one tick looks as if it were changed once. Whoever remembers how a file looked waits until the tick is over.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

/// Longer than the time of files stands still.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at the clock that file systems go by.
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_millis(1);

/// Waits until whatever is done to the file at `path`, which was changed at `modified`, gets a later time. Whether there was
/// anything to wait for.
pub(super) fn pass(path: &Path, modified: SystemTime) -> bool {
    // A file of a later time is somebody else's doing, and waiting helps nothing.
    let is_fresh = || modified.elapsed().is_ok_and(|age| age < TICK);
    if !is_fresh() {
        return false;
    }
    if !is_by_kernel_clock(path, modified) {
        thread::sleep(TICK);
        return true;
    }
    #[cfg(target_os = "linux")]
    while is_fresh() && kernel_time().is_none_or(|now| now <= modified) {
        thread::sleep(LOOK);
    }
    true
}

/// Whether times on this file system are those of the kernel's clock, to less than a tick of it. A server has a clock of its
/// own; and where times are whole milliseconds, or seconds, those of two ticks may be the same.
#[cfg(target_os = "linux")]
fn is_by_kernel_clock(path: &Path, modified: SystemTime) -> bool {
    /// ext2 to 4, XFS, Btrfs, tmpfs, F2FS.
    const KINDS: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010];
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    !since.subsec_nanos().is_multiple_of(1_000_000)
        && rustix::fs::statfs(path).is_ok_and(|found| KINDS.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_by_kernel_clock(_: &Path, _: SystemTime) -> bool {
    false
}

/// The time that the kernel gives to what is changed now: it writes down when a pipe was made, too.
#[cfg(target_os = "linux")]
fn kernel_time() -> Option<SystemTime> {
    let (pipe, _) = std::io::pipe().ok()?;
    let pipe = std::fs::File::from(std::os::fd::OwnedFd::from(pipe));
    pipe.metadata().ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    #[test]
    fn nothing_is_waited_for_but_the_present_tick() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (modified, waits) in [(now - TICK, false), (now + Duration::from_secs(1), false), (now, true)] {
            assert_eq!(pass(dir.path(), modified), waits, "{modified:?}");
        }
    }

    #[test]
    fn where_times_are_coarse_the_longest_tick_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let whole = now - Duration::from_nanos((since.subsec_nanos() % 1_000_000).into());
        assert!(!is_by_kernel_clock(dir.path(), whole));
        let began = Instant::now();
        assert!(pass(dir.path(), whole));
        assert!(began.elapsed() >= TICK);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_of_the_kernel_goes_with_that_of_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = kernel_time().unwrap();
        fs::write(file.path(), "x").unwrap();
        let modified = fs::metadata(file.path()).unwrap().modified().unwrap();
        assert!(before <= modified + TICK && modified <= SystemTime::now());
        pass(file.path(), modified);
        assert!(kernel_time().unwrap() > modified);
    }
}
