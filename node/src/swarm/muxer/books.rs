//! What lies unread in the streams of one connection, counted from the bytes that come in.
//!
//! The multiplexer keeps what has come for a stream until somebody reads it, and does not say how much that is. But all of
//! it came over the wire, in frames of a simple form (<https://github.com/hashicorp/yamux/blob/master/spec.md>): a header of
//! twelve bytes with kind, flags, stream and length, then as many bytes of data as a data frame says.

use std::collections::HashMap;
use std::task::Waker;

use crate::room::Share;

/// What an open stream of the other side costs besides its unread bytes: its state here, and what the protocol on it may hold
/// of a message that is not complete, or of a negotiation. Both are held to this much.
pub(super) const STREAM_COST: usize = 16 << 10;
/// What a data frame costs besides its bytes: it is kept in a vector of its own, however short.
pub(super) const FRAME_COST: usize = 96;

const HEADER_BYTES: usize = 12;
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const SYN: u16 = 1;
const RST: u16 = 8;

#[derive(Debug, Default)]
struct Unread {
    bytes: usize,
    /// What is taken for these bytes and their frames.
    cost: usize,
    /// What is taken for the stream itself.
    stream: usize,
}

#[derive(Debug, Default)]
struct Header {
    bytes: [u8; HEADER_BYTES],
    len: usize,
}

/// The books of one connection.
#[derive(Debug)]
pub(super) struct Books {
    share: Share,
    streams: HashMap<u32, Unread>,
    header: Header,
    /// The stream, the length, and what is still to come of the data frame under way.
    frame: Option<(u32, usize, usize)>,
    /// How often somebody read or closed a stream.
    progress: u64,
    /// Who waits for that.
    waiting: Option<Waker>,
}

impl Books {
    pub(super) fn new(share: Share) -> Self {
        Self {
            share,
            streams: HashMap::new(),
            header: Header::default(),
            frame: None,
            progress: 0,
            waiting: None,
        }
    }

    /// Whether nothing more may be read from the wire for now. `waker` is called when something was read from a stream.
    pub(super) fn is_full(&mut self, waker: &Waker) -> bool {
        let full = self.share.left() == 0;
        self.waiting = full.then(|| waker.clone());
        full
    }

    /// How often something was read or closed: it changes when the connection is of use.
    pub(super) fn progress(&self) -> u64 {
        self.progress
    }

    /// We open a stream.
    pub(super) fn opened(&mut self, stream: u32) {
        self.streams.entry(stream).or_default();
    }

