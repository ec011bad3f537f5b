//! How Redis is reached: over TCP, with TLS or without, or a local socket.

use std::path::Path;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisResult};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wharf_core::LoadError;

use super::super::config::{StoreConfig, address, wrong};
use crate::tls;

/// What connects to Redis.
pub(crate) struct Dial {
    client: Client,
    tls: Option<Tls>,
}

/// The TLS of this server's own. That of the library takes what the whole process has for a provider, and reads the machine's
/// authorities for each connection.
struct Tls {
    connector: TlsConnector,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Dial {
    /// Connects to nothing yet. It reads a file where Redis is reached by TLS.
    ///
    /// # Errors
    /// Where the address is missing or is none, or the file of authorities cannot be used.
    pub(crate) fn open(config: &StoreConfig, site: &Path) -> Result<Self, LoadError> {
        let address = address(config)?;
        let tls = if address.is_secure {
            Some(Tls::open(&address.client, config.ca_file.as_deref(), site)?)
        } else {
            None
        };
        Ok(Self {
            client: address.client,
            tls,
        })
    }

    /// Connects. Whoever calls it has a timeout.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let Some(tls) = &self.tls else {
            let connecting = self
                .client
                .get_multiplexed_async_connection_with_config(config);
            return connecting.await;
        };
        let stream = TcpStream::connect((tls.host.as_str(), tls.port)).await?;
        stream.set_nodelay(true)?;
        let stream = tls.connector.connect(tls.name.clone(), stream).await?;
        let settings = self.client.get_connection_info().redis_settings();
        let made = MultiplexedConnection::new_with_config(settings, stream, config.clone());
        let (connection, driver) = made.await?;
        // It ends with the last that uses the connection.
        tokio::spawn(driver);
        Ok(connection)
    }
}

impl Tls {
    fn open(client: &Client, ca_file: Option<&str>, site: &Path) -> Result<Self, LoadError> {
        let ConnectionAddr::Tcp(host, port) = client.get_connection_info().addr() else {
            return Err(wrong("redis_url", "is no address of a server"));
        };
        let name = ServerName::try_from(host.clone())
            .map_err(|_| wrong("redis_url", "has a host that no certificate can name"))?;
        let config = tls::client(ca_file, site).map_err(|why| wrong("ca_file", why))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            host: host.clone(),
            port: *port,
            name,
        })
    }
}
