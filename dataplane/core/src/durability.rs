//! How safe a write is when it is acknowledged.

use serde::{Deserialize, Serialize};

/// How safe a write is, from less to more. There is no level without a copy in a log or a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In the persist stream, on its way to PostgreSQL.
    #[default]
    Queued,
    /// Committed by PostgreSQL.
    Persisted,
}

/// What a write waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WriteMode {
    /// For the durability that it asks for; PostgreSQL follows behind.
    #[default]
    Behind,
    /// For PostgreSQL, whatever it asks for.
    Through,
}

/// What happens to writes while the queue cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnQueueOutage {
    /// They are refused.
    #[default]
    Reject,
    /// PostgreSQL takes them. In return a pod that cannot ask PostgreSQL for some seconds takes no writes.
    WriteThrough,
}

impl Durability {
    /// Its name in headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Persisted => "persisted",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Queued, Self::Persisted]
            .into_iter()
            .find(|level| level.as_str() == name)
    }
}
