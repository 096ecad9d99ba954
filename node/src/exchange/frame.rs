//! Frames on a stream: an unsigned-varint length, then that many bytes.
//!
//! The length is checked before a byte of the body is kept, and the memory for a body grows with what has come.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::io::{AsyncRead, AsyncWrite};

use super::message::MAX_FRAME_BYTES;

/// The longest length prefix of a frame within [`MAX_FRAME_BYTES`], in bytes.
const MAX_PREFIX_BYTES: usize = 4;
/// How much of a body is asked of the stream at once.
const READ_STEP: usize = 64 << 10;
/// How many segments go into one write.
const WRITE_SLICES: usize = 16;

/// Why no further frame can be read from a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream failed, or ended within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The length prefix is no varint, or says more than [`MAX_FRAME_BYTES`].
    #[error("a frame is announced with more than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
}

/// Reads frames one after the other.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    prefix: [u8; MAX_PREFIX_BYTES],
    prefix_len: usize,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    len: usize,
    filled: usize,
    /// Memory is set aside only when the caller's budget allows it.
    buffer: Option<BytesMut>,
}

impl FrameReader {
    /// Whether part of a frame has come.
    pub(super) fn is_within_frame(&self) -> bool {
        self.prefix_len > 0 || self.body.is_some()
    }

    /// Whether a body is held back until the caller's budget allows it.
    pub(super) fn waits_for_budget(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.buffer.is_none())
    }

    /// How much of the frame under way has come, in bytes with its prefix.
    pub(super) fn filled(&self) -> usize {
        self.prefix_len + self.body.as_ref().map_or(0, |body| MAX_PREFIX_BYTES + body.filled)
    }

    /// Bytes of the frame under way that count against the caller's budget.
    pub(super) fn reserved(&self) -> usize {
        self.body
            .as_ref()
            .filter(|body| body.buffer.is_some())
            .map_or(0, |body| body.len)
    }

    /// The next frame without its prefix; nothing at the end of the stream.
    ///
    /// A body is begun only when it fits into `budget`, from which its length is taken; until then the answer is
    /// `Pending` without a wake-up, so the caller polls again when it has room. An empty frame is given like any other.
    ///
    /// # Errors
    /// The stream failed, ended within a frame, or announced a frame over the limit.
    pub(super) fn poll_frame(
        &mut self,
        mut io: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        budget: &mut usize,
    ) -> Poll<Result<Option<Bytes>, FrameError>> {
        loop {
            let Some(body) = &mut self.body else {
                let mut byte = [0];
                if ready!(io.as_mut().poll_read(cx, &mut byte))? == 0 {
                    return Poll::Ready(match self.prefix_len {
                        0 => Ok(None),
                        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    });
                }
                match self.push_prefix(byte[0])? {
                    None => continue,
                    Some(0) => {
                        self.prefix_len = 0;
                        return Poll::Ready(Ok(Some(Bytes::new())));
                    }
                    Some(len) => {
                        self.prefix_len = 0;
                        self.body = Some(Body {
                            len,
                            filled: 0,
                            buffer: None,
                        });
                        continue;
                    }
                }
            };
            let buffer = match &mut body.buffer {
                Some(buffer) => buffer,
                None if body.len <= *budget => {
                    *budget -= body.len;
                    body.buffer.insert(BytesMut::with_capacity(body.len))
                }
                None => return Poll::Pending,
            };
            while body.filled < body.len {
                if body.filled == buffer.len() {
                    buffer.resize(body.len.min(body.filled + READ_STEP), 0);
                }
                match ready!(io.as_mut().poll_read(cx, &mut buffer[body.filled..]))? {
                    0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())),
                    read => body.filled += read,
                }
            }
            let frame = std::mem::take(buffer).freeze();
            self.body = None;
            return Poll::Ready(Ok(Some(frame)));
        }
    }

    /// Takes one byte of the prefix; the length when it was the last.
    fn push_prefix(&mut self, byte: u8) -> Result<Option<usize>, FrameError> {
        self.prefix[self.prefix_len] = byte;
        self.prefix_len += 1;
        if byte & 0x80 != 0 {
            return if self.prefix_len < MAX_PREFIX_BYTES {
                Ok(None)
            } else {
                Err(FrameError::TooLarge)
            };
        }
        let bytes = &self.prefix[..self.prefix_len];
        let len = bytes
            .iter()
            .rev()
            .fold(0usize, |len, byte| len << 7 | usize::from(byte & 0x7f));
        if len > MAX_FRAME_BYTES {
            Err(FrameError::TooLarge)
        } else {
            Ok(Some(len))
        }
    }
}

