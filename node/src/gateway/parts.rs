//! The parts of content that an answer consists of, and what stands between them.

use std::collections::VecDeque;
use std::ops::Range;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::Response;

use super::range::Span;
use super::refusal::{Refusal, set};

/// Parts in order, each with what stands before it, and what stands behind all.
pub(super) struct Parts {
    pub(super) parts: VecDeque<(Bytes, Range<u64>)>,
    pub(super) tail: Bytes,
}

impl Parts {
    /// The parts that were asked for of content with `size` bytes, and an answer that says so.
    ///
    /// # Errors
    /// None of them exists.
    pub(super) fn of(span: Span, size: u64, response: &mut Response) -> Result<Self, Refusal> {
        set(response.headers_mut(), header::ACCEPT_RANGES, "bytes");
        let ranges = match span {
            Span::Unsatisfiable => {
                let reason = format!("the content has {size} bytes");
                let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, reason);
                return Err(refusal.with(header::CONTENT_RANGE, &format!("bytes */{size}")));
            }
            Span::Whole => return Ok(Self::one(0..size, response)),
            Span::Parts(ranges) => ranges,
        };
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let headers = response.headers_mut();
        if let [range] = &ranges[..] {
            set(headers, header::CONTENT_RANGE, &content_range(range, size));
            return Ok(Self::one(range.clone(), response));
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        // Nobody can make content that holds it.
        let boundary = format!("{:032x}", rand::random::<u128>());
        let head = |range: Range<u64>| {
            let place = content_range(&range, size);
            let head = format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {place}\r\n\r\n");
            (Bytes::from(head), range)
        };
        let parts: VecDeque<_> = ranges.into_iter().map(head).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let bytes: u64 = parts
            .iter()
            .map(|(head, range)| head.len() as u64 + range.end - range.start)
            .sum();
        set(
            headers,
            header::CONTENT_LENGTH,
            &(bytes + tail.len() as u64).to_string(),
        );
        let multipart = format!("multipart/byteranges; boundary={boundary}");
        set(headers, header::CONTENT_TYPE, &multipart);
        Ok(Self { parts, tail })
    }

    fn one(range: Range<u64>, response: &mut Response) -> Self {
        let length = range.end - range.start;
        set(response.headers_mut(), header::CONTENT_LENGTH, &length.to_string());
        Self {
            parts: [(Bytes::new(), range)].into(),
            tail: Bytes::new(),
        }
    }

    /// The parts of content that is in memory, as one.
    pub(super) fn cut(mut self, content: &Bytes) -> Bytes {
        // All offsets are within bytes in memory.
        let part = |range: &Range<u64>| content.slice(range.start as usize..range.end as usize);
        if let ([(head, range)], true) = (self.parts.make_contiguous(), self.tail.is_empty())
            && head.is_empty()
        {
            return part(range);
        }
        let mut all = Vec::new();
        for (head, range) in &self.parts {
            all.extend_from_slice(head);
            all.extend_from_slice(&part(range));
        }
        all.extend_from_slice(&self.tail);
        all.into()
    }
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}
