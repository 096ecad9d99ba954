//! The TCP connection below a WebSocket: to the server itself, or through the HTTP proxy that leads to it.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use ureq::{Proxy, ProxyProtocol};
use url::Url;

/// How long a server may take to accept a connection and the upgrade of it.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// How long the network may take no byte of a message.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
/// Longest head of a proxy's answer that is read.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Connects to the server of `url`, through `proxy` unless its exceptions name the server.
///
/// # Errors
/// Nobody answers, the proxy refuses or is none that this can use.
pub(super) fn connect(url: &Url, proxy: Option<&Proxy>) -> io::Result<TcpStream> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let uri: ureq::http::Uri = url.as_str().parse().map_err(io::Error::other)?;
    let Some(proxy) = proxy.filter(|proxy| !proxy.is_no_proxy(&uri)) else {
        return to_any(host, port);
    };
    if proxy.protocol() != ProxyProtocol::Http {
        return Err(io::Error::other(format!(
            "the smart transfer protocol goes through proxies at http:// addresses only, and the one of the environment is \
             another; NO_PROXY={host} leads there without it, and so does http instead of odf+http where only a pull is wanted"
        )));
    }
    let mut stream = to_any(proxy.host(), proxy.port())
        .map_err(|error| io::Error::new(error.kind(), format!("the proxy {}: {error}", at(proxy))))?;
    stream.write_all(request(host, port, proxy).as_bytes())?;
    accepted(&mut stream).map_err(|error| io::Error::new(error.kind(), format!("the proxy {}: {error}", at(proxy))))?;
    Ok(stream)
}

/// A proxy as it is shown, without its password.
fn at(proxy: &Proxy) -> String {
    format!("{}:{}", proxy.host(), proxy.port())
}

/// Connects to the first address of a host that answers.
fn to_any(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_DEADLINE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(CONNECT_DEADLINE))?;
                stream.set_write_timeout(Some(WRITE_DEADLINE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What asks a proxy for a way (RFC 9110 §9.3.6).
fn request(host: &str, port: u16, proxy: &Proxy) -> String {
    let agent = concat!("odfs/", env!("CARGO_PKG_VERSION"));
    let mut text = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: {agent}\r\n");
    if proxy.username().is_some() || proxy.password().is_some() {
        let (user, password) = (
            proxy.username().unwrap_or_default(),
            proxy.password().unwrap_or_default(),
        );
        let known = multibase::Base::Base64Pad.encode(format!("{user}:{password}"));
        text += &format!("Proxy-Authorization: Basic {known}\r\n");
    }
    text + "\r\n"
}

/// Reads the head of a proxy's answer and no byte behind it, which would be the server's.
fn accepted(stream: &mut impl Read) -> io::Result<()> {
    let (since, mut head, mut byte) = (Instant::now(), Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            let reason = format!("the head of its answer is longer than {MAX_HEAD_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if since.elapsed() > CONNECT_DEADLINE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let first = head.lines().next().unwrap_or_default();
    match first.split_once(' ') {
        Some((version, status)) if version.starts_with("HTTP/1.") && status.starts_with('2') => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("it answers {}", crate::http::shown(first)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answer: &str) -> Result<String, String> {
        let mut bytes = answer.as_bytes();
        accepted(&mut bytes).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn what_is_behind_the_answer_of_a_proxy_is_the_servers() {
        let rest = answered("HTTP/1.0 200 Connection established\r\nvia: x\r\n\r\nHTTP/1.1 101");
        assert_eq!(rest.as_deref(), Ok("HTTP/1.1 101"));
        let refused = answered("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        assert!(refused.is_err_and(|reason| reason.contains("407 Proxy")));
        for broken in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0 200\r\n\r\n", "200\r\n\r\n"] {
            assert!(answered(broken).is_err(), "{broken}");
        }
        let head = "HTTP/1.1 200 OK\r\nx: ";
        let long = |bytes: usize| format!("{head}{}\r\n\r\n", "y".repeat(bytes - head.len() - 4));
        assert_eq!(answered(&long(MAX_HEAD_BYTES)).as_deref(), Ok(""));
        assert!(answered(&long(MAX_HEAD_BYTES + 1)).is_err_and(|reason| reason.contains("longer")));
    }

    #[test]
    fn a_proxy_is_told_who_asks() {
        let with = |address: &str| request("[::1]", 8080, &Proxy::new(address).unwrap());
        let plain = with("http://proxy.example");
        assert!(plain.starts_with("CONNECT [::1]:8080 HTTP/1.1\r\nHost: [::1]:8080\r\n"));
        assert!(!plain.contains("Authorization"));
        // The example of RFC 7617 §2.
        let known = with("http://Aladdin:open%20sesame@proxy.example");
        assert!(known.ends_with("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"));
    }

    #[test]
    fn only_proxies_that_can_be_used_are() {
        let url = Url::parse("http://data.example/t/").unwrap();
        for address in ["https://127.0.0.1:1", "socks5h://127.0.0.1:1"] {
            let refused = connect(&url, Some(&Proxy::new(address).unwrap())).unwrap_err();
            assert!(refused.to_string().contains("NO_PROXY=data.example"), "{refused}");
        }
    }
}
