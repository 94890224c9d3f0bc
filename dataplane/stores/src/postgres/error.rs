//! Why PostgreSQL did not do what it was asked for.

use std::time::Duration;

use birbnest_core::{InvalidInstance, InvalidKey, Partition, VersionOverflow};

/// An error and whose it is: the server's absence, the administrator's, or a row's own.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be read.
    #[error("the PostgreSQL address is not valid: {0}")]
    Address(#[source] sqlx::Error),
    /// The server cannot be reached, is starting or ending, has no resources left, or is a standby. It passes.
    #[error("PostgreSQL is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The server accepted the statement and did not answer.
    #[error("PostgreSQL did not answer within {0:?}")]
    TimedOut(Duration),
    /// The schema is not migrated, the user lacks a right, the database does not exist: someone has to act.
    #[error("PostgreSQL refuses: {0}")]
    Refused(#[source] sqlx::Error),
    /// A row is not acceptable (SQLSTATE classes 21, 22, 23 and 54); another one may be.
    #[error("PostgreSQL rejects a row: {0}")]
    Rejected(#[source] sqlx::Error),
    /// Nobody has made the partition's fence row yet.
    #[error("partition {0} has no fence row yet")]
    NoFence(Partition),
    /// A stored value that no release of this software writes.
    #[error("a stored value is not valid: {0}")]
    Corrupt(#[from] CorruptValue),
}

/// What is wrong with a stored value.
#[derive(Debug, thiserror::Error)]
pub enum CorruptValue {
    /// A number out of its bounds.
    #[error("{column} is {value}")]
    Number {
        /// The column.
        column: &'static str,
        /// What it holds.
        value: i64,
    },
    /// A version that is not below 2^53.
    #[error(transparent)]
    Version(#[from] VersionOverflow),
    /// A mode that this release does not know.
    #[error("the fence's mode is {0:?}")]
    Mode(String),
    /// A key that breaks a rule.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// An instance that breaks a rule.
    #[error(transparent)]
    Instance(#[from] InvalidInstance),
    /// A value that is no JSON.
    #[error("a value is no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl PostgresError {
    /// Whether it passes by itself once the server is back.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_))
    }

    /// Whether a row is to blame, so that the same statement without it may succeed.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    /// A word for metric labels.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timeout",
            Self::Refused(_) => "refused",
            Self::Rejected(_) => "rejected",
            Self::NoFence(_) => "no_fence",
            Self::Corrupt(_) => "corrupt",
        }
    }
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Configuration(_) => Self::Address(error),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some(code) => of_state(code)(error),
                None => Self::Unavailable(error),
            },
            // The client could not even send the row.
            sqlx::Error::Encode(_) => Self::Rejected(error),
            _ => Self::Unavailable(error),
        }
    }
}

/// The kind of error that a SQLSTATE stands for:
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
///
/// What is unknown counts as passing: a batch is then tried again, and never set aside for what is not its fault.
fn of_state(code: &str) -> fn(sqlx::Error) -> PostgresError {
    match code.get(..2).unwrap_or_default() {
        "21" | "22" | "23" | "54" => PostgresError::Rejected,
        // Feature, authentication, role, catalog, schema, syntax or right.
        "0A" | "28" | "0P" | "3D" | "3F" | "42" => PostgresError::Refused,
        _ => PostgresError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_whether_a_row_an_admin_or_nobody_is_to_blame() {
        let category = |code| of_state(code)(sqlx::Error::WorkerCrashed).category();
        for code in ["22P02", "23514", "54001"] {
            assert_eq!(category(code), "rejected", "{code}");
        }
        for code in ["42P01", "28P01", "3D000", "42501"] {
            assert_eq!(category(code), "refused", "{code}");
        }
        for code in ["57P01", "57014", "53300", "08006", "25006", "40P01", "XX000", ""] {
            assert_eq!(category(code), "unavailable", "{code}");
        }
    }
}
