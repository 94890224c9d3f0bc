//! The schema's life in the database.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use birbnest_core::config::{PostgresConfig, Secrets};
use birbnest_stores::postgres::{PostgresError, connect_alone};
use sqlx::{
    Connection, PgConnection,
    error::DatabaseError,
    migrate::{self, Migrate, Migration, Migrator},
};

use crate::{
    MigrateError,
    roles::ServiceRole,
    spread::spread,
    statement::{quoted, run},
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// For so long a database that is only just starting is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A second run waits for so long until the first has ended.
const RUN_LOCK_TIMEOUT: &str = "SET lock_timeout = '120s'";
/// A migration that waits for a table makes everybody else wait behind it, so it rather fails and is run again.
const TABLE_LOCK_TIMEOUT: &str = "SET lock_timeout = '10s'";
/// SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What a run found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The number of the last migration that is applied now; higher than this release's own after a rollback.
    pub version: i64,
    /// The numbers of those that this run applied.
    pub new: Vec<i64>,
}

/// Brings the schema up to date.
pub(crate) async fn migrate(secrets: &Secrets, config: &PostgresConfig) -> Result<Applied, MigrateError> {
    let mut connection = connect(secrets.owner_url(), config).await?;
    lock(&mut connection, &config.schema).await?;
    create_schema(&mut connection, &config.schema).await?;
    let applied = async {
        // Before there is anything new that they would need.
        let role = service_role(&mut connection, &config.schema, secrets).await?;
        if let Some(role) = &role {
            role.admit(&mut connection).await?;
        }
        let applied = apply_pending(&mut connection).await?;
        spread(&mut connection, config.table_partitions).await?;
        if let Some(role) = &role {
            role.keep_the_books(&mut connection).await?;
        }
        Ok(applied)
    }
    .await;
    // The lock ends with the connection in any case.
    close(connection).await;
    applied
}

/// The role of API and workers, where it is another one than the owner's.
async fn service_role(
    connection: &mut PgConnection,
    schema: &str,
    secrets: &Secrets,
) -> Result<Option<ServiceRole>, MigrateError> {
    if secrets.postgres_owner_url.is_none() {
        return Ok(None);
    }
    let login = secrets.postgres_url.parse().map_err(PostgresError::from)?;
    ServiceRole::ensure(connection, schema, &login).await
}

/// Drops the schema with everything in it.
pub(crate) async fn drop(secrets: &Secrets, config: &PostgresConfig) -> Result<(), MigrateError> {
    let mut connection = connect(secrets.owner_url(), config).await?;
    lock(&mut connection, &config.schema).await?;
    run(
        &mut connection,
        format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(&config.schema)),
    )
    .await?;
    tracing::info!(
        schema = config.schema,
        "the schema and everything in it are dropped"
    );
    close(connection).await;
    Ok(())
}

async fn connect(url: &str, config: &PostgresConfig) -> Result<PgConnection, MigrateError> {
    let attempt = || connect_alone(url, "birbnest-migrate", config);
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(PATIENCE))
        .without_max_times();
    let mut connection = attempt
        .retry(pauses)
        .when(PostgresError::is_unavailable)
        .notify(|error, pause| {
            let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(%error, retry_ms, "waiting for the database");
        })
        .await?;
    // A migration takes as long as it takes.
    run(
        &mut connection,
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0".to_owned(),
    )
    .await?;
    Ok(connection)
}

/// Waits for other runs on the same schema. The lock is the session's, so it ends with a killed run.
async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    run(connection, RUN_LOCK_TIMEOUT.to_owned()).await?;
    let locked = sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("birbnest migration of schema {schema}"))
        .execute(&mut *connection)
        .await;
    match locked {
        Ok(_) => run(connection, TABLE_LOCK_TIMEOUT.to_owned()).await,
        Err(error) if has_state(&error, LOCK_NOT_AVAILABLE) => Err(MigrateError::Locked(schema.to_owned())),
        Err(error) => Err(PostgresError::from(error).into()),
    }
}

/// Only when it is missing: even with IF NOT EXISTS, the statement needs a right that an administrator who prepared the
/// schema may not have given us.
async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await
        .map_err(PostgresError::from)?;
    if exists {
        return Ok(());
    }
    tracing::info!(schema, "creating the schema");
    run(connection, format!("CREATE SCHEMA {}", quoted(schema))).await
}

async fn apply_pending(connection: &mut PgConnection) -> Result<Applied, MigrateError> {
    let migrator = Migrator {
        locking: false,
        ignore_missing: true,
        ..known()
    };
    // Up to "no migration": checks what is applied and creates the table of it.
    migrator
        .run_to(0, &mut *connection)
        .await
        .map_err(|error| of_run(error, None))?;
    let mut applied: Vec<i64> = connection
        .list_applied_migrations(&migrator.table_name)
        .await
        .map_err(MigrateError::Bookkeeping)?
        .iter()
        .map(|migration| migration.version)
        .collect();
    let mut new = Vec::new();
    for migration in migrator
        .iter()
        .filter(|migration| !applied.contains(&migration.version))
    {
        tracing::info!(version = migration.version, name = %migration.description, "applying a migration");
        let done = migrator.run_to(migration.version, &mut *connection).await;
        done.map_err(|error| of_run(error, Some(migration)))?;
        new.push(migration.version);
    }
    // Also compares the text of those that were applied before.
    migrator
        .run(&mut *connection)
        .await
        .map_err(|error| of_run(error, None))?;
    applied.extend(&new);
    Ok(Applied {
        version: applied.into_iter().max().unwrap_or_default(),
        new,
    })
}

/// The embedded migrations, for a migrator with other settings.
fn known() -> Migrator {
    Migrator {
        migrations: MIGRATIONS.migrations.clone(),
        ..Migrator::DEFAULT
    }
}

fn of_run(error: migrate::MigrateError, migration: Option<&Migration>) -> MigrateError {
    match error {
        migrate::MigrateError::VersionMismatch(version) => MigrateError::Altered(version),
        migrate::MigrateError::ExecuteMigration(source, version) => {
            let name = migration.map_or_else(String::new, |migration| migration.description.to_string());
            MigrateError::Broken {
                version,
                name,
                source,
            }
        }
        migrate::MigrateError::Execute(source) => PostgresError::from(source).into(),
        other => MigrateError::Bookkeeping(other),
    }
}

async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the connection did not end in good order");
    }
}

fn has_state(error: &sqlx::Error, state: &str) -> bool {
    error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SCHEMA_VERSION;

    #[test]
    fn the_schema_version_is_that_of_the_last_migration() {
        assert_eq!(
            MIGRATIONS.iter().map(|migration| migration.version).max(),
            Some(SCHEMA_VERSION)
        );
    }

    #[test]
    fn every_migration_goes_forward_in_a_transaction() {
        for migration in MIGRATIONS.iter() {
            assert!(
                !migration.migration_type.is_down_migration(),
                "{}",
                migration.version
            );
            assert!(!migration.no_tx, "{}", migration.version);
        }
    }
}
