//! Applies the schema migrations in `migrations/`, each in a transaction of its own: one that fails leaves nothing
//! behind, and the ones before it stay. Two runs at once wait for each other.
//!
//! Then spreads the entries over as many tables as are configured.
//!
//! Migrations only go forward. A release reads the schema of the release after it, so that pods of both can serve
//! during a rollout; for the same reason an older release accepts a schema that is newer than its own.

mod error;
mod schema;
mod spread;
mod streams;

use birbnest_core::config::{Config, Secrets};

pub use error::MigrateError;
pub use schema::Applied;

/// The schema that this release needs: the number of its last migration.
pub const SCHEMA_VERSION: i64 = 6;

/// What to do besides migrating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Creates streams and consumers, too: for running without the operator, which does it otherwise.
    pub with_streams: bool,
    /// Drops the schema with everything in it instead of migrating it.
    pub drop_schema: bool,
}

/// Migrates the configured schema (or drops it), and creates the streams when told to.
///
/// # Errors
/// Says what the database or `JetStream` said.
pub async fn run(config: &Config, secrets: &Secrets, tasks: Tasks) -> Result<(), MigrateError> {
    if tasks.drop_schema {
        return schema::drop(&secrets.postgres_url, &config.postgres).await;
    }
    let applied = schema::migrate(&secrets.postgres_url, &config.postgres).await?;
    tracing::info!(
        schema = config.postgres.schema,
        version = applied.version,
        new = applied.new.len(),
        "the schema is up to date"
    );
    if tasks.with_streams {
        streams::provide(&secrets.nats_url, &config.stream).await?;
    }
    Ok(())
}
