//! Hosts and ports in the addresses of those who stand for several servers: sentinels and clusters.

use redis::{Client, RedisError};

/// What stands before and behind host and port in the address of a server that is named later.
#[derive(Debug)]
pub(super) struct Access {
    /// `redis`, or `rediss` for TLS.
    pub(super) scheme: &'static str,
    /// `user:password` as in the address, or nothing.
    pub(super) user: String,
    /// The number of the database.
    pub(super) database: String,
}

impl Access {
    /// The server at this place.
    pub(super) fn to(&self, host: &str, port: u16) -> Result<Client, RedisError> {
        let at = if self.user.is_empty() { "" } else { "@" };
        let bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let host = if bare_ipv6 {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let Self {
            scheme,
            user,
            database,
        } = self;
        Client::open(format!("{scheme}://{user}{at}{host}:{port}/{database}"))
    }
}

/// `redis` or `rediss`.
pub(super) fn scheme(text: &str) -> Option<&'static str> {
    ["redis", "rediss"].into_iter().find(|scheme| *scheme == text)
}

/// Host and port of `host[:port]`.
pub(super) fn host_and_port(place: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, default_port),
    };
    (!host.is_empty()).then_some((host, port))
}

/// Where a server is, without what is secret in its address.
pub(super) fn place(server: &Client) -> String {
    server.get_connection_info().addr().to_string()
}
