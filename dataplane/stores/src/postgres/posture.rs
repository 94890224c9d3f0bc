//! What a server makes of a commit, and how many connections it has to give: for whoever judges whether what is declared
//! can be kept.

use birbnest_core::config::PostgresConfig;
use sqlx::{Connection, FromRow};
use tokio::time::timeout;

use super::{MARGIN, PostgresError, connect_alone};

/// What the server says of itself, as it is for the role and the database of the address.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PostgresPosture {
    /// What a commit waits for; with `off`, for nothing.
    pub synchronous_commit: String,
    /// Whether anything is ever forced to the disk.
    pub fsync: bool,
    /// Whether a page that was half written when the machine stopped can be restored.
    pub full_page_writes: bool,
    /// Connections that the server, the database and the role leave to this nest, those that it has included.
    pub connections: i64,
}

/// Sessions that bear the name of this nest in its database are its own, see [`session_name`](super::session_name); so are those
/// of releases that named only the program.
const POSTURE: &str = "
SELECT current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('fsync')::boolean AS fsync,
       current_setting('full_page_writes')::boolean AS full_page_writes,
       least(current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
               - (SELECT count(*) FROM pg_stat_activity
                   WHERE datid IS NOT NULL
                     AND NOT (datname = current_database() AND application_name LIKE 'birbnest-%'
                              AND (strpos(application_name, ' ') = 0
                                   OR application_name = left(split_part(application_name, ' ', 1) || ' '
                                                              || current_setting('search_path'), 63)))),
             (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
             (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())) AS connections";

impl PostgresPosture {
    /// Asks the member that accepts writes, over a connection that is closed again.
    ///
    /// # Errors
    /// When the address cannot be read or the server does not answer.
    pub async fn ask(url: &str, application: &str, config: &PostgresConfig) -> Result<Self, PostgresError> {
        let limit = config.statement_timeout.get() + MARGIN;
        let asked = async {
            let mut connection = connect_alone(url, application, config).await?;
            let posture = sqlx::query_as(POSTURE).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(posture)
        };
        timeout(limit, asked)
            .await
            .unwrap_or(Err(PostgresError::TimedOut(limit)))
    }
}
