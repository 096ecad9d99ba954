//! What lies between a socket and its encryption: reads of many frames at once.
//!
//! Noise of libp2p reads 8 KiB at a time from what it is given, a system call each. Through a buffer it takes from memory
//! what the kernel had for it in one go.

use futures::io::{AsyncRead, AsyncWrite, BufReader};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};

/// What is read from a socket at once. Memory that was never read into is not resident.
const READ_BYTES: usize = 256 << 10;

/// An upgrade to an encrypted connection, which reads from its socket through a buffer.
#[derive(Debug, Clone)]
pub(super) struct Buffered<U>(pub(super) U);

impl<U: UpgradeInfo> UpgradeInfo for Buffered<U> {
    type Info = U::Info;
    type InfoIter = U::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite, U: InboundConnectionUpgrade<BufReader<C>>> InboundConnectionUpgrade<C> for Buffered<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0
            .upgrade_inbound(BufReader::with_capacity(READ_BYTES, socket), info)
    }
}

impl<C: AsyncRead + AsyncWrite, U: OutboundConnectionUpgrade<BufReader<C>>> OutboundConnectionUpgrade<C>
    for Buffered<U>
{
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0
            .upgrade_outbound(BufReader::with_capacity(READ_BYTES, socket), info)
    }
}
