//! Statements that are put together here: names cannot be parameters.

use birbnest_stores::postgres::PostgresError;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::MigrateError;

/// Runs statements without parameters. The caller answers for their text.
pub(crate) async fn run(connection: &mut PgConnection, statements: String) -> Result<(), MigrateError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await;
    Ok(done.map(std::mem::drop).map_err(PostgresError::from)?)
}

/// A name as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
