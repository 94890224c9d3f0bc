//! Applies the schema migrations in `migrations/`, each in a transaction of its own: one that fails leaves nothing
//! behind, and the ones before it stay. Two runs at once wait for each other.
//!
//! Then spreads the entries over as many tables, and the keys over as many partitions, as are configured.
//!
//! Migrations only go forward. A release reads the schema of the release after it, so that pods of both can serve
//! during a rollout; for the same reason an older release accepts a schema that is newer than its own.

mod error;
mod partitions;
mod queue;
mod roles;
mod schema;
mod spread;
mod statement;

use birbnest_core::config::{Config, Secrets};
use birbnest_stores::postgres::Postgres;

use queue::Queue;

pub use error::MigrateError;
pub use schema::Applied;

/// The schema that this release needs: the number of its last migration.
pub const SCHEMA_VERSION: i64 = 7;

/// What to do besides migrating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Creates streams and consumers, too: for running without the operator, which does it otherwise.
    pub with_streams: bool,
    /// Drops the schema with everything in it instead of migrating it.
    pub drop_schema: bool,
}

/// Migrates the configured schema (or drops it), changes the partitions to as many as are configured, and creates the streams
/// when told to.
///
/// # Errors
/// Says what the database or `JetStream` said.
pub async fn run(config: &Config, secrets: &Secrets, tasks: Tasks) -> Result<(), MigrateError> {
    if tasks.drop_schema {
        return schema::drop(secrets, &config.postgres).await;
    }
    let applied = schema::migrate(secrets, &config.postgres).await?;
    tracing::info!(
        schema = config.postgres.schema,
        version = applied.version,
        new = applied.new.len(),
        "the schema is up to date"
    );
    // Boxed: what asks JetStream is large.
    Box::pin(settle(config, secrets, tasks)).await
}

/// As many partitions as are configured, and the streams when told to.
async fn settle(config: &Config, secrets: &Secrets, tasks: Tasks) -> Result<(), MigrateError> {
    let postgres = Postgres::connect(&secrets.postgres_url, "birbnest-migrate", &config.postgres)?;
    let known = postgres.layout().await?;
    let settled =
        known.is_some_and(|known| known.layout.count() == config.stream.partitions && !known.changing);
    // NATS may be away when there is nothing to do there.
    if !settled || tasks.with_streams {
        let queue = Queue::connect(&secrets.nats_url, &config.stream).await?;
        let layout = partitions::settle(&postgres, &queue, &config.stream).await?;
        if tasks.with_streams {
            queue.provide(layout).await?;
        }
    }
    postgres.close().await;
    Ok(())
}
