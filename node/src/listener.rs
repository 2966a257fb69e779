//! Takes connections in.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::net::Shutdown;
use tokio_uring::net::TcpListener;

use crate::connection::serve;
use crate::descriptors::Descriptors;
use crate::error::NodeError;
use crate::greeting::Expected;
use crate::hub::Hub;
use crate::limits::{ACCEPT_PAUSE, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, UNACKNOWLEDGED_MS_MAX};

/// A bound address.
pub(crate) struct Listener {
    /// Only to end the other: the accept in flight must not be dropped.
    handle: StdListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Listens on `address`. The listener that `tokio-uring` binds itself shares its port silently
    /// with a second daemon; this one does not.
    pub(crate) fn bind(address: &str) -> Result<(Self, TcpListener), NodeError> {
        let refused = |source| NodeError::listen(address, source);
        let listener = StdListener::bind(address).map_err(refused)?;
        // Connections inherit these.
        tune(&listener).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let handle = listener.try_clone().map_err(refused)?;
        Ok((Self { handle, address: bound }, TcpListener::from_std(listener)))
    }

    /// Takes no more connections: ends the accept in flight.
    pub(crate) fn close(&self) {
        // Fails only if it was done before.
        let _ = rustix::net::shutdown(&self.handle, Shutdown::Both);
    }
}

/// Small messages leave at once, and a peer that has vanished is noticed.
pub(crate) fn tune(socket: impl AsFd) -> std::io::Result<()> {
    use rustix::net::sockopt;
    let socket = socket.as_fd();
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(socket, UNACKNOWLEDGED_MS_MAX)?;
    Ok(())
}

/// Accepts until the node stops.
pub(crate) async fn accept_all(hub: Rc<Hub>, listener: TcpListener, descriptors: Descriptors) {
    loop {
        let accepted = listener.accept().await;
        if hub.is_stopping.get() {
            return;
        }
        match accepted {
            Ok((_, address)) if hub.peers.borrow().accepted() >= descriptors.accepted() => {
                // Not this one, which may be followed at once by the next: a node comes again, and then there is room.
                hub.peers.borrow().make_room();
                if let Some(withheld) = hub.warnings.pass(hub.clock.now().0) {
                    let connections = descriptors.connections();
                    tracing::warn!(
                        %address, connections, withheld,
                        "connection refused: as many are open as network.connections and the limit of open files allow"
                    );
                }
            }
            Ok((stream, address)) => {
                let hub = Rc::clone(&hub);
                let expected = Expected::Anyone { clients_max: descriptors.clients() };
                tokio_uring::spawn(async move {
                    let served = serve(Rc::clone(&hub), stream, address, expected).await;
                    hub.log_end(address, &served);
                });
            }
            Err(error) => {
                if let Some(withheld) = hub.warnings.pass(hub.clock.now().0) {
                    tracing::warn!(%error, withheld, "a connection could not be accepted; see the limit of open files");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
