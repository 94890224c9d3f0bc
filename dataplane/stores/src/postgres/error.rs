//! Why PostgreSQL did not do what it was asked for.

use std::time::Duration;

use birbnest_core::{InvalidInstance, InvalidKey, Partition, VersionOverflow};
use sqlx::{
    error::DatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
};

use super::address::InvalidAddress;

/// An error and whose it is: the server's absence, the administrator's, or a row's own.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be read.
    #[error("the PostgreSQL address is not valid: {0}")]
    Address(#[from] InvalidAddress),
    /// None of the hosts of the address is a primary that answers. It passes.
    #[error("no host of the PostgreSQL address accepts writes")]
    NoWriter,
    /// The server cannot be reached, is starting or ending, has no resources left, or is a standby. It passes.
    #[error("PostgreSQL is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The server accepted the statement and did not answer.
    #[error("PostgreSQL did not answer within {0:?}")]
    TimedOut(Duration),
    /// The schema is not migrated, the user lacks a right, the database does not exist: someone has to act.
    #[error("PostgreSQL refuses: {0}")]
    Refused(#[source] sqlx::Error),
    /// A row is not acceptable (a constraint, its data, a limit, a trigger); another one may be.
    #[error("PostgreSQL rejects a row: {0}")]
    Rejected(#[source] sqlx::Error),
    /// Nobody has made the partition's fence row yet.
    #[error("partition {0} has no fence row yet")]
    NoFence(Partition),
    /// The queue of a partition is closed, or PostgreSQL failed over and the stream is not replayed yet. It passes.
    #[error("the queue of partition {0} is not in order")]
    NotDrained(Partition),
    /// A stored value that no release of this software writes.
    #[error("a stored value is not valid: {0}")]
    Corrupt(#[from] CorruptValue),
}

/// Why a row is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What PostgreSQL said, or the client that could not send the row.
    pub reason: String,
    /// Five characters, none when the row was not even sent.
    pub sqlstate: Option<String>,
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
    /// Partitions that there cannot be.
    #[error("the layout has {partitions} partitions from {first} on")]
    Layout {
        /// The first partition.
        first: i16,
        /// How many.
        partitions: i16,
    },
    /// A row with a version that no epoch has given.
    #[error("a row has a higher version than its partition's fence knows of")]
    AboveTheEpoch,
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
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_) | Self::NoWriter)
    }

    /// Why a row is to blame, if one is: the same statement without it may succeed.
    pub fn rejection(&self) -> Option<Rejection> {
        let Self::Rejected(error) = self else { return None };
        Some(match error.as_database_error() {
            Some(database) => Rejection {
                reason: database.message().to_owned(),
                sqlstate: database.code().map(String::from),
            },
            None => Rejection {
                reason: error.to_string(),
                sqlstate: None,
            },
        })
    }

    /// A word for metric labels.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unavailable(_) | Self::NoWriter => "unavailable",
            Self::TimedOut(_) => "timeout",
            Self::Refused(_) => "refused",
            Self::Rejected(_) => "rejected",
            Self::NoFence(_) => "no_fence",
            Self::NotDrained(_) => "not_drained",
            Self::Corrupt(_) => "corrupt",
        }
    }
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Configuration(_) => Self::Address(InvalidAddress::Part(error)),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // Of the connection and not of the statement: no row is to blame for it.
                Some(code) if ends_the_session(&**database) && is_of_a_row(code) => Self::Unavailable(error),
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
    if is_of_a_row(code) {
        return PostgresError::Rejected;
    }
    match code.get(..2).unwrap_or_default() {
        // Feature, authentication, role, catalog, schema, syntax or right.
        "0A" | "28" | "0P" | "3D" | "3F" | "42" => PostgresError::Refused,
        _ => PostgresError::Unavailable,
    }
}

/// Cardinality, data, constraint, check of a view, program limit; and what triggers raise (`RAISE EXCEPTION` without a
/// state of its own is P0001).
fn is_of_a_row(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "09" | "21" | "22" | "23" | "27" | "44" | "54" | "P0")
}

fn ends_the_session(error: &dyn DatabaseError) -> bool {
    let postgres = error.try_downcast_ref::<PgDatabaseError>();
    postgres.is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_whether_a_row_an_admin_or_nobody_is_to_blame() {
        let category = |code| of_state(code)(sqlx::Error::WorkerCrashed).category();
        for code in ["22P02", "22021", "23514", "23505", "44000", "54001", "P0001"] {
            assert_eq!(category(code), "rejected", "{code}");
        }
        for code in ["42P01", "28P01", "3D000", "42501"] {
            assert_eq!(category(code), "refused", "{code}");
        }
        let passing = [
            "08006", // connection failure
            "25006", // read-only transaction
            "40001", // serialization failure
            "40002", // constraint of a transaction that is rolled back for it
            "40P01", // deadlock
            "53100", // disk full
            "53200", // out of memory
            "53300", // too many connections
            "53400", // configuration limit, such as that of temporary files
            "55P03", // lock not available
            "57014", // cancelled, or its time was over
            "57P01", // the server ends
            "57P03", // the server starts
            "58030", // input or output failed
            "F0001", // lock file
            "HV000", // foreign data wrapper
            "XX001", // corrupted
            "99999", // unknown
            "",
        ];
        for code in passing {
            assert_eq!(category(code), "unavailable", "{code}");
        }
    }
}
