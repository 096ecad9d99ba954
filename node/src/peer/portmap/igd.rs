//! The UPnP Internet Gateway Device, as far as a port mapping needs it: found by SSDP (UPnP Device Architecture 1.1,
//! section 1.3), described in XML, asked by SOAP (WANIPConnection:1, section 2.4).
//!
//! Whoever is on the local network may answer as a router. So an answer is followed only to the address that it came from, and
//! each is read up to a bound.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use quick_xml::Reader;
use quick_xml::events::Event;
use url::{Host, Url};

use crate::address::{Reach, reach};

/// How long routers may take to answer the question who is one.
const SEARCH: Duration = Duration::from_millis(1500);
/// Answers to it that are looked at.
pub(super) const MAX_ANSWERS: usize = 8;
/// The longest of them.
const MAX_ANSWER_BYTES: usize = 2048;
/// How long one request to a router may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest text that is taken of a router: what it is, or what it did.
pub(super) const MAX_TEXT_BYTES: u64 = 64 << 10;
/// The services that map ports, the best first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// Another client of the router has the port.
const CONFLICT: u32 = 718;
/// The router has only mappings that do not end by themselves.
const ONLY_PERMANENT: u32 = 725;
/// Ports that are tried one after the other where one is taken.
const TRIES: u16 = 4;

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Why a router does not do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the router cannot be asked")]
    Http(#[from] ureq::Error),
    #[error("the router says no (UPnP error {0})")]
    Error(u32),
    #[error("the router is itself behind another one, at {0}")]
    Behind(Ipv4Addr),
    #[error("the router's answer is none: {0}")]
    Nonsense(&'static str),
}

/// A router that maps ports.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    control: Url,
    service: &'static str,
    agent: ureq::Agent,
}

/// The routers that answer on the network of the interface with this address.
///
/// # Errors
/// The question cannot be sent there.
pub(super) fn find(local: Ipv4Addr, ssdp: SocketAddrV4) -> io::Result<Vec<Gateway>> {
    let socket = UdpSocket::bind((local, 0))?;
    for device in [1, 2] {
        let question = format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: {ssdp}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
             ST: urn:schemas-upnp-org:device:InternetGatewayDevice:{device}\r\n\r\n"
        );
        socket.send_to(question.as_bytes(), ssdp)?;
    }
    let until = Instant::now() + SEARCH;
    let mut places: Vec<Url> = Vec::new();
    let mut buffer = [0; MAX_ANSWER_BYTES];
    for _ in 0..MAX_ANSWERS {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let Ok((len, sender)) = socket.recv_from(&mut buffer) else {
            break;
        };
        let place = std::str::from_utf8(&buffer[..len]).ok().and_then(location);
        if let Some(place) = place.filter(|place| is_at(place, sender))
            && !places.contains(&place)
        {
            places.push(place);
        }
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None);
    let agent = config.build().new_agent();
    let described = |place: &Url| -> Result<Gateway, Refusal> {
        let text = text(agent.get(place.as_str()).call()?)?;
        let (service, control) = service(&text).ok_or(Refusal::Nonsense("it describes no router"))?;
        let control = place.join(&control).ok();
        let control = control.filter(|control| control.origin() == place.origin());
        Ok(Gateway {
            control: control.ok_or(Refusal::Nonsense("it sends elsewhere"))?,
            service,
            agent: agent.clone(),
        })
    };
    let gateways = places.iter().filter_map(|place| {
        let described = described(place);
        described
            .inspect_err(|error| tracing::debug!(%error, %place, "no router"))
            .ok()
    });
    Ok(gateways.collect())
}

/// What an answer names as the place of the description.
fn location(answer: &str) -> Option<Url> {
    let mut lines = answer.lines();
    lines.next().filter(|status| status.contains(" 200"))?;
    let value = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    })?;
    Url::parse(value).ok()
}

/// Whether a place is a web server at the address of whoever named it.
fn is_at(place: &Url, sender: SocketAddr) -> bool {
    place.scheme() == "http"
        && matches!((place.host(), sender), (Some(Host::Ipv4(host)), SocketAddr::V4(sender)) if host == *sender.ip())
}

fn text(mut response: ureq::http::Response<ureq::Body>) -> Result<String, Refusal> {
    let body = response.body_mut().with_config().limit(MAX_TEXT_BYTES);
    Ok(body.read_to_string()?)
}

/// The best service of a description, with where it is asked.
fn service(description: &str) -> Option<(&'static str, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut kind, mut control) = (None, None);
    elements(description, |name, content| match name {
        "serviceType" => kind = SERVICES.iter().position(|service| *service == content),
        "controlURL" => control = Some(content.to_owned()),
        "service" => found.extend(kind.take().zip(control.take())),
        _ => {}
    });
    let (kind, control) = found.into_iter().min_by_key(|(kind, _)| *kind)?;
    Some((SERVICES[kind], control))
}

