//! The protocol by which one peer asks another for the record of a name: `/libp2p/fetch/0.0.1`.
//!
//! A request and an answer are protobuf messages with their length before them. Spec:
//! <https://github.com/libp2p/specs/tree/master/fetch>.

use std::io;
use std::time::Duration;

use bytes::BufMut as _;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, Config, ProtocolSupport};

use super::topic::MAX_RECORD_BYTES;
use crate::protobuf::{self, Value};
use crate::routing::records::MAX_VALUE_KEY_BYTES;

/// The longest request that is read: a key, and what stands before it.
pub(super) const MAX_WANTED_BYTES: usize = MAX_VALUE_KEY_BYTES + 16;
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = MAX_RECORD_BYTES + 16;
/// How long an answer may take; Kubo's figure.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests under way on one connection.
const MAX_AT_ONCE: usize = 16;

/// The behaviour.
pub(crate) type Fetch = request_response::Behaviour<Codec>;

/// The behaviour, for both sides of the protocol.
pub(super) fn behaviour() -> Fetch {
    let protocol = StreamProtocol::new("/libp2p/fetch/0.0.1");
    let config = Config::default()
        .with_request_timeout(DEADLINE)
        .with_max_concurrent_streams(MAX_AT_ONCE);
    Fetch::with_codec(Codec, [(protocol, ProtocolSupport::Full)], config)
}

/// What is asked for: the routing key of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted(pub(crate) Vec<u8>);

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This record.
    Found(Vec<u8>),
    /// None is kept.
    NotFound,
    /// None for now.
    Failed,
}

impl Wanted {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        protobuf::put_bytes(&mut out, 1, &self.0);
        out
    }

    fn decode(mut bytes: &[u8]) -> io::Result<Self> {
        let mut key = Vec::new();
        while let Some((field, value)) = protobuf::next_field(&mut bytes).map_err(invalid)? {
            if let (1, Value::Bytes(bytes)) = (field, value) {
                key = bytes.to_vec();
            }
        }
        Ok(Self(key))
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Found(record) => protobuf::put_bytes(&mut out, 2, record),
            Self::NotFound => protobuf::put_number(&mut out, 1, 1),
            Self::Failed => protobuf::put_number(&mut out, 1, 2),
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> io::Result<Self> {
        let (mut status, mut record) = (0, Vec::new());
        while let Some((field, value)) = protobuf::next_field(&mut bytes).map_err(invalid)? {
            match (field, value) {
                (1, Value::Number(number)) => status = number,
                (2, Value::Bytes(bytes)) => record = bytes.to_vec(),
                _ => {}
            }
        }
        Ok(match status {
            0 => Self::Found(record),
            1 => Self::NotFound,
            _ => Self::Failed,
        })
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Reads one message of at most `most` bytes.
async fn read<T: AsyncRead + Unpin + Send>(stream: &mut T, most: usize) -> io::Result<Vec<u8>> {
    let mut len = 0;
    // Three bytes count to two million.
    for shift in [0, 7, 14] {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        let [byte] = byte;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if len > most {
                return Err(invalid("it is too long"));
            }
            let mut message = vec![0; len];
            stream.read_exact(&mut message).await?;
            return Ok(message);
        }
    }
    Err(invalid("it is too long"))
}

async fn write<T: AsyncWrite + Unpin + Send>(stream: &mut T, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(message.len() + 3);
    protobuf::put_varint(&mut framed, message.len() as u64);
    framed.put_slice(message);
    stream.write_all(&framed).await
}

/// The two messages on a stream.
#[derive(Debug, Clone)]
pub(crate) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Wanted;
    type Response = Answer;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &Self::Protocol,
        stream: &mut T,
    ) -> io::Result<Wanted> {
        Wanted::decode(&read(stream, MAX_WANTED_BYTES).await?)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &Self::Protocol,
        stream: &mut T,
    ) -> io::Result<Answer> {
        Answer::decode(&read(stream, MAX_ANSWER_BYTES).await?)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &Self::Protocol,
        stream: &mut T,
        wanted: Wanted,
    ) -> io::Result<()> {
        write(stream, &wanted.encode()).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &Self::Protocol,
        stream: &mut T,
        answer: Answer,
    ) -> io::Result<()> {
        write(stream, &answer.encode()).await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_one_byte_over_the_limit_is_not() {
        let mut stream = Cursor::new(Vec::new());
        let longest = Wanted(vec![7; MAX_VALUE_KEY_BYTES]);
        write(&mut stream, &longest.encode()).await.unwrap();
        for answer in [
            Answer::Found(vec![8; MAX_RECORD_BYTES]),
            Answer::NotFound,
            Answer::Failed,
        ] {
            write(&mut stream, &answer.encode()).await.unwrap();
        }
        stream.set_position(0);
        let wanted = read(&mut stream, MAX_WANTED_BYTES).await.unwrap();
        assert_eq!(Wanted::decode(&wanted).unwrap(), longest);
        for expected in [
            Answer::Found(vec![8; MAX_RECORD_BYTES]),
            Answer::NotFound,
            Answer::Failed,
        ] {
            let answer = read(&mut stream, MAX_ANSWER_BYTES).await.unwrap();
            assert_eq!(Answer::decode(&answer).unwrap(), expected);
        }
        for most in [MAX_WANTED_BYTES, MAX_ANSWER_BYTES] {
            let mut stream = Cursor::new(Vec::new());
            write(&mut stream, &vec![0; most + 1]).await.unwrap();
            stream.set_position(0);
            assert!(read(&mut stream, most).await.is_err());
            stream.set_position(0);
            assert!(read(&mut stream, most + 1).await.is_ok());
        }
        assert!(read(&mut Cursor::new([0xff; 9]), usize::MAX).await.is_err());
        assert!(Answer::decode(&[0x0a, 9, 1]).is_err());
    }
}
