//! The pool of connections to the member that accepts writes. An address with a single host has one pool for good. With
//! several, a task looks for the member whenever something went wrong, and whoever needs a connection gets it from the
//! pool of the member that was found last: no pool ever holds connections to two.

use std::{fmt, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{StreamExt, stream::FuturesUnordered};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{PostgresError, address::Address};

/// How long a member may take to say whether it accepts writes.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the others may still take once one has said so: an old primary may have come back beside the new one.
const SECOND_OPINION: Duration = Duration::from_millis(200);
/// Between two looks at the members.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The timeline of a member that accepts writes, nothing from a standby.
const TIMELINE: &str = "SELECT CASE WHEN NOT pg_is_in_recovery() \
                        THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END";
const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct WriterPool {
    current: watch::Receiver<Option<PgPool>>,
    trouble: Arc<Notify>,
}

impl WriterPool {
    /// Nothing is sent before a connection is needed, unless a member has to be looked for.
    pub(super) fn open(address: Address, options: PgPoolOptions) -> Self {
        let trouble = Arc::new(Notify::new());
        let only = address.members.first().filter(|_| !address.choose);
        let (sender, current) =
            watch::channel(only.map(|only| options.clone().connect_lazy_with(only.clone())));
        if address.choose {
            let seeker = Seeker {
                members: address.members,
                options: refusing_standbys(options, &trouble),
                current: sender,
                trouble: Arc::clone(&trouble),
            };
            tokio::spawn(seeker.run());
        }
        Self { current, trouble }
    }

    /// The pool of the member that was found last.
    pub(super) async fn get(&self) -> Result<PgPool, PostgresError> {
        let known = self.current.borrow().clone();
        if let Some(pool) = known {
            return Ok(pool);
        }
        let mut current = self.current.clone();
        let found = timeout(PATIENCE, current.wait_for(Option::is_some)).await;
        let pool = found.ok().and_then(|found| found.ok()?.clone());
        pool.ok_or(PostgresError::NoWriter)
    }

    /// Has the members looked at if the error may come from where this one is, or from what it has become.
    pub(super) fn suspect_if(&self, error: &PostgresError) {
        if error.is_unavailable() {
            self.trouble.notify_one();
        }
    }

    pub(super) async fn close(&self) {
        let pool = self.current.borrow().clone();
        if let Some(pool) = pool {
            pool.close().await;
        }
    }
}

impl fmt::Debug for WriterPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterPool").finish_non_exhaustive()
    }
}

/// A connection of its own to the member that accepts writes.
pub(super) async fn connect(address: &Address) -> Result<PgConnection, PostgresError> {
    let member = match address.members.as_slice() {
        [only] if !address.choose => only,
        members => {
            let found = find(members).await;
            found
                .and_then(|found| members.get(found))
                .ok_or(PostgresError::NoWriter)?
        }
    };
    Ok(PgConnection::connect_with(member).await?)
}

/// A member that was restarted as a standby answers under its old address.
fn refusing_standbys(options: PgPoolOptions, trouble: &Arc<Notify>) -> PgPoolOptions {
    let trouble = Arc::clone(trouble);
    options.after_connect(move |connection, _| {
        let trouble = Arc::clone(&trouble);
        Box::pin(async move {
            if sqlx::query_scalar(IS_STANDBY).fetch_one(connection).await? {
                trouble.notify_one();
                return Err(sqlx::Error::Protocol("the server is a standby".to_owned()));
            }
            Ok(())
        })
    })
}

/// Keeps the pool of the member that accepts writes.
struct Seeker {
    members: Vec<PgConnectOptions>,
    options: PgPoolOptions,
    current: watch::Sender<Option<PgPool>>,
    trouble: Arc<Notify>,
}

impl Seeker {
    /// Looks once, and then after each trouble, until nobody needs a connection any more.
    async fn run(self) {
        let mut here = None;
        loop {
            here = self.seek(here).await;
            // Not over and over while something else is wrong.
            sleep(FIRST_PAUSE).await;
            tokio::select! {
                () = self.trouble.notified() => {}
                () = self.current.closed() => return,
            }
        }
    }

    /// Looks until a member accepts writes. Meanwhile the pool stays: its member may be only too busy to say so.
    async fn seek(&self, here: Option<usize>) -> Option<usize> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        for pause in pauses.build() {
            if let Some(found) = find(&self.members).await {
                if Some(found) != here {
                    self.move_to(found);
                }
                return Some(found);
            }
            if self.current.is_closed() {
                break;
            }
            sleep(pause).await;
        }
        here
    }

    fn move_to(&self, found: usize) {
        let Some(member) = self.members.get(found) else {
            return;
        };
        tracing::info!(
            host = member.get_host(),
            port = member.get_port(),
            "this member of postgresql accepts writes"
        );
        let pool = self.options.clone().connect_lazy_with(member.clone());
        if let Some(old) = self.current.send_replace(Some(pool)) {
            // Ends when the last of its connections was given back, which may be frozen.
            tokio::spawn(async move { old.close().await });
        }
    }
}

/// The place of the member that accepts writes; of several, of the one that was promoted last: the others are old
/// primaries that nobody has fenced off.
async fn find(members: &[PgConnectOptions]) -> Option<usize> {
    let mut asked: FuturesUnordered<_> = members
        .iter()
        .enumerate()
        .map(async |(place, member)| Some((timeline(member).await?, place)))
        .collect();
    let mut latest = None;
    let mut patience = PATIENCE;
    while let Ok(Some(answer)) = timeout(patience, asked.next()).await {
        latest = latest.max(answer);
        if latest.is_some() {
            patience = SECOND_OPINION;
        }
    }
    latest.map(|(_, place)| place)
}

async fn timeline(member: &PgConnectOptions) -> Option<String> {
    let asked = async {
        let mut connection = PgConnection::connect_with(member).await?;
        let timeline = sqlx::query_scalar(TIMELINE).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<Option<String>, sqlx::Error>(timeline)
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(timeline)) => timeline,
        Ok(Err(error)) => {
            tracing::debug!(host = member.get_host(), port = member.get_port(), %error, "a member does not answer");
            None
        }
        Err(_) => None,
    }
}
