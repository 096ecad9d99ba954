//! A router of our own on loopback: it answers as one, keeps what it was asked to do, and can lie.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use super::igd::{MAX_ANSWERS, MAX_TEXT_BYTES};
use super::*;

const DESCRIPTION: &str = "<root><device><serviceList><service>\
    <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/control</controlURL>\
    </service></serviceList></device></root>";

struct FakeRouter {
    ssdp: SocketAddrV4,
    asked: Arc<Mutex<Vec<String>>>,
}

fn address_of(address: std::net::SocketAddr) -> SocketAddrV4 {
    match address {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    }
}

/// Reads one request, with its body.
fn request(stream: &mut std::net::TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if len == 0 || (text.contains("\r\n\r\n") && body.len() >= length.unwrap_or(0)) {
            return text;
        }
    }
}

/// A router whose SOAP answers are those of `answer`, status and body, by the request; and which has this description.
fn router(description: String, answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> FakeRouter {
    let ssdp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let (place, at) = (address_of(ssdp.local_addr().unwrap()), http.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, client)) = ssdp.recv_from(&mut buffer) {
            assert!(buffer[..len].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://{at}/description\r\n\r\n");
            // More than are looked at.
            for _ in 0..=MAX_ANSWERS {
                ssdp.send_to(answer.as_bytes(), client).unwrap();
            }
        }
    });
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = http.accept() {
            let request = request(&mut stream);
            let (status, body) = match request.starts_with("GET /description ") {
                true => (200, description.clone()),
                false => {
                    let answer = answer(&request);
                    log.lock().unwrap().push(request);
                    answer
                }
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    FakeRouter { ssdp: place, asked }
}

fn listening() -> Vec<Listening> {
    let at = |text: &str, port, transport| Listening {
        ip: Ipv4Addr::LOCALHOST,
        port,
        transport,
        address: text.parse().unwrap(),
    };
    vec![
        at("/ip4/127.0.0.1/tcp/4001", 4001, Transport::Tcp),
        at("/ip4/127.0.0.1/udp/4001/quic-v1", 4001, Transport::Udp),
    ]
}

fn external(ip: &str) -> (u16, String) {
    let body = format!(
        "<s:Envelope><s:Body><u:GetExternalIPAddressResponse><NewExternalIPAddress>{ip}</NewExternalIPAddress>\
         </u:GetExternalIPAddressResponse></s:Body></s:Envelope>"
    );
    (200, body)
}

fn error(code: u32) -> (u16, String) {
    let body = format!(
        "<s:Envelope><s:Body><s:Fault><detail><UPnPError><errorCode>{code}</errorCode></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
    );
    (500, body)
}

fn addresses(mapped: &[Mapping]) -> Vec<String> {
    mapped.iter().map(|mapping| mapping.address.to_string()).collect()
}

#[test]
fn only_private_addresses_need_a_router() {
    let port = |text: &str| Listening::of(&text.parse().unwrap()).map(|listening| listening.port);
    assert_eq!(port("/ip4/192.168.1.7/tcp/4001"), Some(4001));
    assert_eq!(port("/ip4/10.0.0.7/udp/4002/quic-v1"), Some(4002));
    for other in [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/93.184.216.34/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/dns4/a/tcp/1",
    ] {
        assert_eq!(port(other), None, "{other}");
    }
}

#[test]
fn ports_are_mapped_kept_and_taken_back() {
    let router = router(DESCRIPTION.to_owned(), |request| {
        // The port is somebody else's for TCP, and no lease ends by itself.
        if request.contains("GetExternalIPAddress") {
            external("93.184.216.34")
        } else if request.contains("<NewProtocol>TCP") && request.contains("<NewExternalPort>4001<") {
            error(718)
        } else if request.contains("<NewLeaseDuration>3600<") {
            error(725)
        } else {
            (200, String::new())
        }
    });
    let mapped = map_all(&listening(), &[], router.ssdp);
    let expected = ["/ip4/93.184.216.34/tcp/4002", "/ip4/93.184.216.34/udp/4001/quic-v1"];
    assert_eq!(addresses(&mapped), expected);
    let asked = std::mem::take(&mut *router.asked.lock().unwrap());
    let action = "soapaction: \"urn:schemas-upnp-org:service:wanipconnection:1#getexternalipaddress\"";
    assert!(asked[0].to_ascii_lowercase().contains(action), "{}", asked[0]);
    assert!(
        asked[1].contains("<NewInternalClient>127.0.0.1</NewInternalClient>"),
        "{}",
        asked[1]
    );

    // The next round asks for the port that it got.
    assert_eq!(addresses(&map_all(&listening(), &mapped, router.ssdp)), expected);
    let asked = std::mem::take(&mut *router.asked.lock().unwrap());
    assert!(
        !asked
            .iter()
            .any(|request| request.contains("<NewProtocol>TCP") && request.contains("<NewExternalPort>4001<"))
    );
    for mapping in mapped {
        mapping.gateway.unmap(mapping.transport, mapping.outer).unwrap();
    }
    let asked = router.asked.lock().unwrap();
    assert_eq!(
        asked
            .iter()
            .filter(|request| request.contains("DeletePortMapping"))
            .count(),
        2
    );
}

#[test]
fn a_router_behind_another_one_or_without_sense_opens_nothing() {
    for ip in ["192.168.0.2", "100.64.0.1", "0.0.0.0", "words"] {
        let router = router(DESCRIPTION.to_owned(), move |_| external(ip));
        assert!(map_all(&listening(), &[], router.ssdp).is_empty(), "{ip}");
    }
    let everywhere = DESCRIPTION.replace("/control", "http://127.0.0.2:1/control");
    let padded = |len: u64| DESCRIPTION.to_owned() + &" ".repeat(len as usize - DESCRIPTION.len());
    for description in [String::new(), "<".to_owned(), everywhere, padded(MAX_TEXT_BYTES + 1)] {
        let router = router(description, |_| external("93.184.216.34"));
        assert!(map_all(&listening(), &[], router.ssdp).is_empty());
        assert!(router.asked.lock().unwrap().is_empty());
    }
    let router = router(padded(MAX_TEXT_BYTES), |_| external("93.184.216.34"));
    assert_eq!(map_all(&listening(), &[], router.ssdp).len(), 2);
}
