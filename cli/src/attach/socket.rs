//! The socket file: its address at any path length, and who is at the other end.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The longest path that every system takes as a socket address (macOS: 104 bytes with the closing zero).
const MAX_ADDRESS_BYTES: usize = 103;

/// An address of `socket` that is short enough, and the directory handle it may lead through.
///
/// # Errors
/// The path is too long and this system has no `/proc` to shorten it.
fn address(socket: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if socket.as_os_str().len() <= MAX_ADDRESS_BYTES {
        return Ok((socket.to_owned(), None));
    }
    let (Some(dir), Some(name), true) = (socket.parent(), socket.file_name(), cfg!(target_os = "linux")) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            "the path is too long for a socket",
        ));
    };
    let dir = File::open(dir)?;
    Ok((
        PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name),
        Some(dir),
    ))
}

/// Listens at `socket`, replacing whatever an owner that is gone left there. Only the holder of the lock may.
pub(super) fn bind(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (address, _dir) = address(socket)?;
    let listener = UnixListener::bind(&address)?;
    check_file(socket)?;
    // The workspace directory is 0700 when odfs made it; this covers one that the user made.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Links are not followed: they lead to whoever made them.
fn check_file(socket: &Path) -> io::Result<()> {
    if fs::symlink_metadata(socket)?.file_type().is_socket() {
        return Ok(());
    }
    let reason = format!("{} is no socket", socket.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// Connects to the owner.
pub(super) fn connect(socket: &Path) -> io::Result<UnixStream> {
    check_file(socket)?;
    let (address, _dir) = address(socket)?;
    UnixStream::connect(&address)
}

/// The process id at the other end, if the system tells.
///
/// # Errors
/// Another user is there.
#[cfg(target_os = "linux")]
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<Option<u32>> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid != rustix::process::geteuid() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the other side belongs to another user",
        ));
    }
    Ok(u32::try_from(peer.pid.as_raw_nonzero().get()).ok())
}

/// Elsewhere the mode of the socket file alone keeps other users out.
#[cfg(not(target_os = "linux"))]
pub(super) fn check_peer(_: &UnixStream) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_files_are_replaced_and_long_paths_work() {
        let dir = tempfile::tempdir().unwrap();
        let deep = if cfg!(target_os = "linux") {
            dir.path().join("d".repeat(200))
        } else {
            dir.path().to_owned()
        };
        fs::create_dir_all(&deep).unwrap();
        let socket = deep.join("node.sock");
        drop(bind(&socket).unwrap());
        assert!(connect(&socket).is_err(), "nobody listens at a stale file");
        let listener = bind(&socket).unwrap();
        let client = connect(&socket).unwrap();
        check_peer(&client).unwrap();
        check_peer(&listener.accept().unwrap().0).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert!(connect(&link).is_err(), "a link is followed");
        drop(bind(&link).unwrap());
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
        connect(&socket).unwrap();
    }
}
