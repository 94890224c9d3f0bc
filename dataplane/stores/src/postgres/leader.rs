//! One leader among the processes that share a schema.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::{Postgres, PostgresError};

/// The leadership for one kind of work. It ends with its connection: when this is dropped, when the process dies, and
/// when PostgreSQL restarts or fails over. A leader that was not told yet may meet its successor, so the work itself
/// must be safe against that (the fence is).
#[derive(Debug)]
pub struct Leader {
    connection: PgConnection,
    limit: Duration,
}

impl Postgres {
    /// Becomes the leader for `work`, over a connection of its own; `None` when another process is it.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn try_lead(&self, work: &str) -> Result<Option<Leader>, PostgresError> {
        let options = self.pool.get().await?.connect_options();
        let elected = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let elected = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                .bind(format!("birbnest {work} of schema {}", self.schema))
                .fetch_one(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>((elected, connection))
        };
        match timeout(self.limit, elected).await {
            Ok(Ok((true, connection))) => Ok(Some(Leader {
                connection,
                limit: self.limit,
            })),
            Ok(Ok((false, _))) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(PostgresError::TimedOut(self.limit)),
        }
    }
}

impl Leader {
    /// Asks over the connection that holds the lock whether it is still there.
    ///
    /// # Errors
    /// When it is not: the leadership is over.
    pub async fn confirm(&mut self) -> Result<(), PostgresError> {
        match timeout(self.limit, self.connection.ping()).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(PostgresError::TimedOut(self.limit)),
        }
    }
}
