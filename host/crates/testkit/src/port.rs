//! A port where nobody listens.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Takes a port that refuses connections until this socket is made to listen. It is nobody else's for as long as the socket
/// lives: a port that a server left may be another one's soon.
///
/// # Panics
/// Where this machine has no port left.
#[must_use]
pub fn closed_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    socket
}
