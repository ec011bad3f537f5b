//! The end of a connection whose client is still sending.
//!
//! Closing a socket that holds unread bytes resets the connection, and a reset discards what the client has not read yet:
//! the answer that says why it was refused. So the answer is followed by an end of stream, and what the client still sends
//! is thrown away for a moment (RFC 9112, 9.6).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::socket::Socket;

const TIMEOUT: Duration = Duration::from_secs(1);
const MAX_BYTES: usize = 8 << 20;

/// Waits until the client has ended its side, a second has passed, or 8 MiB have come.
pub(super) async fn linger(mut socket: Socket) {
    let discarding = async {
        socket.shutdown().await?;
        let mut scratch = vec![0; 16 << 10];
        let mut left = MAX_BYTES;
        while left > 0 {
            match socket.read(&mut scratch).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever it comes to, the connection ends here.
    let _ = tokio::time::timeout(TIMEOUT, discarding).await;
}
