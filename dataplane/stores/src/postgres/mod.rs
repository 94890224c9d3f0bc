//! PostgreSQL: where every acknowledged write ends up, and the fence that all processes agree on.
//!
//! Every statement has two limits: the server's `statement_timeout`, and a slightly longer one here for a server that
//! has stopped answering at all.

mod address;
mod dead_letters;
mod entries;
mod error;
mod fence;
mod layout;
mod leader;
mod posture;
mod prime;
mod sweep;
mod through;
mod upsert;
mod writer;

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use birbnest_core::config::PostgresConfig;
use sqlx::{
    Connection, PgConnection, Postgres as Driver,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{error::Elapsed, timeout};

pub use address::{InvalidAddress, Login};
pub use entries::Stored;
pub use error::{PostgresError, Rejection};
pub use fence::{Fence, Mode, Observed, Raised};
pub use layout::{KnownLayout, NewStream, Step};
pub use leader::Leader;
pub use posture::PostgresPosture;
pub use prime::{PrimeOrders, PrimeRequest};
pub use sweep::Swept;
pub use through::WrittenThrough;
pub use upsert::Upserted;

use address::Address;
use writer::WriterPool;

/// How long a piece of work waits for a connection: opening one takes milliseconds, and a pool that is still exhausted
/// then is a server that is overloaded or away. Readers have another source to answer from.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// What is granted on top of the server's own limit before the connection counts as dead.
const MARGIN: Duration = Duration::from_secs(1);
/// How soon a server refuses that refuses at all.
const REFUSED_WITHIN: Duration = Duration::from_millis(300);
/// Connections that nobody used for so long are closed: the server's are few.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// Connections are replaced at this age, so that they follow a load balancer or a rotated password.
const MAX_LIFETIME: Duration = Duration::from_mins(30);

/// A pool of connections to one schema, on the member that accepts writes. Clones share it.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: WriterPool,
    limit: Duration,
    schema: String,
}

impl Postgres {
    /// A pool that opens its connections when they are needed. `pg_stat_activity` shows `application` and the schema.
    /// Of several hosts the one that accepts writes is looked for in the background, now and whenever it fails.
    ///
    /// # Errors
    /// When the address cannot be read.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn connect(url: &str, application: &str, config: &PostgresConfig) -> Result<Self, PostgresError> {
        let address = address(url, application, config)?;
        let options = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT.min(config.statement_timeout.get()))
            .idle_timeout(IDLE_TIMEOUT)
            .max_lifetime(MAX_LIFETIME);
        let limit = config.statement_timeout.get() + MARGIN;
        Ok(Self {
            pool: WriterPool::open(address, options),
            limit,
            schema: config.schema.clone(),
        })
    }

    /// Whether the server answers and has the schema's tables.
    ///
    /// # Errors
    /// When it does not, or when the schema is not migrated.
    pub async fn ping(&self) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query("SELECT FROM fence LIMIT 1").execute(&mut *lease);
        let answered = timeout(self.limit, asked).await;
        lease.end(answered).map(drop)
    }

    /// Whether the server takes writes: asked by one that changes nothing.
    ///
    /// # Errors
    /// When it does not, be it away, read-only, or not migrated.
    pub async fn probe(&self) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let asked =
            sqlx::query("UPDATE fence SET updated_at = now() WHERE partition < 0").execute(&mut *lease);
        let answered = timeout(self.limit, asked).await;
        lease.end(answered).map(drop)
    }

    /// The error, in the server's own words where the pool only says that it waited for a connection in vain: it tries again
    /// and again where a server refuses, as one does that is away or has too many connections.
    pub async fn explain(&self, error: PostgresError) -> PostgresError {
        if !matches!(error, PostgresError::Unavailable(sqlx::Error::PoolTimedOut)) {
            return error;
        }
        let Ok(pool) = self.pool.get().await else {
            return error;
        };
        // One that has all its connections is only busy, and may not open another one.
        if pool.size() >= pool.options().get_max_connections() {
            return error;
        }
        let options = pool.connect_options();
        match timeout(REFUSED_WITHIN, PgConnection::connect_with(&options)).await {
            Ok(Err(refused)) => PostgresError::from(refused),
            _ => error,
        }
    }

    /// Closes every connection, after those in use were given back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn lease(&self) -> Result<Lease, PostgresError> {
        let acquired = match self.pool.get().await {
            Ok(pool) => pool.acquire().await.map_err(PostgresError::from),
            Err(error) => Err(error),
        };
        Ok(Lease {
            connection: acquired.inspect_err(|error| self.pool.suspect_if(error))?,
            pool: self.pool.clone(),
            limit: self.limit,
        })
    }
}

/// A connection of its own to the member that accepts writes, set up as those of the pool.
///
/// # Errors
/// When the address cannot be read, or PostgreSQL does not answer or refuses.
pub async fn connect_alone(
    url: &str,
    application: &str,
    config: &PostgresConfig,
) -> Result<PgConnection, PostgresError> {
    writer::connect(&address(url, application, config)?).await
}

fn address(url: &str, application: &str, config: &PostgresConfig) -> Result<Address, PostgresError> {
    let Address { members, choose } = url.parse()?;
    let members = members.into_iter();
    Ok(Address {
        members: members
            .map(|member| for_schema(member, application, config))
            .collect(),
        choose,
    })
}

/// What a session calls itself: a server that several nests use tells them apart by it. PostgreSQL keeps its first 63 bytes.
fn session_name(application: &str, schema: &str) -> String {
    format!("{application} {schema}")
}

/// Every name in a statement is looked up in the schema and nowhere else.
fn for_schema(options: PgConnectOptions, application: &str, config: &PostgresConfig) -> PgConnectOptions {
    let timeout_ms = config.statement_timeout.as_millis().to_string();
    let name = session_name(application, &config.schema);
    options.application_name(&name).options([
        ("search_path", config.schema.as_str()),
        ("statement_timeout", timeout_ms.as_str()),
        // A process that stops in the middle of a transaction must not hold the fence's lock.
        ("idle_in_transaction_session_timeout", timeout_ms.as_str()),
        // A peer that vanished without a word is noticed, and its locks fall, in half a minute.
        ("tcp_keepalives_idle", "15"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ])
}

/// A connection of the pool for one piece of work.
struct Lease {
    connection: PoolConnection<Driver>,
    pool: WriterPool,
    limit: Duration,
}

impl Lease {
    /// Gives the connection back. One that did not answer in time is closed instead: nobody knows what it would say
    /// to the next one.
    fn end<T>(mut self, answered: Result<sqlx::Result<T>, Elapsed>) -> Result<T, PostgresError> {
        let ended = if let Ok(result) = answered {
            result.map_err(PostgresError::from)
        } else {
            self.connection.close_on_drop();
            Err(PostgresError::TimedOut(self.limit))
        };
        ended.inspect_err(|error| self.pool.suspect_if(error))
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