/// Tells of each element, when it ends, what stood in it; of one with elements in it, what stood behind the last. What is no XML ends it.
fn elements(xml: &str, mut tell: impl FnMut(&str, &str)) {
    let mut reader = Reader::from_str(xml);
    let mut content = String::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => content.clear(),
            Ok(Event::Text(text)) => content.push_str(&text),
            Ok(Event::End(end)) => {
                let name = end.local_name();
                tell(name.as_ref(), content.trim());
                content.clear();
            }
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

impl Gateway {
    /// The address at which the internet sees the router.
    pub(super) fn external_ip(&self) -> Result<Ipv4Addr, Refusal> {
        let answer = self.call("GetExternalIPAddress", &[])?;
        let mut found = None;
        elements(&answer, |name, content| {
            if name == "NewExternalIPAddress" {
                found = content.parse::<Ipv4Addr>().ok();
            }
        });
        let ip = found.ok_or(Refusal::Nonsense("it has no external address"))?;
        match reach(&Multiaddr::from(ip)) {
            Reach::Public => Ok(ip),
            _ => Err(Refusal::Behind(ip)),
        }
    }

    /// Has what comes to a port of the router, the `first` one that is free, go to `inner`. Returns which port it is.
    pub(super) fn map(
        &self,
        transport: Transport,
        inner: (Ipv4Addr, u16),
        first: u16,
        lease: Duration,
    ) -> Result<u16, Refusal> {
        let mut lease = lease.as_secs();
        let mut outer = first;
        let mut tries = 0;
        loop {
            let add = self.call(
                "AddPortMapping",
                &[
                    ("NewRemoteHost", String::new()),
                    ("NewExternalPort", outer.to_string()),
                    ("NewProtocol", transport.to_string()),
                    ("NewInternalPort", inner.1.to_string()),
                    ("NewInternalClient", inner.0.to_string()),
                    ("NewEnabled", "1".to_owned()),
                    ("NewPortMappingDescription", "odfs".to_owned()),
                    ("NewLeaseDuration", lease.to_string()),
                ],
            );
            tries += 1;
            match add {
                Ok(_) => return Ok(outer),
                Err(Refusal::Error(ONLY_PERMANENT)) if lease > 0 => lease = 0,
                Err(Refusal::Error(CONFLICT)) if tries < TRIES => outer = outer.wrapping_add(1).max(1024),
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Takes a mapping back.
    pub(super) fn unmap(&self, transport: Transport, outer: u16) -> Result<(), Refusal> {
        let which = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", outer.to_string()),
            ("NewProtocol", transport.to_string()),
        ];
        self.call("DeletePortMapping", &which).map(drop)
    }

    /// One SOAP call; the arguments have no characters that XML would have escaped.
    fn call(&self, action: &str, arguments: &[(&str, String)]) -> Result<String, Refusal> {
        let service = self.service;
        let arguments: String = (arguments.iter())
            .map(|(name, value)| format!("<{name}>{value}</{name}>"))
            .collect();
        let body = format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{service}\">\
             {arguments}</u:{action}></s:Body></s:Envelope>"
        );
        let request = self
            .agent
            .post(self.control.as_str())
            .header("Content-Type", "text/xml; charset=\"utf-8\"")
            .header("SOAPAction", &format!("\"{service}#{action}\""));
        let response = request.send(&body)?;
        let is_done = response.status().is_success();
        let answer = text(response)?;
        if is_done {
            return Ok(answer);
        }
        let mut code = None;
        elements(&answer, |name, content| {
            if name == "errorCode" {
                code = content.parse().ok();
            }
        });
        Err(code.map_or(Refusal::Nonsense("it failed without saying why"), Refusal::Error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_lead_only_to_whoever_gave_them() {
        let answer =
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nLocation: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n";
        let place = location(answer).unwrap();
        assert!(is_at(&place, "192.168.1.1:1900".parse().unwrap()));
        assert!(!is_at(&place, "192.168.1.2:1900".parse().unwrap()));
        for place in [
            "https://192.168.1.1/",
            "http://router/",
            "http://[::1]/",
            "file:///etc/passwd",
        ] {
            assert!(
                !is_at(&place.parse().unwrap(), "192.168.1.1:1900".parse().unwrap()),
                "{place}"
            );
        }
        for no_answer in [
            "",
            "NOTIFY * HTTP/1.1\r\nLocation: http://192.168.1.1/\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(location(no_answer), None);
        }
    }

    #[test]
    fn the_best_service_of_a_description_is_taken() {
        let service_of = |kind: &str, control: &str| {
            format!("<service><serviceType>{kind}</serviceType><controlURL>{control}</controlURL></service>")
        };
        let text = format!(
            "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><deviceType>x</deviceType>\
             <serviceList>{}{}{}</serviceList></device></root>",
            service_of("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/l3f"),
            service_of(SERVICES[2], "/ppp"),
            service_of(SERVICES[1], "/ip"),
        );
        assert_eq!(service(&text), Some((SERVICES[1], "/ip".to_owned())));
        assert_eq!(service("<root/>"), None);
        assert_eq!(service("<service><serviceType>"), None);
        assert_eq!(service(&text[..text.len() / 2]), None);
    }
}
