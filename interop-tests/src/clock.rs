//! A wall clock that a test moves, for programs that it starts: they are the built ones, and run on while it jumps.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::process::run;

/// How long the compiler may take for a page of C.
const LIMIT: Duration = Duration::from_secs(60);
const SOURCE: &str = include_str!("clock/moved.c");

/// A clock that is ahead of the machine's by what it was last moved.
pub struct Clock {
    dir: TempDir,
}

impl Clock {
    /// One that is right so far. Made with the system's C compiler, which building odfs needs, too.
    ///
    /// # Errors
    /// There is no C compiler.
    pub fn new() -> Outcome<Self> {
        let clock = Self {
            dir: tempfile::Builder::new().prefix("odfs-clock-").tempdir()?,
        };
        let source = clock.dir.path().join("moved.c");
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(&source);
        run(compiler, LIMIT)?.success()?;
        clock.set(Duration::ZERO)?;
        Ok(clock)
    }

    /// Moves it, for all programs that have it, to so much ahead of the machine's.
    ///
    /// # Errors
    /// The file that they read cannot be written.
    pub fn set(&self, ahead: Duration) -> Outcome {
        let nanos = i64::try_from(ahead.as_nanos()).map_err(|_| "that far no clock goes")?;
        // A new file in place of the old one: nobody reads half of it.
        let next = self.dir.path().join("next");
        fs::write(&next, nanos.to_ne_bytes())?;
        Ok(fs::rename(&next, self.file())?)
    }

    /// What makes a program have this clock.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library()), ("ODFS_TEST_CLOCK", self.file())]
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("moved.so")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ahead")
    }
}
