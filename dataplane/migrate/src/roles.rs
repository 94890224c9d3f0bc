//! What the role of API and workers may do, where the schema belongs to another one: read and write rows, and nothing else.
//!
//! The owner's role is used here alone. Whoever gets hold of an API or worker pod can neither drop nor alter a table.

use birbnest_stores::postgres::{Login, PostgresError};
use sqlx::PgConnection;

use crate::{
    MigrateError,
    statement::{quoted, run},
};

/// The role of API and workers, and the schema; both as SQL takes them.
pub(crate) struct ServiceRole {
    role: String,
    schema: String,
}

impl ServiceRole {
    /// The role of this login, which is made unless it exists. `None` when it is the owner itself, who needs
    /// nothing.
    pub(crate) async fn ensure(
        connection: &mut PgConnection,
        schema: &str,
        login: &Login,
    ) -> Result<Option<Self>, MigrateError> {
        let is_owner = sqlx::query_scalar("SELECT current_user = $1").bind(&login.user);
        if is_owner
            .fetch_one(&mut *connection)
            .await
            .map_err(PostgresError::from)?
        {
            return Ok(None);
        }
        make(connection, login).await?;
        Ok(Some(Self {
            role: quoted(&login.user),
            schema: quoted(schema),
        }))
    }

    /// Lets it use what the schema has now and what it gets later.
    pub(crate) async fn admit(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let Self { role, schema } = self;
        let (rows, numbers) = ("SELECT, INSERT, UPDATE, DELETE", "USAGE, SELECT");
        let later = format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema}");
        let statements = [
            format!("GRANT USAGE ON SCHEMA {schema} TO {role}"),
            format!("GRANT {rows} ON ALL TABLES IN SCHEMA {schema} TO {role}"),
            format!("GRANT {numbers} ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"),
            format!("{later} GRANT {rows} ON TABLES TO {role}"),
            format!("{later} GRANT {numbers} ON SEQUENCES TO {role}"),
        ];
        run(connection, statements.join("; ")).await
    }

    /// Which migrations were applied is nobody else's to write down.
    pub(crate) async fn keep_the_books(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let Self { role, schema } = self;
        let statement = format!("REVOKE INSERT, UPDATE, DELETE ON {schema}._sqlx_migrations FROM {role}");
        run(connection, statement).await
    }
}

/// PostgreSQL puts the statement together: neither name nor password can break out of it.
async fn make(connection: &mut PgConnection, login: &Login) -> Result<(), MigrateError> {
    let statement: Option<String> = sqlx::query_scalar(
        "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1, $2) \
         WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
    )
    .bind(&login.user)
    .bind(&login.password)
    .fetch_optional(&mut *connection)
    .await
    .map_err(PostgresError::from)?;
    let Some(statement) = statement else {
        return Ok(());
    };
    tracing::info!(role = login.user, "creating the role of API and workers");
    run(connection, statement).await
}