    /// These bytes came over the wire.
    pub(super) fn came(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let now = match &mut self.frame {
                Some((_, _, to_come)) => {
                    let now = bytes.len().min(*to_come);
                    *to_come -= now;
                    self.share.take(now);
                    now
                }
                None => {
                    let now = bytes.len().min(HEADER_BYTES - self.header.len);
                    let header = self.header.bytes.iter_mut().skip(self.header.len);
                    header.zip(bytes).for_each(|(to, from)| *to = *from);
                    self.header.len += now;
                    now
                }
            };
            bytes = bytes.split_at(now).1;
            if self.header.len == HEADER_BYTES {
                let header = std::mem::take(&mut self.header);
                self.header_came(header.bytes);
            }
            if let Some((stream, len, 0)) = self.frame {
                self.frame = None;
                self.frame_came(stream, len);
            }
        }
    }

    fn header_came(&mut self, header: [u8; HEADER_BYTES]) {
        let [
            _,
            kind,
            flag_0,
            flag_1,
            id_0,
            id_1,
            id_2,
            id_3,
            len_0,
            len_1,
            len_2,
            len_3,
        ] = header;
        let flags = u16::from_be_bytes([flag_0, flag_1]);
        let stream = u32::from_be_bytes([id_0, id_1, id_2, id_3]);
        let is_new = matches!(kind, DATA | WINDOW_UPDATE) && flags & SYN != 0 && flags & RST == 0;
        if is_new && !self.streams.contains_key(&stream) {
            self.share.take(STREAM_COST);
            self.opened(stream);
            if let Some(unread) = self.streams.get_mut(&stream) {
                unread.stream = STREAM_COST;
            }
        }
        if kind == DATA {
            let len = u32::from_be_bytes([len_0, len_1, len_2, len_3]) as usize;
            self.frame = Some((stream, len, len));
        }
    }

    fn frame_came(&mut self, stream: u32, len: usize) {
        match self.streams.get_mut(&stream) {
            // An empty frame is not kept.
            Some(unread) if len > 0 => {
                self.share.take(FRAME_COST);
                unread.bytes += len;
                unread.cost += len + FRAME_COST;
            }
            // The multiplexer drops what is for nobody.
            _ => self.share.give(len),
        }
    }

    /// Somebody read from a stream.
    pub(super) fn read(&mut self, stream: u32, bytes: usize) {
        if let Some(unread) = self.streams.get_mut(&stream) {
            // Frames are let go as their bytes are read; which of them is short is not known here.
            let cost = match unread.bytes.saturating_sub(bytes) {
                0 => unread.cost,
                left => unread.cost - unread.cost.saturating_mul(left) / unread.bytes.max(1),
            };
            unread.bytes = unread.bytes.saturating_sub(bytes);
            unread.cost = unread.cost.saturating_sub(cost);
            self.share.give(cost);
        }
        self.moved();
    }

    /// A stream is gone from this side, with what was unread.
    pub(super) fn closed(&mut self, stream: u32) {
        if let Some(unread) = self.streams.remove(&stream) {
            self.share.give(unread.cost + unread.stream);
        }
        self.moved();
    }

    fn moved(&mut self) {
        self.progress += 1;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    const SIZE: usize = 1 << 30;

    fn books() -> Books {
        Books::new(Room::new(2 * SIZE, 0).share(SIZE))
    }

    fn taken(books: &Books) -> usize {
        SIZE - books.share.left()
    }

    fn frame(kind: u8, flags: u16, stream: u32, len: u32, body: usize) -> Vec<u8> {
        let mut frame = vec![0, kind];
        frame.extend(flags.to_be_bytes());
        frame.extend(stream.to_be_bytes());
        frame.extend(len.to_be_bytes());
        frame.extend(vec![7; body]);
        frame
    }

    fn data(stream: u32, flags: u16, len: usize) -> Vec<u8> {
        frame(DATA, flags, stream, u32::try_from(len).unwrap(), len)
    }

    #[test]
    fn what_is_unread_is_counted_however_it_comes_in_pieces() {
        let mut wire = data(1, SYN, 1000);
        wire.extend(frame(WINDOW_UPDATE, SYN, 3, 1 << 20, 0));
        wire.extend(frame(2, 0, 0, 77, 0)); // a ping: its number is no length
        wire.extend(data(3, 0, 0));
        wire.extend(data(3, 0, 500));
        wire.extend(data(99, 0, 400)); // nobody has this stream
        for piece in [1, 2, 11, 12, 13, 700, wire.len()] {
            let mut books = books();
            wire.chunks(piece).for_each(|piece| books.came(piece));
            assert_eq!(
                taken(&books),
                2 * (STREAM_COST + FRAME_COST) + 1500,
                "in pieces of {piece}"
            );
            books.read(1, 400);
            assert!((2 * STREAM_COST + 1100..2 * (STREAM_COST + FRAME_COST) + 1100).contains(&taken(&books)));
            books.read(1, 600);
            assert_eq!(taken(&books), 2 * STREAM_COST + FRAME_COST + 500);
            books.closed(3);
            assert_eq!(taken(&books), STREAM_COST);
            books.closed(1);
            assert_eq!(taken(&books), 0);
        }
    }

    #[test]
    fn a_frame_under_way_and_one_for_a_closed_stream_count_until_they_are_there() {
        let mut books = books();
        let whole = data(1, SYN, 1000);
        books.came(&whole[..500]);
        assert_eq!(taken(&books), STREAM_COST + 500 - HEADER_BYTES);
        books.closed(1);
        assert_eq!(taken(&books), 500 - HEADER_BYTES);
        books.came(&whole[500..]);
        assert_eq!(taken(&books), 0);
        books.came(&frame(DATA, SYN | RST, 1, 0, 0));
        assert_eq!(taken(&books), 0);
    }

    #[test]
    fn many_short_frames_cost_what_they_take() {
        let mut books = books();
        books.came(&data(1, SYN, 1));
        (0..999).for_each(|_| books.came(&data(1, 0, 1)));
        assert_eq!(taken(&books), STREAM_COST + 1000 * (1 + FRAME_COST));
        books.read(1, 999);
        assert_eq!(taken(&books), STREAM_COST + 1 + FRAME_COST);
    }

    #[test]
    fn our_own_streams_cost_nothing_but_what_comes_on_them() {
        let mut books = books();
        books.opened(2);
        books.came(&data(2, 0, 10));
        assert_eq!(taken(&books), 10 + FRAME_COST);
        books.closed(2);
        assert_eq!(taken(&books), 0);
    }
}
