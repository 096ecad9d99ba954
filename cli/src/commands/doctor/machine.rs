//! The machine itself: the disk, the workspace, the ports.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::Path;

use odf::disk::Access;
use odf_node::Multiaddr;
use odf_node::address::Protocol;
use odf_node::peer::probe;

use super::finding::Finding;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// Free bytes below which nothing larger can be published or pulled.
const LITTLE: u64 = 512 << 20;
/// Free bytes below which even what odfs keeps for itself may fail.
const NONE: u64 = 16 << 20;
/// What is written to see whether that works.
const TRIAL_BYTES: usize = 64 << 10;

/// Looks at all of it.
pub(super) fn look(session: &Session) -> Vec<Finding> {
    let root = session.root();
    let mut findings = vec![
        judge_disk(root, session.disk().free_bytes(root), try_to_write(session).err()),
        match session.workspace() {
            Ok(_) => Finding::ok("workspace", root.display()),
            Err(failure) => Finding::from_failure("workspace", &failure),
        },
    ];
    if session.running_node().is_none() {
        findings.extend(ports(session));
    }
    findings
}

/// Writes a file and takes it away again.
fn try_to_write(session: &Session) -> Result<(), Failure> {
    let file = session.spool_dir()?.join("doctor");
    let written = session.disk().replace(&file, &[0; TRIAL_BYTES], Access::Owner);
    let removed = session.disk().remove_file_if_there(&file);
    Ok(written.and(removed)?)
}

fn judge_disk(root: &Path, free: Option<u64>, failure: Option<Failure>) -> Finding {
    const ROOM: &str = "free some space, or move the workspace to a larger disk and set ODFS_PATH; `odfs ipfs repo gc` drops \
                        what nothing needs";
    let at = root.display();
    match (free, failure) {
        (Some(free), Some(_)) if free < NONE => Finding::failed(
            "disk",
            format!("the disk under {at} is full: {} left", output::bytes(free)),
            ROOM,
        ),
        (_, Some(failure)) => Finding::from_failure("disk", &failure.about(format!("writing under {at}"))),
        (Some(free), None) if free < NONE => Finding::failed(
            "disk",
            format!("the disk under {at} is all but full: {} left", output::bytes(free)),
            ROOM,
        ),
        (Some(free), None) if free < LITTLE => {
            Finding::warning("disk", format!("only {} left under {at}", output::bytes(free)), ROOM)
        }
        (Some(free), None) => Finding::ok("disk", format!("{} free under {at}", output::bytes(free))),
        (None, None) => Finding::skipped(
            "disk",
            format!("{at} can be written; the system does not say what is free"),
        ),
    }
}

/// Whether a node could listen where it is to.
fn ports(session: &Session) -> Vec<Finding> {
    let key = match session.network_key() {
        Ok(key) => key,
        // Told as what it is.
        Err(_) => return Vec::new(),
    };
    let is_default = session.settings().listen.is_none();
    let mut findings = match session.listen_addresses(key.as_ref()) {
        Ok(addresses) => judge_ports(addresses.iter().map(|address| (address, probe(address))), is_default),
        Err(failure) => vec![Finding::from_failure("port", &failure)],
    };
    let gateway = &session.settings().gateway_listen;
    findings.extend(judge_gateway(gateway, TcpListener::bind(gateway.as_str()).map(drop)));
    findings
}

/// One finding for all that are well, and one for each that is not.
fn judge_ports<'a>(probed: impl Iterator<Item = (&'a Multiaddr, io::Result<()>)>, is_default: bool) -> Vec<Finding> {
    const OTHER: &str = "stop that program, or choose another port: `odfs config set network.listen \
                         '[\"/ip4/0.0.0.0/tcp/4002\",\"/ip4/0.0.0.0/udp/4002/quic-v1\"]'`";
    let (mut well, mut findings) = (Vec::new(), Vec::new());
    for (address, probed) in probed {
        let any_v6 = matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified());
        match probed {
            Ok(()) => well.push(address.to_string()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_default => findings.push(
                Finding::warning(
                    "port",
                    "is in use by another program, so a node takes any free port, another one at each start",
                    OTHER,
                )
                .about(address),
            ),
            Err(error) if error.kind() == ErrorKind::AddrInUse => findings.push(
                Finding::failed(
                    "port",
                    "is in use by another program, so `odfs node` does not start (network.listen)",
                    OTHER,
                )
                .about(address),
            ),
            // A machine without IPv6.
            Err(_) if any_v6 => {}
            Err(error) => findings.push(
                Finding::failed(
                    "port",
                    format!("cannot be listened on (network.listen): {error}"),
                    "choose an address of this machine: `odfs config set network.listen '[\"/ip4/0.0.0.0/tcp/4001\"]'`",
                )
                .about(address),
            ),
        }
    }
    if !well.is_empty() {
        findings.insert(0, Finding::ok("port", format!("free for a node: {}", well.join(", "))));
    }
    findings
}

fn judge_gateway(address: &str, bound: io::Result<()>) -> Option<Finding> {
    let error = bound.err()?;
    let found = match error.kind() {
        ErrorKind::AddrInUse => {
            "is in use by another program, so `odfs node` does not start (gateway.listen)".to_owned()
        }
        _ => format!("cannot be listened on (gateway.listen): {error}"),
    };
    Some(
        Finding::failed(
            "port",
            found,
            "stop that program, or choose another port: `odfs config set gateway.listen 127.0.0.1:8081`",
        )
        .about(address),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn a_disk_is_judged_by_what_is_left_and_by_whether_it_can_be_written() {
        let root = Path::new("/w");
        let judge = |free, failure| judge_disk(root, Some(free), failure);
        assert_eq!(judge(LITTLE, None).state, State::Ok);
        assert_eq!(judge(LITTLE - 1, None).state, State::Warning);
        assert_eq!(judge(NONE - 1, None).state, State::Failed);
        let full = judge(0, Some(Failure::new(Kind::DiskFull, "the disk is full")));
        assert!(full.found.contains("/w is full") && full.next.is_some(), "{full}");
        let denied = judge(LITTLE, Some(Failure::new(Kind::Permission, "permission denied")));
        assert!(
            denied.is_failed() && denied.found.contains("permission denied"),
            "{denied}"
        );
        assert_eq!(judge_disk(root, None, None).state, State::Skipped);
    }

    #[test]
    fn a_port_that_is_taken_stops_a_node_only_if_it_was_asked_for() {
        let [tcp, any]: [Multiaddr; 2] =
            ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"].map(|text| text.parse().unwrap());
        let taken = || io::Error::from(ErrorKind::AddrInUse);
        let judge = |default| judge_ports([(&tcp, Err(taken())), (&any, Ok(()))].into_iter(), default);
        assert_eq!(
            judge(true).iter().map(|one| one.state).collect::<Vec<_>>(),
            [State::Ok, State::Warning]
        );
        let asked = judge(false);
        assert!(
            asked[1].is_failed() && asked[1].to_string().contains("network.listen"),
            "{}",
            asked[1]
        );
        let no_v6 = judge_ports([(&any, Err(io::Error::other("no IPv6")))].into_iter(), true);
        assert!(no_v6.is_empty(), "{no_v6:?}");
        let gateway = judge_gateway("127.0.0.1:8080", Err(taken())).unwrap();
        assert!(
            gateway.is_failed() && gateway.to_string().contains("gateway.listen"),
            "{gateway}"
        );
        assert_eq!(judge_gateway("127.0.0.1:8080", Ok(())), None);
    }
}
