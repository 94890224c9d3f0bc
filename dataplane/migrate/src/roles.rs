//! What the role of API and workers may do, where the schema belongs to another one: read and write rows, and nothing else.
//!
//! The owner's role is used here alone. Whoever gets hold of an API or worker pod can neither drop nor alter a table.

use birbnest_stores::postgres::{Login, PostgresError};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{MigrateError, schema::quoted};

/// Makes the role unless there is one of its name, and lets it use what the schema has now and what it gets later. The role that
/// asks needs nothing.
pub(crate) async fn admit(
    connection: &mut PgConnection,
    schema: &str,
    login: &Login,
) -> Result<(), MigrateError> {
    if is_owner(connection, &login.user).await? {
        return Ok(());
    }
    make(connection, login).await?;
    let (schema, role) = (quoted(schema), quoted(&login.user));
    let rows = "SELECT, INSERT, UPDATE, DELETE";
    let statements = [
        format!("GRANT USAGE ON SCHEMA {schema} TO {role}"),
        format!("GRANT {rows} ON ALL TABLES IN SCHEMA {schema} TO {role}"),
        format!("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"),
        format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {rows} ON TABLES TO {role}"),
        format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {role}"),
    ];
    run(connection, statements.join("; ")).await
}

/// Which migrations were applied is nobody else's to write down.
pub(crate) async fn keep_the_books(
    connection: &mut PgConnection,
    schema: &str,
    login: &Login,
) -> Result<(), MigrateError> {
    if is_owner(connection, &login.user).await? {
        return Ok(());
    }
    let (schema, role) = (quoted(schema), quoted(&login.user));
    let statement = format!("REVOKE INSERT, UPDATE, DELETE ON {schema}._sqlx_migrations FROM {role}");
    run(connection, statement).await
}

async fn is_owner(connection: &mut PgConnection, role: &str) -> Result<bool, MigrateError> {
    let asked = sqlx::query_scalar("SELECT current_user = $1").bind(role);
    Ok(asked.fetch_one(connection).await.map_err(PostgresError::from)?)
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

/// Runs statements without parameters.
async fn run(connection: &mut PgConnection, statements: String) -> Result<(), MigrateError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await;
    Ok(done.map(drop).map_err(PostgresError::from)?)
}
