//! Why a schema could not be migrated.

use async_nats::ConnectError;
use birbnest_core::{Partition, VersionOverflow};
use birbnest_stores::{
    jetstream::{InvalidAddress, LifeError, ReadError, provision::ProvisionError},
    postgres::PostgresError,
};
use sqlx::postgres::PgDatabaseError;

/// An error that the operator shows in the nest's status.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database cannot be reached, or not be used at all.
    #[error(transparent)]
    Database(#[from] PostgresError),
    /// Another run has held the lock for too long.
    #[error("another migration of the schema {0} is still running: look at pg_stat_activity")]
    Locked(String),
    /// The database refused a migration, which left nothing behind.
    #[error("migration {version} ({name}) failed and was rolled back: {}", told(source))]
    Broken {
        /// The migration's number.
        version: i64,
        /// What it is about.
        name: String,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The database refused to move the entries, which stayed where they were.
    #[error(
        "the entries could not be spread over {tables} tables and stayed as they were: {}",
        told(source)
    )]
    Unspread {
        /// Over how many.
        tables: u16,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A migration that was applied is not the one of this release.
    #[error(
        "migration {0} was applied in another form than this release has: the schema is not one of a released BirbNest"
    )]
    Altered(i64),
    /// Something else about the migrations table.
    #[error("the table of applied migrations cannot be used: {0}")]
    Bookkeeping(#[source] sqlx::migrate::MigrateError),
    /// The process was told to end.
    #[error("the migration was interrupted; what had not been committed is rolled back")]
    Interrupted,
    /// The address of NATS cannot be read.
    #[error(transparent)]
    NatsAddress(#[from] InvalidAddress),
    /// NATS cannot be reached.
    #[error("nats does not answer: {0}")]
    Nats(#[from] ConnectError),
    /// The streams are not as they should be.
    #[error(transparent)]
    Streams(#[from] ProvisionError),
    /// What is in a stream cannot be read.
    #[error(transparent)]
    Queue(#[from] ReadError),
    /// A stream cannot be used.
    #[error("the stream of partition {partition} cannot be used: {message}")]
    Stream {
        /// Whose stream.
        partition: Partition,
        /// What the client said.
        message: String,
    },
    /// It is not known which life of a stream this is.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// A version is not below 2^53.
    #[error(transparent)]
    Version(#[from] VersionOverflow),
    /// The queue was not short, or could not be drained while writes waited, for minutes.
    #[error(
        "the number of partitions is not changed yet: {0} writes are queued, and the queue did not become short, or could not be \
         drained while writes waited; see that the workers keep up and that no row is rejected, or set the number back"
    )]
    Busy(u64),
    /// Another run has changed the partitions meanwhile.
    #[error("another run has changed the partitions meanwhile: run it again")]
    Overtaken,
    /// Some hundred changes of the partitions have used all their numbers up.
    #[error("there are no numbers left for partitions: this nest cannot have other ones any more")]
    NoPartitionsLeft,
}

/// The database's own words: message, detail, hint and SQLSTATE.
fn told(error: &sqlx::Error) -> String {
    let Some(error) = error.as_database_error() else {
        return error.to_string();
    };
    let details = error
        .try_downcast_ref::<PgDatabaseError>()
        .map(|error| [error.detail(), error.hint()]);
    let mut text = error.message().to_owned();
    for more in details.into_iter().flatten().flatten() {
        text = format!("{text}; {more}");
    }
    format!("{text} (SQLSTATE {})", error.code().unwrap_or_default())
}
