//! Machines of their own: a pair of network namespaces on one wire, many on one hub, and a small internet with two homes
//! behind routers.

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

/// How a router at home treats connections from inside.
#[derive(Clone, Copy)]
pub enum Router {
    /// Whoever is spoken to sees the same port: a hole can be punched.
    Plain,
    /// Each connection has a port of its own, by chance: no hole can be foreseen.
    Symmetric,
}

/// A public server and two homes behind routers of their own, on an internet of their own: its addresses look public, since
/// those of private networks are treated otherwise. All is removed when the value goes away.
pub struct Internet {
    server: Namespace,
    homes: [Namespace; 2],
    // What makes up the rest.
    _routers: [Namespace; 2],
    _hub: Hub,
}

/// Machines that all reach each other, each in a network of its own by its address, which looks public. All is removed when
/// the value goes away.
pub struct Cloud {
    machines: Vec<Namespace>,
    _hub: Hub,
}

impl Cloud {
    /// Makes so many machines, 250 at most, or nothing when this user may not and need not; then the test has been reported
    /// as skipped.
    ///
    /// # Errors
    /// Namespaces are required and cannot be made.
    pub fn lay(count: u8) -> Outcome<Option<Self>> {
        needed(Self::lay_as(&id(), count))
    }

    fn lay_as(id: &str, count: u8) -> Outcome<Self> {
        let mut hub = Hub::add(id)?;
        let mut machines = Vec::new();
        for number in 1..=count {
            // Networks are told apart by the first half of an address.
            let machine = Namespace::add(format!("odfs-{id}{number}"), &format!("45.{number}.0.1"))?;
            hub.attach(&machine)?;
            machines.push(machine);
        }
        Ok(Self { machines, _hub: hub })
    }

    /// The machines.
    pub fn machines(&self) -> &[Namespace] {
        &self.machines
    }
}

/// What the machines of one network are plugged into.
struct Hub {
    namespace: Namespace,
    ports: u32,
}

impl Hub {
    fn add(id: &str) -> Outcome<Self> {
        let namespace = Namespace::add(format!("odfs-{id}h"), "")?;
        ip(&["-n", &namespace.name, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &namespace.name, "link", "set", "hub", "up"])?;
        Ok(Self { namespace, ports: 0 })
    }

    fn attach(&mut self, machine: &Namespace) -> Outcome {
        let port = format!("port{}", self.ports);
        self.ports += 1;
        machine.join("out", 8, (&self.namespace, &port))?;
        ip(&["-n", &self.namespace.name, "link", "set", &port, "master", "hub"])
    }
}

impl Internet {
    /// Makes it, `router` being the program of that name; or nothing when this user may not and need not: then the test has
    /// been reported as skipped.
    ///
    /// # Errors
    /// Namespaces are required and cannot be made.
    pub fn lay(router: &str, kinds: [Router; 2]) -> Outcome<Option<Self>> {
        needed(Self::lay_as(&id(), router, kinds))
    }

    fn lay_as(id: &str, router: &str, kinds: [Router; 2]) -> Outcome<Self> {
        let mut hub = Hub::add(id)?;
        // Each is a network of its own to those who count them by the first half of the address.
        let server = Namespace::add(format!("odfs-{id}s"), "45.1.0.1")?;
        let routers = [
            Namespace::add(format!("odfs-{id}q"), "45.2.0.1")?,
            Namespace::add(format!("odfs-{id}r"), "45.3.0.1")?,
        ];
        for end in [&server, &routers[0], &routers[1]] {
            hub.attach(end)?;
        }
        let homes = [
            Namespace::add(format!("odfs-{id}a"), "10.0.1.2")?,
            Namespace::add(format!("odfs-{id}b"), "10.0.2.2")?,
        ];
        for ((home, gate), (inside, kind)) in homes
            .iter()
            .zip(&routers)
            .zip([("10.0.1.1", kinds[0]), ("10.0.2.1", kinds[1])])
        {
            home.join("out", 24, (gate, "in"))?;
            ip(&["-n", &gate.name, "addr", "add", &format!("{inside}/24"), "dev", "in"])?;
            ip(&["-n", &home.name, "route", "add", "default", "via", inside])?;
            let kind = match kind {
                Router::Plain => "",
                Router::Symmetric => " symmetric",
            };
            let script = format!("echo 1 > /proc/sys/net/ipv4/ip_forward && exec '{router}' out{kind}");
            ip(&["netns", "exec", &gate.name, "sh", "-c", &script])?;
        }
        Ok(Self {
            server,
            homes,
            _routers: routers,
            _hub: hub,
        })
    }

