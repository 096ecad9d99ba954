//! A systemd unit that runs the node of this workspace.

use std::path::Path;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::workspace::{MARK, WorkspaceDir};

/// Prints the unit. Nothing is changed, and the workspace need not be free.
///
/// # Errors
/// The system does not say where this program is, or a path has characters that a unit cannot have.
pub(crate) fn run(workspace: &WorkspaceDir, io: &mut Io) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::from(error).about("finding this program"))?;
    let user = io.environment().text("USER").filter(|user| !user.is_empty());
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let unit = unit(&program, workspace.root(), &user).ok_or_else(|| {
        Failure::new(
            Kind::General,
            "the path of this program or of the workspace is no text that a unit can have",
        )
        .next("move it to a directory with a plain name")
    })?;
    io.text(&unit)
}

/// The text; nothing where a path is not UTF-8 or has a line end.
///
/// Commands of other processes work within the node, and read and write the files that they name: so the unit does not close
/// the file system to it, as units of other servers do.
fn unit(program: &Path, root: &Path, user: &str) -> Option<String> {
    // `$` begins a variable in a command line.
    let program = quoted(program)?.replace('$', "$$");
    // A directory `.odfs` is found from the one above it; any other is named.
    let place = match root.file_name() {
        Some(name) if name == MARK => format!("WorkingDirectory={}", escaped(root.parent()?)?),
        _ => format!(
            "Environment={}",
            quoted(Path::new(&format!("ODFS_PATH={}", root.to_str()?)))?
        ),
    };
    Some(format!(
        "# To have the node run from now on, and at each start of the machine:\n\
         #   odfs node --service | sudo tee /etc/systemd/system/odfs.service\n\
         #   sudo systemctl enable --now odfs\n\
         [Unit]\n\
         Description=odfs node\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         User={user}\n\
         {place}\n\
         ExecStart={program} --quiet node\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         # How it ends when it is told to stop.\n\
         SuccessExitStatus=130\n\
         LimitNOFILE=65536\n\
         NoNewPrivileges=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}

/// A path where systemd takes the whole value, with its `%` made plain.
fn escaped(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    (!text.contains(char::is_control)).then(|| text.replace('%', "%%"))
}

/// A path as one word of a command line or an assignment in a unit.
fn quoted(path: &Path) -> Option<String> {
    let text = escaped(path)?.replace('\\', "\\\\").replace('"', "\\\"");
    Some(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_meaning_in_a_unit() {
        let unit = |root: &str| unit(Path::new("/opt/my tools/odfs"), Path::new(root), "ada");
        let text = unit("/srv/open data/50%/.odfs").unwrap();
        assert!(text.contains("\nWorkingDirectory=/srv/open data/50%%\n"), "{text}");
        assert!(
            text.contains("\nExecStart=\"/opt/my tools/odfs\" --quiet node\n"),
            "{text}"
        );
        assert!(text.contains("\nUser=ada\n"), "{text}");
        let text = unit("/srv/a\"b").unwrap();
        assert!(text.contains("\nEnvironment=\"ODFS_PATH=/srv/a\\\"b\"\n"), "{text}");
        assert_eq!(unit("/srv/a\nExecStart=/bin/sh"), None);
    }
}
