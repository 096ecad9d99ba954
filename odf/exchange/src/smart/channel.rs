//! The client's end of a WebSocket: messages as values, within limits of size and time, and every refusal in words.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{HeaderValue, header};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Connector, Error, Message, Utf8Bytes, WebSocket, client_tls_with_config};

use super::messages::{
    InternalError, PullRefused, PushMetadataRefused, PushObjectsRefused, PushRefused, VERSION, VERSION_HEADER,
};
use super::tunnel::{CONNECT_DEADLINE, connect};
use super::{ANSWER_DEADLINE, CLOSED_WITH_REASON, Endpoint, FRAME_BYTES, MAX_MESSAGE_BYTES, SmartError};
use crate::ReadError;
use crate::http::{message_in, shown};
use odf_dataset::receive::{Listener, Progress, tell};

/// How often the wait for a message looks up.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// An open WebSocket to a dataset.
pub(super) struct Channel {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    /// Another handle of the same connection, for its deadlines.
    connection: TcpStream,
    place: String,
}

impl Channel {
    /// Opens `{place}pull` or `{place}push`. Gives nothing if the server says that there is no such dataset.
    pub(super) fn open(place: &Endpoint, direction: &str) -> Result<Option<Self>, SmartError> {
        let url = format!("{}{direction}", place.http).replacen("http", "ws", 1);
        let unreachable = |reason: String| {
            SmartError::Read(ReadError::Unreachable {
                url: url.clone(),
                reason,
            })
        };
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| unreachable(error.to_string()))?;
        let fields = request.headers_mut();
        fields.insert(VERSION_HEADER, HeaderValue::from(VERSION));
        if let Some(token) = &place.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value =
                value.map_err(|_| unreachable("the token has characters that no header holds".to_owned()))?;
            value.set_sensitive(true);
            fields.insert(header::AUTHORIZATION, value);
        }
        let stream = connect(&place.http, place.proxy.as_ref()).map_err(|error| unreachable(error.to_string()))?;
        let connection = stream.try_clone().map_err(|error| unreachable(error.to_string()))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let tls = tls().map_err(&unreachable)?;
        match client_tls_with_config(request, stream, Some(config), Some(tls)) {
            Ok((socket, _)) => {
                let ticking = connection.set_read_timeout(Some(TICK));
                ticking.map_err(|error| unreachable(error.to_string()))?;
                Ok(Some(Self {
                    socket,
                    connection,
                    place: place.shown(),
                }))
            }
            Err(HandshakeError::Interrupted(_)) => Err(unreachable(format!(
                "no answer within {} s",
                CONNECT_DEADLINE.as_secs()
            ))),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                match response.status().as_u16() {
                    404 => Ok(None),
                    status @ (401 | 403 | 421) => {
                        let reason = message_in(body);
                        Err(ReadError::Denied { url, status, reason }.into())
                    }
                    400 => Err(SmartError::Refused {
                        place: place.shown(),
                        reason: message_in(body),
                    }),
                    status => Err(ReadError::Status { url, status }.into()),
                }
            }
            Err(HandshakeError::Failure(error)) => Err(unreachable(error.to_string())),
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), SmartError> {
        let text = serde_json::to_vec(message).map_err(|error| self.protocol(error.to_string()))?;
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(SmartError::TooLong {
                place: self.place.clone(),
                bytes: text.len(),
            });
        }
        let mut rest = bytes::Bytes::from(text);
        let mut kind = Data::Text;
        loop {
            let piece = rest.split_to(rest.len().min(FRAME_BYTES));
            let frame = Frame::message(piece, OpCode::Data(kind), rest.is_empty());
            self.socket
                .write(Message::Frame(frame))
                .map_err(|error| self.broken(error))?;
            if rest.is_empty() {
                break;
            }
            kind = Data::Continue;
        }
        self.socket.flush().map_err(|error| self.broken(error))
    }

    /// Waits for the next message.
    pub(super) fn receive<T: DeserializeOwned>(&mut self, listener: &Listener<'_>) -> Result<T, SmartError> {
        let text = self.receive_text(listener)?;
        self.read(&text)
    }

    /// Waits for the text of the next message.
    pub(super) fn receive_text(&mut self, listener: &Listener<'_>) -> Result<Utf8Bytes, SmartError> {
        let since = Instant::now();
        loop {
            if let Some(text) = self.poll()? {
                return Ok(text);
            }
            // Nothing was transferred, but the caller may want to stop.
            tell(listener, Progress::Bytes(0))?;
            if since.elapsed() > ANSWER_DEADLINE {
                return Err(SmartError::Silent {
                    place: self.place.clone(),
                });
            }
        }
    }

    /// The text of a message, if one comes within [`TICK`].
    pub(super) fn poll(&mut self) -> Result<Option<Utf8Bytes>, SmartError> {
        match self.socket.read() {
            Ok(Message::Text(text)) => Ok(Some(text)),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Ok(Message::Binary(_)) => Err(self.protocol("it sent a binary message".to_owned())),
            Ok(Message::Close(frame)) => Err(self.closed(frame)),
            Err(Error::Io(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    /// The text of a message, if one is there already.
    pub(super) fn look(&mut self) -> Result<Option<Utf8Bytes>, SmartError> {
        let unreadable = |error: io::Error| self.broken(Error::Io(error));
        self.connection.set_nonblocking(true).map_err(unreadable)?;
        let found = self.poll();
        let unreadable = |error: io::Error| self.broken(Error::Io(error));
        self.connection.set_nonblocking(false).map_err(unreadable)?;
        found
    }

    /// A message from its text.
    pub(super) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, SmartError> {
        serde_json::from_str(text).map_err(|error| self.protocol(error.to_string()))
    }

    /// Says that all is well and closes. What the other side makes of it does not matter any more.
    pub(super) fn close(mut self) {
        let frame = CloseFrame {
            code: tungstenite::protocol::frame::coding::CloseCode::Normal,
            reason: "done".into(),
        };
        let _ = self.socket.close(Some(frame));
        let _ = self.socket.flush();
    }

    pub(super) fn protocol(&self, reason: String) -> SmartError {
        SmartError::Protocol {
            place: self.place.clone(),
            reason: shown(&reason),
        }
    }

    /// A refusal in the server's words.
    pub(super) fn refused(&self, error: InternalError) -> SmartError {
        SmartError::Refused {
            place: self.place.clone(),
            reason: shown(&error.error_message),
        }
    }

    fn broken(&self, error: Error) -> SmartError {
        SmartError::Broken {
            place: self.place.clone(),
            reason: error.to_string(),
        }
    }

    /// What a close frame means: never anything but a refusal.
    fn closed(&self, frame: Option<CloseFrame>) -> SmartError {
        let place = self.place.clone();
        let Some(frame) = frame else {
            let reason = "it closed the connection".to_owned();
            return SmartError::Broken { place, reason };
        };
        if u16::from(frame.code) != CLOSED_WITH_REASON {
            let reason = format!(
                "it closed the connection ({}) {}",
                u16::from(frame.code),
                shown(&frame.reason)
            );
            return SmartError::Broken { place, reason };
        }
        refusal(place, &frame.reason)
    }
}

/// The meaning of the reason in a close frame: one of the protocol's errors as `{"Err": …}`, a JSON string, or words.
pub(super) fn refusal(place: String, reason: &str) -> SmartError {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Reason {
        Words(String),
        Pull {
            #[serde(rename = "Err")]
            error: PullRefused,
        },
        Push {
            #[serde(rename = "Err")]
            error: PushRefused,
        },
        Metadata {
            #[serde(rename = "Err")]
            error: PushMetadataRefused,
        },
        Objects {
            #[serde(rename = "Err")]
            error: PushObjectsRefused,
        },
    }
    let words = |reason: &str| SmartError::Refused {
        place: place.clone(),
        reason: shown(reason),
    };
    match serde_json::from_str(reason) {
        Ok(Reason::Words(text)) => words(&text),
        Ok(
            Reason::Pull {
                error: PullRefused::SeedBlockOverwriteRestricted(_),
            }
            | Reason::Metadata {
                error: PushMetadataRefused::SeedBlockOverwriteRestricted(_),
            },
        ) => SmartError::OtherDataset { place },
        Ok(
            Reason::Pull {
                error: PullRefused::Internal(error),
            }
            | Reason::Push {
                error: PushRefused::Internal(error),
            }
            | Reason::Objects {
                error: PushObjectsRefused::Internal(error),
            },
        ) => words(&error.error_message),
        Ok(Reason::Objects {
            error: PushObjectsRefused::RefCollision { dataset_id },
        }) => SmartError::RefCollision { place, id: dataset_id },
        Ok(Reason::Objects {
            error: PushObjectsRefused::NameCollision { dataset_alias },
        }) => SmartError::NameCollision {
            place,
            name: shown(&dataset_alias),
        },
        Ok(
            Reason::Pull {
                error: PullRefused::InvalidInterval { .. },
            }
            | Reason::Push {
                error: PushRefused::InvalidHead { .. },
            },
        )
        | Err(_) => words(reason),
    }
}

/// TLS with the public roots. The provider is named, because two are linked in and the default of the process is
/// ambiguous then.
fn tls() -> Result<Connector, String> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Connector::Rustls(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::super::messages::{Phase, PullPhase, PullResponse, PushObjectsResponse};
    use super::*;
    use crate::http::MAX_SHOWN_CHARS;
    use odf_metadata::DatasetId;

    fn words(reason: &str) -> String {
        refusal("P".to_owned(), reason).to_string()
    }

    #[test]
    fn every_reason_that_kamu_gives_is_put_into_words() {
        let internal = r#"{"Err":{"Internal":{"phase":{"Push":"MetadataRequest"},"error_message":"Internal error"}}}"#;
        assert_eq!(words(internal), "P refused: Internal error");
        let pull =
            r#"{"Err":{"Internal":{"phase":{"Pull":"InitialRequest"},"error_message":"Incompatible version."}}}"#;
        assert_eq!(words(pull), "P refused: Incompatible version.");
        let seed = r#"{"Err":{"SeedBlockOverwriteRestricted":{}}}"#;
        assert_eq!(words(seed), "P is another dataset, with another Seed");
        let id = DatasetId::from_public_key([7; 32]);
        let reference = format!(r#"{{"Err":{{"RefCollision":{{"dataset_id":"{id}"}}}}}}"#);
        assert!(words(&reference).contains(&id.to_string()));
        let name = r#"{"Err":{"NameCollision":{"dataset_alias":"ann/foo"}}}"#;
        assert_eq!(words(name), "the server of P has another dataset called ann/foo");
        assert_eq!(words(r#""no room for 7 bytes""#), "P refused: no room for 7 bytes");
        assert_eq!(words("just words"), "P refused: just words");
        assert_eq!(words(r#"{"Err":{"New":1}}"#), r#"P refused: {"Err":{"New":1}}"#);
    }

    #[test]
    fn no_more_of_foreign_words_is_shown_than_the_limit_says() {
        let longest = "\u{fc}".repeat(MAX_SHOWN_CHARS);
        for text in [longest.clone(), format!("{longest}\u{fc}")] {
            let error = InternalError {
                phase: Phase::Pull(PullPhase::InitialRequest),
                error_message: text.clone(),
            };
            let internal = serde_json::to_string(&PullResponse::Err(PullRefused::Internal(error))).unwrap();
            let taken = PushObjectsRefused::NameCollision {
                dataset_alias: text.clone(),
            };
            let taken = serde_json::to_string(&PushObjectsResponse::Err(taken)).unwrap();
            for told in [
                words(&text),
                words(&internal),
                words(&taken),
                message_in(text.as_bytes()),
            ] {
                assert_eq!(told.matches('\u{fc}').count(), MAX_SHOWN_CHARS, "{told}");
            }
        }
    }

    #[test]
    fn tls_has_a_provider_of_its_own() {
        assert!(tls().is_ok());
    }
}
