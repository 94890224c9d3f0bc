//! One multiplexed connection that is made anew when it breaks, together with what it says about its server.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use backon::{BackoffBuilder, ExponentialBuilder};
use redis::{AsyncConnectionConfig, Client, ErrorKind, InfoDict, RedisError, aio::MultiplexedConnection};
use tokio::sync::{Notify, watch};

use super::{CacheError, address::Address, generation::Life, sentinel::Doubt};
use crate::Connectivity;

/// How often an idle connection is tried, so that a dead one is found before a request finds it.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Commands that wait for their turn to be written: more than one core has requests in progress, so that none waits to be
/// let in.
const PIPELINE: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks in a row at which the sentinels may fail to confirm the master, which is longer than they take to agree on a new
/// one. Afterwards it counts as lost: others may use another, and the copies here stay old.
const UNCONFIRMED_LOOKS: u32 = 5;

/// A connection and the process it leads to. Both are used together: a copy is judged by the generation of the
/// connection that it was read from.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: MultiplexedConnection,
    pub(super) life: Life,
    server: Client,
}

/// What requests and the connecting task share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    session: ArcSwapOption<Session>,
    broken: Notify,
}

impl Shared {
    /// The session, while there is one.
    pub(super) fn session(&self) -> Result<Arc<Session>, CacheError> {
        self.session.load_full().ok_or(CacheError::NotConnected)
    }

    /// Gives a session up after an error that no later command on it would survive.
    pub(super) fn note(&self, session: &Arc<Session>, error: &RedisError) {
        // A read-only replica was a master before a failover; a new connection finds the new one.
        let lost = error.is_unrecoverable_error() || error.is_io_error() && !error.is_timeout();
        if lost || error.code() == Some("READONLY") {
            self.give_up(session);
        }
    }

    fn give_up(&self, session: &Arc<Session>) {
        let current = self.session.load();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, session))
        {
            self.session.store(None);
            self.broken.notify_one();
        }
    }
}

/// Connects, watches and connects again until the last user of `shared` is gone.
pub(super) async fn keep_connected(
    mut address: Address,
    response_timeout: Duration,
    shared: std::sync::Weak<Shared>,
    status: watch::Sender<Connectivity>,
) {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    loop {
        let mut pauses = pauses.build();
        let session = loop {
            match connect(&mut address, response_timeout).await {
                Ok(session) => break Arc::new(session),
                Err(error) => {
                    status.send_replace(Connectivity::lost(&error));
                    tracing::debug!(%error, "redis does not answer, trying again");
                }
            }
            if shared.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(pauses.next().unwrap_or(PROBE_INTERVAL)).await;
        };
        let Some(alive) = shared.upgrade() else { return };
        alive.session.store(Some(Arc::clone(&session)));
        drop(alive);
        status.send_replace(Connectivity::Connected);
        tracing::info!(life = %session.life, "connected to redis");
        if !watch_session(&session, &mut address, &shared).await {
            return;
        }
        status.send_replace(Connectivity::lost(&"the connection was lost"));
        tracing::warn!("lost the connection to redis: writes go on, reads use the stream and postgresql");
    }
}

/// Waits until the session breaks; false when nobody uses it any more.
async fn watch_session(
    session: &Arc<Session>,
    address: &mut Address,
    shared: &std::sync::Weak<Shared>,
) -> bool {
    let (mut probe, mut unconfirmed) = (session.connection.clone(), 0);
    loop {
        let Some(alive) = shared.upgrade() else {
            return false;
        };
        tokio::select! {
            () = alive.broken.notified() => return true,
            () = tokio::time::sleep(PROBE_INTERVAL) => {}
        }
        if let Err(error) = redis::cmd("PING").query_async::<()>(&mut probe).await {
            tracing::debug!(%error, "redis did not answer a ping");
            alive.give_up(session);
        }
        unconfirmed = match address.doubt(&session.server).await {
            None => 0,
            Some(Doubt::Unconfirmed) if unconfirmed + 1 < UNCONFIRMED_LOOKS => unconfirmed + 1,
            Some(doubt) => {
                tracing::warn!(?doubt, "the sentinels do not name this redis as the master");
                alive.give_up(session);
                0
            }
        };
    }
}

async fn connect(address: &mut Address, response_timeout: Duration) -> Result<Session, RedisError> {
    let server = address.server().await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout))
        .set_pipeline_buffer_size(PIPELINE);
    let mut connection = server
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let (process, replication): (InfoDict, InfoDict) = redis::pipe()
        .cmd("INFO")
        .arg("server")
        .cmd("INFO")
        .arg("replication")
        .query_async(&mut connection)
        .await?;
    let text = |info: &InfoDict, field| info.get::<String>(field).unwrap_or_default();
    if text(&replication, "role") == "slave" {
        return Err((ErrorKind::Io, "this redis is a replica, which takes no writes").into());
    }
    let life = Life::new(&text(&process, "run_id"), &text(&replication, "master_replid"));
    Ok(Session {
        connection,
        life,
        server,
    })
}
