//! The server's end of a WebSocket: messages as values, within limits of size and time.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::PATIENCE;
use crate::smart::{CLOSED_WITH_REASON, MAX_MESSAGE_BYTES, MAX_REASON_BYTES};

/// How many frames that say nothing (pings above all) a peer may send while a message is expected.
pub(super) const MAX_EMPTY_FRAMES: usize = 1000;
/// How long to wait for the other side to close too.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why there is no further message.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// The other side closed, or went away.
    #[error("the other side went away")]
    Gone,
    /// It said nothing for too long.
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    /// There is no room for what it wants.
    #[error("the server is busy with other transfers; try again in a moment")]
    Busy,
    /// What it said is no message that belongs here.
    #[error("not a message that belongs here: {0}")]
    Malformed(String),
}

/// A WebSocket that was accepted.
pub(super) struct Socket(WebSocket);

/// Sets the limits of a WebSocket that is about to be accepted: the longest message that the other side may send.
pub(super) fn within_limits(upgrade: WebSocketUpgrade, bytes: usize) -> WebSocketUpgrade {
    let bytes = bytes.min(MAX_MESSAGE_BYTES);
    upgrade.max_message_size(bytes).max_frame_size(bytes)
}

impl Socket {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self(socket)
    }

    /// The next message. May be dropped while it waits, nothing is lost then.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, SocketError> {
        self.receive_within(PATIENCE).await
    }

    /// As [`Self::receive`], with less patience, or more.
    pub(super) async fn receive_within<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T, SocketError> {
        let text = tokio::time::timeout(patience, self.receive_text())
            .await
            .map_err(|_| SocketError::Silent(patience))??;
        serde_json::from_str(&text).map_err(|error| SocketError::Malformed(error.to_string()))
    }

    async fn receive_text(&mut self) -> Result<axum::extract::ws::Utf8Bytes, SocketError> {
        // After the last of them there is room for the message.
        for _ in 0..=MAX_EMPTY_FRAMES {
            match self.0.recv().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => return Err(SocketError::Malformed("it is binary".to_owned())),
                Some(Ok(Message::Close(_))) | None => return Err(SocketError::Gone),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a WebSocket failed");
                    return Err(SocketError::Gone);
                }
            }
        }
        Err(SocketError::Malformed(format!(
            "more than {MAX_EMPTY_FRAMES} empty frames"
        )))
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> Result<(), SocketError> {
        let text = serde_json::to_string(message).map_err(|error| SocketError::Malformed(error.to_string()))?;
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(SocketError::Malformed(format!(
                "a message of {} bytes, which is more than {MAX_MESSAGE_BYTES}",
                text.len()
            )));
        }
        match tokio::time::timeout(PATIENCE, self.0.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SocketError::Gone),
            Err(_) => Err(SocketError::Silent(PATIENCE)),
        }
    }

    /// Ends with a reason, which the other side shows: a JSON string, cut to what a close frame holds.
    ///
    /// kamu reads such a reason as the message that it waits for. A string is none of them, so kamu fails with these words
    /// in its error; an object it would take for an empty message, such as the one that confirms a push.
    pub(super) async fn refuse(mut self, reason: &str) {
        let frame = CloseFrame {
            code: CLOSED_WITH_REASON,
            reason: quoted(reason).into(),
        };
        let _ = tokio::time::timeout(FAREWELL, self.0.send(Message::Close(Some(frame)))).await;
        self.farewell().await;
    }

    /// Waits for the other side to close, for a while.
    pub(super) async fn farewell(mut self) {
        let closed = async { while let Some(Ok(_)) = self.0.recv().await {} };
        let _ = tokio::time::timeout(FAREWELL, closed).await;
    }
}

/// A JSON string of as much of a text as a close frame holds.
fn quoted(reason: &str) -> String {
    // Quotes take two bytes, and nothing gets shorter between them.
    let mut end = reason.floor_char_boundary(MAX_REASON_BYTES - 2);
    loop {
        let quoted = serde_json::to_string(&reason[..end]).unwrap_or_default();
        if quoted.len() <= MAX_REASON_BYTES {
            return quoted;
        }
        end = reason.floor_char_boundary(end.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_to_what_a_close_frame_holds() {
        let longest = "x".repeat(MAX_REASON_BYTES - 2);
        assert_eq!(quoted(&longest), format!("\"{longest}\""));
        assert_eq!(quoted(&format!("{longest}x")), format!("\"{longest}\""));
        assert_eq!(quoted(""), "\"\"");
        // Text in which each character takes so many bytes between quotes.
        for (character, bytes) in [('\u{fc}', 2), ('"', 2), ('\n', 2), ('\u{1}', 6), ('\u{1f600}', 4)] {
            let quoted = quoted(&character.to_string().repeat(1000));
            let words: String = serde_json::from_str(&quoted).unwrap();
            assert_eq!(words.chars().count(), (MAX_REASON_BYTES - 2) / bytes, "{quoted}");
        }
    }
}
