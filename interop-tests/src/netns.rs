//! Two machines on one wire: a pair of network namespaces joined by a veth pair.

use crate::peers::{required, skip};
use crate::process::run;
use crate::{Failure, Outcome};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long one `ip` command may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Two namespaces, each with loopback up and one end of a wire. Both are removed when the value goes away.
pub struct Wire {
    left: Namespace,
    right: Namespace,
}

/// One end.
pub struct Namespace {
    name: String,
    /// Its address on the wire.
    pub address: &'static str,
}

impl Wire {
    /// Makes the pair, or nothing when this user may not and need not; then the test has been reported as skipped.
    ///
    /// # Errors
    /// Namespaces are required and cannot be made.
    pub fn lay() -> Outcome<Option<Self>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Interface names hold 15 bytes; process id and count keep concurrent runs apart.
        let id = format!("{:x}n{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match Self::lay_as(&id) {
            Ok(wire) => Ok(Some(wire)),
            Err(failure) if required() => Err(failure.during("a network namespace is needed (run as root)")),
            Err(failure) => {
                skip(&format!("no network namespace can be made here: {failure}"));
                Ok(None)
            }
        }
    }

    fn lay_as(id: &str) -> Outcome<Self> {
        let left = Namespace::add(format!("odfs-{id}l"), "192.168.77.1")?;
        let right = Namespace::add(format!("odfs-{id}r"), "192.168.77.2")?;
        let (near, far) = (format!("ve{id}l"), format!("ve{id}r"));
        // Each end is made inside its namespace, so that nothing is left behind in this one.
        ip(&[
            "link",
            "add",
            &near,
            "netns",
            &left.name,
            "type",
            "veth",
            "peer",
            "name",
            &far,
            "netns",
            &right.name,
        ])?;
        for (end, interface, other) in [(&left, &near, &right), (&right, &far, &left)] {
            ip(&["-n", &end.name, "link", "set", "lo", "up"])?;
            ip(&[
                "-n",
                &end.name,
                "addr",
                "add",
                &format!("{}/24", end.address),
                "dev",
                interface,
            ])?;
            ip(&["-n", &end.name, "link", "set", interface, "up"])?;
            // As on a real LAN: without a default route the kernel has no way for multicast.
            ip(&["-n", &end.name, "route", "add", "default", "via", other.address])?;
        }
        Ok(Self { left, right })
    }

    /// Makes both ends a world in which everything else is dead: packets to other addresses are dropped, as the namespaces pass on
    /// nothing, and DNS servers are among those who do not answer.
    ///
    /// # Errors
    /// The settings of a namespace cannot be written.
    pub fn cut_off(&self) -> Outcome {
        self.left.cut_off()?;
        self.right.cut_off()
    }

    /// The namespace at one end.
    pub fn left(&self) -> &Namespace {
        &self.left
    }

    /// The namespace at the other end.
    pub fn right(&self) -> &Namespace {
        &self.right
    }
}

impl Namespace {
    fn add(name: String, address: &'static str) -> Outcome<Self> {
        ip(&["netns", "add", &name])?;
        Ok(Self { name, address })
    }

    fn cut_off(&self) -> Outcome {
        let forwarding = "echo 0 >/proc/sys/net/ipv4/ip_forward";
        ip(&["netns", "exec", &self.name, "sh", "-c", forwarding])?;
        // `ip netns exec` puts what is here in place of the files in /etc.
        fs::create_dir_all(self.settings())?;
        Ok(fs::write(
            self.settings().join("resolv.conf"),
            "nameserver 192.0.2.53\n",
        )?)
    }

    fn settings(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// The name by which `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whoever looks at `ip netns list` later sees what could not be removed; a drop has nobody to tell.
        let _ = ip(&["netns", "delete", &self.name]);
        let _ = fs::remove_dir_all(self.settings());
    }
}

fn ip(args: &[&str]) -> Outcome {
    let mut command = Command::new("ip");
    command.args(args);
    run(command, LIMIT)
        .and_then(|finished| finished.success())
        .map(drop)
        .map_err(|failure: Failure| failure.during("ip"))
}
