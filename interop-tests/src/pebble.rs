//! Pebble: an authority that signs certificates by ACME, for tests.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::Outcome;
use crate::certificate::Certificate;
use crate::peers::{ODFS_PEBBLE, installed};
use crate::process::Running;

/// How long it may take to come up.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running authority. It looks for the answers to its challenges at a port of loopback, whatever name they are for.
pub struct Pebble {
    dir: TempDir,
    port: u16,
    process: Option<Running>,
    /// Where it looks.
    pub looks_at: u16,
}

impl Pebble {
    /// An authority that is not started yet, or nothing as for [`Kubo::init`](crate::Kubo::init). What it signs is valid for so
    /// many seconds.
    ///
    /// # Errors
    /// It is required and missing, or its files cannot be written.
    pub fn init(valid_for: u64) -> Outcome<Option<Self>> {
        if installed(ODFS_PEBBLE)?.is_none() {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("odfs-pebble-").tempdir()?;
        Certificate::of("localhost")?.write(dir.path(), "own")?;
        let (port, looks_at) = (free_port()?, free_port()?);
        let file = |name: &str| dir.path().join(name).display().to_string();
        let settings = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": "127.0.0.1:0",
            "certificate": file("own.pem"),
            "privateKey": file("own.key"),
            "httpPort": free_port()?,
            "tlsPort": looks_at,
            "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": { "default": { "description": "for tests", "validityPeriod": valid_for } },
        }});
        std::fs::write(dir.path().join("settings.json"), settings.to_string())?;
        Ok(Some(Self {
            dir,
            port,
            process: None,
            looks_at,
        }))
    }

    /// Starts it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&mut self) -> Outcome {
        let Some(binary) = installed(ODFS_PEBBLE)? else {
            return Ok(());
        };
        let mut command = Command::new(binary);
        command.arg("-config").arg(self.dir.path().join("settings.json"));
        // It would wait up to fifteen seconds before it looks.
        command.env("PEBBLE_VA_NOSLEEP", "1");
        let mut process = Running::start(command)?;
        process.wait_for(START_LIMIT, |said| {
            said.contains("ACME directory available").then_some(())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Its directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The certificate of its own server, which vouches for itself.
    pub fn authority(&self) -> PathBuf {
        self.path().join("own.pem")
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A port of loopback that nobody has at the moment.
///
/// # Errors
/// There is none.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
