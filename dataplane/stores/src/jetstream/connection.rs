//! Connections to NATS that end for good when they break.
//!
//! The client would reconnect by itself and then send what was written meanwhile: a write whose caller was told
//! "unknown" long ago, with the base of an epoch that may be over. So each connection is a client of its own, which
//! authenticates once and is refused by its own callback ever after.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Auth, AuthError, Client, ConnectError, ConnectOptions, Event, ServerAddr};
use tokio_util::sync::CancellationToken;

/// With the servers' default of two missed pings a dead connection is found within six seconds.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the address of NATS is not valid: write nats://user:password@host:4222, several separated by commas"
)]
pub struct InvalidAddress;

/// Parses `BIRBNEST_NATS_URL`: one address, or several separated by commas.
///
/// # Errors
/// When one of them is no address.
pub fn addresses(url: &str) -> Result<Vec<ServerAddr>, InvalidAddress> {
    url.split(',')
        .map(|one| one.trim().parse().map_err(|_| InvalidAddress))
        .collect()
}

/// Options with the credentials of the addresses.
fn options(servers: &[ServerAddr], name: &str) -> ConnectOptions {
    let credentials = servers
        .iter()
        .find_map(|server| Some((server.username()?, server.password())));
    let options = ConnectOptions::new()
        .name(name)
        .connection_timeout(CONNECT_TIMEOUT);
    match credentials {
        Some((user, Some(password))) => options.user_and_password(user.to_owned(), password.to_owned()),
        Some((token, None)) => options.token(token.to_owned()),
        None => options,
    }
}

/// A connection that reconnects by itself: for pulling, where nothing is sent late that could do harm.
///
/// # Errors
/// When no server answers, or none accepts the credentials.
pub async fn connect(servers: &[ServerAddr], name: &str) -> Result<Client, ConnectError> {
    options(servers, name)
        .ping_interval(PING_INTERVAL)
        .connect(servers)
        .await
}

/// A connection that ends for good when it breaks; `ended` is then cancelled.
pub(super) async fn connect_once(
    servers: &[ServerAddr],
    name: &str,
    ended: CancellationToken,
) -> Result<Client, ConnectError> {
    let authenticated = Arc::new(AtomicBool::new(false));
    let credentials = servers.iter().find_map(|server| {
        Some((
            server.username()?.to_owned(),
            server.password().map(str::to_owned),
        ))
    });
    let once = Arc::clone(&authenticated);
    let client = ConnectOptions::with_auth_callback(move |_nonce| {
        let (refused, credentials) = (once.load(Ordering::Acquire), credentials.clone());
        async move {
            if refused {
                return Err(AuthError::new("this connection does not come back"));
            }
            let mut auth = Auth::new();
            match credentials {
                Some((user, Some(password))) => (auth.username, auth.password) = (Some(user), Some(password)),
                Some((token, None)) => auth.token = Some(token),
                None => {}
            }
            Ok(auth)
        }
    })
    .name(name)
    .connection_timeout(CONNECT_TIMEOUT)
    .ping_interval(PING_INTERVAL)
    .ignore_discovered_servers()
    .max_reconnects(servers.len())
    .reconnect_delay_callback(|_| Duration::ZERO)
    .event_callback(move |event| {
        if matches!(event, Event::Disconnected | Event::Closed) {
            ended.cancel();
        }
        std::future::ready(())
    })
    .connect(servers)
    .await?;
    authenticated.store(true, Ordering::Release);
    Ok(client)
}