/// Writes segments one after the other, without joining them.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    segments: VecDeque<Bytes>,
}

impl FrameWriter {
    /// Begins with the segments of one frame.
    pub(super) fn new(segments: Vec<Bytes>) -> Self {
        Self {
            segments: segments.into(),
        }
    }

    /// Bytes that the stream has not taken yet.
    pub(super) fn left(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// Hands everything to the stream. Ready when the stream has taken it all; it is not yet flushed.
    ///
    /// # Errors
    /// The stream failed or takes no more; part of the frame may have been sent.
    pub(super) fn poll_write(
        &mut self,
        mut io: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.segments.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let mut used = 0;
            for (slice, segment) in slices.iter_mut().zip(&self.segments) {
                *slice = IoSlice::new(segment);
                used += 1;
            }
            let mut written = ready!(io.as_mut().poll_write_vectored(cx, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(front) = self.segments.front_mut() {
                let step = front.len().min(written);
                front.advance(step);
                written -= step;
                if !front.is_empty() {
                    break;
                }
                self.segments.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], budget: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let (mut reader, mut frames, mut budget) = (FrameReader::default(), Vec::new(), budget);
        let mut io = futures::io::Cursor::new(bytes);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            match reader.poll_frame(Pin::new(&mut io), &mut cx, &mut budget) {
                Poll::Ready(Ok(Some(frame))) => frames.push(frame),
                Poll::Ready(Ok(None)) | Poll::Pending => return (frames, None),
                Poll::Ready(Err(error)) => return (frames, Some(error)),
            }
        }
    }

    #[test]
    fn frames_follow_one_another_until_the_end() {
        let (frames, error) = read_all(&[1, 9, 0, 3, 1, 2, 3], 1 << 20);
        assert_eq!(frames, [&[9][..], &[], &[1, 2, 3]]);
        assert!(error.is_none());
    }

    #[test]
    fn an_end_within_a_frame_is_an_error() {
        for bytes in [&[3u8, 1, 2][..], &[0x80]] {
            assert!(
                matches!(read_all(bytes, 1 << 20).1, Some(FrameError::Io(_))),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn the_limit_holds_before_the_body_is_read() {
        let mut frame = vec![0x80, 0x80, 0x80, 0x02];
        frame.resize(4 + MAX_FRAME_BYTES, 7);
        let (frames, error) = read_all(&frame, MAX_FRAME_BYTES);
        assert_eq!(frames[0].len(), MAX_FRAME_BYTES);
        assert!(error.is_none());
        let over = [0x81, 0x80, 0x80, 0x02];
        assert!(matches!(read_all(&over, usize::MAX).1, Some(FrameError::TooLarge)));
        assert!(matches!(
            read_all(&[0xff; 10], usize::MAX).1,
            Some(FrameError::TooLarge)
        ));
    }

    #[test]
    fn a_body_beyond_the_budget_waits() {
        let (mut reader, mut budget) = (FrameReader::default(), 2);
        let mut io = futures::io::Cursor::new(&[3u8, 1, 2, 3]);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(reader.poll_frame(Pin::new(&mut io), &mut cx, &mut budget).is_pending());
        assert_eq!((reader.reserved(), budget), (0, 2));
        budget = 3;
        let Poll::Ready(Ok(Some(frame))) = reader.poll_frame(Pin::new(&mut io), &mut cx, &mut budget) else {
            panic!("the frame fits now");
        };
        assert_eq!((&frame[..], budget), (&[1u8, 2, 3][..], 0));
    }

    #[test]
    fn many_segments_come_out_in_order() {
        let segments: Vec<Bytes> = (0..40u8).map(|n| Bytes::from(vec![n; usize::from(n)])).collect();
        let expected: Vec<u8> = segments.concat();
        let mut io = futures::io::Cursor::new(Vec::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut writer = FrameWriter::new(segments);
        assert!(matches!(
            writer.poll_write(Pin::new(&mut io), &mut cx),
            Poll::Ready(Ok(()))
        ));
        assert_eq!(io.into_inner(), expected);
    }
}
