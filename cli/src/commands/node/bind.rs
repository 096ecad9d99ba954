//! The sockets of the gateway.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::failure::{Failure, Kind};
use crate::session::Session;

/// Listens at the address that a setting has.
///
/// # Errors
/// Somebody else does, or it is not for this user to do so.
pub(super) fn bind(session: &Session, address: &str, setting: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = session.runtime()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(
            Kind::PortInUse,
            format!("{address}, the address of {setting}, is in use by another program"),
        )
        .next(format!(
            "stop that program, or choose another address: odfs config set {setting} 127.0.0.1:8081"
        )),
        std::io::ErrorKind::PermissionDenied => Failure::from(error)
            .about(format!("listening on {address}"))
            .next(format!(
                "ports below 1024 need a permission: `sudo setcap cap_net_bind_service=+ep $(which odfs)`, or have a port above \
                 led there and set it with `odfs config set {setting} 0.0.0.0:8443`"
            )),
        _ => Failure::from(error).about(format!("listening on {address}")),
    })
}
