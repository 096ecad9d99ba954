//! Peers that lie, stall, flood, and break frames.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::message::{MAX_FRAME_BYTES, Message, Presence, WantKind, WantlistEntry};
use super::raw::{RawPeer, frame, read, send};
use super::*;
use crate::store::StoreError;

/// A store that has everything, and gives other bytes, or nothing at all until it is released.
#[derive(Default)]
struct BadStore {
    lies: bool,
    reads: AtomicUsize,
    released: AtomicBool,
}

/// The runtime waits for its blocking threads when a test ends, however it ends.
struct Release(Arc<BadStore>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.released.store(true, Ordering::Relaxed);
    }
}

impl crate::store::Blocks for BadStore {
    fn has(&self, _: &Cid) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn size(&self, _: &Cid) -> Result<Option<usize>, StoreError> {
        Ok(Some(2000))
    }

    fn get(&self, _: &Cid) -> Result<Option<Block>, StoreError> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        if self.lies {
            return Ok(Some(Block::new(RAW, format!("lie {read}").into_bytes()).unwrap()));
        }
        while !self.released.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(None)
    }

    fn put(&self, _: &[Block]) -> Result<(), StoreError> {
        Ok(())
    }
}

fn want(block: &Block) -> Message {
    let entry = WantlistEntry {
        cid: *block.cid(),
        priority: 1,
        cancel: false,
        kind: WantKind::Block,
        send_dont_have: true,
    };
    Message {
        entries: vec![entry],
        ..Message::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_and_a_staller_among_three_providers_cost_nothing_but_time() {
    let client = Peer::start(Net::Tcp).await;
    let wanted = blocks(60, 10_000);
    let honest = Peer::start(Net::Tcp).await;
    honest.put(&wanted);
    let liar = Peer::serving(
        Net::Tcp,
        Arc::new(BadStore {
            lies: true,
            ..BadStore::default()
        }),
    )
    .await;
    let silent = Release(Arc::default());
    let staller = Peer::serving(Net::Tcp, silent.0.clone()).await;
    let session = client.handle.session();
    for provider in [&liar, &staller, &honest] {
        client.connect(provider).await;
        session.add_provider(provider.id);
    }
    fetch_all(&session, &wanted).await;
    let stats = client.handle.stats();
    assert!(stats.unrequested >= 8, "{stats:?}");
    assert_eq!((stats.blocks_received, stats.wants), (60, 0));
    assert_eq!(session.stats().providers, 1);
    // The liar has been disconnected, and cannot come back.
    eventually(|| client.handle.stats().peers == 2).await;
    liar.orders
        .send(Order::Dial(client.addresses[0].clone()))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.handle.stats().peers, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_on_many_parallel_streams_are_all_taken() {
    let peer = Peer::start(Net::Tcp).await;
    let mut raw = RawPeer::dial(&peer).await;
    let wanted = blocks(24, 70_000);
    let session = peer.handle.session();
    session.add_provider(raw.id);
    let fetching = tokio::spawn({
        let (session, wanted) = (session.clone(), wanted.clone());
        async move { fetch_all(&session, &wanted).await }
    });
    let mut wants = raw.accept().await;
    let mut asked = 0;
    while asked < 8 {
        asked += read(&mut wants).await.entries.len();
    }
    // As Kubo does: a stream for each message, several at a time, written in turns, each closed after its message.
    for group in wanted.chunks(8) {
        let mut streams = Vec::new();
        for block in group {
            let message = Message {
                blocks: vec![block.clone()],
                ..Message::default()
            };
            streams.push((raw.open().await, frame(&message)));
        }
        for part in 0..4 {
            for (stream, frame) in &mut streams {
                let step = frame.len().div_ceil(4);
                send(stream, &frame[part * step..frame.len().min((part + 1) * step)])
                    .await
                    .unwrap();
            }
        }
        for (mut stream, _) in streams {
            stream.close().await.unwrap();
        }
    }
    fetching.await.unwrap();
    assert_eq!(peer.handle.stats().unrequested, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_answers_on_a_stream_each_loses_none() {
    let peer = Peer::with(Net::Tcp, Config::default()).await;
    let raw = RawPeer::dial(&peer).await;
    let wanted = blocks(400, 4000);
    let session = peer.handle.session();
    session.add_provider(raw.id);
    let fetching = tokio::spawn({
        let (session, wanted) = (session.clone(), wanted.clone());
        async move { fetch_all(&session, &wanted).await }
    });
    eventually(|| peer.handle.stats().wants == 400).await;
    for block in &wanted {
        let message = Message {
            blocks: vec![block.clone()],
            ..Message::default()
        };
        raw.post(&frame(&message)).await;
    }
    let fetched = tokio::time::timeout(Duration::from_secs(10), fetching).await;
    fetched.expect("all were sent once, none may be lost").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_many_messages_and_a_bad_one_ends_only_its_stream() {
    let peer = Peer::start(Net::Tcp).await;
    let mut raw = RawPeer::dial(&peer).await;
    let held = blocks(4, 3000);
    peer.put(&held);
    let mut good = raw.open().await;
    send(&mut good, &frame(&want(&held[0]))).await.unwrap();
    let mut answers = raw.accept().await;
    assert_eq!(read(&mut answers).await.payloads.len(), 1);

    let over = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    let mut buffer = unsigned_varint::encode::u32_buffer();
    let too_long = unsigned_varint::encode::u32(over, &mut buffer);
    for bad in [
        too_long,
        &[0xff; 12],
        b"\x05\x0a\x7f\x01\x02\x03",
        b"\x06\x0a\x04\x0a\x02\x0a\x00",
    ] {
        let mut stream = raw.open().await;
        send(&mut stream, bad).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the stream is still open after {bad:?}");
        assert!(rest.is_empty());
    }
    for block in &held[1..] {
        send(&mut good, &frame(&want(block))).await.unwrap();
        assert_eq!(read(&mut answers).await.payloads.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_frames_on_many_streams_do_not_stop_others() {
    let (peer, friend) = (Peer::start(Net::Tcp).await, Peer::start(Net::Tcp).await);
    let raw = RawPeer::dial(&peer).await;
    // Each announces the longest frame there may be and sends a little of it; together far over the budget.
    let mut streams = Vec::new();
    for _ in 0..500 {
        let mut stream = raw.open().await;
        let _ = send(&mut stream, &[0x80, 0x80, 0x80, 0x02, 0x0a]).await;
        streams.push(stream);
    }
    let held = blocks(10, 3000);
    peer.put(&held);
    friend.connect(&peer).await;
    fetch_all(&friend.handle.session(), &held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_wants_is_cut_and_the_last_word_counts() {
    let peer = Peer::start(Net::Tcp).await;
    let raw = RawPeer::dial(&peer).await;
    let absent = blocks(30_000, 8);
    let mut stream = raw.open().await;
    for full in [false, true] {
        let entries = absent.iter().flat_map(|block| want(block).entries).collect();
        send(
            &mut stream,
            &frame(&Message {
                entries,
                full,
                ..Message::default()
            }),
        )
        .await
        .unwrap();
    }
    eventually(|| peer.handle.stats().peer_wants == 1024).await;
    send(
        &mut stream,
        &frame(&Message {
            full: true,
            ..Message::default()
        }),
    )
    .await
    .unwrap();
    eventually(|| peer.handle.stats().peer_wants == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_reads_nothing_is_sent_only_so_much() {
    let peer = Peer::start(Net::Tcp).await;
    let mut raw = RawPeer::dial(&peer).await;
    let held = blocks(40, 1 << 20);
    peer.put(&held);
    let mut stream = raw.open().await;
    let entries = held.iter().flat_map(|block| want(block).entries).collect();
    send(
        &mut stream,
        &frame(&Message {
            entries,
            ..Message::default()
        }),
    )
    .await
    .unwrap();
    let _unread = raw.accept().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = peer.handle.stats().bytes_sent;
    assert!((1 << 20..=10 << 20).contains(&sent), "{sent}");
    drop(raw);
    eventually(|| peer.handle.stats().peer_wants == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presences_and_inline_blocks_follow_the_rule_of_1024() {
    let peer = Peer::start(Net::Tcp).await;
    let mut raw = RawPeer::dial(&peer).await;
    let (small, large, absent) = (
        blocks(1, 1024).remove(0),
        blocks(1, 1025).remove(0),
        blocks(1, 8).remove(0),
    );
    peer.put(&[small.clone(), large.clone()]);
    let mut stream = raw.open().await;
    let entries = [&small, &large, &absent]
        .into_iter()
        .flat_map(|block| want(block).entries);
    let entries = entries
        .map(|entry| WantlistEntry {
            kind: WantKind::Have,
            ..entry
        })
        .collect();
    send(
        &mut stream,
        &frame(&Message {
            entries,
            ..Message::default()
        }),
    )
    .await
    .unwrap();
    let mut answers = raw.accept().await;
    let answer = read(&mut answers).await;
    assert_eq!(
        answer
            .payloads
            .into_iter()
            .map(|payload| payload.into_block(0).unwrap())
            .collect::<Vec<_>>(),
        [small]
    );
    assert_eq!(
        answer.presences,
        [(*large.cid(), Presence::Have), (*absent.cid(), Presence::DontHave)]
    );
}
