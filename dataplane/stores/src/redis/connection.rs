//! One multiplexed connection that is made anew when it breaks, together with what it says about its server.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, InfoDict, Pipeline, RedisError, aio::MultiplexedConnection,
};
use tokio::sync::watch;

use super::{
    generation::Life,
    masters::{Masters, Session, Shared},
    sentinel::{GOOD_FOR, Reign, Word},
    server::{Current, Server},
};
use crate::Connectivity;

/// How often an idle connection is tried, so that a dead one is found before a request finds it.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Commands that wait for their turn to be written: more than one core has requests in progress, so that none waits to be
/// let in.
const PIPELINE: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks in a row at which the other masters of a cluster may fail to confirm a master, which is longer than they take to
/// agree on a new one. Afterwards it counts as lost: others may use another, and the copies here stay old.
pub(super) const UNCONFIRMED_LOOKS: u32 = 5;

/// Connects, watches and connects again until the last user of `shared` is gone.
pub(super) async fn keep_connected(
    mut server: Server,
    response_timeout: Duration,
    shared: Weak<Shared>,
    status: watch::Sender<Connectivity>,
) {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(PROBE_INTERVAL)
        .with_jitter()
        .without_max_times();
    loop {
        let mut pauses = pauses.build();
        let (session, reign) = loop {
            match connect(&mut server, response_timeout).await {
                Ok(connected) => break connected,
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
        alive.replace(Masters::One(Arc::clone(&session)));
        drop(alive);
        status.send_replace(Connectivity::Connected);
        tracing::info!(life = %session.life, "connected to redis");
        if !watch_session(&session, reign, &mut server, &shared).await {
            return;
        }
        status.send_replace(Connectivity::lost(&"the connection was lost"));
        tracing::warn!("lost the connection to redis: writes go on, reads use the stream and postgresql");
    }
}

/// Waits until the session breaks; false when nobody uses it any more.
async fn watch_session(
    session: &Session,
    reign: Option<Reign>,
    server: &mut Server,
    shared: &Weak<Shared>,
) -> bool {
    let mut probe = session.connection.clone();
    loop {
        let Some(alive) = shared.upgrade() else {
            return false;
        };
        tokio::select! {
            () = alive.look.notified() => {}
            () = tokio::time::sleep(PROBE_INTERVAL) => {}
        }
        if session.is_lost() {
            return true;
        }
        if let Err(error) = redis::cmd("PING").query_async::<()>(&mut probe).await {
            tracing::debug!(%error, "redis did not answer a ping");
            session.give_up();
            return true;
        }
        let Some(reign) = &reign else { continue };
        match server.word(reign).await {
            Word::Good(asked) => session.is_good_until(asked + GOOD_FOR),
            Word::Replaced => {
                tracing::warn!("the sentinels name another redis as the master");
                session.give_up();
                return true;
            }
            // It ends by itself, if this goes on.
            Word::Doubt => tracing::debug!("too few sentinels confirm the redis master"),
        }
    }
}

async fn connect(
    server: &mut Server,
    response_timeout: Duration,
) -> Result<(Arc<Session>, Option<Reign>), RedisError> {
    let Current { client, reign } = server.current().await?;
    let mut connection = open(&client, response_timeout).await?;
    let mut ask = redis::pipe();
    ask_identity(&mut ask);
    let (process, replication): (InfoDict, InfoDict) = ask.query_async(&mut connection).await?;
    let life = master_life(&process, &replication)
        .ok_or_else(|| RedisError::from((ErrorKind::Io, "this redis is a replica, which takes no writes")))?;
    let Some((reign, asked)) = reign else {
        return Ok((Arc::new(Session::new(connection, life)), None));
    };
    let session = Session::new(connection, life.in_reign(reign.epoch));
    session.is_good_until(asked + GOOD_FOR);
    Ok((Arc::new(session), Some(reign)))
}

/// A connection to this server.
pub(super) async fn open(
    server: &Client,
    response_timeout: Duration,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout))
        .set_pipeline_buffer_size(PIPELINE);
    server.get_multiplexed_async_connection_with_config(&config).await
}

/// Asks for the two answers that [`master_life`] wants.
pub(super) fn ask_identity(pipe: &mut Pipeline) {
    pipe.cmd("INFO").arg("server").cmd("INFO").arg("replication");
}

/// The life of a master, `None` of a replica.
pub(super) fn master_life(process: &InfoDict, replication: &InfoDict) -> Option<Life> {
    let text = |info: &InfoDict, field| info.get::<String>(field).unwrap_or_default();
    let is_replica = text(replication, "role") == "slave";
    (!is_replica).then(|| Life::new(&text(process, "run_id"), &text(replication, "master_replid")))
}
