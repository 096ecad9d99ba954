//! Makes a router of a network namespace: what comes from inside leaves with the router's address, what comes unasked from
//! outside is dropped. As nft does, by netlink (nf_tables), so that no program has to be installed for it.
//!
//! `router OUTSIDE` keeps the port of a connection while it is free, as most routers at home do: whoever is spoken to sees
//! the same one. With `symmetric` after it each connection gets a port of its own, by chance, as behind a carrier's.

use std::io;
use std::process::ExitCode;

use interop_tests::{Failure, Outcome};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// `linux/netfilter/nfnetlink.h` and `nf_tables.h`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = NFTABLES << 8;
const NEW_CHAIN: u16 = (NFTABLES << 8) | 3;
const NEW_RULE: u16 = (NFTABLES << 8) | 6;
/// `linux/netlink.h`: request, answer wanted, create, append.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const ERROR: u16 = 0x2;
const IPV4: u8 = 2;
const NESTED: u16 = 0x8000;

/// Where a chain is attached, and with which priority.
const INPUT: [u32; 2] = [1, 0];
const POSTROUTING: [u32; 2] = [4, 100];
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// The name of the interface that a packet goes out by.
const OUT_NAME: u32 = 7;
/// A port by chance, as `masquerade fully-random`.
const RANDOM_FULLY: u32 = 16;
const NAME_BYTES: usize = 16;

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = 4 + content.len();
    let mut bytes = Vec::with_capacity(length + 3);
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &attributes.concat())
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

fn number(kind: u16, number: u32) -> Vec<u8> {
    attribute(kind, &number.to_be_bytes())
}

fn message(kind: u16, flags: u16, sequence: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let (family, resource) = match kind {
        BATCH_BEGIN | BATCH_END => (0, NFTABLES),
        _ => (IPV4, 0),
    };
    let content = attributes.concat();
    let length = u32::try_from(20 + content.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(content);
    bytes
}

fn chain(name: &str, kind: &str, [hook, priority]: [u32; 2], policy: u32) -> Vec<Vec<u8>> {
    vec![
        text(1, "router"),
        text(3, name),
        nested(4, &[number(1, hook), number(2, priority)]),
        number(5, policy),
        text(7, kind),
    ]
}

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)])
}

/// `oifname OUTSIDE masquerade`.
fn masquerade(outside: &str, flags: u32) -> Vec<Vec<u8>> {
    let mut name = outside.as_bytes().to_vec();
    name.resize(NAME_BYTES, 0);
    let flags = if flags == 0 { Vec::new() } else { vec![number(1, flags)] };
    let expressions = [
        expression("meta", &[number(1, 1), number(2, OUT_NAME)]),
        expression("cmp", &[number(1, 1), number(2, 0), nested(3, &[attribute(1, &name)])]),
        expression("masq", &flags),
    ];
    vec![text(1, "router"), text(2, "leaving"), nested(4, &expressions)]
}

fn route(outside: &str, flags: u32) -> Outcome {
    let messages = [
        message(BATCH_BEGIN, 0, 0, &[]),
        message(NEW_TABLE, CREATE | ACK, 1, &[text(1, "router")]),
        message(
            NEW_CHAIN,
            CREATE | ACK,
            2,
            &chain("leaving", "nat", POSTROUTING, ACCEPT),
        ),
        message(NEW_RULE, CREATE | APPEND | ACK, 3, &masquerade(outside, flags)),
        message(NEW_CHAIN, CREATE | ACK, 4, &chain("coming", "filter", INPUT, DROP)),
        message(BATCH_END, 0, 5, &[]),
    ];
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )
    .map_err(io::Error::from)?;
    sendto(
        &socket,
        &messages.concat(),
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )
    .map_err(io::Error::from)?;
    // Each of the four is answered by itself: a header of 16 bytes, then the error, 0 for none.
    let mut answered = 0;
    while answered < 4 {
        let mut buffer = [0; 8192];
        let (_, length) = recv(&socket, &mut buffer, RecvFlags::empty()).map_err(io::Error::from)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let (Some(size), Some(kind), Some(error)) = (word(rest, 0), rest.get(4..6), word(rest, 16)) {
            if kind == ERROR.to_ne_bytes() {
                let error = i32::from_ne_bytes(error.to_ne_bytes());
                if error != 0 {
                    let error = io::Error::from_raw_os_error(-error);
                    return Err(Failure::new(format!(
                        "rule {}: {error}",
                        word(rest, 8).unwrap_or_default()
                    )));
                }
                answered += 1;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX).next_multiple_of(4).max(20);
            rest = rest.get(size..).unwrap_or_default();
        }
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [outside] => route(outside, 0),
        [outside, "symmetric"] => route(outside, RANDOM_FULLY),
        _ => Err(Failure::new("usage: router OUTSIDE [symmetric]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[allow(clippy::print_stderr)] // where a program says why it failed
            {
                eprintln!("router: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}
