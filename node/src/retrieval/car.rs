//! A DAG from a gateway as one CAR, its blocks checked and handed on as they come.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use cid::Cid;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ahead::{Ahead, Unwanted};
use super::gateway::{Gateway, Missed, Wanted};
use super::{GOES_ON_WITHIN, Gateways, in_words};
use crate::block::{Block, BlockError};
use crate::car::{CarError, Reader};

/// Pieces of an answer that wait to be taken apart.
const PIECES_AHEAD: usize = 8;
/// Blocks that wait to be handed on.
const BLOCKS_AHEAD: usize = 32;
/// When more than this came before a stream broke, no other gateway is asked to begin again.
const MAX_AGAIN_BYTES: u64 = 8 << 20;
const MEDIA: &str = "application/vnd.ipld.car; version=1; order=dfs; dups=n";

impl Gateways {
    /// Has the DAG below `root` come as one CAR, from one gateway or, when that breaks off early, from others after it. Returns
    /// when nothing comes any more; the caller ends `ahead` then, or by dropping this.
    pub(crate) async fn bring(&self, root: &Cid, ahead: &Ahead, through: Option<&str>) {
        let mut tried: Vec<Arc<Gateway>> = Vec::new();
        while let Some(gateway) = self.next(&tried, Wanted::Dag) {
            ahead.begin();
            match self.car(&gateway, root, ahead, through).await {
                Ok(()) => return,
                Err(Broken::Missed(missed)) => gateway.note(&missed),
                Err(Broken::NoCar(reason)) => gateway.gave_no_car(&reason),
                Err(Broken::Unwanted(reason)) => {
                    tracing::debug!(%root, %reason, "a CAR is read no further");
                    return;
                }
            }
            if ahead.bytes() > MAX_AGAIN_BYTES {
                return;
            }
            tried.push(gateway);
        }
    }

    async fn car(&self, gateway: &Gateway, root: &Cid, ahead: &Ahead, through: Option<&str>) -> Result<(), Broken> {
        let path = format!("ipfs/{root}?format=car&dag-scope=all&car-order=dfs&car-dups=n");
        let mut response = match self.open(gateway, &path, MEDIA, through).await {
            Ok(response) => response,
            Err(Missed::Absent(reason)) => return Err(Broken::NoCar(reason)),
            Err(missed) => return Err(Broken::Missed(missed)),
        };
        let (pieces, taken_apart) = mpsc::channel(PIECES_AHEAD);
        let (whole, mut blocks) = mpsc::channel(BLOCKS_AHEAD);
        // Hashing is no work for the threads of the network.
        let reading = tokio::task::spawn_blocking(move || take_apart(taken_apart, &whole));
        let receive = async {
            loop {
                match timeout(GOES_ON_WITHIN, response.chunk()).await {
                    Ok(Ok(Some(piece))) => {
                        ahead.received(piece.len());
                        if pieces.send(piece).await.is_err() {
                            break;
                        }
                    }
                    Ok(Ok(None)) => break,
                    Ok(Err(error)) => return Err(Broken::Missed(Missed::Slow(in_words(&error)))),
                    Err(_) => return Err(Broken::Missed(Missed::Slow("it stopped within a CAR".to_owned()))),
                }
            }
            drop(pieces);
            Ok(())
        };
        let hand_on = async {
            while let Some(block) = blocks.recv().await {
                gateway.count(block.data().len());
                ahead.came(block)?;
                ahead.room().await;
            }
            Ok(())
        };
        let ((), ()) = futures::future::try_join(receive, hand_on).await?;
        match reading.await {
            Ok(read) => read.map_err(Broken::from),
            // The process is stopping.
            Err(_) => Ok(()),
        }
    }
}

/// Why a CAR did not come to its end.
#[derive(Debug)]
enum Broken {
    /// As with a request for a block.
    Missed(Missed),
    /// The gateway has no CARs, or not those that are of use here.
    NoCar(String),
    /// It is nothing that another gateway would do better.
    Unwanted(Unwanted),
}

impl From<Unwanted> for Broken {
    fn from(unwanted: Unwanted) -> Self {
        match unwanted {
            Unwanted::Unlinked => Self::NoCar(unwanted.to_string()),
            Unwanted::Slow => Self::Missed(Missed::Slow(unwanted.to_string())),
            _ => Self::Unwanted(unwanted),
        }
    }
}

impl From<CarError> for Broken {
    fn from(error: CarError) -> Self {
        match error {
            CarError::Block {
                source: BlockError::HashMismatch { cid },
                ..
            } => Self::Missed(Missed::False(format!("it gave another block as {cid}"))),
            error => Self::NoCar(error.to_string()),
        }
    }
}

fn take_apart(pieces: mpsc::Receiver<Bytes>, blocks: &mpsc::Sender<Block>) -> Result<(), CarError> {
    let rest = Bytes::new();
    let mut reader = Reader::new(Pieces { pieces, rest })?;
    while let Some(block) = reader.block()? {
        if blocks.blocking_send(block).is_err() {
            break;
        }
    }
    Ok(())
}

/// What comes in pieces, as one.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}