    /// The machine that everybody reaches.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// The machines that nobody reaches unasked.
    pub fn homes(&self) -> &[Namespace; 2] {
        &self.homes
    }
}

/// A name for what one call makes. Interface names hold 15 bytes; process id and count keep concurrent runs apart.
fn id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{:x}n{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn needed<T>(laid: Outcome<T>) -> Outcome<Option<T>> {
    match laid {
        Ok(laid) => Ok(Some(laid)),
        Err(failure) if required() => Err(failure.during("a network namespace is needed (run as root)")),
        Err(failure) => {
            skip(&format!("no network namespace can be made here: {failure}"));
            Ok(None)
        }
    }
}

/// One end.
pub struct Namespace {
    name: String,
    /// Its address on the wire.
    pub address: String,
}

impl Wire {
    /// Makes the pair, or nothing when this user may not and need not; then the test has been reported as skipped.
    ///
    /// # Errors
    /// Namespaces are required and cannot be made.
    pub fn lay() -> Outcome<Option<Self>> {
        needed(Self::lay_as(&id()))
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
            ip(&["-n", &end.name, "route", "add", "default", "via", &other.address])?;
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

    /// Takes the addresses and ways of the left end away, as where a cable is pulled.
    ///
    /// # Errors
    /// They cannot be taken away.
    pub fn unplug(&self) -> Outcome {
        ip(&["-n", &self.left.name, "addr", "flush", "scope", "global"])?;
        ip(&["-n", &self.left.name, "route", "flush", "table", "main"])
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
    fn add(name: String, address: &str) -> Outcome<Self> {
        ip(&["netns", "add", &name])?;
        Ok(Self {
            name,
            address: address.to_owned(),
        })
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

    /// Gives it an interface with its address, whose other end is `far` in another namespace.
    fn join(&self, near: &str, prefix: u8, (other, far): (&Self, &str)) -> Outcome {
        let pair = ["type", "veth", "peer", "name", far, "netns", &other.name];
        ip(&[&["link", "add", near, "netns", &self.name], pair.as_slice()].concat())?;
        ip(&[
            "-n",
            &self.name,
            "addr",
            "add",
            &format!("{}/{prefix}", self.address),
            "dev",
            near,
        ])?;
        for (namespace, interface) in [(self, near), (self, "lo"), (other, far)] {
            ip(&["-n", &namespace.name, "link", "set", interface, "up"])?;
        }
        Ok(())
    }

    /// Lets nothing out but what goes to one TCP port, as a firewall that knows of web sites alone.
    ///
    /// # Errors
    /// The rules cannot be added.
    pub fn let_out_only(&self, port: u16) -> Outcome {
        let port = port.to_string();
        let rule = ["-n", &self.name, "rule", "add", "priority"];
        ip(&[&rule[..], &["100", "ipproto", "tcp", "dport", &port, "lookup", "main"]].concat())?;
        ip(&[&rule[..], &["200", "prohibit"]].concat())?;
        ip(&[&["-6"], &rule[..], &["200", "prohibit"]].concat())
    }

    /// What a web server in it answers to a request for `url`.
    ///
    /// # Errors
    /// It does not answer with success, or there is no `curl`.
    pub fn get(&self, url: &str) -> Outcome<String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "curl", "-sSf", url]);
        Ok(run(command, LIMIT)?.success()?.text())
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
